/*
 * A compose project as `docker compose` reads it: files found, parsed, interpolated, included,
 * extended and merged (facts: compose-go loader/, override/, cli/; the compose specification).
 * What it asks for is in the services' merged trees, whose nodes still know their files.
 *
 * Per file: parse, interpolate, include, apply this file's !reset and !override to what was merged
 * so far, extends, merge, unicity. Unknown keys are kept and not complained about: we read what
 * compose accepts, we do not validate it. What compose refuses for its structure (cycles, a service
 * that is neither image nor build is not one of them) is refused with a position.
 *
 * Where compose takes several forms, the merged tree of a service has one:
 *
 *	depends_on	a map of maps with `condition`
 *	networks, models	a map
 *	build	a map with `context`
 *	env_file	a list of maps with `path` (absolute), maybe `required` and `format`
 *	gpus	a list of maps; of `gpus: all` one map (its span is the scalar's) whose `count` is
 *		the scalar as it was written, with its variables
 *	environment, labels and their like	a list or a map, as written; where both forms were
 *		merged a list, in which the entry of a map is a map of that one key. Use the
 *		service's settings instead.
 *
 * Limits: COMPOSE_PROJECT_MEMORY_MAX for all trees, COMPOSE_PROJECT_TEXT_MAX for all files, and the
 * depths below; beyond them it is an error with a position.
 */
#pragma once

#include "compose/env.h"
#include "compose/node.h"
#include "util/text.h"

#define COMPOSE_PROJECT_MEMORY_MAX ((size_t)68 << 20) /* bytes of the arena */
#define COMPOSE_PROJECT_TEXT_MAX   ((size_t)8 << 20)  /* bytes of all files of a project */
#define COMPOSE_INCLUDE_MAX        32                 /* levels of `include` */
#define COMPOSE_INCLUDES_MAX       1024               /* included projects in all */
#define COMPOSE_EXTENDS_MAX        32                 /* services in one chain of `extends` */
#define COMPOSE_SERVICES_MAX       10000              /* of a project */
#define COMPOSE_REPLICAS_MAX       10000              /* of one service */

/* A file given as text. */
struct compose_memory_file {
	const char *path; /* absolute */
	const char *text;
	size_t len;
};

/* All may be empty: then as `docker compose` in the current folder. Borrowed. */
struct compose_options {
	const struct strings *files;     /* -f; "-" is standard input */
	const struct strings *env_files; /* --env-file */
	const struct strings *profiles;  /* --profile; "*" is all */
	const char *project_dir;         /* --project-directory */
	const char *project_name;        /* -p */
	const char *dir;                 /* where one stands; NULL: the current folder */
	char *const *shell;              /* its environment; NULL: none */
	/* Not NULL: these are all the files there are, and none is opened (fuzzing, tests). */
	const struct compose_memory_file *memory;
	size_t n_memory;
};

enum compose_condition { COMPOSE_STARTED, COMPOSE_HEALTHY, COMPOSE_COMPLETED };

struct compose_dependency {
	const char *service;
	enum compose_condition condition;
	bool required;
	bool implicit; /* links, network_mode: service:X and the like */
};

/* A variable a service's container gets: its `environment`, and below it the files of its
 * `env_file`, the later ones first. What stands in one without a value has the project's value;
 * when there is none it is left out, as in the container. */
struct compose_setting {
	const char *name, *value;
	/* The scalar of `environment` that says so: "NAME=value" in a list, else the value of a
	 * map; its part from `begin` to `end` of node->text is the value. Of one without a value:
	 * its name, begin == end. NULL: an env_file says so. */
	const struct compose_node *node;
	size_t begin, end;
	const struct compose_variable *variable;     /* where one without a value has it from */
	const struct compose_assignment *assignment; /* of an env_file (NULL in a raw one) */
	const struct compose_file *file;             /* the env_file; NULL: `environment` */
};

struct compose_service {
	const char *name;
	struct compose_span span;           /* of its key, where it was first defined */
	struct compose_node *node;          /* merged */
	bool active;                        /* its profiles are on, or it has none */
	unsigned replicas;                  /* deploy.replicas or scale; 1 when nothing is said */
	const char *container_name, *image; /* NULL: not said */
	struct compose_dependency *depends; /* sorted by name; services that there are */
	size_t n_depends;
	struct compose_setting *settings; /* sorted by name */
	size_t n_settings;
};

struct compose_project {
	struct arena arena;
	struct compose_files files; /* every file that was read, env files too */
	/* All that are YAML: the ones of -f, overrides, included and extended ones, in the order
	 * they were read. */
	const struct compose_file **compose_files;
	size_t n_compose_files;
	/* Their documents, interpolated, as they were before merging. */
	struct compose_node **documents;
	size_t n_documents;
	const struct compose_file **main_files; /* what to give `-f`, in order */
	size_t n_main_files;
	char *name;             /* of the project */
	char *dir;              /* its folder, absolute */
	bool env_file_disabled; /* COMPOSE_DISABLE_ENV_FILE: no .env is read */
	struct compose_env env;
	struct compose_env *included_envs; /* of included projects */
	size_t n_included_envs;
	struct compose_node *root;        /* all of it, merged */
	struct compose_service *services; /* in the order of the merged file */
	size_t n;
	/* "FILE:LINE:COLUMN: ...", what compose would warn of: variables that are not set (once
	 * each), several files with a default name. */
	struct strings warnings;
};

int compose_project_load(const struct compose_options *options,
			 struct compose_project **ret_project, struct error *err) MUST_CHECK;
void compose_project_destroy(struct compose_project *project);
static inline void compose_project_cleanup(struct compose_project **project)
{
	compose_project_destroy(*project);
}
#define auto_project CLEANUP(compose_project_cleanup)

const struct compose_service *compose_project_find(const struct compose_project *project,
						   const char *name);
/* NULL: its container does not get that variable from the files. */
const struct compose_setting *compose_service_setting(const struct compose_service *service,
						      const char *name);
