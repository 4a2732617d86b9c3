/*
 * The grammar of .env, as compose-go's dotenv package reads it, and what the files read so far have
 * said. For env.c; others read files through compose_env_create() and compose_dotenv_parse().
 */
#pragma once

#include "compose/env.h"

/* Variables by name, a later assignment over an earlier one. */
struct dotenv_scope {
	void *root; /* of tsearch(3), over struct compose_variable */
	size_t n;
};

/* Read a file into the scope. `above`: the variables that win over the scope's when a value names
 * one. */
int dotenv_read(const struct compose_file *file, const struct compose_env *above,
		struct dotenv_scope *scope, struct arena *arena,
		struct compose_env_file *ret_parsed, struct error *err) MUST_CHECK;

/* New array of pointers into the arena, sorted by name. */
struct compose_variable **dotenv_scope_sorted(const struct dotenv_scope *scope, size_t *ret_n)
    __attribute__((returns_nonnull));
void dotenv_scope_finish(struct dotenv_scope *scope);
#define auto_dotenv_scope CLEANUP(dotenv_scope_finish)
