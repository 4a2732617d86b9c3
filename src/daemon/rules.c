/*
 * See rules.h. The state of drains and pause is one small JSON object, kept in the store under one
 * key; what sched gets is made anew from it and the configuration whenever one of them, the set of
 * GPUs or the hour changes.
 */
#include "daemon/rules.h"

#include "config/rule.h"
#include "daemon/clock.h"
#include "daemon/runner.h"
#include "daemon/submit_parse.h"
#include "daemon/tick.h"
#include "daemon/waiters.h"
#include "util/log.h"
#include "util/size.h"
#include "util/timestamp.h"
#include "util/users.h"
#include "util/when.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define META_KEY    "rules"
#define REASON_MAX  100
#define LOOK_MAX_MS 300000 /* the clock may be set: look at the hours again at least so often */

struct rules {
	struct daemon *daemon;
	struct config *config;
	json_t *state, *stored; /* {"paused": {...}, "drained": {uuid: {...}}} */
	struct ledger_rule *list;
	size_t n, room;
	char *gpus; /* those `list` was made for, with all that entries can name them by */
	uv_timer_t hours;
	uv_signal_t hangup;
	unsigned n_handles; /* that are not closed yet */
};

/* GPUs. */

static void apply_drain(struct ledger_rule *rule, const json_t *drain)
{
	const char *reason = jsonx_get_string(drain, "reason", "");

	rule->closed = true;
	(void)snprintf(rule->text, sizeof rule->text, "drained since %s%s%.*s",
		       WHEN_TEXT(jsonx_get_i64(drain, "since_ms", 0)), *reason ? ": " : "",
		       REASON_MAX, reason);
}

static struct ledger_rule *rule_add(struct rules *rules, const char *uuid)
{
	struct ledger_rule *rule;

	ARRAY_GROW(rules->list, rules->n, rules->room);
	rule = &rules->list[rules->n++];
	*rule = (struct ledger_rule){};
	(void)snprintf(rule->uuid, sizeof rule->uuid, "%s", uuid);
	return rule;
}

/* When the next of the hours begins or ends, from now; LOOK_MAX_MS at most, 0 = there are none. */
static uint64_t until_next_hour(const struct config *config, int64_t now_ms)
{
	uint64_t soonest = 0;

	for (size_t i = 0; i < config->n_gpus; i++) {
		unsigned minutes;
		uint64_t ms;

		if (!config->gpus[i].has_hours)
			continue;
		minutes = hours_until_change(&config->gpus[i].hours, config_week_minute(now_ms));
		ms = minutes > 0 ? (uint64_t)minutes * 60000 - (uint64_t)(now_ms % 60000)
				 : LOOK_MAX_MS;
		soonest = soonest == 0 ? ms : MIN_OF(soonest, ms);
	}
	return MIN_OF(soonest, (uint64_t)LOOK_MAX_MS);
}

static void on_hours(uv_timer_t *timer);

static void apply(struct rules *rules, const struct gpu_list *list)
{
	const json_t *drained = json_object_get(rules->state, "drained"), *drain;
	int64_t now = clock_now_ms(rules->daemon->clock);
	uint64_t next = until_next_hour(rules->config, now);
	const char *uuid;

	rules->n = 0;
	for (size_t i = 0; i < list->n; i++)
		config_rule(rules->config, list, i, config_week_minute(now),
			    rule_add(rules, list->gpus[i].uuid));
	json_object_foreach ((json_t *)(uintptr_t)drained, uuid, drain) {
		struct ledger_rule *rule = NULL;

		for (size_t i = 0; i < rules->n && !rule; i++)
			if (strcmp(rules->list[i].uuid, uuid) == 0)
				rule = &rules->list[i];
		apply_drain(rule ? rule : rule_add(rules, uuid), drain);
	}
	sched_set_rules(rules->daemon->sched, rules->list, rules->n, now);
	if (next > 0)
		(void)uv_timer_start(&rules->hours, on_hours, next, 0);
	else
		(void)uv_timer_stop(&rules->hours);
}

static void apply_again(struct rules *rules)
{
	const struct gpu_list *list =
	    rules->daemon->sampler ? gpu_sampler_list(rules->daemon->sampler) : NULL;
	struct gpu_list none = {};

	apply(rules, list ? list : &none);
	tick_request(rules->daemon->tick);
}

static void on_hours(uv_timer_t *timer)
{
	apply_again(timer->data);
}

/* Entries about GPUs that are not there: said once for each set of GPUs, for it may be a typing
 * mistake. */
