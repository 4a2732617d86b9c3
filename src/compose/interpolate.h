/*
 * ${NAME:-default} and its kin, as compose-go's template package reads them (its regular
 * expression, its greedy cut at the last `}` of the line and all; the table of
 * tests/cases/compose/interpolate is from its own tests and the facts derived from its code).
 * Besides the result, which variables gave it, and which bytes of the template they stand for.
 */
#pragma once

#include "compose/env.h"
#include "compose/node.h"

/* One variable that had a say in a text. */
struct compose_use {
	const char *name;
	enum compose_source source;              /* SHELL, ENV_FILE, DEFAULT, COMMENTED, ABSENT */
	const struct compose_variable *variable; /* when it is set */
	const char *value;     /* what it stands for in the result; "" when absent */
	const char *operator_; /* ":-", "-", ":?", "?", ":+", "+", or "" */
	size_t begin, end;     /* of the whole ${...} in the template */
	/* The argument after the operator, as written; begin == end: none. For a nested use the
	 * offsets are those of the outermost template, too. */
	size_t argument_begin, argument_end;
	const char *argument; /* after substitution when it was used, else as written */
	bool argument_used;
	bool nested; /* inside the argument of another */
	/* Inside an argument that was not used: it stands for nothing, `value` is "", and compose
	 * does not warn when it is not set. */
	bool unused;
};

struct compose_uses {
	struct compose_use *items;
	size_t n, room;
};

#define COMPOSE_NESTING_MAX 32                /* ${...} inside each other */
#define COMPOSE_USES_MAX    10000             /* variables in one text */
#define COMPOSE_TEXT_MAX    ((size_t)4 << 20) /* bytes of one result */
/* An arena that holds more takes no further result: values named again and again cannot fill the
 * memory of the machine. */
#define COMPOSE_MEMORY_MAX ((size_t)64 << 20)

/* Where values are looked up: a compose_env, or what an env file has said so far. */
struct compose_lookup {
	const struct compose_variable *(*get)(const void *data, const char *name);
	/* A commented-out assignment of it; may be NULL. */
	const struct compose_assignment *(*commented)(const void *data, const char *name);
	const void *data;
};

/* Substitute. `ret_text` is `text` itself when no `$` is in it. `ret_uses` (may be NULL; memory of
 * the arena) has every variable looked at, in the order of the text, unused arguments' too, so that
 * a typo in one is found. Warnings: a variable that is not set and has no operator is in the uses
 * with source ABSENT. -EINVAL: the text says what compose says. -E2BIG: beyond the limits above. */
int compose_interpolate(const struct compose_env *env, struct arena *arena, const char *text,
			const char **ret_text, struct compose_uses *ret_uses,
			struct error *err) MUST_CHECK;
int compose_substitute(const struct compose_lookup *lookup, struct arena *arena, const char *text,
		       const char **ret_text, struct compose_uses *ret_uses,
		       struct error *err) MUST_CHECK;

/* All values below `node` (never keys); the error names the place and the path. */
int compose_interpolate_tree(const struct compose_env *env, struct arena *arena,
			     struct compose_node *node, struct error *err) MUST_CHECK;

/* The bytes of the file a part of the node's `raw` was written as (the offsets of a compose_use);
 * false when it cannot be said (escapes, folding): then the whole scalar is. */
bool compose_part_span(const struct compose_node *scalar, size_t begin, size_t end,
		       struct compose_span *ret_span);
