/* Processes, and the containers their cgroups name. */
#include "host/process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2 "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static struct host *host_of_case(void)
{
	auto_free char *proc = mem_printf("%s/host/processes/proc", getenv("PLIMSOLL_CASES"));
	struct host *host = NULL;

	assert_int_equal(host_open(proc, "/none", &host, NULL), 0);
	return host;
}

static void test_read(void **state)
{
	auto_host struct host *host = host_of_case();
	struct host_process p;

	(void)state;
	assert_int_equal(host_process_read(host, 101, &p), 0);
	assert_string_equal(p.name, "a) (b");
	assert_int_equal(p.pid, 101);
	assert_int_equal(p.ppid, 100);
	assert_int_equal(p.pgrp, 100);
	assert_int_equal(p.session, 100);
	assert_int_equal(p.state, 'Z');
	assert_int_equal(p.start_time, 777);
	assert_int_equal(p.rss_bytes, 2560 * (uint64_t)sysconf(_SC_PAGESIZE));
	assert_int_equal((int)(p.cpu_seconds * (double)sysconf(_SC_CLK_TCK) + 0.5), 200);
	assert_int_equal(host_process_read(host, 103, &p), -ESRCH);
	assert_int_equal(host_process_read(host, 999, &p), -ESRCH);
}

static int count(const struct host_process *process, void *arg)
{
	int *n = arg;

	assert_true(process->pid >= 100 && process->pid <= 102);
	return ++*n == 3 ? 42 : 0;
}

static void test_each(void **state)
{
	auto_host struct host *host = host_of_case();
	int n = 0;

	(void)state;
	assert_int_equal(host_process_each(host, count, &n), 42);
	assert_int_equal(n, 3);
}

static void test_this_process(void **state)
{
	auto_host struct host *host = NULL;
	struct host_process p;

	(void)state;
	assert_int_equal(host_open(NULL, NULL, &host, NULL), 0);
	assert_int_equal(host_process_read(host, getpid(), &p), 0);
	assert_int_equal(p.ppid, getppid());
	assert_int_equal(p.session, getsid(0));
	assert_true(p.rss_bytes > 0);
}

static void test_containers(void **state)
{
	static const struct {
		const char *text;
		enum host_runtime runtime;
		const char *id, *name, *unit;
	} cases[] = {
	    {"0::/system.slice/docker-" ID ".scope\n", HOST_RUNTIME_DOCKER, ID, "", ""},
	    {"12:pids:/docker/" ID "\n4:memory:/docker/" ID "\n", HOST_RUNTIME_DOCKER, ID, "", ""},
	    {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID
	     ".scope/container",
	     HOST_RUNTIME_PODMAN, ID, "", "user@1000.service"},
	    {"4:memory:/libpod_parent/libpod-" ID, HOST_RUNTIME_PODMAN, ID, "", ""},
	    {"0::/docker/" ID "/libpod_parent/libpod-" ID2, HOST_RUNTIME_PODMAN, ID2, "", ""},
	    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-" ID
	     ".scope",
	     HOST_RUNTIME_KUBERNETES, ID, "", ""},
	    {"1:x:/kubepods/besteffort/pod0c7/" ID, HOST_RUNTIME_KUBERNETES, ID, "", ""},
	    {"0::/kubepods.slice/crio-" ID ".scope", HOST_RUNTIME_KUBERNETES, ID, "", ""},
	    {"0::/system.slice/nerdctl-" ID ".scope", HOST_RUNTIME_CONTAINERD, ID, "", ""},
	    {"0::/default/" ID, HOST_RUNTIME_CONTAINERD, ID, "", ""},
	    {"0::/lxc.payload.web/init.scope", HOST_RUNTIME_LXC, "", "web", "init.scope"},
	    {"3:cpu:/lxc/web", HOST_RUNTIME_LXC, "", "web", ""},
	    {"0::/machine.slice/machine-deb.scope", HOST_RUNTIME_NSPAWN, "", "deb", ""},
	    {"0::/machine.slice/systemd-nspawn@deb.service/payload", HOST_RUNTIME_NSPAWN, "", "deb",
	     ""},
	    {"4:memory:/slurm/uid_0/job_123/step_0", HOST_RUNTIME_SLURM, "", "123", ""},
	    {"0::/system.slice/ollama.service\n", HOST_RUNTIME_NONE, "", "", "ollama.service"},
	    {"0::/system.slice/job_x\n", HOST_RUNTIME_NONE, "", "", ""},
	    {"0::/docker/0123\n", HOST_RUNTIME_NONE, "", "", ""},
	    {"0::/\n", HOST_RUNTIME_NONE, "", "", ""},
	    {"nonsense\n\n::\n", HOST_RUNTIME_NONE, "", "", ""},
	    {"", HOST_RUNTIME_NONE, "", "", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_container c;

		host_container_parse(cases[i].text, &c);
		if (c.runtime != cases[i].runtime || strcmp(c.id, cases[i].id) != 0 ||
		    strcmp(c.name, cases[i].name) != 0 || strcmp(c.unit, cases[i].unit) != 0)
			fail_msg("%s: %s id %s name %s unit %s", cases[i].text,
				 host_runtime_name(c.runtime), c.id, c.name, c.unit);
	}
}

static void test_container_of_pid(void **state)
{
	auto_host struct host *host = host_of_case();
	struct host_container c;

	(void)state;
	assert_int_equal(host_process_container(host, 100, &c), 0);
	assert_string_equal(host_runtime_name(c.runtime), "docker");
	assert_int_equal(host_process_container(host, 101, &c), 0);
	assert_string_equal(c.unit, "session-2.scope");
	assert_int_equal(host_process_container(host, 999, &c), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_each),
	    cmocka_unit_test(test_this_process),
	    cmocka_unit_test(test_containers),
	    cmocka_unit_test(test_container_of_pid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
