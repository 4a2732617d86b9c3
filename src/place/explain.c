/*
 * Answers in numbers: can this ever run (place_check), why does it not run now (place_explain).
 * Both go through the rules of fit.h, so what they say is what placing does.
 */
#include "place/auto.h"
#include "place/fit.h"
#include "place/forecast.h"
#include "place/policies.h"
#include "place/saturate.h"
#include "util/duration.h"
#include "util/size.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* GPUs named one by one in an answer. */
#define NAMED_MAX 6

#define SECONDS_TEXT(seconds) DURATION_TEXT((int64_t)((seconds)*1000))

static int check_host(const struct ledger *ledger, const struct place_request *request,
		      struct error *err)
{
	if (ledger->ram_known && request->ram_bytes > ledger->ram_total_bytes)
		return error_set(
		    err, -E2BIG,
		    "asks for %s of host RAM; this machine (or its cgroup limit) has %s",
		    SIZE_TEXT(request->ram_bytes), SIZE_TEXT(ledger->ram_total_bytes));
	if (ledger->cpu_milli_total > 0 && request->cpu_milli > ledger->cpu_milli_total)
		return error_set(err, -E2BIG, "asks for %.10g CPUs; there are %.10g",
				 request->cpu_milli / 1000.0, ledger->cpu_milli_total / 1000.0);
	return 0;
}

static int no_gpu(const struct ledger *ledger, struct error *err)
{
	return error_set(err, -ENODEV,
			 "needs a GPU and there is none%s%s; work that does without one runs with "
			 "--cpu only",
			 ledger->source_text[0] ? ": " : "", ledger->source_text);
}

/* "20 GiB", "0.5 of a GPU"; nothing where it promises nothing. */
static void say_size(const struct place_request *request, const char *after, struct reason *reason)
{
	if (request->fraction_milli > 0)
		reason_add(reason, "%.10g of a GPU%s", request->fraction_milli / 1000.0, after);
	else if (request->vram_bytes > 0)
		reason_add(reason, "%s%s", SIZE_TEXT(request->vram_bytes), after);
}

static void say_models(const struct place_wishes *wishes, struct reason *reason)
{
	for (size_t i = 0; i < wishes->n_models; i++)
		reason_add(reason, "%s'%s'", i > 0 ? ", " : "", wishes->models[i]);
}

#define COMPUTE_ARGS(compute) (compute) / 10, (compute) % 10

static void say_compute(const struct ledger_gpu *g, const struct place_wishes *wishes,
			struct reason *reason)
{
	if (g->compute_known)
		reason_add(reason, "has compute capability %u.%u", COMPUTE_ARGS(g->compute));
	else
		reason_add(reason, "does not tell its compute capability");
	reason_add(reason, " (wanted: ");
	if (wishes->compute_min > 0)
		reason_add(reason, "%u.%u", COMPUTE_ARGS(wishes->compute_min));
	if (wishes->compute_max > 0)
		reason_add(reason, "%s to %u.%u)", wishes->compute_min > 0 ? "" : "up",
			   COMPUTE_ARGS(wishes->compute_max));
	else
		reason_add(reason, " and more)");
}

/* After "GPU 1 ": what fit_rules() found against it. */
static void say_rule(const struct ledger_gpu *g, const struct place_request *request, enum fit fit,
		     struct reason *reason)
{
	if (fit == FIT_FORBIDDEN)
		reason_add(reason, "is forbidden to it");
	if (fit == FIT_MODEL) {
		reason_add(reason, "is of model '%s', not ", g->model);
		say_models(request->wishes, reason);
	}
	if (fit == FIT_CAPABILITY)
		say_compute(g, request->wishes, reason);
	if (fit == FIT_TOO_SMALL)
		reason_add(reason, "takes %s, which is known to be too little",
			   SIZE_TEXT(g->load_line_bytes));
	if (fit == FIT_TOO_LARGE)
		reason_add(reason, "takes requests up to %s%s", SIZE_TEXT(g->max_request_bytes),
			   !place_request_is_sized(request) ? " (this one promises none)" : "");
}

