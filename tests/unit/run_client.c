/* The daemon's side against a real supervisor: what is asked for happens once and is told, over
 * kills of the supervisor in between. */
#include "run/client.h"
#include "util/file.h"
#include "util/text.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

struct fixture {
	uv_loop_t loop;
	uv_timer_t deadline;
	char *folder, *runtime_dir, *state_dir;
	struct supervisor_client *client;
	unsigned synced, troubles, started, ended, failed, unknown, usages;
	struct supervisor_ended last_ended;
	char last_attempt[64], last_text[512];
	pid_t last_pid;
	bool adopted, acks, destroy_on_end;
	bool expired;
};

static void on_synced(void *arg)
{
	struct fixture *f = arg;

	f->synced++;
}

static void on_trouble(void *arg, const char *text)
{
	struct fixture *f = arg;

	f->troubles++;
	(void)snprintf(f->last_text, sizeof f->last_text, "%s", text);
}

static void on_started(void *arg, const struct supervisor_started *started)
{
	struct fixture *f = arg;

	f->started++;
	f->last_pid = started->pid;
	f->adopted = started->adopted;
	assert_true(started->start_time > 0 && started->started_at > 0);
}

static void on_ended(void *arg, const struct supervisor_ended *ended)
{
	struct fixture *f = arg;

	f->ended++;
	f->last_ended = *ended;
	(void)snprintf(f->last_attempt, sizeof f->last_attempt, "%s", ended->attempt);
	if (f->acks)
		supervisor_client_ack(f->client, ended->attempt);
	if (f->destroy_on_end) {
		supervisor_client_destroy(f->client);
		f->client = NULL;
	}
}

static void on_failed(void *arg, const struct supervisor_failed *failed)
{
	struct fixture *f = arg;

	f->failed++;
	assert_true(failed->code > 0);
	assert_false(failed->transient);
	(void)snprintf(f->last_text, sizeof f->last_text, "%s", failed->text);
	supervisor_client_ack(f->client, failed->attempt);
}

static void on_unknown(void *arg, const char *attempt)
{
	struct fixture *f = arg;

	f->unknown++;
	(void)snprintf(f->last_attempt, sizeof f->last_attempt, "%s", attempt);
}

static void on_usage(void *arg, const struct supervisor_usage *usage)
{
	struct fixture *f = arg;

	f->usages++;
	/* One that is just ending has given its RAM back already. */
	assert_true(usage->processes > 0);
}

static void on_deadline(uv_timer_t *timer)
{
	struct fixture *f = timer->data;

	f->expired = true;
}

static int client_open(struct fixture *f, const char *program)
{
	struct supervisor_options options = {
	    .runtime_dir = f->runtime_dir,
	    .state_dir = f->state_dir,
	    .program = program ? program : getenv("PLIMSOLL_SUPERVISOR"),
	    .callbacks = {.on_synced = on_synced,
			  .on_trouble = on_trouble,
			  .on_started = on_started,
			  .on_ended = on_ended,
			  .on_failed = on_failed,
			  .on_unknown = on_unknown,
			  .on_usage = on_usage,
			  .arg = f},
	};

	return supervisor_client_create(&f->loop, &options, &f->client, NULL);
}

static int setup(void **state)
{
	struct fixture *f = mem_calloc(1, sizeof *f);
	char folder[] = "/tmp/plimsoll-client-XXXXXX";

	assert_non_null(mkdtemp(folder));
	f->folder = mem_strdup(folder);
	f->runtime_dir = mem_printf("%s/r", folder);
	f->state_dir = mem_printf("%s/s", folder);
	f->acks = true;
	(void)uv_loop_init(&f->loop);
	(void)uv_timer_init(&f->loop, &f->deadline);
	f->deadline.data = f;
	*state = f;
	return 0;
}

/* Turn the loop until `*counter` has reached `n`. */
static void run_until(struct fixture *f, const unsigned *counter, unsigned n)
{
	(void)uv_timer_start(&f->deadline, on_deadline, DEADLINE_MS, 0);
	while (*counter < n && !f->expired)
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	(void)uv_timer_stop(&f->deadline);
	assert_true(*counter >= n);
}

