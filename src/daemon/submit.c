/*
 * A submit goes: parse, skip what is done already, keep the environment (in the unit the tick will
 * commit), hand to sched, keep its key (in the same unit), and leave the answer to the tick. A
 * batch is accepted whole or not at all.
 *
 * A client that got no answer cannot know whether its submit was accepted. It sends it again with
 * the same key: what was accepted under a key is answered with, before anything else is looked at.
 */
#include "daemon/submit.h"

#include "daemon/access.h"
#include "daemon/after.h"
#include "daemon/clock.h"
#include "daemon/daemon.h"
#include "daemon/owner.h"
#include "daemon/rules.h"
#include "daemon/submit_parse.h"
#include "daemon/tick.h"
#include "daemon/waiters.h"
#include "daemon/workers.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Rows whose fingerprint ended well before are taken out. */
static int skip_done(struct daemon *daemon, struct submit *submit, size_t *ret_skipped,
		     struct error *err)
{
	size_t kept = 0, n = submit->n;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		struct sched_spec spec = submit->specs[i];

		if (r >= 0 && spec.fingerprint)
			r = store_find_done(daemon->store, spec.fingerprint, NULL, err);
		if (r == 1) {
			free((void *)(uintptr_t)spec.argv);
			r = 0;
			continue;
		}
		submit->specs[kept++] = spec;
	}
	submit->n = kept;
	*ret_skipped = n - kept;
	return r;
}

/* The environment goes with whose it is: texts are shared by the tasks of one user alone. */
static int keep_environment(struct daemon *daemon, struct submit *submit, uid_t uid,
			    struct error *err)
{
	auto_json json_t *json =
	    submit->env ? json_pack("{s:I,s:O}", "uid", (json_int_t)uid, "env", submit->env) : NULL;
	auto_free char *text = json ? jsonx_dump(json) : NULL;
	int64_t id = 0;
	int r = 0;

	if (text && !store_in_unit(daemon->store))
		r = store_begin(daemon->store, err);
	if (r == 0 && text)
		r = store_intern_environment(daemon->store, text, strlen(text), &id, err);
	for (size_t i = 0; i < submit->n; i++)
		submit->specs[i].environment = id;
	return r;
}

/* Whose it all is; what he has named is his. */
static void set_owner(struct submit *submit, const struct owner *owner)
{
	for (size_t i = 0; i < submit->n; i++) {
		struct sched_spec *spec = &submit->specs[i];

		spec->uid = owner->uid;
		spec->gid = owner->gid;
		spec->has_account = owner->has_account;
		spec->rlimits = owner->rlimits;
		submit->is_private |= spec->is_private;
		if (!spec->fingerprint || owner->uid == geteuid())
			continue;
		strings_take(&submit->scoped, owner_scoped(owner->uid, spec->fingerprint));
		spec->fingerprint = submit->scoped.items[submit->scoped.n - 1];
	}
}

static bool has_defaults(const struct submit *submit)
{
	for (size_t i = 0; i < submit->n; i++)
		if (submit->specs[i].vram_default_bytes > 0)
			return true;
	return false;
}

/* A default that is said is refused like a size where no GPU can ever hold it. */
static int check_defaults(const struct submit *submit, const struct ledger *ledger,
			  struct error *err)
{
	int r = 0;

	for (size_t i = 0; ledger && i < submit->n && r == 0; i++) {
		const struct sched_spec *spec = &submit->specs[i];
		struct place_request request = spec->request;

		if (spec->vram_default_bytes == 0 || request.gpus == 0 ||
		    place_request_is_sized(&request))
			continue;
		request.vram_bytes = spec->vram_default_bytes;
		r = place_check(ledger, &request, err);
		if (r < 0)
			r = error_prefix(err, r, "vram_default_bytes");
		if (r < 0 && submit->is_batch)
			r = error_prefix(err, r, "row %u", spec->row);
	}
	return r;
}

