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

#define WORDS_MAX 16
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

static uint64_t id_at(struct story *s, size_t i, bool batch)
{
	for (size_t k = 0; k < s->n_names; k++) {
		if (s->names[k].is_batch == batch && strcmp(s->names[k].name, word(s, i)) == 0)
			return s->names[k].id;
	}
	STORY_FAIL(s, "nothing is called %s", word(s, i));
	return 0;
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

static struct sched_spec spec_at(struct story *s, size_t at, enum sched_on_failure *on_failure)
{
	static const char *const argv[] = {"true", NULL};
	struct sched_spec spec = {
	    .name = word(s, 1), .argv = argv, .policy = PLACE_FIRST_FIT, .request = {.gpus = 1}};
	struct error err = {};
	int r = 0;

	if (strcmp(word(s, at), "cpu") == 0) {
		spec.request.gpus = 0;
		spec.request.cpu = PLACE_CPU_ONLY;
	} else {
		spec.request.vram_bytes = size_at(s, at);
	}
	for (size_t i = at + 1; r == 0 && i < s->n_words; i++) {
		char *value = strchr(s->words[i], '=');
		const char *key = s->words[i];

		if (value)
			*value++ = '\0';
		if (strcmp(key, "priority") == 0)
			spec.priority = value && *value == '-' ? -(int)number(s, value + 1)
							       : (int)number(s, value);
		else if (strcmp(key, "pin") == 0)
			spec.request.pin_uuid = gpu_name(number(s, value));
		else if (strcmp(key, "gpus") == 0)
			spec.request.gpus = number(s, value);
		else if (strcmp(key, "exclusive") == 0)
			spec.request.exclusive = true;
		else if (strcmp(key, "retries") == 0)
			spec.retries = number(s, value);
		else if (strcmp(key, "held") == 0)
			spec.held = true;
		else if (strcmp(key, "threads") == 0)
			spec.request.threads = number(s, value);
		else if (strcmp(key, "max") == 0)
			spec.request.max_per_gpu = number(s, value);
		else if (strcmp(key, "policy") == 0)
			r = place_policy_parse(value, &spec.policy, &err);
		else if (strcmp(key, "on") == 0 && on_failure)
			r = sched_on_failure_parse(value, on_failure, &err);
		else
			STORY_FAIL(s, "unknown option %s", key);
	}
	if (r < 0)
		STORY_FAIL(s, "%s", err.text);
	return spec;
}

static void cmd_submit(struct story *s)
{
	struct sched_spec spec = spec_at(s, 2, NULL);
	struct error err = {};
	uint64_t id = 0;

	if (sched_submit(s->sched, &spec, s->now, &id, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	name_add(s, word(s, 1), 0, id, false);
}

static void cmd_batch(struct story *s)
{
	struct sched_spec specs[32];
	unsigned n = number(s, word(s, 2));
	struct sched_batch_spec batch = {.name = word(s, 1), .tasks = specs, .n_tasks = n};
	struct sched_spec spec = spec_at(s, 3, &batch.on_failure);
	struct error err = {};
	uint64_t id = 0, first = 0;

	assert_true(n <= ARRAY_LEN(specs));
	for (unsigned i = 0; i < n; i++) {
		specs[i] = spec;
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
	int wanted = strcmp(word(s, 2), "kill") == 0 ? SIGKILL : SIGTERM;
	const struct sched_action *actions;
	size_t n;

	(void)sched_step(s->sched, s->now);
	actions = sched_actions(s->sched, &n);
	if (n != 1 || actions[0].type != SCHED_SIGNAL || actions[0].signal != wanted ||
	    actions[0].task != id_at(s, 1, false))
		STORY_FAIL(s, "%zu actions, not this signal", n);
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
	if (sched_outcome_parse(word(s, 2), &end.outcome, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	end.exit_code = end.outcome != SCHED_OK;
	if (sched_ended(s->sched, &end, s->now) < 0)
		STORY_FAIL(s, "%s was not running", word(s, 1));
	/* The daemon asks for a sample at each end. */
	s->now++;
	sample(s);
}

static void cmd_wish(struct story *s)
{
	const char *wish = word(s, 0);
	bool batch = strstr(wish, "batch") || strstr(wish, "continue");
	uint64_t id = id_at(s, 1, batch);
	struct error err = {};
	int r;

	if (strcmp(wish, "cancel") == 0)
		r = sched_cancel(s->sched, id, s->now, &err);
	else if (strcmp(wish, "hold") == 0)
		r = sched_hold(s->sched, id, s->now, &err);
	else if (strcmp(wish, "release") == 0)
		r = sched_release(s->sched, id, s->now, &err);
	else if (strcmp(wish, "cancel-batch") == 0)
		r = sched_batch_cancel(s->sched, id, s->now, &err);
	else
		r = sched_batch_continue(s->sched, id, strcmp(wish, "continue-all") == 0, s->now,
					 &err);
	if (r < 0)
		STORY_FAIL(s, "%s", err.text);
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
	int64_t ms = 0;
	struct error err = {};

	if (duration_parse(word(s, 1), &ms, &err) < 0)
		STORY_FAIL(s, "%s", err.text);
	s->now += ms;
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

static void cmd_refused(struct story *s)
{
	static const char *const argv[] = {"true", NULL};
	const struct sched_spec spec = {.argv = argv,
					.request = {.gpus = 1, .vram_bytes = size_at(s, 1)}};
	struct error err = {};
	uint64_t id;

	if (sched_submit(s->sched, &spec, s->now, &id, &err) == 0)
		STORY_FAIL(s, "was accepted");
	if (!strstr(err.text, s->rest))
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
