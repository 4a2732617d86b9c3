/* Process-list buffers as drivers write them, return codes in words, versions from /proc. */
#include "gpu/nvml_codes.h"
#include "gpu/procfs.h"
#include "gpu/proclist.h"
#include "util/size.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct row {
	uint32_t pid;
	uint64_t used;
};

/* Write `rows` as a driver with this stride does; returns the number of rows. */
static size_t write_rows(char *buf, size_t stride, const struct row *rows, size_t n,
			 uint64_t protected_memory)
{
	for (size_t i = 0; i < n; i++) {
		char *at = buf + i * stride;

		memcpy(at, &rows[i].pid, 4);
		memcpy(at + 8, &rows[i].used, 8);
		if (stride >= 24)
			memset(at + 16, 0xff, 8);
		if (stride == 32)
			memcpy(at + 24, &protected_memory, 8);
	}
	return n;
}

static bool pid_below_1000(pid_t pid)
{
	return pid < 1000;
}

static bool pid_never(pid_t pid)
{
	(void)pid;
	return false;
}

static void stride_is_found(void **state)
{
	static const struct row rows[] = {
	    {100, 2 * GIB}, {101, 512 * MIB}, {102, UINT64_MAX}, {103, 640 * MIB}};
	static const struct row host_pids[] = {{70001, 3 * GIB}, {70002, 3 * GIB}};
	char buf[16 * 32];

	(void)state;
	for (size_t n = 2; n <= ARRAY_LEN(rows); n++) {
		memset(buf, 0, sizeof buf);
		write_rows(buf, 24, rows, n, 0);
		assert_int_equal(proclist_detect_stride(buf, n, pid_below_1000), 24);
		assert_int_equal(proclist_detect_stride(buf, n, pid_never), 24);
		memset(buf, 0, sizeof buf);
		write_rows(buf, 32, rows, n, 0);
		assert_int_equal(proclist_detect_stride(buf, n, pid_below_1000), 32);
		assert_int_equal(proclist_detect_stride(buf, n, pid_never), 32);
	}
	/* "Protected memory" not available, pids of another namespace. */
	memset(buf, 0, sizeof buf);
	write_rows(buf, 32, host_pids, 2, UINT64_MAX);
	assert_int_equal(proclist_detect_stride(buf, 2, pid_never), 32);
	assert_int_equal(proclist_detect_stride(buf, 1, pid_never), 24);
	assert_int_equal(proclist_detect_stride(buf, 0, pid_never), 24);
}

/* 32-byte entries whose protected memory, read as a pid, would be possible: only /proc decides. */
static void stride_goes_by_living_pids(void **state)
{
	static const struct row rows[] = {{100, GIB}, {101, GIB}, {102, GIB}};
	char buf[16 * 32] = {};

	(void)state;
	write_rows(buf, 32, rows, 3, 4096);
	assert_int_equal(proclist_detect_stride(buf, 3, pid_below_1000), 32);
}

static void merge_lists_each_pid_once(void **state)
{
	static const struct row compute[] = {{100, 2 * GIB}, {101, UINT64_MAX}, {0, 5}};
	static const struct row graphics[] = {{100, 2 * GIB}, {102, 64 * MIB}, {101, 32 * MIB}};
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);
	char buf[4 * 32] = {};

	(void)state;
	proclist_merge(gpu, buf, 16, write_rows(buf, 16, compute, 3, 0), false);
	memset(buf, 0, sizeof buf);
	proclist_merge(gpu, buf, 24, write_rows(buf, 24, graphics, 3, 0), true);
	assert_int_equal(gpu->n_processes, 3);
	assert_int_equal(gpu->processes[0].used_bytes, 2 * GIB); /* not added up */
	assert_false(gpu->processes[0].graphics);
	assert_true(gpu->processes[1].used_known);
	assert_int_equal(gpu->processes[1].used_bytes, 32 * MIB);
	assert_int_equal(gpu->processes[2].pid, 102);
	assert_true(gpu->processes[2].graphics);
}

static void unavailable_is_unknown_not_a_number(void **state)
{
	static const struct row rows[] = {{100, UINT64_MAX}};
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);
	char buf[32] = {};

	(void)state;
	proclist_merge(gpu, buf, 24, write_rows(buf, 24, rows, 1, 0), false);
	assert_false(gpu->processes[0].used_known);
	assert_int_equal(gpu->processes[0].used_bytes, 0);
}

/* A child that runs this program, for 60 s. */
static pid_t child_of(const char *path)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)execl(path, path, "60", (char *)NULL);
		_exit(127);
	}
	(void)close(fds[1]);
	(void)!read(fds[0], &byte, 1); /* ends with the exec */
	(void)close(fds[0]);
	return pid;
}

