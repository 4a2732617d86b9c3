/*
 * See assign_priv.h. What each use of a variable is to say when all is written, as far as it is
 * decided: the first one that has a variable keeps it, and whoever is to say another thing leaves
 * it. Two uses of one variable within a service are no different.
 *
 * A commented-out line that says what is in force anyway becomes one that does only at the end:
 * by then it is known who has left the variable, and a second run, which finds them gone, has
 * nothing to do.
 */
#include "compose/assign_priv.h"

#include <string.h>

static bool same_span(const struct compose_span *one, const struct compose_span *other)
{
	return one->file && one->file == other->file && one->begin == other->begin &&
	       one->end == other->end;
}

/* The outermost use a variable's place is in. */
const struct compose_use *assign_outermost(const struct compose_node *node,
					   const struct compose_use *use)
{
	for (size_t i = 0; i < node->n_uses; i++)
		if (!node->uses[i].nested && node->uses[i].begin <= use->begin &&
		    use->end <= node->uses[i].end)
			return &node->uses[i];
	return use;
}

/* --- who has left --- */

static void add_left(struct assigning *a, const struct assign_left *left)
{
	ARRAY_GROW(a->left, a->n_left, a->left_room);
	a->left[a->n_left++] = *left;
}

void assign_left_request(struct assigning *a, const struct compose_service *service,
			 const struct compose_request *request)
{
	for (size_t i = 0; i < request->n_values; i++)
		add_left(
		    a, &(struct assign_left){service, request->values[i].node->span, 0, SIZE_MAX});
}

void assign_left_region(struct assigning *a, const struct assign_region *region)
{
	const struct compose_node *node = region->part.node;
	const struct compose_use *use = region->value.use;

	if (use)
		use = assign_outermost(node, use);
	/* A bare KEY gets an entry of the service's own. */
	add_left(a, &(struct assign_left){use ? NULL : region->target->gpus->service, node->span,
					  use ? use->begin : 0, use ? use->end : SIZE_MAX});
}

static bool has_left(const struct assigning *a, const struct compose_service *service,
		     const struct compose_value *value)
{
	size_t begin = value->use ? value->use->begin : 0;
	size_t end = value->use ? value->use->end : SIZE_MAX;

	for (size_t i = 0; i < a->n_left; i++) {
		const struct assign_left *left = &a->left[i];

		if ((!left->service || left->service == service) &&
		    same_span(&left->span, &value->node->span) && left->begin <= begin &&
		    end <= left->end)
			return true;
	}
	return false;
}

/* --- who hangs on a variable --- */

/* Of one name; what an included project's files set is for it alone, but a line that is added to
 * the outer one's wins there, too. */
static bool is_variable_of(const struct compose_use *use, const struct assign_region *region)
{
	const struct compose_assignment *own = region->value.assignment;

	if (use->unused || strcmp(use->name, region->variable) != 0)
		return false;
	return !own || (use->variable && use->variable->assignment &&
			same_span(&own->span, &use->variable->assignment->span));
}

/* Which part of its template gives the value: the outermost use, or, when that is not all of it,
 * any of them. */
static void extent(const struct compose_value *value, size_t *ret_begin, size_t *ret_end)
{
	const struct compose_use *use =
	    value->use ? assign_outermost(value->node, value->use) : NULL;
	bool within = use && value->end - value->begin <= strlen(use->value);

	*ret_begin = within ? use->begin : 0;
	*ret_end = within ? use->end : SIZE_MAX;
}

/* Is a use that this one is the default of decided by now? Then the default is no more asked for.
 */
static bool is_hidden(const struct assigning *a, const struct compose_node *node,
		      const struct compose_use *use)
{
	const struct compose_use *outer = assign_outermost(node, use);

	for (size_t i = 0; outer != use && i < a->n_holds; i++)
		if (a->holds[i].set && strcmp(a->holds[i].region.variable, outer->name) == 0)
			return true;
	return false;
}

/* Would the value be another one if the region's variable were? */
static bool hangs_on(const struct assigning *a, const struct compose_value *value,
		     const struct assign_region *region)
{
	const struct compose_assignment *own = region->value.assignment;
	size_t begin, end;

	if (!region->value.use)
		return own && value->assignment && same_span(&own->span, &value->assignment->span);
	if (!value->use && value->assignment && own)
		return same_span(&own->span, &value->assignment->span);
	extent(value, &begin, &end);
	for (size_t i = 0; value->use && i < value->node->n_uses; i++) {
		const struct compose_use *use = &value->node->uses[i];

		if (use->begin >= begin && use->end <= end && is_variable_of(use, region) &&
		    !is_hidden(a, value->node, use))
			return true;
	}
	return false;
}

