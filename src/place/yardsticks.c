/*
 * The lower bound, as true as the works and utilisations it is given. Let task i do w_ig seconds of
 *work when it runs on GPU g, and let x_ig be the share of it done there. In the model of execution
 *(model.h) it holds its VRAM, RAM and its place among max_per_gpu or threads for at least w_ig
 *seconds, because nobody progresses faster than alone; and the utilisations that progress on a GPU
 *never add up to more than 100 %. So in every schedule of length T, for every resource r with
 *capacity b_r
 *
 *	sum over i, g of x_ig a_igr <= T b_r	(a: work x share of the resource it takes)
 *
 * and sum over g of x_ig = 1. For any prices y >= 0 of the resources it follows that
 *
 *	T sum_r y_r b_r >= sum_i sum_g x_ig (sum_r y_r a_igr) >= sum_i min_g (sum_r y_r a_igr)
 *
 * hence T >= the last sum / sum_r y_r b_r, whatever the prices: the linear program only finds good
 * ones, and rounding in it cannot make the bound false. A task on n GPUs counts as n parts that may
 * go anywhere, each with an n-th of its RAM and of its place: a relaxation. Nor can T be less than
 * the longest task alone on the GPU that is fastest for it.
 *
 * Tasks of a class differ by a factor only, so the program has one row a class; GPUs that are alike
 * for every class are one with more capacity.
 */
#include "place/fit.h"
#include "place/lp.h"
#include "place/model.h"
#include "place/saturate.h"

#include <math.h>
#include <string.h>

/* GPUs alike. */
struct site {
	size_t lane; /* one of them */
	double count;
	double line; /* VRAM of one; 0 = unknown or the CPU */
	bool cpu;
};

/* What a resource is: which tasks use it and how much. */
enum resource_kind {
	RESOURCE_BUSY,    /* utilisation of a site */
	RESOURCE_VRAM,    /* VRAM of a site */
	RESOURCE_PLACES,  /* max_per_gpu of a batch on a site */
	RESOURCE_UNSIZED, /* one task without a size on a GPU of a site */
	RESOURCE_RAM,
	RESOURCE_CPUS,
	RESOURCE_THREADS, /* of a batch */
};

struct resource {
	enum resource_kind kind;
	size_t site;
	uint64_t batch;
	double capacity;
};

struct bound {
	const struct ledger *ledger;
	const struct model *model;
	size_t n_classes, n_sites, n_resources, resources_room;
	struct model_class_facts *classes;
	struct site *sites;
	struct resource *resources;
};

static bool lanes_alike(const struct bound *b, size_t x, size_t y)
{
	const struct ledger_gpu *g = &b->ledger->gpus[x], *h = &b->ledger->gpus[y];

	if (g->vram_known != h->vram_known || g->load_line_bytes != h->load_line_bytes ||
	    ledger_capacity(g) != ledger_capacity(h))
		return false;
	for (size_t c = 0; c < b->n_classes; c++)
		if (b->classes[c].work[x] != b->classes[c].work[y] ||
		    b->classes[c].utilization[x] != b->classes[c].utilization[y])
			return false;
	return true;
}

static void find_sites(struct bound *b)
{
	size_t n_gpus = b->ledger->n_gpus;

	b->sites = mem_calloc(n_gpus + 1, sizeof *b->sites);
	for (size_t lane = 0; lane < n_gpus; lane++) {
		const struct ledger_gpu *g = &b->ledger->gpus[lane];
		size_t s = 0;

		while (s < b->n_sites && !lanes_alike(b, b->sites[s].lane, lane))
			s++;
		if (s == b->n_sites)
			b->sites[b->n_sites++] = (struct site){
			    .lane = lane,
			    .line = g->vram_known ? (double)ledger_capacity(g) : 0,
			};
		b->sites[s].count++;
	}
	b->sites[b->n_sites++] = (struct site){.lane = n_gpus, .count = 1, .cpu = true};
}