/* For tasks that say nothing of their VRAM: what plimsoll.yaml has for those. Above what a GPU can
 * give it is not refused (whoever submits may not have written it) but taken as the most there is.
 */
static void set_vram_default(const struct daemon *daemon, struct submit *submit)
{
	uint64_t bytes = rules_config(daemon->rules)->queue.vram_default_bytes;

	for (size_t i = 0; i < submit->n; i++)
		if (submit->specs[i].vram_default_bytes == 0 && submit->specs[i].request.gpus > 0 &&
		    !place_request_is_sized(&submit->specs[i].request))
			submit->specs[i].vram_default_bytes = bytes;
}

static int submit_accept(struct daemon *daemon, struct submit *submit, uid_t uid,
			 struct tick_reply *reply, struct error *err)
{
	struct sched_batch_spec batch = {.name = submit->name,
					 .uid = uid,
					 .is_private = submit->is_private,
					 .on_failure = submit->on_failure,
					 .tasks = submit->specs,
					 .n_tasks = submit->n};
	int64_t now = clock_now_ms(daemon->clock);
	uint64_t first;
	int r = submit->is_batch
		    ? sched_submit_batch(daemon->sched, &batch, now, &reply->id, &first, err)
		    : sched_submit(daemon->sched, submit->specs, now, &reply->id, err);

	/* Not the task itself is missing, but one it names. */
	return r == -ESRCH ? error_prefix(err, err->code = -EINVAL, "after") : r;
}

/* Without its key it could be accepted twice: what cannot be kept is taken back. */
static int keep_key(struct daemon *daemon, const struct submit *submit, uid_t uid,
		    const struct tick_reply *reply, struct error *err)
{
	auto_free char *key = owner_scoped(uid, submit->key);
	int r = store_in_unit(daemon->store) ? 0 : store_begin(daemon->store, err);

	if (r == 0)
		r = store_put_submit(daemon->store,
				     &(struct store_submit){.key = key,
							    .is_batch = submit->is_batch,
							    .id = reply->id,
							    .skipped = reply->skipped},
				     err);
	if (r < 0 && submit->is_batch)
		(void)sched_withdraw_batch(daemon->sched, reply->id);
	else if (r < 0)
		(void)sched_withdraw_task(daemon->sched, reply->id);
	return r;
}

static int check_priorities(const struct submit *submit, const struct api_peer *peer,
			    struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < submit->n && r == 0; i++) {
		r = access_check_priority(peer, submit->specs[i].priority, err);
		if (r < 0 && submit->is_batch)
			r = error_prefix(err, r, "row %u", submit->specs[i].row);
	}
	return r;
}

static int submit_do(struct daemon *daemon, struct submit *submit, const struct owner *owner,
		     struct tick_reply *reply, struct error *err)
{
	struct ledger *ledger = submit->workers_per_gpu > 0 || has_defaults(submit)
				    ? sched_ledger(daemon->sched)
				    : NULL;
	int r = check_priorities(submit, api_request_peer(reply->request), err);

	if (r == 0)
		r = workers_expand(submit, ledger, err);
	if (r == 0)
		r = check_defaults(submit, ledger, err);
	set_owner(submit, owner);
	set_vram_default(daemon, submit);
	if (r == 0 && submit->resume)
		r = skip_done(daemon, submit, &reply->skipped, err);
	if (r == 0)
		r = after_look_up(daemon, submit, err);
	if (r == 0)
		r = keep_environment(daemon, submit, owner->uid, err);
	if (r == 0)
		r = submit_accept(daemon, submit, owner->uid, reply, err);
	if (r == 0 && submit->key)
		r = keep_key(daemon, submit, owner->uid, reply, err);
	ledger_destroy(ledger);
	return r;
}

