/* See strings.h: a hash table with chains; the content stands behind its entry. */
#include "sched/strings.h"

#include "util/cleanup.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct string_entry {
	struct string_entry *next;
	uint32_t references, hash;
	size_t size;
	_Alignas(max_align_t) char bytes[];
};

static uint32_t hash_of(const char *bytes, size_t size)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
	return hash;
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

const void *string_pool_get_bytes(struct string_pool *pool, const void *bytes, size_t size)
{
	uint32_t hash = hash_of(bytes, size);
	struct string_entry **slot, *entry;

	if (pool->n >= pool->n_buckets)
		pool_grow(pool);
	slot = &pool->buckets[hash & (pool->n_buckets - 1)];
	for (entry = *slot; entry; entry = entry->next) {
		if (entry->hash != hash || entry->size != size ||
		    memcmp(entry->bytes, bytes, size) != 0)
			continue;
		entry->references++;
		return entry->bytes;
	}
	entry = mem_alloc(sizeof *entry + size);
	*entry = (struct string_entry){
	    .next = *slot,
	    .references = 1,
	    .hash = hash,
	    .size = size,
	};
	memcpy(entry->bytes, bytes, size);
	*slot = entry;
	pool->n++;
	return entry->bytes;
}

const char *string_pool_get(struct string_pool *pool, const char *s)
{
	s = s ? s : "";
	return string_pool_get_bytes(pool, s, strlen(s) + 1);
}

static struct string_entry *entry_of(const void *bytes)
{
	return (struct string_entry *)((uintptr_t)bytes - offsetof(struct string_entry, bytes));
}

const void *string_pool_get_again(struct string_pool *pool, const void *bytes)
{
	(void)pool;
	entry_of(bytes)->references++;
	return bytes;
}

void string_pool_put(struct string_pool *pool, const void *bytes)
{
	struct string_entry **slot, *entry;

	if (!bytes)
		return;
	entry = entry_of(bytes);
	if (--entry->references > 0)
		return;
	slot = &pool->buckets[entry->hash & (pool->n_buckets - 1)];
	while (*slot != entry)
		slot = &(*slot)->next;
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
