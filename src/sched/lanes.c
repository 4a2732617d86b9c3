/*
 * The order of the waiting, and the window of it that the placer sees.
 *
 * A task's rank is the time it came into the queue, less what its priority is worth: `ageing_ms` a
 * point. That never changes while it waits, and yet it ages: whoever waits that long is where one
 * who comes then with a point more would be. Tasks stand in lanes (sched_priv.h) by rank, then by
 * id. A user's fair share moves all his lanes together (users.c); so no tree is ever resorted.
 *
 * The window takes a share from every lane that may start something, then goes by the common order.
 * A task that waits for its time, or after others, is in no lane.
 */
#include "sched/ask.h"

#include <math.h>

/* A priority beyond this counts as this; without ageing, a point is worth 139 years. */
#define PRIORITY_MAX (1 << 20)
#define POINT_MAX_MS ((int64_t)1 << 42)

static int64_t point_ms(const struct sched *sched)
{
	int64_t ageing = sched->config.ageing_ms;

	return ageing < 0 ? POINT_MAX_MS : MIN_OF(ageing, POINT_MAX_MS);
}

static int64_t priority_of(const struct task_node *t)
{
	return MAX_OF(-PRIORITY_MAX, MIN_OF(t->pub.spec.priority, PRIORITY_MAX));
}

/* Smaller goes first. */
static int64_t task_rank(const struct sched *sched, const struct task_node *t)
{
	return t->pub.queued_at_ms - priority_of(t) * point_ms(sched);
}

int waiting_level(const struct sched *sched, const struct task_node *t, int64_t now_ms)
{
	int64_t waited = MAX_OF(now_ms - t->pub.queued_at_ms, 0) - t->user->offset_ms;
	double aged;

	if (sched->config.ageing_ms < 0)
		return (int)priority_of(t);
	aged = floor((double)waited / (double)point_ms(sched));
	return (int)(priority_of(t) + (int64_t)MAX_OF(-1e9, MIN_OF(aged, 1e9)));
}

void waiting_queue(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	sched->last_queued_ms = MAX_OF(sched->last_queued_ms, now_ms);
	t->pub.queued_at_ms = MAX_OF(sched->last_queued_ms, t->pub.spec.not_before_ms);
}

static unsigned log2_of(uint64_t n)
{
	return n ? 64 - (unsigned)__builtin_clzll(n) : 0;
}

static void lane_destroy(struct sched *sched, struct lane *lane)
{
	*lane->slot = lane->next;
	if (lane->next)
		lane->next->slot = lane->slot;
	*(lane->ready_prev ? &lane->ready_prev->ready_next : &sched->ready) = lane->ready_next;
	if (lane->ready_next)
		lane->ready_next->ready_prev = lane->ready_prev;
	free(lane);
}

/* Shares lie above all sizes, in steps of a sixteenth. */
static unsigned vram_step(const struct place_request *request)
{
	return request->fraction_milli > 0 ? 64 + request->fraction_milli * 16 / 1000
					   : log2_of(request->vram_bytes);
}

static struct lane *lane_create(struct sched *sched, const struct task_node *t,
				const struct place_request *request, struct lane **slot)
{
	struct lane *lane = mem_calloc(1, sizeof *lane);

	lane->batch = t->batch;
	lane->user = t->user;
	lane->cpu = request->cpu;
	lane->gpus = request->gpus;
	lane->vram_step = vram_step(request);
	lane->exclusive = request->exclusive;
	lane->start_lock = request->start_lock;
	lane->line_above_bytes = request->line_above_bytes;
	lane->pin_uuid = request->pin_uuid;
	lane->wishes = request->wishes;
	lane->slot = slot;
	lane->next = *slot;
	if (lane->next)
		lane->next->slot = &lane->next;
	*slot = lane;
	lane->ready_next = sched->ready;
	if (sched->ready)
		sched->ready->ready_prev = lane;
	sched->ready = lane;
	return lane;
}

static struct lane *lane_get(struct sched *sched, struct task_node *t)
{
	const struct place_request said = ask_said(t), *request = &said;
	unsigned step = vram_step(request);
	struct lane **slot = t->pub.batch ? &t->batch->lanes : &t->user->singles;

	for (struct lane *lane = *slot; lane; lane = lane->next) {
		if (lane->user == t->user && lane->cpu == request->cpu &&
		    lane->gpus == request->gpus && lane->vram_step == step &&
		    lane->exclusive == request->exclusive &&
		    lane->start_lock == request->start_lock &&
		    lane->line_above_bytes == request->line_above_bytes &&
		    lane->pin_uuid == request->pin_uuid && lane->wishes == request->wishes)
			return lane;
	}
	return lane_create(sched, t, request, slot);
}

void waiting_add(struct sched *sched, struct task_node *t)
{
	t->order = (struct order_node){.rank = task_rank(sched, t), .id = t->pub.id};
	if (t->pub.n_after > 0) {
		t->blocked = true;
		return;
	}
	if (t->pub.not_before_ms > 0) {
		t->order.rank = t->pub.not_before_ms;
		t->delayed = true;
		order_insert(&sched->delayed, &t->order);
		return;
	}
	t->lane = lane_get(sched, t);
	order_insert(&t->lane->order, &t->order);
}

