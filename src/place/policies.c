/*
 * A table: policy -> name, score, how its score reads. Choosing is the same for all: score the GPUs
 * that fit, take the best as many as the request wants, say what the others would have scored.
 */
#include "place/policies.h"

#include "place/forecast.h"
#include "place/nearest.h"
#include "util/duration.h"
#include "util/size.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Tasks looked at on one GPU for an estimated end; those beyond share no GPU in practice. */
#define SHARES_MAX 64
/* GPUs named in a reason; the rest is "and N more". */
#define NAMED_MAX 4

struct choice {
	const struct place_view *view;
	const struct fit_counts *counts;
	const struct place_task *task;
};

struct policy {
	const char *name;
	double (*score)(const struct choice *choice, size_t gpu);
	void (*say)(const struct choice *choice, size_t gpu, double score, struct reason *reason);
};

void reason_add(struct reason *reason, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(reason->text + reason->len, reason->room - reason->len, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < reason->room - reason->len)
		reason->len += (size_t)n;
	else
		reason->text[reason->len] = '\0';
}

void reason_add_wishes(struct reason *reason, const struct ledger *ledger,
		       const struct place_request *request, const size_t *gpus, size_t n)
{
	static const char *const links[GPU_LINK_COUNT] = {
	    [GPU_LINK_BOARD] = "on one board",
	    [GPU_LINK_NVLINK] = "over NVLink",
	    [GPU_LINK_SWITCH] = "over one PCIe switch",
	    [GPU_LINK_SWITCHES] = "over several PCIe switches",
	    [GPU_LINK_HOST_BRIDGE] = "over the host bridge",
	    [GPU_LINK_NODE] = "within a NUMA node",
	    [GPU_LINK_SYSTEM] = "across NUMA nodes",
	};
	const struct place_wishes *wishes = request->wishes;
	enum gpu_link link = nearest_farthest(ledger, gpus, n);
	unsigned tier = fit_tier(&ledger->gpus[gpus[0]], request);

	if (wishes && tier < wishes->n_prefer)
		reason_add(reason, "; preferred");
	else if (wishes && tier > wishes->n_prefer)
		reason_add(reason, "; to be avoided, but nothing else takes it now");
	if (links[link])
		reason_add(reason, "; reach each other %s", links[link]);
}

/* The most tasks like this one a GPU may hold: the limit of the batch, or what the load line takes.
 */
static unsigned balance_max(const struct choice *choice, const struct ledger_gpu *gpu)
{
	const struct place_request *request = choice->task->request;
	uint64_t n, vram;

	if (request->max_per_gpu > 0)
		return request->max_per_gpu;
	vram = fit_vram(gpu, request);
	if (vram == 0 || !gpu->vram_known)
		return 1;
	n = gpu->load_line_bytes / vram;
	return (unsigned)MAX_OF(MIN_OF(n, (uint64_t)UINT32_MAX), (uint64_t)1);
}

static unsigned balance_active(const struct choice *choice, size_t gpu)
{
	if (choice->task->request->max_per_gpu > 0)
		return fit_counts_on_gpu(choice->counts, choice->task->batch, gpu);
	return choice->view->ledger->gpus[gpu].n_tasks;
}

static double balance_score(const struct choice *choice, size_t gpu)
{
	const struct ledger_gpu *g = &choice->view->ledger->gpus[gpu];
	double utilization = g->utilization_known ? g->utilization_percent : 0;
	double score = (double)balance_active(choice, gpu) / balance_max(choice, g) * 50 +
		       utilization / 100 * 50;

	if (choice->task->weight_memory > 0 && g->vram_known && g->load_line_bytes > 0)
		score += choice->task->weight_memory * (double)g->allocated_bytes /
			 (double)g->load_line_bytes;
	return score;
}

static void balance_say(const struct choice *choice, size_t gpu, double score,
			struct reason *reason)
{
	const struct ledger_gpu *g = &choice->view->ledger->gpus[gpu];

