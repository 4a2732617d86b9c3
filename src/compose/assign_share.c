/*
 * Which requests stand in the same bytes of the compose files (an anchor, a merge key, extends):
 * who changes one changes the other.
 */
#include "compose/assign_priv.h"

#include <string.h>

static bool same_bytes(const struct compose_node *one, const struct compose_node *other)
{
	return one && other && one->span.file && one->span.file == other->span.file &&
	       one->span.begin == other->span.begin && one->span.end == other->span.end;
}

/* All its values are within these bytes. False: of several files. */
static bool within(const struct compose_request *request, struct compose_span *ret_span)
{
	for (size_t i = 0; i < request->n_values; i++) {
		const struct compose_span *span = &request->values[i].node->span;

		if (i == 0)
			*ret_span = *span;
		if (span->file != ret_span->file)
			return false;
		ret_span->begin = MIN_OF(ret_span->begin, span->begin);
		ret_span->end = MAX_OF(ret_span->end, span->end);
	}
	return request->n_values > 0;
}

bool assign_share_bytes(const struct compose_request *one, const struct compose_request *other)
{
	struct compose_span ones, others;

	if (!assign_is_in_environment(one) && same_bytes(one->node, other->node))
		return true;
	/* There may be hundreds in each of hundreds of requests: most are far from each other. */
	if (within(one, &ones) && within(other, &others) &&
	    (ones.file != others.file || ones.end < others.begin || others.end < ones.begin))
		return false;
	for (size_t i = 0; i < one->n_values; i++) {
		const struct compose_node *node = one->values[i].node;

		if (i > 0 && node == one->values[i - 1].node)
			continue;
		for (size_t k = 0; k < other->n_values; k++)
			if (same_bytes(node, other->values[k].node))
				return true;
	}
	return false;
}

const struct compose_request *assign_sharing(const struct assigning *a,
					     const struct compose_target *target,
					     const struct compose_request *request,
					     const struct compose_gpus *other)
{
	struct assign_set wanted = assign_wanted(a, target), final;

	if (other->service == target->gpus->service || !other->service->active ||
	    (assign_final(a, other, &final) && assign_sets_equal(&final, &wanted)))
		return NULL;
	for (size_t i = 0; i < other->n; i++)
		if (assign_share_bytes(request, &other->requests[i]))
			return &other->requests[i];
	return NULL;
}

/* --- what else a variable says --- */

struct other_use {
	struct assigning *a;
	const struct compose_target *target;
	const char *variable;
	const char *service, *key; /* where the walk is; NULL: at no service's */
	const char *found;
};

static bool uses(const struct compose_node *node, const char *variable)
{
	for (size_t i = 0; i < node->n_uses; i++)
		if (!node->uses[i].unused && strcmp(node->uses[i].name, variable) == 0)
			return true;
	return false;
}

/* Is it part of what any service says of its GPUs? */
static bool is_of_request(const struct assigning *a, const struct compose_node *node)
{
	for (size_t i = 0; i < a->project->n; i++)
		for (size_t k = 0; k < a->all[i].n; k++) {
			const struct compose_request *request = &a->all[i].requests[k];

			if (!assign_is_in_environment(request) && request->node &&
			    request->node->span.file == node->span.file &&
			    request->node->span.begin <= node->span.begin &&
			    node->span.end <= request->node->span.end)
				return true;
			for (size_t m = 0; m < request->n_values; m++)
				if (same_bytes(request->values[m].node, node))
					return true;
		}
	return false;
}

/* What a service is told itself, when it has its GPUs from the variable, too. */
static bool goes_along(const struct other_use *look)
{
	static const char *const keys[] = {"environment", "command", "entrypoint", "labels"};

	if (!look->service || strcmp(look->service, look->target->gpus->service->name) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(look->key, keys[i]) == 0)
			return true;
	return false;
}

static void other_use_walk(struct other_use *look, const struct compose_node *node, int level)
{
	unsigned line, column;

	if (look->found || node->via.file)
		return; /* an alias: what it stands for is looked at where it is written */
	for (size_t i = 0; node->type == COMPOSE_LIST && i < node->n; i++)
		other_use_walk(look, node->items[i], level + 1);
	for (size_t i = 0; node->type == COMPOSE_MAP && i < node->n; i++) {
		const struct compose_entry *entry = &node->entries[i];

		if (level == 0)
			look->service = strcmp(entry->key, "services") == 0 ? "" : NULL;
		if (level == 1 && look->service)
			look->service = entry->key;
		if (level == 2 || (level < 2 && !look->service))
			look->key = entry->key;
		other_use_walk(look, entry->value, level + 1);
	}
	if (look->found || node->type != COMPOSE_SCALAR || !uses(node, look->variable) ||
	    is_of_request(look->a, node) || goes_along(look))
		return;
	compose_file_position(node->span.file, node->span.begin, &line, &column);
	look->found = arena_printf(look->a->arena, "`%s`%s%s at %s:%u", look->key ?: "",
				   look->service ? " of " : "", look->service ?: "",
				   node->span.file->shown, line);
}

const char *assign_other_use(struct assigning *a, const struct compose_target *target,
			     const char *variable)
{
	struct other_use look = {.a = a, .target = target, .variable = variable};

	for (size_t i = 0; !look.found && i < a->project->n_documents; i++)
		other_use_walk(&look, a->project->documents[i], 0);
	return look.found;
}

bool assign_is_shared(const struct assigning *a, const struct compose_target *target,
		      const struct compose_request *request)
{
	for (size_t i = 0; i < a->project->n; i++)
		if (assign_sharing(a, target, request, &a->all[i]))
			return true;
	return false;
}
