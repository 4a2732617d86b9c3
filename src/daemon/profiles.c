/*
 * Numbers are those of place/estimates.h; here they get names and words. The memory forgets at
 * once; the kinds that the store has still to forget are kept in a list until it has, so that a
 * full disk does not bring them back with the next daemon.
 */
#include "daemon/profiles.h"

#include "daemon/tick.h"
#include "place/ledger.h"
#include "place/saturate.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

/* A request above what is needed by a half and by this is a waste worth a word. */
#define WASTE_MIN   GIB
#define WARNING_MAX 256
/* Of one batch. */
#define WARNED_KINDS_MAX 256
/* The newest of all users' tasks, in which those of one are looked for. */
#define OWN_TASKS_MAX 5000
/* Bytes of a kind's name that are kept (struct estimates_row). */
#define KIND_TOLD_APART 127

struct profiles {
	struct daemon *daemon;
	struct strings forgotten; /* not yet by the store */
};

struct profiles *profiles_create(struct daemon *daemon)
{
	struct profiles *profiles = mem_calloc(1, sizeof *profiles);

	profiles->daemon = daemon;
	return profiles;
}

void profiles_destroy(struct profiles *profiles)
{
	if (!profiles)
		return;
	strings_finish(&profiles->forgotten);
	free(profiles);
}

bool profiles_are_due(const struct profiles *profiles)
{
	return profiles->forgotten.n > 0;
}

int profiles_put(struct profiles *profiles, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < profiles->forgotten.n && r == 0; i++)
		r = store_drop_profile(profiles->daemon->store, profiles->forgotten.items[i], err);
	return r;
}

void profiles_stored(struct profiles *profiles)
{
	strings_finish(&profiles->forgotten);
	profiles->forgotten = (struct strings){};
}

/* What is needed. */

static void need_join(struct estimates_need *to, const struct estimates_need *from)
{
	/* The rest says where the largest comes from. */
	struct estimates_need smaller = from->vram_bytes > to->vram_bytes ? *to : *from;

	if (from->vram_bytes > to->vram_bytes)
		*to = *from;
	to->known |= smaller.known;
	to->proven |= smaller.proven;
	to->max_vram_bytes = MAX_OF(to->max_vram_bytes, smaller.max_vram_bytes);
	to->ram_bytes = MAX_OF(to->ram_bytes, smaller.ram_bytes);
	to->said_permille = MAX_OF(to->said_permille, smaller.said_permille);
	to->small_said_bytes = MAX_OF(to->small_said_bytes, smaller.small_said_bytes);
}

/* What the largest GPU has. 0 = not known. */
static uint64_t largest_here(const struct daemon *daemon)
{
	const struct gpu_list *gpus = gpu_sampler_list(daemon->sampler);
	uint64_t largest = 0;

	for (size_t i = 0; gpus && i < gpus->n; i++)
		if (gpus->gpus[i].valid & GPU_TOTAL)
			largest = MAX_OF(largest, gpus->gpus[i].vram.total_bytes);
	return largest;
}

/* A guess is no more than can be tried; what was measured stays below it. */
static void guess_bound(const struct daemon *daemon, struct estimates_need *need)
{
	const struct gpu_list *gpus = gpu_sampler_list(daemon->sampler);
	uint64_t most = 0;

	if (!need->guessed)
		return;
	for (size_t i = 0; gpus && i < gpus->n; i++)
		if (gpus->gpus[i].valid & GPU_TOTAL)
			most = MAX_OF(most, saturate_sub(gpus->gpus[i].vram.total_bytes,
							 ledger_default_reserve(&gpus->gpus[i])));
	if (most > MAX_OF(need->oom_vram_bytes, need->p95_vram_bytes))
		need->vram_bytes = MIN_OF(need->vram_bytes, most);
}

/* What the next task of this kind needs, on whichever GPU of the machine it lands. */
static struct estimates_need need_here(const struct daemon *daemon, const char *kind)
{
	const struct estimates *estimates = sched_estimates(daemon->sched);
	const struct gpu_list *gpus = gpu_sampler_list(daemon->sampler);
	struct estimates_need need = {};

