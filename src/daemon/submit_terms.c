/*
 * The members that say when a task may start, how long it may take, and how often it is tried. Of
 * what it waits for, what has ended long ago is looked up later (submit.c): here are no records.
 */
#include "daemon/submit_priv.h"

#include "util/signals.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define RETRIES_MAX    100
#define BATCH_SIZE_MAX 1000000000
#define TTY_MAX        64
/* From now on nobody means a later time, and no sum with it overflows: the year 9999. */
#define AT_MAX_MS INT64_C(253402300799999)

struct after {
	struct sched_after after;
	struct sched_after_item items[];
};

/* Named twice, it is waited for once. At most SCHED_AFTER_MAX are there to be looked at. */
static bool is_named(const struct sched_after *after, uint64_t id, bool is_batch)
{
	for (size_t i = 0; i < after->n; i++)
		if (after->items[i].id == id && after->items[i].is_batch == is_batch)
			return true;
	return false;
}

static int read_ids(const json_t *array, bool is_batch, struct after *to, struct error *err)
{
	struct sched_after *after = &to->after;
	const json_t *item;
	uint64_t most = 0; /* ids mostly come in order */
	size_t i;

	json_array_foreach (array, i, item) {
		uint64_t id = 0;
		int r = read_u64(item, INT64_MAX, &id, err);

		if (r == 0 && id == 0)
			r = error_set(err, -EINVAL, "must be a whole number above 0");
		if (r < 0)
			return error_prefix(err, r, "%s: item %zu", is_batch ? "batches" : "tasks",
					    i);
		if (id <= most && is_named(after, id, is_batch))
			continue;
		most = MAX_OF(most, id);
		to->items[after->n++] = (struct sched_after_item){.id = id, .is_batch = is_batch};
	}
	return 0;
}

static int check_ids(const json_t *array, const char *name, struct error *err)
{
	if (array && !json_is_null(array) && !json_is_array(array))
		return error_set(err, -EINVAL, "%s: must be an array of numbers", name);
	return 0;
}

static int read_on(const json_t *object, struct sched_after *after, struct error *err)
{
	const json_t *on = json_object_get(object, "on"), *any = json_object_get(object, "any");
	const char *text = "success";
	int r = 0;

	if (on && !json_is_null(on))
		r = read_string(on, SUBMIT_NAME_MAX, &text, err);
	if (r == 0)
		r = sched_after_on_parse(text, &after->on, err);
	if (r < 0)
		return error_prefix(err, r, "on");
	if (any && !json_is_null(any))
		r = read_bool(any, &after->any, err);
	return r < 0 ? error_prefix(err, r, "any") : 0;
}

int read_after(const json_t *value, struct target *t, struct error *err)
{
	static const char *const known[] = {"tasks", "batches", "on", "any", NULL};
	const json_t *tasks = json_object_get(value, "tasks"),
		     *batches = json_object_get(value, "batches");
	size_t n = json_array_size(tasks) + json_array_size(batches);
	struct submit *submit = t->submit;
	struct after *after;
	int r;

	if (!json_is_object(value))
		return read_wrong_type("an object", err);
	r = submit_check_members(value, known, "in it", err);
	if (r == 0)
		r = check_ids(tasks, "tasks", err);
	if (r == 0)
		r = check_ids(batches, "batches", err);
	if (r < 0)
		return r;
	if (n > SCHED_AFTER_MAX || submit->n_after_items + n > SUBMIT_AFTER_ITEMS_MAX)
		return error_set(err, -EINVAL,
				 "names more than %d tasks and batches, or all tasks of the batch "
				 "more than %d together",
				 SCHED_AFTER_MAX, SUBMIT_AFTER_ITEMS_MAX);
	submit->n_after_items += n;
	ARRAY_GROW(submit->afters, submit->n_afters, submit->room_afters);
	after = mem_calloc(1, sizeof *after + n * sizeof after->items[0]);
	submit->afters[submit->n_afters++] = &after->after;
	after->after.items = after->items;
	r = read_ids(tasks, false, after, err);
	if (r == 0)
		r = read_ids(batches, true, after, err);
	if (r == 0)
		r = read_on(value, &after->after, err);
	if (r == 0)
		t->spec->after = n > 0 ? &after->after : NULL;
	return r;
}

int read_at(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int64_t ms = 0;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	if (r == 0)
		r = timestamp_parse(text, &ms, err);
	if (r == 0 && (ms <= 0 || ms > AT_MAX_MS))
		r = error_set(err, -EINVAL, "must be a time from 1970 to 9999");
	if (r == 0)
		t->spec->not_before_ms = ms;
	return r;
}

int read_held(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->spec->held, err);
}

int read_private(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->spec->is_private, err);
}

int read_retries(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, RETRIES_MAX, &t->spec->retries, err);
}

int read_retry_delay(const json_t *value, struct target *t, struct error *err)
{
	int r;

	if (json_is_number(value) && json_number_value(value) == 0) {
		t->spec->retry_delay_ms = SCHED_RETRY_AT_ONCE;
		return 0;
	}
	r = read_seconds(value, &t->spec->retry_delay_ms, err);
	if (r == 0 && t->spec->retry_delay_ms > SCHED_RETRY_DELAY_MAX_MS)
		r = error_set(err, -EINVAL, "is at most %d seconds",
			      SCHED_RETRY_DELAY_MAX_MS / 1000);
	return r;
}