static void a_process_is_described(void **state)
{
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);
	char folder[] = "/tmp/plimsoll-proclist-XXXXXX", path[64];
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/transcribe-recordings", folder);
	assert_int_equal(symlink("/bin/sleep", path), 0);
	pid = child_of(path);
	assert_true(pid > 0);
	gpu_append_process(gpu)->pid = pid;
	gpu_append_process(gpu)->pid = 4194303; /* above every pid_max in use */
	procfs_describe(gpu);
	assert_true(gpu->processes[0].start_time > 0);
	/* Its comm is cut to "transcribe-reco"; the command line has the whole of it. */
	assert_string_equal(gpu->processes[0].name, "transcribe-recordings");
	assert_int_equal(gpu->processes[1].start_time, 0);
	assert_string_equal(gpu->processes[1].name, "");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)unlink(path);
	(void)rmdir(folder);
}

static void module_versions(void **state)
{
	static const struct {
		const char *text, *version;
	} rows[] = {
	    {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.48.01  Mon Dec  8 11:22:45 UTC "
	     "2025",
	     "590.48.01"},
	    {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.135  Fri Jan 10", "550.135"},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  590.48.01  Release Build",
	     "590.48.01"},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09", "580.126.09"},
	    {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64\nGCC version:  gcc version "
	     "14.2.0",
	     ""},
	    {"", ""},
	};
	char version[80];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		procfs_parse_module_version(rows[i].text, version, sizeof version);
		assert_string_equal(version, rows[i].version);
	}
}

static void codes_mean_states(void **state)
{
	static const struct {
		int code;
		enum gpu_source_state state;
		const char *says;
	} rows[] = {
	    {9, GPU_SOURCE_NO_DRIVER, "modprobe nvidia"},
	    {12, GPU_SOURCE_NO_LIBRARY, "(NVML 12)"},
	    {18, GPU_SOURCE_MISMATCH, "kernel module 570.86.15, NVML library 570.133.20"},
	    {4, GPU_SOURCE_ERROR, "no permission"},
	    {17, GPU_SOURCE_ERROR, "--gpus all"},
	    {28, GPU_SOURCE_NO_GPUS, "no GPU"},
	    {999, GPU_SOURCE_ERROR, "unknown error (NVML 999)"},
	    {77, GPU_SOURCE_ERROR, "error 77 (NVML 77)"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_gpu_list struct gpu_list *list = gpu_list_create();

		nvml_code_describe_source(rows[i].code, "570.133.20", "570.86.15", list);
		assert_int_equal(list->state, rows[i].state);
		assert_non_null(strstr(list->text, rows[i].says));
		assert_true(strlen(list->text) < sizeof list->text - 1); /* not cut */
	}
}

static void codes_mean_health(void **state)
{
	static const struct {
		int code;
		enum gpu_health handle, field;
	} rows[] = {
	    {0, GPU_HEALTH_OK, GPU_HEALTH_OK},
	    {15, GPU_HEALTH_LOST, GPU_HEALTH_LOST},
	    {16, GPU_HEALTH_NEEDS_RESET, GPU_HEALTH_NEEDS_RESET},
	    {999, GPU_HEALTH_LOST, GPU_HEALTH_ERROR},
	    {10, GPU_HEALTH_ERROR, GPU_HEALTH_ERROR},
	    {3, GPU_HEALTH_ERROR, GPU_HEALTH_OK},
	    {13, GPU_HEALTH_ERROR, GPU_HEALTH_OK},
	    {4, GPU_HEALTH_ERROR, GPU_HEALTH_OK},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct gpu gpu = {.health = nvml_code_health(rows[i].code, true)};

		assert_int_equal(gpu.health, rows[i].handle);
		assert_int_equal(nvml_code_health(rows[i].code, false), rows[i].field);
		nvml_code_describe_gpu(rows[i].code, "GetComputeRunningProcesses", &gpu);
		assert_true(strlen(gpu.health_text) < sizeof gpu.health_text - 1);
	}
	assert_true(nvml_code_ends_session(18));
	assert_false(nvml_code_ends_session(15));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stride_is_found),
	    cmocka_unit_test(stride_goes_by_living_pids),
	    cmocka_unit_test(merge_lists_each_pid_once),
	    cmocka_unit_test(unavailable_is_unknown_not_a_number),
	    cmocka_unit_test(a_process_is_described),
	    cmocka_unit_test(module_versions),
	    cmocka_unit_test(codes_mean_states),
	    cmocka_unit_test(codes_mean_health),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
