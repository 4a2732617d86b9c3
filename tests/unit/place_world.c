/*
 * Events are ends and arrivals. At each: build the sample and the ledger afresh, as the daemon
 * does, ask place_next() and book until it has nothing more.
 */
#include "place_world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct running {
	size_t task;
	size_t gpus[PLACE_GPUS_MAX];
	size_t n_gpus;
	double started, done, work; /* work on the GPU it got */
};

struct play {
	const struct world *world;
	struct world_run *run;
	struct estimates *estimates;
	bool *started;
	struct running *running;
	size_t n_running;
	double now, wake; /* when placement wants to be asked again; infinite = not */
	double last_start[WORLD_GPUS_MAX];
	struct gpu gpus[WORLD_GPUS_MAX];
	struct ledger_rule rules[WORLD_GPUS_MAX];
	struct place_task *waiting;
	struct place_request *asks;
};

uint64_t world_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

double world_uniform(uint64_t *state)
{
	return (double)(world_random(state) >> 11) / 9007199254740992.0;
}

double world_normal(uint64_t *state)
{
	double u = 1 - world_uniform(state), v = world_uniform(state);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static double speed_of(void *data, const char *model)
{
	const struct world *world = data;

	for (size_t i = 0; i < world->n_gpus; i++)
		if (strcmp(world->gpus[i].model, model) == 0)
			return world->gpus[i].speed;
	return 0;
}

static double busy(const struct play *p, size_t gpu)
{
	double sum = 0;

	for (size_t i = 0; i < p->n_running; i++)
		for (size_t g = 0; g < p->running[i].n_gpus; g++)
			if (p->running[i].gpus[g] == gpu)
				sum += p->world->tasks[p->running[i].task].utilization_percent;
	return sum;
}

static double pace(const struct play *p, const struct running *r)
{
	double pace = 1;

	for (size_t g = 0; g < r->n_gpus; g++)
		pace = fmin(pace, fmin(1, 100 / busy(p, r->gpus[g])));
	return pace;
}

static void __attribute__((format(printf, 2, 3))) broke(struct play *p, const char *fmt, ...)
{
	va_list args;

	if (p->run->broken[0])
		return;
	va_start(args, fmt);
	vsnprintf(p->run->broken, sizeof p->run->broken, fmt, args);
	va_end(args);
}

static bool settled(const struct play *p, const struct running *r)
{
	return p->now - r->started >= p->world->settle_seconds;
}

/* With the default reserve. */
static uint64_t line_of(const struct world *world, size_t gpu)
{
	uint64_t total = world->gpus[gpu].total_bytes;

	return total - (total / 20 > 256 << 20 ? total / 20 : 256 << 20);
}

uint64_t world_vram(const struct world *world, const struct place_request *request, size_t gpu)
{
	uint64_t mib = line_of(world, gpu) >> 20;

	return request->fraction_milli > 0 ? mib * request->fraction_milli / 1000 << 20
					   : request->vram_bytes;
}

/* The sample and the grants, as a daemon would have them. */
static struct ledger *make_ledger(struct play *p)
{
	const struct world *world = p->world;
	struct gpu_list list = {.state = GPU_SOURCE_OK, .gpus = p->gpus, .n = world->n_gpus};
	struct ledger_host host = {.ram_known = world->ram_bytes > 0,
				   .ram_total_bytes = world->ram_bytes,
				   .ram_available_bytes = world->ram_bytes,
				   .cpu_milli = world->cpu_milli};
	struct ledger_options options = {.speed = speed_of,
					 .data = (void *)(uintptr_t)world,
					 .rules = p->rules,
					 .n_rules = world->n_gpus,
					 .stagger_ms = world->stagger_ms};
	struct ledger_allocation *grants =
	    mem_calloc(p->n_running * PLACE_GPUS_MAX + 1, sizeof *grants);
	struct ledger *ledger;
	size_t n = 0;

	for (size_t g = 0; g < world->n_gpus; g++) {
		struct gpu *gpu = &p->gpus[g];

		*gpu = (struct gpu){.index = (unsigned)g,
				    .valid = GPU_TOTAL | GPU_USED | GPU_UTILIZATION};
		snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%zu", g);
		snprintf(gpu->name, sizeof gpu->name, "%s", world->gpus[g].model);
		if (world->gpus[g].compute > 0)
			gpu->valid |= GPU_COMPUTE_CAPABILITY;
		gpu->compute_capability = world->gpus[g].compute;
		p->rules[g] = (struct ledger_rule){
		    .max_request_bytes = world->gpus[g].max_request_bytes,
		    .max_tasks = world->gpus[g].max_tasks,
		    .closed = world->gpus[g].closed,
		    .text = "drained",
		};
		snprintf(p->rules[g].uuid, sizeof p->rules[g].uuid, "GPU-%zu", g);
		gpu->vram.total_bytes = world->gpus[g].total_bytes;
		gpu->utilization_percent = (unsigned)fmin(100, busy(p, g));
	}
	for (size_t i = 0; i < p->n_running; i++) {
		const struct running *r = &p->running[i];
		const struct place_request *request = &world->tasks[r->task].request;

		for (size_t g = 0; g == 0 || g < r->n_gpus; g++) {
			struct ledger_allocation *a = &grants[n++];
			uint64_t vram = r->n_gpus > 0 ? world_vram(world, request, r->gpus[g])
						      : request->vram_bytes;

			*a = (struct ledger_allocation){.vram_bytes = vram,
							.used_known = true,
							.settled = settled(p, r),
							.start_lock = request->start_lock,
							.seconds_since_start = p->now - r->started,
							.used_bytes = vram,
							.exclusive = request->exclusive};
			if (g == 0) {
				a->ram_bytes = a->ram_used_bytes = request->ram_bytes;
				a->cpu_milli = request->cpu_milli;
				host.ram_available_bytes -= request->ram_bytes;
			}
			if (r->n_gpus == 0)
				break;
			snprintf(a->uuid, sizeof a->uuid, "GPU-%zu", r->gpus[g]);
			p->gpus[r->gpus[g]].vram.used_bytes += vram;
		}
	}
	ledger = ledger_create(&list, grants, n, &host, &options);
	for (size_t g = 0; g < world->n_gpus; g++)
		if (p->last_start[g] >= 0)
			ledger->gpus[g].seconds_since_start = p->now - p->last_start[g];
	free(grants);
	return ledger;
}

static struct place_task seen_by_placement(const struct play *p, size_t i)
{
	const struct world_task *task = &p->world->tasks[i];

	return (struct place_task){.id = i + 1,
				   .batch = task->batch,
				   .priority = task->priority,
				   .kind = task->kind,
				   .request = &task->request,
				   .policy = p->run->policy,
				   .uid = task->uid,
				   .hard_limit_seconds = task->hard_limit_seconds,
				   .waited_seconds = p->now - task->arrives_seconds,
				   .work_hint = p->run->hints ? task->hint : 0};
}

static bool in_list(const char (*uuids)[GPU_UUID_MAX], size_t n, const char *uuid)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(uuids[i], uuid) == 0)
			return true;
	return false;
}

