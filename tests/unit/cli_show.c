/* What people are shown: GPUs, tasks, the end of a batch, progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/gpusview.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "cli/tasktable.h"
#include "cli/toptasks.h"
#include "util/size.h"
#include "util/timestamp.h"

#include <locale.h>
#include <string.h>

static json_t *load(const char *text)
{
	json_error_t where;
	json_t *json = json_loads(text, 0, &where);

	if (!json)
		fail_msg("%s", where.text);
	return json;
}

static json_t *gpu(int index, double used, double total, const char *health)
{
	double line = total * 0.95;

	return json_pack("{s:i, s:s, s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:[]}", "index",
			 index, "name", "NVIDIA RTX A400", "health", health, "vram", "total_bytes",
			 (json_int_t)(total * GIB), "used_bytes", (json_int_t)(used * GIB),
			 "load_line_bytes", (json_int_t)(line * GIB), "reserve_bytes",
			 (json_int_t)(total * 0.05 * GIB), "allocated_bytes", (json_int_t)0,
			 "foreign_bytes", (json_int_t)(used * GIB), "room_bytes",
			 (json_int_t)(used < line ? (line - used) * GIB : 0), "holders");
}

static json_t *two(double used, const char *health)
{
	return json_pack("{s:s, s:n, s:[o, o]}", "source", "ok", "text", "gpus",
			 gpu(0, used, 24, health), gpu(1, 0.3, 4, "ok"));
}

static void test_called_out(void **state)
{
	auto_json json_t *full = two(23.2, "ok"), *fine = two(12, "ok"), *lost = two(23.2, "lost");
	auto_text struct text a = {}, b = {}, none = {}, sick = {};

	/* Story S1: 24 GB at 96.7 % beside 4 GB with 0.3 used. */
	assert_int_equal(gpusview_note(full, 0, &a), GPUSVIEW_CRITICAL);
	assert_string_equal(a.data,
			    "96.7 % of its memory is used, more than its load line of 22.8 GiB");
	assert_int_equal(gpusview_note(full, 1, &b), GPUSVIEW_IDLE);
	assert_string_equal(b.data, "3.5 GiB of room here while GPU 0 is critical");
	assert_int_equal(gpusview_note(fine, 0, &none), GPUSVIEW_NONE);
	assert_int_equal(gpusview_note(fine, 1, &none), GPUSVIEW_NONE);
	/* A lost GPU is not a full one: nobody is idle because of it. */
	assert_int_equal(gpusview_note(lost, 0, &sick), GPUSVIEW_SICK);
	assert_int_equal(gpusview_note(lost, 1, &none), GPUSVIEW_NONE);
	assert_false(gpusview_is_problem(full));
	assert_true(gpusview_is_problem(lost));
}

static void test_gpus_fit(void **state)
{
	auto_json json_t *full = two(23.2, "ok");

	for (unsigned width = 60; width <= 200; width += 20) {
		auto_text struct text text = {};
		FILE *none = tmpfile();
		char *rest;

		gpusview_render(full, none, width, &text);
		(void)fclose(none);
		assert_non_null(strstr(text.data, "CRITICAL: 96.7 %"));
		assert_non_null(strstr(text.data, "23.2 of 24.0 GiB used"));
		assert_non_null(strstr(text.data, "room 3.5"));
		rest = text.data;
		for (char *line; (line = strsep(&rest, "\n"));)
			if (text_columns(line) > width && !strstr(line, "CRITICAL"))
				fail_msg("%u columns: %s", width, line);
	}
}

static void test_no_gpu(void **state)
{
	auto_json json_t *none =
	    load("{\"source\": \"no-driver\", \"text\": \"no driver is loaded\", \"gpus\": []}");
	auto_text struct text text = {};

	gpusview_render(none, stdout, 80, &text);
	assert_non_null(strstr(text.data, "no driver is loaded"));
	assert_true(gpusview_is_problem(none));
}

