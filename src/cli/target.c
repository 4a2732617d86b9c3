/* See target.h. */
#include "cli/target.h"

#include "cli/term.h"

#include <errno.h>

int target_parse(const char *text, struct target *ret_target, struct error *err)
{
	unsigned long long id;

	if (!text_to_u64(text + (*text == 'b' || *text == 't'), 1, INT64_MAX, &id))
		return error_set(err, -EINVAL, "\"%.64s\" is neither a task (17) nor a batch (b3)",
				 text);
	*ret_target = (struct target){.is_batch = *text == 'b', .id = id};
	return 0;
}

int target_parse_task(const char *text, uint64_t *ret_id, struct error *err)
{
	struct target target = {};
	int r = target_parse(text, &target, err);

	if (r < 0)
		return r;
	if (target.is_batch)
		return error_set(
		    err, -EINVAL,
		    "\"%.64s\" is a batch, a task is meant; `plimsoll queue --batch %.64s` lists "
		    "its tasks",
		    text, text);
	*ret_id = target.id;
	return 0;
}

int targets_parse(const struct strings *texts, struct target **ret_targets, struct error *err)
{
	auto_free struct target *targets = mem_calloc(texts->n + 1, sizeof *targets);

	for (size_t i = 0; i < texts->n; i++) {
		int r = target_parse(texts->items[i], &targets[i], err);

		if (r < 0)
			return r;
	}
	*ret_targets = TAKE(targets);
	return 0;
}

json_t *target_document(void)
{
	return json_pack("{s:[], s:[]}", "tasks", "batches");
}

void target_add_to_document(json_t *document, const struct target *target, json_t *told)
{
	(void)json_array_append(json_object_get(document, target->is_batch ? "batches" : "tasks"),
				told);
}

void target_print_document(const json_t *document, bool single)
{
	const json_t *tasks = json_object_get(document, "tasks");
	const json_t *batches = json_object_get(document, "batches");

	if (!single)
		term_print_json(stdout, document);
	else if (json_array_size(tasks) + json_array_size(batches) > 0)
		term_print_json(stdout,
				json_array_get(json_array_size(tasks) > 0 ? tasks : batches, 0));
}