const char *world_objection(const struct world *world, const struct place_request *request,
			    size_t gpu)
{
	const struct world_gpu *g = &world->gpus[gpu];
	const struct place_wishes *w = request->wishes;
	bool model = false;
	char uuid[32];

	snprintf(uuid, sizeof uuid, "GPU-%zu", gpu);
	if (request->pin_uuid && strcmp(uuid, request->pin_uuid) != 0)
		return "is not the one it is pinned to";
	if (g->closed)
		return "is closed";
	if (g->max_request_bytes > 0 && (!place_request_is_sized(request) ||
					 world_vram(world, request, gpu) > g->max_request_bytes))
		return "takes smaller ones only";
	if (!w)
		return NULL;
	if (in_list(w->forbid, w->n_forbid, uuid))
		return "is forbidden";
	for (size_t i = 0; i < w->n_models; i++)
		model |= strstr(g->model, w->models[i]) != NULL;
	if (w->n_models > 0 && !model)
		return "is of another model";
	if ((w->compute_min > 0 && g->compute < w->compute_min) ||
	    (w->compute_max > 0 && (g->compute == 0 || g->compute > w->compute_max)))
		return "has another compute capability";
	return NULL;
}

static void check_user(struct play *p, const struct running *new)
{
	const struct world *world = p->world;
	uid_t uid = world->tasks[new->task].uid;
	size_t running = 0, gpus = 0;
	uint64_t vram = 0;

	for (size_t i = 0; i < p->n_running; i++) {
		const struct running *r = &p->running[i];

		if (world->tasks[r->task].uid != uid)
			continue;
		running++;
		gpus += r->n_gpus;
		for (size_t g = 0; g < r->n_gpus; g++)
			vram += world_vram(world, &world->tasks[r->task].request, r->gpus[g]);
	}
	for (size_t i = 0; i < world->n_users; i++) {
		const struct place_user *user = &world->users[i];

		if (user->uid == uid &&
		    ((user->max_running > 0 && running > user->max_running) ||
		     (user->max_gpus > 0 && new->n_gpus > 0 && gpus > user->max_gpus) ||
		     (user->max_vram_bytes > 0 &&
		      place_request_is_sized(&world->tasks[new->task].request) &&
		      vram > user->max_vram_bytes)))
			broke(p, "user %u has %zu running, %zu GPUs, %llu bytes", (unsigned)uid,
			      running, gpus, (unsigned long long)vram);
	}
}