static bool is_ruled_out(enum fit fit)
{
	return fit != FIT_OK && fit != FIT_PINNED;
}

/* Of the GPUs the pin allows: could hold it once all of ours are gone, or cannot be said now. */
struct capacity {
	size_t pinned, ruled_out, able, unknown, unreported;
	const struct ledger_gpu *largest; /* by load line */
};

static struct capacity capacity_for(const struct ledger *ledger,
				    const struct place_request *request)
{
	struct capacity c = {};

	for (size_t i = 0; i < ledger->n_gpus; i++) {
		const struct ledger_gpu *g = &ledger->gpus[i];
		enum fit fit = fit_rules(g, request);

		if (fit == FIT_PINNED)
			continue;
		c.pinned++;
		if (fit != FIT_OK) {
			c.ruled_out++;
			continue;
		}
		if (!g->vram_known) {
			/* Lost or stale for the moment: nothing can be said against it. */
			if (!g->usable)
				c.unknown++;
			else if (!place_request_is_sized(request))
				c.able++;
			else
				c.unreported++;
			continue;
		}
		if (!c.largest || g->load_line_bytes > c.largest->load_line_bytes)
			c.largest = g;
		if (fit_vram(g, request) <= g->load_line_bytes)
			c.able++;
	}
	return c;
}

/* "; GPU 1 is forbidden to it", for each that a rule takes away. */
static void say_ruled_out(const struct ledger *ledger, const struct place_request *request,
			  struct reason *reason)
{
	size_t named = 0;

	for (size_t i = 0; i < ledger->n_gpus && named < NAMED_MAX; i++) {
		enum fit fit = fit_rules(&ledger->gpus[i], request);

		if (!is_ruled_out(fit))
			continue;
		named++;
		reason_add(reason, "; GPU %u ", ledger->gpus[i].index);
		say_rule(&ledger->gpus[i], request, fit, reason);
	}
}

/* Which GPUs "the largest load line" is taken over. */
static void say_taken(const struct place_request *request, const struct capacity *c,
		      struct reason *reason)
{
	if (request->wishes && request->wishes->n_models > 0) {
		reason_add(reason, " of the GPUs of model ");
		say_models(request->wishes, reason);
	} else if (c->ruled_out > 0) {
		reason_add(reason, " of the GPUs it may have");
	}
}

static int too_large(const struct ledger *ledger, const struct place_request *request,
		     const struct capacity *c, struct error *err)
{
	char rules_text[320] = "", taken_text[160] = "";
	struct reason rules = {.text = rules_text, .room = sizeof rules_text};
	struct reason taken = {.text = taken_text, .room = sizeof taken_text};

	say_ruled_out(ledger, request, &rules);
	say_taken(request, c, &taken);
	if (c->ruled_out == c->pinned)
		return error_set(err, -E2BIG, "there is no GPU here that it may have%s",
				 rules_text);
	if (!c->largest && c->unreported > 0)
		return error_set(err, -E2BIG,
				 "asks for %s of VRAM; no GPU%s reports how much it has: leave "
				 "the VRAM out to run on it unaccounted%s",
				 request->fraction_milli > 0 ? "a share"
							     : SIZE_TEXT(request->vram_bytes),
				 c->ruled_out > 0 ? " it may have" : " here", rules_text);
	if (request->gpus > 1 && request->vram_bytes == 0) /* a share is never too large */
		return error_set(err, -E2BIG, "asks for %u GPUs; it may have %zu%s", request->gpus,
				 c->able, rules_text);
	if (request->gpus > 1)
		return error_set(
		    err, -E2BIG,
		    "asks for %u GPUs with %s of VRAM each; %zu can ever hold that, the "
		    "largest load line%s is %s (GPU %u)%s",
		    request->gpus, SIZE_TEXT(request->vram_bytes), c->able, taken_text,
		    SIZE_TEXT(c->largest ? c->largest->load_line_bytes : 0),
		    c->largest ? c->largest->index : 0, rules_text);
	return error_set(err, -E2BIG,
			 "asks for %s of VRAM; the largest load line%s is %s (GPU %u, %s less a "
			 "reserve of %s)%s",
			 SIZE_TEXT(request->vram_bytes), taken_text,
			 SIZE_TEXT(c->largest->load_line_bytes), c->largest->index,
			 SIZE_TEXT(c->largest->total_bytes), SIZE_TEXT(c->largest->reserve_bytes),
			 rules_text);
}

