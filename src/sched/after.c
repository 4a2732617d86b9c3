/*
 * What waits for what. A waiting (or held) task that is to run after others keeps one watch for
 * each thing it still waits for, in the list of that thing; when a task or batch ends, its list is
 * gone through once. What can never be met any more cancels who waits for it, which ends that, and
 * so on: ends are put into a list and told one after the other (after_settle()), so a chain of any
 * length takes no stack. Ids only ever point back to what was there before: there are no circles.
 *
 * After a restart tasks come in any order of ids: they are put down and linked when all are there
 * (sched_restored()). The store has the end of a task and what it means for others in one
 * transaction; what is neither here nor known to have ended is gone.
 */
#include "sched/sched_priv.h"

#include "util/duration.h"

#include <errno.h>
#include <string.h>

enum verdict { PENDING, MET, NEVER, UNKNOWN };

static const char *const on_names[SCHED_AFTER_ON_COUNT] = {
    [SCHED_AFTER_SUCCESS] = "success",
    [SCHED_AFTER_FAILURE] = "failure",
    [SCHED_AFTER_END] = "end",
};

static const char *const on_verbs[SCHED_AFTER_ON_COUNT] = {
    [SCHED_AFTER_SUCCESS] = "succeed",
    [SCHED_AFTER_FAILURE] = "fail",
    [SCHED_AFTER_END] = "end",
};

const char *sched_after_on_name(enum sched_after_on on)
{
	return on_names[on];
}

