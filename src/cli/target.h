/* What a person names on the command line: a task (`17`, `t17`) or a batch (`b3`, `batch:3`), or
 * several tasks that follow each other (`12-20`). */
#pragma once

#include "util/error.h"
#include "util/jsonx.h"
#include "util/text.h"

#include <stdbool.h>
#include <stdint.h>

struct target {
	bool is_batch;
	uint64_t id; /* from 1 */
};

int target_parse(const char *text, struct target *ret_target, struct error *err) MUST_CHECK;

/* The same, but a batch is refused: "...: a task is meant". */
int target_parse_task(const char *text, uint64_t *ret_id, struct error *err) MUST_CHECK;

#define TARGETS_MAX 100000 /* in one call */

/* `struct targets t = {};` is empty. */
struct targets {
	struct target *items;
	size_t n, room;
};
void targets_finish(struct targets *targets);
#define auto_targets CLEANUP(targets_finish)

/* One word of a person's, which may be a range. */
int targets_add(struct targets *targets, const char *text, struct error *err) MUST_CHECK;
/* All of a list; the first that is none of them fails it. */
int targets_parse(const struct strings *texts, struct targets *ret_targets,
		  struct error *err) MUST_CHECK;
/* A comma-separated list of words. */
int targets_parse_list(const char *text, struct targets *targets, struct error *err) MUST_CHECK;

/* {"tasks": [...], "batches": [...]}: what is told of several, as one JSON document. */
json_t *target_document(void);

/* Of many that are asked for (100-200), those that are not there are told of in one line. */
struct targets_absent {
	size_t n;
	struct error first;
};
/* What a call of session_try() failed with: kept when it is that, else printed. The exit code. */
int targets_failed(struct targets_absent *absent, const struct error *err);
void targets_tell_absent(const struct targets_absent *absent, size_t of);

void target_add_to_document(json_t *document, const struct target *target, json_t *told);

/* To standard output; of a single one (when it was told) just its object. */
void target_print_document(const json_t *document, bool single);
