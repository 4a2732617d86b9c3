/* Runs the stories of tests/cases/sched; the commands are described in its README. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gpu_name.h"
#include "sched/sched.h"
#include "util/duration.h"
#include "util/file.h"
#include "util/size.h"

#include <glob.h>
#include <signal.h>
#include <string.h>

#define WORDS_MAX 32
#define NAMES_MAX 64

struct named {
	char name[32];
	uint64_t id;
	bool is_batch;
};

struct story {
	const char *file;
	unsigned line;
	struct sched *sched;
	struct gpu_list *list;
	int64_t now;
	struct named names[NAMES_MAX];
	size_t n_names;
	char *words[WORDS_MAX];
	size_t n_words;
	char *rest; /* from the third word on */
};

#define STORY_FAIL(s, ...)                                        \
	do {                                                      \
		fprintf(stderr, "%s:%u: ", (s)->file, (s)->line); \
		fprintf(stderr, __VA_ARGS__);                     \
		fprintf(stderr, "\n");                            \
		fail();                                           \
	} while (0)

static const char *word(struct story *s, size_t i)
{
	if (i >= s->n_words)
		STORY_FAIL(s, "word %zu is missing", i);
	return s->words[i];
}

static unsigned number(struct story *s, const char *text)
{
	unsigned long long n;

	if (!text_to_u64(text, 0, 1000, &n))
		STORY_FAIL(s, "'%s' is no number", text);
	return (unsigned)n;
}

