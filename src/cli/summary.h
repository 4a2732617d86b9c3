/* What a batch came to, for people: the table of its GPUs, its times beside the yardsticks, and
 * what failed. */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

/* `result` is the answer of GET /v1/batches/ID (the object of `batch --json`). Lines are appended
 * to `text`, tables at most `width` wide. */
void summary_render(const json_t *result, unsigned width, struct text *text);

/* One of "warnings": "kind train.py (40 tasks) says 12 GiB; ...". */
void summary_add_warning(struct text *text, const json_t *warning);

/* 1 when a task failed or was canceled or lost, else 0. */
int summary_exit_code(const json_t *result);

/* What can be said of a task that is lost. It counts as failed. */
#define SUMMARY_LOST "ended, but nobody saw how"

/* "exit 1", "killed by signal 9", "out of memory", ...: how the last attempt of a task ended. */
#define SUMMARY_OUTCOME_MAX 128
const char *summary_outcome(const json_t *task, char buf[SUMMARY_OUTCOME_MAX]);

/* Its last attempt ended before there was a process: no such command, no such folder. */
bool summary_did_not_start(const json_t *task);

/* "b3", of a batch or of its id. */
const char *summary_batch_name(const json_t *batch, char buf[32]);

/* "RTX 2080 SUPER": a GPU model without the words they all share. Borrowed from `model`. */
const char *summary_short_name(const char *model);
