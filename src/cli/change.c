/* See change.h. */
#include "cli/change.h"

#include "cli/session.h"

#include <errno.h>

int change_targets(const struct options *options, const struct strings *words,
		   struct targets *ret_targets, struct error *err)
{
	const struct strings *batches = options_list(options, "batch");
	auto_targets struct targets targets = {};
	int r = targets_parse(words, &targets, err);

	for (size_t i = 0; i < batches->n && r == 0; i++) {
		r = targets_add(&targets, batches->items[i], err);
		if (r < 0)
			return error_prefix(err, r, "--batch");
		/* `--batch 7` and `--batch b7` are the same. */
		targets.items[targets.n - 1].is_batch = true;
	}
	if (r == 0 && targets.n == 0)
		r = error_set(err, -EINVAL, "name tasks (17, 12-20) or batches (b3)");
	if (r < 0)
		return r;
	*ret_targets = targets;
	targets = (struct targets){};
	return 0;
}

static void say(const struct target *target, const json_t *answer, const struct change *change)
{
	unsigned long long n = jsonx_get_u64(answer, "changed", 0), id = target->id;

	if (!target->is_batch)
		(void)printf("task %llu %s\n", id, change->task);
	else
		(void)printf("batch b%llu: %llu task%s %s\n", id, n, PLURAL(n),
			     n == 1 ? change->task : change->tasks);
}

static int change_one(struct api_client *client, const struct target *target,
		      const struct change *change, json_t *document, struct targets_absent *absent)
{
	auto_json json_t *answer = NULL;
	struct error err = {};

	if (session_try(client, "POST", change->body, &answer, &err, "/v1/%s/%llu/%s",
			target->is_batch ? "batches" : "tasks", (unsigned long long)target->id,
			change->verb) < 0)
		return targets_failed(absent, &err);
	if (document)
		target_add_to_document(
		    document, target, json_object_get(answer, target->is_batch ? "batch" : "task"));
	else
		say(target, answer, change);
	return EXIT_DONE;
}

int change_all(const struct options *options, const struct targets *targets,
	       const struct change *change)
{
	auto_json json_t *document = options_flag(options, "json") ? target_document() : NULL;
	auto_api_client struct api_client *client = NULL;
	int code = session_open(&client), worst = EXIT_DONE;
	struct targets_absent absent = {};

	if (code != EXIT_DONE)
		return code;
	for (size_t i = 0; i < targets->n; i++) {
		code = change_one(client, &targets->items[i], change, document, &absent);
		worst = MAX_OF(worst, code);
	}
	targets_tell_absent(&absent, targets->n);
	if (document)
		target_print_document(document, targets->n == 1);
	return worst;
}
