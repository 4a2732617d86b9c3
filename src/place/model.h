/*
 * A model of what happens next: tasks that run, tasks that wait, and a rule that starts them,
 * played forward in virtual time. `auto` plays its candidates in it and follows the best; the
 * yardsticks are rules played in it too.
 *
 * Execution is processor sharing (forecast.h): on a GPU whose utilisations add up to u > 100 %,
 * everybody progresses at 100/u; a task on several GPUs at the pace of the slowest. Room, host RAM,
 * CPUs, exclusiveness, pins and the limits of batches hold as in fit.h.
 */
#pragma once

#include "place/place.h"

enum model_order {
	MODEL_LONGEST,  /* most work first */
	MODEL_LARGEST,  /* most VRAM first */
	MODEL_HEAVIEST, /* most work x utilisation first: what keeps a GPU busiest */
	MODEL_QUEUE,    /* as they wait */
};

enum model_choice {
	MODEL_FINISH,   /* the GPU where it ends soonest */
	MODEL_BEST_FIT, /* the GPU with least room */
	MODEL_DRAIN,    /* the GPU that would have least left to do */
	MODEL_FASTEST,  /* the GPU where it has least work, however busy that is */
};

/* How to start tasks. Never depends on durations that are not known yet. */
struct model_rule {
	enum model_order order;
	enum model_choice choice;
	double
	    busy_limit; /* start nothing on a GPU whose utilisations add up to this; 0 = no limit */
	bool reserve;   /* keep room for the first that does not fit: only what ends before it could
			   start, or leaves it its room, goes past it */
	double deadline; /* start nothing that is expected to end later; 0 = none */
	double risk; /* add this many standard deviations to expected ends before comparing with the
			deadline */
	bool strict; /* what does not fit keeps those behind it off its GPUs (with MODEL_QUEUE) */
};

struct model_start {
	size_t waiting; /* index into the tasks the model was made from */
	size_t gpus[PLACE_GPUS_MAX];
	size_t n_gpus;
};

struct model_outcome {
	double urgent_seconds;   /* the tasks that come first are done: of the highest priority, and
				    of   the batch that has waited longest among those */
	double makespan_seconds; /* all that could be run is done */
	double flow_seconds;     /* sum of the times at which tasks end */
	size_t left;             /* tasks that found no place to the end */
	bool starts_now;         /* first_start holds one, at time 0 */
	struct model_start first_start;
	bool watched_starts; /* the task given to model_watch() starts, when and where */
	double watched_at_seconds;
	struct model_start watched_start;
};

struct model_options {
	size_t n_max;   /* take at most this many waiting tasks; 0 = all */
	bool only_auto; /* take only tasks whose policy is auto, and none for the CPU */
	const size_t
	    *only_gpu; /* n_waiting GPUs, one for each task: it may go there only; or NULL */
	bool in_order; /* within a class in the order of the queue, not longest first */
	/* For yardsticks: place_task.work_scale counts, and of kinds seen only on full GPUs the
	 * least work it can have been. */
	bool with_truth;
};

struct model;

struct model *model_create(const struct place_view *view, const struct model_options *options);
void model_destroy(struct model *model);
static inline void model_cleanup(struct model **model)
{
	model_destroy(*model);
}
#define auto_model CLEANUP(model_cleanup)

size_t model_n_tasks(const struct model *model);   /* waiting tasks taken in */
size_t model_n_classes(const struct model *model); /* of tasks that differ in nothing but length */

/* A class, for bounds: the arrays have a place for each GPU and one, the last, for the CPU; work 0
 * = it can never go there. */
struct model_class_facts {
	const struct place_request *request;
	uint64_t batch;
	bool known;                        /* its durations rest on something learned */
	bool measured;                     /* how busy it keeps a GPU, or it needs none */
	double total_scale, largest_scale; /* its tasks, in units of one of scale 1 */
	const double *work, *utilization;
};
struct model_class_facts model_class_facts(const struct model *model, size_t class);

/* Is there a task that could start now? */
bool model_anything_fits(struct model *model);

/* Note in outcomes when the task at this index of the waiting ones starts. */
void model_watch(struct model *model, size_t waiting);

/* Play a rule to the end. Scenario 0: every task takes what is expected; others: durations drawn
 * around that, the same for every rule. */
void model_play(struct model *model, const struct model_rule *rule, unsigned scenario,
		struct model_outcome *ret_outcome);
