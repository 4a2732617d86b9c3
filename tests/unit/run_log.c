/* Logs: reading on, tails, and the middle cut out. */
#include "run/log.h"
#include "run/oom.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/plimsoll-log-XXXXXX";

static int setup(void **state)
{
	static char template[] = "/tmp/plimsoll-log-XXXXXX";

	memcpy(path, template, sizeof path);
	*state = (void *)(intptr_t)mkstemp(path);
	return (intptr_t)*state < 0;
}

static int teardown(void **state)
{
	(void)close((int)(intptr_t)*state);
	return unlink(path);
}

static void add_lines(int fd, unsigned from, unsigned to)
{
	auto_text struct text text = {};

	for (unsigned i = from; i < to; i++)
		text_printf(&text, "line %07u\n", i);
	assert_int_equal(pwrite(fd, text.data, text.len, lseek(fd, 0, SEEK_END)),
			 (ssize_t)text.len);
}

static char *read_all(int fd, uint64_t offset)
{
	struct text all = {};
	char buf[1000];
	ssize_t n;

	while ((n = log_read(fd, &offset, buf, sizeof buf)) > 0)
		text_add_bytes(&all, buf, (size_t)n);
	assert_int_equal(n, 0);
	return text_take(&all);
}

static void test_read_on(void **state)
{
	int fd = (int)(intptr_t)*state;
	uint64_t offset = 0;
	char buf[100];

	assert_int_equal(log_read(fd, &offset, buf, sizeof buf), 0);
	add_lines(fd, 0, 1);
	assert_int_equal(log_read(fd, &offset, buf, sizeof buf), 13);
	assert_memory_equal(buf, "line 0000000\n", 13);
	assert_int_equal(log_read(fd, &offset, buf, sizeof buf), 0);
	add_lines(fd, 1, 2);
	assert_int_equal(log_read(fd, &offset, buf, sizeof buf), 13);
	assert_int_equal(offset, 26);
}

/* In place of the C library's. To look for a hole goes through all the data before it (28 ms for
 * 1 GB on tmpfs), which is not to be had for every block that is read. */
static unsigned asked_for_holes;

off_t lseek(int fd, off_t offset, int whence)
{
	asked_for_holes += whence == SEEK_HOLE;
	return (off_t)syscall(SYS_lseek, fd, offset, whence);
}

static void test_holes_and_zeros(void **state)
{
	int fd = (int)(intptr_t)*state;
	auto_free char *zeros = mem_calloc(1, 3 * 4096);
	uint64_t offset = 5, at = 0;
	char buf[65536];
	ssize_t n;

	/* Data, zeros that were written, a hole, data that begins with zeros. */
	assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
	assert_int_equal(pwrite(fd, zeros, 3 * 4096 - 5, 5), 3 * 4096 - 5);
	assert_int_equal(pwrite(fd, zeros, 4096, 8 * 4096), 4096);
	assert_int_equal(pwrite(fd, "end", 3, 9 * 4096), 3);
	asked_for_holes = 0;
	assert_int_equal(log_read(fd, &at, buf, sizeof buf), 3 * 4096);
	assert_memory_equal(buf, "begin\0", 6);
	n = log_read(fd, &at, buf, sizeof buf);
	assert_int_equal(n, (ssize_t)strlen("\n[... 20480 bytes cut ...]\n"));
	assert_memory_equal(buf, "\n[... 20480 bytes cut ...]\n", (size_t)n);
	assert_int_equal(log_read(fd, &at, buf, sizeof buf), 4096 + 3);
	assert_memory_equal(buf + 4096, "end", 3);
	assert_int_equal(log_read(fd, &at, buf, sizeof buf), 0);
	/* From the middle of a block. */
	assert_int_equal(log_read(fd, &offset, buf, sizeof buf), 3 * 4096 - 5);
	assert_int_equal(asked_for_holes, 0);
}