static void warn_of_absent(const struct rules *rules, const struct gpu_list *list)
{
	for (size_t k = 0; k < rules->config->n_gpus; k++) {
		const struct config_gpu *entry = &rules->config->gpus[k];
		bool found = false;

		for (size_t i = 0; i < list->n; i++)
			found |= config_gpu_is_about(entry, list, i);
		if (!found)
			log_warning("%s: there is no GPU \"%s\" now", entry->where,
				    entry->gpu ? entry->gpu : entry->model);
	}
}

/* A task with such a default would have waited for ever: it asks for the largest load line. */
static void warn_of_default(const struct rules *rules)
{
	uint64_t bytes = rules->config->queue.vram_default_bytes, most = 0;
	struct ledger *ledger = bytes > 0 ? sched_ledger(rules->daemon->sched) : NULL;

	for (size_t i = 0; ledger && i < ledger->n_gpus; i++)
		most = MAX_OF(most, ledger->gpus[i].load_line_bytes);
	ledger_destroy(ledger);
	if (most > 0 && bytes > most)
		log_warning("plimsoll.yaml: `vram_default` of `queue` is %s; no GPU has a load "
			    "line above %s: that is asked for instead",
			    SIZE_TEXT(bytes), SIZE_TEXT(most));
}

void rules_gpus(struct rules *rules, const struct gpu_list *list)
{
	auto_text struct text gpus = {};

	for (size_t i = 0; i < list->n; i++)
		text_printf(&gpus, "%s %u %s %s\n", list->gpus[i].uuid, list->gpus[i].index,
			    list->gpus[i].pci_bus_id, list->gpus[i].name);
	if (rules->gpus && strcmp(rules->gpus, gpus.data ? gpus.data : "") == 0)
		return;
	free(rules->gpus);
	rules->gpus = text_take(&gpus);
	warn_of_absent(rules, list);
	apply(rules, list);
	warn_of_default(rules);
}

/* The pause. */

static void apply_pause(struct rules *rules)
{
	const json_t *paused = json_object_get(rules->state, "paused");
	const char *reason = jsonx_get_string(paused, "reason", "");
	auto_text struct text why = {};

	if (json_is_object(paused))
		text_printf(&why, "the queue is paused since %s%s%s",
			    WHEN_TEXT(jsonx_get_i64(paused, "since_ms", 0)), *reason ? ": " : "",
			    reason);
	sched_set_pause(rules->daemon->sched, why.data, clock_now_ms(rules->daemon->clock));
}

/* The configuration. */

static struct sched_user_limits limits_of(const struct config_limits *limits)
{
	return (struct sched_user_limits){
	    .max_running = limits->running_max,
	    .max_queued = limits->queued_max,
	    .max_gpus = limits->gpus_max,
	    .max_vram_bytes = limits->vram_max_bytes,
	    .weight = limits->weight,
	};
}

static void configure(struct rules *rules)
{
	const struct config *config = rules->config;
	auto_free struct sched_user_config *users = mem_calloc(config->n_users + 1, sizeof *users);
	struct sched_config sched = {
	    .ageing_ms = config->queue.ageing_ms,
	    .fair_half_life_ms = config->queue.fair_share_ms,
	    .reserve_after_ms = config->queue.reserve_after_ms,
	    .stagger_ms = (unsigned)MAX_OF(config->queue.stagger_ms, 0),
	    .prove = !config->queue.take_at_word,
	    .overrun_tolerance_bytes = config->overrun.tolerance_bytes,
	    .overrun_samples = config->overrun.samples,
	    .limits = limits_of(&config->limits),
	    .users = users,
	};

	for (size_t i = 0; i < config->n_users; i++) {
		struct sched_user_config *user = &users[sched.n_users];
		struct error err = {};

		user->limits = limits_of(&config->users[i].limits);
		if (user_parse(config->users[i].name, &user->uid, &err) < 0)
			log_warning("%s: %s", config->users[i].where, error_text(&err));
		else
			sched.n_users++;
	}
	sched_configure(rules->daemon->sched, &sched, clock_now_ms(rules->daemon->clock));
}

static int config_read(const struct daemon *daemon, struct config **ret_config, struct error *err)
{
	char **paths = config_paths(daemon->options.system);
	int r = config_load((const char *const *)paths, ret_config, err);

	config_paths_free(paths);
	return r;
}

