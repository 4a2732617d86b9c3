/*
 * A task's own copy of what was asked for. Its own texts are one allocation; what many tasks share
 * (kind, folder, limits, wishes, what they run after) is in the pool. A batch of 100,000 rows gives
 * the same wishes 100,000 times: they are compared by their address first, within the one submit.
 */
#include "sched/sched_priv.h"

#include <string.h>

static size_t text_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

static const char *text_put(char **at, const char *s)
{
	size_t len = text_size(s);
	char *was = *at;

	if (!s)
		return NULL;
	memcpy(was, s, len);
	*at += len;
	return was;
}

static const char *pool_or_null(struct sched *sched, const char *s)
{
	return s ? string_pool_get(&sched->strings, s) : NULL;
}

static void names_copy(char to[][GPU_UUID_MAX], const char from[][GPU_UUID_MAX], size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(to[i], GPU_UUID_MAX, "%s", from[i]);
}

/* Alike ones must be equal in every byte: what stands behind a text's end is cleared. */
static const struct place_wishes *wishes_keep(struct sched *sched, const struct place_wishes *from)
{
	auto_free struct place_wishes *clean = NULL;

	if (!from)
		return NULL;
	if (from == sched->wishes_given)
		return string_pool_get_again(&sched->strings, sched->wishes_kept);
	clean = mem_calloc(1, sizeof *clean);
	clean->n_prefer = MIN_OF(from->n_prefer, (size_t)PLACE_WISHES_GPUS_MAX);
	clean->n_avoid = MIN_OF(from->n_avoid, (size_t)PLACE_WISHES_GPUS_MAX);
	clean->n_forbid = MIN_OF(from->n_forbid, (size_t)PLACE_WISHES_GPUS_MAX);
	clean->n_models = MIN_OF(from->n_models, (size_t)PLACE_WISHES_MODELS_MAX);
	clean->compute_min = from->compute_min;
	clean->compute_max = from->compute_max;
	names_copy(clean->prefer, from->prefer, clean->n_prefer);
	names_copy(clean->avoid, from->avoid, clean->n_avoid);
	names_copy(clean->forbid, from->forbid, clean->n_forbid);
	for (size_t i = 0; i < clean->n_models; i++)
		(void)snprintf(clean->models[i], GPU_NAME_MAX, "%s", from->models[i]);
	sched->wishes_given = from;
	sched->wishes_kept = string_pool_get_bytes(&sched->strings, clean, sizeof *clean);
	return sched->wishes_kept;
}

/* The items of an `after`, padding cleared. */
static const struct sched_after_item *items_keep(struct sched *sched,
						 const struct sched_after *after)
{
	auto_free struct sched_after_item *clean = mem_calloc(after->n + 1, sizeof *clean);

	for (size_t i = 0; i < after->n; i++) {
		clean[i].id = after->items[i].id;
		clean[i].is_batch = after->items[i].is_batch;
		clean[i].ended = after->items[i].ended;
		clean[i].ended_well = after->items[i].ended_well;
	}
	return string_pool_get_bytes(&sched->strings, clean, (after->n + 1) * sizeof *clean);
}

static void after_keep(struct sched *sched, struct sched_after *to, const struct sched_after *from)
{
	*to = *from;
	to->items = items_keep(sched, from);
}

void spec_keep(struct sched *sched, struct task_node *t, const struct sched_spec *spec)
{
	struct sched_spec *own = &t->pub.spec;
	bool has_after = spec->after && spec->after->n > 0;
	size_t argc = 0, size;
	const char **argv;
	void *text;
	char *at;

	while (spec->argv && spec->argv[argc])
		argc++;
	size = (has_after ? sizeof *spec->after : 0) + (argc + 1) * sizeof(char *) +
	       text_size(spec->name ? spec->name : "") + text_size(spec->log_path) +
	       text_size(spec->fingerprint);
	for (size_t i = 0; i < argc; i++)
		size += text_size(spec->argv[i]);
	text = mem_alloc(size);
	*own = *spec;
	own->after = NULL;
	argv = text;
	if (has_after) {
		after_keep(sched, text, spec->after);
		own->after = text;
		argv = (void *)((struct sched_after *)text + 1);
	}
	at = (char *)(argv + argc + 1);
	for (size_t i = 0; i < argc; i++)
		argv[i] = text_put(&at, spec->argv[i]);
	argv[argc] = NULL;
	own->argv = argv;
	own->name = text_put(&at, spec->name ? spec->name : "");
	own->log_path = text_put(&at, spec->log_path);
	own->fingerprint = text_put(&at, spec->fingerprint);
	own->kind = string_pool_get(&sched->strings, spec->kind);
	own->cwd = string_pool_get(&sched->strings, spec->cwd);
	own->tty = pool_or_null(sched, spec->tty);
	own->rlimits = pool_or_null(sched, spec->rlimits);
	own->request.pin_uuid = pool_or_null(sched, spec->request.pin_uuid);
	own->request.wishes = wishes_keep(sched, spec->request.wishes);
	own->on_oom = spec->on_oom && spec->n_on_oom > 0
			  ? string_pool_get_bytes(&sched->strings, spec->on_oom,
						  spec->n_on_oom * sizeof *spec->on_oom)
			  : NULL;
}

void spec_drop(struct sched *sched, struct task_node *t)
{
	const struct sched_spec *own = &t->pub.spec;

	string_pool_put(&sched->strings, own->kind);
	string_pool_put(&sched->strings, own->cwd);
	string_pool_put(&sched->strings, own->tty);
	string_pool_put(&sched->strings, own->rlimits);
	string_pool_put(&sched->strings, own->request.pin_uuid);
	string_pool_put(&sched->strings, own->request.wishes);
	string_pool_put(&sched->strings, own->on_oom);
	if (own->after)
		string_pool_put(&sched->strings, own->after->items);
	/* What spec_keep() put first. */
	free(own->after ? (void *)(uintptr_t)own->after : (void *)(uintptr_t)own->argv);
}
