/*
 * See node.h: looking at trees, and making new nodes. A map finds its keys one by one while it is
 * small; a large one has an index, so that a file with fifty thousand keys costs no more than its
 * size. The index is an open-addressed table of entry numbers + 1, at most half full, of a size
 * that follows from `n`.
 */
#include "compose/node.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>

#define INDEX_FROM 16 /* entries */

/* FNV-1a, begun with what the kernel gave this process, so that no file can be made to collide. */
static size_t key_hash(const char *key)
{
	uint64_t hash = 0;
	const void *seed = (const void *)getauxval(AT_RANDOM);

	if (seed)
		memcpy(&hash, seed, sizeof hash);
	hash ^= 0xcbf29ce484222325u;
	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 0x100000001b3u;
	return (size_t)(hash ^ (hash >> 29));
}

static size_t index_size(size_t n)
{
	size_t size = 64;

	while (size < n * 2)
		size *= 2;
	return size;
}

static void index_add(struct compose_node *map, size_t size, size_t entry)
{
	size_t at = key_hash(map->entries[entry].key) & (size - 1);

	while (map->index[at])
		at = (at + 1) & (size - 1);
	map->index[at] = (uint32_t)entry + 1;
}

/* After an entry was added at the end. */
static void index_update(struct arena *arena, struct compose_node *map)
{
	size_t size = index_size(map->n);

	if (map->n <= INDEX_FROM)
		return;
	if (map->index && index_size(map->n - 1) == size) {
		index_add(map, size, map->n - 1);
		return;
	}
	map->index = arena_alloc(arena, size * sizeof *map->index);
	for (size_t i = 0; i < map->n; i++)
		index_add(map, size, i);
}

static struct compose_entry *entry_find(const struct compose_node *map, const char *key)
{
	if (!map || map->type != COMPOSE_MAP)
		return NULL;
	if (map->index) {
		size_t mask = index_size(map->n) - 1, at = key_hash(key) & mask;

		for (; map->index[at]; at = (at + 1) & mask)
			if (strcmp(map->entries[map->index[at] - 1].key, key) == 0)
				return &map->entries[map->index[at] - 1];
		return NULL;
	}
	for (size_t i = 0; i < map->n; i++)
		if (*map->entries[i].key == *key && strcmp(map->entries[i].key, key) == 0)
			return &map->entries[i];
	return NULL;
}

const struct compose_entry *compose_entry(const struct compose_node *map, const char *key)
{
	return entry_find(map, key);
}

struct compose_node *compose_get(const struct compose_node *map, const char *key)
{
	const struct compose_entry *entry = entry_find(map, key);

	return entry ? entry->value : NULL;
}

struct compose_node *compose_path(const struct compose_node *map, ...)
{
	struct compose_node *node = NULL;
	const char *key;
	va_list keys;

	va_start(keys, map);
	while ((key = va_arg(keys, const char *))) {
		node = compose_get(map, key);
		map = node;
	}
	va_end(keys);
	return node;
}

const char *compose_text(const struct compose_node *node)
{
	return node && node->type == COMPOSE_SCALAR ? node->text : NULL;
}

/* compose-go: loader/interpolate.go toBoolean. */
bool compose_bool(const struct compose_node *node, bool *ret_value)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {{"true", true},   {"y", true},  {"yes", true}, {"on", true},
		     {"false", false}, {"n", false}, {"no", false}, {"off", false}};
	const char *text = compose_text(node);

	for (size_t i = 0; text && i < ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i].word) == 0) {
			*ret_value = words[i].value;
			return true;
		}
	return false;
}

bool compose_integer(const struct compose_node *node, int64_t *ret_value)
{
	const char *text = compose_text(node), *digits;
	const char *known = "0123456789";
	char *end = NULL;
	int64_t value;
	int base = 10;

	if (!text)
		return false;
	digits = text + (*text == '-' || *text == '+');
	if (digits == text && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'o')) {
		base = digits[1] == 'x' ? 16 : 8;
		known = base == 16 ? "0123456789abcdefABCDEF" : "01234567";
		text = digits += 2;
	}
	if (*digits == '\0' || digits[strspn(digits, known)] != '\0')
		return false;
	errno = 0;
	value = strtoll(text, &end, base);
	if (errno != 0)
		return false;
	*ret_value = value;
	return true;
}

