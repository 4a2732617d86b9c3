/* A line of plimsoll-nvml's output (gpu/nvml_main.c): an answer or an event. Pure. */
#pragma once

#include "gpu/details.h"
#include "gpu/gpu.h"

/* A longer line is not read on: the helper is broken. (256 GPUs take 200 KiB, 1000 processes
 * 150 KiB.) */
#define HELPER_LINE_MAX ((size_t)1 << 20)

struct helper_line {
	unsigned long long number;   /* of the request, when there is a list */
	struct gpu_list *list;       /* an answer, else NULL */
	struct gpu_details *details; /* of each GPU of the list; nothing valid unless asked for */
	struct gpu_event event;      /* when `list` is NULL */
};

int helper_line_parse(const char *line, size_t len, struct helper_line *ret_line,
		      struct error *err) MUST_CHECK;
void helper_line_finish(struct helper_line *line);
