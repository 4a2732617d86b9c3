/* Submits as parsed, tasks as JSON, and both through the store and back. */
#include "daemon/record.h"
#include "daemon/submit_parse.h"
#include "daemon/task_json.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
	json_t *json = NULL;

	assert_int_equal(jsonx_parse(text, strlen(text), "test", &json, NULL), 0);
	return json;
}

static void test_batch_defaults(void **state)
{
	auto_json json_t *body = parse(
	    "{\"name\": \"b\", \"on_failure\": \"ask\", \"threads\": 4, \"max_per_gpu\": 2, "
	    "\"priority\": 3, \"cwd\": \"/x\", \"umask\": 63, \"env\": [\"A=1\"], \"tasks\": ["
	    "{\"command\": [\"a\", \"{device}\"], \"request\": {\"vram_bytes\": 5, \"cpus\": 1.5}},"
	    "{\"command\": [\"b\"], \"priority\": -1, \"row\": 9, \"request\": {\"cpu\": "
	    "\"only\"}}]}");
	struct error err = {};
	struct submit submit;

	(void)state;
	assert_int_equal(submit_parse_batch(body, NULL, &submit, &err), 0);
	assert_int_equal(submit.n, 2);
	assert_true(submit.needs_gpus && submit_needs_gpus(body));
	assert_int_equal(submit.on_failure, SCHED_ASK);
	assert_int_equal(submit.specs[0].request.threads, 4);
	assert_int_equal(submit.specs[1].request.max_per_gpu, 2);
	assert_int_equal(submit.specs[0].priority, 3);
	assert_int_equal(submit.specs[1].priority, -1);
	assert_int_equal(submit.specs[0].row, 1);
	assert_int_equal(submit.specs[1].row, 9);
	assert_int_equal(submit.specs[0].umask, 077);
	assert_int_equal(submit.specs[0].request.cpu_milli, 1500);
	assert_int_equal(submit.specs[0].request.gpus, 1);
	assert_int_equal(submit.specs[1].request.gpus, 0);
	assert_string_equal(submit.specs[1].cwd, "/x");
	assert_string_equal(submit.specs[0].argv[1], "{device}");
	assert_null(submit.specs[0].argv[2]);
	assert_int_equal(json_array_size(submit.env), 1);
	submit_finish(&submit);
}

static const char *const TASK_MEMBERS[] = {"id",
					   "name",
					   "batch",
					   "kind",
					   "state",
					   "reason",
					   "priority",
					   "command",
					   "request",
					   "attempts",
					   "after",
					   "at",
					   "not_before",
					   "soft_limit_seconds",
					   "time_limit_seconds",
					   "soft_signal",
					   "retries",
					   "retry_delay_seconds",
					   "failures",
					   "requeues",
					   "private",
					   NULL};
static const char *const ATTEMPT_MEMBERS[] = {
    "number", "gpus",    "device", "policy",          "started_at",     "ended_at", "exit_code",
    "signal", "outcome", "reason", "peak_vram_bytes", "peak_ram_bytes", NULL};

static void check_members(const json_t *object, const char *const *names)
{
	for (; *names; names++)
		if (!json_object_get(object, *names))
			fail_msg("there is no \"%s\"", *names);
}

static const char *const ARGV[] = {"python3", "a b.py", "{device}", NULL};

static struct sched_task task_make(struct sched_attempt *attempt, struct sched_grant *grant)
{
	static char reason[] = "exit code 3", placed[] = "GPU 1: most room";
	static char rung[] = "retry: 9.7 GiB instead of 6.0", limits[] = "watched";