	reason_add(reason, "score %.1f: %u/%u tasks", score, balance_active(choice, gpu),
		   balance_max(choice, g));
	if (g->utilization_known)
		reason_add(reason, ", %u%% util", g->utilization_percent);
	else
		reason_add(reason, ", util unknown");
	if (choice->task->weight_memory > 0 && g->vram_known)
		reason_add(reason, ", %s allocated", SIZE_TEXT(g->allocated_bytes));
}

static double room_score(const struct choice *choice, size_t gpu)
{
	const struct ledger_gpu *g = &choice->view->ledger->gpus[gpu];

	/* A GPU that does not say counts as the largest: best-fit takes it last, spread first. */
	return g->vram_known ? (double)g->room_bytes : HUGE_VAL;
}

static double spread_score(const struct choice *choice, size_t gpu)
{
	return -room_score(choice, gpu);
}

static void room_say(const struct choice *choice, size_t gpu, double score, struct reason *reason)
{
	const struct ledger_gpu *g = &choice->view->ledger->gpus[gpu];

	(void)score;
	if (g->vram_known)
		reason_add(reason, "room %s", SIZE_TEXT(g->room_bytes));
	else
		reason_add(reason, "room unknown");
}

static double finish_score(const struct choice *choice, size_t gpu)
{
	struct forecast_share shares[SHARES_MAX];
	size_t n = forecast_shares(choice->view, gpu, shares, SHARES_MAX);
	struct forecast f =
	    forecast_task(choice->view->ledger, choice->view->estimates, choice->task, gpu);

	return forecast_end(shares, n, f.work_seconds, f.utilization_percent);
}

static void finish_say(const struct choice *choice, size_t gpu, double score, struct reason *reason)
{
	struct forecast f =
	    forecast_task(choice->view->ledger, choice->view->estimates, choice->task, gpu);

	reason_add(reason, "ends in %s%s", DURATION_TEXT((int64_t)(score * 1000)),
		   f.known && forecast_is_known_on(choice->view, gpu) ? "" : " (a guess)");
}

static double turn_score(const struct choice *choice, size_t gpu)
{
	size_t n = choice->view->ledger->n_gpus;
	size_t turn = (size_t)(choice->view->round_robin % n);

	return (double)((gpu + n - turn) % n);
}

static void turn_say(const struct choice *choice, size_t gpu, double score, struct reason *reason)
{
	(void)choice;
	(void)gpu;
	if (score > 0)
		reason_add(reason, "%u later in turn", (unsigned)score);
	else
		reason_add(reason, "its turn");
}

static double index_score(const struct choice *choice, size_t gpu)
{
	(void)choice;
	return (double)gpu;
}

static const struct policy policies[PLACE_POLICY_COUNT] = {
    [PLACE_AUTO] = {"auto", NULL, NULL},
    [PLACE_BALANCE] = {"balance", balance_score, balance_say},
    [PLACE_BEST_FIT] = {"best-fit", room_score, room_say},
    [PLACE_EARLIEST_FINISH] = {"earliest-finish", finish_score, finish_say},
    [PLACE_SPREAD] = {"spread", spread_score, room_say},
    [PLACE_ROUND_ROBIN] = {"round-robin", turn_score, turn_say},
    [PLACE_FIRST_FIT] = {"first-fit", index_score, room_say},
};

const char *place_policy_name(enum place_policy policy)
{
	return (unsigned)policy < PLACE_POLICY_COUNT ? policies[policy].name : "unknown";
}

int place_policy_parse(const char *name, enum place_policy *ret_policy, struct error *err)
{
	char names[160];
	struct reason list = {.text = names, .room = sizeof names};

	for (unsigned i = 0; i < PLACE_POLICY_COUNT; i++)
		if (strcmp(policies[i].name, name) == 0) {
			*ret_policy = (enum place_policy)i;
			return 0;
		}
	for (unsigned i = 0; i < PLACE_POLICY_COUNT; i++)
		reason_add(&list, "%s%s", i > 0 ? ", " : "", policies[i].name);
	return error_set(err, -EINVAL, "there is no policy '%.64s'; there are %s", name, names);
}

struct scored {
	size_t gpu;
	double score;
	unsigned tier;
	bool fits;
};

