/*
 * Which requests stand in the same bytes of the compose files (an anchor, a merge key, extends):
 * who changes one changes the other.
 */
#include "compose/assign_priv.h"

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

bool assign_is_shared(const struct assigning *a, const struct compose_target *target,
		      const struct compose_request *request)
{
	for (size_t i = 0; i < a->project->n; i++)
		if (assign_sharing(a, target, request, &a->all[i]))
			return true;
	return false;
}
