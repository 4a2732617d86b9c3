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
};

struct compose_uses {
	struct compose_use *items;
	size_t n, room;
};

/* Substitute. `ret_uses` (may be NULL; memory of the arena) has every variable looked at, unused
 * arguments' too, so that a typo in one is found. Warnings: a variable that is not set and has no
 * operator is in the uses with source ABSENT. -EINVAL: the text says what compose says. */
int compose_interpolate(const struct compose_env *env, struct arena *arena, const char *text,
			const char **ret_text, struct compose_uses *ret_uses,
			struct error *err) MUST_CHECK;

/* All values below `node` (never keys); the error names the place and the path. */
int compose_interpolate_tree(const struct compose_env *env, struct arena *arena,
			     struct compose_node *node, struct error *err) MUST_CHECK;

/* The bytes of the file a part of the node's text was written as; false when it cannot be said
 * (escapes, folding): then the whole scalar is. */
bool compose_part_span(const struct compose_node *scalar, size_t begin, size_t end,
		       struct compose_span *ret_span);
