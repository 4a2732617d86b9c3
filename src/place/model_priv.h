/*
 * What model.c (making one from a view) and play.c (playing rules in it) share. Nobody else
 * includes it.
 */
#pragma once

#include "place/fit.h"
#include "place/model.h"

#define NO_LANE         ((size_t)-1)
#define SIGMA_MAX       1.0
#define SCALE_MIN       0.02
#define SCALE_MAX       50.0
#define SETTLED_SECONDS 3.0  /* after this a task's share of its GPU's utilisation shows */
#define SAME_INSTANT    1e-9 /* relative: ends closer than this are one event */

struct lane {
	/* The machine as found. */
	bool usable, vram_known;
	uint64_t room, line; /* line: room when all of ours are gone */
	uint64_t load_line;
	unsigned n_tasks, unsized;
	bool held;
	unsigned max_tasks; /* 0 = no limit */
	size_t like;        /* first lane with the same GPU model */
};

struct class
{
	const struct place_task *task; /* one of them */
	int priority;
	size_t batch;    /* index into batches */
	size_t user;     /* index into users */
	size_t only;     /* the one lane it may go to, or NO_LANE */
	size_t since;    /* where in the queue its batch begins; SIZE_MAX: each task by itself */
	bool urgent;     /* see model_outcome */
	size_t first, n; /* its tasks */
	double spread;   /* sigma of log duration */
	bool known;
	bool measured; /* how busy it keeps a GPU */
	bool unseen;   /* no task of its kind has ever ended or runs: try one early */
};

struct item {
	size_t class;
	size_t waiting;
	double scale; /* work relative to its class */
	double rank;  /* longest first within a batch, in order outside one */
};

struct batch {
	uint64_t id;
	unsigned running; /* as found */
	size_t since;     /* first waiting task */
};

/* What a user with limits has running; the first one stands for those without. */
struct user {
	const struct place_user *limits;
	unsigned running, gpus;
	uint64_t vram;
};

/* What a running task holds, to be given back when it ends. */
struct holder {
	double utilization;
	const struct place_request *request;
	size_t batch, user;
	bool urgent;
};

/* What runs when the model starts. */
struct found {
	size_t lanes[PLACE_GPUS_MAX];
	size_t n_lanes;
	struct holder holder;
	double remaining, spread;
	bool settled; /* of an unknown kind, and running long enough for its GPU to show it */
	uint64_t id;
};

struct slot {
	double finish;   /* virtual time of its lane */
	double expected; /* the same, as a rule may know it */
	struct holder holder;
};

struct lane_state {
	double virtual_time, at; /* virtual time, and the real time it belongs to */
	double factor;           /* progress per second */
	double utilization;
	double next; /* real time of its next end; infinite when none */
	uint64_t room;
	unsigned n_tasks, unsized;
	bool held, open;
	struct slot *slots;
	size_t n_slots, slots_room;
};

struct wide { /* a task on several GPUs */
	size_t lanes[PLACE_GPUS_MAX];
	size_t n_lanes;
	double remaining;
	struct holder holder;
};

struct model {
	size_t n_gpus, n_lanes;
	struct lane *lanes;
	struct class *classes;
	size_t n_classes, classes_room;
	struct item *items; /* by class */
	size_t n_items;
	double *work, *utilization; /* [class][lane], of a task of scale 1; work 0 = not there */
	struct batch *batches;      /* [0] is "no batch" */
	size_t n_batches, batches_room;
	unsigned *batch_on_lane; /* [batch][lane], as found */
	struct user *users;      /* as found */
	size_t n_users;
	/* [class][lane]: seconds before which nothing of it starts there although there is room;
	 * NULL when there is no such thing. What holds up a lane because of what the play itself
	 * started there is left out: it is a matter of seconds, and the decision is taken anew
	 * before. */
	double *ready;
	double *moments; /* the times in it and that of the reservation, ascending */
	size_t n_moments, moments_room;
	struct found *found;
	size_t n_found;
	/* The reservation, and what it lets start now: [item][lane], the last lane for the host;
	 * filled in as it is asked for. Until it is over what it forbids now stays forbidden. */
	const struct place_view *view;
	struct fit_counts *counts;
	const struct reserve *reserve; /* NULL: there is none */
	unsigned char *allowed;        /* 0 = not asked yet */
	bool ram_known, cpu_known;
	uint64_t ram_room, cpu_room;

	/* Of a play. */
	struct lane_state *states;
	struct wide *wides;
	size_t n_wides, wides_room;
	size_t *taken, *order; /* per class: tasks started; classes by key */
	double *keys;          /* per class, of its next task */
	unsigned *running, *on_lane;
	bool reserve_over; /* its task has started, or its time has come */
	struct user *user_states;
	size_t moment; /* the next of `moments` */
	uint64_t ram, cpu;
	size_t *open; /* lanes to be offered */
	size_t n_open;
	double now;
	size_t n_running, n_left;
	bool host_full; /* something waits for RAM, CPUs or threads */
	const struct model_rule *rule;
	unsigned scenario;
	size_t watched; /* a waiting index, or SIZE_MAX */
	struct model_outcome *outcome;
	/* rule->reserve: the lane kept, from when, and what may be used of it till then and beyond
	 */
	size_t kept;
	double kept_from;
	uint64_t kept_spare;
	bool kept_set;
};

/* What a request takes of a lane that is a GPU. */
static inline uint64_t lane_vram(const struct model *m, size_t lane,
				 const struct place_request *request)
{
	return place_request_vram(request, m->lanes[lane].load_line);
}

/* play.c */
void user_take(const struct model *m, struct user *user, const struct place_request *request);

/* play.c: allocate what a play needs, and free it. */
void play_init(struct model *m);
void play_finish(struct model *m);