static void on_hangup(uv_signal_t *handle, int number)
{
	struct rules *rules = handle->data;
	struct config *config = NULL;
	struct error err = {};

	(void)number;
	if (config_read(rules->daemon, &config, &err) < 0) {
		log_error("the configuration stays as it was: %s", error_text(&err));
		return;
	}
	config_destroy(rules->config);
	rules->config = config;
	log_info("the configuration was read again");
	configure(rules);
	runner_configure(rules->daemon->runner, config);
	free(TAKE(rules->gpus));
	apply_again(rules);
}

/* The store. */

const struct config *rules_config(const struct rules *rules)
{
	return rules->config;
}

bool rules_are_new(const struct rules *rules)
{
	return !json_equal(rules->state, rules->stored);
}

int rules_put(struct rules *rules, struct error *err)
{
	auto_free char *text = jsonx_dump(rules->state);

	return store_put_meta(rules->daemon->store, META_KEY, text, err);
}

void rules_stored(struct rules *rules)
{
	if (!rules_are_new(rules))
		return;
	json_decref(rules->stored);
	rules->stored = json_deep_copy(rules->state);
}

void rules_take_back(struct rules *rules)
{
	if (!rules_are_new(rules))
		return;
	json_decref(rules->state);
	rules->state = json_deep_copy(rules->stored);
	apply_pause(rules);
	apply_again(rules);
}