bool place_has_gpus_for(const struct ledger *ledger, const struct place_request *request)
{
	struct capacity c = capacity_for(ledger, request);

	if (c.pinned == 0 && ledger->n_gpus == 0 &&
	    (ledger->source == GPU_SOURCE_UNKNOWN || ledger->source == GPU_SOURCE_STALE))
		return true;
	return request->gpus > 0 && c.able + c.unknown >= request->gpus;
}

enum most {
	MOST_EVER, /* the load line */
	MOST_FREE_OF_OURS,
	MOST_ROOM,
};

static uint64_t most_bytes(const struct ledger_gpu *g, const struct place_request *request,
			   enum most which)
{
	if (which == MOST_EVER)
		return g->load_line_bytes;
	if (which == MOST_FREE_OF_OURS)
		return saturate_sub(g->load_line_bytes, g->foreign_bytes);
	if (g->closed || !g->usable || g->held_exclusive ||
	    (g->max_tasks > 0 && g->n_tasks >= g->max_tasks) ||
	    (request->exclusive && g->n_tasks > 0))
		return 0;
	return MIN_OF(saturate_add(g->room_bytes, g->leaving_bytes), g->load_line_bytes);
}

static uint64_t most_on(const struct ledger_gpu *g, const struct place_request *request,
			enum most which)
{
	uint64_t most = most_bytes(g, request, which);

	if (!g->vram_known || fit_rules(g, request) != FIT_OK)
		return 0;
	return g->max_request_bytes > 0 ? MIN_OF(most, g->max_request_bytes) : most;
}

static uint64_t most_of(const struct ledger *ledger, const struct place_request *request,
			enum most which)
{
	struct place_request least = *request;
	uint64_t most[PLACE_GPUS_MAX] = {};
	size_t want = MIN_OF(request->gpus, (unsigned)PLACE_GPUS_MAX);

	/* Whatever its size: one that is too large for a GPU's rule can be made smaller. */
	least.vram_bytes = 1;
	least.fraction_milli = 0;
	for (size_t i = 0; i < ledger->n_gpus && want > 0; i++) {
		uint64_t bytes = most_on(&ledger->gpus[i], &least, which);

		/* The largest come first. */
		for (size_t k = 0; k < want; k++)
			if (bytes > most[k]) {
				uint64_t smaller = most[k];

				most[k] = bytes;
				bytes = smaller;
			}
	}
	return want > 0 ? most[want - 1] : 0;
}

uint64_t place_most(const struct ledger *ledger, const struct place_request *request, bool now)
{
	return most_of(ledger, request, now ? MOST_FREE_OF_OURS : MOST_EVER);
}

uint64_t place_most_room(const struct ledger *ledger, const struct place_request *request)
{
	return most_of(ledger, request, MOST_ROOM);
}

int place_check(const struct ledger *ledger, const struct place_request *request, struct error *err)
{
	struct capacity c;
	int r = check_host(ledger, request, err);

	if (r < 0 || request->cpu != PLACE_CPU_NEVER)
		return r;
	c = capacity_for(ledger, request);
	if (c.pinned == 0) {
		/* While NVML hangs or was not asked yet, GPUs may turn up. */
		if (ledger->n_gpus == 0 &&
		    (ledger->source == GPU_SOURCE_UNKNOWN || ledger->source == GPU_SOURCE_STALE))
			return 0;
		if (ledger->n_gpus == 0)
			return no_gpu(ledger, err);
		return error_set(err, -ENODEV,
				 "there is no GPU %s here; `plimsoll gpus` lists "
				 "what there is",
				 request->pin_uuid);
	}
	if (c.able + c.unknown >= request->gpus)
		return 0;
	if (request->gpus > c.pinned)
		return error_set(err, -E2BIG, "asks for %u GPUs; there %s %zu%s", request->gpus,
				 c.pinned == 1 ? "is" : "are", c.pinned,
				 request->pin_uuid ? " with that UUID" : "");
	return too_large(ledger, request, &c, err);
}