/* Start locks, what has to know what is free, and the stagger. */
static void check_moment(struct play *p, const struct running *new, size_t gpu)
{
	const struct world *world = p->world;
	const struct place_request *request = &world->tasks[new->task].request;
	double stagger = fmax(request->stagger_ms, world->stagger_ms) / 1000;
	bool careful =
	    request->start_lock || (!place_request_is_sized(request) && request->max_per_gpu == 0);

	if (p->last_start[gpu] >= 0 && p->now - p->last_start[gpu] < stagger - 1e-9)
		broke(p, "GPU %zu had a start %.3f s ago, stagger %.3f s", gpu,
		      p->now - p->last_start[gpu], stagger);
	for (size_t i = 0; i < p->n_running; i++)
		for (size_t g = 0; g < p->running[i].n_gpus; g++) {
			const struct running *r = &p->running[i];

			if (r == new || r->gpus[g] != gpu || settled(p, r))
				continue;
			if (careful || world->tasks[r->task].request.start_lock)
				broke(p, "task %zu on GPU %zu beside %zu, which has not settled",
				      new->task, gpu, r->task);
		}
}

/* Promises, counted here and not by the code under test. */
static void check_start(struct play *p, const struct running *new)
{
	const struct world *world = p->world;
	const struct world_task *task = &world->tasks[new->task];
	const struct place_request *request = &task->request;
	uint64_t ram = 0, cpu = 0;
	unsigned of_batch = 0;

	if (p->started[new->task])
		broke(p, "task %zu placed twice", new->task);
	if (new->n_gpus != (request->cpu == PLACE_CPU_ONLY ? 0 : request->gpus))
		broke(p, "task %zu got %zu GPUs", new->task, new->n_gpus);
	for (size_t i = 0; i < p->n_running; i++) {
		const struct world_task *other = &world->tasks[p->running[i].task];

		ram += other->request.ram_bytes;
		cpu += other->request.cpu_milli;
		of_batch += other->batch == task->batch;
	}
	if (world->ram_bytes > 0 && ram > world->ram_bytes)
		broke(p, "RAM: %llu of %llu", (unsigned long long)ram,
		      (unsigned long long)world->ram_bytes);
	check_user(p, new);
	if (world->cpu_milli > 0 && cpu > world->cpu_milli)
		broke(p, "CPUs: %llu", (unsigned long long)cpu);
	if (task->batch && request->threads > 0 && of_batch > request->threads)
		broke(p, "%u of batch run, threads %u", of_batch, request->threads);
	for (size_t k = 0; k < new->n_gpus; k++) {
		size_t gpu = new->gpus[k];
		uint64_t vram = 0;
		unsigned on_gpu = 0, all = 0;
		bool exclusive = false;
		const char *why = world_objection(world, request, gpu);

		if (why)
			broke(p, "task %zu on GPU %zu, which %s", new->task, gpu, why);
		check_moment(p, new, gpu);
		for (size_t j = 0; j < k; j++)
			if (new->gpus[j] == gpu)
				broke(p, "task %zu twice on GPU %zu", new->task, gpu);
		for (size_t i = 0; i < p->n_running; i++)
			for (size_t g = 0; g < p->running[i].n_gpus; g++) {
				const struct world_task *other = &world->tasks[p->running[i].task];

				if (p->running[i].gpus[g] != gpu)
					continue;
				vram += world_vram(world, &other->request, gpu);
				on_gpu += other->batch == task->batch;
				all++;
				exclusive |= other->request.exclusive;
			}
		if (exclusive && all > 1)
			broke(p, "GPU %zu is not exclusive", gpu);
		if (world->gpus[gpu].max_tasks > 0 && all > world->gpus[gpu].max_tasks)
			broke(p, "GPU %zu has %u tasks", gpu, all);
		if (vram > line_of(world, gpu))
			broke(p, "GPU %zu above its load line: %llu of %llu", gpu,
			      (unsigned long long)vram,
			      (unsigned long long)world->gpus[gpu].total_bytes);
		if (task->batch && request->max_per_gpu > 0 && on_gpu > request->max_per_gpu)
			broke(p, "GPU %zu has %u of the batch, limit %u", gpu, on_gpu,
			      request->max_per_gpu);
	}
}