int read_soft_limit(const json_t *value, struct target *t, struct error *err)
{
	return read_seconds(value, &t->spec->soft_limit_ms, err);
}

int read_time_limit(const json_t *value, struct target *t, struct error *err)
{
	return read_seconds(value, &t->spec->hard_limit_ms, err);
}

int read_soft_signal(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int number = 0, r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	if (r == 0)
		r = signal_parse(text, &number, err);
	if (r == 0 && (number == SIGKILL || number == SIGSTOP))
		r = error_set(
		    err, -EINVAL,
		    "%s leaves the task no time to end; a soft limit is a request to, the "
		    "hard one ends it",
		    text);
	if (r == 0)
		t->spec->soft_signal = number;
	return r;
}

/* ["retry:2", "alone"] or "retry:2,alone". */
static int rungs_text(const json_t *value, struct text *text, struct error *err)
{
	const json_t *item;
	size_t i;

	if (json_is_string(value)) {
		text_add(text, json_string_value(value));
		return 0;
	}
	if (!json_is_array(value) || json_array_size(value) > SCHED_RUNGS_MAX)
		return error_set(err, -EINVAL, "must be an array of at most %d rungs, or a text",
				 SCHED_RUNGS_MAX);
	json_array_foreach (value, i, item) {
		if (!json_is_string(item) || strchr(json_string_value(item), ','))
			return error_set(err, -EINVAL, "rung %zu must be a text with one rung", i);
		text_printf(text, "%s%s", i > 0 ? "," : "", json_string_value(item));
	}
	return 0;
}

/* Rows nearly always have the same one, which is kept once. */
int read_on_oom(const json_t *value, struct target *t, struct error *err)
{
	struct submit *submit = t->submit;
	struct submit_rungs *last = submit->n_rungs > 0 ? submit->rungs[submit->n_rungs - 1] : NULL;
	struct submit_rungs rungs = {};
	auto_text struct text text = {};
	int r = rungs_text(value, &text, err);

	if (r == 0)
		r = sched_rungs_parse(text.data ? text.data : "", rungs.rungs, err);
	if (r < 0)
		return r;
	rungs.n = (size_t)r;
	if (!last || memcmp(last, &rungs, sizeof rungs) != 0) {
		ARRAY_GROW(submit->rungs, submit->n_rungs, submit->room_rungs);
		last = mem_alloc(sizeof *last);
		*last = rungs;
		submit->rungs[submit->n_rungs++] = last;
	}
	t->spec->on_oom = last->rungs;
	t->spec->n_on_oom = last->n;
	return 0;
}

int read_batch_size(const json_t *value, struct target *t, struct error *err)
{
	int r = read_unsigned(value, BATCH_SIZE_MAX, &t->spec->batch_size, err);

	return r == 0 && t->spec->batch_size == 0
		   ? error_set(err, -EINVAL, "must be from 1 to %d", BATCH_SIZE_MAX)
		   : r;
}

int read_on_overrun(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	return r < 0 ? r : sched_on_overrun_parse(text, &t->spec->on_overrun, err);
}

/* A terminal of the client's, which it made: nothing else of the file system may be named. */
int read_tty(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, TTY_MAX, &text, err);

	if (r == 0 &&
	    (!text_starts_with(text, "/dev/pts/") ||
	     !text_to_u64(text + strlen("/dev/pts/"), 0, INT32_MAX, &(unsigned long long){0})))
		r = error_set(err, -EINVAL, "must be a terminal /dev/pts/N, not \"%s\"", text);
	if (r == 0)
		t->spec->tty = text;
	return r;
}

/* A rung that can never help was not meant so. */
static int rungs_settle(const struct sched_spec *spec, struct error *err)
{
	enum place_cpu_mode cpu = spec->request.cpu;

	for (size_t i = 0; spec->on_oom && i < spec->n_on_oom; i++) {
		if (spec->on_oom[i].type == SCHED_RUNG_CPU && cpu != PLACE_CPU_FALLBACK &&
		    cpu != PLACE_CPU_WHEN_IDLE)
			return error_set(
			    err, -EINVAL,
			    "on_oom: the rung 'cpu' never helps a task that may not run "
			    "there: add --cpu fallback (request.cpu), or leave it out");
		if (spec->on_oom[i].type == SCHED_RUNG_SMALLER_BATCH && spec->batch_size == 0)
			return error_set(
			    err, -EINVAL,
			    "on_oom: the rung 'smaller-batch' needs a batch size to make smaller: "
			    "add --batch-size (batch_size), or leave it out");
	}
	return 0;
}

int terms_settle(const struct sched_spec *spec, struct error *err)
{
	int r = rungs_settle(spec, err);

	if (r < 0)
		return r;
	if (spec->soft_limit_ms > 0 && spec->hard_limit_ms > 0 &&
	    spec->soft_limit_ms >= spec->hard_limit_ms)
		return error_set(err, -EINVAL,
				 "soft_limit_seconds: %.10g is not before the time_limit_seconds "
				 "of %.10g",
				 (double)spec->soft_limit_ms / 1000,
				 (double)spec->hard_limit_ms / 1000);
	if (spec->soft_signal > 0 && spec->soft_limit_ms == 0)
		return error_set(
		    err, -EINVAL,
		    "soft_signal: is sent at the soft_limit_seconds, which is missing");
	return 0;
}