/* The ends to come on the GPUs that a task may have. */
struct ends {
	double expected;  /* seconds until the first that is; negative: of none is that known */
	double limit;     /* ... until the first time limit of those; negative: none has one */
	uint64_t overdue; /* a task that has run longer than expected; 0 = none */
	size_t n;
};

/* What runs on this GPU. Where others of which nothing is known run beside it, nobody knows how
 * much they slow it: then there are only limits. */
static void add_ends(const struct place_view *view, size_t gpu, struct ends *ends)
{
	bool known = forecast_is_known_on(view, gpu);
	double sum = 0;

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < view->n_running; i++) {
			const struct place_task *task = &view->running[i];
			double limit = task->hard_limit_seconds - task->elapsed_seconds, left;
			struct forecast f;

			if (!place_runs_on(task, gpu))
				continue;
			f = forecast_task(view->ledger, view->estimates, task, gpu);
			if (pass == 0) {
				sum += f.utilization_percent;
				continue;
			}
			ends->n++;
			if (task->hard_limit_seconds > 0 &&
			    (ends->limit < 0 || limit < ends->limit))
				ends->limit = MAX_OF(limit, 0.0);
			if (!known)
				continue;
			if (forecast_is_overdue(&f, task->work_done_seconds)) {
				ends->overdue = task->id;
				continue;
			}
			left = forecast_remaining(&f, task->work_done_seconds) *
			       MAX_OF(sum / 100, 1.0);
			if (ends->expected < 0 || left < ends->expected)
				ends->expected = left;
		}
}

/* "; next expected end in 40 s, at the latest in 5 m" */
static void say_ends(const struct ends *ends, struct reason *reason)
{
	bool limit = ends->limit >= 0 && (ends->expected < 0 || ends->limit < ends->expected);

	if (ends->n == 0)
		return;
	if (ends->overdue)
		reason_add(reason, "; task %llu is overdue", (unsigned long long)ends->overdue);
	if (ends->expected >= 0 && !limit)
		reason_add(reason, "; next expected end in %s", SECONDS_TEXT(ends->expected));
	else if (limit)
		reason_add(reason, "; next end at the latest in %s", SECONDS_TEXT(ends->limit));
	else if (!ends->overdue)
		reason_add(reason, "; when one ends is not known");
}

/* "5 GiB held by process 1924 of task 3, which has ended" */
static void explain_leftovers(const struct ledger_gpu *g, const char *before, struct reason *reason)
{
	reason_add(reason, "%s%s held by process %d of task %llu, which has ended", before,
		   SIZE_TEXT(g->leftover_bytes), g->leftover_pid,
		   (unsigned long long)g->leftover_task);
	if (g->n_leftovers > 1)
		reason_add(reason, ", and %u more like it", g->n_leftovers - 1);
}

/* What of it is not room, and why. */
static void explain_room(const struct ledger_gpu *g, struct reason *reason)
{
	uint64_t others = saturate_sub(g->foreign_bytes, g->leftover_bytes);
	const struct {
		uint64_t bytes;
		const char *words;
	} parts[] = {
	    {others >= 64 * MIB ? others : 0, "used by others"},
	    {ledger_services(g), "kept for services"},
	    {g->leaving_bytes, "not yet seen to be back"},
	};
	bool any = g->n_tasks > 0;

	reason_add(reason, "has room for %s", SIZE_TEXT(g->room_bytes));
	if (g->n_tasks > 0)
		reason_add(reason, " (%u task%s hold%s %s", g->n_tasks, g->n_tasks == 1 ? "" : "s",
			   g->n_tasks == 1 ? "s" : "", SIZE_TEXT(g->ours_bytes));
	if (g->leftover_bytes > 0) {
		explain_leftovers(g, any ? ", " : " (", reason);
		any = true;
	}
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (parts[i].bytes == 0)
			continue;
		reason_add(reason, "%s%s %s", any ? ", " : " (", SIZE_TEXT(parts[i].bytes),
			   parts[i].words);
		any = true;
	}
	if (any)
		reason_add(reason, ")");
}