	if (!gpus || gpus->n == 0)
		return estimates_need_get(estimates, kind, NULL);
	for (size_t i = 0; i < gpus->n; i++) {
		struct estimates_need one = estimates_need_get(estimates, kind, gpus->gpus[i].name);

		need_join(&need, &one);
	}
	guess_bound(daemon, &need);
	return need;
}

/* "14 runs peaked at 6.1 GiB (p95)": what had too little has not peaked, and is told apart. */
static void add_measured(const struct estimates_need *need, struct text *text)
{
	unsigned runs = need->ended;

	if (runs > 0)
		text_printf(text, "%u run%s peaked at %s%s", runs, PLURAL(runs),
			    SIZE_TEXT(need->ended_p95_vram_bytes), runs > 1 ? " (p95)" : "");
	if (need->oom_vram_bytes > 0)
		text_printf(text, "%sone %s %s%s", runs > 0 ? ", " : "",
			    need->oom_stopped ? "used" : "ran out of memory, wanting",
			    SIZE_TEXT(need->oom_vram_bytes),
			    need->oom_stopped ? ", more than it was granted" : " or more");
	else if (runs == 0 && need->floors > 0)
		text_printf(text, "%u run%s ran out of memory, using %s", need->floors,
			    PLURAL(need->floors), SIZE_TEXT(need->max_vram_bytes));
	else if (runs == 0 && need->peaks > 0)
		text_printf(text, "one that has not ended well used %s",
			    SIZE_TEXT(need->max_vram_bytes));
}

/* "4.4 GiB is needed": as measured, or what is worth a try. */
static void add_verdict(const struct estimates_need *need, uint64_t said, uint64_t largest,
			struct text *text)
{
	uint64_t wanted = estimates_need_for(need, said);

	if (largest > 0 && estimates_measured_for(need, said) > largest)
		text_add(text, "that is more than any GPU here has");
	else if (need->guessed && wanted >= need->vram_bytes)
		text_printf(text, "%s is worth a try (a guess)",
			    SIZE_TEXT(largest > 0 ? MIN_OF(wanted, largest) : wanted));
	else
		text_printf(text, "%s is needed",
			    SIZE_TEXT(largest > 0 ? MIN_OF(wanted, largest) : wanted));
}

/* Is what it asks for wrong, by what was measured? "says 12 GiB; 14 runs peaked at 6.1 GiB (p95): 7
 * GiB would do"; where runs are of all sizes: "says 3 GiB; 14 runs peaked at 12 GiB (p95), up to
 * 1.67 times what they said: 5.5 GiB is needed"; false: it is not, or nothing is known. */
static bool request_check(const struct daemon *daemon, const struct estimates_need *need,
			  const struct place_request *request, char text[WARNING_MAX])
{
	uint64_t said = request->vram_bytes, enough = estimates_enough_for(need, said);
	bool small = estimates_is_too_small(need, said);
	bool waste = need->known && said > saturate_add(enough, MAX_OF(enough / 2, WASTE_MIN));
	auto_text struct text line = {};

	if (said == 0 || need->vram_bytes == 0 || request->cpu == PLACE_CPU_ONLY ||
	    (!small && !waste))
		return false;
	text_printf(&line, "says %s; ", SIZE_TEXT(said));
	add_measured(need, &line);
	if (need->said_permille > 0)
		text_printf(&line, ", up to %.2f times what they said",
			    need->said_permille / 1000.0);
	text_add(&line, ": ");
	if (small)
		add_verdict(need, said, largest_here(daemon), &line);
	else
		text_printf(&line, "%s would do", SIZE_TEXT(enough));
	(void)snprintf(text, WARNING_MAX, "%s", line.data);
	return true;
}

/* Warnings, one a kind. A batch of a hundred thousand rows has few kinds: the last one looked up is
 * nearly always the one. Texts of kinds are kept once by sched, so the pointer says which. */
struct warned_kind {
	const char *kind;
	struct estimates_need need;
	unsigned tasks;
	char text[WARNING_MAX]; /* of the first */
};

struct warned {
	struct daemon *daemon;
	struct warned_kind *kinds;
	size_t n, room;
};

