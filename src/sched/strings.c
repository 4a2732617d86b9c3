/* See strings.h: a hash table with chains; the text stands behind its entry. */
#include "sched/strings.h"

#include "util/cleanup.h"

#include <stdint.h>
#include <string.h>

struct string_entry {
	struct string_entry *next;
	size_t references;
	uint32_t hash;
	char text[];
};

static uint32_t hash_of(const char *s)
{
	uint32_t hash = 2166136261u;

	for (; *s; s++)
		hash = (hash ^ (unsigned char)*s) * 16777619u;
	return hash;
}

static struct string_entry **slot_of(const struct string_pool *pool, const char *s, uint32_t hash)
{
	struct string_entry **slot = &pool->buckets[hash & (pool->n_buckets - 1)];

	while (*slot && ((*slot)->hash != hash || strcmp((*slot)->text, s) != 0))
		slot = &(*slot)->next;
	return slot;
}

static void pool_grow(struct string_pool *pool)
{
	size_t n = pool->n_buckets ? pool->n_buckets * 2 : 64;
	struct string_entry **buckets = mem_calloc(n, sizeof *buckets);

	for (size_t i = 0; i < pool->n_buckets; i++) {
		while (pool->buckets[i]) {
			struct string_entry *entry = pool->buckets[i];

			pool->buckets[i] = entry->next;
			entry->next = buckets[entry->hash & (n - 1)];
			buckets[entry->hash & (n - 1)] = entry;
		}
	}
	free(pool->buckets);
	pool->buckets = buckets;
	pool->n_buckets = n;
}

const char *string_pool_get(struct string_pool *pool, const char *s)
{
	struct string_entry **slot, *entry;
	uint32_t hash;
	size_t len;

	s = s ? s : "";
	hash = hash_of(s);
	if (pool->n >= pool->n_buckets)
		pool_grow(pool);
	slot = slot_of(pool, s, hash);
	if (*slot) {
		(*slot)->references++;
		return (*slot)->text;
	}
	len = strlen(s) + 1;
	entry = mem_alloc(sizeof *entry + len);
	entry->next = NULL;
	entry->references = 1;
	entry->hash = hash;
	memcpy(entry->text, s, len);
	*slot = entry;
	pool->n++;
	return entry->text;
}

void string_pool_put(struct string_pool *pool, const char *s)
{
	struct string_entry **slot, *entry;

	if (!s)
		return;
	slot = slot_of(pool, s, hash_of(s));
	entry = *slot;
	if (!entry || --entry->references > 0)
		return;
	*slot = entry->next;
	pool->n--;
	free(entry);
}

void string_pool_finish(struct string_pool *pool)
{
	for (size_t i = 0; i < pool->n_buckets; i++) {
		while (pool->buckets[i]) {
			struct string_entry *entry = pool->buckets[i];

			pool->buckets[i] = entry->next;
			free(entry);
		}
	}
	free(pool->buckets);
	*pool = (struct string_pool){};
}
