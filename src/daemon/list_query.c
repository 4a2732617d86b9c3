/* The query of a list, checked. What is wrong is said with the name of its member. */
#include "daemon/listing.h"

#include "util/timestamp.h"
#include "util/users.h"

#include <errno.h>
#include <string.h>

#define LIMIT_DEFAULT 1000
#define RECENT_ENDED  50
#define NAME_MAX_LEN  256

int list_states_read(const char *text, unsigned *ret_states, struct error *err)
{
	auto_free char *copy = text ? mem_strdup(text) : NULL;
	char *rest = copy;
	unsigned states = 0;
	int r = 0;

	for (char *word; r == 0 && (word = strsep(&rest, ","));) {
		enum sched_state state;

		r = sched_state_parse(word, &state, err);
		if (r == 0)
			states |= SCHED_STATE_BIT(state);
	}
	if (r == 0)
		*ret_states = states;
	return r;
}

static int word_read(const struct api_request *request, const char *name, const char **ret_word,
		     struct error *err)
{
	const char *text = api_request_query(request, name);

	if (text && (!*text || strlen(text) > NAME_MAX_LEN))
		return error_set(err, -EINVAL, "%s: from 1 to %d bytes", name, NAME_MAX_LEN);
	*ret_word = text;
	return 0;
}

static int time_read(const struct api_request *request, const char *name, int64_t *ret_ms,
		     struct error *err)
{
	const char *text = api_request_query(request, name);
	int r = text ? timestamp_parse(text, ret_ms, err) : 0;

	return r < 0 ? error_prefix(err, r, "%s", name) : 0;
}

static int conditions_read(const struct api_request *request, struct list_query *query,
			   struct error *err)
{
	struct store_query *stored = &query->stored;
	const char *user = api_request_query(request, "user");
	int r = list_states_read(api_request_query(request, "state"), &query->states, err);

	if (r == 0)
		r = api_request_query_u64(request, "batch", INT64_MAX, 0, &stored->batch, err);
	if (r == 0)
		r = word_read(request, "kind", &stored->kind, err);
	if (r == 0)
		r = word_read(request, "name", &stored->name, err);
	if (r == 0)
		r = time_read(request, "since", &stored->since_ms, err);
	if (r == 0)
		r = time_read(request, "until", &stored->until_ms, err);
	if (r == 0 && user) {
		stored->has_uid = true;
		r = user_parse(user, &stored->uid, err);
	}
	return r;
}

/* A kind is not for others to know, nor is a private name: who may not see them finds by them only
 * his own, or he could guess until something is found. */
static int conditions_permit(const struct api_request *request, struct store_query *stored,
			     struct error *err)
{
	const struct api_peer *peer = api_request_peer(request);

	if (peer->role >= API_ROLE_ADMIN || (!stored->kind && !stored->name))
		return 0;
	if (stored->has_uid && stored->uid != peer->uid)
		return error_set(err, -EPERM,
				 "%s: finds your own tasks only, not those of another user",
				 stored->kind ? "kind" : "name");
	stored->has_uid = true;
	stored->uid = peer->uid;
	return 0;
}

static int order_read(const struct api_request *request, struct list_query *query,
		      struct error *err)
{
	static const char *const names[] = {"queue", "oldest", "newest"};
	const char *order = api_request_query(request, "order"),
		   *format = api_request_query(request, "format");
	uint64_t after;
	int r = api_request_query_u64(request, "after", INT64_MAX, 0, &after, err);

	if (r < 0)
		return r;
	query->lines = format && strcmp(format, "lines") == 0;
	if (format && !query->lines && strcmp(format, "json") != 0)
		return error_set(err, -EINVAL, "format=%.32s: json or lines", format);
	if (query->lines)
		query->order = LIST_OLDEST;
	if (order) {
		size_t i = 0;

		while (i < ARRAY_LEN(names) && strcmp(order, names[i]) != 0)
			i++;
		if (i == ARRAY_LEN(names))
			return error_set(err, -EINVAL, "order=%.32s: queue, oldest or newest",
					 order);
		query->order = (enum list_order)i;
	}
	if (after > 0 && query->order == LIST_QUEUE)
		return error_set(err, -EINVAL, "after: only with order=oldest or order=newest");
	*(query->order == LIST_NEWEST ? &query->stored.below_id : &query->stored.above_id) = after;
	return 0;
}

int list_query_read(const struct api_request *request, struct list_query *ret_query,
		    struct error *err)
{
	struct list_query query = {.stored = {.archived = true}};
	const struct store_query *stored = &query.stored;
	bool chosen;
	int r = order_read(request, &query, err);

	if (r == 0)
		r = conditions_read(request, &query, err);
	if (r == 0)
		r = conditions_permit(request, &query.stored, err);
	if (r == 0)
		r = api_request_query_u64(request, "limit", INT64_MAX,
					  query.lines ? INT64_MAX : LIMIT_DEFAULT, &query.limit,
					  err);
	if (r == 0)
		r = api_request_query_u64(request, "offset", INT64_MAX, 0, &query.offset, err);
	/* Who chooses nothing wants the queue, and of what has ended only the last. */
	chosen = query.states || stored->batch || stored->kind || stored->name || stored->has_uid ||
		 stored->since_ms || stored->until_ms || api_request_query(request, "limit");
	if (r == 0)
		r = api_request_query_u64(request, "ended", INT64_MAX,
					  chosen ? query.limit : RECENT_ENDED, &query.ended, err);
	if (r == 0)
		*ret_query = query;
	return r;
}