void waiting_remove(struct sched *sched, struct task_node *t)
{
	if (t->blocked) {
		t->blocked = false;
		return;
	}
	if (t->delayed) {
		order_remove(&sched->delayed, &t->order);
		t->delayed = false;
		return;
	}
	order_remove(&t->lane->order, &t->order);
	if (order_size(&t->lane->order) == 0)
		lane_destroy(sched, t->lane);
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

void waiting_rank_all(struct sched *sched)
{
	for (struct task_node *t = sched->first; t; t = t->next) {
		if (!t->lane)
			continue;
		waiting_remove(sched, t);
		waiting_add(sched, t);
	}
}

/* May something of it start now, as far as its batch and its user say? */
static bool lane_is_open(const struct sched *sched, const struct lane *lane)
{
	const struct batch_node *b = lane->batch;
	const struct user_node *user = lane->user;
	const struct task_node *head;

	if (user->limits.max_running > 0 && user->running >= user->limits.max_running)
		return false;
	if (b == &sched->singles)
		return true;
	if (b->pub.state != SCHED_BATCH_RUNNING)
		return false;
	head = task_of_order(order_first(&lane->order));
	return head->pub.spec.request.threads == 0 || b->active < head->pub.spec.request.threads;
}

/* A task, or the first of a lane, and where it stands among all. */
struct head {
	struct lane *lane;
	struct order_node *node;
	int64_t rank;
};

static int compare_heads(const void *a, const void *b)
{
	const struct head *x = a, *y = b;

	return order_compare(x->rank, x->node->id, y->rank, y->node->id);
}

static struct head *heads_list(const struct sched *sched, size_t *ret_n)
{
	struct head *heads = NULL;
	size_t n = 0, room = 0;

	for (struct lane *lane = sched->ready; lane; lane = lane->ready_next) {
		struct order_node *first;

		lane->user->blocked = false;
		if (!lane_is_open(sched, lane))
			continue;
		first = order_first(&lane->order);
		ARRAY_GROW(heads, n, room);
		heads[n++] = (struct head){lane, first, first->rank + lane->user->offset_ms};
	}
	if (n > 0)
		qsort(heads, n, sizeof *heads, compare_heads);
	*ret_n = n;
	return heads;
}

/* As far as its user's limits go. What may do without a GPU needs none of his. */
static bool may_start(const struct sched *sched, const struct user_node *user,
		      const struct ask *ask)
{
	enum user_limit met = user_limit_met(sched, user, &ask->request);

	return met == USER_FREE || (ask->may_cpu && met != USER_RUNNING);
}

/*
 * Those of a lane's first `share` that their user's limits let start now. One that has waited long
 * for its user's own limit keeps his later ones from using up what gets free: else his small tasks
 * would keep his large one waiting for ever.
 */
static size_t lane_take(struct asker *asker, struct lane *lane, size_t share, struct head *to)
{
	const struct sched *sched = asker->sched;
	struct order_node *nodes[PLACE_WINDOW];
	int64_t patience = sched->config.reserve_after_ms;
	size_t n = order_take(&lane->order, nodes, share), kept = 0;

	for (size_t i = 0; i < n; i++) {
		const struct task_node *t = task_of_order(nodes[i]);
		struct ask ask;

		ask_now(asker, t, &ask);
		if (lane->user->blocked && lane->gpus > 0)
			break;
		if (may_start(sched, lane->user, &ask))
			to[kept++] =
			    (struct head){lane, nodes[i], nodes[i]->rank + lane->user->offset_ms};
		else if (patience >= 0 && sched->last_ms - t->pub.queued_at_ms >= patience)
			lane->user->blocked = true;
	}
	return kept;
}

size_t waiting_window(struct asker *asker, struct task_node **ret_nodes)
{
	const struct sched *sched = asker->sched;
	struct head taken[PLACE_WINDOW];
	size_t n_heads, n = 0;
	auto_free struct head *heads = heads_list(sched, &n_heads);

	/* Each lane still to come keeps its share; what one leaves goes to those after it. */
	for (size_t i = 0; i < n_heads && n < PLACE_WINDOW; i++) {
		size_t share = (PLACE_WINDOW - n) / (n_heads - i);

		n += lane_take(asker, heads[i].lane, MAX_OF(share, 1), taken + n);
	}
	if (n > 0)
		qsort(taken, n, sizeof *taken, compare_heads);
	for (size_t i = 0; i < n; i++)
		ret_nodes[i] = task_of_order(taken[i].node);
	return n;
}

size_t waiting_before(const struct sched *sched, const struct task_node *t, size_t *ret_by_fairness)
{
	size_t n = 0, by_fairness = 0;

	for (const struct lane *lane = sched->ready; lane; lane = lane->ready_next) {
		int64_t offset = t->user->offset_ms - lane->user->offset_ms;
		size_t before = order_before(&lane->order, t->order.rank + offset, t->pub.id);
		size_t plain = order_before(&lane->order, t->order.rank, t->pub.id);

		n += before;
		by_fairness += before - MIN_OF(before, plain);
	}
	*ret_by_fairness = by_fairness;
	return n;
}

void lanes_destroy(struct sched *sched, struct lane **lanes)
{
	while (*lanes)
		lane_destroy(sched, *lanes);
}