	*grant = (struct sched_grant){.uuid = "GPU-bb",
				      .index = 1,
				      .vram_bytes = 1 << 30,
				      .used_known = true,
				      .used_bytes = 77,
				      .peak_bytes = 99};
	*attempt = (struct sched_attempt){.number = 1,
					  .changed = true,
					  .gpus = grant,
					  .n_gpus = 1,
					  .policy = PLACE_SPREAD,
					  .reason = placed,
					  .started_at_ms = 1000,
					  .ended_at_ms = 2000,
					  .outcome = SCHED_ERROR,
					  .exit_known = true,
					  .exit_code = 3,
					  .peak_vram_bytes = 99,
					  .rung = rung,
					  .ram_bytes = 123,
					  .batch_size = 16,
					  .overrun = true,
					  .oom_requested_bytes = UINT64_C(9491887063),
					  .limits = limits};
	return (struct sched_task){.id = 41,
				   .batch = 6,
				   .spec = {.name = "row 2",
					    .kind = "k",
					    .argv = ARGV,
					    .cwd = "/tmp",
					    .fingerprint = "f",
					    .umask = 027,
					    .row = 2,
					    .priority = -4,
					    .request = {.vram_bytes = 1 << 30,
							.cpu_milli = 2500,
							.gpus = 1,
							.exclusive = true,
							.pin_uuid = "GPU-bb",
							.max_per_gpu = 3,
							.threads = 5},
					    .policy = PLACE_BEST_FIT,
					    .weight_memory = 0.5,
					    .retries = 2},
				   .state = SCHED_FAILED,
				   .reason = reason,
				   .submitted_at_ms = 500,
				   .updated_at_ms = 2000,
				   .not_before_ms = 700,
				   .failures = 1,
				   .requeues = 2,
				   .attempts = attempt,
				   .n_attempts = 1};
}

static void test_task_shape(void **state)
{
	struct sched_attempt attempt;
	struct sched_grant grant;
	struct sched_task task = task_make(&attempt, &grant);
	auto_json json_t *json = task_to_json(&task, NULL);
	const json_t *a = json_array_get(json_object_get(json, "attempts"), 0);

	(void)state;
	check_members(json, TASK_MEMBERS);
	check_members(a, ATTEMPT_MEMBERS);
	assert_string_equal(jsonx_get_string(json, "state", ""), "failed");
	assert_string_equal(jsonx_get_string(a, "device", ""), "cuda:0");
	assert_string_equal(jsonx_get_string(a, "outcome", ""), "error");
	assert_int_equal(jsonx_get_u64(a, "exit_code", 0), 3);
	assert_true(json_is_null(json_object_get(a, "signal")));
	assert_true(json_is_null(json_object_get(a, "peak_ram_bytes")));
	assert_string_equal(jsonx_get_string(a, "ended_at", ""), "1970-01-01T00:00:02.000Z");

	/* How it ended is unknown: neither exit_code nor signal is made up. */
	attempt.exit_known = false;
	attempt.outcome = SCHED_OUTCOME_LOST;
	json_decref(json);
	json = task_to_json(&task, "because");
	a = json_array_get(json_object_get(json, "attempts"), 0);
	assert_true(json_is_null(json_object_get(a, "exit_code")));
	assert_true(json_is_null(json_object_get(a, "ended_at")));
	assert_string_equal(jsonx_get_string(a, "ended_before", ""), "1970-01-01T00:00:02.000Z");
	assert_string_equal(jsonx_get_string(json, "reason", ""), "because");
}

static const struct sched_after_item WAITS_FOR[] = {
    {.id = 7}, {.id = 9}, {.id = 2, .is_batch = true}};
static const struct sched_after AFTER = {
    .items = WAITS_FOR, .n = 3, .on = SCHED_AFTER_END, .any = true};
static const struct place_wishes WISHES = {.prefer = {"GPU-bb", "GPU-aa"},
					   .n_prefer = 2,
					   .forbid = {"GPU-cc"},
					   .n_forbid = 1,
					   .models = {"A100"},
					   .n_models = 1,
					   .compute_min = 80,
					   .compute_max = 121};

/* A task with all there is for a night. */
static const struct sched_rung RUNGS[] = {{SCHED_RUNG_RETRY, 7},
					  {SCHED_RUNG_SMALLER_BATCH, 1},
					  {SCHED_RUNG_CPU, 1},
					  {SCHED_RUNG_FAIL, 1}};
static const struct sched_ladder LADDER = {.rung = 1,
					   .times = 2,
					   .climbs = 3,
					   .vram_bytes = UINT64_C(9876543210987),
					   .ram_bytes = 5,
					   .line_above_bytes = 6,
					   .alone = true,
					   .cpu = true,
					   .batch_size = 16};

static struct sched_task night_task(struct sched_attempt *attempt, struct sched_grant *grant)
{
	struct sched_task task = task_make(attempt, grant);