int sched_after_on_parse(const char *name, enum sched_after_on *ret_on, struct error *err)
{
	for (unsigned i = 0; i < SCHED_AFTER_ON_COUNT; i++) {
		if (strcmp(name, on_names[i]) == 0) {
			*ret_on = (enum sched_after_on)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "'%.64s' is none of success, failure, end", name);
}

static bool batch_went_well(const struct sched_batch *batch)
{
	return batch->counts[SCHED_DONE] == batch->total;
}

static enum verdict judge(enum sched_after_on on, bool well)
{
	if (on == SCHED_AFTER_END)
		return MET;
	return well == (on == SCHED_AFTER_SUCCESS) ? MET : NEVER;
}

/* By what is in memory. */
static enum verdict verdict_here(const struct sched *sched, enum sched_after_on on, uint64_t id,
				 bool is_batch)
{
	if (is_batch) {
		const struct batch_node *b = batch_find(sched, id);

		if (!b)
			return UNKNOWN;
		return b->pub.ended_at_ms == 0 ? PENDING : judge(on, batch_went_well(&b->pub));
	}
	const struct task_node *t = task_find(sched, id);

	if (!t)
		return UNKNOWN;
	return sched_state_is_final(t->pub.state) ? judge(on, t->pub.state == SCHED_DONE) : PENDING;
}

int after_check(const struct sched *sched, const struct sched_after *after, struct error *err)
{
	if (!after)
		return 0;
	if (after->n > SCHED_AFTER_MAX)
		return error_set(err, -EINVAL,
				 "is to run after %zu others; at most %d can be named", after->n,
				 SCHED_AFTER_MAX);
	for (size_t i = 0; i < after->n; i++) {
		const struct sched_after_item *item = &after->items[i];

		if (!item->ended &&
		    verdict_here(sched, after->on, item->id, item->is_batch) == UNKNOWN)
			return error_set(err, -ESRCH, "is to run after %s %llu, which is not there",
					 item->is_batch ? "batch" : "task",
					 (unsigned long long)item->id);
	}
	return 0;
}

static const char *const fates[SCHED_STATE_COUNT] = {
    [SCHED_WAITING] = "waits",         [SCHED_HELD] = "is held",
    [SCHED_STARTING] = "starts",       [SCHED_RUNNING] = "runs",
    [SCHED_DONE] = "ended well",       [SCHED_FAILED] = "failed",
    [SCHED_CANCELED] = "was canceled", [SCHED_LOST] = "ended nobody knows how",
};

/* "task 12 failed: exit code 1", "batch 3 ended with 2 of 10 done", "task 4 is not there". */
static void fate_text(const struct sched *sched, const struct sched_after_item *item, uid_t reader,
		      char *buf, size_t size)
{
	const struct task_node *t = item->is_batch ? NULL : task_find(sched, item->id);
	const struct batch_node *b = item->is_batch ? batch_find(sched, item->id) : NULL;
	unsigned long long id = item->id;
	/* A reason may quote the task's output, which is its owner's. */
	const char *reason =
	    t && (reader == 0 || reader == t->pub.spec.uid) && t->pub.reason ? t->pub.reason : "";

	if (t)
		(void)snprintf(buf, size, "task %llu %s%s%.120s", id, fates[t->pub.state],
			       *reason ? ": " : "", reason);
	else if (b)
		(void)snprintf(buf, size, "batch %llu ended with %u of %u done", id,
			       b->pub.counts[SCHED_DONE], b->pub.total);
	else if (item->ended)
		(void)snprintf(buf, size, "%s %llu ended %s", item->is_batch ? "batch" : "task", id,
			       item->ended_well ? "well" : "otherwise");
	else
		(void)snprintf(buf, size, "%s %llu is not there any more",
			       item->is_batch ? "batch" : "task", id);
}

#define NOT_STARTED "not started: "

/* Why a task that was canceled for what it waited for was: the end of its chain, which its reason
 * names already. NULL: it was canceled otherwise. */
static const char *root_of(const struct sched *sched, const struct sched_spec *spec,
			   const struct sched_after_item *item)
{
	const struct task_node *t = item->is_batch ? NULL : task_find(sched, item->id);
	const char *root;

	if (!t || t->pub.state != SCHED_CANCELED || !t->pub.reason ||
	    (spec->uid != 0 && spec->uid != t->pub.spec.uid) ||
	    strncmp(t->pub.reason, NOT_STARTED, strlen(NOT_STARTED)) != 0)
		return NULL;
	root = strstr(t->pub.reason, "; ");
	return root ? root + 2 : NULL;
}

/* "not started: waited for task 12 to succeed; task 12 failed: exit code 1" */
static void never_text(const struct sched *sched, const struct sched_spec *spec,
		       const struct sched_after_item *item, char *buf, size_t size)
{
	const struct sched_after *after = spec->after;
	char fate[SCHED_REASON_MAX / 2];

	if (root_of(sched, spec, item))
		(void)snprintf(fate, sizeof fate, "%s", root_of(sched, spec, item));
	else
		fate_text(sched, item, spec->uid, fate, sizeof fate);
	if (after->any && after->n > 1)
		(void)snprintf(buf, size, NOT_STARTED "waited for one of %zu to %s; the last, %s",
			       after->n, on_verbs[after->on], fate);
	else
		(void)snprintf(buf, size, NOT_STARTED "waited for %s %llu to %s; %s",
			       item->is_batch ? "batch" : "task", (unsigned long long)item->id,
			       on_verbs[after->on], fate);
}

bool after_begin(struct sched *sched, struct task_node *t, bool again, char *ret_why, size_t size)
{
	const struct sched_after *after = t->pub.spec.after;
	const struct sched_after_item *never = NULL;
	struct sched_after_item *left;
	size_t n = 0;
	bool met = false;

	if (!after || after->n == 0)
		return true;
	left = mem_alloc(after->n * sizeof *left);
	for (size_t i = 0; i < after->n; i++) {
		const struct sched_after_item *item = &after->items[i];
		enum verdict verdict = verdict_here(sched, after->on, item->id, item->is_batch);

		if (verdict == UNKNOWN)
			verdict = item->ended ? judge(after->on, item->ended_well) : NEVER;
		if (verdict == PENDING)
			left[n++] = *item;
		else if (verdict == NEVER)
			never = item;
		met |= verdict == MET;
	}
	if (!again && never && (!after->any || (n == 0 && !met))) {
		never_text(sched, &t->pub.spec, never, ret_why, size);
		free(left);
		return false;
	}
	if (n == 0 || (after->any && met)) {
		free(left);
		return true;
	}
	t->pub.after = left;
	t->pub.n_after = n;
	after_link(sched, t);
	return true;
}

void after_link(struct sched *sched, struct task_node *t)
{
	ARRAY_GROW(sched->unlinked, sched->n_unlinked, sched->unlinked_room);
	sched->unlinked[sched->n_unlinked++] = t->pub.id;
}

static void watch_out(struct watch *watch)
{
	if (!watch->slot)
		return;
	*watch->slot = watch->next;
	if (watch->next)
		watch->next->slot = watch->slot;
	watch->slot = NULL;
}

static void watch_in(struct watch *watch, struct watch **list)
{
	watch->slot = list;
	watch->next = *list;
	if (watch->next)
		watch->next->slot = &watch->next;
	*list = watch;
}

static struct ties *ties_get(struct task_node *t)
{
	if (!t->ties)
		t->ties = mem_calloc(1, sizeof *t->ties);
	return t->ties;
}

static struct watch **watchers_of(struct task_node *t)
{
	return &ties_get(t)->watchers;
}

static void watches_drop(struct task_node *t)
{
	if (!t->ties)
		return;
	for (size_t i = 0; i < t->ties->n_watches; i++)
		watch_out(&t->ties->watches[i]);
	free(t->ties->watches);
	t->ties->watches = NULL;
	t->ties->n_watches = 0;
}

void after_unlink(struct sched *sched, struct task_node *t)
{
	(void)sched;
	watches_drop(t);
	free(t->pub.after);
	t->pub.after = NULL;
	t->pub.n_after = 0;
}

/* They look again, and find that it is gone. */
static void abandon(struct sched *sched, struct watch *watchers)
{
	while (watchers) {
		struct watch *watch = watchers;

		watchers = watch->next;
		watch->slot = NULL;
		after_link(sched, watch->waiter);
	}
}

void after_forget_task(struct sched *sched, struct task_node *t)
{
	after_unlink(sched, t);
	if (t->ties)
		abandon(sched, t->ties->watchers);
	free(t->ties);
	t->ties = NULL;
}

void after_forget_batch(struct sched *sched, struct batch_node *b)
{
	abandon(sched, b->watchers);
	b->watchers = NULL;
}

static void free_to_go(struct sched *sched, struct task_node *t)
{
	after_unlink(sched, t);
	task_changed(sched, t);
	sched_touch(sched);
	if (!t->blocked)
		return;
	t->blocked = false;
	waiting_add(sched, t);
}

static void give_up(struct sched *sched, struct task_node *t, const struct sched_after_item *item,
		    int64_t now_ms)
{
	char why[SCHED_REASON_MAX];

	never_text(sched, &t->pub.spec, item, why, sizeof why);
	task_reason(t, "%s", why);
	(void)task_move(sched, t, SCHED_EV_CANCEL, now_ms);
}

/* One thing it waits for was met, or never will be. */
static void item_resolve(struct sched *sched, struct task_node *t, uint64_t id, bool is_batch,
			 enum verdict verdict, int64_t now_ms)
{
	const struct sched_after *after = t->pub.spec.after;
	struct sched_after_item item;
	size_t i = 0;

	while (i < t->pub.n_after &&
	       (t->pub.after[i].id != id || t->pub.after[i].is_batch != is_batch))
		i++;
	if (i == t->pub.n_after)
		return;
	item = t->pub.after[i];
	memmove(&t->pub.after[i], &t->pub.after[i + 1],
		(--t->pub.n_after - i) * sizeof *t->pub.after);
	task_changed(sched, t);
	sched->view.valid = false;
	if (verdict == NEVER && (!after->any || t->pub.n_after == 0))
		give_up(sched, t, &item, now_ms);
	else if (t->pub.n_after == 0 || (verdict == MET && after->any))
		free_to_go(sched, t);
}

/* Enter its watches; what has ended meanwhile is resolved at once. */
static void link_now(struct sched *sched, struct task_node *t, int64_t now_ms)
{
	const struct sched_after *after = t->pub.spec.after;
	struct sched_after_item *items;
	size_t n = t->pub.n_after;
	struct ties *ties;

	watches_drop(t);
	if (n == 0 || !after || sched_state_is_final(t->pub.state))
		return;
	ties = ties_get(t);
	ties->watches = mem_calloc(n, sizeof *ties->watches);
	ties->n_watches = n;
	items = mem_alloc(n * sizeof *items);
	memcpy(items, t->pub.after, n * sizeof *items);
	for (size_t i = 0; i < n && ties->watches; i++) {
		struct watch *watch = &ties->watches[i];
		enum verdict v = verdict_here(sched, after->on, items[i].id, items[i].is_batch);

		*watch =
		    (struct watch){.waiter = t, .id = items[i].id, .is_batch = items[i].is_batch};
		if (v == UNKNOWN)
			v = items[i].ended                 ? judge(after->on, items[i].ended_well)
			    : after->on == SCHED_AFTER_END ? MET
							   : NEVER;
		if (v != PENDING)
			item_resolve(sched, t, items[i].id, items[i].is_batch, v, now_ms);
		else if (items[i].is_batch)
			watch_in(watch, &batch_find(sched, items[i].id)->watchers);
		else
			watch_in(watch, watchers_of(task_find(sched, items[i].id)));
	}
	free(items);
}

static void ended_add(struct sched *sched, struct ended_item item)
{
	ARRAY_GROW(sched->ended, sched->n_ended, sched->ended_room);
	sched->ended[sched->n_ended++] = item;
}

void after_task_ended(struct sched *sched, struct task_node *t)
{
	if (t->ties && t->ties->watchers)
		ended_add(sched, (struct ended_item){.task = t});
}

void after_batch_ended(struct sched *sched, struct batch_node *b)
{
	if (b->watchers)
		ended_add(sched, (struct ended_item){.batch = b});
}

static void tell(struct sched *sched, struct ended_item item, int64_t now_ms)
{
	struct watch **list = item.task ? watchers_of(item.task) : &item.batch->watchers;
	bool well =
	    item.task ? item.task->pub.state == SCHED_DONE : batch_went_well(&item.batch->pub);

	while (*list) {
		struct watch watch = **list;

		watch_out(*list);
		item_resolve(sched, watch.waiter, watch.id, watch.is_batch,
			     judge(watch.waiter->pub.spec.after->on, well), now_ms);
	}
}

void after_settle(struct sched *sched, int64_t now_ms)
{
	if (sched->draining)
		return;
	sched->draining = true;
	while ((sched->begun && sched->n_unlinked > 0) || sched->n_ended > 0) {
		struct task_node *t;

		if (sched->n_ended > 0) {
			tell(sched, sched->ended[--sched->n_ended], now_ms);
			continue;
		}
		t = task_find(sched, sched->unlinked[--sched->n_unlinked]);
		if (t)
			link_now(sched, t, now_ms);
	}
	sched->draining = false;
}

void after_finish(struct sched *sched)
{
	free(sched->ended);
	free(sched->unlinked);
}

void after_reason(const struct sched *sched, const struct task_node *t, char *buf, size_t size)
{
	const struct sched_after *after = t->pub.spec.after;
	const struct sched_after_item *first = &t->pub.after[0];
	const struct task_node *task = first->is_batch ? NULL : task_find(sched, first->id);
	const struct batch_node *batch = first->is_batch ? batch_find(sched, first->id) : NULL;
	size_t others = t->pub.n_after - 1;
	char how[128] = "", more[64] = "";

	if (task && task->run)
		(void)snprintf(
		    how, sizeof how, " (%s, %s)", sched_state_name(task->pub.state),
		    DURATION_TEXT(
			MAX_OF(sched->last_ms -
				   task_current((struct task_node *)(uintptr_t)task)->started_at_ms,
			       0)));
	else if (task)
		(void)snprintf(how, sizeof how, " (%s)", sched_state_name(task->pub.state));
	else if (batch)
		(void)snprintf(how, sizeof how, " (%u of %u ended)",
			       batch->pub.total - batch->pub.counts[SCHED_WAITING] -
				   batch->pub.counts[SCHED_HELD] - batch->active,
			       batch->pub.total);
	if (others > 0)
		(void)snprintf(more, sizeof more, "%s %zu more", after->any ? " or one of" : " and",
			       others);
	(void)snprintf(buf, size, "waits for %s %llu%s%s to %s", first->is_batch ? "batch" : "task",
		       (unsigned long long)first->id, how, more, on_verbs[after->on]);
}