static void test_tail(void **state)
{
	int fd = (int)(intptr_t)*state;
	uint64_t offset = 99;

	assert_int_equal(log_tail_offset(fd, 5, &offset), 0);
	assert_int_equal(offset, 0);
	add_lines(fd, 0, 10000); /* more than one step of the search */
	assert_int_equal(log_tail_offset(fd, 3, &offset), 0);
	assert_int_equal(offset, (10000 - 3) * 13);
	assert_int_equal(log_tail_offset(fd, 9000, &offset), 0);
	assert_int_equal(offset, 1000 * 13);
	assert_int_equal(log_tail_offset(fd, 10000, &offset), 0);
	assert_int_equal(offset, 0);
	assert_int_equal(log_tail_offset(fd, 0, &offset), 0);
	assert_int_equal(offset, 130000);
	/* A last line that is not finished counts as one. */
	assert_int_equal(pwrite(fd, "end", 3, 130000), 3);
	assert_int_equal(log_tail_offset(fd, 1, &offset), 0);
	assert_int_equal(offset, 130000);
	assert_int_equal(log_tail_offset(fd, 2, &offset), 0);
	assert_int_equal(offset, 130000 - 13);
}

static void test_trim(void **state)
{
	int fd = (int)(intptr_t)*state;
	uint64_t follower = 0, offset;
	auto_free char *all = NULL;
	char buf[1000], *cut, *end;
	unsigned long long bytes;
	struct stat st;

	add_lines(fd, 0, 100000);
	while (follower < 650000)
		assert_true(log_read(fd, &follower, buf, sizeof buf) > 0);
	assert_int_equal(log_trim(path, (uint64_t)128 << 10, LOG_ANY_OWNER), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1300000);
	assert_true(st.st_blocks * 512 <= 128 << 10);
	all = read_all(fd, 0);
	assert_memory_equal(all, "line 0000000\nline 0000001\n", 26);
	cut = strstr(all, "\n[... ");
	assert_non_null(cut);
	assert_int_equal(sscanf(cut, "\n[... %llu bytes cut ...]\n", &bytes), 1);
	end = all + strlen(all);
	assert_memory_equal(end - 13, "line 0099999\n", 13);
	/* Head, tail and what was cut are all there was. */
	assert_int_equal(strlen(all) - (strchr(cut + 1, '\n') + 1 - cut) + bytes, 1300000);
	assert_true(strlen(all) >= 3 * (128 << 10) / 4 - 8192);
	/* Who follows it and was in the middle goes on behind the cut. */
	assert_true(log_read(fd, &follower, buf, sizeof buf) > 0);
	assert_memory_equal(buf, "\n[... ", 6);
	offset = follower;
	free(TAKE(all));
	all = read_all(fd, offset);
	assert_memory_equal(all + strlen(all) - 13, "line 0099999\n", 13);
	/* A tail never reaches over the cut. */
	assert_int_equal(log_tail_offset(fd, 90000, &offset), 0);
	assert_int_equal(offset, follower);
}