	task.state = SCHED_WAITING;
	task.spec.after = &AFTER;
	task.after = (struct sched_after_item *)(uintptr_t)&WAITS_FOR[1];
	task.n_after = 2;
	task.spec.soft_limit_ms = 19800000;
	task.spec.hard_limit_ms = 21600000;
	task.spec.soft_signal = SIGUSR1;
	task.spec.retry_delay_ms = 2500;
	task.spec.on_overrun = SCHED_OVERRUN_STOP;
	task.spec.on_oom = RUNGS;
	task.spec.n_on_oom = ARRAY_LEN(RUNGS);
	task.spec.batch_size = 64;
	task.spec.request.cpu = PLACE_CPU_WHEN_IDLE;
	task.ladder = (struct sched_ladder *)(uintptr_t)&LADDER;
	attempt->rung = (char *)(uintptr_t) "retry: 3 GiB instead of 2 GiB";
	attempt->batch_size = 32;
	attempt->oom_requested_bytes = 1234567890123;
	attempt->oom_used_bytes = 123456789012;
	attempt->stopped = (char *)(uintptr_t) "used 2 GiB of 1 GiB granted";
	attempt->evidence = (char *)(uintptr_t) "CUDA out of memory [pytorch-allocator]";
	task.spec.not_before_ms = 3000;
	task.spec.held = task.spec.is_private = true;
	task.spec.tty = "/dev/pts/3";
	task.spec.rlimits = "{}";
	task.spec.request.pin_uuid = NULL;
	task.spec.request.wishes = &WISHES;
	task.spec.request.start_lock = true;
	task.spec.request.stagger_ms = 1500;
	return task;
}