static void add_resource(struct bound *b, struct resource resource)
{
	for (size_t r = 0; r < b->n_resources; r++)
		if (b->resources[r].kind == resource.kind &&
		    b->resources[r].site == resource.site &&
		    b->resources[r].batch == resource.batch) {
			/* Two tasks of a batch may state the limit differently: the laxer holds. */
			b->resources[r].capacity =
			    MAX_OF(b->resources[r].capacity, resource.capacity);
			return;
		}
	ARRAY_GROW(b->resources, b->n_resources, b->resources_room);
	b->resources[b->n_resources++] = resource;
}

static void find_resources(struct bound *b)
{
	for (size_t s = 0; s < b->n_sites; s++) {
		const struct site *site = &b->sites[s];

		if (site->cpu)
			continue;
		add_resource(b, (struct resource){RESOURCE_BUSY, s, 0, site->count});
		if (site->line > 0)
			add_resource(b, (struct resource){RESOURCE_VRAM, s, 0, site->count});
		add_resource(b, (struct resource){RESOURCE_UNSIZED, s, 0, site->count});
		for (size_t c = 0; c < b->n_classes; c++) {
			const struct model_class_facts *k = &b->classes[c];

			if (k->request->max_per_gpu > 0 && k->batch != 0)
				add_resource(
				    b, (struct resource){RESOURCE_PLACES, s, k->batch,
							 site->count * k->request->max_per_gpu});
		}
	}
	if (b->ledger->ram_known && b->ledger->ram_total_bytes > 0)
		add_resource(b, (struct resource){RESOURCE_RAM, 0, 0, 1});
	if (b->ledger->cpu_milli_total > 0)
		add_resource(b, (struct resource){RESOURCE_CPUS, 0, 0, 1});
	for (size_t c = 0; c < b->n_classes; c++)
		if (b->classes[c].request->threads > 0 && b->classes[c].batch != 0)
			add_resource(b, (struct resource){RESOURCE_THREADS, 0, b->classes[c].batch,
							  b->classes[c].request->threads});
}

static double parts_of(const struct model_class_facts *k)
{
	return MAX_OF(k->request->gpus, 1U);
}

static uint64_t site_vram(const struct bound *b, const struct site *site,
			  const struct place_request *request)
{
	return fit_vram(&b->ledger->gpus[site->lane], request);
}

/* Resource-seconds that one part of a class of scale 1 takes when done at a site. */
static double amount(const struct bound *b, const struct model_class_facts *k, size_t site,
		     const struct resource *r)
{
	const struct place_request *request = k->request;
	const struct site *s = &b->sites[site];
	double work = k->work[s->lane];

	switch (r->kind) {
	case RESOURCE_BUSY:
		return r->site == site ? work * k->utilization[s->lane] / 100 : 0;
	case RESOURCE_VRAM:
		if (r->site != site)
			return 0;
		/* Nobody else of ours is there with an exclusive one. */
		return work * (request->exclusive ? 1 : (double)site_vram(b, s, request) / s->line);
	case RESOURCE_PLACES:
		return r->site == site && r->batch == k->batch && request->max_per_gpu > 0 ? work
											   : 0;
	case RESOURCE_UNSIZED:
		return r->site == site && !place_request_is_sized(request) &&
			       request->max_per_gpu == 0
			   ? work
			   : 0;
	case RESOURCE_RAM:
		return work * (double)request->ram_bytes / (double)b->ledger->ram_total_bytes /
		       parts_of(k);
	case RESOURCE_CPUS:
		return work * request->cpu_milli / b->ledger->cpu_milli_total / parts_of(k);
	case RESOURCE_THREADS:
		return r->batch == k->batch ? work / parts_of(k) : 0;
	}
	return 0;
}

/* Maximise the rate at which the whole batch can be worked off: variables are the rates of each
 * class at each site, and the common rate of the batch (the last column). */
