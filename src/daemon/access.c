/*
 * The tables are lists of what is shown, not of what is hidden: a member somebody adds to a task is
 * hidden from strangers until it is added here.
 */
#include "daemon/access.h"

#include "daemon/record.h"
#include "util/users.h"

#include <errno.h>
#include <string.h>

/* What is shown of somebody else's things. */

static const char *const OF_ATTEMPT[] = {"number",   "gpus",         "device", "started_at",
					 "ended_at", "ended_before", NULL};
static const char *const OF_TASK[] = {"id",           "name",    "uid",      "user",     "private",
				      "batch",        "row",     "state",    "priority", "stopping",
				      "submitted_at", "request", "attempts", NULL};
static const char *const OF_BATCH[] = {"id",      "name",         "uid",      "user",     "private",
				       "state",   "submitted_at", "ended_at", "total",    "waiting",
				       "running", "done",         "failed",   "canceled", NULL};
static const char *const OF_START[] = {"event", "at",      "uid",    "user", "task",
				       "batch", "attempt", "device", "line", NULL};
/* How much somebody used decides who is next: everybody's business. */
static const char *const OF_USER[] = {
    "uid", "user", "running", "queued", "usage_gpu_seconds", "usage_share_percent", NULL};
static const char *const OF_UNKNOWN[] = {"uid", NULL};

/* What an object is, by the member of the answer it is found in. */
static const struct kind {
	const char *member;
	const char *const *shown;
} KINDS[] = {
    {"task", OF_TASK},        {"tasks", OF_TASK},  {"batch", OF_BATCH}, {"batches", OF_BATCH},
    {"attempts", OF_ATTEMPT}, {"start", OF_START}, {"users", OF_USER},
};

static const char *const *shown_in(const char *member)
{
	for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
		if (strcmp(KINDS[i].member, member) == 0)
			return KINDS[i].shown;
	return OF_UNKNOWN;
}

static bool is_shown(const char *const *shown, const char *member)
{
	while (*shown && strcmp(*shown, member) != 0)
		shown++;
	return *shown;
}

bool access_is_open(const struct api_peer *peer, uid_t owner)
{
	return peer->role >= API_ROLE_ADMIN || peer->uid == owner;
}

bool access_sees_name(const struct api_peer *peer, const struct sched_task *task)
{
	return !task->spec.is_private || access_is_open(peer, task->spec.uid);
}

/* Is it somebody else's? */
static bool is_foreign(const struct api_peer *peer, const json_t *object)
{
	const json_t *uid = json_object_get(object, "uid");

	return uid && !(json_is_integer(uid) && json_integer_value(uid) == (json_int_t)peer->uid);
}

static void strip(json_t *object, const char *const *shown)
{
	bool is_private = jsonx_get_bool(object, "private", false);
	const json_t *attempts = json_object_get(object, "attempts");
	const char *member;
	json_t *value;
	size_t i;

	json_object_foreach (object, member, value) {
		if (!is_shown(shown, member) || (is_private && strcmp(member, "name") == 0))
			(void)json_object_set_new(object, member, json_null());
	}
	if (!is_shown(shown, "attempts"))
		return;
	json_array_foreach (attempts, i, value)
		strip(value, OF_ATTEMPT);
}

/* Down to the first object that has an owner. */
static void filter(const struct api_peer *peer, json_t *json, const char *const *shown)
{
	const char *member;
	json_t *value;
	size_t i;

	json_array_foreach (json, i, value)
		filter(peer, value, shown);
	if (!json_is_object(json))
		return;
	if (json_object_get(json, "uid")) {
		if (is_foreign(peer, json))
			strip(json, shown);
		return;
	}
	/* A batch's summary lies beside it. */
	if (json_object_get(json, "summary") && is_foreign(peer, json_object_get(json, "batch")))
		(void)json_object_set_new(json, "summary", json_null());
	/* And what its kind needs, beside a task. */
	if (json_object_get(json, "warnings") && is_foreign(peer, json_object_get(json, "task")))
		(void)json_object_set_new(json, "warnings", json_null());
	json_object_foreach (json, member, value)
		filter(peer, value, shown_in(member));
}

void access_filter_member(const struct api_peer *peer, const char *member, json_t *json)
{
	if (peer->role < API_ROLE_ADMIN)
		filter(peer, json, shown_in(member));
}

void access_filter(void *data, const struct api_peer *peer, json_t *json)
{
	(void)data;
	access_filter_member(peer, jsonx_get_string(json, "event", ""), json);
}

/* Whose is it? */

static int task_owner(struct daemon *daemon, uint64_t id, uid_t *ret_uid, struct error *err)
{
	const struct sched_task *task = sched_find(daemon->sched, id);
	auto_records struct records records = {};
	int r = 0;

	if (!task) {
		r = records_load(daemon->store, &(struct store_query){.id = id, .archived = true},
				 &records, err);
		task = r == 0 && records.n > 0 ? &records.tasks[0] : NULL;
	}
	if (r < 0)
		return r;
	if (!task)
		return error_set(err, -ENOENT, "there is no task %llu", (unsigned long long)id);
	*ret_uid = task->spec.uid;
	return 0;
}

static int batch_owner(struct daemon *daemon, uint64_t id, uid_t *ret_uid, struct error *err)
{
	const struct sched_batch *batch = sched_find_batch(daemon->sched, id);
	auto_record_batches struct record_batches list = {};
	int r = 0;

	if (!batch) {
		r = record_batches_load(daemon->store, id, false, &list, err);
		batch = r == 0 && list.n > 0 ? &list.batches[0] : NULL;
	}
	if (r < 0)
		return r;
	if (!batch)
		return error_set(err, -ENOENT, "there is no batch %llu", (unsigned long long)id);
	*ret_uid = batch->uid;
	return 0;
}

/* What the route would do, for people: "cancel it". */
static const char *deed(const struct api_route *route, char text[64])
{
	static const char *const reading[][2] = {
	    {"log", "read its log"},
	    {"why", "ask for its reasons"},
	    {"priority", "change its priority"},
	};
	const char *last = strrchr(route->path, '/') + 1;

	for (size_t i = 0; i < ARRAY_LEN(reading); i++)
		if (strcmp(last, reading[i][0]) == 0)
			return reading[i][1];
	(void)snprintf(text, 64, "%s it", *last == '{' ? "see" : last);
	return text;
}

int access_admit(void *data, const struct api_peer *peer, const struct api_route *route,
		 uint64_t id, struct error *err)
{
	bool is_task = route->scope == API_OWN_TASK;
	uid_t owner = (uid_t)-1;
	char text[64], name[USER_NAME_MAX];
	int r;

	if (!is_task && route->scope != API_OWN_BATCH)
		return error_set(err, -EPERM, "%s is for root and the daemon's own user",
				 route->path);
	r = is_task ? task_owner(data, id, &owner, err) : batch_owner(data, id, &owner, err);
	if (r < 0 || access_is_open(peer, owner))
		return r;
	return error_set(err, -EPERM, "%s %llu is %s's: only %s and root may %s",
			 is_task ? "task" : "batch", (unsigned long long)id, user_name(owner, name),
			 name, deed(route, text));
}

int access_check_priority(const struct api_peer *peer, int priority, struct error *err)
{
	if (peer->role >= API_ROLE_ADMIN || priority <= 0)
		return 0;
	return error_set(err, -EPERM,
			 "priority %d: above 0 is root's to give on a machine of many users; give "
			 "less to those of your tasks that can wait",
			 priority);
}
