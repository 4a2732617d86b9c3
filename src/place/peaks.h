/* The last peaks of memory of one kind on one model, and what they say (estimates.h). */
#pragma once

#include "place/estimates.h"

enum peak_end {
	PEAK_FINAL, /* it ended well: it needed this much */
	PEAK_FLOOR, /* it ran out of memory here: it needs more */
	PEAK_OPEN,  /* it runs, or ended otherwise: it needs this much or more */
};

/* 0 bytes = not measured: a no-op. Returns whether anything changed. `permille` as in struct
 * estimates_peaks. */
bool peaks_note(struct estimates_peaks *peaks, uint64_t bytes, enum peak_end end,
		uint16_t permille);

/* Of what it said: what it took, or (`is_floor`) wanted at least, and so more than said where it
 * wanted as much. */
uint16_t peaks_permille(uint64_t bytes, uint64_t said, bool is_floor);
/* What was said, by that. 0 = not known. */
uint64_t peaks_said(uint64_t bytes, uint16_t permille);

/* What a kind needs, by all its rows; `model` as in estimates_need_get(). */
struct estimates_need peaks_need(const struct estimates_row *const *rows, size_t n,
				 const char *model);

/* From a file: what cannot be is left out. */
void peaks_check(struct estimates_peaks *peaks);
