/*
 * Who is made anew, and after whom. Rounds of Kahn's algorithm: in each, everything whose
 * dependencies are done; the changed services alone as long as any of them is ready, so that their
 * dependents come behind all of them and are made anew once.
 */
#include "rollout/rollout.h"

#include <errno.h>
#include <string.h>

/* Of each service of the project. */
struct mark {
	bool taken, changed, done;
};

static size_t index_of(const struct compose_project *project, const char *name)
{
	for (size_t i = 0; i < project->n; i++)
		if (strcmp(project->services[i].name, name) == 0)
			return i;
	return SIZE_MAX;
}

static bool depends_on_taken(const struct compose_project *project, size_t service,
			     const struct mark *marks)
{
	const struct compose_service *s = &project->services[service];

	for (size_t i = 0; i < s->n_depends; i++) {
		size_t other = index_of(project, s->depends[i].service);

		if (other != SIZE_MAX && other != service && marks[other].taken)
			return true;
	}
	return false;
}

static int take_changed(const struct compose_project *project, const char *const *changed,
			struct mark *marks, struct error *err)
{
	for (; *changed; changed++) {
		size_t i = index_of(project, *changed);

		if (i == SIZE_MAX)
			return error_set(err, -ENOENT, "project %s has no service %s",
					 project->name, *changed);
		marks[i].taken = marks[i].changed = true;
	}
	return 0;
}

static void take_dependents(const struct compose_project *project, struct mark *marks)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < project->n; i++) {
			if (marks[i].taken || !project->services[i].active ||
			    !depends_on_taken(project, i, marks))
				continue;
			marks[i].taken = more = true;
		}
	}
}

/* All it depends on is done, of what is to be done. */
static bool is_ready(const struct compose_project *project, size_t service,
		     const struct mark *marks)
{
	const struct compose_service *s = &project->services[service];

	if (!marks[service].taken || marks[service].done)
		return false;
	for (size_t i = 0; i < s->n_depends; i++) {
		size_t other = index_of(project, s->depends[i].service);

		if (other != SIZE_MAX && marks[other].taken && !marks[other].done)
			return false;
	}
	return true;
}

/* One round; the number of services it added. */
static size_t add_stage(const struct compose_project *project, struct mark *marks, unsigned stage,
			struct rollout_order *order)
{
	size_t before = order->n;
	bool changed = false;

	for (size_t i = 0; i < project->n && !changed; i++)
		changed = marks[i].changed && is_ready(project, i, marks);
	for (size_t i = 0; i < project->n; i++) {
		if (!is_ready(project, i, marks) || (changed && !marks[i].changed))
			continue;
		order->services[order->n] = &project->services[i];
		order->stages[order->n++] = stage;
	}
	/* Not sooner: those of one stage do not wait for each other. */
	for (size_t i = before; i < order->n; i++)
		marks[order->services[i] - project->services].done = true;
	return order->n - before;
}

/* Some service that is not done and what it waits for, which is not done either. */
static size_t waits_for(const struct compose_project *project, const struct mark *marks,
			size_t service)
{
	const struct compose_service *s = &project->services[service];

	for (size_t i = 0; i < s->n_depends; i++) {
		size_t other = index_of(project, s->depends[i].service);

		if (other != SIZE_MAX && marks[other].taken && !marks[other].done)
			return other;
	}
	return service;
}

/* Nothing that is left is ready: whoever follows what it waits for comes round. */
static int tell_circle(const struct compose_project *project, const struct mark *marks,
		       struct error *err)
{
	auto_text struct text names = {};
	size_t first = 0, at;

	while (!marks[first].taken || marks[first].done)
		first++;
	for (size_t i = 0; i < project->n; i++)
		first = waits_for(project, marks, first);
	text_add(&names, project->services[first].name);
	at = first;
	do {
		at = waits_for(project, marks, at);
		text_printf(&names, " on %s", project->services[at].name);
	} while (at != first);
	return compose_error(&project->services[first].span, -ELOOP, err,
			     "services depend on each other in a circle: %s", names.data);
}

int rollout_order(const struct compose_project *project, const char *const *changed,
		  struct rollout_order *ret_order, struct error *err)
{
	auto_free struct mark *marks = mem_calloc(MAX_OF(project->n, 1), sizeof *marks);
	auto_rollout_order struct rollout_order order = {};
	size_t left = 0;
	int r = take_changed(project, changed, marks, err);

	if (r < 0)
		return r;
	take_dependents(project, marks);
	for (size_t i = 0; i < project->n; i++)
		left += marks[i].taken;
	order.services = mem_calloc(MAX_OF(left, 1), sizeof(struct compose_service *));
	order.stages = mem_calloc(MAX_OF(left, 1), sizeof *order.stages);
	for (unsigned stage = 0; left > 0; stage++) {
		size_t added = add_stage(project, marks, stage, &order);

		if (added == 0)
			return tell_circle(project, marks, err);
		left -= added;
	}
	*ret_order = order;
	order = (struct rollout_order){};
	return 0;
}

void rollout_order_finish(struct rollout_order *order)
{
	free(order->services);
	free(order->stages);
	*order = (struct rollout_order){};
}