static uint64_t size_at(struct story *s, size_t i)
{
	uint64_t bytes = 0;
	struct error err = {};

	if (size_parse(word(s, i), &bytes, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	return bytes;
}

static struct gpu *gpu_at(struct story *s, size_t i)
{
	unsigned n = number(s, word(s, i));

	if (n >= s->list->n)
		STORY_FAIL(s, "there is no GPU %u", n);
	return &s->list->gpus[n];
}

static uint64_t id_named(struct story *s, const char *name, bool batch)
{
	for (size_t k = 0; k < s->n_names; k++) {
		if (s->names[k].is_batch == batch && strcmp(s->names[k].name, name) == 0)
			return s->names[k].id;
	}
	STORY_FAIL(s, "nothing is called %s", name);
	return 0;
}

static uint64_t id_at(struct story *s, size_t i, bool batch)
{
	return id_named(s, word(s, i), batch);
}

static void name_add(struct story *s, const char *name, unsigned number_of, uint64_t id, bool batch)
{
	struct named *named = &s->names[s->n_names++];

	assert_true(s->n_names < NAMES_MAX);
	if (number_of > 0)
		(void)snprintf(named->name, sizeof named->name, "%s%u", name, number_of);
	else
		(void)snprintf(named->name, sizeof named->name, "%s", name);
	named->id = id;
	named->is_batch = batch;
}

static void sample(struct story *s)
{
	s->list->sampled_at_ms = s->now;
	sched_set_gpus(s->sched, s->list, s->now);
}

static void cmd_gpu(struct story *s)
{
	struct gpu *gpu = gpu_list_append(s->list);

	gpu->index = (unsigned)s->list->n - 1;
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%u", gpu->index);
	(void)snprintf(gpu->name, sizeof gpu->name, "Model");
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_UTILIZATION | GPU_PROCESSES;
	gpu->vram.total_bytes = gpu->vram.free_bytes = size_at(s, 1);
	sample(s);
}

/* What a line asks for. */
struct asked {
	struct sched_spec spec;
	struct sched_after after;
	struct sched_after_item items[8];
	enum sched_on_failure on_failure;
	struct sched_rung rungs[SCHED_RUNGS_MAX];
};

static int64_t duration_of(struct story *s, const char *text)
{
	int64_t ms = 0;
	struct error err = {};

	if (duration_parse(text, &ms, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	return ms;
}

static int signed_of(struct story *s, const char *text)
{
	return *text == '-' ? -(int)number(s, text + 1) : (int)number(s, text);
}

static void opt_priority(struct story *s, struct asked *a, char *value)
{
	a->spec.priority = signed_of(s, value);
}

static void opt_pin(struct story *s, struct asked *a, char *value)
{
	a->spec.request.pin_uuid = gpu_name(number(s, value));
}

static void opt_policy(struct story *s, struct asked *a, char *value)
{
	struct error err = {};

	if (place_policy_parse(value, &a->spec.policy, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
}

static void opt_on(struct story *s, struct asked *a, char *value)
{
	struct error err = {};

	if (sched_on_failure_parse(value, &a->on_failure, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
}

static void opt_at(struct story *s, struct asked *a, char *value)
{
	a->spec.not_before_ms = s->now + duration_of(s, value);
}

static void opt_stagger(struct story *s, struct asked *a, char *value)
{
	a->spec.request.stagger_ms = (unsigned)duration_of(s, value);
}

static void opt_oom(struct story *s, struct asked *a, char *value)
{
	struct error err = {};
	int n = sched_rungs_parse(value, a->rungs, &err);

	if (n < 0)
		STORY_FAIL(s, "%s", err.text);
	a->spec.on_oom = a->rungs;
	a->spec.n_on_oom = (size_t)n;
}

static void opt_kind(struct story *s, struct asked *a, char *value)
{
	(void)s;
	a->spec.kind = value;
}

static void opt_cpu(struct story *s, struct asked *a, char *value)
{
	if (place_cpu_mode_parse(value, &a->spec.request.cpu, NULL) < 0)
		STORY_FAIL(s, "unknown mode %s", value);
}

static void opt_default(struct story *s, struct asked *a, char *value)
{
	struct error err = {};

	if (size_parse(value, &a->spec.vram_default_bytes, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
}

/* a,b,@batch; an unknown name becomes an id that is not there. */
static void opt_after(struct story *s, struct asked *a, char *value)
{
	char *save = NULL;

	for (char *w = strtok_r(value, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		struct sched_after_item *item = &a->items[a->after.n++];

		assert_true(a->after.n <= ARRAY_LEN(a->items));
		item->is_batch = *w == '@';
		item->id = strcmp(w, "?") == 0 ? 999 : id_named(s, w + item->is_batch, *w == '@');
	}
	a->after.items = a->items;
	a->spec.after = &a->after;
}

static void opt_when(struct story *s, struct asked *a, char *value)
{
	struct error err = {};

	if (sched_after_on_parse(value, &a->after.on, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
}

/* Those that are a number, a duration, or are there or not. */
static const struct {
	const char *name;
	size_t at;
	enum { NUMBER, SPAN, FLAG } type;
} plain[] = {
#define PLAIN(name, member, type)                          \
	{                                                  \
		name, offsetof(struct asked, member), type \
	}
    PLAIN("gpus", spec.request.gpus, NUMBER),
    PLAIN("retries", spec.retries, NUMBER),
    PLAIN("threads", spec.request.threads, NUMBER),
    PLAIN("max", spec.request.max_per_gpu, NUMBER),
    PLAIN("user", spec.uid, NUMBER),
    PLAIN("batch-size", spec.batch_size, NUMBER),
    PLAIN("exclusive", spec.request.exclusive, FLAG),
    PLAIN("held", spec.held, FLAG),
    PLAIN("lock", spec.request.start_lock, FLAG),
    PLAIN("delay", spec.retry_delay_ms, SPAN),
    PLAIN("soft", spec.soft_limit_ms, SPAN),
    PLAIN("hard", spec.hard_limit_ms, SPAN),
    PLAIN("any", after.any, FLAG),
};

static bool plain_set(struct story *s, struct asked *a, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		void *to = (char *)a + plain[i].at;

		if (strcmp(plain[i].name, key) != 0)
			continue;
		if (plain[i].type == FLAG)
			*(bool *)to = true;
		else if (plain[i].type == SPAN)
			*(int64_t *)to = duration_of(s, value);
		else
			*(unsigned *)to = number(s, value);
		return true;
	}
	return false;
}

static const struct {
	const char *name;
	void (*set)(struct story *s, struct asked *a, char *value);
} options[] = {
    {"priority", opt_priority},
    {"pin", opt_pin},
    {"policy", opt_policy},
    {"on", opt_on},
    {"at", opt_at},
    {"stagger", opt_stagger},
    {"after", opt_after},
    {"when", opt_when},
    {"oom", opt_oom},
    {"kind", opt_kind},
    {"cpu", opt_cpu},
    {"default", opt_default},
};

static void option_set(struct story *s, struct asked *a, char *key)
{
	char *value = strchr(key, '=');
	static char empty[1];

	if (value)
		*value++ = '\0';
	if (plain_set(s, a, key, value ? value : empty))
		return;
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (strcmp(options[i].name, key) == 0) {
			options[i].set(s, a, value ? value : empty);
			return;
		}
	}
	STORY_FAIL(s, "unknown option %s", key);
}

static void asked_read(struct story *s, size_t at, struct asked *a)
{
	static const char *const argv[] = {"true", NULL};

	*a = (struct asked){.spec = {.name = word(s, 1),
				     .argv = argv,
				     .policy = PLACE_FIRST_FIT,
				     .request = {.gpus = 1}}};
	if (strcmp(word(s, at), "cpu") == 0) {
		a->spec.request.gpus = 0;
		a->spec.request.cpu = PLACE_CPU_ONLY;
	} else {
		a->spec.request.vram_bytes = size_at(s, at);
	}
	for (size_t i = at + 1; i < s->n_words; i++)
		option_set(s, a, s->words[i]);
}

static void cmd_submit(struct story *s)
{
	struct asked a;
	struct error err = {};
	uint64_t id = 0;

	asked_read(s, 2, &a);
	if (sched_submit(s->sched, &a.spec, s->now, &id, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	name_add(s, word(s, 1), 0, id, false);
}

static void cmd_batch(struct story *s)
{
	struct sched_spec specs[32];
	unsigned n = number(s, word(s, 2));
	struct sched_batch_spec batch = {.name = word(s, 1), .tasks = specs, .n_tasks = n};
	struct asked a;
	struct error err = {};
	uint64_t id = 0, first = 0;

	asked_read(s, 3, &a);
	batch.on_failure = a.on_failure;
	batch.uid = a.spec.uid;
	assert_true(n <= ARRAY_LEN(specs));
	for (unsigned i = 0; i < n; i++) {
		specs[i] = a.spec;
		specs[i].row = i + 1;
	}
	if (sched_submit_batch(s->sched, &batch, s->now, &id, &first, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	name_add(s, word(s, 1), 0, id, true);
	for (unsigned i = 0; i < n; i++)
		name_add(s, word(s, 1), i + 1, first + i, false);
}

static const char *name_of(struct story *s, uint64_t id)
{
	for (size_t k = 0; k < s->n_names; k++) {
		if (!s->names[k].is_batch && s->names[k].id == id)
			return s->names[k].name;
	}
	return "?";
}

/* "a@0", "a@0+1", "a@cpu" */
static void placement_text(struct story *s, const struct sched_action *action, char *buf,
			   size_t size)
{
	const struct sched_attempt *a = sched_task_attempt(sched_find(s->sched, action->task));
	size_t len = (size_t)snprintf(buf, size, "%s@", name_of(s, action->task));

	if (a->n_gpus == 0)
		(void)snprintf(buf + len, size - len, "cpu");
	for (unsigned g = 0; g < a->n_gpus; g++)
		len +=
		    (size_t)snprintf(buf + len, size - len, "%s%u", g ? "+" : "", a->gpus[g].index);
}

static void cmd_step(struct story *s)
{
	bool seen[WORDS_MAX] = {};
	const struct sched_action *actions;
	size_t n;

	(void)sched_step(s->sched, s->now);
	actions = sched_actions(s->sched, &n);
	for (size_t i = 0; i < n; i++) {
		char text[64];
		size_t w = 1;

		if (actions[i].type == SCHED_SIGNAL)
			STORY_FAIL(s, "signal %d for %s", actions[i].signal,
				   name_of(s, actions[i].task));
		placement_text(s, &actions[i], text, sizeof text);
		while (w < s->n_words && (seen[w] || strcmp(s->words[w], text) != 0))
			w++;
		if (w == s->n_words)
			STORY_FAIL(s, "started %s", text);
		seen[w] = true;
	}
	for (size_t w = 1; w < s->n_words; w++) {
		if (!seen[w])
			STORY_FAIL(s, "did not start %s", s->words[w]);
	}
	sched_changes_clear(s->sched);
	sched_actions_clear(s->sched);
}

static void cmd_signal(struct story *s)
{
	const char *name = word(s, 2);
	int wanted = strcmp(name, "kill") == 0 ? SIGKILL : strcmp(name, "term") == 0 ? SIGTERM : 0;
	const struct sched_action *actions;
	size_t n;

	(void)sched_step(s->sched, s->now);
	actions = sched_actions(s->sched, &n);
	if (n != 1 || actions[0].type != SCHED_SIGNAL || actions[0].signal != wanted ||
	    actions[0].task != id_at(s, 1, false))
		STORY_FAIL(s, "%zu actions, not this signal", n);
	sched_changes_clear(s->sched);
	sched_actions_clear(s->sched);
}

static unsigned attempt_of(struct story *s, uint64_t id)
{
	return sched_find(s->sched, id)->n_attempts;
}

static void cmd_start(struct story *s)
{
	uint64_t id = id_at(s, 1, false);

	if (sched_started(s->sched, id, attempt_of(s, id), s->now) < 0)
		STORY_FAIL(s, "%s was not starting", word(s, 1));
}

static void cmd_end(struct story *s)
{
	struct sched_end end = {.task = id_at(s, 1, false), .exit_known = true};
	struct error err = {};

	end.attempt = attempt_of(s, end.task);
	if (strcmp(word(s, 2), "killed") == 0) {
		end.outcome = SCHED_ERROR;
		end.exit_code = -1;
		end.signal = SIGKILL;
	} else if (sched_outcome_parse(word(s, 2), &end.outcome, &err) < 0) {
		STORY_FAIL(s, "%s", err.text);
	} else {
		end.exit_code = end.outcome != SCHED_OK;
	}
	end.oom_requested_bytes = s->n_words > 3 ? size_at(s, 3) : 0;
	end.oom_used_bytes = s->n_words > 4 ? size_at(s, 4) : 0;
	if (sched_ended(s->sched, &end, s->now) < 0)
		STORY_FAIL(s, "%s was not running", word(s, 1));
	/* The daemon asks for a sample at each end. */
	s->now++;
	sample(s);
}

/* fail TASK machine|passing|task WORDS: it could not be started */
static void cmd_fail(struct story *s)
{
	uint64_t id = id_at(s, 1, false);
	enum sched_fault fault = strcmp(word(s, 2), "machine") == 0   ? SCHED_FAULT_MACHINE
				 : strcmp(word(s, 2), "passing") == 0 ? SCHED_FAULT_PASSING
								      : SCHED_FAULT_TASK;

	if (sched_start_failed(s->sched, id, attempt_of(s, id), "no more processes", fault,
			       s->now) < 0)
		STORY_FAIL(s, "%s was not starting", word(s, 1));
}

static const struct {
	const char *name;
	int (*task)(struct sched *sched, uint64_t task, int64_t now_ms, struct error *err);
	int (*batch)(struct sched *sched, uint64_t batch, int64_t now_ms, unsigned *ret_n,
		     struct error *err);
} wishes[] = {
    {"cancel", sched_cancel, NULL},
    {"hold", sched_hold, sched_batch_hold},
    {"release", sched_release, sched_batch_release},
    {"retry", sched_retry, sched_batch_retry},
};

/* "hold TASK", "hold-batch BATCH"; "no" before it: it is refused. */
static void cmd_wish(struct story *s)
{
	const char *wish = word(s, 0);
	bool batch = strstr(wish, "-batch") || strstr(wish, "continue");
	uint64_t id = id_at(s, 1, batch);
	struct error err = {};
	unsigned n = 0;
	int r = -1;

	if (strcmp(wish, "cancel-batch") == 0)
		r = sched_batch_cancel(s->sched, id, s->now, &err);
	else if (strstr(wish, "continue"))
		r = sched_batch_continue(s->sched, id, strcmp(wish, "continue-all") == 0, s->now,
					 &err);
	else
		for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
			if (strncmp(wishes[i].name, wish, strlen(wishes[i].name)) == 0)
				r = batch ? wishes[i].batch(s->sched, id, s->now, &n, &err)
					  : wishes[i].task(s->sched, id, s->now, &err);
		}
	if (r < 0)
		STORY_FAIL(s, "%s", err.text);
}

static void cmd_priority(struct story *s)
{
	struct error err = {};

	if (sched_set_priority(s->sched, id_at(s, 1, false), signed_of(s, word(s, 2)), s->now,
			       &err) < 0)
		STORY_FAIL(s, "%s", err.text);
}

static void cmd_pause(struct story *s)
{
	sched_set_pause(s->sched, word(s, 1), s->now);
}

static void cmd_resume(struct story *s)
{
	sched_set_pause(s->sched, NULL, s->now);
}

static void config_key(struct story *s, struct sched_config *config,
		       struct sched_user_limits *limits, char *key)
{
	char *value = strchr(key, '=');

	if (!value)
		STORY_FAIL(s, "%s needs a value", key);
	*value++ = '\0';
	if (strcmp(key, "ageing") == 0)
		config->ageing_ms = strcmp(value, "none") == 0 ? -1 : duration_of(s, value);
	else if (strcmp(key, "half-life") == 0)
		config->fair_half_life_ms = strcmp(value, "none") == 0 ? -1 : duration_of(s, value);
	else if (strcmp(key, "reserve") == 0)
		config->reserve_after_ms = strcmp(value, "none") == 0 ? -1 : duration_of(s, value);
	else if (strcmp(key, "stagger") == 0)
		config->stagger_ms = (unsigned)duration_of(s, value);
	else if (strcmp(key, "running") == 0)
		limits->max_running = number(s, value);
	else if (strcmp(key, "queued") == 0)
		limits->max_queued = number(s, value);
	else if (strcmp(key, "gpus") == 0)
		limits->max_gpus = number(s, value);
	else if (strcmp(key, "weight") == 0)
		limits->weight = number(s, value);
	else if (strcmp(key, "vram") == 0)
		limits->max_vram_bytes = (uint64_t)number(s, value) * GIB;
	else
		STORY_FAIL(s, "unknown setting %s", key);
}

/* config KEY=VALUE ..: of all; after "user=N" of that user. All others as they are by default. */
static void cmd_config(struct story *s)
{
	struct sched_user_config users[4] = {};
	struct sched_config config = {.users = users};
	struct sched_user_limits *limits = &config.limits;

	for (size_t i = 1; i < s->n_words; i++) {
		if (strncmp(s->words[i], "user=", 5) == 0) {
			assert_true(config.n_users < ARRAY_LEN(users));
			users[config.n_users].uid = (uid_t)number(s, s->words[i] + 5);
			limits = &users[config.n_users++].limits;
			continue;
		}
		config_key(s, &config, limits, s->words[i]);
	}
	sched_configure(s->sched, &config, s->now);
}

/* drain GPU WORDS; drain alone: all are open */
static void cmd_drain(struct story *s)
{
	struct ledger_rule rule = {.closed = true};

	if (s->n_words > 1) {
		(void)snprintf(rule.uuid, sizeof rule.uuid, "%s", gpu_at(s, 1)->uuid);
		(void)snprintf(rule.text, sizeof rule.text, "%s", s->rest ? s->rest : "drained");
	}
	sched_set_rules(s->sched, &rule, s->n_words > 1, s->now);
}

/* use TASK GPU SIZE: what it is measured to use there */
static void cmd_use(struct story *s)
{
	const struct sched_usage usage = {.task = id_at(s, 1, false),
					  .uuid = gpu_at(s, 2)->uuid,
					  .vram_known = true,
					  .vram_bytes = size_at(s, 3)};

	if (sched_set_usage(s->sched, &usage, s->now) < 0)
		STORY_FAIL(s, "%s is not there", word(s, 1));
}

static void cmd_attempt(struct story *s)
{
	const struct sched_task *task = sched_find(s->sched, id_at(s, 1, false));
	const struct sched_attempt *a = sched_task_attempt(task);
	const char *what = word(s, 0), *is = a->rung ? a->rung : "none";
	char text[SIZE_TEXT_MAX];

	if (strcmp(what, "granted") == 0)
		is = a->n_gpus > 0 ? size_format(text, a->gpus[0].vram_bytes) : "cpu";
	if (strcmp(what, "batch-size") == 0 && snprintf(text, sizeof text, "%u", a->batch_size) > 0)
		is = text;
	if (strcmp(is, s->rest) != 0)
		STORY_FAIL(s, "%s of %s is '%s'", what, word(s, 1), is);
}

static void cmd_asks(struct story *s)
{
	const struct sched_task *task = sched_find(s->sched, id_at(s, 1, false));
	const char *source;
	struct sched_ask ask;

	sched_ask(s->sched, task, &ask);
	source = sched_vram_source_name(ask.source);
	if (ask.request.vram_bytes != size_at(s, 2) ||
	    strcmp(source ? source : "none", word(s, 3)) != 0)
		STORY_FAIL(s, "%s asks for %s (%s)", word(s, 1), SIZE_TEXT(ask.request.vram_bytes),
			   source ? source : "none");
}

static void cmd_host(struct story *s)
{
	struct ledger_host host = {.ram_known = true, .cpu_milli = number(s, word(s, 2)) * 1000};

	host.ram_total_bytes = host.ram_available_bytes = size_at(s, 1);
	sched_set_host(s->sched, &host, s->now);
}

/* The daemon dies and comes back; all it has is what was stored. */
static void cmd_crash(struct story *s)
{
	struct sched *again = sched_create(&(struct sched_options){.stop_grace_ms = 10000});
	struct error err = {};

	for (const struct sched_batch *b = sched_first_batch(s->sched); b; b = sched_next_batch(b))
		assert_int_equal(sched_restore_batch(again, b, &err), 0);
	for (const struct sched_task *t = sched_first(s->sched); t; t = sched_next(t))
		assert_int_equal(sched_restore_task(again, t, &err), 0);
	sched_destroy(s->sched);
	s->sched = again;
	sample(s);
}

/* deadline DURATION|none: when the queue wants to be asked again */
static void cmd_deadline(struct story *s)
{
	int64_t at = sched_deadline(s->sched);
	int64_t wanted = strcmp(word(s, 1), "none") == 0 ? 0 : s->now + duration_of(s, word(s, 1));

	if (at != wanted)
		STORY_FAIL(s, "the deadline is in %lld ms", (long long)(at ? at - s->now : -1));
}

static void cmd_health(struct story *s)
{
	gpu_at(s, 1)->health = strcmp(word(s, 2), "lost") == 0 ? GPU_HEALTH_LOST : GPU_HEALTH_OK;
	sample(s);
}

static void cmd_foreign(struct story *s)
{
	struct gpu *gpu = gpu_at(s, 1);

	gpu->vram.used_bytes = size_at(s, 2);
	gpu->vram.free_bytes = gpu->vram.total_bytes - gpu->vram.used_bytes;
	sample(s);
}

static void cmd_nvml(struct story *s)
{
	const char *how = word(s, 1);
	size_t n = s->list->n;

	s->list->state = strcmp(how, "stale") == 0      ? GPU_SOURCE_STALE
			 : strcmp(how, "mismatch") == 0 ? GPU_SOURCE_MISMATCH
							: GPU_SOURCE_OK;
	/* After a mismatch NVML lists nothing at all. */
	if (s->list->state == GPU_SOURCE_MISMATCH)
		s->list->n = 0;
	sample(s);
	s->list->n = n;
}

static void cmd_after(struct story *s)
{
	s->now += duration_of(s, word(s, 1));
	sample(s);
}

static void cmd_back(struct story *s)
{
	s->now -= duration_of(s, word(s, 1));
}

static void cmd_state(struct story *s)
{
	const char *is = sched_state_name(sched_find(s->sched, id_at(s, 1, false))->state);

	if (strcmp(is, word(s, 2)) != 0)
		STORY_FAIL(s, "%s is %s", word(s, 1), is);
}

static void cmd_batch_state(struct story *s)
{
	const char *is =
	    sched_batch_state_name(sched_find_batch(s->sched, id_at(s, 1, true))->state);

	if (strcmp(is, word(s, 2)) != 0)
		STORY_FAIL(s, "%s is %s", word(s, 1), is);
}

static void cmd_reason(struct story *s)
{
	char reason[SCHED_REASON_MAX];

	(void)sched_reason(s->sched, sched_find(s->sched, id_at(s, 1, false)), reason);
	if (!strstr(reason, s->rest))
		STORY_FAIL(s, "the reason is: %s", reason);
}

/* refused SIZE OPT.. : WORDS */
static void cmd_refused(struct story *s)
{
	const char *words = s->rest;
	struct asked a;
	struct error err = {};
	uint64_t id;

	for (size_t i = 2; i < s->n_words; i++) {
		if (strcmp(s->words[i], ":") == 0) {
			s->n_words = i;
			words = strstr(s->rest, ": ") + 2;
		}
	}
	if (words == s->rest)
		s->n_words = 2;
	asked_read(s, 1, &a);
	if (sched_submit(s->sched, &a.spec, s->now, &id, &err) == 0)
		STORY_FAIL(s, "was accepted");
	if (!strstr(err.text, words))
		STORY_FAIL(s, "refused with: %s", err.text);
}

static const struct {
	const char *name;
	void (*run)(struct story *s);
} commands[] = {
    {"gpu", cmd_gpu},
    {"submit", cmd_submit},
    {"batch", cmd_batch},
    {"step", cmd_step},
    {"signal", cmd_signal},
    {"start", cmd_start},
    {"end", cmd_end},
    {"cancel", cmd_wish},
    {"hold", cmd_wish},
    {"release", cmd_wish},
    {"cancel-batch", cmd_wish},
    {"continue", cmd_wish},
    {"continue-all", cmd_wish},
    {"health", cmd_health},
    {"foreign", cmd_foreign},
    {"nvml", cmd_nvml},
    {"after", cmd_after},
    {"back", cmd_back},
    {"fail", cmd_fail},
    {"retry", cmd_wish},
    {"hold-batch", cmd_wish},
    {"release-batch", cmd_wish},
    {"retry-batch", cmd_wish},
    {"priority", cmd_priority},
    {"pause", cmd_pause},
    {"resume", cmd_resume},
    {"config", cmd_config},
    {"drain", cmd_drain},
    {"use", cmd_use},
    {"crash", cmd_crash},
    {"rung", cmd_attempt},
    {"granted", cmd_attempt},
    {"batch-size", cmd_attempt},
    {"asks", cmd_asks},
    {"host", cmd_host},
    {"deadline", cmd_deadline},
    {"state", cmd_state},
    {"batch-state", cmd_batch_state},
    {"reason", cmd_reason},
    {"refused", cmd_refused},
};

static void line_run(struct story *s, char *line)
{
	auto_free char *copy = mem_strdup(line);
	char *save = NULL;

	if (line[0] == '#')
		return;
	s->n_words = 0;
	for (char *w = strtok_r(line, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		assert_true(s->n_words < WORDS_MAX);
		/* The rest as it was written, blanks and all. */
		if (s->n_words == 2)
			s->rest = copy + (w - line);
		s->words[s->n_words++] = w;
	}
	if (s->n_words == 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, s->words[0]) == 0) {
			commands[i].run(s);
			return;
		}
	}
	STORY_FAIL(s, "unknown command %s", s->words[0]);
}

static void story_run(const char *file)
{
	struct story s = {.file = file,
			  .now = 1800000000000,
			  .sched = sched_create(&(struct sched_options){.stop_grace_ms = 10000}),
			  .list = gpu_list_create()};
	auto_text struct text text = {};
	struct error err = {};
	char *save = NULL;

	s.list->state = GPU_SOURCE_OK;
	sample(&s);
	if (file_read(file, 1 << 20, false, &text, &err) < 0)
		fail_msg("%s", err.text);
	/* Empty lines count too: no strtok. */
	for (char *line = text.data; line; line = save) {
		save = strchr(line, '\n');
		if (save)
			*save++ = '\0';
		s.line++;
		line_run(&s, line);
	}
	sched_destroy(s.sched);
	gpu_list_destroy(s.list);
}

static void test_stories(void **state)
{
	const char *root = getenv("PLIMSOLL_SOURCE");
	auto_free char *pattern = NULL;
	glob_t found;

	(void)state;
	if (!root)
		skip();
	pattern = mem_printf("%s/tests/cases/sched/*.case", root);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		story_run(found.gl_pathv[i]);
	printf("# %zu stories\n", found.gl_pathc);
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
