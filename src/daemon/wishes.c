/* See wishes.h. */
#include "daemon/wishes.h"

#include "util/text.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

/* Rows that follow each other are alike: a list is searched so far back and no further. */
#define SEARCHED 16

const struct place_wishes *wishes_list_keep(struct wishes_list *list,
					    const struct place_wishes *wishes)
{
	static const struct place_wishes none = {};
	struct place_wishes *kept;

	if (memcmp(wishes, &none, sizeof none) == 0)
		return NULL;
	for (size_t i = list->n; i > 0 && list->n - i < SEARCHED; i--)
		if (memcmp(list->items[i - 1], wishes, sizeof *wishes) == 0)
			return list->items[i - 1];
	ARRAY_GROW(list->items, list->n, list->room);
	kept = mem_alloc(sizeof *kept);
	memcpy(kept, wishes, sizeof *kept);
	list->items[list->n++] = kept;
	return kept;
}

void wishes_list_finish(struct wishes_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct wishes_list){};
}

static void put_names(json_t *request, const char *key, bool all, const char (*names)[GPU_UUID_MAX],
		      size_t n)
{
	json_t *array;

	if (n == 0 && !all)
		return;
	array = json_array();
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(array, jsonx_string_if(names[i]));
	(void)json_object_set_new(request, key, array);
}

static void put_compute(json_t *request, const char *key, bool all, unsigned compute)
{
	if (compute > 0)
		(void)json_object_set_new(request, key,
					  json_sprintf("%u.%u", compute / 10, compute % 10));
	else if (all)
		(void)json_object_set_new(request, key, json_null());
}

static_assert(GPU_NAME_MAX == GPU_UUID_MAX, "models are listed as UUIDs are");

void wishes_to_json(const struct place_wishes *wishes, bool all, json_t *request)
{
	static const struct place_wishes none = {};
	const struct place_wishes *w = wishes ? wishes : &none;

	put_names(request, "prefer", all, w->prefer, w->n_prefer);
	put_names(request, "avoid", all, w->avoid, w->n_avoid);
	put_names(request, "forbid", all, w->forbid, w->n_forbid);
	put_names(request, "models", all, w->models, w->n_models);
	put_compute(request, "compute_capability_min", all, w->compute_min);
	put_compute(request, "compute_capability_max", all, w->compute_max);
}

static size_t load_names(const json_t *request, const char *key, char (*names)[GPU_UUID_MAX],
			 size_t max)
{
	const json_t *item;
	size_t i, n = 0;

	json_array_foreach (json_object_get(request, key), i, item) {
		if (n == max || !json_is_string(item) || json_string_length(item) >= GPU_UUID_MAX)
			continue;
		(void)snprintf(names[n++], GPU_UUID_MAX, "%s", json_string_value(item));
	}
	return n;
}

bool wishes_load(const json_t *request, struct place_wishes *ret_wishes)
{
	static const char *const members[] = {"prefer",
					      "avoid",
					      "forbid",
					      "models",
					      "compute_capability_min",
					      "compute_capability_max"};
	struct place_wishes *w = ret_wishes;
	size_t i = 0;

	while (i < ARRAY_LEN(members) && !json_object_get(request, members[i]))
		i++;
	if (i == ARRAY_LEN(members))
		return false;
	memset(w, 0, sizeof *w);
	w->n_prefer = load_names(request, "prefer", w->prefer, PLACE_WISHES_GPUS_MAX);
	w->n_avoid = load_names(request, "avoid", w->avoid, PLACE_WISHES_GPUS_MAX);
	w->n_forbid = load_names(request, "forbid", w->forbid, PLACE_WISHES_GPUS_MAX);
	w->n_models = load_names(request, "models", w->models, PLACE_WISHES_MODELS_MAX);
	w->compute_min =
	    wishes_compute_parse(jsonx_get_string(request, "compute_capability_min", ""));
	w->compute_max =
	    wishes_compute_parse(jsonx_get_string(request, "compute_capability_max", ""));
	return true;
}

unsigned wishes_compute_parse(const char *text)
{
	size_t major = strspn(text, "0123456789");

	if (major < 1 || major > 2 || text[major] != '.' ||
	    !isdigit((unsigned char)text[major + 1]) || text[major + 2])
		return 0;
	return (unsigned)strtoul(text, NULL, 10) * 10 + (unsigned)(text[major + 1] - '0');
}
