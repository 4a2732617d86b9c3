/* A small machine (11.9 and 8 GiB) with a queue, and short words for what happens to it: for tests
 * of sched. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "util/size.h"

#include <string.h>

static const char *const true_argv[] = {"true", NULL};

struct box {
	struct sched *sched;
	struct gpu_list *list;
	int64_t now;
};

static UNUSED void box_sample(struct box *b)
{
	b->list->sampled_at_ms = b->now;
	sched_set_gpus(b->sched, b->list, b->now);
}

/* 11.9 and 8 GiB, idle. */
static UNUSED int box_create(void **state)
{
	static const double sizes[] = {11.9, 8};
	struct box *b = mem_calloc(1, sizeof *b);

	b->now = 1800000000000;
	b->sched = sched_create(&(struct sched_options){.stop_grace_ms = 10000});
	b->list = gpu_list_create();
	b->list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < 2; i++) {
		struct gpu *gpu = gpu_list_append(b->list);

		gpu->index = i;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", i);
		(void)snprintf(gpu->name, sizeof gpu->name, "Model %u", i);
		gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_UTILIZATION | GPU_PROCESSES;
		gpu->vram.total_bytes = (uint64_t)(sizes[i] * (double)GIB);
		gpu->vram.free_bytes = gpu->vram.total_bytes;
	}
	box_sample(b);
	*state = b;
	return 0;
}

static UNUSED int box_destroy(void **state)
{
	struct box *b = *state;

	sched_destroy(b->sched);
	gpu_list_destroy(b->list);
	free(b);
	return 0;
}

static UNUSED struct sched_spec spec_of(double vram_gib)
{
	return (struct sched_spec){
	    .name = "t",
	    .argv = true_argv,
	    .cwd = "/tmp",
	    .kind = "k",
	    .policy = PLACE_FIRST_FIT,
	    .request = {.gpus = 1, .vram_bytes = (uint64_t)(vram_gib * (double)GIB)},
	};
}

static UNUSED struct sched_spec cpu_spec(void)
{
	struct sched_spec spec = spec_of(0);

	spec.request.gpus = 0;
	spec.request.cpu = PLACE_CPU_ONLY;
	return spec;
}

static UNUSED uint64_t submit(struct box *b, struct sched_spec spec)
{
	uint64_t id = 0;
	struct error err;

	assert_int_equal(sched_submit(b->sched, &spec, b->now, &id, &err), 0);
	return id;
}

static UNUSED uint64_t submit_batch(struct box *b, struct sched_spec spec, unsigned n,
				    enum sched_on_failure on_failure, uint64_t *ret_first)
{
	auto_free struct sched_spec *specs = mem_calloc(n + 1, sizeof *specs);
	struct sched_batch_spec batch = {
	    .name = "rows", .on_failure = on_failure, .tasks = specs, .n_tasks = n};
	uint64_t id;
	struct error err;

	for (unsigned i = 0; i < n; i++) {
		specs[i] = spec;
		specs[i].row = i + 1;
	}
	assert_int_equal(sched_submit_batch(b->sched, &batch, b->now, &id, ret_first, &err), 0);
	return id;
}

static UNUSED enum sched_state state_of(struct box *b, uint64_t id)
{
	return sched_find(b->sched, id)->state;
}

static UNUSED size_t step(struct box *b)
{
	size_t n = sched_step(b->sched, b->now);

	sched_changes_clear(b->sched);
	sched_actions_clear(b->sched);
	return n;
}

static UNUSED void started(struct box *b, uint64_t id)
{
	assert_int_equal(sched_started(b->sched, id, sched_find(b->sched, id)->n_attempts, b->now),
			 0);
}

static UNUSED void ended(struct box *b, uint64_t id, enum sched_outcome outcome)
{
	const struct sched_end end = {.task = id,
				      .attempt = sched_find(b->sched, id)->n_attempts,
				      .outcome = outcome,
				      .exit_known = outcome != SCHED_OUTCOME_LOST,
				      .exit_code = outcome == SCHED_OK ? 0 : 1};

	assert_int_equal(sched_ended(b->sched, &end, b->now), 0);
	if (sched_task_attempt(sched_find(b->sched, id))->ended_at_ms > 0 &&
	    !sched_wants_sample(b->sched))
		return;
	/* An error on a GPU is judged by the next sample, and what was held is free with it. */
	b->now++;
	box_sample(b);
}

static UNUSED const char *reason_of(struct box *b, uint64_t id)
{
	static char reason[SCHED_REASON_MAX];

	return sched_reason(b->sched, sched_find(b->sched, id), reason);
}
