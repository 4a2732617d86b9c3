/* When, how long, how often and on which GPUs: from options to the members of a body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/conditions.h"
#include "cli/target.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>

static const struct option_spec later[] = {CONDITIONS_OPTIONS, CONDITIONS_LATER_OPTIONS, {}};
static const struct option_spec now[] = {CONDITIONS_OPTIONS, CONDITIONS_NOT_LATER_OPTIONS, {}};

static int parse(const struct option_spec *specs, const char *words, struct options *options,
		 struct error *err)
{
	/* Kept for the test's life: options borrow their texts. */
	static char text[512];
	char *argv[32], *rest = text;
	int argc = 0;

	(void)snprintf(text, sizeof text, "%s", words);
	for (char *word; (word = strsep(&rest, " ")) && argc < 32;)
		argv[argc++] = word;
	return options_parse(specs, OPTIONS_COMMAND, argc, argv, options, err);
}

/* Both parts of a body, as {"body", "request"}. */
static int build(const char *words, const char *where, json_t **ret_both, struct error *err)
{
	auto_options struct options options = {};
	auto_json json_t *both = json_pack("{s:{}, s:{}}", "body", "request");
	int r = parse(later, words, &options, err);

	if (r == 0)
		r = conditions_add(&options, json_object_get(both, "body"), err);
	if (r == 0)
		r = conditions_add_wishes(&options, where, json_object_get(both, "request"), err);
	if (r == 0)
		*ret_both = TAKE(both);
	return r;
}

