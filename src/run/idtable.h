/* A hash table of things known by a text id; the node lies inside the thing
 * (IDTABLE_OF leads back) and borrows the id from it. The table owns nothing but its buckets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct idtable_node {
	const char *id;
	uint64_t hash;
	struct idtable_node *next;
};

struct idtable {
	struct idtable_node **buckets; /* NULL while empty */
	size_t n_buckets;
	size_t n;
};

#define IDTABLE_OF(node_, type, member) ((type *)(void *)((char *)(node_)-offsetof(type, member)))

struct idtable_node *idtable_find(const struct idtable *table, const char *id);

/* `node->id` must be set and not be in the table yet. */
void idtable_add(struct idtable *table, struct idtable_node *node);

void idtable_remove(struct idtable *table, struct idtable_node *node);

/* Every node once, in no order, ended by NULL; the caller frees the list. It stays good while nodes
 * are removed. */
struct idtable_node **idtable_list(const struct idtable *table);

void idtable_finish(struct idtable *table);
