/*
 * The order of the waiting, and the window of it that the placer sees. Tasks stand in lanes
 * (sched_priv.h), ordered by task_rank() and then by id: by submission. The window takes a share
 * from every lane that may start something, then goes by the common order. What ages tasks, shares
 * between users or reserves for a big one belongs into task_rank() and waiting_window().
 */
#include "sched/sched_priv.h"

#include <string.h>

/* Smaller goes first. */
static int64_t task_rank(const struct task_node *t)
{
	return -(int64_t)t->pub.spec.priority;
}

static unsigned log2_of(uint64_t n)
{
	return n ? 64 - (unsigned)__builtin_clzll(n) : 0;
}

static struct lane *lane_get(struct sched *sched, struct task_node *t)
{
	const struct place_request *request = &t->pub.spec.request;
	unsigned vram_log2 = log2_of(request->vram_bytes);
	struct lane *lane;

	for (lane = t->batch->lanes; lane; lane = lane->next) {
		if (lane->cpu == request->cpu && lane->gpus == request->gpus &&
		    lane->vram_log2 == vram_log2 && lane->pin_uuid == request->pin_uuid)
			return lane;
	}
	lane = mem_calloc(1, sizeof *lane);
	lane->batch = t->batch;
	lane->cpu = request->cpu;
	lane->gpus = request->gpus;
	lane->vram_log2 = vram_log2;
	lane->pin_uuid =
	    request->pin_uuid ? string_pool_get(&sched->strings, request->pin_uuid) : NULL;
	lane->next = t->batch->lanes;
	t->batch->lanes = lane;
	return lane;
}

static void ready_add(struct sched *sched, struct lane *lane)
{
	lane->ready_prev = NULL;
	lane->ready_next = sched->ready;
	if (sched->ready)
		sched->ready->ready_prev = lane;
	sched->ready = lane;
}

static void ready_remove(struct sched *sched, struct lane *lane)
{
	*(lane->ready_prev ? &lane->ready_prev->ready_next : &sched->ready) = lane->ready_next;
	if (lane->ready_next)
		lane->ready_next->ready_prev = lane->ready_prev;
}

void waiting_add(struct sched *sched, struct task_node *t)
{
	t->order = (struct order_node){.rank = task_rank(t), .id = t->pub.id};
	if (t->pub.not_before_ms > 0) {
		t->order.rank = t->pub.not_before_ms;
		t->delayed = true;
		order_insert(&sched->delayed, &t->order);
		return;
	}
	t->lane = lane_get(sched, t);
	if (order_size(&t->lane->order) == 0)
		ready_add(sched, t->lane);
	order_insert(&t->lane->order, &t->order);
}

void waiting_remove(struct sched *sched, struct task_node *t)
{
	if (t->delayed) {
		order_remove(&sched->delayed, &t->order);
		t->delayed = false;
		return;
	}
	order_remove(&t->lane->order, &t->order);
	if (order_size(&t->lane->order) == 0)
		ready_remove(sched, t->lane);
	t->lane = NULL;
}

void waiting_wake(struct sched *sched, int64_t now_ms)
{
	struct order_node *first;

	while ((first = order_first(&sched->delayed)) && first->rank <= now_ms) {
		struct task_node *t = task_of_order(first);

		waiting_remove(sched, t);
		t->pub.not_before_ms = 0;
		waiting_add(sched, t);
		sched_touch(sched);
	}
}

/* May something of it start now, as far as its batch says? */
static bool lane_is_open(const struct sched *sched, const struct lane *lane)
{
	const struct batch_node *b = lane->batch;
	const struct task_node *head;

	if (b == &sched->singles)
		return true;
	if (b->pub.state != SCHED_BATCH_RUNNING)
		return false;
	head = task_of_order(order_first(&lane->order));
	return head->pub.spec.request.threads == 0 || b->active < head->pub.spec.request.threads;
}

struct head {
	struct lane *lane;
	const struct order_node *first;
};

static int compare_heads(const void *a, const void *b)
{
	const struct head *x = a, *y = b;

	return order_compare(x->first->rank, x->first->id, y->first->rank, y->first->id);
}

static int compare_nodes(const void *a, const void *b)
{
	const struct order_node *const *x = a, *const *y = b;

	return order_compare((*x)->rank, (*x)->id, (*y)->rank, (*y)->id);
}

size_t waiting_window(const struct sched *sched, struct task_node **ret_nodes)
{
	struct order_node *nodes[PLACE_WINDOW];
	auto_free struct head *heads = NULL;
	size_t n_heads = 0, room = 0, n = 0;

	for (struct lane *lane = sched->ready; lane; lane = lane->ready_next) {
		if (!lane_is_open(sched, lane))
			continue;
		ARRAY_GROW(heads, n_heads, room);
		heads[n_heads++] = (struct head){lane, order_first(&lane->order)};
	}
	if (n_heads == 0)
		return 0;
	qsort(heads, n_heads, sizeof *heads, compare_heads);
	/* Each lane still to come keeps its share; what one leaves goes to those after it. */
	for (size_t i = 0; i < n_heads && n < PLACE_WINDOW; i++) {
		size_t lanes_left = n_heads - i;
		size_t share = (PLACE_WINDOW - n) / lanes_left;

		n += order_take(&heads[i].lane->order, nodes + n, MAX_OF(share, 1));
	}
	qsort(nodes, n, sizeof *nodes, compare_nodes);
	for (size_t i = 0; i < n; i++)
		ret_nodes[i] = task_of_order(nodes[i]);
	return n;
}

size_t waiting_before(const struct sched *sched, const struct task_node *t)
{
	size_t n = 0;

	for (const struct lane *lane = sched->ready; lane; lane = lane->ready_next)
		n += order_before(&lane->order, t->order.rank, t->pub.id);
	return n;
}

void lanes_destroy(struct sched *sched, struct batch_node *b)
{
	while (b->lanes) {
		struct lane *lane = b->lanes;

		b->lanes = lane->next;
		if (order_size(&lane->order) > 0)
			ready_remove(sched, lane);
		string_pool_put(&sched->strings, lane->pin_uuid);
		free(lane);
	}
}