static void test_what_is_sent(void **state)
{
	static const struct {
		const char *words, *body, *request;
	} cases[] = {
	    {"true", "{}", "{}"},
	    {"--after 12-14,b3 --after 20 true",
	     "{\"after\": {\"tasks\": [12, 13, 14, 20], \"batches\": [3], \"on\": \"success\", "
	     "\"any\": false}}",
	     "{}"},
	    {"--after batch:7 --after-any --after-on end true",
	     "{\"after\": {\"tasks\": [], \"batches\": [7], \"on\": \"end\", \"any\": true}}",
	     "{}"},
	    {"--soft-time-limit 5.5h --time-limit 6h --soft-signal usr1 true",
	     "{\"soft_limit_seconds\": 19800.0, \"time_limit_seconds\": 21600.0, "
	     "\"soft_signal\": \"SIGUSR1\"}",
	     "{}"},
	    {"--retries 3 --retry-delay 2.5 --hold --private true",
	     "{\"retries\": 3, \"retry_delay_seconds\": 2.5, \"held\": true, \"private\": true}",
	     "{}"},
	    {"--retries 3 --retry-delay 0 true", "{\"retries\": 3, \"retry_delay_seconds\": 0.0}",
	     "{}"},
	    {"--prefer 1,0 --prefer cuda:2 --avoid 3 --forbid GPU-a true", "{}",
	     "{\"prefer\": [\"1\", \"0\", \"cuda:2\"], \"avoid\": [\"3\"], \"forbid\": "
	     "[\"GPU-a\"]}"},
	    {"--model A100,H100 --model 5070 --compute-capability 8.0-12.1 true", "{}",
	     "{\"models\": [\"A100\", \"H100\", \"5070\"], \"compute_capability_min\": \"8.0\", "
	     "\"compute_capability_max\": \"12.1\"}"},
	    {"--compute-capability 8 --start-lock --stagger 10s true", "{}",
	     "{\"compute_capability_min\": \"8.0\", \"start_lock\": true, "
	     "\"stagger_seconds\": 10.0}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *body = json_loads(cases[i].body, 0, NULL);
		auto_json json_t *request = json_loads(cases[i].request, 0, NULL), *both = NULL;
		struct error err = {};

		assert_true(body && request);
		if (build(cases[i].words, "", &both, &err) < 0)
			fail_msg("%s: %s", cases[i].words, err.text);
		if (!json_equal(json_object_get(both, "body"), body) ||
		    !json_equal(json_object_get(both, "request"), request))
			fail_msg("%s: %s", cases[i].words, json_dumps(both, 0));
	}
}

static void test_what_is_refused(void **state)
{
	static const struct {
		const char *words, *where, *said;
	} cases[] = {
	    {"--after x true", "", "--after: \"x\" is neither a task (17) nor a batch (b3)"},
	    {"--after 3, true", "", "--after: \"\" is neither"},
	    {"--after 9-3 true", "", "the range ends before it begins"},
	    {"--after b1-b3 true", "", "a range is one of tasks"},
	    {"--after 1-999999 true", "", "holds more than 100000"},
	    {"--after-any true", "", "--after-any goes with --after"},
	    {"--after-on end true", "", "--after-on goes with --after"},
	    {"--after-on luck true", "", "\"luck\" is not one of success, failure, end"},
	    {"--at 2001-01-01T00:00:00Z true", "", "--at: 2001-01-01T00:00:00Z has passed"},
	    {"--at noon true", "", "--at: \"noon\" is no time to come"},
	    {"--time-limit 1h --soft-time-limit 90m true", "",
	     "--soft-time-limit 90m is not before --time-limit 1h"},
	    {"--time-limit 0 true", "", "leaves no time to run"},
	    {"--soft-signal USR1 true", "", "--soft-signal goes with --soft-time-limit"},
	    {"--soft-time-limit 5 --soft-signal LUCK true", "", "--soft-signal: \"LUCK\" is not"},
	    {"--retry-delay 5 true", "", "--retry-delay goes with --retries"},
	    {"--retries 101 true", "", "101 is not between 0 and 100"},
	    {"--prefer 1,,2 true", "", "--prefer: \"1,,2\" holds an empty name"},
	    {"--compute-capability 8.00 true", "", "is not one (8.0), nor two"},
	    {"--compute-capability 8.0- true", "", "is not one (8.0), nor two"},
	    {"--prefer 1 true", "--device 2",
	     "--device 2 says already where it runs: leave out "
	     "--prefer"},
	    {"--model A100 true", "--cpu only", "--cpu only says already"},
	    {"--start-lock true", "--cpu only", "--cpu only takes no GPU: leave out --start-lock"},
	    {"--stagger 5 true", "--device cpu", "--device cpu takes no GPU"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *both = NULL;
		struct error err = {};

		if (build(cases[i].words, cases[i].where, &both, &err) != -EINVAL ||
		    !strstr(err.text, cases[i].said))
			fail_msg("%s: \"%s\"", cases[i].words, err.text);
	}
}

static void test_at_is_sent_in_utc(void **state)
{
	auto_json json_t *both = NULL;
	int64_t before = timestamp_now_ms(), at;

	(void)state;
	assert_int_equal(build("--at +2h true", "", &both, NULL), 0);
	at = jsonx_get_time(json_object_get(both, "body"), "at");
	assert_true(at >= before + 7200000 && at <= timestamp_now_ms() + 7200000);
}

/* What one verb cannot do is refused by name, and not offered. */
static void test_refused_for_a_verb(void **state)
{
	auto_options struct options options = {};
	auto_text struct text help = {};
	struct error err = {};

	(void)state;
	assert_int_equal(parse(now, "--hold true", &options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--hold: run waits for the end on the spot"));
	assert_int_equal(parse(now, "--at=17:30 true", &options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "plimsoll submit --at"));
	options_describe(now, &help);
	assert_null(strstr(help.data, "--hold"));
	assert_non_null(strstr(help.data, "--after"));
}

static void test_several_targets(void **state)
{
	auto_targets struct targets targets = {};
	struct error err = {};

	(void)state;
	assert_int_equal(targets_parse_list("t17,20-22,b3,batch:4", &targets, &err), 0);
	assert_int_equal(targets.n, 6);
	assert_int_equal(targets.items[3].id, 22);
	assert_true(targets.items[4].is_batch && targets.items[5].is_batch);
	assert_int_equal(targets.items[5].id, 4);
	for (size_t i = targets.n; i < TARGETS_MAX; i++)
		assert_int_equal(targets_add(&targets, "5", &err), 0);
	assert_int_equal(targets_add(&targets, "5", &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_sent),      cmocka_unit_test(test_what_is_refused),
	    cmocka_unit_test(test_at_is_sent_in_utc), cmocka_unit_test(test_refused_for_a_verb),
	    cmocka_unit_test(test_several_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