/* Those that fit by how they are liked and by score, then those that do not; equal ones stay in
 * order of index. */
static bool comes_before(const struct scored *a, const struct scored *b)
{
	if (a->fits != b->fits)
		return a->fits;
	if (a->fits && a->tier != b->tier)
		return a->tier < b->tier;
	if (a->fits && a->score != b->score)
		return a->score < b->score;
	return a->gpu < b->gpu;
}

static void sort_scored(struct scored *scored, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct scored one = scored[i];
		size_t at = i;

		for (; at > 0 && comes_before(&one, &scored[at - 1]); at--)
			scored[at] = scored[at - 1];
		scored[at] = one;
	}
}

static void say_choice(const struct choice *choice, const struct policy *policy,
		       const struct scored *scored, size_t n, size_t chosen,
		       struct place_decision *decision)
{
	const struct ledger *ledger = choice->view->ledger;
	struct reason reason = {.text = decision->reason, .room = sizeof decision->reason};
	size_t named = MIN_OF(n, chosen + NAMED_MAX);

	for (size_t i = 0; i < named; i++) {
		const struct ledger_gpu *g = &ledger->gpus[scored[i].gpu];

		reason_add(&reason, "%sGPU %u: ",
			   i == 0       ? ""
			   : i < chosen ? " + "
					: "; ",
			   g->index);
		if (scored[i].fits)
			policy->say(choice, scored[i].gpu, scored[i].score, &reason);
		else if (g->closed && g->closed_text[0])
			reason_add(&reason, "takes nothing new: %s", g->closed_text);
		else if (g->vram_known)
			reason_add(&reason, "does not take it now, room %s",
				   SIZE_TEXT(g->room_bytes));
		else
			reason_add(&reason, "does not take it now");
	}
	if (n > named)
		reason_add(&reason, "; and %zu more", n - named);
	reason_add_wishes(&reason, ledger, choice->task->request, decision->gpus, chosen);
}

/* The GPUs it gets come first in `scored`, in their order. */
static void take_nearest(const struct choice *choice, struct scored *scored, size_t n_fit,
			 struct place_decision *decision)
{
	auto_free size_t *ranked = mem_calloc(n_fit + 1, sizeof *ranked);

	for (size_t i = 0; i < n_fit; i++)
		ranked[i] = scored[i].gpu;
	nearest_choose(choice->view->ledger, choice->task->request, ranked, n_fit, decision->n_gpus,
		       decision->gpus);
	for (size_t i = 0; i < decision->n_gpus; i++)
		for (size_t j = i; j < n_fit; j++)
			if (scored[j].gpu == decision->gpus[i]) {
				struct scored one = scored[j];

				memmove(&scored[i + 1], &scored[i], (j - i) * sizeof *scored);
				scored[i] = one;
				break;
			}
}

bool policy_choose(const struct place_view *view, const struct fit_counts *counts, size_t waiting,
		   enum place_policy which, struct place_decision *ret_decision)
{
	const struct choice choice = {view, counts, &view->waiting[waiting]};
	const struct policy *policy = &policies[which];
	size_t n = view->ledger->n_gpus, want = choice.task->request->gpus, n_fit = 0;
	auto_free struct scored *scored = mem_calloc(n + 1, sizeof *scored);

	if (want == 0 || want > MIN_OF(n, (size_t)PLACE_GPUS_MAX))
		return false;
	for (size_t g = 0; g < n; g++) {
		scored[g].gpu = g;
		scored[g].fits = fit_gpu(view->ledger, counts, choice.task, g) == FIT_OK;
		if (scored[g].fits) {
			scored[g].score = policy->score(&choice, g);
			scored[g].tier = fit_tier(&view->ledger->gpus[g], choice.task->request);
			n_fit++;
		}
	}
	if (n_fit < want)
		return false;
	sort_scored(scored, n);
	*ret_decision =
	    (struct place_decision){.waiting = waiting, .n_gpus = want, .policy = which};
	take_nearest(&choice, scored, n_fit, ret_decision);
	say_choice(&choice, policy, scored, n, want, ret_decision);
	return true;
}
