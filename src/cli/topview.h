/* What `plimsoll top` draws, with ncurses, from what it knows. */
#pragma once

#include "cli/toptasks.h"
#include "util/text.h"

#include <stdbool.h>

enum top_mode { TOP_LIST, TOP_DETAIL, TOP_HELP, TOP_CONFIRM, TOP_FILTER };

struct top {
	enum top_mode mode;
	json_t *gpus, *tasks; /* the API's answers; NULL before the first */
	enum toptasks_sort sort;
	char filter[64];
	uint64_t selected; /* a task's id; 0 = whichever stands first */
	uint64_t current;  /* the task the bar stands on as drawn, 0 = none */
	size_t scroll;     /* first task shown, or first line of the detail */
	char *detail;      /* text of TOP_DETAIL */
	char message[256]; /* shown once, at the bottom */
	int64_t now_ms;    /* realtime of the newest answers */
};

/* Colours, if the terminal has them and the user wants them. After initscr(). */
void topview_init(void);

/* The whole screen; moves selected and scroll to where they can be. */
void topview_draw(struct top *top);

/* Move the selection (or the detail's text) by `lines`. */
void topview_move(struct top *top, int lines);