/* "starts in about 3 m", as far as that is known. */
static void say_start_time(const struct reserve *reserve, struct reason *reason)
{
	if (isinf(reserve->start_seconds))
		reason_add(reason, "starts when enough of what runs has ended");
	else if (reserve->start_is_limit)
		reason_add(reason, "starts at the latest in %s",
			   SECONDS_TEXT(reserve->start_seconds));
	else if (reserve->overdue)
		reason_add(reason, "starts when task %llu has ended, which is overdue",
			   (unsigned long long)reserve->overdue);
	else
		reason_add(reason, "starts in about %s", SECONDS_TEXT(reserve->start_seconds));
}

/* "is kept for task 12 (20 GiB, waited 12 m, starts in about 3 m): this one would end later" */
static void say_reserved(const struct place_view *view, const struct fit_counts *counts,
			 const struct place_task *task, enum reserve_verdict verdict,
			 struct reason *reason)
{
	const struct reserve *reserve = fit_counts_reserve(counts);
	const struct place_request *request;

	if (!reserve)
		return;
	request = reserve->task->request;
	reason_add(reason, "kept for task %llu (", (unsigned long long)reserve->task->id);
	if (request->gpus > 1)
		reason_add(reason, "%u GPUs, ", request->gpus);
	say_size(request, ", ", reason);
	reason_add(reason, "waited %s, ", SECONDS_TEXT(reserve->task->waited_seconds));
	say_start_time(reserve, reason);
	reason_add(reason, "): this one would ");
	if (verdict == RESERVE_SLOWS)
		reason_add(reason, "slow what it waits for");
	else if (reserve_is_end_known(view, task))
		reason_add(reason, "end later");
	else
		reason_add(reason, "end nobody knows when");
}

/* Of the task that has the reservation: where and when. */
static void say_own_reserve(const struct place_view *view, const struct reserve *reserve,
			    struct reason *reason)
{
	for (size_t i = 0; i < reserve->n_gpus; i++)
		reason_add(reason, "%s%u", i == 0 ? "; kept for it: GPU " : " + ",
			   view->ledger->gpus[reserve->gpus[i].gpu].index);
	reason_add(reason, reserve->n_gpus > 0 ? ", " : "; ");
	say_start_time(reserve, reason);
}

/* Who has it for himself, and whether he asked for that. */
static void say_holder(const struct place_view *view, size_t gpu, struct reason *reason)
{
	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *task = &view->running[i];

		if (!task->request->exclusive || !place_runs_on(task, gpu))
			continue;
		if (task->alone_why)
			reason_add(reason, "is for task %llu alone, %s",
				   (unsigned long long)task->id, task->alone_why);
		else
			reason_add(reason, "is held exclusively by task %llu",
				   (unsigned long long)task->id);
		return;
	}
	reason_add(reason, "is held exclusively");
}

/* Whoever it waits for is of its own kind: then that says what it needs. */
static bool say_first_of_kind(const struct place_view *view, const struct place_task *task,
			      size_t gpu, struct reason *reason)
{
	uint64_t first = 0;

	for (size_t i = 0; i < view->n_running; i++) {
		const struct place_task *other = &view->running[i];

		if (strcmp(other->kind, task->kind) == 0 && place_runs_on(other, gpu) &&
		    (first == 0 || other->id < first))
			first = other->id;
	}
	if (first > 0)
		reason_add(reason,
			   "runs the first of its kind '%.60s' (task %llu): it waits until that "
			   "has shown what it needs (about %s)",
			   task->kind, (unsigned long long)first,
			   SECONDS_TEXT(fit_moment_seconds(view->ledger, task->request, gpu)));
	return first > 0;
}

