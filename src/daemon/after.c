/* See after.h. */
#include "daemon/after.h"

#include "daemon/record.h"

#include <string.h>

json_t *after_items_to_json(const struct sched_after_item *items, size_t n)
{
	json_t *tasks = json_array(), *batches = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(items[i].is_batch ? batches : tasks,
					    jsonx_u64(items[i].id));
	return json_pack("{s:o, s:o}", "tasks", tasks, "batches", batches);
}

json_t *after_to_json(const struct sched_after *after)
{
	json_t *json = after ? after_items_to_json(after->items, after->n) : json_null();

	if (after) {
		(void)json_object_set_new(json, "on", json_string(sched_after_on_name(after->on)));
		(void)json_object_set_new(json, "any", json_boolean(after->any));
	}
	return json;
}

static size_t items_load(const json_t *array, bool is_batch, struct sched_after_item *items)
{
	const json_t *id;
	size_t i, n = 0;

	json_array_foreach (array, i, id) {
		if (json_is_integer(id) && json_integer_value(id) > 0)
			items[n++] = (struct sched_after_item){
			    .id = (uint64_t)json_integer_value(id), .is_batch = is_batch};
	}
	return n;
}

static size_t room_for(const json_t *json)
{
	return json_array_size(json_object_get(json, "tasks")) +
	       json_array_size(json_object_get(json, "batches"));
}

static size_t both_load(const json_t *json, struct sched_after_item *items)
{
	size_t n = items_load(json_object_get(json, "tasks"), false, items);

	return n + items_load(json_object_get(json, "batches"), true, items + n);
}

size_t after_items_load(const json_t *json, struct sched_after_item **ret_items)
{
	*ret_items = room_for(json) > 0 ? mem_calloc(room_for(json), sizeof **ret_items) : NULL;
	return *ret_items ? both_load(json, *ret_items) : 0;
}

struct sched_after *after_load(const json_t *json)
{
	struct {
		struct sched_after after;
		struct sched_after_item items[];
	} * whole;

	if (room_for(json) == 0)
		return NULL;
	whole = mem_calloc(1, sizeof *whole + room_for(json) * sizeof whole->items[0]);
	whole->after.n = both_load(json, whole->items);
	whole->after.items = whole->items;
	whole->after.any = jsonx_get_bool(json, "any", false);
	/* A name this version does not know waits for the most usual thing rather than for nothing.
	 */
	if (sched_after_on_parse(jsonx_get_string(json, "on", "success"), &whole->after.on, NULL) <
	    0)
		whole->after.on = SCHED_AFTER_SUCCESS;
	return &whole->after;
}

static int look_up_task(struct daemon *daemon, struct sched_after_item *item, struct error *err)
{
	auto_records struct records records = {};
	int r;

	if (sched_find(daemon->sched, item->id))
		return 0;
	r = records_load(daemon->store, &(struct store_query){.id = item->id, .archived = true},
			 &records, err);
	if (r < 0 || records.n == 0)
		return r;
	item->ended = sched_state_is_final(records.tasks[0].state);
	item->ended_well = records.tasks[0].state == SCHED_DONE;
	return 0;
}

static int look_up_batch(struct daemon *daemon, struct sched_after_item *item, struct error *err)
{
	auto_record_batches struct record_batches found = {};
	const struct sched_batch *batch;
	int r;

	if (sched_find_batch(daemon->sched, item->id))
		return 0;
	r = record_batches_load(daemon->store, item->id, false, &found, err);
	if (r < 0 || found.n == 0)
		return r;
	batch = &found.batches[0];
	item->ended = batch->ended_at_ms > 0;
	item->ended_well = item->ended && batch->counts[SCHED_DONE] == batch->total;
	return 0;
}

static int look_up(struct daemon *daemon, struct sched_after_item *item, struct error *err)
{
	return item->is_batch ? look_up_batch(daemon, item, err) : look_up_task(daemon, item, err);
}

int after_look_up_left(struct daemon *daemon, struct sched_task *task, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < task->n_after && r == 0; i++)
		r = look_up(daemon, &task->after[i], err);
	return r;
}

int after_look_up(struct daemon *daemon, struct submit *submit, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < submit->n_afters && r == 0; i++) {
		struct sched_after *after = submit->afters[i];

		for (size_t k = 0; k < after->n && r == 0; k++) {
			/* The submit's own: nobody else has seen it yet. */
			struct sched_after_item *item =
			    (struct sched_after_item *)(uintptr_t)&after->items[k];

			r = look_up(daemon, item, err);
		}
	}
	return r;
}
