/*
 * What programs print when memory runs out, and what only sounds like it: the texts of
 * tests/cases/oom (made after those that programs are known to print), and the real logs of
 * log-corpus where it lies beside the checkout. For those a table of what was said about each kind;
 * `test-run_oom_texts FOLDER` prints that of any folder of the same form.
 */
#include "run/oom.h"
#include "util/file.h"
#include "util/yamlx.h"

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAX ((size_t)1 << 20)

static struct oom_patterns *patterns;
static const char *corpus; /* as given on the command line */

static int setup(void **state)
{
	struct error err;
	int r = oom_patterns_load(NULL, NULL, 0, &patterns, &err);

	(void)state;
	if (r < 0)
		print_message("# %s\n", err.text);
	return r;
}

static int teardown(void **state)
{
	(void)state;
	oom_patterns_destroy(patterns);
	return 0;
}

/* --- tests/cases/oom --- */

static uint64_t case_number(const struct yamlx *doc, const struct yamlx_node *node, const char *key,
			    uint64_t otherwise)
{
	const struct yamlx_node *value = yamlx_get(node, key);
	uint64_t bytes = otherwise;
	struct error err;

	if (value && value->text[strspn(value->text, "0123456789")] == '\0')
		return strtoull(value->text, NULL, 10);
	if (value && yamlx_size(doc, value, &bytes, &err) < 0)
		fail_msg("%s", err.text);
	return bytes;
}

static const char *case_text(const struct yamlx_node *node, const char *key, const char *otherwise)
{
	const struct yamlx_node *value = yamlx_get(node, key);

	return value ? value->text : otherwise;
}

/* Sizes are read with two decimals: a little of the last one is lost. */
static bool size_close(uint64_t a, uint64_t b)
{
	uint64_t low = MIN_OF(a, b), high = MAX_OF(a, b);

	return high - low <= high / 200;
}

static unsigned check_case(const struct yamlx *doc, const struct yamlx_node *node)
{
	static const char *const keys[] = {
	    "log",       "outcome", "pattern",  "requested", "used",     "exit",      "signal",
	    "oom-kills", "on-cpu",  "gpu-peak", "gpu-total", "own-peak", "own-limit", NULL};
	const char *log = case_text(node, "log", NULL), *outcome = case_text(node, "outcome", NULL);
	const char *pattern = case_text(node, "pattern", NULL);
	uint64_t requested = case_number(doc, node, "requested", 0);
	uint64_t used = case_number(doc, node, "used", 0);
	struct oom_evidence evidence = {
	    .exit_code = (int)case_number(doc, node, "exit", 1),
	    .signal = (int)case_number(doc, node, "signal", 0),
	    .oom_kills = (unsigned)case_number(doc, node, "oom-kills", 0),
	    .oom_kills_known = yamlx_get(node, "oom-kills"),
	    .on_cpu = yamlx_get(node, "on-cpu"),
	    .gpu_peak_bytes = case_number(doc, node, "gpu-peak", 0),
	    .gpu_total_bytes = case_number(doc, node, "gpu-total", 0),
	    .own_peak_bytes = case_number(doc, node, "own-peak", 0),
	    .own_limit_bytes = case_number(doc, node, "own-limit", 0),
	};
	struct oom_verdict verdict;
	struct error err;

	if (yamlx_check_keys(doc, node, keys, &err) < 0)
		fail_msg("%s", err.text);
	if (!log || !outcome)
		fail_msg("%s:%u: \"log\" or \"outcome\" is missing", doc->name, node->line);
	evidence.log = log;
	evidence.log_len = strlen(log);
	oom_classify(patterns, &evidence, &verdict);
	if (strcmp(oom_outcome_name(verdict.outcome), outcome) == 0 &&
	    (!pattern || strcmp(pattern, verdict.pattern) == 0) &&
	    verdict.has_requested == (requested > 0) &&
	    size_close(verdict.requested_bytes, requested) && verdict.has_used == (used > 0) &&
	    size_close(verdict.used_bytes, used))
		return 0;
	print_message("# %s:%u: %s by \"%s\", %llu bytes, had %llu\n", doc->name, node->line,
		      oom_outcome_name(verdict.outcome), verdict.pattern,
		      (unsigned long long)verdict.requested_bytes,
		      (unsigned long long)verdict.used_bytes);
	return 1;
}

