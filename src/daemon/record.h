/*
 * Between what sched holds and what the store keeps: tasks, attempts, batches and profiles as rows,
 * and back. The store's JSON columns are written and read here and nowhere else.
 */
#pragma once

#include "daemon/wishes.h"
#include "sched/sched.h"
#include "store/store.h"
#include "util/jsonx.h"

/* Inside a unit. The task's changed attempts go with it. */
int record_put_task(struct store *store, const struct sched_task *task,
		    struct error *err) MUST_CHECK;
/* `summary`: what is remembered of an ended batch, NULL before. */
int record_put_batch(struct store *store, const struct sched_batch *batch, const json_t *summary,
		     struct error *err) MUST_CHECK;
int record_put_profiles(struct store *store, const struct estimates_row *rows, size_t n,
			struct error *err) MUST_CHECK;

/* Tasks as they were, with their attempts. Owned by the list. */
struct records {
	struct sched_task *tasks;
	json_t **specs; /* strings of the tasks live here */
	size_t n, room;
	struct wishes_list wishes;
};
int records_load(struct store *store, const struct store_query *query, struct records *ret_records,
		 struct error *err) MUST_CHECK;
/* Moved to the archive: of its spec no more than `argv` is known, and even that may be empty. */
bool records_is_archived(const struct records *records, size_t i);
void records_finish(struct records *records);
#define auto_records CLEANUP(records_finish)

struct record_batches {
	struct sched_batch *batches;
	json_t **summaries; /* or NULL */
	size_t n, room;
};
/* `id` 0 = all; open_only as in the store. The counts of ended ones are filled in. */
int record_batches_load(struct store *store, uint64_t id, bool open_only,
			struct record_batches *ret_batches, struct error *err) MUST_CHECK;
void record_batches_finish(struct record_batches *batches);
#define auto_record_batches CLEANUP(record_batches_finish)

int record_load_profiles(struct store *store, struct estimates *estimates,
			 struct error *err) MUST_CHECK;
