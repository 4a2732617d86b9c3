/* See engine_names.h. */
#include "compose/engine_names.h"

#include "compose/engine.h"
#include "util/timestamp.h"

#include <string.h>

struct engine_names {
	struct entry {
		char id[65];
		char *name;
	} * items; /* sorted by id */
	size_t n, room;
};

void engine_names_destroy(struct engine_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->n; i++)
		free(names->items[i].name);
	free(names->items);
	free(names);
}

static char *name_of(const struct engine_container *c)
{
	if (!c->project || !c->service)
		return mem_strdup(c->name);
	if (c->oneoff)
		return mem_printf("%s/%s (run)", c->project, c->service);
	return c->number > 1 ? mem_printf("%s/%s %u", c->project, c->service, c->number)
			     : mem_printf("%s/%s", c->project, c->service);
}

static void add_all(struct engine_names *names, const struct engine_containers *containers)
{
	for (size_t i = 0; i < containers->n; i++) {
		struct entry *entry;

		ARRAY_GROW(names->items, names->n, names->room);
		entry = &names->items[names->n++];
		memcpy(entry->id, containers->items[i].id, sizeof entry->id);
		entry->name = name_of(&containers->items[i]);
	}
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->id, ((const struct entry *)b)->id);
}

struct engine_names *engine_names_load(unsigned deadline_ms)
{
	int64_t deadline = monotonic_now_ms() + deadline_ms;
	struct engine_names *names = mem_calloc(1, sizeof *names);
	struct engine *engines[ENGINES_MAX];
	size_t n = engine_open_all(deadline_ms / 2, engines, ENGINES_MAX);

	for (size_t i = 0; i < n; i++) {
		auto_engine_containers struct engine_containers containers = {};
		int64_t left_ms = (deadline - monotonic_now_ms()) / (int64_t)(n - i);

		engine_set_deadline(engines[i], (unsigned)MAX_OF(left_ms, 1));
		if (engine_list_names(engines[i], NULL, &containers, NULL) == 0)
			add_all(names, &containers);
		engine_close(engines[i]);
	}
	if (names->n > 1)
		qsort(names->items, names->n, sizeof *names->items, by_id);
	return names;
}

const char *engine_names_find(const struct engine_names *names, const char *id)
{
	struct entry key = {};
	const struct entry *found = NULL;

	if (strlen(id) >= sizeof key.id)
		return NULL;
	(void)snprintf(key.id, sizeof key.id, "%s", id);
	if (names && names->n > 0)
		found = bsearch(&key, names->items, names->n, sizeof key, by_id);
	return found ? found->name : NULL;
}

size_t engine_names_count(const struct engine_names *names)
{
	return names ? names->n : 0;
}
