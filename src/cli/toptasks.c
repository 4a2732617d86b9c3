/* See toptasks.h. */
#include "cli/toptasks.h"

#include "cli/summary.h"
#include "cli/tasktable.h"

#include <string.h>

/* What is compared first, worked out once for each task. */
struct item {
	const json_t *task;
	double rank;
	const char *name;
	uint64_t id;
};

static const char *const sort_names[] = {
    [TOPTASKS_BY_STATE] = "state", [TOPTASKS_BY_ID] = "id",     [TOPTASKS_BY_NAME] = "name",
    [TOPTASKS_BY_VRAM] = "VRAM",   [TOPTASKS_BY_TIME] = "time",
};

const char *toptasks_sort_name(enum toptasks_sort sort)
{
	return sort_names[sort];
}

static double state_rank(const char *state)
{
	static const char *const order[] = {"running", "starting", "waiting", "held"};

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if (strcmp(state, order[i]) == 0)
			return (double)i;
	return ARRAY_LEN(order);
}

static bool matches(const json_t *task, const char *filter)
{
	static const char *const keys[] = {"name", "state", "kind"};
	char buf[32];

	if (!*filter)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcasestr(jsonx_get_string(task, keys[i], ""), filter))
			return true;
	(void)snprintf(buf, sizeof buf, "%llu", (unsigned long long)jsonx_get_u64(task, "id", 0));
	if (strcmp(buf, filter) == 0)
		return true;
	return jsonx_has(task, "batch") &&
	       strcmp(summary_batch_name(json_object_get(task, "batch"), buf), filter) == 0;
}

static double rank_of(const json_t *task, enum toptasks_sort sort, int64_t now_ms)
{
	double state = state_rank(jsonx_get_string(task, "state", ""));
	double id = (double)jsonx_get_u64(task, "id", 0);

	switch (sort) {
	case TOPTASKS_BY_STATE:
		/* Ended ones newest first: their ids count down, within the last rank. */
		return state * 1e15 + (state >= 4 ? 1e14 - id : id);
	case TOPTASKS_BY_VRAM:
		return -(double)jsonx_get_u64(json_object_get(task, "request"), "vram_bytes", 0);
	case TOPTASKS_BY_TIME:
		return -tasktable_seconds(task, now_ms);
	case TOPTASKS_BY_ID:
	case TOPTASKS_BY_NAME:
	case TOPTASKS_SORT_COUNT:
		break;
	}
	return 0;
}

static int compare(const void *a, const void *b, void *sort)
{
	const struct item *x = a, *y = b;
	int by_name =
	    *(enum toptasks_sort *)sort == TOPTASKS_BY_NAME ? strcmp(x->name, y->name) : 0;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return by_name != 0 ? by_name : (x->id > y->id) - (x->id < y->id);
}

size_t toptasks_select(const json_t *tasks, const char *filter, enum toptasks_sort sort,
		       int64_t now_ms, const json_t ***ret_items)
{
	auto_free struct item *items = mem_calloc(json_array_size(tasks) + 1, sizeof *items);
	const json_t *task;
	size_t i, n = 0;

	json_array_foreach (tasks, i, task)
		if (matches(task, filter))
			items[n++] = (struct item){
			    .task = task,
			    .rank = rank_of(task, sort, now_ms),
			    .name = jsonx_get_string(task, "name", ""),
			    .id = jsonx_get_u64(task, "id", 0),
			};
	qsort_r(items, n, sizeof *items, compare, &sort);
	*ret_items = mem_calloc(n + 1, sizeof **ret_items);
	for (i = 0; i < n; i++)
		(*ret_items)[i] = items[i].task;
	return n;
}
