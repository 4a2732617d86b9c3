/*
 * plimsoll.yaml: what the people of a machine say about it. Read from /etc/plimsoll/ and then from
 * $XDG_CONFIG_HOME/plimsoll/ (~/.config/plimsoll/); for a compose project then from beside its
 * file; what the later one says about something counts.
 * docs/configuration.md lists all keys. Unknown keys and values out of range are errors with file,
 * line and column.
 *
 * Plain data: which GPU "0" is, and whose uid "ann" has, is found out by whoever uses it.
 */
#pragma once

#include "config/hours.h"
#include "config/need.h"
#include "config/patterns.h"

#include <stddef.h>

enum config_role {
	CONFIG_COMPUTE,
	CONFIG_DISPLAY, /* somebody looks at it: CONFIG_DISPLAY_RESERVE is kept free at least */
	CONFIG_OFF,     /* nothing is placed there */
	CONFIG_ROLE_COUNT,
};

/* What becomes of a task that uses more than it was granted and does not say itself. */
enum config_on_overrun {
	CONFIG_OVERRUN_AUTO,
	CONFIG_OVERRUN_WARN,
	CONFIG_OVERRUN_STOP,
	CONFIG_OVERRUN_COUNT,
};

#define CONFIG_DISPLAY_RESERVE ((uint64_t)1 << 30)

/* One entry of `gpus`: of one GPU, or of all of a model. */
struct config_gpu {
	char *gpu;   /* as gpu_list_resolve() takes it; NULL: see model */
	char *model; /* all whose model name holds this, without regard to case; NULL: see gpu */
	enum config_role role;
	bool has_role, has_reserve;
	uint64_t reserve_bytes;       /* never promised */
	uint64_t task_vram_max_bytes; /* only tasks that ask for at most this; 0 = any */
	unsigned tasks_max;           /* at once; 0 = any number */
	bool has_hours;               /* new tasks start only then */
	struct hours hours;           /* local time */
	char *where;                  /* "file:line:column" */
};

/* Of `users`; 0 = no limit. */
struct config_limits {
	unsigned running_max, queued_max, gpus_max;
	uint64_t vram_max_bytes;
	double weight; /* of their share of the machine; 0 = 1 */
};

struct config_user {
	char *name;                  /* or a number */
	struct config_limits limits; /* with those of `default` where it says nothing itself */
	unsigned given; /* while files are read: the limits it says itself, a bit each */
	char *where;
};

struct config {
	struct config_gpu *gpus; /* a later entry says more about the same GPU */
	size_t n_gpus;
	struct config_limits limits; /* `default` of `users` */
	struct config_user *users;
	size_t n_users;
	struct config_queue {
		/* 0 = the default; negative = off. See struct sched_config. */
		int64_t ageing_ms, fair_share_ms, reserve_after_ms, stagger_ms;
		bool take_at_word;           /* `prove: off`: also kinds that were never measured */
		uint64_t vram_default_bytes; /* of tasks that say nothing; 0 = a GPU alone */
	} queue;
	/* `limits`: what holds tasks to their grants, beside what is always done. */
	struct config_guards {
		char *hami; /* HAMi-core's libvgpu.so, to be loaded into every task; NULL = none */
		bool torch; /* every PyTorch here knows per_process_memory_fraction */
	} guards;
	struct config_overrun {
		enum config_on_overrun on;
		uint64_t tolerance_bytes; /* nothing up to this much; 0 = the default */
		unsigned samples;         /* nothing before so many in a row; 0 = the default */
	} overrun;
	struct config_keep {
		uint64_t ended_tasks, archived_tasks; /* 0 = the default */
		unsigned days;                        /* 0 = no limit by age */
	} keep;
	struct config_service {
		char *name;
		struct need need; /* of all files together, key by key */
	} * services;
	size_t n_services;
	struct config_pattern *patterns; /* of all files, in their order */
	size_t n_patterns;
	char **files; /* that were there */
	size_t n_files;
};

/* The files there may be, in the order they are read: NULL-terminated, new; free with
 * config_paths_free(). `machine`: only the machine's own, for its daemon. */
char **config_paths(bool machine);
void config_paths_free(char **paths);

/* Read those of `paths` that are there. Nothing there: all is default. */
int config_load(const char *const *paths, struct config **ret_config, struct error *err) MUST_CHECK;
/* One file's text, for tests; `name` is for messages. */
int config_parse(const char *text, size_t len, const char *name, struct config **ret_config,
		 struct error *err) MUST_CHECK;
/* What one more document says, above what is there: a file, or the part of one. `sections` not
 * NULL: only these, ended by NULL. On failure some of it may be in. */
int config_add(struct config *config, const struct yamlx *doc, const char *const *sections,
	       struct error *err) MUST_CHECK;
void config_destroy(struct config *config);
static inline void config_cleanup(struct config **config)
{
	config_destroy(*config);
}
#define auto_config CLEANUP(config_cleanup)
