/* See names.h. */
#include "container/names.h"

#include "container/container.h"
#include "util/timestamp.h"

#include <string.h>

struct container_names {
	struct entry {
		char id[65];
		char *name;
	} * items; /* sorted by id */
	size_t n, room;
	bool all;
};

void container_names_destroy(struct container_names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->n; i++)
		free(names->items[i].name);
	free(names->items);
	free(names);
}

static char *name_of(const struct container *c)
{
	if (!c->project || !c->service)
		return mem_strdup(c->name);
	if (c->oneoff)
		return mem_printf("%s/%s (run)", c->project, c->service);
	return c->number > 1 ? mem_printf("%s/%s %u", c->project, c->service, c->number)
			     : mem_printf("%s/%s", c->project, c->service);
}

static void add_all(struct container_names *names, const struct containers *containers)
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

struct container_names *container_names_load(unsigned deadline_ms)
{
	int64_t deadline = monotonic_now_ms() + deadline_ms;
	struct container_names *names = mem_calloc(1, sizeof *names);
	struct container_engine *engines[CONTAINER_ENGINES_MAX];
	size_t n = container_engine_open_all(deadline_ms / 2, engines, CONTAINER_ENGINES_MAX);

	names->all = n > 0;
	for (size_t i = 0; i < n; i++) {
		auto_containers struct containers containers = {};
		int64_t left_ms = (deadline - monotonic_now_ms()) / (int64_t)(n - i);

		container_engine_set_deadline(engines[i], (unsigned)MAX_OF(left_ms, 1));
		if (container_engine_list_names(engines[i], NULL, &containers, NULL) == 0)
			add_all(names, &containers);
		else
			names->all = false;
		container_engine_close(engines[i]);
	}
	if (names->n > 1)
		qsort(names->items, names->n, sizeof *names->items, by_id);
	return names;
}

const char *container_names_find(const struct container_names *names, const char *id)
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

size_t container_names_count(const struct container_names *names)
{
	return names ? names->n : 0;
}

bool container_names_are_all(const struct container_names *names)
{
	return names && names->all;
}

bool container_names_has_project(const struct container_names *names, const char *project)
{
	size_t len = strlen(project);

	for (size_t i = 0; names && i < names->n; i++)
		if (strncmp(names->items[i].name, project, len) == 0 &&
		    names->items[i].name[len] == '/')
			return true;
	return false;
}
