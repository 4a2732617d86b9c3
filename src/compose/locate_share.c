/*
 * Services that cannot be changed apart: they reach the same bytes through an anchor, a merge key
 * or extends, or their value comes from one variable.
 */
#include "compose/locate.h"

#include <string.h>

static bool is_same(const struct compose_span *a, const struct compose_span *b)
{
	return a->file && a->file == b->file && a->begin == b->begin && a->end == b->end;
}

static bool overlap(const struct compose_span *a, const struct compose_span *b)
{
	return is_same(a, b) ||
	       (a->file && a->file == b->file && a->begin < b->end && b->begin < a->end);
}

static bool values_share(const struct compose_value *a, const struct compose_value *b)
{
	if (a->variable && b->variable && strcmp(a->variable, b->variable) == 0)
		return true;
	return overlap(&a->edit, &b->edit);
}

bool compose_requests_share(const struct compose_request *a, const struct compose_request *b)
{
	if (is_same(&a->span, &b->span))
		return true;
	for (size_t i = 0; i < a->n_values; i++)
		for (size_t k = 0; k < b->n_values; k++)
			if (values_share(&a->values[i], &b->values[k]))
				return true;
	return false;
}

static bool share(const struct compose_gpus *a, const struct compose_gpus *b)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++)
			if (a->requests[i].in_force && b->requests[k].in_force &&
			    compose_requests_share(&a->requests[i], &b->requests[k]))
				return true;
	return false;
}

void compose_sharers(const struct compose_gpus *gpus, size_t n, const struct compose_gpus *of,
		     struct strings *ret_names)
{
	for (size_t i = 0; i < n; i++)
		if (gpus[i].service != of->service && share(of, &gpus[i]))
			strings_add(ret_names, gpus[i].service->name);
}
