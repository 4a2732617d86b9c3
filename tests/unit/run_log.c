/* Logs: reading on, tails, and the middle cut out. */
#include "run/log.h"
#include "util/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_read_on, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_tail, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim_again_and_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_trim_leaves_alone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