static int state_load(struct rules *rules, struct error *err)
{
	auto_free char *text = NULL;
	int r = store_get_meta(rules->daemon->store, META_KEY, &text, err);

	if (r == -ENOENT)
		rules->state = json_pack("{s:{}}", "drained");
	else if (r == 0)
		r = jsonx_parse(text, strlen(text), "rules in the store", &rules->state, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (!json_is_object(json_object_get(rules->state, "drained")) &&
	    json_object_set_new(rules->state, "drained", json_object()) < 0)
		return error_set(err, -EUCLEAN, "rules in the store: not an object");
	rules->stored = json_deep_copy(rules->state);
	return 0;
}

/* Showing. */

static json_t *mark_to_json(const json_t *mark)
{
	return json_pack("{s:o, s:o}", "since", jsonx_time_if(jsonx_get_i64(mark, "since_ms", 0)),
			 "reason", jsonx_string_if(jsonx_get_string(mark, "reason", "")));
}

json_t *rules_to_json(const struct rules *rules)
{
	const struct gpu_list *list = gpu_sampler_list(rules->daemon->sampler);
	json_t *paused = json_object_get(rules->state, "paused"), *drained = json_array();
	json_t *json = json_object(), *drain;
	const char *uuid;

	(void)json_object_set_new(json, "paused",
				  json_is_object(paused) ? mark_to_json(paused) : json_null());
	json_object_foreach (json_object_get(rules->state, "drained"), uuid, drain) {
		const struct gpu *gpu = gpu_list_find(list, uuid);
		json_t *item = mark_to_json(drain);

		(void)json_object_set_new(item, "uuid", json_string(uuid));
		(void)json_object_set_new(item, "index", jsonx_u64_if(gpu, gpu ? gpu->index : 0));
		(void)json_array_append_new(drained, item);
	}
	(void)json_object_set_new(json, "drained", drained);
	return json;
}

void rules_mark_gpus(const struct rules *rules, json_t *gpus)
{
	json_t *gpu;
	size_t i;

	json_array_foreach (json_object_get(gpus, "gpus"), i, gpu) {
		const char *uuid = jsonx_get_string(gpu, "uuid", ""), *closed = NULL;

		for (size_t k = 0; k < rules->n; k++)
			if (rules->list[k].closed && strcmp(rules->list[k].uuid, uuid) == 0)
				closed = rules->list[k].text;
		(void)json_object_set_new(gpu, "closed", jsonx_string_if(closed));
	}
}

/* Handlers. */

static void changed(struct daemon *daemon, struct api_request *request)
{
	tick_reply_after(daemon->tick,
			 &(struct tick_reply){.request = request, .type = TICK_RULES});
}

static int body_read(const json_t *body, bool of_gpu, const char **ret_reason, struct error *err)
{
	static const char *const all[] = {"reason", "gpu", NULL}, *const pause[] = {"reason", NULL};
	const json_t *reason = json_object_get(body, "reason");
	int r = submit_check_members(body, of_gpu ? all : pause, "the body", err);

	if (r == 0 && reason && !json_is_null(reason) &&
	    (!json_is_string(reason) || json_string_length(reason) > REASON_MAX))
		r = error_set(err, -EINVAL, "reason: must be a string of at most %d bytes",
			      REASON_MAX);
	*ret_reason = jsonx_get_string(body, "reason", NULL);
	return r;
}

static json_t *mark(const char *reason)
{
	return json_pack("{s:I, s:o}", "since_ms", (json_int_t)timestamp_now_ms(), "reason",
			 jsonx_string_if(reason));
}

/* Said twice: since the first time, for what was said last. -1: the name is no text. */
static int mark_set(json_t *marks, const char *name, const char *reason)
{
	json_t *there = json_object_get(marks, name);

	if (!json_is_object(there))
		return json_object_set_new(marks, name, mark(reason));
	return reason ? json_object_set_new(there, "reason", jsonx_string_if(reason)) : 0;
}

void handle_queue_pause(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	struct rules *rules = daemon->rules;
	struct error err = {};
	const char *reason;

	if (body_read(api_request_body(request), false, &reason, &err) < 0) {
		api_reply_error(request, -EINVAL, &err);
		return;
	}
	(void)mark_set(rules->state, "paused", reason);
	apply_pause(rules);
	changed(daemon, request);
}

void handle_queue_resume(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	(void)json_object_del(daemon->rules->state, "paused");
	apply_pause(daemon->rules);
	changed(daemon, request);
}

/* The GPU of the body, by its UUID; a drained one may be gone from the machine. */
static int gpu_named(const struct rules *rules, const json_t *body, const char **ret_uuid,
		     struct error *err)
{
	const char *text = jsonx_get_string(body, "gpu", "");
	const struct gpu *gpu = NULL;
	int r;

	if (!*text)
		return error_set(err, -EINVAL,
				 "gpu: which one? a string: its index, PCI id or UUID");
	if (json_object_get(json_object_get(rules->state, "drained"), text)) {
		*ret_uuid = text;
		return 0;
	}
	r = gpu_list_resolve(gpu_sampler_list(rules->daemon->sampler), text, &gpu, err);
	if (r == 0 && !*gpu->uuid)
		r = error_set(err, -ENODEV,
			      "GPU %u does not tell its UUID now: nothing is placed there, and it "
			      "would not be known again",
			      gpu->index);
	if (r == 0)
		*ret_uuid = gpu->uuid;
	return r;
}

static void gpu_change(struct daemon *daemon, struct api_request *request, bool drain)
{
	struct rules *rules = daemon->rules;
	json_t *drained = json_object_get(rules->state, "drained");
	const char *reason, *uuid = NULL;
	struct error err = {};
	int r = body_read(api_request_body(request), true, &reason, &err);

	if (r == 0)
		r = gpu_named(rules, api_request_body(request), &uuid, &err);
	if (r < 0) {
		api_reply_error(request, r, &err);
		return;
	}
	if (drain && mark_set(drained, uuid, reason) < 0) {
		r = error_set(&err, -EINVAL, "the UUID of that GPU is no text: it cannot be kept");
		api_reply_error(request, r, &err);
		return;
	}
	if (!drain)
		(void)json_object_del(drained, uuid);
	apply_again(rules);
	changed(daemon, request);
}

void handle_gpu_drain(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (!parked_add(daemon->parked, request, handle_gpu_drain))
		gpu_change(daemon, request, true);
}

void handle_gpu_resume(void *data, struct api_request *request)
{
	struct daemon *daemon = data;

	if (!parked_add(daemon->parked, request, handle_gpu_resume))
		gpu_change(daemon, request, false);
}

/* Life. */

int rules_create(struct daemon *daemon, struct rules **ret_rules, struct error *err)
{
	struct rules *rules = mem_calloc(1, sizeof *rules);
	int r = config_read(daemon, &rules->config, err);

	rules->daemon = daemon;
	rules->n_handles = 2;
	(void)uv_timer_init(&daemon->loop, &rules->hours);
	(void)uv_signal_init(&daemon->loop, &rules->hangup);
	rules->hours.data = rules->hangup.data = rules;
	*ret_rules = rules;
	if (r == 0)
		r = state_load(rules, err);
	if (r < 0)
		return r;
	(void)uv_signal_start(&rules->hangup, on_hangup, SIGHUP);
	for (size_t i = 0; i < rules->config->n_files; i++)
		log_info("configured by %s", rules->config->files[i]);
	configure(rules);
	apply_pause(rules);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct rules *rules = handle->data;

	if (--rules->n_handles > 0)
		return;
	config_destroy(rules->config);
	json_decref(rules->state);
	json_decref(rules->stored);
	free(rules->list);
	free(rules->gpus);
	free(rules);
}

void rules_destroy(struct rules *rules)
{
	if (!rules)
		return;
	uv_close((uv_handle_t *)&rules->hours, on_closed);
	uv_close((uv_handle_t *)&rules->hangup, on_closed);
}
