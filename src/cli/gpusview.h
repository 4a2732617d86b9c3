/* GPUs for people, from the object of `gpus --json`. */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

#include <stdio.h>

enum gpusview_note {
	GPUSVIEW_NONE,
	GPUSVIEW_SICK,     /* lost, stale, needs a reset: no work is placed there */
	GPUSVIEW_CRITICAL, /* 95 % of its memory or more is used, or it is above its load line */
	GPUSVIEW_CLOSED,   /* people took it out of service: drained, switched off, not its hour */
	GPUSVIEW_IDLE,     /* has lots of room while another one is critical */
};
const char *gpusview_note_name(enum gpusview_note note); /* "CRITICAL"; "" for none and sick */

/* What is to be called out about GPU `i`, and in words. */
enum gpusview_note gpusview_note(const json_t *gpus, size_t i, struct text *words);

/* All of it, for a line `width` wide; `file` decides about colour. */
void gpusview_render(const json_t *gpus, FILE *file, unsigned width, struct text *text);

/* Is there something wrong: no driver, stale, a GPU lost? A full GPU is not. */
bool gpusview_is_problem(const json_t *gpus);

/* "1.2", "11.94": GiB without the unit, "?" when unknown. */
const char *gpusview_gib(const json_t *object, const char *key, char buf[32]);

/* The memory of a GPU as a bar with its load line; "" of that width when it is not known. */
void gpusview_bar(const json_t *vram, unsigned width, struct text *text);

/* "45 %", "62 C", "140 W" of a GPU; "-" when unknown. */
const char *gpusview_measure(const json_t *gpu, const char *key, char buf[32]);