/* Do both name the same GPUs, one by one, whichever way? */
static bool same_devices(const struct assigning *a, const char *one, const char *other)
{
	auto_free char *ones = mem_strdup(one), *others = mem_strdup(other);
	char *left = ones, *right = others;

	if (strcmp(one, other) == 0)
		return true;
	while (left && right) {
		const char *names[] = {strsep(&left, ","), strsep(&right, ",")};
		struct assign_set sets[2];

		if (!assign_meant(a, names[0], &sets[0]) || !assign_meant(a, names[1], &sets[1]) ||
		    !assign_sets_equal(&sets[0], &sets[1]))
			return false;
	}
	return !left && !right;
}

/* It is decided what this says: assign_hold_against() looks at that. */
static bool is_held(const struct assigning *a, const struct compose_service *service,
		    const struct compose_value *value)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		const struct assign_region *region = &a->holds[i].region;

		if (region->target->gpus->service == service &&
		    same_span(&region->part.node->span, &value->node->span) &&
		    region->part.begin <= value->begin && value->end <= region->part.end)
			return true;
	}
	return false;
}

enum assign_hanging assign_hanging(const struct assigning *a, const struct compose_gpus *gpus,
				   const struct assign_region *region, const char *whole)
{
	enum assign_hanging hanging = ASSIGN_HANGS_NOT;

	for (size_t i = 0; i < gpus->n; i++) {
		const struct compose_request *request = &gpus->requests[i];

		for (size_t k = 0; k < request->n_values; k++) {
			const struct compose_value *value = &request->values[k];
			const char *stood = value->use
						? assign_outermost(value->node, value->use)->value
						: value->node->text;

			if ((!request->in_force && request != gpus->filter) ||
			    !hangs_on(a, value, region) || has_left(a, gpus->service, value))
				continue;
			hanging = MAX_OF(hanging, is_held(a, gpus->service, value) ||
							  same_devices(a, stood, whole)
						      ? ASSIGN_FOLLOWS
						      : ASSIGN_PARTS);
		}
	}
	return hanging;
}

/* --- what is decided --- */

const struct compose_gpus *assign_hold_against(const struct assigning *a,
					       const struct assign_region *region,
					       const char *whole, bool set_only)
{
	for (size_t i = 0; i < a->n_holds; i++) {
		const struct assign_hold *hold = &a->holds[i];
		bool meets = hold->set && hangs_on(a, &region->value, &hold->region);

		/* Who would set it changes what is held, too. */
		meets = meets || (!set_only && hangs_on(a, &hold->region.value, region));
		if (meets && strcmp(hold->whole, whole) != 0)
			return hold->region.target->gpus;
	}
	return NULL;
}

bool assign_hold_is_set(const struct assigning *a, const struct assign_region *region,
			const char *whole)
{
	for (size_t i = 0; i < a->n_holds; i++)
		if (a->holds[i].set && strcmp(a->holds[i].whole, whole) == 0 &&
		    strcmp(a->holds[i].region.variable, region->variable) == 0 &&
		    hangs_on(a, &region->value, &a->holds[i].region))
			return true;
	return false;
}

void assign_hold_add(struct assigning *a, const struct assign_region *region, const char *whole,
		     bool set)
{
	ARRAY_GROW(a->holds, a->n_holds, a->holds_room);
	a->holds[a->n_holds++] =
	    (struct assign_hold){.region = *region, .whole = whole, .set = set};
}

/* 1: its line has become one that does. */
static int uncomment(struct assigning *a, size_t i, struct error *err)
{
	struct assign_hold *hold = &a->holds[i];
	const struct assign_region *region = &hold->region;
	int r;

	if (hold->set || region->value.source != COMPOSE_COMMENTED || !region->value.commented ||
	    assign_hold_against(a, region, hold->whole, false) ||
	    assign_keeper(a, region, hold->whole, true) ||
	    assign_other_use(a, region->target, region->variable))
		return 0;
	hold->set = true;
	r = assign_env_set(a, region, region->variable, hold->whole, err);
	return r < 0 ? r : 1;
}

int assign_hold_finish(struct assigning *a, struct error *err)
{
	bool again = true;
	int r;

	/* One that is set may free another one that was its default. */
	while (again) {
		again = false;
		for (size_t i = 0; i < a->n_holds; i++) {
			r = uncomment(a, i, err);
			if (r < 0)
				return r;
			again = again || r > 0;
		}
	}
	return 0;
}
