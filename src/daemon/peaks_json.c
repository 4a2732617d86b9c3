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

/* Beside the list, and only where somebody said something. */
static void set_permille(json_t *json, const struct estimates_peaks *peaks)
{
	json_t *array = json_array();
	bool any = false;

	for (unsigned i = 0; i < peaks->n; i++) {
		(void)json_array_append_new(array, json_integer(peaks->permille[i]));
		any |= peaks->permille[i] > 0;
	}
	if (any)
		(void)json_object_set(json, "vram_said", array);
	json_decref(array);
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

	set_permille(json, &row->vram);
	if (row->oom_stopped)
		(void)json_object_set_new(json, "oom_stopped", json_true());
	set_bytes(json, "open_vram", row->vram.open_bytes);
	set_bytes(json, "open_ram", row->ram.open_bytes);
	set_bytes(json, "enough_vram", row->enough_vram_bytes);
	set_bytes(json, "oom_next", row->oom_next_bytes);
	set_bytes(json, "oom_said", row->oom_permille);
	set_bytes(json, "open_said", row->vram.open_permille);
	return jsonx_dump(json);
}

static uint16_t permille_of(json_int_t number)
{
	return (uint16_t)MIN_OF(MAX_OF(number, (json_int_t)0), (json_int_t)UINT16_MAX);
}

static void list_load(const json_t *array, const json_t *said, struct estimates_peaks *peaks)
{
	size_t size = json_array_size(array);

	for (size_t i = size > ESTIMATES_PEAKS ? size - ESTIMATES_PEAKS : 0; i < size; i++) {
		json_int_t bytes = json_integer_value(json_array_get(array, i));

		if (bytes == 0 || bytes == INT64_MIN)
			continue;
		if (bytes < 0)
			peaks->floors |= UINT32_C(1) << peaks->n;
		peaks->permille[peaks->n] =
		    permille_of(json_integer_value(json_array_get(said, i)));
		peaks->bytes[peaks->n++] = (uint64_t)(bytes < 0 ? -bytes : bytes);
	}
}

void peaks_json_load(const char *text, struct estimates_row *row)
{
	auto_json json_t *json = NULL;

	if (!text || jsonx_parse(text, strlen(text), "peaks", &json, NULL) < 0)
		return;
	list_load(json_object_get(json, "vram"), json_object_get(json, "vram_said"), &row->vram);
	list_load(json_object_get(json, "ram"), NULL, &row->ram);
	row->oom_stopped = jsonx_get_bool(json, "oom_stopped", false);
	row->vram.open_bytes = jsonx_get_u64(json, "open_vram", 0);
	row->ram.open_bytes = jsonx_get_u64(json, "open_ram", 0);
	row->enough_vram_bytes = jsonx_get_u64(json, "enough_vram", 0);
	row->oom_next_bytes = jsonx_get_u64(json, "oom_next", 0);
	row->oom_permille = permille_of(jsonx_get_i64(json, "oom_said", 0));
	row->vram.open_permille = permille_of(jsonx_get_i64(json, "open_said", 0));
}