static void explain_gpu(const struct place_view *view, const struct fit_counts *counts,
			const struct place_task *task, size_t gpu, bool *said_reserved,
			struct reason *reason)
{
	const struct ledger_gpu *g = &view->ledger->gpus[gpu];
	enum fit fit = fit_gpu(view->ledger, counts, task, gpu);

	switch (fit) {
	case FIT_OK:
		reason_add(reason, "would take it");
		break;
	case FIT_UNUSABLE:
		reason_add(reason, "is out: %s", g->unusable_reason);
		break;
	case FIT_HELD:
		if (g->held_exclusive)
			say_holder(view, gpu, reason);
		else if (task->alone_why)
			reason_add(reason, "has %u task%s and is to be free of others", g->n_tasks,
				   g->n_tasks == 1 ? "" : "s");
		else
			reason_add(reason, "is wanted exclusively and has %u task%s", g->n_tasks,
				   g->n_tasks == 1 ? "" : "s");
		break;
	case FIT_VRAM_UNKNOWN:
		reason_add(reason, "does not report its VRAM");
		break;
	case FIT_ROOM:
		explain_room(g, reason);
		break;
	case FIT_UNSIZED:
		reason_add(reason, "has a task that did not say its VRAM either");
		break;
	case FIT_MAX_PER_GPU:
		reason_add(reason, "has %u of this batch, the limit is %u",
			   fit_counts_on_gpu(counts, task->batch, gpu), task->request->max_per_gpu);
		break;
	case FIT_FORBIDDEN:
	case FIT_MODEL:
	case FIT_CAPABILITY:
	case FIT_TOO_SMALL:
	case FIT_TOO_LARGE:
		say_rule(g, task->request, fit, reason);
		break;
	case FIT_CLOSED:
		reason_add(reason, "takes nothing new%s%s", g->closed_text[0] ? ": " : "",
			   g->closed_text);
		break;
	case FIT_MAX_TASKS:
		reason_add(reason, "has %u task%s, as many as it may", g->n_tasks,
			   g->n_tasks == 1 ? "" : "s");
		break;
	case FIT_RETURNING:
		reason_add(reason, "had a task that ran out of memory; whether that is back shows "
				   "in a moment");
		break;
	case FIT_UNPROVEN:
		if (say_first_of_kind(view, task, gpu, reason))
			break;
		reason_add(reason,
			   "runs %u task%s of kinds never measured, as this one's: it starts when "
			   "what %s has settled (about %s)",
			   g->n_unproven, g->n_unproven == 1 ? "" : "s",
			   g->n_unproven == 1 ? "it uses" : "they use",
			   SECONDS_TEXT(fit_moment_seconds(view->ledger, task->request, gpu)));
		break;
	case FIT_START_LOCK:
		reason_add(reason, "has a task that takes what is free there and has not settled");
		break;
	case FIT_RAMPING:
		reason_add(reason, "has %u task%s whose use has not settled", g->n_unsettled,
			   g->n_unsettled == 1 ? "" : "s");
		break;
	case FIT_STAGGER:
		reason_add(reason, "had a start %s ago, the next may be in %s",
			   SECONDS_TEXT(g->seconds_since_start),
			   SECONDS_TEXT(fit_moment_seconds(view->ledger, task->request, gpu)));
		break;
	case FIT_RESERVED:
		if (*said_reserved) {
			reason_add(reason, "too");
			break;
		}
		*said_reserved = true;
		reason_add(reason, "is ");
		say_reserved(view, counts, task,
			     reserve_gpu_verdict(fit_counts_reserve(counts), view, task, gpu),
			     reason);
		break;
	case FIT_PINNED:
	case FIT_RAM:
	case FIT_CPUS:
	case FIT_CPU_UNSIZED:
	case FIT_THREADS:
	case FIT_USER:
		break;
	}
}

