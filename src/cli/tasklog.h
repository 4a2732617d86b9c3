/* Printing a task's log to standard output, live when asked for. */
#pragma once

#include "api/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tasklog_options {
	uint64_t task;
	unsigned attempt;               /* 0 = the newest */
	unsigned tail;                  /* lines from the end; 0 = all */
	bool follow;                    /* until the task has ended */
	bool wait_notes;                /* say on standard error why it does not start yet */
	void (*on_started)(void *data); /* once it runs, when it was seen; NULL = nobody asks */
	int signal_fd;                  /* read when `on_signal` is set */
	/* false: stop here. */
	bool (*on_signal)(void *data);
	void *data;
};

/* A daemon that goes away while following is waited for, and the log goes on where it stood.
 * `client` may be replaced. */
int tasklog_print(struct api_client **client, const struct tasklog_options *options,
		  struct error *err) MUST_CHECK;