bool compose_device_count(const struct compose_node *node, int64_t *ret_count)
{
	const char *text = compose_text(node);
	int64_t count = -1;
	char *end;

	if (!text)
		return false;
	if (strcasecmp(text, "all") == 0) {
		*ret_count = -1;
		return true;
	}
	if (!node->tagged_string && node->n_uses == 0)
		return compose_integer(node, ret_count);
	if (!isdigit((unsigned char)text[0]) && !strchr("+-", text[0]))
		return false;
	errno = 0;
	count = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		return false;
	*ret_count = count;
	return true;
}

static struct compose_node *node_new(struct arena *arena, enum compose_type type,
				     const struct compose_node *like)
{
	struct compose_node *node = arena_alloc(arena, sizeof *node);

	node->type = type;
	if (like) {
		node->span = like->span;
		node->via = like->via;
	}
	return node;
}

struct compose_node *compose_node_map(struct arena *arena, const struct compose_node *like)
{
	return node_new(arena, COMPOSE_MAP, like);
}

struct compose_node *compose_node_list(struct arena *arena, const struct compose_node *like)
{
	return node_new(arena, COMPOSE_LIST, like);
}

struct compose_node *compose_node_scalar(struct arena *arena, const struct compose_node *like,
					 const char *text)
{
	struct compose_node *node = node_new(arena, COMPOSE_SCALAR, like);

	if (like) {
		node->style = like->style;
		node->tagged_string = like->tagged_string;
	}
	node->raw = node->text = text;
	return node;
}

/* With room for some more, so that what is added does not move it all. */
struct compose_node *compose_node_copy(struct arena *arena, const struct compose_node *node)
{
	struct compose_node *copy = arena_alloc(arena, sizeof *copy);

	*copy = *node;
	if (node->n == 0) {
		copy->entries = NULL;
		copy->items = NULL;
		copy->room = 0;
		return copy;
	}
	copy->room = node->n + node->n / 8 + 2;
	if (node->type == COMPOSE_MAP) {
		copy->entries = arena_alloc(arena, copy->room * sizeof *copy->entries);
		memcpy(copy->entries, node->entries, node->n * sizeof *copy->entries);
	} else {
		copy->items = arena_alloc(arena, copy->room * sizeof(struct compose_node *));
		memcpy(copy->items, node->items, node->n * sizeof(struct compose_node *));
	}
	if (node->index) {
		copy->index = arena_alloc(arena, index_size(node->n) * sizeof *copy->index);
		memcpy(copy->index, node->index, index_size(node->n) * sizeof *copy->index);
	}
	return copy;
}

/* Room for one more in an array of the arena; what it had before stays there until the end. */
static void *array_grow(struct arena *arena, struct compose_node *node, void *items, size_t size)
{
	void *larger;

	if (node->n < node->room)
		return items;
	node->room = node->room ? node->room * 2 : 4;
	larger = arena_alloc(arena, node->room * size);
	if (node->n > 0)
		memcpy(larger, items, node->n * size);
	return larger;
}

void compose_map_put(struct arena *arena, struct compose_node *map, const char *key,
		     const struct compose_span *key_span, struct compose_node *value)
{
	struct compose_entry *entry = entry_find(map, key);
	bool added = !entry;

	if (added) {
		map->entries = array_grow(arena, map, map->entries, sizeof *map->entries);
		entry = &map->entries[map->n++];
		*entry = (struct compose_entry){.key = key};
	}
	if (key_span)
		entry->key_span = *key_span;
	entry->value = value;
	if (added)
		index_update(arena, map);
}

void compose_map_remove(struct compose_node *map, const char *key)
{
	struct compose_entry *entry = entry_find(map, key);
	size_t at, size;

	if (!entry)
		return;
	at = (size_t)(entry - map->entries);
	size = index_size(map->n);
	map->n--;
	memmove(entry, entry + 1, (map->n - at) * sizeof *entry);
	if (!map->index)
		return;
	/* Its memory was for one entry more: it is filled anew, whichever size it has now. */
	memset(map->index, 0, size * sizeof *map->index);
	if (map->n <= INDEX_FROM) {
		map->index = NULL;
		return;
	}
	for (size_t i = 0; i < map->n; i++)
		index_add(map, index_size(map->n), i);
}

void compose_list_add(struct arena *arena, struct compose_node *list, struct compose_node *item)
{
	list->items = array_grow(arena, list, list->items, sizeof *list->items);
	list->items[list->n++] = item;
}
