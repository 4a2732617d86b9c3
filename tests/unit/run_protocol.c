/* A start request there and back; what is no request says why. */
#include "run/protocol.h"

#include "run/client.h"

#include "own_limits.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

static char word_true[] = "true", word_env[] = "A=B", word_bytes[] = "\xff/x";
static char *argv[] = {word_true, word_bytes, NULL}, *env[] = {word_env, NULL};
static const gid_t groups[] = {4, 27, 4294967294};

static struct supervisor_start base(void)
{
	return (struct supervisor_start){
	    .attempt = "1.1", .argv = argv, .env = env, .cwd = "/", .umask = 027, .nice = 3};
}

static void parse(const struct supervisor_start *start, struct protocol_request *ret_request)
{
	auto_free char *line = NULL;

	assert_int_equal(protocol_start_encode(start, &line, NULL), 0);
	assert_null(strchr(line, '\n'));
	assert_int_equal(protocol_request_parse(line, strlen(line), ret_request, NULL), 0);
}

static void test_plain(void **state)
{
	struct supervisor_start start = base();
	struct protocol_request request;

	parse(&start, &request);
	assert_int_equal(request.op, PROTOCOL_START);
	assert_string_equal(request.argv.items[1], word_bytes);
	assert_int_equal(request.umask, 027);
	assert_int_equal(request.nice, 3);
	assert_false(request.has_user);
	assert_null(request.tty);
	assert_null(request.log_path);
	assert_int_equal(request.log_owner, PROTOCOL_LOG_USER);
	protocol_request_finish(&request);
}

static void test_user(void **state)
{
	struct supervisor_user user = {
	    .uid = 4294967294, .gid = 0, .groups = groups, .n_groups = 3};
	struct supervisor_start start = base();
	struct protocol_request request;

	user.limits = own_limits();
	user.limits.of[RLIMIT_CORE].soft = 0;
	user.limits.of[RLIMIT_CORE].hard = LIMITS_NONE;
	start.user = &user;
	start.log_path = "/s/logs/1.log";
	start.log_is_private = true;
	parse(&start, &request);
	assert_true(request.has_user);
	assert_true(request.user.uid == 4294967294 && request.user.gid == 0);
	assert_int_equal(request.user.n_groups, 3);
	assert_memory_equal(request.user.groups, groups, sizeof groups);
	assert_memory_equal(&request.user.limits, &user.limits, sizeof user.limits);
	assert_int_equal(request.log_owner, PROTOCOL_LOG_SUPERVISOR);
	protocol_request_finish(&request);
	user.n_groups = 0;
	user.limits.set = 0;
	parse(&start, &request);
	assert_int_equal(request.user.n_groups, 0);
	assert_int_equal(request.user.limits.set, 0);
	protocol_request_finish(&request);
}

static void test_terminal(void **state)
{
	struct supervisor_start start = base();
	struct protocol_request request;

	start.tty = "/dev/pts/7";
	parse(&start, &request);
	assert_string_equal(request.tty, "/dev/pts/7");
	protocol_request_finish(&request);
}

static void test_not_encoded(void **state)
{
	struct supervisor_user nobody = {.uid = (uid_t)-1, .gid = 1},
			       groupless = {.uid = 1, .gid = (gid_t)-1},
			       crowd = {.uid = 1, .gid = 1, .n_groups = PROTOCOL_GROUPS_MAX + 1};
	const struct {
		const struct supervisor_user *user;
		const char *tty, *log_path, *text;
	} cases[] = {
	    {&nobody, NULL, NULL, "not known"},
	    {&groupless, NULL, NULL, "not known"},
	    {&crowd, NULL, NULL, "at most 65536 groups"},
	    {NULL, "/etc/passwd", NULL, "below /dev"},
	    {NULL, "/dev/pts/../../etc/passwd", NULL, "below /dev"},
	    {NULL, "/dev/pts/1", "/log", "no log"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct supervisor_start start = base();
		auto_free char *line = NULL;
		struct error err;

		start.user = cases[i].user;
		start.tty = cases[i].tty;
		start.log_path = cases[i].log_path;
		assert_true(protocol_start_encode(&start, &line, &err) < 0);
		assert_non_null(strstr(err.text, cases[i].text));
		assert_null(line);
	}
}

static void test_not_parsed(void **state)
{
	static const struct {
		const char *more, *text;
	} cases[] = {
	    {"\"user\": 5", "needs a \"uid\""},
	    {"\"user\": {\"gid\": 5}", "needs a \"uid\""},
	    {"\"user\": {\"uid\": 4294967295, \"gid\": 5}", "needs a \"uid\""},
	    {"\"user\": {\"uid\": 18446744069414584320, \"gid\": 5}", ""},
	    {"\"user\": {\"uid\": 4294967296, \"gid\": 5}", "needs a \"uid\""},
	    {"\"user\": {\"uid\": 5, \"gid\": 5, \"groups\": {}}", "no list of at most"},
	    {"\"user\": {\"uid\": 5, \"gid\": 5, \"groups\": [4294967295]}", "no group"},
	    {"\"user\": {\"uid\": 5, \"gid\": 5, \"limits\": {\"x\": [1, 1]}}", "unknown limit"},
	    {"\"user\": {\"uid\": 5, \"gid\": 5, \"limits\": {\"core\": [1]}}", "\"core\""},
	    {"\"log_owner\": \"me\"", "log_owner"},
	    {"\"tty\": \"/tmp/x\"", "tty"},
	    {"\"tty\": {\"hex\": \"2f6465762f78\"}", "tty"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *line =
		    mem_printf("{\"op\": \"start\", \"attempt\": \"1.1\", \"argv\": [\"x\"], %s}",
			       cases[i].more);
		struct protocol_request request;
		struct error err;

		assert_true(protocol_request_parse(line, strlen(line), &request, &err) < 0);
		assert_non_null(strstr(err.text, cases[i].text));
	}
}

static void test_transient(void **state)
{
	assert_true(protocol_is_transient(EAGAIN));
	assert_true(protocol_is_transient(EMFILE));
	assert_true(protocol_is_transient(ENOSPC));
	assert_false(protocol_is_transient(ENOENT));
	assert_false(protocol_is_transient(EACCES));
	assert_false(protocol_is_transient(EPERM));
	assert_false(protocol_is_transient(ECANCELED));
	assert_false(protocol_is_transient(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_plain),      cmocka_unit_test(test_user),
	    cmocka_unit_test(test_terminal),   cmocka_unit_test(test_not_encoded),
	    cmocka_unit_test(test_not_parsed), cmocka_unit_test(test_transient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