static void check_cases(const char *name, size_t at_least)
{
	auto_free char *path =
	    mem_printf("%s/tests/cases/oom/%s.yaml", getenv("PLIMSOLL_SOURCE"), name);
	auto_yamlx struct yamlx *doc = NULL;
	unsigned wrong = 0;
	struct error err;

	if (yamlx_load(path, &doc, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(doc->root->type, YAMLX_SEQUENCE);
	assert_true(doc->root->n >= at_least);
	for (size_t i = 0; i < doc->root->n; i++)
		wrong += check_case(doc, doc->root->items[i]);
	assert_int_equal(wrong, 0);
}

static void test_gpu(void **state)
{
	(void)state;
	check_cases("gpu", 60);
}

static void test_host(void **state)
{
	(void)state;
	check_cases("host", 25);
}

static void test_had(void **state)
{
	(void)state;
	check_cases("had", 25);
}

static void test_false_friends(void **state)
{
	(void)state;
	check_cases("false-friends", 30);
}

static void test_forms(void **state)
{
	(void)state;
	check_cases("forms", 15);
}

/* --- the real logs --- */

static const struct {
	const char *folder;
	bool right[OOM_LOST + 1]; /* what may be said about them */
} kinds[] = {
    {"oom", {[OOM_GPU] = true}},
    /* Of the GPU's memory, that is: some of these lacked RAM. */
    {"not-oom", {[OOM_ERROR] = true, [OOM_HOST] = true}},
    {"host-oom", {[OOM_HOST] = true}},
};

struct tally {
	unsigned n, said[OOM_LOST + 1], right, sizes, sizes_right;
};

/* Is `bytes` one of "11811160064,10630043648"? */
static bool size_listed(const char *list, uint64_t bytes)
{
	for (const char *p = list; *p; p += *p == ',') {
		char *end;

		if (size_close(strtoull(p, &end, 10), bytes) || end == p)
			return end != p;
		p = end;
	}
	return false;
}

static void check_log(const char *folder, size_t kind, const char *name, const char *sizes,
		      struct tally *tally)
{
	auto_free char *path = mem_printf("%s/%s/%s", folder, kinds[kind].folder, name);
	auto_text struct text log = {};
	struct oom_evidence evidence = {.exit_code = 1};
	struct oom_verdict verdict;
	struct error err;

	if (file_read(path, LOG_MAX, false, &log, &err) < 0)
		fail_msg("%s", err.text);
	evidence.log = log.data;
	evidence.log_len = log.len;
	oom_classify(patterns, &evidence, &verdict);
	tally->n++;
	tally->said[verdict.outcome]++;
	tally->right += kinds[kind].right[verdict.outcome];
	if (!kinds[kind].right[verdict.outcome])
		print_message("# %s: %s by %s: %s\n", path, oom_outcome_name(verdict.outcome),
			      verdict.pattern, verdict.line);
	if (!sizes[0])
		return;
	tally->sizes++;
	tally->sizes_right += verdict.has_requested && size_listed(sizes, verdict.requested_bytes);
	if (!verdict.has_requested || !size_listed(sizes, verdict.requested_bytes))
		print_message("# %s: %llu bytes, not %s\n", path,
			      (unsigned long long)verdict.requested_bytes, sizes);
}

static void check_kind(const char *folder, size_t kind, struct tally *tally)
{
	auto_free char *path = mem_printf("%s/%s/index.tsv", folder, kinds[kind].folder);
	auto_text struct text index = {};
	struct error err;
	char *line, *rest;

	if (file_read(path, LOG_MAX, false, &index, &err) < 0)
		fail_msg("%s", err.text);
	(void)strtok_r(index.data, "\n", &rest);
	while ((line = strtok_r(NULL, "\n", &rest))) {
		const char *name = strsep(&line, "\t"), *expected = strsep(&line, "\t");
		const char *sizes = strsep(&line, "\t");

		assert_non_null(sizes);
		assert_string_equal(expected, kinds[kind].folder);
		check_log(folder, kind, name, sizes, tally);
	}
}

static void test_real_logs(void **state)
{
	const char *source = getenv("PLIMSOLL_SOURCE");
	auto_free char *beside = mem_printf("%s/../shared/log-corpus", source ? source : ".");
	const char *folder = corpus ? corpus : beside;
	struct tally tallies[ARRAY_LEN(kinds)] = {};

	(void)state;
	if (access(folder, F_OK) < 0) {
		print_message("# SKIP: no log-corpus beside the checkout\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		check_kind(folder, i, &tallies[i]);
	print_message("# %-9s %5s %5s %9s %6s %7s  %s\n", "logs of", "n", "oom", "host-oom",
		      "error", "right", "sizes");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct tally *tally = &tallies[i];

		print_message("# %-9s %5u %5u %9u %6u %6.1f%%  %u of %u\n", kinds[i].folder,
			      tally->n, tally->said[OOM_GPU], tally->said[OOM_HOST],
			      tally->said[OOM_ERROR], 100.0 * tally->right / MAX_OF(tally->n, 1u),
			      tally->sizes_right, tally->sizes);
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		assert_int_equal(tallies[i].right, tallies[i].n);
		assert_int_equal(tallies[i].sizes_right, tallies[i].sizes);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gpu),   cmocka_unit_test(test_host),
	    cmocka_unit_test(test_had),   cmocka_unit_test(test_false_friends),
	    cmocka_unit_test(test_forms), cmocka_unit_test(test_real_logs),
	};
	const struct CMUnitTest only_logs[] = {cmocka_unit_test(test_real_logs)};

	corpus = argc > 1 ? argv[1] : NULL;
	/* As the docs have it: in the checkout, by hand. */
	if (!getenv("PLIMSOLL_DATADIR") && access("data/oom-patterns.yaml", R_OK) == 0) {
		auto_free char *here = realpath("data", NULL);

		assert_int_equal(setenv("PLIMSOLL_DATADIR", here, 0), 0);
	}
	return corpus ? cmocka_run_group_tests(only_logs, setup, teardown)
		      : cmocka_run_group_tests(tests, setup, teardown);
}
