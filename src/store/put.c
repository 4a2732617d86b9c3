/* Writing rows. Every put is one upsert by key; a failing one marks the unit as broken, so that a
 * caller who overlooks it still cannot commit half of his work. */
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Bindings numbered by the order of the calls. Strings are bound without a copy: the statement is
 * reset before the caller gets control back. */
struct binder {
	sqlite3_stmt *statement;
	int next;
};

static void bind_int(struct binder *b, int64_t value)
{
	(void)sqlite3_bind_int64(b->statement, b->next++, value);
}

static void bind_size(struct binder *b, uint64_t value)
{
	bind_int(b, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static void bind_int_if(struct binder *b, bool known, int64_t value)
{
	if (known)
		bind_int(b, value);
	else
		(void)sqlite3_bind_null(b->statement, b->next++);
}

static void bind_real(struct binder *b, double value)
{
	(void)sqlite3_bind_double(b->statement, b->next++, value);
}

/* NULL stays NULL. */
static void bind_text(struct binder *b, const char *text)
{
	(void)sqlite3_bind_text(b->statement, b->next++, text, -1, SQLITE_STATIC);
}

/* For columns that are never NULL. */
static void bind_string(struct binder *b, const char *text)
{
	bind_text(b, text ? text : "");
}

static int unit_check(const struct store *store, struct error *err)
{
	if (!store->in_unit)
		return error_set(err, -EINVAL, "writing outside a unit of work");
	return 0;
}

/* The cached statement for a write; NULL when there is none or no unit is open. */
static int writer(struct store *store, enum store_statement which, sqlite3_stmt **ret_statement,
		  struct error *err)
{
	int r = unit_check(store, err);

	if (r < 0)
		return r;
	*ret_statement = store_statement(store, which, err);
	if (!*ret_statement) {
		store->broken = true;
		return store_error(store, err, "storing");
	}
	return 0;
}

int store_put_batch(struct store *store, const struct store_batch *batch, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	char doing[64];
	int r = writer(store, STMT_PUT_BATCH, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_size(&b, batch->id);
	bind_string(&b, batch->name);
	bind_int(&b, batch->uid);
	bind_string(&b, batch->state);
	bind_string(&b, batch->on_failure);
	bind_int(&b, batch->submitted_at_ms);
	bind_int(&b, batch->first_start_ms);
	bind_int(&b, batch->ended_at_ms);
	bind_int(&b, batch->total);
	bind_text(&b, batch->summary);
	(void)snprintf(doing, sizeof doing, "storing batch %llu", (unsigned long long)batch->id);
	return store_run(store, statement, doing, err);
}

int store_put_task(struct store *store, const struct store_task *task, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	char doing[64];
	int r = writer(store, STMT_PUT_TASK, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_size(&b, task->id);
	bind_size(&b, task->batch);
	bind_int(&b, task->row);
	bind_string(&b, task->name);
	bind_string(&b, task->kind);
	bind_string(&b, task->state);
	bind_text(&b, task->reason);
	bind_text(&b, task->fingerprint);
	bind_int(&b, task->priority);
	bind_int(&b, task->uid);
	bind_int(&b, task->environment);
	bind_int(&b, task->submitted_at_ms);
	bind_int(&b, task->updated_at_ms);
	bind_string(&b, task->spec);
	bind_text(&b, task->more);
	(void)snprintf(doing, sizeof doing, "storing task %llu", (unsigned long long)task->id);
	return store_run(store, statement, doing, err);
}

int store_put_attempt(struct store *store, const struct store_attempt *attempt, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	char doing[64];
	int r = writer(store, STMT_PUT_ATTEMPT, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_size(&b, attempt->task);
	bind_int(&b, attempt->number);
	bind_string(&b, attempt->device);
	bind_string(&b, attempt->policy);
	bind_text(&b, attempt->reason);
	bind_string(&b, attempt->gpus);
	bind_int(&b, attempt->started_at_ms);
	bind_int(&b, attempt->ended_at_ms);
	bind_text(&b, attempt->outcome);
	bind_int_if(&b, attempt->exit_known, attempt->exit_code);
	bind_int_if(&b, attempt->exit_known, attempt->signal);
	bind_int_if(&b, attempt->peak_vram_bytes > 0, (int64_t)attempt->peak_vram_bytes);
	bind_int_if(&b, attempt->peak_ram_bytes > 0, (int64_t)attempt->peak_ram_bytes);
	bind_text(&b, attempt->more);
	(void)snprintf(doing, sizeof doing, "storing attempt %u of task %llu", attempt->number,
		       (unsigned long long)attempt->task);
	return store_run(store, statement, doing, err);
}

int store_put_profile(struct store *store, const struct store_profile *profile, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	int r = writer(store, STMT_PUT_PROFILE, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_string(&b, profile->kind);
	bind_string(&b, profile->model);
	bind_real(&b, profile->speed);
	bind_size(&b, profile->vram_request_bytes);
	bind_real(&b, profile->work_seconds);
	bind_real(&b, profile->variance);
	bind_real(&b, profile->utilization_percent);
	bind_size(&b, profile->peak_vram_bytes);
	bind_size(&b, profile->peak_ram_bytes);
	bind_int(&b, profile->samples);
	bind_real(&b, profile->hint_mean);
	bind_real(&b, profile->hint_variance);
	bind_real(&b, profile->hint_covariance);
	bind_int(&b, profile->hint_samples);
	bind_int(&b, profile->runs);
	bind_text(&b, profile->peaks);
	bind_size(&b, profile->oom_vram_bytes);
	bind_int(&b, profile->batch_size);
	bind_int(&b, profile->first_at_ms);
	bind_int(&b, profile->last_at_ms);
	return store_run(store, statement, "storing a profile", err);
}

int store_drop_profile(struct store *store, const char *kind, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	int r = writer(store, STMT_DROP_PROFILE, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_string(&b, kind);
	return store_run(store, statement, "forgetting a profile", err);
}

int store_put_submit(struct store *store, const struct store_submit *submit, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	int r = writer(store, STMT_PUT_SUBMIT, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_string(&b, submit->key);
	bind_int(&b, submit->is_batch);
	bind_size(&b, submit->id);
	bind_size(&b, submit->skipped);
	return store_run(store, statement, "storing the key of a submit", err);
}

int store_put_meta(struct store *store, const char *key, const char *value, struct error *err)
{
	auto_statement sqlite3_stmt *statement = NULL;
	struct binder b;
	int r = writer(store, STMT_PUT_META, &statement, err);

	if (r < 0)
		return r;
	b = (struct binder){statement, 1};
	bind_string(&b, key);
	bind_string(&b, value);
	return store_run(store, statement, key, err);
}

/* FNV-1a; only to find candidates, the text itself decides. */
static int64_t text_hash(const char *text, size_t len)
{
	uint64_t hash = 14695981039346656037ull;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * 1099511628211ull;
	return (int64_t)(hash >> 1);
}

static int environment_find(struct store *store, int64_t hash, const char *text, size_t len,
			    int64_t *ret_id, struct error *err)
{
	auto_statement sqlite3_stmt *statement = store_statement(store, STMT_FIND_ENVIRONMENT, err);
	int r;

	if (!statement)
		return store_error(store, err, "looking for an environment");
	(void)sqlite3_bind_int64(statement, 1, hash);
	(void)sqlite3_bind_blob64(statement, 2, text, len, SQLITE_STATIC);
	r = sqlite3_step(statement);
	if (r == SQLITE_DONE)
		return 0;
	if (r != SQLITE_ROW)
		return store_error(store, err, "looking for an environment");
	*ret_id = sqlite3_column_int64(statement, 0);
	return 1;
}

int store_intern_environment(struct store *store, const char *text, size_t len, int64_t *ret_id,
			     struct error *err)
{
	int64_t hash = text_hash(text, len);
	auto_statement sqlite3_stmt *statement = NULL;
	int r = unit_check(store, err);

	if (r < 0)
		return r;
	r = environment_find(store, hash, text, len, ret_id, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = writer(store, STMT_ADD_ENVIRONMENT, &statement, err);
	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(statement, 1, hash);
	(void)sqlite3_bind_blob64(statement, 2, text, len, SQLITE_STATIC);
	r = store_run(store, statement, "storing an environment", err);
	if (r == 0)
		*ret_id = sqlite3_last_insert_rowid(store->db);
	return r;
}
