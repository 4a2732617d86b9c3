/*
 * A line that is drawn again and again at the bottom of a terminal, with other lines scrolling
 * above it. When the file is no terminal only the other lines are written.
 */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdio.h>

struct progress {
	FILE *file;
	bool live;  /* a terminal */
	bool drawn; /* a line stands there now */
};

void progress_init(struct progress *progress, FILE *file);

/* Draw `line` (cut to the terminal's width) in place of the one before; no-op in a pipe. */
void progress_draw(struct progress *progress, const char *line);

/* Take the line away, so that something else can be printed. */
void progress_clear(struct progress *progress);

/* A line that stays. */
void progress_say(struct progress *progress, const char *fmt, ...) PRINTF(2, 3);

/* "[#####.....] 12/100 done, 3 running, 1 failed, 4 min 05 s left  GPU 0: ..." of a batch (the
 * API's object), at most `width` columns; `load` (the last start's line) may be "". */
void progress_of_batch(const json_t *batch, const char *load, unsigned width, struct text *text);
