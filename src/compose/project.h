/*
 * A compose project as `docker compose` reads it: files found, parsed, interpolated, included,
 * extended and merged (facts: compose-go loader/, override/, cli/; the compose specification).
 * What it asks for is in the services' merged trees, whose nodes still know their files.
 *
 * Per file: parse, interpolate, include, apply this file's !reset and !override to what was merged
 * so far, extends, merge, unicity. Unknown keys are kept and not complained about: we read what
 * compose accepts, we do not validate it. What compose refuses for its structure (cycles, a service
 * that is neither image nor build is not one of them) is refused with a position.
 */
#pragma once

#include "compose/env.h"
#include "compose/node.h"
#include "util/text.h"

/* All may be empty: then as `docker compose` in the current folder. Borrowed. */
struct compose_options {
	const struct strings *files;     /* -f; "-" is standard input */
	const struct strings *env_files; /* --env-file */
	const struct strings *profiles;  /* --profile; "*" is all */
	const char *project_dir;         /* --project-directory */
	const char *project_name;        /* -p */
	const char *dir;                 /* where one stands; NULL: the current folder */
	char *const *shell;              /* its environment; NULL: none */
};

enum compose_condition { COMPOSE_STARTED, COMPOSE_HEALTHY, COMPOSE_COMPLETED };

struct compose_dependency {
	const char *service;
	enum compose_condition condition;
	bool required;
	bool implicit; /* links, network_mode: service:X and the like */
};

struct compose_service {
	const char *name;
	struct compose_span span;           /* of its key, where it was first defined */
	struct compose_node *node;          /* merged */
	bool active;                        /* its profiles are on, or it has none */
	unsigned replicas;                  /* deploy.replicas or scale; 1 when nothing is said */
	const char *container_name, *image; /* NULL: not said */
	struct compose_dependency *depends; /* sorted by name */
	size_t n_depends;
};

struct compose_project {
	struct arena arena;
	struct compose_files files; /* every file that was read, env files too */
	const struct compose_file *
	    *compose_files; /* the ones of -f, overrides and includes, in order */
	size_t n_compose_files;
	const struct compose_file **main_files; /* what to give `-f`, in order */
	size_t n_main_files;
	char *name; /* of the project */
	char *dir;  /* its folder, absolute */
	struct compose_env env;
	struct compose_env *included_envs; /* of included projects */
	size_t n_included_envs;
	struct compose_node *root;        /* all of it, merged */
	struct compose_service *services; /* in the order of the merged file */
	size_t n;
	struct strings warnings; /* "FILE:LINE:COLUMN: ..." and what compose would warn of */
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
