/* The gate: who is let through, and what can be said of it afterwards. */
#include "run/gate.h"
#include "run/spawn.h"
#include "util/cleanup.h"
#include "util/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/plimsoll-gate-XXXXXX";
static char path[64];

static int setup(void **state)
{
	(void)state;
	memcpy(folder, "/tmp/plimsoll-gate-XXXXXX", sizeof folder);
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof path, "%s/gates", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static void gates_open(struct gates *gates)
{
	assert_int_equal(gates_init(gates, path, NULL), 0);
}

/* Forked, at the gate: `exit 5`. */
static pid_t child(const struct gate *gate)
{
	char shell[] = "/bin/sh", option[] = "-c", script[] = "exit 5", cwd[] = "/";
	char *argv[] = {shell, option, script, NULL};
	struct protocol_request request = {
	    .argv = {.items = argv, .n = 3}, .cwd = cwd, .umask = 022};
	struct spawn spawn = {.request = &request, .gate = gate, .cgroup_fd = -1};
	struct spawned spawned;

	assert_int_equal(spawn_child(&spawn, &spawned), 0);
	assert_int_equal(spawned.cgroup_code, 0);
	(void)close(spawned.status_fd);
	return spawned.pid;
}

static int exit_code(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_an_open_gate_lets_all_through(void **state)
{
	struct gates gates;
	struct gate gate;
	pid_t pids[5];

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &gate, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		pids[i] = child(&gate);
	assert_true(gates_never_opened(&gates, gate.number));
	assert_int_equal(gate_open(&gates, &gate, ARRAY_LEN(pids), NULL), 0);
	gate_close(&gate);
	assert_false(gates_never_opened(&gates, gate.number));
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		assert_int_equal(exit_code(pids[i]), 5);
	gates_finish(&gates);
}

static void test_a_closed_gate_lets_nobody_through(void **state)
{
	struct gates gates;
	struct gate one, other;
	pid_t pid;

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &one, NULL), 0);
	pid = child(&one);
	/* Another one that is opened later says nothing about this one. */
	assert_int_equal(gate_create(&gates, &other, NULL), 0);
	assert_int_not_equal(one.number, other.number);
	assert_int_equal(gate_open(&gates, &other, 0, NULL), 0);
	gate_close(&other);
	gate_close(&one);
	assert_int_equal(exit_code(pid), SPAWN_EXIT_NOT_STARTED);
	gates_finish(&gates);
}

/* Killed between the mark and the bytes: the mark decides. */
static void test_the_mark_lets_through_when_the_pipe_ends(void **state)
{
	struct gates gates;
	struct gate gate;
	pid_t pid;

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &gate, NULL), 0);
	pid = child(&gate);
	assert_int_equal(gate_open(&gates, &gate, 0, NULL), 0);
	gate_close(&gate);
	assert_int_equal(exit_code(pid), 5);
	gates_finish(&gates);
}

static void test_the_next_one_knows(void **state)
{
	struct gates gates;
	struct gate opened, waiting, next;

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &opened, NULL), 0);
	assert_int_equal(gate_open(&gates, &opened, 1, NULL), 0);
	assert_int_equal(gate_create(&gates, &waiting, NULL), 0);
	gates_finish(&gates);

	gates_open(&gates);
	assert_false(gates_never_opened(&gates, opened.number));
	assert_true(gates_never_opened(&gates, waiting.number));
	assert_false(gates_never_opened(&gates, 0));
	/* What was given is never given again, and nobody waiting there is let through. */
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_false(gate_wait(open("/dev/null", O_RDONLY | O_CLOEXEC), gates.fd, waiting.number));
	assert_int_equal(gate_create(&gates, &next, NULL), 0);
	assert_true(next.number > waiting.number);
	gate_close(&opened);
	gate_close(&waiting);
	gate_close(&next);
	gates_finish(&gates);
}

/* Of a supervisor that was killed a child may wake up late: its gate was not opened, and nobody was
 * told of its number. */