/* Answered with what was accepted under the same key? */
static bool submit_is_repeated(struct daemon *daemon, struct api_request *request,
			       enum tick_reply_type type)
{
	const struct api_peer *peer = api_request_peer(request);
	auto_free char *key =
	    owner_scoped(daemon->options.system ? peer->uid : geteuid(),
			 jsonx_get_string(api_request_body(request), "key", NULL));
	struct store_submit before = {};
	struct error err = {};
	int r = key ? store_find_submit(daemon->store, key, &before, &err) : 0;

	if (r == 1 && before.is_batch != (type == TICK_BATCH))
		r = error_set(&err, -EINVAL, "key: stands for %s %llu already",
			      before.is_batch ? "batch" : "task", (unsigned long long)before.id);
	if (r < 0)
		api_reply_error(request, r, &err);
	else if (r == 1)
		/* The first may have come in this very turn: not before its commit either. */
		tick_reply_after(daemon->tick, &(struct tick_reply){.request = request,
								    .type = type,
								    .id = before.id,
								    .is_submit = true,
								    .skipped = before.skipped});
	return r != 0;
}

/* What plimsoll.yaml has for who does not say it himself. A copy of the body; its members are the
 * same. */
static json_t *body_complete(const struct daemon *daemon, const json_t *body)
{
	static const enum sched_on_overrun on[CONFIG_OVERRUN_COUNT] = {
	    [CONFIG_OVERRUN_AUTO] = SCHED_OVERRUN_AUTO,
	    [CONFIG_OVERRUN_WARN] = SCHED_OVERRUN_WARN,
	    [CONFIG_OVERRUN_STOP] = SCHED_OVERRUN_STOP,
	};
	enum config_on_overrun is = rules_config(daemon->rules)->overrun.on;
	json_t *copy = json_copy((json_t *)(uintptr_t)body);

	if (json_is_null(json_object_get(copy, "on_overrun")))
		(void)json_object_del(copy, "on_overrun");
	if (!json_object_get(copy, "on_overrun"))
		(void)json_object_set_new(copy, "on_overrun",
					  json_string(sched_on_overrun_name(on[is])));
	return copy;
}

static void submit_handle(struct daemon *daemon, struct api_request *request,
			  int (*parse)(const json_t *body, const struct gpu_list *gpus,
				       struct submit *ret_submit, struct error *err),
			  enum tick_reply_type type)
{
	struct tick_reply reply = {
	    .request = request, .type = type, .is_submit = true, .is_new = true};
	const struct gpu_list *list = gpu_sampler_list(daemon->sampler);
	auto_owner struct owner owner = {};
	struct submit submit = {};
	struct error err = {};
	auto_json json_t *body =
	    api_request_body(request) ? body_complete(daemon, api_request_body(request)) : NULL;
	int r = body
		    ? parse(body, list, &submit, &err)
		    : error_set(&err, -EINVAL, "the body is empty; docs/api.md shows what goes in");

	if (r == 0)
		r = owner_identify(daemon, api_request_peer(request), &owner, &err);
	if (r == 0)
		r = submit_do(daemon, &submit, &owner, &reply, &err);
	submit_finish(&submit);
	if (r < 0) {
		api_reply_error(request, r, &err);
		tick_request(daemon->tick);
		return;
	}
	tick_reply_after(daemon->tick, &reply);
}

void handle_submit_task(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (submit_is_repeated(daemon, request, TICK_TASK))
		return;
	if (submit_needs_gpus(api_request_body(request)) &&
	    parked_add(daemon->parked, request, handle_submit_task))
		return;
	submit_handle(daemon, request, submit_parse_task, TICK_TASK);
}

void handle_submit_batch(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (submit_is_repeated(daemon, request, TICK_BATCH))
		return;
	if (submit_needs_gpus(api_request_body(request)) &&
	    parked_add(daemon->parked, request, handle_submit_batch))
		return;
	submit_handle(daemon, request, submit_parse_batch, TICK_BATCH);
}
