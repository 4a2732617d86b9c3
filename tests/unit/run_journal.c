/* The supervisor's journal, the table of ids, the table of states, and the protocol's lines. */
#include "run/client.h"
#include "run/journal.h"
#include "util/file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/plimsoll-journal-XXXXXX";
static char path[64];

static int setup(void **state)
{
	(void)state;
	memcpy(folder, "/tmp/plimsoll-journal-XXXXXX", sizeof folder);
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof path, "%s/journal", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

struct opened {
	struct idtable attempts;
	struct journal *journal;
	struct strings warnings;
};

static void opened_open(struct opened *o)
{
	*o = (struct opened){};
	assert_int_equal(journal_open(path, &o->attempts, &o->journal, &o->warnings, NULL), 0);
}

static void opened_close(struct opened *o)
{
	auto_free struct idtable_node **list = idtable_list(&o->attempts);

	for (struct idtable_node **node = list; *node; node++)
		attempt_destroy(IDTABLE_OF(*node, struct attempt, by_id));
	idtable_finish(&o->attempts);
	strings_finish(&o->warnings);
	journal_close(o->journal);
}

static struct attempt *get(struct opened *o, const char *id)
{
	struct idtable_node *node = idtable_find(&o->attempts, id);

	return node ? IDTABLE_OF(node, struct attempt, by_id) : NULL;
}

static struct attempt *add(struct opened *o, const char *id, pid_t pid)
{
	struct attempt *attempt = attempt_create(id);

	attempt->pid = pid;
	attempt->start_time = 7;
	attempt->started_at = 1000;
	idtable_add(&o->attempts, &attempt->by_id);
	return attempt;
}

static void test_what_is_written_is_read(void **state)
{
	struct attempt *three[3];
	struct opened o;

	(void)state;
	opened_open(&o);
	three[0] = add(&o, "1.1", 101);
	three[0]->log_path = mem_strdup("/tmp/\xff");
	three[0]->log_cap_bytes = 5;
	three[0]->log_owner = 65534;
	three[0]->cgroup = mem_strdup("/sys/fs/cgroup/plimsoll.1.2/task-1.1");
	three[1] = add(&o, "2.1", 102);
	three[2] = add(&o, "3.1", 103);
	assert_int_equal(journal_commit_starts(o.journal, three, 3, NULL), 0);
	three[1]->state = ATTEMPT_ENDED;
	three[1]->wait_status = 9; /* by SIGKILL */
	three[1]->ended_at = 2000;
	three[1]->has_peak_ram = true;
	three[1]->peak_ram_bytes = 77;
	three[1]->has_cgroup_peak = true;
	three[1]->cgroup_peak_bytes = 99;
	journal_note_end(o.journal, three[1]);
	three[2]->state = ATTEMPT_FAILED;
	three[2]->fail_errno = ENOENT;
	three[2]->fail_text = mem_strdup("no such thing");
	three[2]->never_ran = three[2]->fail_as_task = three[2]->fail_transient = true;
	journal_note_end(o.journal, three[2]);
	assert_int_equal(journal_commit(o.journal, NULL), 0);
	opened_close(&o);

	opened_open(&o);
	assert_int_equal(o.attempts.n, 3);
	assert_int_equal(o.warnings.n, 0);
	assert_int_equal(get(&o, "1.1")->state, ATTEMPT_RUNNING);
	assert_true(get(&o, "1.1")->adopted);
	assert_int_equal(get(&o, "1.1")->pid, 101);
	assert_int_equal(get(&o, "1.1")->start_time, 7);
	assert_string_equal(get(&o, "1.1")->log_path, "/tmp/\xff");
	assert_int_equal(get(&o, "1.1")->log_cap_bytes, 5);
	assert_int_equal(get(&o, "1.1")->log_owner, 65534);
	assert_string_equal(get(&o, "1.1")->cgroup, "/sys/fs/cgroup/plimsoll.1.2/task-1.1");
	assert_true(get(&o, "2.1")->has_cgroup_peak);
	assert_int_equal(get(&o, "2.1")->cgroup_peak_bytes, 99);
	assert_null(get(&o, "2.1")->cgroup);
	assert_int_equal(get(&o, "2.1")->state, ATTEMPT_ENDED);
	assert_int_equal(get(&o, "2.1")->wait_status, 9);
	assert_false(get(&o, "2.1")->lost);
	assert_int_equal(get(&o, "2.1")->peak_ram_bytes, 77);
	assert_false(get(&o, "2.1")->has_cpu);
	assert_int_equal(get(&o, "3.1")->state, ATTEMPT_FAILED);
	assert_string_equal(get(&o, "3.1")->fail_text, "no such thing");
	assert_true(get(&o, "3.1")->never_ran && get(&o, "3.1")->fail_as_task);
	assert_true(get(&o, "3.1")->fail_transient);
	journal_note_ack(o.journal, get(&o, "2.1"));
	assert_int_equal(journal_commit(o.journal, NULL), 0);
	opened_close(&o);

	opened_open(&o);
	assert_int_equal(o.attempts.n, 2);
	assert_null(get(&o, "2.1"));
	opened_close(&o);
}

static void test_compaction(void **state)
{
	struct opened o;
	struct stat st;
	off_t largest = 0;

	(void)state;
	opened_open(&o);
	for (int i = 0; i < 20000; i++) {
		auto_free char *id = mem_printf("%d.1", i);
		struct attempt *attempt = add(&o, id, 100);

		attempt->state = ATTEMPT_ENDED;
		journal_note_end(o.journal, attempt);
		journal_note_ack(o.journal, attempt);
		idtable_remove(&o.attempts, &attempt->by_id);
		attempt_destroy(attempt);
		assert_int_equal(journal_commit(o.journal, NULL), 0);
		assert_int_equal(journal_compact(o.journal, &o.attempts, NULL), 0);
		assert_int_equal(stat(path, &st), 0);
		largest = MAX_OF(largest, st.st_size);
	}
	assert_true(largest > 1 << 19 && largest <= 1 << 20);
	opened_close(&o);
}

/* In place of the C library's: a file system in trouble. */
static bool truncate_fails;

int ftruncate(int fd, off_t size)
{
	if (!truncate_fails)
		return (int)syscall(SYS_ftruncate, fd, size);
	errno = EIO;
	return -1;
}

/* As on a full disk: part of the line is written, then no more. */
static void limit_files(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_torn_line_that_cannot_be_cut_off(void **state)
{
	struct opened o;
	struct attempt *first, *second;
	struct stat st;

	(void)state;
	for (unsigned starts = 0; starts < 2; starts++) {
		(void)unlink(path);
		opened_open(&o);
		first = add(&o, "1.1", 101);
		assert_int_equal(journal_commit_starts(o.journal, &first, 1, NULL), 0);
		first->state = ATTEMPT_ENDED;
		first->ended_at = 2000;
		journal_note_end(o.journal, first);
		assert_int_equal(stat(path, &st), 0);
		limit_files((rlim_t)st.st_size + 20);
		truncate_fails = true;
		assert_int_equal(journal_commit(o.journal, NULL), -EFBIG);
		assert_int_equal(journal_commit(o.journal, NULL), -EFBIG);
		limit_files(RLIM_INFINITY);
		second = add(&o, "2.1", 102);
		if (starts)
			assert_int_equal(journal_commit_starts(o.journal, &second, 1, NULL), 0);
		else
			assert_int_equal(journal_commit(o.journal, NULL), 0);
		truncate_fails = false;
		second->state = ATTEMPT_ENDED;
		second->wait_status = 3 << 8;
		journal_note_end(o.journal, second);
		assert_int_equal(journal_commit(o.journal, NULL), 0);
		opened_close(&o);

		opened_open(&o);
		assert_int_equal(o.warnings.n, 0);
		assert_int_equal(o.attempts.n, 2);
		assert_int_equal(get(&o, "1.1")->state, ATTEMPT_ENDED);
		assert_int_equal(get(&o, "1.1")->ended_at, 2000);
		assert_int_equal(get(&o, "2.1")->wait_status, 3 << 8);
		opened_close(&o);
	}
}

static void test_idtable(void **state)
{
	static struct idtable_node nodes[1000];
	static char ids[1000][16];
	struct idtable table = {};
	auto_free struct idtable_node **list = NULL;
	size_t n = 0;

	(void)state;
	assert_null(idtable_find(&table, "0"));
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(ids[i], sizeof ids[i], "%d", i);
		nodes[i].id = ids[i];
		idtable_add(&table, &nodes[i]);
	}
	for (int i = 0; i < 1000; i += 2)
		idtable_remove(&table, &nodes[i]);
	for (int i = 0; i < 1000; i++)
		assert_ptr_equal(idtable_find(&table, ids[i]), i % 2 ? &nodes[i] : NULL);
	list = idtable_list(&table);
	while (list[n])
		n++;
	assert_int_equal(n, 500);
	assert_int_equal(table.n, 500);
	idtable_finish(&table);
}

static void test_states(void **state)
{
	static const struct {
		enum attempt_state from;
		enum attempt_event event;
		int to;
	} cases[] = {
	    {ATTEMPT_STARTING, ATTEMPT_EXEC_DONE, ATTEMPT_RUNNING},
	    {ATTEMPT_STARTING, ATTEMPT_EXEC_FAILED, ATTEMPT_FAILED},
	    {ATTEMPT_RUNNING, ATTEMPT_EXEC_FAILED, -1},
	    {ATTEMPT_RUNNING, ATTEMPT_LEADER_OVER, ATTEMPT_ENDING},
	    {ATTEMPT_ENDING, ATTEMPT_GROUP_EMPTY, ATTEMPT_ENDED},
	    {ATTEMPT_RUNNING, ATTEMPT_GROUP_EMPTY, -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(attempt_next_state(cases[i].from, cases[i].event), cases[i].to);
	/* What is over stays over. */
	for (int event = 0; event < ATTEMPT_N_EVENTS; event++) {
		assert_int_equal(attempt_next_state(ATTEMPT_ENDED, (enum attempt_event)event), -1);
		assert_int_equal(attempt_next_state(ATTEMPT_FAILED, (enum attempt_event)event), -1);
	}
}

static void test_start_travels_unchanged(void **state)
{
	char raw[] = "\xff\xfe raw", text[] = "text\n\"quoted\"", pair[] = "K=\xe9";
	char *argv[] = {text, raw, NULL}, *env[] = {pair, NULL};
	struct supervisor_start start = {.attempt = "1.1",
					 .argv = argv,
					 .env = env,
					 .cwd = "/\xff",
					 .umask = 077,
					 .log_path = "/l",
					 .log_cap_bytes = 9,
					 .nice = -3};
	struct protocol_request request = {};
	auto_free char *line = NULL;

	(void)state;
	assert_int_equal(protocol_start_encode(&start, &line, NULL), 0);
	assert_null(strchr(line, '\n'));
	assert_int_equal(protocol_request_parse(line, strlen(line), &request, NULL), 0);
	assert_int_equal(request.op, PROTOCOL_START);
	assert_string_equal(request.attempt, "1.1");
	assert_int_equal(request.argv.n, 2);
	assert_string_equal(request.argv.items[0], text);
	assert_string_equal(request.argv.items[1], raw);
	assert_string_equal(request.env.items[0], pair);
	assert_string_equal(request.cwd, "/\xff");
	assert_string_equal(request.log_path, "/l");
	assert_int_equal(request.umask, 077);
	assert_int_equal(request.log_cap_bytes, 9);
	assert_int_equal(request.nice, -3);
	protocol_request_finish(&request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_is_written_is_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_compaction, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_torn_line_that_cannot_be_cut_off, setup,
					    teardown),
	    cmocka_unit_test(test_idtable),
	    cmocka_unit_test(test_states),
	    cmocka_unit_test(test_start_travels_unchanged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
