/* What a person names on the command line: a task (`17`, `t17`) or a batch (`b3`). */
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

/* All of a list; the first that is neither fails it. The caller frees the array. */
int targets_parse(const struct strings *texts, struct target **ret_targets,
		  struct error *err) MUST_CHECK;

/* {"tasks": [...], "batches": [...]}: what is told of several, as one JSON document. */
json_t *target_document(void);
void target_add_to_document(json_t *document, const struct target *target, json_t *told);

/* To standard output; of a single one (when it was told) just its object. */
void target_print_document(const json_t *document, bool single);
