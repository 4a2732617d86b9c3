/*
 * An order of tasks: a tree that is embedded in what it orders, by (rank, id), smallest first.
 * Insert, remove and "how many come before" in O(log n); the first k in O(k + log n).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct order_node {
	struct order_node *left, *right;
	int64_t rank;
	uint64_t id; /* breaks ties; unique */
	uint32_t size;
};

struct order {
	struct order_node *root;
};

static inline size_t order_size(const struct order *order)
{
	return order->root ? order->root->size : 0;
}

/* Set rank and id before. */
void order_insert(struct order *order, struct order_node *node);
void order_remove(struct order *order, struct order_node *node);
struct order_node *order_first(const struct order *order);
/* How many come before (rank, id). */
size_t order_before(const struct order *order, int64_t rank, uint64_t id);
/* The first `max` in order; returns how many. */
size_t order_take(const struct order *order, struct order_node **ret_nodes, size_t max);

static inline int order_compare(int64_t rank_a, uint64_t a, int64_t rank_b, uint64_t b)
{
	if (rank_a != rank_b)
		return rank_a < rank_b ? -1 : 1;
	return a < b ? -1 : a > b;
}
