/* What `show` says of a night's task, line by line; and that a plain task has none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/taskfacts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *task, *lines;
} CASES[] = {
    {"{}", ""},
    {"{\"after\": null, \"retries\": 0, \"private\": false, \"tty\": null, \"at\": null, "
     "\"request\": {\"prefer\": [], \"models\": [], \"stagger_seconds\": null}}",
     ""},
    {"{\"state\": \"waiting\", \"after\": {\"tasks\": [12, 13, 14, 20], \"batches\": [3], \"on\": "
     "\"success\", \"any\": false, \"left\": {\"tasks\": [14], \"batches\": []}}}",
     "  after      tasks 12-14, 20, batch 3: when all are done\n    to come  task 14\n"},
    {"{\"state\": \"done\", \"after\": {\"tasks\": [2], \"batches\": [], \"on\": \"end\", \"any\": "
     "true, \"left\": {\"tasks\": [2]}}}",
     "  after      task 2: when it has ended\n"},
    {"{\"after\": {\"tasks\": [1, 3], \"on\": \"failure\", \"any\": true}}",
     "  after      tasks 1, 3: when one has failed\n"},
    {"{\"after\": {\"tasks\": [1, 3, 5, 7, 9, 11, 13, 15, 17, 19], \"on\": \"success\", \"any\": "
     "false}}",
     "  after      tasks 1, 3, 5, 7, 9, 11, 13, 15 and 2 more: when all are done\n"},
    {"{\"state\": \"waiting\", \"at\": \"2026-11-22T05:00:00Z\", \"not_before\": "
     "\"2026-11-22T05:00:00Z\"}",
     "  not before Sun 2026-11-22 06:00:00\n"},
    {"{\"state\": \"waiting\", \"at\": null, \"not_before\": \"2026-11-22T05:00:00Z\"}",
     "  next try   Sun 2026-11-22 06:00:00\n"},
    {"{\"soft_limit_seconds\": 19800, \"time_limit_seconds\": 21600, \"soft_signal\": "
     "\"SIGUSR1\"}",
     "  soft limit 5 h 30 min, then SIGUSR1\n  time limit 6 h 00 min, then SIGKILL\n"},
    {"{\"retries\": 3, \"failures\": 1, \"requeues\": 2, \"retry_delay_seconds\": 2.5}",
     "  retries    3, 2 left, the first after 2.5 s\n"
     "  put back   2 times, its GPU was lost\n"},
    {"{\"retries\": 3, \"failures\": 1, \"retry_delay_seconds\": 0}",
     "  retries    3, 2 left, at once\n"},
    {"{\"request\": {\"prefer\": [\"GPU-aabbccdd-1111-2222\", \"GPU-bb\"], \"avoid\": "
     "[\"GPU-cc\"], \"forbid\": [\"GPU-dd\"], \"models\": [\"A100\", \"H100\"], "
     "\"start_lock\": true, \"stagger_seconds\": 10}}",
     "  prefers    GPU-aabbccdd, GPU-bb\n  avoids     GPU-cc\n  never on   GPU-dd\n"
     "  models     A100, H100\n"
     "  start lock nothing else starts beside it until its use has settled\n"
     "  stagger    10.0 s between starts on its GPU\n"},
    {"{\"request\": {\"compute_capability_min\": \"8.0\", \"compute_capability_max\": \"9.0\"}}",
     "  compute    capability 8.0 to 9.0\n"},
    {"{\"request\": {\"compute_capability_min\": \"8.0\"}}",
     "  compute    capability 8.0 or above\n"},
    {"{\"request\": {\"compute_capability_max\": \"9.0\"}}",
     "  compute    capability at most 9.0\n"},
    {"{\"private\": true, \"tty\": \"/dev/pts/3\"}",
     "  private    other users do not see its name\n  terminal   /dev/pts/3\n"},
    /* Nothing in it can move the cursor. */
    {"{\"tty\": \"a\\u001b[2Jb\"}", NULL},
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
		auto_json json_t *task = json_loads(CASES[i].task, 0, NULL);
		auto_text struct text text = {};

		assert_non_null(task);
		text_add(&text, "");
		taskfacts_add(task, &text);
		assert_null(strchr(text.data, '\033'));
		if (CASES[i].lines && strcmp(text.data, CASES[i].lines) != 0)
			fail_msg("%s:\n%s", CASES[i].task, text.data);
		for (const char *line = text.data; *line; line += strcspn(line, "\n") + 1)
			assert_true(strcspn(line, "\n") < 80);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),
	};

	(void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