static void explain_needs(const struct place_task *task, struct reason *reason)
{
	const struct place_request *request = task->request;

	reason_add(reason, "needs ");
	if (request->gpus > 1)
		reason_add(reason, "%u GPUs with ", request->gpus);
	if (place_request_is_sized(request))
		say_size(request, request->gpus > 1 ? " each" : "", reason);
	else
		reason_add(reason, "a GPU");
	if (request->exclusive && task->alone_why)
		/* Who said no size is alone for that, and has a way out. */
		reason_add(reason, "%s to itself %s%s",
			   place_request_is_sized(request) ? " and a GPU" : "", task->alone_why,
			   place_request_is_sized(request)
			       ? ""
			       : " (with --vram or --vram-default it may share one)");
	else if (request->exclusive)
		reason_add(reason, ", exclusively");
}

static void explain_user(const struct ledger *ledger, const struct fit_counts *counts,
			 const struct place_task *task, struct reason *reason)
{
	const struct place_request *request = task->request;
	struct fit_user user = {};

	if (!fit_counts_user(counts, task->uid, &user))
		return;
	reason_add(reason, "its user (uid %u) has %u task%s running", (unsigned)task->uid,
		   user.running, user.running == 1 ? "" : "s");
	if (user.limits->max_running > 0 && user.running >= user.limits->max_running)
		reason_add(reason, ", the limit is %u", user.limits->max_running);
	else if (user.limits->max_gpus > 0 && request->gpus > 0 &&
		 user.gpus + request->gpus > user.limits->max_gpus)
		reason_add(reason, " on %u GPU%s and asks for %u more; the limit is %u", user.gpus,
			   user.gpus == 1 ? "" : "s", request->gpus, user.limits->max_gpus);
	else
		reason_add(reason, " with %s of VRAM and asks for %s%s; the limit is %s",
			   SIZE_TEXT(user.vram_bytes), SIZE_TEXT(fit_vram_most(ledger, request)),
			   request->gpus > 1 ? " on each GPU" : "",
			   SIZE_TEXT(user.limits->max_vram_bytes));
}

/* Of one that would start without a GPU if the host had something to spare. */
static void say_no_cpu(const struct ledger *ledger, const struct place_request *request,
		       struct reason *reason)
{
	reason_add(reason, "; on the CPU it needs %.10g CPUs", request->cpu_milli / 1000.0);
	if (request->ram_bytes > 0)
		reason_add(reason, " and %s", SIZE_TEXT(request->ram_bytes));
	if (ledger->cpu_milli_total > 0)
		reason_add(reason, ", %.10g are left", ledger->cpu_milli_room / 1000.0);
	else
		reason_add(reason, ", how many there are is not known");
	if (request->ram_bytes > 0 && ledger->ram_known)
		reason_add(reason, " with %s", SIZE_TEXT(ledger->ram_room_bytes));
}

static void explain_gpus(const struct place_view *view, const struct fit_counts *counts,
			 const struct place_task *task, struct reason *reason)
{
	const struct ledger *ledger = view->ledger;
	const struct reserve *reserve = fit_counts_reserve(counts);
	size_t named = 0, others = 0, ruled_out = 0;
	struct ends ends = {.expected = -1, .limit = -1};
	bool said_reserved = false;

	explain_needs(task, reason);
	if (reserve && reserve->task == task)
		say_own_reserve(view, reserve, reason);
	if (ledger->n_gpus == 0 && ledger->source == GPU_SOURCE_UNKNOWN) {
		reason_add(reason, "; the GPUs have not been looked at yet");
		return;
	}
	if (ledger->n_gpus == 0) {
		reason_add(reason, "; there is none%s%s", ledger->source_text[0] ? ": " : "",
			   ledger->source_text);
		return;
	}
	for (size_t g = 0; g < ledger->n_gpus; g++) {
		enum fit fit = fit_rules(&ledger->gpus[g], task->request);

		if (fit != FIT_OK) {
			others += fit == FIT_PINNED;
			ruled_out += is_ruled_out(fit);
			continue;
		}
		if (!ledger->gpus[g].vram_known ||
		    fit_vram(&ledger->gpus[g], task->request) <= ledger->gpus[g].load_line_bytes)
			add_ends(view, g, &ends);
		if (named++ >= NAMED_MAX)
			continue;
		reason_add(reason, "%s GPU %u ", named == 1 ? ";" : ",", ledger->gpus[g].index);
		explain_gpu(view, counts, task, g, &said_reserved, reason);
	}
	if (named > NAMED_MAX)
		reason_add(reason, ", %zu more GPUs as full", named - NAMED_MAX);
	if (others > 0 && named + ruled_out == 0)
		reason_add(reason, "; the GPU it is pinned to is not there");
	if (ruled_out > 0)
		say_ruled_out(ledger, task->request, reason);
	say_ends(&ends, reason);
	if (task->on_cpu)
		say_no_cpu(ledger, task->on_cpu, reason);
}