static pid_t supervisor_pid(const struct fixture *f)
{
	auto_free char *path = mem_printf("%s/supervisor.pid", f->runtime_dir);
	char text[64];

	if (file_read_small(path, text, sizeof text) < 0)
		return -1;
	return (pid_t)strtol(text, NULL, 10);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	auto_free char *remove = mem_printf("rm -rf %s", f->folder);
	pid_t pid = supervisor_pid(f);

	supervisor_client_destroy(f->client);
	uv_close((uv_handle_t *)&f->deadline, NULL);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	if (pid > 1)
		(void)kill(pid, SIGKILL);
	assert_int_equal(system(remove), 0);
	free(f->folder);
	free(f->runtime_dir);
	free(f->state_dir);
	free(f);
	return 0;
}

static int start(struct fixture *f, const char *attempt, const char *script, struct error *err)
{
	char sh[] = "sh", c[] = "-c", path[] = "PATH=/usr/bin:/bin";
	auto_free char *copy = mem_strdup(script);
	char *argv[] = {sh, c, copy, NULL}, *env[] = {path, NULL};
	struct supervisor_start request = {
	    .attempt = attempt, .argv = argv, .env = env, .cwd = "/", .umask = 022};

	return supervisor_client_start(f->client, &request, err);
}

static void test_start_and_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(f->synced, 0);
	/* Asked for before there is a supervisor at all. */
	assert_int_equal(start(f, "1.1", "exit 3", NULL), 0);
	run_until(f, &f->ended, 1);
	assert_int_equal(f->synced, 1);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->last_ended.how, SUPERVISOR_EXITED);
	assert_int_equal(f->last_ended.exit_code, 3);
	assert_true(f->last_ended.has_peak_ram && f->last_ended.peak_ram_bytes > 0);
	assert_true(f->last_ended.has_cpu);
	assert_int_equal(f->troubles, 0);
}

static void test_signal(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(start(f, "1.1", "sleep 60", NULL), 0);
	run_until(f, &f->usages, 1);
	supervisor_client_signal(f->client, "1.1", SIGTERM);
	run_until(f, &f->ended, 1);
	assert_int_equal(f->last_ended.how, SUPERVISOR_SIGNALED);
	assert_int_equal(f->last_ended.signal, SIGTERM);
	supervisor_client_signal(f->client, "1.1", SIGTERM);
	supervisor_client_signal(f->client, "never.1", SIGTERM);
}

static void test_failure_tells_why(void **state)
{
	struct fixture *f = *state;
	char none[] = "no-such-command";
	char *argv[] = {none, NULL};
	struct supervisor_start request = {.attempt = "1.1", .argv = argv, .cwd = "/"};

	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(supervisor_client_start(f->client, &request, NULL), 0);
	run_until(f, &f->failed, 1);
	assert_non_null(strstr(f->last_text, "command not found: no-such-command"));
	assert_int_equal(f->started, 0);
}

static void test_bad_requests(void **state)
{
	struct fixture *f = *state;
	auto_free char *huge = mem_alloc((size_t)2 << 20);
	char *nothing[] = {NULL}, *argv[] = {huge, NULL};
	struct supervisor_start request = {.attempt = "1.1", .argv = nothing, .cwd = "/"};
	struct error err;

	memset(huge, 'x', ((size_t)2 << 20) - 1);
	huge[((size_t)2 << 20) - 1] = '\0';
	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(supervisor_client_start(f->client, &request, &err), -EINVAL);
	request.argv = argv;
	assert_int_equal(supervisor_client_start(f->client, &request, &err), -E2BIG);
	assert_non_null(strstr(err.text, "1024 KiB"));
	huge[4] = '\0';
	request.nice = 40;
	assert_int_equal(supervisor_client_start(f->client, &request, &err), -EINVAL);
	request.nice = 0;
	request.log_path = "relative";
	assert_int_equal(supervisor_client_start(f->client, &request, &err), -EINVAL);
	assert_int_equal(start(f, "1.1", "true", NULL), 0);
	assert_int_equal(start(f, "1.1", "true", &err), -EEXIST);
}

