/* See idtable.h. FNV-1a, chains, doubled when there are as many nodes as buckets. */
#include "run/idtable.h"

#include "util/cleanup.h"

#include <string.h>

static uint64_t hash_of(const char *id)
{
	uint64_t hash = 14695981039346656037u;

	for (const unsigned char *p = (const unsigned char *)id; *p; p++)
		hash = (hash ^ *p) * 1099511628211u;
	return hash;
}

static void buckets_grow(struct idtable *table)
{
	size_t n = table->n_buckets ? table->n_buckets * 2 : 64;
	struct idtable_node **buckets = mem_calloc(n, sizeof *buckets);

	for (size_t i = 0; i < table->n_buckets; i++) {
		for (struct idtable_node *node = table->buckets[i], *next; node; node = next) {
			next = node->next;
			node->next = buckets[node->hash & (n - 1)];
			buckets[node->hash & (n - 1)] = node;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->n_buckets = n;
}

struct idtable_node *idtable_find(const struct idtable *table, const char *id)
{
	uint64_t hash = hash_of(id);

	if (table->n_buckets == 0)
		return NULL;
	for (struct idtable_node *node = table->buckets[hash & (table->n_buckets - 1)]; node;
	     node = node->next)
		if (node->hash == hash && strcmp(node->id, id) == 0)
			return node;
	return NULL;
}

void idtable_add(struct idtable *table, struct idtable_node *node)
{
	if (table->n == table->n_buckets)
		buckets_grow(table);
	node->hash = hash_of(node->id);
	node->next = table->buckets[node->hash & (table->n_buckets - 1)];
	table->buckets[node->hash & (table->n_buckets - 1)] = node;
	table->n++;
}

void idtable_remove(struct idtable *table, struct idtable_node *node)
{
	struct idtable_node **at = &table->buckets[node->hash & (table->n_buckets - 1)];

	while (*at && *at != node)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = node->next;
	node->next = NULL;
	table->n--;
}

struct idtable_node **idtable_list(const struct idtable *table)
{
	struct idtable_node **list = mem_calloc(table->n + 1, sizeof *list);
	size_t n = 0;

	for (size_t i = 0; i < table->n_buckets; i++)
		for (struct idtable_node *node = table->buckets[i]; node; node = node->next)
			list[n++] = node;
	return list;
}

void idtable_finish(struct idtable *table)
{
	free(table->buckets);
	*table = (struct idtable){};
}