static struct lp *build_program(const struct bound *b)
{
	size_t columns = b->n_classes * b->n_sites + 1;
	struct lp *lp = lp_create(b->n_classes + b->n_resources, columns);

	for (size_t c = 0; c < b->n_classes; c++) {
		const struct model_class_facts *k = &b->classes[c];

		lp->a[c * columns + columns - 1] = k->total_scale * parts_of(k);
		for (size_t s = 0; s < b->n_sites; s++) {
			size_t column = c * b->n_sites + s;

			if (k->work[b->sites[s].lane] <= 0)
				continue;
			lp->a[c * columns + column] = -1;
			for (size_t r = 0; r < b->n_resources; r++)
				lp->a[(b->n_classes + r) * columns + column] =
				    amount(b, k, s, &b->resources[r]);
		}
	}
	for (size_t r = 0; r < b->n_resources; r++)
		lp->b[b->n_classes + r] = b->resources[r].capacity;
	lp->c[columns - 1] = 1;
	return lp;
}

/* The bound that follows from prices (see the top). */
static double bound_of_prices(const struct bound *b, const double *prices)
{
	double sum = 0, capacity = 0;

	for (size_t r = 0; r < b->n_resources; r++)
		capacity += prices[r] * b->resources[r].capacity;
	if (!(capacity > 0))
		return 0;
	for (size_t c = 0; c < b->n_classes; c++) {
		const struct model_class_facts *k = &b->classes[c];
		double least = HUGE_VAL;

		for (size_t s = 0; s < b->n_sites; s++) {
			double cost = 0;

			if (k->work[b->sites[s].lane] <= 0)
				continue;
			for (size_t r = 0; r < b->n_resources; r++)
				cost += prices[r] * amount(b, k, s, &b->resources[r]);
			least = MIN_OF(least, cost);
		}
		if (least < HUGE_VAL)
			sum += least * k->total_scale * parts_of(k);
	}
	return sum / capacity;
}

static double longest_task(const struct bound *b)
{
	double longest = 0;

	for (size_t c = 0; c < b->n_classes; c++) {
		double fastest = HUGE_VAL;

		for (size_t s = 0; s < b->n_sites; s++)
			if (b->classes[c].work[b->sites[s].lane] > 0)
				fastest = MIN_OF(fastest, b->classes[c].work[b->sites[s].lane]);
		if (fastest < HUGE_VAL)
			longest = MAX_OF(longest, fastest * b->classes[c].largest_scale);
	}
	return longest;
}

static double lower_bound(const struct ledger *ledger, const struct model *model)
{
	struct bound b = {
	    .ledger = ledger,
	    .model = model,
	    .n_classes = model_n_classes(model),
	};
	double *prices, bound;
	struct lp *lp;

	b.classes = mem_calloc(b.n_classes + 1, sizeof *b.classes);
	for (size_t c = 0; c < b.n_classes; c++)
		b.classes[c] = model_class_facts(model, c);
	find_sites(&b);
	find_resources(&b);
	lp = build_program(&b);
	prices = mem_calloc(lp->n_rows + 1, sizeof *prices);
	bound = longest_task(&b);
	if (lp_solve(lp, NULL, prices) == 0)
		bound = MAX_OF(bound, bound_of_prices(&b, prices + b.n_classes));
	lp_destroy(lp);
	free(prices);
	free(b.classes);
	free(b.sites);
	free(b.resources);
	return bound;
}

/* The machine with nothing of ours on it, nor anything that ours have just left there. */
static struct ledger *emptied(const struct ledger *ledger)
{
	struct ledger *copy = ledger_copy(ledger);

	for (size_t i = 0; i < copy->n_gpus; i++) {
		struct ledger_gpu *g = &copy->gpus[i];

		g->n_tasks = 0;
		g->held_exclusive = g->start_locked = g->closed = g->hold_closed = false;
		g->n_unsettled = g->n_unproven = 0;
		g->seconds_since_start = -1;
		g->allocated_bytes = g->ours_bytes = g->unproven_bytes = 0;
		g->held_bytes = saturate_sub(g->held_bytes, g->leaving_bytes);
		g->leaving_bytes = 0;
		g->room_bytes = ledger_capacity(g);
	}
	return copy;
}