static void test_supervisor_killed(void **state)
{
	struct fixture *f = *state;
	auto_free char *flag = mem_printf("%s/flag", f->folder);
	auto_free char *script = mem_printf("while [ ! -e %s ]; do sleep 0.02; done; exit 6", flag);
	pid_t first, task;

	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(start(f, "1.1", script, NULL), 0);
	run_until(f, &f->started, 1);
	task = f->last_pid;
	first = supervisor_pid(f);
	assert_int_equal(kill(first, SIGKILL), 0);
	run_until(f, &f->troubles, 1);
	assert_non_null(strstr(f->last_text, "gone"));
	/* While nobody is there: one more start and a signal for later. */
	assert_int_equal(start(f, "2.1", "sleep 60", NULL), 0);
	supervisor_client_signal(f->client, "1.1", SIGCONT);
	run_until(f, &f->synced, 2);
	assert_int_not_equal(supervisor_pid(f), first);
	run_until(f, &f->started, 3);
	assert_int_equal(kill(task, 0), 0);
	supervisor_client_signal(f->client, "2.1", SIGKILL);
	run_until(f, &f->ended, 1);
	assert_string_equal(f->last_attempt, "2.1");
	{
		auto_file FILE *file = fopen(flag, "we");

		assert_non_null(file);
	}
	run_until(f, &f->ended, 2);
	assert_string_equal(f->last_attempt, "1.1");
	assert_true(f->last_ended.how == SUPERVISOR_LOST || f->last_ended.exit_code == 6);
}

static void test_daemon_restarted(void **state)
{
	struct fixture *f = *state;

	f->acks = false;
	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(start(f, "1.1", "exit 3", NULL), 0);
	assert_int_equal(start(f, "2.1", "sleep 60", NULL), 0);
	run_until(f, &f->ended, 1);
	run_until(f, &f->started, 2);
	/* Gone before it has acknowledged. */
	supervisor_client_destroy(f->client);
	f->acks = true;
	f->ended = f->started = f->synced = 0;
	assert_int_equal(client_open(f, NULL), 0);
	supervisor_client_expect(f->client, "1.1");
	supervisor_client_expect(f->client, "2.1");
	supervisor_client_expect(f->client, "3.1");
	run_until(f, &f->synced, 1);
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->last_ended.exit_code, 3);
	assert_int_equal(f->started, 1);
	assert_false(f->adopted);
	assert_int_equal(f->unknown, 1);
	/* What is unknown may be started. */
	assert_int_equal(start(f, "3.1", "exit 4", NULL), 0);
	run_until(f, &f->ended, 2);
	assert_int_equal(f->last_ended.exit_code, 4);
	supervisor_client_signal(f->client, "2.1", SIGKILL);
	run_until(f, &f->ended, 3);
}

static void test_journal_lost(void **state)
{
	struct fixture *f = *state;
	auto_free char *journal = mem_printf("%s/supervisor.journal", f->state_dir);
	pid_t task;

	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(start(f, "1.1", "sleep 60", NULL), 0);
	run_until(f, &f->started, 1);
	task = f->last_pid;
	assert_int_equal(kill(supervisor_pid(f), SIGKILL), 0);
	assert_int_equal(unlink(journal), 0);
	/* It was running and nobody knows it any more: lost, and not "never ran". */
	run_until(f, &f->ended, 1);
	assert_int_equal(f->last_ended.how, SUPERVISOR_LOST);
	assert_int_equal(f->unknown, 0);
	(void)kill(-task, SIGKILL);
}

static void test_destroy_inside_a_callback(void **state)
{
	struct fixture *f = *state;

	f->destroy_on_end = true;
	assert_int_equal(client_open(f, NULL), 0);
	assert_int_equal(start(f, "1.1", "true", NULL), 0);
	assert_int_equal(start(f, "2.1", "true", NULL), 0);
	run_until(f, &f->ended, 1);
	(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->ended, 1);
}

static void test_program_that_cannot_start(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(client_open(f, "/bin/false"), 0);
	run_until(f, &f->troubles, 1);
	assert_non_null(strstr(f->last_text, "/bin/false ended with status 1"));
	supervisor_client_destroy(f->client);
	f->troubles = 0;
	assert_int_equal(client_open(f, "/no/such/program"), 0);
	run_until(f, &f->troubles, 1);
	assert_non_null(strstr(f->last_text, "/no/such/program"));
}

static void test_foreign_socket(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = mem_printf("%s/supervisor.sock", f->runtime_dir);

	assert_int_equal(mkdir(f->runtime_dir, 0700), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(client_open(f, NULL), 0);
	run_until(f, &f->troubles, 1);
	assert_non_null(strstr(f->last_text, "is not a socket"));
}

static void test_many(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(client_open(f, NULL), 0);
	for (int i = 0; i < 300; i++) {
		auto_free char *attempt = mem_printf("%d.1", i);

		assert_int_equal(start(f, attempt, "exit 0", NULL), 0);
	}
	run_until(f, &f->ended, 300);
	assert_int_equal(f->started, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_start_and_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failure_tells_why, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_supervisor_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_daemon_restarted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_journal_lost, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_destroy_inside_a_callback, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_program_that_cannot_start, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_foreign_socket, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