static void test_night_through_the_store(void **state)
{
	char dir[] = "/tmp/plimsoll-record-XXXXXX";
	struct sched_attempt attempt;
	struct sched_grant grant;
	struct sched_task task = night_task(&attempt, &grant);
	auto_json json_t *before = task_to_json(&task, "because"), *after = NULL;
	auto_store struct store *store = NULL;
	auto_records struct records records = {};
	auto_free char *clean = NULL;
	const struct sched_spec *spec;
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(record_put_task(store, &task, &err), 0);
	task.id++;
	assert_int_equal(record_put_task(store, &task, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(records_load(store, &(struct store_query){}, &records, &err), 0);
	assert_int_equal(records.n, 2);
	after = task_to_json(&records.tasks[0], "because");
	if (!json_equal(before, after))
		fail_msg("%s\n%s", json_dumps(before, 0), json_dumps(after, 0));
	spec = &records.tasks[0].spec;
	assert_true(spec->held && spec->is_private && spec->after->any);
	assert_string_equal(spec->rlimits, "{}");
	assert_int_equal(spec->soft_signal, SIGUSR1);
	assert_memory_equal(records.tasks[0].ladder, &LADDER, sizeof LADDER);
	assert_int_equal(spec->n_on_oom, ARRAY_LEN(RUNGS));
	assert_memory_equal(spec->on_oom, RUNGS, sizeof RUNGS);
	assert_int_equal(spec->request.cpu, PLACE_CPU_WHEN_IDLE);
	assert_int_equal(records.tasks[0].attempts[0].oom_requested_bytes, 1234567890123);
	assert_int_equal(records.tasks[0].attempts[0].oom_used_bytes, 123456789012);
	assert_string_equal(records.tasks[0].attempts[0].stopped, "used 2 GiB of 1 GiB granted");
	assert_string_equal(records.tasks[0].attempts[0].evidence,
			    "CUDA out of memory [pytorch-allocator]");
	assert_int_equal(records.tasks[0].n_after, 2);
	assert_true(records.tasks[0].after[1].is_batch);
	assert_memory_equal(spec->request.wishes, &WISHES, sizeof WISHES);
	assert_ptr_equal(spec->request.wishes, records.tasks[1].spec.request.wishes);
	clean = mem_printf("rm -rf %s", dir);
	assert_int_equal(system(clean), 0);
}

/* A row as the version with schema 2 wrote it, before there was any of this. */
static void test_a_row_of_old(void **state)
{
	static const struct store_task row = {
	    .id = 5,
	    .name = "old",
	    .kind = "k",
	    .state = "waiting",
	    .submitted_at_ms = 1,
	    .updated_at_ms = 1,
	    .spec =
		"{\"command\": [\"true\"], \"cwd\": \"/\", \"log\": null, \"umask\": 18, "
		"\"request\": {\"vram_bytes\": 5, \"ram_bytes\": null, \"cpus\": null, \"gpus\": "
		"1, "
		"\"cpu\": \"never\", \"exclusive\": false, \"pin\": null, \"max_per_gpu\": 0, "
		"\"threads\": 0}, \"policy\": \"auto\", \"weight_memory\": 0.0, \"work\": null, "
		"\"retries\": 0}",
	    .more =
		"{\"not_before_ms\": 0, \"failures\": 0, \"requeues\": 0, \"stopping\": false}"};
	char dir[] = "/tmp/plimsoll-record-XXXXXX";
	auto_store struct store *store = NULL;
	auto_records struct records records = {};
	auto_free char *clean = NULL;
	const struct sched_task *task;
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put_task(store, &row, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(records_load(store, &(struct store_query){}, &records, &err), 0);
	assert_int_equal(records.n, 1);
	task = &records.tasks[0];
	assert_null(task->spec.after);
	assert_null(task->after);
	assert_null(task->spec.request.wishes);
	assert_null(task->spec.tty);
	assert_int_equal(task->spec.request.vram_bytes, 5);
	assert_int_equal(task->spec.hard_limit_ms, 0);
	assert_false(task->spec.held || task->spec.is_private || task->spec.request.start_lock);
	clean = mem_printf("rm -rf %s", dir);
	assert_int_equal(system(clean), 0);
}

static void test_through_the_store(void **state)
{
	char dir[] = "/tmp/plimsoll-record-XXXXXX";
	struct sched_attempt attempt;
	struct sched_grant grant;
	struct sched_task task = task_make(&attempt, &grant);
	struct sched_batch batch = {.id = 6,
				    .name = "b",
				    .on_failure = SCHED_ASK,
				    .state = SCHED_BATCH_DONE,
				    .submitted_at_ms = 500,
				    .ended_at_ms = 2000,
				    .total = 1};
	auto_json json_t *summary = parse("{\"counts\": {\"failed\": 1}, \"summary\": {}}");
	auto_json json_t *before = task_to_json(&task, NULL), *after = NULL;
	auto_store struct store *store = NULL;
	auto_records struct records records = {};
	auto_record_batches struct record_batches batches = {};
	auto_free char *clean = NULL;
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(record_put_batch(store, &batch, summary, &err), 0);
	assert_int_equal(record_put_task(store, &task, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);

	assert_int_equal(records_load(store, &(struct store_query){.id = 41}, &records, &err), 0);
	assert_int_equal(records.n, 1);
	after = task_to_json(&records.tasks[0], NULL);
	assert_true(json_equal(before, after));
	assert_int_equal(records.tasks[0].spec.request.max_per_gpu, 3);
	assert_int_equal(records.tasks[0].spec.request.threads, 5);
	assert_int_equal(records.tasks[0].spec.request.cpu_milli, 2500);
	assert_int_equal(records.tasks[0].spec.umask, 027);
	assert_int_equal(records.tasks[0].spec.retries, 2);
	assert_true(records.tasks[0].spec.weight_memory > 0.4);
	assert_int_equal(records.tasks[0].requeues, 2);
	assert_int_equal(records.tasks[0].not_before_ms, 700);
	assert_int_equal(records.tasks[0].attempts[0].gpus[0].peak_bytes, 99);
	assert_int_equal(records.tasks[0].attempts[0].gpus[0].vram_bytes, 1 << 30);
	assert_true(records.tasks[0].attempts[0].gpus[0].used_known);
	assert_string_equal(records.tasks[0].attempts[0].rung, attempt.rung);
	assert_string_equal(records.tasks[0].attempts[0].limits, "watched");
	assert_int_equal(records.tasks[0].attempts[0].ram_bytes, 123);
	assert_int_equal(records.tasks[0].attempts[0].batch_size, 16);
	assert_true(records.tasks[0].attempts[0].overrun);
	assert_int_equal(records.tasks[0].attempts[0].oom_requested_bytes,
			 attempt.oom_requested_bytes);

	assert_int_equal(record_batches_load(store, 6, false, &batches, &err), 0);
	assert_int_equal(batches.n, 1);
	assert_int_equal(batches.batches[0].counts[SCHED_FAILED], 1);
	assert_int_equal(batches.batches[0].on_failure, SCHED_ASK);
	assert_int_equal(batches.batches[0].state, SCHED_BATCH_DONE);

	clean = mem_printf("rm -rf %s", dir);
	assert_int_equal(system(clean), 0);
}

/* The order of the list is not that of the attempts, and not every task has one: each finds its
 * own whatever the query. */
static void test_attempts_find_their_tasks(void **state)
{
	static const struct store_query queries[] = {
	    {},
	    {.newest_first = true},
	    {.newest_first = true, .limit = 3},
	    {.newest_first = true, .limit = 3, .offset = 2},
	    {.limit = 4, .offset = 1},
	};
	char dir[] = "/tmp/plimsoll-record-XXXXXX";
	auto_free char *clean = NULL;
	struct sched_attempt attempts[2];
	struct sched_grant grant;
	struct sched_task task = task_make(&attempts[0], &grant);
	struct store *store = NULL;
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	attempts[1] = attempts[0];
	attempts[1].number = 2;
	task.attempts = attempts;
	for (unsigned i = 1; i <= 8; i++) {
		task.id = i;
		task.n_attempts = i % 3;
		assert_int_equal(record_put_task(store, &task, &err), 0);
		task.n_attempts = 1;
	}
	assert_int_equal(store_commit(store, &err), 0);
	for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
		auto_records struct records records = {};

		assert_int_equal(records_load(store, &queries[q], &records, &err), 0);
		assert_true(records.n >= 3);
		for (size_t i = 0; i < records.n; i++)
			assert_int_equal(records.tasks[i].n_attempts, records.tasks[i].id % 3);
	}
	store_close(store);
	clean = mem_printf("rm -rf %s", dir);
	assert_int_equal(system(clean), 0);
}

/* What the needs of a kind stand on comes back as it was; what is damaged is measured again. */
static void test_profiles_through_the_store(void **state)
{
	char dir[] = "/tmp/plimsoll-record-XXXXXX";
	auto_free char *clean = NULL;
	auto_free struct estimates_row *rows = NULL;
	struct estimates *estimates = estimates_create();
	struct store *store = NULL;
	struct estimates_row row = {.kind = "k",
				    .model = "RTX",
				    .work_seconds = 3,
				    .utilization_percent = 50,
				    .samples = 2,
				    .runs = 4,
				    .vram = {.bytes = {10, 20, 30}, .floors = 2, .n = 3},
				    .ram = {.bytes = {5}, .n = 1},
				    .oom_vram_bytes = 20,
				    .batch_size = 8,
				    .first_at_ms = 100,
				    .last_at_ms = 200};
	const struct store_profile damaged = {
	    .kind = "damaged", .model = "RTX", .peaks = "{\"vram\":"};
	const struct store_profile odd = {
	    .kind = "odd", .model = "RTX", .peaks = "{\"vram\":[0,-7,\"x\",9],\"ram\":7}"};
	struct error err = {};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_open(dir, &store, &err), 0);
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(record_put_profiles(store, &row, 1, &err), 0);
	assert_int_equal(store_put_profile(store, &damaged, &err), 0);
	assert_int_equal(store_put_profile(store, &odd, &err), 0);
	assert_int_equal(store_commit(store, &err), 0);
	assert_int_equal(record_load_profiles(store, estimates, &err), 0);
	assert_int_equal(estimates_rows(estimates, false, &rows), 3);
	assert_int_equal(rows[0].vram.n, 0); /* damaged */
	assert_memory_equal(&rows[1], &row, sizeof row);
	assert_int_equal(rows[2].vram.n, 2);
	assert_int_equal(rows[2].vram.bytes[0], 7);
	assert_int_equal(rows[2].vram.floors, 1);
	assert_int_equal(rows[2].ram.n, 0);
	estimates_destroy(estimates);
	store_close(store);
	clean = mem_printf("rm -rf %s", dir);
	assert_int_equal(system(clean), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batch_defaults),
	    cmocka_unit_test(test_task_shape),
	    cmocka_unit_test(test_through_the_store),
	    cmocka_unit_test(test_profiles_through_the_store),
	    cmocka_unit_test(test_night_through_the_store),
	    cmocka_unit_test(test_a_row_of_old),
	    cmocka_unit_test(test_attempts_find_their_tasks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
