/*
 * The last peaks of memory of a kind on one model as the text the store keeps of them:
 * {"vram": [...], "ram": [...], "open_vram": n, "open_ram": n, "enough_vram": n}, the oldest peak
 * first, those of tasks that ran out of memory negative, of the last three only what is not 0.
 */
#pragma once

#include "place/estimates.h"

/* The caller frees it. */
char *peaks_json_dump(const struct estimates_row *row);

/* Fills in vram, ram and enough_vram_bytes of a row that has none yet. `text` NULL = nothing was
 * kept; what cannot be read is left out: it is measured again. */
void peaks_json_load(const char *text, struct estimates_row *row);