static const char tasks[] = "[{\"id\": 1, \"name\": \"zeta\", \"state\": \"done\", \"batch\": 3, "
			    "\"request\": {\"vram_bytes\": 100}, \"attempts\": []},"
			    " {\"id\": 2, \"name\": \"beta\", \"state\": \"waiting\", \"batch\": "
			    "null, \"request\": {\"vram_bytes\": 300}, \"attempts\": []},"
			    " {\"id\": 3, \"name\": \"alpha\", \"state\": \"running\", \"batch\": "
			    "3, \"request\": {\"vram_bytes\": 200},"
			    "  \"attempts\": [{\"number\": 1, \"gpus\": [{\"index\": 0}, "
			    "{\"index\": 2}], \"started_at\": \"2026-01-01T00:00:00.000Z\"}]},"
			    " {\"id\": 4, \"name\": \"eta\", \"state\": \"failed\", \"batch\": "
			    "null, \"request\": {}, \"attempts\": [{\"number\": 1,"
			    "  \"gpus\": [], \"started_at\": \"2026-01-01T00:00:00.000Z\", "
			    "\"ended_at\": \"2026-01-01T00:00:05.000Z\", \"exit_code\": 3,"
			    "  \"outcome\": \"error\"}]}]";

static void assert_order(const char *filter, enum toptasks_sort sort, const char *wanted)
{
	auto_json json_t *all = load(tasks);
	auto_free const json_t **items = NULL;
	auto_text struct text order = {};
	int64_t now = 0;
	size_t n;

	assert_int_equal(timestamp_parse("2026-01-01T00:01:00.000Z", &now, NULL), 0);
	n = toptasks_select(all, filter, sort, now, &items);
	for (size_t i = 0; i < n; i++)
		text_printf(&order, "%lld", (long long)jsonx_get_i64(items[i], "id", 0));
	assert_string_equal(order.data ? order.data : "", wanted);
}

static void test_top_order(void **state)
{
	assert_order("", TOPTASKS_BY_STATE, "3241");
	assert_order("", TOPTASKS_BY_ID, "1234");
	assert_order("", TOPTASKS_BY_NAME, "3241");
	assert_order("", TOPTASKS_BY_VRAM, "2314");
	assert_order("", TOPTASKS_BY_TIME, "3412");
	assert_order("ETA", TOPTASKS_BY_ID, "124");
	assert_order("b3", TOPTASKS_BY_ID, "13");
	assert_order("4", TOPTASKS_BY_ID, "4");
	assert_order("wait", TOPTASKS_BY_ID, "2");
	assert_order("nothing", TOPTASKS_BY_ID, "");
}

static void test_task_table(void **state)
{
	auto_json json_t *all = load(tasks);
	auto_text struct text text = {};
	char where[64];

	tasktable_render(all, 0, 200, &text);
	if (!strstr(text.data, " 4  -      eta    failed   cpu      -  5.0 s  exit 3\n"))
		fail_msg("%s", text.data);
	tasktable_where(json_array_get(all, 2), where, sizeof where);
	assert_string_equal(where, "0,2");
	tasktable_where(json_array_get(all, 1), where, sizeof where);
	assert_string_equal(where, "-");
}

static void test_task_in_full(void **state)
{
	auto_json json_t *task = load("{\"id\": 5, \"name\": \"n\", \"state\": \"running\", "
				      "\"command\": [\"sh\", \"-c\", \"it's\", \"\"],"
				      " \"request\": {\"gpus\": 2, \"vram_bytes\": 1073741824, "
				      "\"exclusive\": true}, \"attempts\": []}");
	auto_text struct text text = {};

	tasktable_render_one(task, &text);
	assert_non_null(strstr(text.data, "sh -c 'it'\\''s' ''\n"));
	assert_non_null(strstr(text.data, "2 GPU, 1 GiB of VRAM, exclusive\n"));
}

static void test_outcomes(void **state)
{
	static const struct {
		const char *attempt, *wanted;
	} cases[] = {
	    {"{\"outcome\": \"oom\", \"exit_code\": 1}", "out of GPU memory"},
	    {"{\"outcome\": \"oom\", \"signal\": 15, \"stopped\": \"used 2 GiB of 1 GiB granted "
	     "(--on-overrun stop)\"}",
	     "stopped: used 2 GiB of 1 GiB granted (--on-overrun stop)"},
	    {"{\"outcome\": \"error\", \"exit_code\": 2}", "exit 2"},
	    {"{\"outcome\": \"error\", \"signal\": 9, \"exit_code\": null}", "killed by signal 9"},
	    {"{\"outcome\": \"lost\"}", "ended, but nobody saw how"},
	    {"{\"outcome\": null}", "failed"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *task = json_pack("{s:s, s:[o]}", "state", "failed", "attempts",
						   load(cases[i].attempt));

		assert_string_equal(summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}),
				    cases[i].wanted);
	}
}

