/* The machine as read from trees of files in tests/cases/host/. */
#include "host/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GIB ((uint64_t)1 << 30)

static int sample(const char *name, struct host_info *info, struct error *err)
{
	auto_free char *proc = mem_printf("%s/host/%s/proc", getenv("PLIMSOLL_CASES"), name);
	auto_free char *cgroup = mem_printf("%s/host/%s/cgroup", getenv("PLIMSOLL_CASES"), name);
	auto_host struct host *host = NULL;

	assert_int_equal(host_open(proc, cgroup, &host, NULL), 0);
	return host_sample(host, info, err);
}

static void test_v2(void **state)
{
	struct host_info info;
	uint64_t bytes;
	double cpus;

	(void)state;
	assert_int_equal(sample("v2", &info, NULL), 0);
	assert_int_equal(info.ram_total_bytes, (uint64_t)24684084 * 1024);
	assert_int_equal(info.ram_available_bytes, 16 * GIB);
	/* 8 GiB with 7 used, half a GiB of it cache, is tighter than 5 GiB (memory.high) with 1. */
	assert_int_equal(info.cgroup_limit_bytes, 8 * GIB);
	assert_int_equal(info.cgroup_used_bytes, 7 * GIB - GIB / 2);
	assert_true(host_ram_available(&info, &bytes));
	assert_int_equal(bytes, GIB + GIB / 2);
	assert_true(host_ram_total(&info, &bytes));
	assert_int_equal(bytes, 8 * GIB);
	assert_true(host_info_has(&info, HOST_CGROUP_CPUS | HOST_CPUS));
	assert_true(info.cgroup_cpus > 1.49 && info.cgroup_cpus < 1.51);
	assert_true(host_cpus(&info, &cpus) && cpus <= 1.5);
	assert_true(
	    host_info_has(&info, HOST_PRESSURE_CPU | HOST_PRESSURE_MEMORY | HOST_PRESSURE_IO));
	assert_true(info.pressure_cpu_percent > 12.4 && info.pressure_cpu_percent < 12.6);
	assert_true(info.pressure_memory_percent > 3.2 && info.pressure_memory_percent < 3.3);
	assert_true(info.pressure_io_percent >= 0 && info.pressure_io_percent < 0.1);
	assert_true(host_info_has(&info, HOST_OOM_KILLS));
	assert_int_equal(info.oom_kills, 2);
}

static void test_v1(void **state)
{
	struct host_info info;
	uint64_t bytes;

	(void)state;
	assert_int_equal(sample("v1", &info, NULL), 0);
	assert_int_equal(info.cgroup_limit_bytes, 2 * GIB);
	assert_int_equal(info.cgroup_used_bytes, GIB);
	assert_true(host_ram_available(&info, &bytes));
	assert_int_equal(bytes, GIB);
	assert_true(info.cgroup_cpus > 0.49 && info.cgroup_cpus < 0.51);
	assert_int_equal(info.oom_kills, 7);
	assert_false(host_info_has(&info, HOST_PRESSURE_CPU));
}

static void test_container(void **state)
{
	struct host_info info;
	uint64_t bytes;

	(void)state;
	assert_int_equal(sample("container", &info, NULL), 0);
	assert_int_equal(info.cgroup_limit_bytes, GIB);
	/* More used than allowed: nothing left, and not a huge number. */
	assert_true(host_ram_available(&info, &bytes));
	assert_int_equal(bytes, 0);
	assert_false(host_info_has(&info, HOST_CGROUP_CPUS));
	assert_false(host_info_has(&info, HOST_OOM_KILLS));
}

static void test_unknown_is_unknown(void **state)
{
	struct host_info info;
	struct error err;
	uint64_t bytes = 77;

	(void)state;
	assert_int_equal(sample("bare", &info, NULL), 0);
	assert_int_equal(info.valid & ~(unsigned)HOST_CPUS, HOST_RAM_TOTAL);
	assert_false(host_ram_available(&info, &bytes));
	assert_int_equal(bytes, 77);
	assert_true(host_ram_total(&info, &bytes));
	assert_int_equal(bytes, 1 << 20);
	assert_true(sample("empty", &info, &err) < 0);
	assert_true(err.text[0] != '\0');
}

static void test_this_machine(void **state)
{
	auto_host struct host *host = NULL;
	struct host_info info;
	struct error err;
	double cpus;

	(void)state;
	assert_int_equal(host_open(NULL, NULL, &host, NULL), 0);
	assert_int_equal(host_sample(host, &info, NULL), 0);
	assert_true(host_info_has(&info, HOST_RAM_TOTAL | HOST_RAM_AVAILABLE | HOST_CPUS));
	assert_true(info.ram_available_bytes <= info.ram_total_bytes);
	assert_true(host_cpus(&info, &cpus) && cpus > 0);
	host_close(host);
	host = NULL;
	assert_true(host_open("/no/such/folder", NULL, &host, &err) < 0);
	assert_null(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_v2),           cmocka_unit_test(test_v1),
	    cmocka_unit_test(test_container),    cmocka_unit_test(test_unknown_is_unknown),
	    cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
