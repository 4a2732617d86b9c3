/*
 * A project on a machine: what its services need, what they ask for, where they are today. All that
 * `check`, `plan` and `apply` decide from, put together once. Pure but for nothing: files, samples
 * and containers are handed in.
 */
#pragma once

#include "compose/locate.h"
#include "config/need.h"
#include "container/container.h"
#include "place/ledger.h"
#include "place/plan.h"

/* The host's RAM. */
struct stack_host {
	bool total_known, available_known;
	uint64_t total_bytes, available_bytes; /* MemTotal, MemAvailable of proc(5) */
};

struct stack_service {
	const struct compose_service *service;
	const struct compose_gpus *gpus;
	struct need need; /* x-plimsoll, with what plimsoll.yaml says above it */
	bool wants_gpu;   /* it asks for one and is active */
	/* What its containers use now, the most of any replica on one GPU. */
	bool measured;
	uint64_t measured_bytes;
	uint64_t used_bytes[PLAN_GPUS_MAX]; /* of all its containers, on each GPU */
	/* What is planned for it: declared; else measured; else unknown. */
	bool vram_known;
	uint64_t vram_bytes;
	/* Where its files put it: GPUs of the list. */
	bool assigned_known; /* false: a GPU that is not there; see compose_resolve() */
	size_t assigned[PLAN_GPUS_MAX];
	size_t n_assigned;
	const struct compose_value *missing;
	/* Where its containers really are: by their processes, else by what they were given. */
	bool running;
	size_t today[PLAN_GPUS_MAX];
	size_t n_today;
	/* Resident memory of the processes of all its running containers. */
	uint64_t ram_used_bytes; /* 0 also where it is not known; see the stack */
};

struct stack {
	struct compose_project *project; /* borrowed */
	const struct gpu_list *list;     /* borrowed */
	const struct ledger *ledger;     /* borrowed: load lines; foreign is counted here anew */
	struct compose_gpus *gpus;       /* one for each service of the project */
	struct stack_service *services;  /* one for each service of the project, the same order */
	size_t n;
	uint64_t *foreign_bytes; /* for each GPU: what no service of the project explains */
	struct stack_host host;
	bool ram_used_known;     /* what its containers use of the host's RAM */
	struct strings warnings; /* "FILE:LINE:COLUMN: SERVICE: ..." */
};

/* A process on a GPU, and the container it belongs to ("" for none). */
struct stack_process {
	size_t gpu;
	pid_t pid;
	bool used_known;
	uint64_t used_bytes;
	char container[65];
};

struct stack_facts {
	struct compose_project *project;
	const struct gpu_list *list;
	const struct ledger *ledger;
	const struct need *needs; /* of plimsoll.yaml, by name */
	const char *const *need_names;
	size_t n_needs;
	const struct containers *containers; /* NULL: not known */
	const struct stack_process *processes;
	size_t n_processes;
	struct stack_host host;
	const uint64_t *ram_used_bytes; /* of each container; NULL: not known, or not of interest */
};

/* A merged tree as a document for the readers of plimsoll.yaml: the text after interpolation, and
 * of each node its own file, line and column. */
struct yamlx *stack_yamlx(const struct compose_node *node);

/* Errors: x-plimsoll that cannot be read, with its place. */
int stack_create(const struct stack_facts *facts, struct stack **ret_stack,
		 struct error *err) MUST_CHECK;
void stack_destroy(struct stack *stack);
static inline void stack_cleanup(struct stack **stack)
{
	stack_destroy(*stack);
}
#define auto_stack CLEANUP(stack_cleanup)

/* Does what a service is said to need go with what it uses? More: than all its models together
 * by a tenth, and 256 MiB. Less: what is said is above one and a half times what it uses, and 256
 * MiB. */
enum stack_verdict { STACK_AGREES, STACK_USES_MORE, STACK_USES_LESS };
enum stack_verdict stack_compare(const struct stack_service *service);

/* What a GPU must be able to hold of it: on demand its largest model with what they share, where
 * it has models; else all of it. */
uint64_t stack_least_bytes(const struct stack_service *service);

/* How many GPUs each replica uses at once: as the service says itself; else as many as its files
 * name, and one where they leave it open (all). Replicas that spread divide among them what the
 * files name, since compose gives each of them all of it. */
unsigned stack_gpus_asked(const struct stack_service *service);

/* Is this GPU among these? Are these the same ones, each there once? */
bool stack_is_among(const size_t *gpus, size_t n, size_t gpu);
bool stack_same_gpus(const size_t *a, size_t n_a, const size_t *b, size_t n_b);
/* Their indices, "0,2" with "," between; and in words: "GPUs 0, 2", "GPU 0", "no GPU". */
void stack_add_gpus(const struct stack *stack, const size_t *gpus, size_t n, const char *between,
		    struct text *text);
void stack_add_gpu_words(const struct stack *stack, const size_t *gpus, size_t n,
			 struct text *text);

/* Which GPUs of the list a person means: as gpu_list_resolve() takes it, else all whose model name
 * holds it, in whole words if any does (a number only so). A bool for each GPU; returns how many.
 */
size_t stack_match_gpus(const struct gpu_list *list, const char *said, bool *ret_which);

/* What a service says it needs of the host's RAM (`ram:`), all replicas together; 0: nothing, or it
 * is not on. */
uint64_t stack_ram_of(const struct stack_service *service);

/* All of them, and the host. RAM is no part of the planner's optimum: where a container is on the
 * GPUs changes nothing about it. */
struct stack_ram {
	size_t n_services; /* that say something */
	uint64_t said_bytes;
	enum stack_ram_verdict {
		STACK_RAM_FITS,      /* or it is not known */
		STACK_RAM_OVER_HOST, /* more than the host has */
		STACK_RAM_OVER_NOW,  /* more than is available with what they use themselves */
	} verdict;
	uint64_t excess_bytes;              /* so much is missing then */
	const struct stack_service *yields; /* of the lowest priority; NULL: it fits */
};
void stack_ram_sum(const struct stack *stack, struct stack_ram *ret_ram);
/* "llm 16 GiB, clip 8 GiB", the largest first; eight names are enough. */
void stack_ram_names(const struct stack *stack, struct text *text);
/* The verdict in numbers, for people. Not when it fits. */
void stack_ram_text(const struct stack *stack, const struct stack_ram *ram, struct text *text);

/* The planner's problem: services that want a GPU and whose VRAM is known. `ret_services`: for each
 * of the problem's, its index in the stack. Free with stack_problem_finish(). */
struct stack_problem {
	struct plan_problem problem;
	size_t *services;
	struct strings left_out; /* "NAME: no VRAM known ..." */
	void *memory;
};
/* -ENODEV: a service is for one GPU only (`gpu:`), which is not there. */
int stack_problem(const struct stack *stack, enum plan_objective objective,
		  struct stack_problem *ret_problem, struct error *err) MUST_CHECK;
void stack_problem_finish(struct stack_problem *problem);