/* Could a task start on an empty machine like this one now? For "nothing runs and nothing starts".
 */
static bool something_fits(const struct place_view *view)
{
	for (size_t i = 0; i < view->n_waiting; i++) {
		if (view->taken[i])
			continue;
		if (place_check(view->ledger, view->waiting[i].request, NULL) == 0)
			return true;
	}
	return false;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Would a start break a promise? Asked of the checks above. */
static bool may_start(struct play *p, size_t task, size_t gpu)
{
	char before[sizeof p->run->broken];
	const struct world_task *t = &p->world->tasks[task];
	bool may;

	memcpy(before, p->run->broken, sizeof before);
	p->run->broken[0] = '\0';
	p->running[p->n_running++] = (struct running){
	    .task = task, .gpus = {gpu}, .n_gpus = t->request.gpus, .started = p->now};
	check_start(p, &p->running[p->n_running - 1]);
	p->n_running--;
	may = p->run->broken[0] == '\0';
	memcpy(p->run->broken, before, sizeof before);
	return may;
}

/* On a GPU it likes less only when none it likes better may take it (checked for one GPU). */
static void check_tier(struct play *p, const struct place_view *view,
		       const struct place_decision *d)
{
	const struct place_request *request = view->waiting[d->waiting].request;
	const struct place_wishes *w = request->wishes;
	size_t task = (size_t)(view->waiting[d->waiting].id - 1);
	struct running new;
	char got[32];

	if (!w || d->n_gpus != 1 || p->run->reserve_after_seconds > 0)
		return;
	new = p->running[--p->n_running]; /* the start itself, booked last */
	snprintf(got, sizeof got, "GPU-%zu", d->gpus[0]);
	for (size_t g = 0; g < p->world->n_gpus; g++) {
		bool better;
		char uuid[32];

		snprintf(uuid, sizeof uuid, "GPU-%zu", g);
		better =
		    (in_list(w->prefer, w->n_prefer, uuid) &&
		     !in_list(w->prefer, w->n_prefer, got)) ||
		    (!in_list(w->avoid, w->n_avoid, uuid) && in_list(w->avoid, w->n_avoid, got));
		if (better && place_request_is_sized(request) && may_start(p, task, g))
			broke(p, "task %zu on %s although %s is liked better", task, got, uuid);
	}
	p->running[p->n_running++] = new;
}

static void book(struct play *p, struct place_view *view, const struct place_decision *d)
{
	struct running *r = &p->running[p->n_running++];
	const struct world_task *task;
	double slowest = 0;

	*r = (struct running){.task = (size_t)(view->waiting[d->waiting].id - 1),
			      .n_gpus = d->n_gpus,
			      .started = p->now};
	task = &p->world->tasks[r->task];
	memcpy(r->gpus, d->gpus, sizeof r->gpus);
	for (size_t g = 0; g < d->n_gpus; g++)
		slowest = fmax(slowest, task->work_seconds / p->world->gpus[d->gpus[g]].speed);
	r->work = d->n_gpus > 0 ? slowest : task->work_seconds;
	if (!d->reason[0])
		broke(p, "no reason for task %zu", r->task);
	if (p->run->trace)
		printf("%8.1f start %3zu %-8s on %2zu: %s\n", p->now, r->task, task->kind,
		       d->n_gpus ? d->gpus[0] : 99, d->reason);
	check_start(p, r);
	check_tier(p, view, d);
	p->started[r->task] = true;
	if (p->run->starts)
		p->run->starts[r->task] = p->now;
	if (r->task == p->run->first_reserved)
		p->run->first_reserved_start = p->now;
	for (size_t g = 0; g < d->n_gpus; g++)
		p->last_start[d->gpus[g]] = p->now;
	place_book(view, d);
	p->run->n_starts++;
}

/* FIFO policies: nobody who waits before it and asks for no more may have been passed over. */
static void check_order(struct play *p, const struct place_view *view,
			const struct place_decision *d)
{
	const struct place_request *taken = view->waiting[d->waiting].request;

	/* A shorter one may go past a reservation where the one before it may not. */
	if (p->run->policy == PLACE_AUTO || p->run->reserve_after_seconds > 0)
		return;
	for (size_t i = 0; i < d->waiting; i++)
		if (!view->taken[i] &&
		    memcmp(view->waiting[i].request, taken, sizeof *taken) == 0 &&
		    view->waiting[i].uid == view->waiting[d->waiting].uid &&
		    view->waiting[i].batch == view->waiting[d->waiting].batch)
			broke(p, "%s took task %llu before an equal earlier one",
			      place_policy_name(p->run->policy),
			      (unsigned long long)view->waiting[d->waiting].id);
}

/* Whoever waits under a simple policy could not have started: its reason is not an excuse. */
static void check_waiting(struct play *p, const struct place_view *view, size_t i)
{
	const struct world_task *task = &p->world->tasks[view->waiting[i].id - 1];
	char reason[PLACE_REASON_MAX] = "";

	place_explain(view, i, reason);
	if (!reason[0])
		broke(p, "no reason for waiting");
	if (p->run->trace > 1)
		printf("%8.1f waits %3llu: %s\n", p->now,
		       (unsigned long long)view->waiting[i].id - 1, reason);
	if (p->run->policy == PLACE_AUTO || p->run->reserve_after_seconds > 0 ||
	    task->request.gpus > 1 || p->run->broken[0])
		return;
	if (strstr(reason, "about to start"))
		broke(p, "about to start, and does not");
	for (size_t g = 0; g < p->world->n_gpus && task->request.vram_bytes > 0; g++)
		if (may_start(p, (size_t)(view->waiting[i].id - 1), g))
			broke(p, "task %llu waits, GPU %zu may take it: %s",
			      (unsigned long long)view->waiting[i].id - 1, g, reason);
}

/* The first that has waited so long, and who may start before it. */
static void hold_back(struct play *p, struct place_view *view, size_t n_all)
{
	view->n_waiting = n_all;
	for (size_t i = 0; i < view->n_waiting && p->run->reserve_after_seconds > 0; i++) {
		if (view->taken[i] ||
		    view->waiting[i].waited_seconds < p->run->reserve_after_seconds)
			continue;
		if (p->run->no_backfill)
			view->n_waiting = i + 1;
		return;
	}
}

static void note_reserved(struct play *p, const struct place_view *view)
{
	for (size_t i = 0; i < view->n_waiting && p->run->reserve_after_seconds > 0; i++)
		if (!view->taken[i] &&
		    view->waiting[i].waited_seconds >= p->run->reserve_after_seconds &&
		    p->run->first_reserved == p->world->n_tasks)
			p->run->first_reserved = (size_t)(view->waiting[i].id - 1);
}

static void start_what_starts(struct play *p)
{
	const struct world *world = p->world;
	struct place_view view = {.estimates = p->estimates, .waiting = p->waiting};
	struct place_decision decision;
	size_t before = p->n_running, n_all;
	double took;

	for (size_t i = 0; i < world->n_tasks && view.n_waiting < PLACE_WINDOW; i++)
		if (!p->started[i] && world->tasks[i].arrives_seconds <= p->now)
			p->waiting[view.n_waiting++] = seen_by_placement(p, i);
	if (view.n_waiting == 0)
		return;
	view.ledger = make_ledger(p);
	view.taken = mem_calloc(view.n_waiting, sizeof *view.taken);
	n_all = view.n_waiting;
	view.round_robin = p->run->n_starts;
	view.users = world->users;
	view.n_users = world->n_users;
	view.reserve_after_seconds = p->run->reserve_after_seconds;
	for (size_t i = 0; i < p->n_running; i++) {
		struct place_task *task;

		ARRAY_GROW(view.running, view.n_running, view.running_room);
		task = &view.running[view.n_running++];
		*task = seen_by_placement(p, p->running[i].task);
		memcpy(task->gpus, p->running[i].gpus, sizeof task->gpus);
		task->n_gpus = p->running[i].n_gpus;
		task->elapsed_seconds = p->now - p->running[i].started;
		task->work_done_seconds = p->running[i].done;
	}
	for (;;) {
		double at = seconds_now();
		int r;

		hold_back(p, &view, n_all);
		r = place_next(&view, &decision);

		took = seconds_now() - at;
		p->run->place_seconds += took;
		p->run->place_seconds_max = fmax(p->run->place_seconds_max, took);
		p->run->n_steps++;
		if (r == 0)
			break;
		check_order(p, &view, &decision);
		book(p, &view, &decision);
	}
	took = place_wake_seconds(&view);
	p->wake = took < 0 ? HUGE_VAL : p->now + took + 1e-6;
	if (p->n_running == 0 && before == 0 && took < 0 && something_fits(&view))
		broke(p, "deadlock: nothing runs, something fits, nothing starts");
	note_reserved(p, &view);
	for (size_t i = 0, n = 0; i < view.n_waiting && n < 4; i++)
		if (!view.taken[i]) {
			check_waiting(p, &view, i);
			n++;
		}
	ledger_destroy(view.ledger);
	free(view.running);
	free(view.taken);
}

static void end_and_learn(struct play *p, size_t i)
{
	struct running r = p->running[i];
	const struct world_task *task = &p->world->tasks[r.task];
	const struct world_gpu *gpu = r.n_gpus > 0 ? &p->world->gpus[r.gpus[0]] : NULL;
	uint64_t vram = gpu ? world_vram(p->world, &task->request, r.gpus[0]) : 0;
	struct estimates_sample sample = {
	    .kind = task->kind,
	    .model = gpu ? gpu->model : "",
	    .speed = gpu ? gpu->speed : 0,
	    .vram_request_bytes = vram,
	    .work_seconds = r.work,
	    .utilization_percent = task->utilization_percent,
	    .peak_vram_bytes = vram,
	    .work_hint = p->run->hints ? task->hint : 0,
	};

	estimates_learn(p->estimates, &sample);
	p->running[i] = p->running[--p->n_running];
	p->run->makespan_seconds = p->now;
}

/* On to the next end or arrival. */
static bool advance(struct play *p)
{
	double next = p->wake;
	double paces[2048];

	for (size_t i = 0; i < p->n_running; i++) {
		paces[i] = pace(p, &p->running[i]);
		next = fmin(next, p->now + (p->running[i].work - p->running[i].done) / paces[i]);
		if (!settled(p, &p->running[i]))
			next = fmin(next, p->running[i].started + p->world->settle_seconds + 1e-6);
	}
	for (size_t i = 0; i < p->world->n_tasks; i++)
		if (p->world->tasks[i].arrives_seconds > p->now)
			next = fmin(next, p->world->tasks[i].arrives_seconds);
	if (next == HUGE_VAL)
		return false;
	for (size_t i = 0; i < p->n_running; i++)
		p->running[i].done += (next - p->now) * paces[i];
	p->now = next;
	for (size_t i = 0; i < p->n_running;) {
		if (p->running[i].done >= p->running[i].work * (1 - 1e-9))
			end_and_learn(p, i);
		else
			i++;
	}
	return true;
}

void world_play(const struct world *world, struct world_run *run)
{
	struct play p = {.world = world, .run = run, .estimates = estimates_create()};

	p.started = mem_calloc(world->n_tasks + 1, sizeof *p.started);
	p.running = mem_calloc(world->n_tasks + 1, sizeof *p.running);
	p.waiting = mem_calloc(world->n_tasks + 1, sizeof *p.waiting);
	estimates_load(p.estimates, run->profile, run->n_profile);
	run->first_reserved = world->n_tasks;
	for (size_t g = 0; g < WORLD_GPUS_MAX; g++)
		p.last_start[g] = -1;
	for (size_t i = 0; run->starts && i < world->n_tasks; i++)
		run->starts[i] = -1;
	do
		start_what_starts(&p);
	while (advance(&p));
	run->n_left = world->n_tasks - run->n_starts;
	estimates_destroy(p.estimates);
	free(p.started);
	free(p.running);
	free(p.waiting);
}

size_t world_profile(const struct world *world, struct estimates_row **ret_rows)
{
	struct estimates *estimates = estimates_create();
	size_t n;

	for (size_t i = 0; i < world->n_tasks; i++)
		for (size_t g = 0; g < world->n_gpus; g++) {
			const struct world_task *task = &world->tasks[i];
			bool cpu = task->request.cpu == PLACE_CPU_ONLY;
			struct estimates_sample sample = {
			    .kind = task->kind,
			    .model = cpu ? "" : world->gpus[g].model,
			    .speed = cpu ? 0 : world->gpus[g].speed,
			    .vram_request_bytes = task->request.vram_bytes,
			    .work_seconds = cpu ? task->work_seconds
						: task->work_seconds / world->gpus[g].speed,
			    .utilization_percent = task->utilization_percent,
			    .work_hint = task->hint,
			};
			bool again = false;

			/* Once a model, or the means of models would differ by more than speed. */
			for (size_t h = 0; h < g; h++)
				again |= strcmp(world->gpus[h].model, world->gpus[g].model) == 0;
			if (!again && (!cpu || g == 0))
				estimates_learn(estimates, &sample);
		}
	n = estimates_rows(estimates, false, ret_rows);
	estimates_destroy(estimates);
	return n;
}

static double work_scale(const struct ledger *ledger, const struct estimates *estimates,
			 const struct place_task *done)
{
	size_t gpu = done->n_gpus > 0 ? done->gpus[0] : (size_t)-1;
	bool on_cpu = done->n_gpus == 0;
	struct estimate e;

	if (!(done->work_done_seconds > 0) || (!on_cpu && gpu >= ledger->n_gpus))
		return 0;
	e = estimates_get(estimates, done->kind, on_cpu ? "" : ledger->gpus[gpu].model,
			  on_cpu ? 0 : ledger->gpus[gpu].speed, done->request->vram_bytes);
	return e.known && e.work_seconds > 0 ? done->work_done_seconds / e.work_seconds : 0;
}

void world_yardsticks(const struct world *world, struct place_yardsticks *ret_yardsticks)
{
	struct world_run run = {.policy = PLACE_FIRST_FIT};
	struct play p = {.world = world, .run = &run, .estimates = estimates_create()};
	struct estimates_row *rows = NULL;
	size_t n = world_profile(world, &rows);
	struct ledger *ledger = make_ledger(&p);
	struct place_task *tasks = mem_calloc(world->n_tasks + 1, sizeof *tasks);

	estimates_load(p.estimates, rows, n);
	for (size_t i = 0; i < world->n_tasks; i++) {
		struct place_task done = seen_by_placement(&p, i);
		double speed = world->gpus[0].speed;

		tasks[i] = done;
		done.n_gpus = done.request->cpu == PLACE_CPU_ONLY ? 0 : 1;
		done.work_done_seconds = done.n_gpus > 0 ? world->tasks[i].work_seconds / speed
							 : world->tasks[i].work_seconds;
		tasks[i].work_scale = work_scale(ledger, p.estimates, &done);
	}
	place_yardsticks_compute(ledger, p.estimates, tasks, world->n_tasks, ret_yardsticks);
	ledger_destroy(ledger);
	estimates_destroy(p.estimates);
	free(rows);
	free(tasks);
}