static void test_summary(void **state)
{
	auto_json json_t *result = load(
	    "{\"batch\": {\"id\": 12}, \"tasks\": [{\"id\": 7, \"name\": \"bad.wav\", \"row\": 2, "
	    "\"state\": \"failed\","
	    " \"attempts\": [{\"gpus\": [{\"index\": 1}], \"exit_code\": 1, \"outcome\": "
	    "\"error\"}]}],"
	    " \"summary\": {\"done\": 99, \"failed\": 1, \"canceled\": 0, \"oom_recovered\": 2, "
	    "\"oom_recovered_by\": {\"retry\": 1, \"cpu\": 1}, "
	    "\"wall_seconds\": 100,"
	    " \"lower_bound_seconds\": 98, \"even_split_seconds\": 150, \"one_gpu_seconds\": null, "
	    "\"tasks_per_hour\": 3600,"
	    " \"gpus\": [{\"index\": 0, \"name\": \"NVIDIA GeForce RTX 5070 Ti\", \"tasks\": 60,"
	    " \"mean_utilization_percent\": 81.4, \"peak_vram_bytes\": 1073741824, "
	    "\"load_line_bytes\": null,"
	    " \"tasks_per_hour\": 2160}]}}");
	auto_text struct text text = {};
	static const char *const lines[] = {
	    "  0  RTX 5070 Ti     60       81 %      1 GiB          -        2160\n",
	    "batch b12: 99 done, 1 failed\n",
	    "  2 tasks ran out of memory and were recovered: 1 by retry, 1 on the CPU\n",
	    "1 min 40 s   3600 tasks/hour\n",
	    "1 min 38 s   1.02x of it was needed\n",
	    "2 min 30 s   1.50x as long\n",
	    "bad.wav    2  exit 1  1    plimsoll logs 7\n",
	};

	summary_render(result, 80, &text);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (!strstr(text.data, lines[i]))
			fail_msg("no line \"%s\" in\n%s", lines[i], text.data);
	assert_null(strstr(text.data, "one best GPU"));
	assert_int_equal(summary_exit_code(result), 1);
}

/* Those who used more than they were granted are named, as far as they are known. */
static void test_summary_of_overruns(void **state)
{
	auto_json json_t *result = load(
	    "{\"batch\": {\"id\": 3}, \"tasks\": [], \"summary\": {\"done\": 3, \"failed\": 0, "
	    "\"overran\": 3, \"overruns\": [{\"task\": 7, \"name\": \"a\", \"text\": "
	    "\"used 2 GiB of 500 MiB granted on GPU 0\"}]}}");
	auto_text struct text text = {};

	summary_render(result, 80, &text);
	assert_non_null(strstr(text.data, "  3 tasks used more than they were granted:\n"
					  "    task 7 (a) used 2 GiB of 500 MiB granted on GPU 0\n"
					  "    and 2 more\n"));
}

/* Two of them: one that runs, and uses what it was not granted; one on its ladder. */
static void test_overrun_is_shown(void **state)
{
	auto_json json_t *two_tasks = load(
	    "[{\"id\": 1, \"name\": \"a\", \"state\": \"running\", \"reason\": \"uses 7.8 GiB\", "
	    "\"request\": {\"vram_bytes\": 1073741824, \"ram_bytes\": 209715200}, \"attempts\": "
	    "[{\"number\": 1, \"policy\": "
	    "\"auto\", \"reason\": \"GPU 0\", \"gpus\": [{\"index\": 0, \"vram_bytes\": "
	    "1073741824, "
	    "\"used_bytes\": 8375186227, \"peak_bytes\": 8375186227}], \"ram_bytes\": 209715200, "
	    "\"vram_reason\": \"said\", "
	    "\"used_ram_bytes\": 945815552, \"peak_vram_bytes\": 8375186227, \"overrun\": true, "
	    "\"overrun_text\": \"uses 7.8 GiB of 1 GiB granted on GPU 0\"}]},"
	    " {\"id\": 2, \"name\": \"b\", \"state\": \"waiting\", \"request\": {\"vram_bytes\": "
	    "3221225472, \"asks_vram_bytes\": 6442450944}, \"attempts\": [{\"number\": 1, "
	    "\"gpus\": "
	    "[{\"index\": 0, \"vram_bytes\": 4294967296}]}]}]");
	static const char *const lines[] = {
	    "    granted  1 GiB of VRAM: said; 200 MiB of RAM: said (watched)\n",
	    "    uses now 7.8 GiB of VRAM, 902 MiB of RAM\n",
	    "    peak     7.8 GiB of VRAM, unknown of RAM\n",
	    "    overrun  uses 7.8 GiB of 1 GiB granted on GPU 0\n",
	};
	auto_text struct text text = {}, table = {};

	tasktable_render_one(json_array_get(two_tasks, 0), &text);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (!strstr(text.data, lines[i]))
			fail_msg("no line \"%s\" in\n%s", lines[i], text.data);
	tasktable_render(two_tasks, 0, 120, &table);
	assert_non_null(strstr(table.data, "7.8 GiB of 1 GiB"));
	assert_non_null(strstr(table.data, "           6 GiB"));
}

