/*
 * The variables a compose file may name, and where each has its value from. Precedence, highest
 * first: the shell; --env-file files, later ones first, or, when none is given, `.env` of the
 * project's folder. Facts: compose-go dotenv/ and cli/options.go, docker compose's
 * cmd/compose/compose.go; the case tables are in tests/cases/compose/.
 */
#pragma once

#include "compose/arena.h"
#include "compose/file.h"

enum compose_source {
	COMPOSE_LITERAL,   /* written in the compose file */
	COMPOSE_SHELL,     /* a variable of the shell's environment */
	COMPOSE_ENV_FILE,  /* a variable of .env or an --env-file */
	COMPOSE_DEFAULT,   /* the default in ${NAME:-default} */
	COMPOSE_COMMENTED, /* that default, while a commented-out line of an env file would set it
			    */
	COMPOSE_ABSENT,    /* nothing says it: the variable is not set, or the key is not there */
	COMPOSE_SOURCE_COUNT,
};
const char *compose_source_name(enum compose_source source); /* "literal", "env-file", ... */

/* One assignment of an env file. */
struct compose_assignment {
	const char *name, *value;
	struct compose_span span; /* the whole statement, from `export` or name to the end of the
				     value; of a commented-out one from the `#` */
	struct compose_span value_span; /* as written, quotes included; empty range: KEY= */
	/* `# NAME=value`, `#export NAME="a value"  # why`: it does nothing, but says what was
	 * meant. Alone on its line; an unquoted value has no blanks (`# set A=1 if you like` and
	 * `# A=1 is the default` are prose). */
	bool commented;
	bool inherits; /* a bare NAME: the shell's value, when there is one */
	char quote;    /* '"', '\'' or 0 */
	size_t order;  /* env.c's: among the commented-out ones, when they were last sorted */
};

#define COMPOSE_ASSIGNMENTS_MAX 100000 /* of one env file, commented-out ones too */

struct compose_env_file {
	const struct compose_file *file;
	struct compose_assignment *items;
	size_t n;
};

struct compose_variable {
	const char *name, *value;
	enum compose_source source;                  /* SHELL or ENV_FILE */
	const struct compose_assignment *assignment; /* of an env file */
};

struct compose_env {
	struct arena *arena;
	struct compose_variable *variables; /* sorted by name */
	size_t n;
	struct compose_env_file *files; /* in the order they were read; a later one wins */
	size_t n_files;
	struct compose_assignment **commented; /* of all files, sorted by name */
	size_t n_commented;
};

/* Read one env file's text. Errors: "FILE:LINE:COLUMN: ...". `env`: what its values may name, above
 * what the file has said itself. Values of commented-out assignments are as they would be. */
int compose_dotenv_parse(const struct compose_file *file, const struct compose_env *env,
			 struct arena *arena, struct compose_env_file *ret_parsed,
			 struct error *err) MUST_CHECK;

/* The environment from the shell's variables ("NAME=value", NULL-terminated) and these files, the
 * later one winning. */
int compose_env_create(struct arena *arena, char *const *shell,
		       const struct compose_file *const *files, size_t n_files,
		       struct compose_env *ret_env, struct error *err) MUST_CHECK;
/* An included project's: its own files, below what `outer` has. */
int compose_env_nested(struct arena *arena, const struct compose_env *outer,
		       const struct compose_file *const *files, size_t n_files,
		       struct compose_env *ret_env, struct error *err) MUST_CHECK;

const struct compose_variable *compose_env_get(const struct compose_env *env, const char *name);
/* The value of one; NULL: it is not set, or empty. */
const char *compose_env_text(const struct compose_env *env, const char *name);
/* A commented-out assignment of it in one of the files, the last one; or NULL. */
const struct compose_assignment *compose_env_commented(const struct compose_env *env,
						       const char *name);
