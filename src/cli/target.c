/* See target.h. */
#include "cli/target.h"

#include "cli/term.h"
#include "cli/verbs.h"

#include <errno.h>
#include <string.h>

#define BATCH_PREFIX "batch:"

static const char *number_of(const char *text, bool *ret_is_batch)
{
	*ret_is_batch = *text == 'b';
	if (text_starts_with(text, BATCH_PREFIX))
		return text + strlen(BATCH_PREFIX);
	return text + (*text == 'b' || *text == 't');
}

int target_parse(const char *text, struct target *ret_target, struct error *err)
{
	unsigned long long id;
	bool is_batch;

	if (!text_to_u64(number_of(text, &is_batch), 1, INT64_MAX, &id))
		return error_set(err, -EINVAL, "\"%.64s\" is neither a task (17) nor a batch (b3)",
				 text);
	*ret_target = (struct target){.is_batch = is_batch, .id = id};
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

void targets_finish(struct targets *targets)
{
	free(targets->items);
	*targets = (struct targets){};
}

static int append(struct targets *targets, const struct target *target, struct error *err)
{
	if (targets->n == TARGETS_MAX)
		return error_set(err, -EINVAL, "more than %d tasks and batches at once",
				 TARGETS_MAX);
	ARRAY_GROW(targets->items, targets->n, targets->room);
	targets->items[targets->n++] = *target;
	return 0;
}

/* "12-20", "t12-t20". */
static int add_range(struct targets *targets, const char *text, const char *dash, struct error *err)
{
	auto_free char *first_text = mem_strndup(text, (size_t)(dash - text));
	struct target first, last;
	int r = target_parse(first_text, &first, err);

	if (r == 0)
		r = target_parse(dash + 1, &last, err);
	if (r < 0)
		return r;
	if (first.is_batch || last.is_batch)
		return error_set(err, -EINVAL, "\"%.64s\": a range is one of tasks (12-20)", text);
	if (last.id < first.id)
		return error_set(err, -EINVAL, "\"%.64s\": the range ends before it begins", text);
	if (last.id - first.id >= TARGETS_MAX)
		return error_set(err, -EINVAL, "\"%.64s\": the range holds more than %d tasks",
				 text, TARGETS_MAX);
	for (; first.id <= last.id && r == 0; first.id++)
		r = append(targets, &first, err);
	return r;
}

int targets_add(struct targets *targets, const char *text, struct error *err)
{
	const char *dash = *text ? strchr(text + 1, '-') : NULL;
	struct target target;
	int r;

	if (dash)
		return add_range(targets, text, dash, err);
	r = target_parse(text, &target, err);
	return r < 0 ? r : append(targets, &target, err);
}

int targets_parse(const struct strings *texts, struct targets *ret_targets, struct error *err)
{
	auto_targets struct targets targets = {};
	int r = 0;

	for (size_t i = 0; i < texts->n && r == 0; i++)
		r = targets_add(&targets, texts->items[i], err);
	if (r < 0)
		return r;
	*ret_targets = targets;
	targets = (struct targets){};
	return 0;
}

int targets_parse_list(const char *text, struct targets *targets, struct error *err)
{
	for (;;) {
		size_t len = strcspn(text, ",");
		auto_free char *word = mem_strndup(text, len);
		int r = targets_add(targets, word, err);

		if (r < 0 || !text[len])
			return r;
		text += len + 1;
	}
}

int targets_failed(struct targets_absent *absent, const struct error *err)
{
	if (err->code != -ENOENT)
		return verb_fail(err);
	if (absent->n++ == 0)
		absent->first = *err;
	return EXIT_USAGE;
}

void targets_tell_absent(const struct targets_absent *absent, size_t of)
{
	if (absent->n == 1)
		(void)verb_fail(&absent->first);
	else if (absent->n > 1)
		(void)verb_complain(EXIT_USAGE, "%zu of these %zu are not there: %s, and so on",
				    absent->n, of, error_text(&absent->first));
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