static struct warned_kind *warned_find(struct warned *warned, const char *kind)
{
	for (size_t i = warned->n; i-- > 0;)
		if (warned->kinds[i].kind == kind)
			return &warned->kinds[i];
	/* The others of such a batch are not looked at. */
	if (warned->n == WARNED_KINDS_MAX)
		return NULL;
	ARRAY_GROW(warned->kinds, warned->n, warned->room);
	warned->kinds[warned->n] =
	    (struct warned_kind){.kind = kind, .need = need_here(warned->daemon, kind)};
	return &warned->kinds[warned->n++];
}

static void warned_add(struct warned *warned, const struct sched_task *task)
{
	char text[WARNING_MAX];
	struct warned_kind *kind = task->spec.kind[0] ? warned_find(warned, task->spec.kind) : NULL;

	if (!kind || !request_check(warned->daemon, &kind->need, &task->spec.request, text))
		return;
	if (kind->tasks++ == 0)
		memcpy(kind->text, text, sizeof text);
}

static json_t *warned_to_json(struct warned *warned)
{
	json_t *array = json_array();

	for (size_t i = 0; i < warned->n && json_array_size(array) < PROFILES_WARNINGS_MAX; i++) {
		const struct warned_kind *kind = &warned->kinds[i];

		if (kind->tasks > 0)
			(void)json_array_append_new(
			    array, json_pack("{s:o, s:o, s:s}", "kind", jsonx_string_if(kind->kind),
					     "tasks", jsonx_u64(kind->tasks), "text", kind->text));
	}
	free(warned->kinds);
	return array;
}

json_t *profiles_warn_task(struct daemon *daemon, const struct sched_task *task)
{
	struct warned warned = {.daemon = daemon};

	if (task)
		warned_add(&warned, task);
	return warned_to_json(&warned);
}

json_t *profiles_warn_batch(struct daemon *daemon, uint64_t batch)
{
	struct warned warned = {.daemon = daemon};

	for (const struct sched_task *task = sched_batch_first(daemon->sched, batch); task;
	     task = sched_batch_next(task))
		warned_add(&warned, task);
	return warned_to_json(&warned);
}

/* JSON. */

static void set_size(json_t *json, const char *name, uint64_t bytes)
{
	(void)json_object_set_new(json, name, jsonx_u64_if(bytes > 0, bytes));
}

static json_t *need_to_json(const struct estimates_need *need)
{
	json_t *json = json_object();

	(void)json_object_set_new(json, "peaks", jsonx_u64(need->peaks));
	(void)json_object_set_new(json, "peaks_out_of_memory", jsonx_u64(need->floors));
	(void)json_object_set_new(json, "known", json_boolean(need->known));
	(void)json_object_set_new(json, "proven", json_boolean(need->proven));
	set_size(json, "vram_bytes", need->vram_bytes);
	set_size(json, "p95_vram_bytes", need->p95_vram_bytes);
	set_size(json, "max_vram_bytes", need->max_vram_bytes);
	set_size(json, "oom_vram_bytes", need->oom_vram_bytes);
	(void)json_object_set_new(json, "guessed", json_boolean(need->guessed));
	(void)json_object_set_new(
	    json, "said_percent",
	    jsonx_real_if(need->said_permille > 0, need->said_permille / 10.0, 1));
	set_size(json, "ram_bytes", need->ram_bytes);
	set_size(json, "p95_ram_bytes", need->p95_ram_bytes);
	return json;
}

/* The oldest first; those of tasks that ran out of memory are floors. */
static json_t *peaks_to_json(const struct estimates_peaks *peaks)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < peaks->n; i++)
		(void)json_array_append_new(
		    array, json_pack("{s:o, s:b}", "bytes", jsonx_u64(peaks->bytes[i]),
				     "out_of_memory", peaks->floors >> i & 1));
	return array;
}

