/*
 * One column of a profile: the peaks are read and written together with their row and searched for
 * by nobody, so that they need no table of their own. A floor is the sign of its number, which
 * keeps the text half as long as objects would be; there are up to 64 of them in each row.
 */
#include "daemon/peaks_json.h"

#include "util/jsonx.h"

#include <string.h>

static json_t *list_dump(const struct estimates_peaks *peaks)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < peaks->n; i++) {
		json_int_t bytes = (json_int_t)MIN_OF(peaks->bytes[i], (uint64_t)INT64_MAX);

		(void)json_array_append_new(
		    array, json_integer(peaks->floors & (UINT32_C(1) << i) ? -bytes : bytes));
	}
	return array;
}

static void set_bytes(json_t *json, const char *name, uint64_t bytes)
{
	if (bytes > 0)
		(void)json_object_set_new(json, name, jsonx_u64(bytes));
}

char *peaks_json_dump(const struct estimates_row *row)
{
	auto_json json_t *json =
	    json_pack("{s:o, s:o}", "vram", list_dump(&row->vram), "ram", list_dump(&row->ram));

	if (row->oom_stopped)
		(void)json_object_set_new(json, "oom_stopped", json_true());
	set_bytes(json, "open_vram", row->vram.open_bytes);
	set_bytes(json, "open_ram", row->ram.open_bytes);
	set_bytes(json, "enough_vram", row->enough_vram_bytes);
	set_bytes(json, "oom_next", row->oom_next_bytes);
	return jsonx_dump(json);
}

static void list_load(const json_t *array, struct estimates_peaks *peaks)
{
	size_t size = json_array_size(array);

	for (size_t i = size > ESTIMATES_PEAKS ? size - ESTIMATES_PEAKS : 0; i < size; i++) {
		json_int_t bytes = json_integer_value(json_array_get(array, i));

		if (bytes == 0 || bytes == INT64_MIN)
			continue;
		if (bytes < 0)
			peaks->floors |= UINT32_C(1) << peaks->n;
		peaks->bytes[peaks->n++] = (uint64_t)(bytes < 0 ? -bytes : bytes);
	}
}

void peaks_json_load(const char *text, struct estimates_row *row)
{
	auto_json json_t *json = NULL;

	if (!text || jsonx_parse(text, strlen(text), "peaks", &json, NULL) < 0)
		return;
	list_load(json_object_get(json, "vram"), &row->vram);
	list_load(json_object_get(json, "ram"), &row->ram);
	row->oom_stopped = jsonx_get_bool(json, "oom_stopped", false);
	row->vram.open_bytes = jsonx_get_u64(json, "open_vram", 0);
	row->ram.open_bytes = jsonx_get_u64(json, "open_ram", 0);
	row->enough_vram_bytes = jsonx_get_u64(json, "enough_vram", 0);
	row->oom_next_bytes = jsonx_get_u64(json, "oom_next", 0);
}
