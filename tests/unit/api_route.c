/* Routes and the errno-status table. */
#include "api/server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct api_route ROUTES[] = {
    {"GET", "/v1/tasks", API_ROLE_VIEW, API_OPEN, NULL, 0, NULL},
    {"POST", "/v1/tasks", API_ROLE_OPERATE, API_OPEN, NULL, 100, NULL},
    {"GET", "/v1/tasks/{id}", API_ROLE_VIEW, API_OPEN, NULL, 0, NULL},
    {"GET", "/v1/tasks/{id}/log", API_ROLE_VIEW, API_OPEN, NULL, 0, NULL},
    {"DELETE", "/v1/kinds/{name}", API_ROLE_ADMIN, API_OPEN, NULL, 0, NULL},
};

static void test_find(void **state)
{
	static const struct {
		const char *method, *path;
		int result;
		size_t route;
		uint64_t id;
	} cases[] = {
	    {"GET", "/v1/tasks", 0, 0, 0},
	    {"POST", "/v1/tasks", 0, 1, 0},
	    {"GET", "/v1/tasks/17", 0, 2, 17},
	    {"GET", "/v1/tasks/17/log", 0, 3, 17},
	    {"GET", "/v1/tasks/9223372036854775807", 0, 2, INT64_MAX},
	    {"DELETE", "/v1/tasks/17", -ENOTSUP, 0, 0},
	    {"GET", "/v1/tasks/", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/0", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/-1", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/1x", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/9223372036854775808", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/111111111111111111111111111111", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/17/logs", -ENOENT, 0, 0},
	    {"GET", "/v1/tasks/17/log/x", -ENOENT, 0, 0},
	    {"DELETE", "/v1/kinds/a", 0, 4, 0},
	    {"DELETE", "/v1/kinds/a b/c{}/../", 0, 4, 0},
	    {"GET", "/v1/kinds/a", -ENOTSUP, 0, 0},
	    {"DELETE", "/v1/kinds/", -ENOENT, 0, 0},
	    {"DELETE", "/v1/kinds", -ENOENT, 0, 0},
	    {"DELETE", "/v1/kindsa", -ENOENT, 0, 0},
	    {"GET", "/v1", -ENOENT, 0, 0},
	    {"GET", "", -ENOENT, 0, 0},
	    {"GET", "v1/tasks", -ENOENT, 0, 0},
	    {"GET", "//v1/tasks", -ENOENT, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct api_route *route = NULL;
		uint64_t id = 0;
		int r = api_route_find(ROUTES, ARRAY_LEN(ROUTES), cases[i].method, cases[i].path,
				       &route, &id);

		if (r != cases[i].result)
			print_error("case %zu %s: %d\n", i, cases[i].path, r);
		assert_int_equal(r, cases[i].result);
		if (r < 0)
			continue;
		assert_ptr_equal(route, &ROUTES[cases[i].route]);
		if (cases[i].id)
			assert_true(id == cases[i].id);
	}
}

static void test_status_round_trip(void **state)
{
	static const int codes[] = {-EINVAL,  -EBADMSG, -EPERM,    -EACCES, -ENOENT,
				    -ENOTSUP, -EBUSY,   -EALREADY, -E2BIG,  -ENODEV,
				    -EUSERS,  -EIO,     -ENOSPC};
	const char *name;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		unsigned status = api_status_of(codes[i], &name);

		assert_in_range(status, 400, 503);
		assert_int_equal(api_code_of(status, name), codes[i]);
	}
	assert_int_equal(api_status_of(-EXDEV, &name), 500);
	assert_int_equal(api_code_of(500, "internal"), -EPROTO);
	assert_int_equal(api_code_of(404, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_status_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