/* Lost ones are among the failed, and said to be what they are; the status is not 0. */
static void test_summary_of_lost(void **state)
{
	auto_json json_t *result =
	    load("{\"batch\": {\"id\": 3}, \"summary\": {\"done\": 1, \"failed\": 3}, \"tasks\": ["
		 "{\"id\": 7, \"name\": \"a\", \"state\": \"done\", \"attempts\": [{\"outcome\": "
		 "\"ok\"}]},"
		 "{\"id\": 8, \"name\": \"b\", \"state\": \"lost\", \"attempts\": [{\"outcome\": "
		 "\"lost\"}]},"
		 "{\"id\": 9, \"name\": \"c\", \"state\": \"lost\", \"attempts\": [{\"outcome\": "
		 "\"lost\"}]},"
		 "{\"id\": 10, \"name\": \"d\", \"state\": \"failed\", \"attempts\": "
		 "[{\"outcome\": \"error\","
		 " \"exit_code\": 4}]}]}");
	auto_text struct text text = {};

	summary_render(result, 80, &text);
	assert_non_null(strstr(text.data, "batch b3: 1 done, 3 failed (2 of them ended, "
					  "but nobody saw how)\n"));
	assert_non_null(
	    strstr(text.data, "b         2  ended, but nobody saw how  cpu  plimsoll logs 8\n"));
	assert_non_null(strstr(text.data, "d         4  exit 4"));
	assert_int_equal(summary_exit_code(result), 1);
}

/* Of somebody else's batch there is no summary: its counts are those of the batch. A summary that
 * is older than the batch does not count either. */
static void test_counts_are_the_batchs(void **state)
{
	auto_json json_t *other = load("{\"batch\": {\"id\": 1, \"done\": 3, \"failed\": 1, "
				       "\"canceled\": 0}, \"tasks\": [], \"summary\": null}");
	auto_json json_t *retried =
	    load("{\"batch\": {\"id\": 2, \"done\": 0, \"failed\": 0, \"canceled\": 0, "
		 "\"running\": 1, \"waiting\": 3}, \"tasks\": [], \"summary\": {\"canceled\": 4}}");
	auto_text struct text text = {};

	summary_render(other, 80, &text);
	assert_string_equal(text.data, "batch b1: 3 done, 1 failed\n");
	assert_int_equal(summary_exit_code(other), 1);
	text_clear(&text);
	summary_render(retried, 80, &text);
	assert_non_null(strstr(text.data, "batch b2: 0 done, 0 failed, 1 running, 3 waiting\n"));
	assert_int_equal(summary_exit_code(retried), 0);
}

static void test_progress(void **state)
{
	auto_json json_t *batch = load("{\"total\": 100, \"done\": 49, \"failed\": 1, "
				       "\"canceled\": 0, \"running\": 3, \"eta_seconds\": 245.2}");
	auto_text struct text wide = {}, narrow = {};

	progress_of_batch(batch, "GPU 0: 3/5 tasks, 45% util", 120, &wide);
	assert_string_equal(
	    wide.data,
	    "[############............] 49/100 done, 3 running, 1 failed, 4 min 05 s left"
	    "  GPU 0: 3/5 tasks, 45% util");
	progress_of_batch(batch, "GPU 0: 3/5 tasks, 45% util", 50, &narrow);
	assert_string_equal(narrow.data,
			    "[####....] 49/100 done, 3 running, 1 failed, 4 min 05 s left");
}

static int setup(void **state)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_called_out),
	    cmocka_unit_test(test_gpus_fit),
	    cmocka_unit_test(test_no_gpu),
	    cmocka_unit_test(test_top_order),
	    cmocka_unit_test(test_task_table),
	    cmocka_unit_test(test_task_in_full),
	    cmocka_unit_test(test_outcomes),
	    cmocka_unit_test(test_summary),
	    cmocka_unit_test(test_counts_are_the_batchs),
	    cmocka_unit_test(test_progress),
	    cmocka_unit_test(test_summary_of_lost),
	    cmocka_unit_test(test_summary_of_overruns),
	    cmocka_unit_test(test_overrun_is_shown),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
