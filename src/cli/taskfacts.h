/* What a task was sent with beside its command and its request, as lines of `plimsoll show`: when
 * it may start, how long it may take, how often it is tried, which GPUs it likes. */
#pragma once

#include "util/jsonx.h"
#include "util/text.h"

/* Only what was said: most tasks have nothing of it. */
void taskfacts_add(const json_t *task, struct text *text);
