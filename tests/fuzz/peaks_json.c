/* Any text as the peaks the store kept of a kind: what is read of it is within its bounds, is
 * written and read again as it is, and something can be said from it about what the kind needs. */
#include "daemon/peaks_json.h"
#include "util/cleanup.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct estimates_peaks *peaks)
{
	if (peaks->n > ESTIMATES_PEAKS || peaks->open_bytes > INT64_MAX ||
	    (peaks->n < ESTIMATES_PEAKS && peaks->floors >> peaks->n))
		abort();
	for (unsigned i = 0; i < peaks->n; i++)
		if (peaks->bytes[i] == 0 || peaks->bytes[i] > INT64_MAX)
			abort();
}

static void check_need(const struct estimates_row *row)
{
	struct estimates *estimates = estimates_create();
	struct estimates_need need;

	estimates_load(estimates, row, 1);
	need = estimates_need_get(estimates, row->kind, row->model);
	if (need.p95_vram_bytes > need.max_vram_bytes || need.vram_bytes < need.p95_vram_bytes ||
	    need.known != (need.peaks >= ESTIMATES_FEW))
		abort();
	estimates_destroy(estimates);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	struct estimates_row row = {.kind = "kind", .model = "model"}, again = row;
	auto_free char *kept = NULL;

	peaks_json_load(text, &row);
	check(&row.vram);
	check(&row.ram);
	kept = peaks_json_dump(&row);
	peaks_json_load(kept, &again);
	if (memcmp(&row, &again, sizeof row) != 0)
		abort();
	check_need(&row);
	return 0;
}