static void explain_host_reserved(const struct place_view *view, const struct fit_counts *counts,
				  const struct place_task *task, struct reason *reason)
{
	const struct reserve *reserve = fit_counts_reserve(counts);

	if (reserve->ram && task->request->ram_bytes > reserve->spare_ram)
		reason_add(reason, "needs %s of host RAM; all but %s is ",
			   SIZE_TEXT(task->request->ram_bytes), SIZE_TEXT(reserve->spare_ram));
	else
		reason_add(reason, "needs %.10g CPUs; all but %.10g are ",
			   task->request->cpu_milli / 1000.0, (double)reserve->spare_cpu / 1000.0);
	say_reserved(view, counts, task, RESERVE_ENDS_LATER, reason);
}

/* Is there a place for it now? */
static bool fits_now(const struct place_view *view, const struct fit_counts *counts,
		     const struct place_task *task)
{
	size_t fits = 0;

	if (fit_is_cpu_only(task->request))
		return true;
	for (size_t g = 0; g < view->ledger->n_gpus; g++)
		fits += fit_gpu(view->ledger, counts, task, g) == FIT_OK;
	return task->request->gpus > 0 && fits >= task->request->gpus;
}

void place_explain(const struct place_view *view, size_t index, char reason_text[PLACE_REASON_MAX])
{
	auto_fit_counts struct fit_counts *counts = fit_counts_create(view);
	const struct ledger *ledger = view->ledger;
	const struct place_task *task = &view->waiting[index];
	const struct place_request *request = task->request;
	enum fit host = fit_host(ledger, counts, task);
	struct reason reason = {.text = reason_text, .room = PLACE_REASON_MAX};
	const struct reserve *reserve = fit_counts_reserve(counts);

	reason_text[0] = '\0';
	if (host == FIT_THREADS)
		reason_add(&reason, "%u tasks of its batch run, the limit is %u",
			   fit_counts_running(counts, task->batch), request->threads);
	else if (host == FIT_USER)
		explain_user(ledger, counts, task, &reason);
	else if (host == FIT_RAM)
		reason_add(&reason, "needs %s of host RAM; room for %s of %s is left",
			   SIZE_TEXT(request->ram_bytes), SIZE_TEXT(ledger->ram_room_bytes),
			   SIZE_TEXT(ledger->ram_total_bytes));
	else if (host == FIT_CPUS)
		reason_add(&reason, "needs %.10g CPUs; %.10g of %.10g are left",
			   request->cpu_milli / 1000.0, ledger->cpu_milli_room / 1000.0,
			   ledger->cpu_milli_total / 1000.0);
	else if (host == FIT_CPU_UNSIZED)
		reason_add(&reason,
			   "does not say how many CPUs it keeps busy (--cpus): %u like it run at "
			   "once, and do now",
			   fit_cpu_unsized_max(ledger));
	else if (host == FIT_RESERVED)
		explain_host_reserved(view, counts, task, &reason);
	else if (!fits_now(view, counts, task))
		explain_gpus(view, counts, task, &reason);
	else if (task->policy != PLACE_AUTO || fit_is_cpu_only(request) ||
		 !auto_explain(view, counts, index, reason_text))
		reason_add(&reason, "about to start");
	if ((host == FIT_RAM || host == FIT_CPUS) && reserve && reserve->task == task)
		say_own_reserve(view, reserve, &reason);
}