static void test_a_late_one_takes_no_other_gate_for_its_own(void **state)
{
	struct gates gates, next;
	struct gate late, other;
	pid_t pid;

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &late, NULL), 0);
	pid = child(&late);
	gates_open(&next);
	assert_int_equal(gates_begin(&next, 0, NULL), 0);
	assert_int_equal(gate_create(&next, &other, NULL), 0);
	assert_int_equal(gate_open(&next, &other, 0, NULL), 0);
	gate_close(&late);
	assert_int_equal(exit_code(pid), SPAWN_EXIT_NOT_STARTED);
	gate_close(&other);
	gates_finish(&gates);
	gates_finish(&next);
}

/* ... or it was, and others have been opened since: it runs, and is known to, for many rounds. */
static void test_a_late_one_of_an_open_gate_runs(void **state)
{
	struct gates gates, next;
	struct gate late, other;
	pid_t pid;

	(void)state;
	gates_open(&gates);
	assert_int_equal(gates_begin(&gates, 0, NULL), 0);
	assert_int_equal(gate_create(&gates, &late, NULL), 0);
	pid = child(&late);
	assert_int_equal(gate_open(&gates, &late, 0, NULL), 0);
	for (unsigned i = 0; i < GATE_ROUNDS_KEPT - 1; i++) {
		gates_open(&next);
		assert_int_equal(gates_begin(&next, 0, NULL), 0);
		assert_int_equal(gate_create(&next, &other, NULL), 0);
		assert_int_equal(gate_open(&next, &other, 0, NULL), 0);
		gate_close(&other);
		assert_false(gates_never_opened(&next, late.number));
		assert_true(gates_never_opened(&next, late.number + 1));
		gates_finish(&next);
	}
	gate_close(&late);
	assert_int_equal(exit_code(pid), 5);
	gates_finish(&gates);
	/* Then its place is another's, and nothing is claimed. */
	gates_open(&next);
	assert_int_equal(gates_begin(&next, 0, NULL), 0);
	assert_false(gates_never_opened(&next, late.number + 1));
	gates_finish(&next);
}

/* Of the time before rounds: the number of the last gate opened was all there was. */
static void test_a_file_of_an_earlier_version(void **state)
{
	struct gates gates;

	(void)state;
	assert_int_equal(file_replace(path, "gates 1\n\x05\0\0\0\0\0\0\0", 16, 0600, NULL), 0);
	gates_open(&gates);
	assert_int_equal(gates.opened, 5);
	assert_false(gates_never_opened(&gates, 5));
	assert_true(gates_never_opened(&gates, 6));
	assert_int_equal(gates_begin(&gates, 6, NULL), 0);
	assert_true(gate_wait(open("/dev/null", O_RDONLY | O_CLOEXEC), gates.fd, 5));
	assert_false(gate_wait(open("/dev/null", O_RDONLY | O_CLOEXEC), gates.fd, 6));
	assert_true(gates.next > 6);
	gates_finish(&gates);
}

static void test_without_its_file_nothing_is_claimed(void **state)
{
	static const struct {
		const char *data;
		size_t len;
	} damaged[] = {
	    {"", 0},
	    {"gates 1\n", 8},
	    {"gates 2\n\x05\0\0\0\0\0\0\0", 16},
	    {"gates 1\n\0\0\0\0\0\0\0\0", 16},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
		struct gates gates;

		assert_int_equal(file_replace(path, damaged[i].data, damaged[i].len, 0600, NULL),
				 0);
		gates_open(&gates);
		assert_false(gates_never_opened(&gates, 1));
		assert_false(gates_never_opened(&gates, 1000));
		assert_int_equal(gates_begin(&gates, (uint64_t)7 << 32 | 5, NULL), 0);
		assert_true(gates.next > ((uint64_t)7 << 32 | 5));
		assert_true(gates_never_opened(&gates, gates.next));
		gates_finish(&gates);
	}
}

static void test_a_folder_in_its_place_is_refused(void **state)
{
	struct gates gates = {};
	struct error err = {};

	(void)state;
	(void)unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(gates_init(&gates, path, &err) < 0);
	assert_non_null(strstr(err.text, path));
	gates_finish(&gates);
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_an_open_gate_lets_all_through, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_closed_gate_lets_nobody_through, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_the_mark_lets_through_when_the_pipe_ends, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_the_next_one_knows, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_late_one_takes_no_other_gate_for_its_own, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_late_one_of_an_open_gate_runs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_file_of_an_earlier_version, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_without_its_file_nothing_is_claimed, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_a_folder_in_its_place_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("run_gate", tests, NULL, NULL);
}