static void test_trim_again_and_again(void **state)
{
	int fd = (int)(intptr_t)*state;
	auto_free char *all = NULL;
	struct stat st;

	for (unsigned i = 0; i < 20; i++) {
		add_lines(fd, i * 10000, (i + 1) * 10000);
		assert_int_equal(log_trim(path, (uint64_t)128 << 10, LOG_ANY_OWNER), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(st.st_blocks * 512 <= 132 << 10);
	}
	all = read_all(fd, 0);
	assert_null(strstr(strstr(all, "[... ") + 1, "[... "));
	assert_memory_equal(all + strlen(all) - 13, "line 0199999\n", 13);
}

static void test_trim_leaves_alone(void **state)
{
	int fd = (int)(intptr_t)*state;
	auto_free char *all = NULL;

	assert_int_equal(log_trim("/no/such/log", 1, LOG_ANY_OWNER), 0);
	assert_int_equal(log_trim("/dev/null", 1, LOG_ANY_OWNER), 0);
	add_lines(fd, 0, 4000); /* 52,000 bytes: below the smallest cap there is */
	assert_int_equal(log_trim(path, 1, LOG_ANY_OWNER), 0);
	all = read_all(fd, 0);
	assert_int_equal(strlen(all), 52000);
}

/* Whatever its size and whatever is in it, a tail costs the same: what reads it all is ended by
 * the alarm. */
static void test_tail_of_anything(void **state)
{
	static const struct {
		off_t size;   /* a hole so large, */
		size_t x;     /* then a line of so many x, */
		unsigned n;   /* and so many short ones */
		off_t behind; /* the tail of 3 lines begins so far from the end */
	} cases[] = {
	    {(off_t)1 << 36, 0, 0, 0},
	    {(off_t)1 << 36, 0, 2, 26},
	    {(off_t)1 << 36, 0, 9, 39},
	    {0, LOG_TAIL_BYTES + 100000, 0, LOG_TAIL_BYTES},
	    {0, LOG_TAIL_BYTES + 100000, 2, 26},
	    {4096, LOG_TAIL_BYTES - 8192, 2, LOG_TAIL_BYTES - 8192 + 1 + 26},
	};
	int fd = (int)(intptr_t)*state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *line = mem_alloc(cases[i].x + 1);
		uint64_t offset = 0;
		off_t end;

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(ftruncate(fd, cases[i].size), 0);
		memset(line, 'x', cases[i].x);
		line[cases[i].x] = '\n';
		if (cases[i].x > 0)
			assert_int_equal(pwrite(fd, line, cases[i].x + 1, cases[i].size),
					 (ssize_t)cases[i].x + 1);
		add_lines(fd, 0, cases[i].n);
		end = lseek(fd, 0, SEEK_END);
		(void)alarm(5);
		assert_int_equal(log_tail_offset(fd, 3, &offset), 0);
		(void)alarm(0);
		assert_int_equal(end - (off_t)offset, cases[i].behind);
	}
}

/* A session leader without a terminal gets the first one it opens; ^C there would end the daemon.
 */
static int child_opens(const char *log)
{
	struct oom_evidence evidence = {.exit_code = 1};
	struct oom_verdict verdict;
	struct oom_patterns *patterns;
	int fd = -1;

	if (setsid() < 0 || open("/dev/tty", O_RDWR) >= 0)
		return 1;
	if (log_open(log, &fd) != -EPERM || fd != -1)
		return 2;
	if (oom_patterns_load(NULL, NULL, 0, &patterns, NULL) < 0)
		return 3;
	oom_classify_file(patterns, &evidence, log, &verdict);
	oom_patterns_destroy(patterns);
	return open("/dev/tty", O_RDWR) >= 0 ? 4 : 0;
}

static void test_open_plain_files_only(void **state)
{
	char link[64], pipe[64];
	int master = posix_openpt(O_RDWR | O_NOCTTY), fd = -1, status;
	pid_t pid;

	(void)state;
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_opens(ptsname(master)));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(close(master), 0);
	(void)snprintf(link, sizeof link, "%s.link", path);
	(void)snprintf(pipe, sizeof pipe, "%s.pipe", path);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(log_open(link, &fd), -ELOOP);
	assert_int_equal(log_open(pipe, &fd), -EPERM);
	assert_int_equal(log_open("/dev/null", &fd), -EPERM);
	assert_int_equal(log_open("/tmp", &fd), -EPERM);
	assert_int_equal(log_open("/no/such/log", &fd), -ENOENT);
	assert_int_equal(fd, -1);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(unlink(pipe), 0);
	assert_int_equal(log_open(path, &fd), 0);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_read_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_holes_and_zeros, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_tail, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim_again_and_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim_leaves_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_tail_of_anything, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_open_plain_files_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