static bool could_hold(const struct ledger_gpu *g, const struct place_request *request)
{
	if (!g->usable || fit_rules(g, request) != FIT_OK)
		return false;
	return g->vram_known ? fit_vram(g, request) <= g->room_bytes
			     : !place_request_is_sized(request);
}

/* Rows dealt to the GPUs in turn; one that its GPU cannot hold goes to the next that can. */
static void deal(const struct ledger *ledger, const struct place_task *tasks, size_t n_tasks,
		 size_t *ret_gpus)
{
	size_t turn = 0;

	for (size_t i = 0; i < n_tasks; i++) {
		ret_gpus[i] = (size_t)-1;
		if (fit_is_cpu_only(tasks[i].request) || tasks[i].request->gpus != 1)
			continue;
		for (size_t k = 0; k < ledger->n_gpus; k++) {
			size_t gpu = (turn + k) % ledger->n_gpus;

			if (could_hold(&ledger->gpus[gpu], tasks[i].request)) {
				ret_gpus[i] = gpu;
				break;
			}
		}
		turn++;
	}
}

/* Makespan of the tasks, each on the GPU given, in order; negative when some cannot run. */
static double play_by_hand(const struct place_view *view, const size_t *gpus)
{
	const struct model_rule rule = {
	    .order = MODEL_QUEUE, .choice = MODEL_FINISH, .strict = true};
	const struct model_options options = {
	    .only_gpu = gpus, .in_order = true, .with_truth = true};
	auto_model struct model *model = model_create(view, &options);
	struct model_outcome outcome;

	model_play(model, &rule, 0, &outcome);
	return outcome.left > 0 ? -1 : outcome.makespan_seconds;
}

static double one_gpu(const struct place_view *view, size_t *gpus)
{
	double best = -1;

	for (size_t g = 0; g < view->ledger->n_gpus; g++) {
		bool holds_all = true;
		double makespan;

		for (size_t i = 0; i < view->n_waiting && holds_all; i++) {
			const struct place_request *request = view->waiting[i].request;

			gpus[i] = (size_t)-1;
			if (fit_is_cpu_only(request))
				continue;
			holds_all =
			    request->gpus == 1 && could_hold(&view->ledger->gpus[g], request);
			gpus[i] = g;
		}
		makespan = holds_all ? play_by_hand(view, gpus) : -1;
		if (makespan >= 0 && (best < 0 || makespan < best))
			best = makespan;
	}
	return best;
}

void place_yardsticks_compute(const struct ledger *ledger, const struct estimates *estimates,
			      const struct place_task *tasks, size_t n_tasks,
			      struct place_yardsticks *ret_yardsticks)
{
	struct ledger *empty = emptied(ledger);
	struct place_view view = {
	    .ledger = empty, .estimates = estimates, .waiting = tasks, .n_waiting = n_tasks};
	const struct model_options options = {.with_truth = true};
	auto_model struct model *model = model_create(&view, &options);
	auto_free size_t *gpus = mem_calloc(n_tasks + 1, sizeof *gpus);
	bool known = true;

	*ret_yardsticks = (struct place_yardsticks){-1, -1, -1};
	for (size_t c = 0; c < model_n_classes(model); c++)
		known &= model_class_facts(model, c).known && model_class_facts(model, c).measured;
	if (known && n_tasks > 0) {
		ret_yardsticks->lower_bound_seconds = lower_bound(empty, model);
		deal(empty, tasks, n_tasks, gpus);
		ret_yardsticks->even_split_seconds = play_by_hand(&view, gpus);
		ret_yardsticks->one_gpu_seconds = one_gpu(&view, gpus);
	}
	ledger_destroy(empty);
}