static json_t *row_to_json(const struct daemon *daemon, const struct estimates_row *row, bool all)
{
	struct estimates_need need =
	    estimates_need_get(sched_estimates(daemon->sched), row->kind, row->model);
	bool timed = row->samples > 0;
	json_t *json = json_object();

	guess_bound(daemon, &need);
	(void)json_object_set_new(json, "gpu",
				  row->model[0] ? jsonx_string_if(row->model) : json_null());
	(void)json_object_set_new(json, "runs", jsonx_u64(row->runs));
	(void)json_object_set_new(json, "need", need_to_json(&need));
	(void)json_object_set_new(json, "mean_seconds", jsonx_real_if(timed, row->work_seconds, 3));
	(void)json_object_set_new(
	    json, "utilization_percent",
	    jsonx_real_if(row->utilization_percent >= 0, row->utilization_percent, 1));
	(void)json_object_set_new(json, "batch_size",
				  jsonx_u64_if(row->batch_size > 0, row->batch_size));
	(void)json_object_set_new(json, "first_seen_at", jsonx_time_if(row->first_at_ms));
	(void)json_object_set_new(json, "last_seen_at", jsonx_time_if(row->last_at_ms));
	if (!all)
		return json;
	(void)json_object_set_new(json, "vram_peaks", peaks_to_json(&row->vram));
	(void)json_object_set_new(json, "ram_peaks", peaks_to_json(&row->ram));
	set_size(json, "running_peak_vram_bytes", row->vram.open_bytes);
	return json;
}

/* What the next one that says nothing gets, and why. */
static void set_default(json_t *json, const struct estimates_need *need, uint64_t largest)
{
	uint64_t bytes = largest > 0 ? MIN_OF(need->vram_bytes, largest) : need->vram_bytes;
	auto_text struct text text = {};

	add_measured(need, &text);
	if (need->known && bytes < need->vram_bytes)
		text_add(&text, "; no GPU here has more");
	else if (need->known && need->guessed)
		text_add(&text, "; more than that is a guess, until one has ended well");
	else if (need->known && bytes > 0)
		text_add(&text, ", and a margin");
	else
		text_printf(&text, "%s%d runs have to be measured first", text.len > 0 ? "; " : "",
			    ESTIMATES_FEW);
	(void)json_object_set_new(json, "default_vram_bytes",
				  jsonx_u64_if(need->known && bytes > 0, bytes));
	(void)json_object_set_new(json, "default_reason", json_string(text.data));
}

/* One kind out of its rows. */
static json_t *profile_to_json(const struct daemon *daemon, const struct estimates_row *rows,
			       size_t n, bool all)
{
	struct estimates_need need = need_here(daemon, rows[0].kind);
	json_t *json = json_object(), *models = json_array();
	int64_t first = 0, last = 0;
	uint64_t runs = 0;

	for (size_t i = 0; i < n; i++) {
		(void)json_array_append_new(models, row_to_json(daemon, &rows[i], all));
		runs += rows[i].runs;
		last = MAX_OF(last, rows[i].last_at_ms);
		if (rows[i].first_at_ms > 0 && (first == 0 || rows[i].first_at_ms < first))
			first = rows[i].first_at_ms;
	}
	(void)json_object_set_new(json, "kind", jsonx_string_if(rows[0].kind));
	(void)json_object_set_new(json, "runs", jsonx_u64(runs));
	set_default(json, &need, largest_here(daemon));
	(void)json_object_set_new(json, "need", need_to_json(&need));
	(void)json_object_set_new(json, "first_seen_at", jsonx_time_if(first));
	(void)json_object_set_new(json, "last_seen_at", jsonx_time_if(last));
	(void)json_object_set_new(json, "gpus", models);
	return json;
}

static int compare_rows(const void *a, const void *b)
{
	const struct estimates_row *x = a, *y = b;
	int order = strcmp(x->kind, y->kind);

	return order ? order : strcmp(x->model, y->model);
}

/* What others call their work is theirs: who is no ADMIN sees the kinds he has tasks of. */
struct own_kinds {
	bool all;
	struct strings kinds;
};

static int own_kind_add(void *data, const struct store_task *task)
{
	struct strings *kinds = data;

	for (size_t i = 0; i < kinds->n; i++)
		if (strcmp(kinds->items[i], task->kind) == 0)
			return 0;
	strings_add(kinds, task->kind);
	return 0;
}

static int own_kinds_find(const struct daemon *daemon, const struct api_peer *peer,
			  struct own_kinds *ret_own, struct error *err)
{
	struct store_query query = {.has_uid = true, .uid = peer->uid, .archived = true};
	uint64_t last_task, last_batch;
	int r;

