/* Tasks for people: as a table, and one in full. */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

/* A table of the API's tasks; `now_ms` is what ages are counted to. */
void tasktable_render(const json_t *tasks, int64_t now_ms, unsigned width, struct text *text);

/* One task with all its attempts. */
void tasktable_render_one(const json_t *task, struct text *text);

/* "0", "0,1", "cpu", or "-" before it was placed: where its newest attempt runs or ran. */
void tasktable_where(const json_t *task, char *buf, size_t size);

/* Seconds its newest attempt has run, up to its end or to `now_ms`; negative when it never did. */
double tasktable_seconds(const json_t *task, int64_t now_ms);
