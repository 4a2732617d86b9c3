/*
 * One model over another, as compose-go's override package merges them: what is done with a value
 * depends on its path, which a table of rules says (merge.c). Nodes are never changed: what comes
 * out is new where it differs and shares the rest.
 */
#pragma once

#include "compose/node.h"

/* Two values of one place. `section` NULL: the roots of two documents; else what `name` is in that
 * section ("services", ...). */
struct compose_merge {
	const char *section, *name;
	struct compose_node *base, *over; /* `over` without marks */
};

/* "FILE:LINE:COLUMN: cannot override PATH: ..." where a map meets a list, with both places. */
int compose_merge(struct arena *arena, const struct compose_merge *merge,
		  struct compose_node **ret_node, struct error *err) MUST_CHECK;

/* A service with each of its lists unique and each attribute in the form project.h tells. */
int compose_merge_settle(struct arena *arena, const char *name, struct compose_node *service,
			 struct compose_node **ret_node, struct error *err) MUST_CHECK;

/* Does anything in it carry !reset or !override? */
bool compose_marked(const struct compose_node *node);
/* The tree without what is marked !reset. */
struct compose_node *compose_without_resets(struct arena *arena, struct compose_node *node);
/* `base` without what a tree of the same place marks !reset or !override. `marks` may be NULL. */
struct compose_node *compose_reset(struct arena *arena, struct compose_node *base,
				   const struct compose_node *marks);
