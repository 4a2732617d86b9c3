/* See fairshare.h. One JSON array under one key of the store. */
#include "daemon/fairshare.h"

#include "util/timestamp.h"
#include "util/users.h"

#include <errno.h>
#include <string.h>

#define META_KEY "fair_share"
#define EVERY_MS 60000

struct fairshare {
	struct daemon *daemon;
	int64_t put_at_ms; /* monotonic */
};

bool fairshare_is_due(const struct fairshare *fairshare)
{
	/* Nobody running: nothing is used, and old use decays by itself. */
	return sched_first_active(fairshare->daemon->sched) &&
	       monotonic_now_ms() - fairshare->put_at_ms >= EVERY_MS;
}

int fairshare_put(struct fairshare *fairshare, struct error *err)
{
	auto_free struct sched_user *users = NULL;
	auto_free char *text = NULL;
	auto_json json_t *json = json_array();
	size_t n = sched_users(fairshare->daemon->sched, timestamp_now_ms(), &users);

	for (size_t i = 0; i < n; i++)
		if (users[i].usage_gpu_seconds > 0)
			(void)json_array_append_new(
			    json, json_pack("{s:I, s:f, s:I}", "uid", (json_int_t)users[i].uid,
					    "usage_gpu_seconds", users[i].usage_gpu_seconds,
					    "at_ms", (json_int_t)users[i].at_ms));
	text = jsonx_dump(json);
	fairshare->put_at_ms = monotonic_now_ms();
	return store_put_meta(fairshare->daemon->store, META_KEY, text, err);
}

static int restore(struct fairshare *fairshare, struct error *err)
{
	auto_free char *text = NULL;
	auto_json json_t *json = NULL;
	const json_t *user;
	size_t i;
	int r = store_get_meta(fairshare->daemon->store, META_KEY, &text, err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = jsonx_parse(text, strlen(text), "fair share in the store", &json, err);
	if (r < 0)
		return r;
	json_array_foreach (json, i, user)
		sched_restore_user(fairshare->daemon->sched, (uid_t)jsonx_get_u64(user, "uid", 0),
				   jsonx_get_real(user, "usage_gpu_seconds", 0),
				   jsonx_get_i64(user, "at_ms", 0));
	return 0;
}

json_t *fairshare_to_json(struct fairshare *fairshare)
{
	auto_free struct sched_user *users = NULL;
	json_t *json = json_array();
	size_t n = sched_users(fairshare->daemon->sched, timestamp_now_ms(), &users);

	for (size_t i = 0; i < n; i++) {
		char name[USER_NAME_MAX];

		(void)json_array_append_new(
		    json, json_pack("{s:I, s:s, s:I, s:I, s:o, s:o}", "uid",
				    (json_int_t)users[i].uid, "user", user_name(users[i].uid, name),
				    "running", (json_int_t)users[i].running, "queued",
				    (json_int_t)users[i].queued, "usage_gpu_seconds",
				    jsonx_real_if(true, users[i].usage_gpu_seconds, 1),
				    "usage_share_percent",
				    jsonx_real_if(true, users[i].usage_share * 100, 1)));
	}
	return json;
}

int fairshare_create(struct daemon *daemon, struct fairshare **ret_fairshare, struct error *err)
{
	*ret_fairshare = mem_calloc(1, sizeof **ret_fairshare);
	(*ret_fairshare)->daemon = daemon;
	return restore(*ret_fairshare, err);
}

void fairshare_destroy(struct fairshare *fairshare)
{
	free(fairshare);
}
