/* src/config: plimsoll.yaml as data, hours of the week, and what is refused with its place. */
#include "config/rule.h"

#include "util/size.h"

#include "unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define AT(day, hour, minute) ((((day)*24) + (hour)) * 60 + (minute))
enum { MON, TUE, WED, THU, FRI, SAT, SUN };

static struct config *parse(const char *text)
{
	struct config *config = NULL;
	struct error err = {};

	if (config_parse(text, strlen(text), "p.yaml", &config, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return config;
}

static void check_refused(const char *text, const char *told)
{
	struct config *config = NULL;
	struct error err = {};

	assert_true(config_parse(text, strlen(text), "p.yaml", &config, &err) < 0);
	assert_null(config);
	if (!strstr(err.text, told))
		fail_msg("%s: said \"%s\", not \"%s\"", text, err.text, told);
}

static struct hours hours_of(const char *text)
{
	struct hours hours = {};
	struct error err = {};

	if (hours_add(&hours, text, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return hours;
}

static void all_keys_are_read(void **state)
{
	auto_config struct config *c =
	    parse("gpus:\n"
		  "  - gpu: 1\n"
		  "    role: display\n"
		  "    reserve: 1536M\n"
		  "    task_vram_max: 4GiB\n"
		  "    tasks_max: 2\n"
		  "    hours: [mon-fri 19:00-07:00, 'sat,sun']\n"
		  "  - model: A400\n"
		  "    role: off\n"
		  "queue: {ageing: 30m, fair_share: off, reserve_after: 10m,"
		  " stagger: 2s}\n"
		  "users:\n"
		  "  default: {running_max: 4, queued_max: 1000}\n"
		  "  ann: {weight: 2, gpus_max: 1, vram_max: 12G}\n"
		  "overrun: {on_overrun: stop, tolerance: 300M, samples: 5}\n"
		  "keep: {ended_tasks: 5000, archived_tasks: 0, days: 30}\n");

	assert_int_equal(c->n_gpus, 2);
	assert_string_equal(c->gpus[0].gpu, "1");
	assert_string_equal(c->gpus[0].where, "p.yaml:2:5");
	assert_int_equal(c->gpus[0].role, CONFIG_DISPLAY);
	assert_true(c->gpus[0].has_reserve);
	assert_int_equal(c->gpus[0].reserve_bytes, 1536 * MIB);
	assert_int_equal(c->gpus[0].task_vram_max_bytes, 4 * GIB);
	assert_int_equal(c->gpus[0].tasks_max, 2);
	assert_true(c->gpus[0].has_hours);
	assert_string_equal(c->gpus[1].model, "A400");
	assert_int_equal(c->gpus[1].role, CONFIG_OFF);
	assert_false(c->gpus[1].has_reserve);
	assert_int_equal(c->queue.ageing_ms, 30 * 60000);
	assert_int_equal(c->queue.fair_share_ms, -1);
	assert_int_equal(c->queue.reserve_after_ms, 600000);
	assert_int_equal(c->queue.stagger_ms, 2000);
	assert_int_equal(c->limits.running_max, 4);
	assert_int_equal(c->n_users, 1);
	assert_string_equal(c->users[0].name, "ann");
	assert_int_equal(c->users[0].limits.running_max, 4); /* from the default */
	assert_int_equal(c->users[0].limits.gpus_max, 1);
	assert_int_equal(c->users[0].limits.vram_max_bytes, 12 * GIB);
	assert_true(c->users[0].limits.weight == 2);
	assert_int_equal(c->keep.ended_tasks, 5000);
	assert_int_equal(c->keep.days, 30);
	assert_int_equal(c->overrun.on, CONFIG_OVERRUN_STOP);
	assert_int_equal(c->overrun.tolerance_bytes, 300 * MIB);
	assert_int_equal(c->overrun.samples, 5);
}

static char *file_of(const char *folder, const char *name, const char *text)
{
	char *path = mem_printf("%s/%s", folder, name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return path;
}

/* A later file's `default` holds for whom an earlier one names, but for what that says of him. */
static void defaults_of_all_files_hold_for_all(void **state)
{
	char folder[] = "/tmp/plimsoll-config-XXXXXX";
	auto_config struct config *c = NULL;
	auto_free char *first = NULL, *second = NULL;
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(folder));
	first = file_of(folder, "a.yaml",
			"users:\n"
			"  default: {running_max: 4, queued_max: 1000}\n"
			"  ann: {weight: 2, running_max: 6, vram_max: 12G}\n"
			"  bob: {running_max: 0}\n");
	second = file_of(folder, "b.yaml",
			 "users:\n"
			 "  ann: {gpus_max: 1, weight: 3}\n"
			 "  default: {running_max: 8, gpus_max: 2}\n"
			 "  eve: {}\n");
	assert_int_equal(config_load((const char *const[]){first, second, NULL}, &c, &err), 0);
	(void)unlink(first);
	(void)unlink(second);
	(void)rmdir(folder);
	assert_int_equal(c->n_users, 3);
	assert_int_equal(c->users[0].limits.running_max, 6);
	assert_int_equal(c->users[0].limits.queued_max, 1000);
	assert_int_equal(c->users[0].limits.gpus_max, 1);
	assert_int_equal(c->users[0].limits.vram_max_bytes, 12 * GIB);
	assert_true(c->users[0].limits.weight == 3);
	assert_int_equal(c->users[1].limits.running_max, 0); /* none, whatever holds for others */
	assert_int_equal(c->users[1].limits.gpus_max, 2);
	assert_int_equal(c->users[2].limits.running_max, 8);
	assert_int_equal(c->users[2].limits.queued_max, 1000);
}

static void nothing_is_a_configuration_too(void **state)
{
	auto_config struct config *empty = parse("");
	auto_config struct config *comment = parse("# nothing yet\n");

	assert_int_equal(empty->n_gpus + empty->n_users + comment->n_gpus, 0);
	assert_int_equal(empty->queue.ageing_ms, 0);
}

static void faults_name_their_place(void **state)
{
	check_refused("gpu: 1\n", "p.yaml:1:1");
	check_refused("gpus:\n  - gpu: 0\n    resrve: 1G\n", "p.yaml:3:5");
	check_refused("gpus:\n  - gpu: 0\n    reserve: 12\n", "p.yaml:3:14");
	check_refused("gpus:\n  - reserve: 1G\n", "either a `gpu`");
	check_refused("gpus:\n  - {gpu: 0, model: A400}\n", "either a `gpu`");
	check_refused("gpus: {gpu: 0}\n", "is a list");
	check_refused("gpus:\n  - {gpu: 0, role: displ}\n", "none of compute, display, off");
	check_refused("gpus:\n  - {gpu: 0, tasks_max: 1.5}\n", "whole number");
	check_refused("gpus:\n  - {gpu: 0, hours: '25:00-26:00'}\n", "no span of hours");
	check_refused("queue: {ageing: never}\n", "p.yaml:1:17");
	check_refused("queue: {ageing: on}\n", "`off` turns it off");
	check_refused("gpus:\n  - {gpu: 0, hours: []}\n", "names no hours: write some");
	check_refused("users: {ann: {weight: 0}}\n", "p.yaml:1:23");
	check_refused("users: [ann]\n", "is a mapping");
	check_refused("keep: 3\n", "a mapping");
	check_refused("overrun: {on_overrun: kill}\n", "\"kill\" is none of auto, warn, stop");
	check_refused("overrun: {tolerance: 5}\n", "p.yaml:1:22");
	check_refused("overrun: {samples: -1}\n", "p.yaml:1:20");
}

static struct ledger_rule rule_of(const char *text, unsigned minute)
{
	auto_config struct config *config = parse(text);
	struct gpu gpus[] = {{.index = 0, .uuid = "GPU-1a", .name = "NVIDIA RTX A400"}};
	const struct gpu_list list = {.gpus = gpus, .n = 1};
	struct ledger_rule rule;

	config_rule(config, &list, 0, minute, &rule);
	assert_string_equal(rule.uuid, "GPU-1a");
	return rule;
}

/* Of each key what the last entry says that names it, whichever way it names the GPU. */
static void entries_about_one_gpu_add_up(void **state)
{
	struct ledger_rule rule;

	(void)state;
	rule = rule_of("gpus:\n"
		       "  - {model: a400, role: off}\n"
		       "  - {gpu: 0, hours: '09:00-17:00', tasks_max: 2}\n",
		       AT(MON, 12, 0));
	assert_true(rule.closed && strstr(rule.text, "switched off by p.yaml:2:5"));
	assert_int_equal(rule.max_tasks, 2);
	rule = rule_of("gpus:\n"
		       "  - {gpu: 0, role: off, hours: '09:00-17:00'}\n"
		       "  - {gpu: GPU-1a, role: compute}\n",
		       AT(MON, 12, 0));
	assert_false(rule.closed || rule.has_reserve);
	rule = rule_of("gpus:\n"
		       "  - {gpu: 0, reserve: 4GiB, hours: '09:00-17:00'}\n"
		       "  - {gpu: 0, role: display}\n"
		       "  - {gpu: 1, role: off}\n",
		       AT(MON, 18, 0));
	assert_int_equal(rule.reserve_bytes, 4 * GIB);
	assert_true(rule.closed && strstr(rule.text, "opens at 09:00"));
	rule = rule_of("gpus:\n  - {gpu: 0, role: display}\n", AT(MON, 18, 0));
	assert_true(rule.has_reserve && rule.reserve_bytes >= CONFIG_DISPLAY_RESERVE);
}

static void hours_of_one_day(void **state)
{
	struct hours h = hours_of("09:00-17:30");

	assert_false(hours_is_open(&h, AT(MON, 8, 59)));
	assert_true(hours_is_open(&h, AT(MON, 9, 0)));
	assert_true(hours_is_open(&h, AT(SUN, 17, 29)));
	assert_false(hours_is_open(&h, AT(SUN, 17, 30)));
	assert_int_equal(hours_until_change(&h, AT(TUE, 8, 0)), 60);
	assert_int_equal(hours_until_change(&h, AT(TUE, 17, 0)), 30);
}

static void hours_over_midnight_belong_to_the_day_they_begin(void **state)
{
	struct hours h = hours_of("mon-fri 22:00-08:00");

	assert_true(hours_is_open(&h, AT(FRI, 23, 0)));
	assert_true(hours_is_open(&h, AT(SAT, 7, 59)));
	assert_false(hours_is_open(&h, AT(SAT, 8, 0)));
	assert_false(hours_is_open(&h, AT(SAT, 23, 0)));
	assert_false(hours_is_open(&h, AT(MON, 7, 0)));
	assert_int_equal(hours_until_change(&h, AT(SAT, 8, 0)), (24 - 8 + 24 + 22) * 60);
	h = hours_of("sun 23:00-01:00"); /* and over the end of the week */
	assert_true(hours_is_open(&h, AT(MON, 0, 59)));
	assert_false(hours_is_open(&h, AT(MON, 1, 0)));
}

static void days_may_wrap_and_be_listed(void **state)
{
	struct hours h = hours_of("sat-mon,WED");

	assert_true(hours_is_open(&h, AT(SUN, 12, 0)));
	assert_true(hours_is_open(&h, AT(MON, 23, 59)));
	assert_false(hours_is_open(&h, AT(TUE, 0, 0)));
	assert_true(hours_is_open(&h, AT(WED, 0, 0)));
	h = hours_of("00:00-24:00");
	assert_int_equal(hours_until_change(&h, 0), 0);
}

static void bad_hours_change_nothing(void **state)
{
	static const char *const bad[] = {
	    "",
	    "9-17",
	    "09:00",
	    "09:00-09:00",
	    "monday",
	    "mon tue",
	    "mon-",
	    "09:60-10:00",
	    "mon 9:00-10:00x",
	    "24:00-02:00",
	    "09:00-24:01",
	    "-1:00-02:00",
	    "+1:00-02:00",
	    "mon,",
	    "09:00 - 10:00",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct hours h = {};
		struct error err = {};

		if (hours_add(&h, bad[i], &err) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(hours_until_change(&h, 0), 0);
		assert_false(hours_is_open(&h, 0));
		assert_true(err.text[0] != '\0');
	}
}

static void patterns_are_read(void **state)
{
	auto_config struct config *c =
	    parse("oom:\n"
		  "  patterns:\n"
		  "    - {id: arena, kind: gpu, text: 'arena wants {size} more'}\n"
		  "    - {id: quiet, kind: ignore, text: 'arena full*going on'}\n");

	(void)state;
	assert_int_equal(c->n_patterns, 2);
	assert_string_equal(c->patterns[0].id, "arena");
	assert_string_equal(c->patterns[0].text, "arena wants {size} more");
	assert_string_equal(c->patterns[1].kind, "ignore");
	assert_string_equal(c->patterns[1].where, "p.yaml:4:7");
}

static void wrong_patterns_have_a_place(void **state)
{
	(void)state;
	check_refused("oom: 3\n", "p.yaml:1:6: `oom` is");
	check_refused("oom: {pattern: []}\n", "p.yaml:1:7: ");
	check_refused("oom: {patterns: {}}\n", "p.yaml:1:17: `patterns`");
	check_refused("oom:\n  patterns:\n    - x\n", "p.yaml:3:7: {id, kind, text}");
	check_refused("oom: {patterns: [{id: a, kind: gpu}]}\n", "needs \"text\"");
	check_refused("oom: {patterns: [{id: a, kind: vram, text: abc}]}\n",
		      "p.yaml:1:32: `kind` is");
	check_refused("oom: {patterns: [{id: a, kind: gpu, text: 'ab*c'}]}\n",
		      "p.yaml:1:43: `text` does not begin");
	check_refused("oom: {patterns: [{id: a, kind: gpu, text: 'x {size}'}]}\n",
		      "`text` does not begin");
	check_refused("oom: {patterns: [{id: a, kind: size, text: abc}]}\n",
		      "`text` has no {size}");
	check_refused("oom: {patterns: [{id: '', kind: gpu, text: abc}]}\n", "`id` has");
	check_refused("oom: {patterns: [{id: a, kind: gpu, text: \"abc\\n\"}]}\n",
		      "control characters");
}

static void every_kind_of_pattern_is_known(void **state)
{
	static const char *const words[] = {"host-sure", "gpu",     "host",     "either",
					    "weak",      "suspect", "probe",    "host-suspect",
					    "ignore",    "advice",  "gpu-word", "recovered"};
	static const char *const sizes[] = {"size", "total", "used", "part", "part-first"};
	char text[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		auto_config struct config *c = NULL;

		(void)snprintf(text, sizeof text,
			       "oom: {patterns: [{id: a, kind: %s, text: abc}]}\n", words[i]);
		c = parse(text);
		assert_string_equal(c->patterns[0].kind, words[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		auto_config struct config *c = NULL;

		(void)snprintf(text, sizeof text,
			       "oom: {patterns: [{id: a, kind: %s, text: 'abc {size}'}]}\n",
			       sizes[i]);
		c = parse(text);
		assert_string_equal(c->patterns[0].kind, sizes[i]);
		(void)snprintf(text, sizeof text,
			       "oom: {patterns: [{id: a, kind: %s, text: abc}]}\n", sizes[i]);
		check_refused(text, "`text` has no {size}");
	}
}

static void an_id_is_of_one_pattern(void **state)
{
	(void)state;
	check_refused("oom:\n  patterns:\n    - {id: a, kind: gpu, text: abc}\n"
		      "    - {id: a, kind: host, text: abd}\n",
		      "p.yaml:4:7: there is a pattern with the id \"a\" already: p.yaml:3:7");
}

static void on_and_off_and_nothing(void **state)
{
	auto_config struct config *off =
	    parse("queue: {prove: off, vram_default: 0}\noverrun: {tolerance: 0, samples: 0}\n");
	auto_config struct config *on = parse("queue: {prove: on}\nlimits: {torch: on}\n");

	(void)state;
	assert_true(off->queue.take_at_word);
	assert_false(on->queue.take_at_word);
	assert_true(on->guards.torch);
	assert_int_equal(off->queue.vram_default_bytes, 0);
	assert_int_equal(off->overrun.tolerance_bytes, 0);
	check_refused("queue: {vram_default: 5}\n", "has no unit");
	check_refused("queue: {prove: maybe}\n", "is not true or false");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(patterns_are_read),
	    cmocka_unit_test(wrong_patterns_have_a_place),
	    cmocka_unit_test(every_kind_of_pattern_is_known),
	    cmocka_unit_test(an_id_is_of_one_pattern),
	    cmocka_unit_test(on_and_off_and_nothing),
	    cmocka_unit_test(all_keys_are_read),
	    cmocka_unit_test(defaults_of_all_files_hold_for_all),
	    cmocka_unit_test(nothing_is_a_configuration_too),
	    cmocka_unit_test(faults_name_their_place),
	    cmocka_unit_test(entries_about_one_gpu_add_up),
	    cmocka_unit_test(hours_of_one_day),
	    cmocka_unit_test(hours_over_midnight_belong_to_the_day_they_begin),
	    cmocka_unit_test(days_may_wrap_and_be_listed),
	    cmocka_unit_test(bad_hours_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