	ret_own->all = peer->role >= API_ROLE_ADMIN;
	if (ret_own->all)
		return 0;
	r = store_last_ids(daemon->store, &last_task, &last_batch, err);
	if (r < 0)
		return r;
	query.above_id = last_task > OWN_TASKS_MAX ? last_task - OWN_TASKS_MAX : 0;
	return store_each_task(daemon->store, &query, own_kind_add, &ret_own->kinds, err);
}

static bool own_kinds_have(const struct own_kinds *own, const char *kind)
{
	for (size_t i = 0; i < own->kinds.n && !own->all; i++)
		if (strncmp(own->kinds.items[i], kind, KIND_TOLD_APART) == 0)
			return true;
	return own->all;
}

void handle_profiles(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	auto_free struct estimates_row *rows = NULL;
	size_t n = estimates_rows(sched_estimates(daemon->sched), false, &rows);
	json_t *profiles = json_array();
	struct own_kinds own = {};
	struct error err = {};
	int r = own_kinds_find(daemon, api_request_peer(request), &own, &err);

	qsort(rows, n, sizeof *rows, compare_rows);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && strcmp(rows[i].kind, rows[end].kind) == 0;)
			end++;
		if (own_kinds_have(&own, rows[i].kind))
			(void)json_array_append_new(
			    profiles, profile_to_json(daemon, rows + i, end - i, false));
	}
	strings_finish(&own.kinds);
	if (r == 0) {
		api_reply(request, 200, json_pack("{s:o}", "profiles", profiles));
		return;
	}
	json_decref(profiles);
	api_reply_error(request, r, &err);
}

static void reply_unknown(struct api_request *request, const char *kind)
{
	struct error err = {};
	int r = error_set(&err, -ENOENT,
			  "nothing was learned of the kind \"%.128s\"; `plimsoll profile list` "
			  "names those there are",
			  kind);

	api_reply_error(request, r, &err);
}

void handle_profile(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const char *kind = api_request_name(request);
	auto_free struct estimates_row *rows = NULL;
	size_t n = estimates_kind_rows(sched_estimates(daemon->sched), kind, &rows);
	struct own_kinds own = {};
	struct error err = {};
	int r = own_kinds_find(daemon, api_request_peer(request), &own, &err);

	qsort(rows, n, sizeof *rows, compare_rows);
	if (r < 0)
		api_reply_error(request, r, &err);
	else if (n == 0 || !own_kinds_have(&own, kind))
		reply_unknown(request, kind);
	else
		api_reply(request, 200,
			  json_pack("{s:o}", "profile", profile_to_json(daemon, rows, n, true)));
	strings_finish(&own.kinds);
}

static void reply_forgotten(struct daemon *daemon, struct api_request *request, unsigned n)
{
	tick_reply_after(
	    daemon->tick,
	    &(struct tick_reply){.request = request, .type = TICK_FORGOTTEN, .changed = n});
}

void handle_profile_forget(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	const char *kind = api_request_name(request);
	auto_free struct estimates_row *rows = NULL;
	size_t n = estimates_kind_rows(sched_estimates(daemon->sched), kind, &rows);

	if (n == 0) {
		reply_unknown(request, kind);
		return;
	}
	/* As it is kept: long names are cut. */
	strings_add(&daemon->profiles->forgotten, rows[0].kind);
	(void)estimates_forget(sched_estimates(daemon->sched), kind);
	reply_forgotten(daemon, request, 1);
}

void handle_profiles_forget(void *data, struct api_request *request)
{
	struct daemon *daemon = data;
	auto_free struct estimates_row *rows = NULL;
	size_t n = estimates_rows(sched_estimates(daemon->sched), false, &rows);
	unsigned kinds = 0;

	qsort(rows, n, sizeof *rows, compare_rows);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && strcmp(rows[i].kind, rows[i - 1].kind) == 0)
			continue;
		strings_add(&daemon->profiles->forgotten, rows[i].kind);
		kinds++;
	}
	(void)estimates_forget(sched_estimates(daemon->sched), NULL);
	reply_forgotten(daemon, request, kinds);
}
