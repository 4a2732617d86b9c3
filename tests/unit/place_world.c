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
	double now;
	struct gpu gpus[WORLD_GPUS_MAX];
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

/* The sample and the grants, as a daemon would have them. */
static struct ledger *make_ledger(struct play *p)
{
	const struct world *world = p->world;
	struct gpu_list list = {.state = GPU_SOURCE_OK, .gpus = p->gpus, .n = world->n_gpus};
	struct ledger_host host = {.ram_known = world->ram_bytes > 0,
				   .ram_total_bytes = world->ram_bytes,
				   .ram_available_bytes = world->ram_bytes,
				   .cpu_milli = world->cpu_milli};
	struct ledger_options options = {.speed = speed_of, .data = (void *)(uintptr_t)world};
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
		gpu->vram.total_bytes = world->gpus[g].total_bytes;
		gpu->utilization_percent = (unsigned)fmin(100, busy(p, g));
	}
	for (size_t i = 0; i < p->n_running; i++) {
		const struct running *r = &p->running[i];
		const struct place_request *request = &world->tasks[r->task].request;

		for (size_t g = 0; g == 0 || g < r->n_gpus; g++) {
			struct ledger_allocation *a = &grants[n++];

			*a = (struct ledger_allocation){.vram_bytes = request->vram_bytes,
							.used_known = true,
							.settled = true,
							.used_bytes = request->vram_bytes,
							.exclusive = request->exclusive};
			if (g == 0) {
				a->ram_bytes = a->ram_used_bytes = request->ram_bytes;
				a->cpu_milli = request->cpu_milli;
				host.ram_available_bytes -= request->ram_bytes;
			}
			if (r->n_gpus == 0)
				break;
			snprintf(a->uuid, sizeof a->uuid, "GPU-%zu", r->gpus[g]);
			p->gpus[r->gpus[g]].vram.used_bytes += request->vram_bytes;
		}
	}
	ledger = ledger_create(&list, grants, n, &host, &options);
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
				   .work_hint = p->run->hints ? task->hint : 0};
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
	if (world->cpu_milli > 0 && cpu > world->cpu_milli)
		broke(p, "CPUs: %llu", (unsigned long long)cpu);
	if (task->batch && request->threads > 0 && of_batch > request->threads)
		broke(p, "%u of batch run, threads %u", of_batch, request->threads);
	for (size_t k = 0; k < new->n_gpus; k++) {
		size_t gpu = new->gpus[k];
		uint64_t vram = 0, total = world->gpus[gpu].total_bytes;
		unsigned on_gpu = 0, all = 0;
		char uuid[32];

		snprintf(uuid, sizeof uuid, "GPU-%zu", gpu);
		if (place_is_pinned_elsewhere(request, uuid))
			broke(p, "task %zu on %s, pinned to %s", new->task, uuid,
			      request->pin_uuid);
		for (size_t j = 0; j < k; j++)
			if (new->gpus[j] == gpu)
				broke(p, "task %zu twice on GPU %zu", new->task, gpu);
		for (size_t i = 0; i < p->n_running; i++)
			for (size_t g = 0; g < p->running[i].n_gpus; g++) {
				const struct world_task *other = &world->tasks[p->running[i].task];

				if (p->running[i].gpus[g] != gpu)
					continue;
				vram += other->request.vram_bytes;
				on_gpu += other->batch == task->batch;
				all++;
				if (all > 1 && (other->request.exclusive || request->exclusive))
					broke(p, "GPU %zu is not exclusive", gpu);
			}
		if (vram > total - (total / 20 > 256 << 20 ? total / 20 : 256 << 20))
			broke(p, "GPU %zu above its load line: %llu of %llu", gpu,
			      (unsigned long long)vram, (unsigned long long)total);
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
	p->started[r->task] = true;
	place_book(view, d);
	p->run->n_starts++;
}

/* FIFO policies: nobody who waits before it and asks for no more may have been passed over. */
static void check_order(struct play *p, const struct place_view *view,
			const struct place_decision *d)
{
	const struct place_request *taken = view->waiting[d->waiting].request;

	if (p->run->policy == PLACE_AUTO)
		return;
	for (size_t i = 0; i < d->waiting; i++)
		if (!view->taken[i] &&
		    memcmp(view->waiting[i].request, taken, sizeof *taken) == 0 &&
		    view->waiting[i].batch == view->waiting[d->waiting].batch)
			broke(p, "%s took task %llu before an equal earlier one",
			      place_policy_name(p->run->policy),
			      (unsigned long long)view->waiting[d->waiting].id);
}

static void start_what_starts(struct play *p)
{
	const struct world *world = p->world;
	struct place_view view = {.estimates = p->estimates, .waiting = p->waiting};
	struct place_decision decision;
	size_t before = p->n_running;

	for (size_t i = 0; i < world->n_tasks && view.n_waiting < PLACE_WINDOW; i++)
		if (!p->started[i] && world->tasks[i].arrives_seconds <= p->now)
			p->waiting[view.n_waiting++] = seen_by_placement(p, i);
	if (view.n_waiting == 0)
		return;
	view.ledger = make_ledger(p);
	view.taken = mem_calloc(view.n_waiting, sizeof *view.taken);
	view.round_robin = p->run->n_starts;
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
		double at = seconds_now(), took;
		int r = place_next(&view, &decision);

		took = seconds_now() - at;
		p->run->place_seconds += took;
		p->run->place_seconds_max = fmax(p->run->place_seconds_max, took);
		p->run->n_steps++;
		if (r == 0)
			break;
		check_order(p, &view, &decision);
		book(p, &view, &decision);
	}
	if (p->n_running == 0 && before == 0 && something_fits(&view))
		broke(p, "deadlock: nothing runs, something fits, nothing starts");
	for (size_t i = 0; i < view.n_waiting && i < 2; i++) {
		char reason[PLACE_REASON_MAX] = "";

		if (view.taken[i])
			continue;
		place_explain(&view, i, reason);
		if (!reason[0])
			broke(p, "no reason for waiting");
		if (p->run->trace > 1)
			printf("%8.1f waits %3llu: %s\n", p->now,
			       (unsigned long long)view.waiting[i].id - 1, reason);
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
	struct estimates_sample sample = {
	    .kind = task->kind,
	    .model = gpu ? gpu->model : "",
	    .speed = gpu ? gpu->speed : 0,
	    .vram_request_bytes = task->request.vram_bytes,
	    .work_seconds = r.work,
	    .utilization_percent = task->utilization_percent,
	    .peak_vram_bytes = task->request.vram_bytes,
	    .work_hint = p->run->hints ? task->hint : 0,
	};

	estimates_learn(p->estimates, &sample);
	p->running[i] = p->running[--p->n_running];
	p->run->makespan_seconds = p->now;
}

/* On to the next end or arrival. */
static bool advance(struct play *p)
{
	double next = HUGE_VAL;
	double paces[1024];

	for (size_t i = 0; i < p->n_running; i++) {
		paces[i] = pace(p, &p->running[i]);
		next = fmin(next, p->now + (p->running[i].work - p->running[i].done) / paces[i]);
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
		tasks[i].work_scale = place_work_scale(ledger, p.estimates, &done);
	}
	place_yardsticks_compute(ledger, p.estimates, tasks, world->n_tasks, ret_yardsticks);
	ledger_destroy(ledger);
	estimates_destroy(p.estimates);
	free(rows);
	free(tasks);
}
