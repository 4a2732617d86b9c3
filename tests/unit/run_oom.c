/* Out of memory or not, from the end of an attempt and its log. */
#include "run/oom.h"
#include "util/file.h"
#include "util/size.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct oom_patterns *patterns;

static int setup(void **state)
{
	struct error err;
	int r = oom_patterns_load(NULL, NULL, 0, &patterns, &err);

	(void)state;
	if (r < 0)
		print_message("# %s\n", err.text);
	return r;
}

static int teardown(void **state)
{
	(void)state;
	oom_patterns_destroy(patterns);
	return 0;
}

static struct oom_verdict classify(const char *log, struct oom_evidence evidence)
{
	struct oom_verdict verdict;

	evidence.log = log;
	evidence.log_len = log ? strlen(log) : 0;
	oom_classify(patterns, &evidence, &verdict);
	return verdict;
}

static void test_texts(void **state)
{
	static const struct {
		const char *log;
		enum oom_outcome outcome;
		uint64_t requested;
	} cases[] = {
	    {"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 576.00 MiB. GPU 0 has "
	     "a "
	     "total capacity of 31.36 GiB of which 370.69 MiB is free.\n",
	     OOM_GPU, 576 * MIB},
	    {"RuntimeError: CUDA out of memory. Tried to allocate 8.50 GiB (GPU 0; 3.95 GiB total "
	     "capacity)\n",
	     OOM_GPU, 17 * GIB / 2},
	    {"(TrainWorker pid=253, ip=1.2.3.4) \033[31mCUDA out of mem\033[0mory. Tried to "
	     "allocate "
	     "20 bytes\n",
	     OOM_GPU, 20},
	    {"HIP out of memory. Tried to allocate 1.00 TiB.\n", OOM_GPU, 1024 * GIB},
	    {"RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be reported "
	     "later\n",
	     OOM_GPU, 0},
	    {"cuda runtime error (2) : out of memory at THCStorage.cu:65\n", OOM_GPU, 0},
	    {"ggml_backend_cuda_buffer_type_alloc_buffer: allocating 5461.38 MiB on device 0: "
	     "cudaMalloc failed: out of memory\n",
	     OOM_GPU, 5726671995},
	    {"alloc_tensor_range: failed to allocate CUDA0 buffer of size 123\n", OOM_GPU, 123},
	    {"ValueError: Free memory on device cuda:0 (12.18/23.56 GiB) on startup is less than "
	     "desired GPU memory utilization (0.92, 21.67 GiB).\n",
	     OOM_GPU, 2167 * GIB / 100},
	    {"MemoryError: std::bad_alloc: out_of_memory: CUDA error at: x.hpp:69: "
	     "cudaErrorMemoryAllocation out of memory\n",
	     OOM_GPU, 0},
	    {"MemoryError\n", OOM_HOST, 0},
	    {"terminate called after throwing an instance of 'std::bad_alloc'\n", OOM_HOST, 0},
	    {"CUDA out of memory. Tried to allocate 1.00 GiB\nTraceback\nMemoryError\n", OOM_GPU,
	     GIB},
	    {"Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.14GiB with "
	     "freed_by_count=0.\nValueError: shapes differ\n",
	     OOM_ERROR, 0},
	    {"failed to allocate 343.34M (360015104 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY: "
	     "out "
	     "of memory\nKeyError: 'x'\n",
	     OOM_ERROR, 0},
	    {"triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 1\n",
	     OOM_ERROR, 0},
	    {"too many resources requested for launch\n", OOM_ERROR, 0},
	    {"Segmentation fault\n", OOM_ERROR, 0},
	    {"", OOM_ERROR, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct oom_verdict v =
		    classify(cases[i].log, (struct oom_evidence){.exit_code = 1});

		if (v.outcome != cases[i].outcome)
			fail_msg("%s for %s", oom_outcome_name(v.outcome), cases[i].log);
		assert_int_equal(v.requested_bytes, cases[i].requested);
		assert_int_equal(v.has_requested, cases[i].requested > 0);
		assert_int_equal(v.pattern[0] != '\0',
				 v.outcome == OOM_GPU || v.outcome == OOM_HOST);
	}
}

static void test_order(void **state)
{
	static const char oom[] = "CUDA out of memory. Tried to allocate 1.00 GiB\n";
	static const char arena[] =
	    "BFCArena Failed to allocate memory for requested buffer of size 9\n";

	(void)state;
	/* It caught it and went on. */
	assert_int_equal(classify(oom, (struct oom_evidence){}).outcome, OOM_OK);
	/* SIGKILL proves nothing by itself. */
	assert_int_equal(classify("", (struct oom_evidence){.signal = SIGKILL}).outcome, OOM_ERROR);
	assert_int_equal(
	    classify("", (struct oom_evidence){.signal = SIGKILL, .oom_kills = 1}).outcome,
	    OOM_HOST);
	assert_int_equal(
	    classify(NULL, (struct oom_evidence){.exit_code = 137, .oom_kills = 1}).outcome,
	    OOM_HOST);
	assert_int_equal(
	    classify(NULL, (struct oom_evidence){.exit_code = 1, .oom_kills = 1}).outcome,
	    OOM_ERROR);
	assert_int_equal(classify(arena, (struct oom_evidence){.exit_code = 1}).outcome, OOM_GPU);
	assert_int_equal(
	    classify(arena, (struct oom_evidence){.exit_code = 1, .on_cpu = true}).outcome,
	    OOM_HOST);
	assert_int_equal(classify("bye\n", (struct oom_evidence){.lost = true}).outcome, OOM_LOST);
	assert_int_equal(classify(oom, (struct oom_evidence){.lost = true}).outcome, OOM_GPU);
	assert_int_equal(classify(oom, (struct oom_evidence){.signal = SIGABRT}).outcome, OOM_GPU);
}

static void test_only_the_end_counts(void **state)
{
	auto_text struct text log = {};

	(void)state;
	text_add(&log, "CUDA out of memory. Tried to allocate 1.00 GiB\n");
	for (int i = 0; i < 198; i++)
		text_add(&log, "epoch\n");
	assert_int_equal(classify(log.data, (struct oom_evidence){.exit_code = 1}).outcome,
			 OOM_GPU);
	text_add(&log, "epoch\n");
	text_add(&log, "epoch\n");
	assert_int_equal(classify(log.data, (struct oom_evidence){.exit_code = 1}).outcome,
			 OOM_ERROR);
}

static void test_file(void **state)
{
	char path[] = "/tmp/plimsoll-oom-XXXXXX";
	auto_close int fd = mkstemp(path);
	struct oom_evidence evidence = {.exit_code = 1};
	struct oom_verdict verdict;
	static const char text[] = "\nMemoryError";

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 10 << 20), 0);
	assert_int_equal(pwrite(fd, text, sizeof text - 1, 10 << 20), (ssize_t)sizeof text - 1);
	oom_classify_file(patterns, &evidence, path, &verdict);
	assert_int_equal(verdict.outcome, OOM_HOST);
	assert_string_equal(verdict.line, "MemoryError");
	assert_int_equal(unlink(path), 0);
	oom_classify_file(patterns, &evidence, path, &verdict);
	assert_int_equal(verdict.outcome, OOM_ERROR);
	oom_classify_file(patterns, &evidence, NULL, &verdict);
	assert_int_equal(verdict.outcome, OOM_ERROR);
}

static void test_bad_pattern_files(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	    {"patterns: {}\n", "\"patterns\" is no list"},
	    {"version: 1\n", "\"patterns\" is no list"},
	    {"patterns:\n  - {id: a, kind: gpu, text: x, source: s}\n", ":2:"},
	    {"patterns:\n  - {id: a, kind: gpu, text: '', source: s, date: d}\n", "empty"},
	    {"patterns:\n  - {id: a, kind: bad, text: x, source: s, date: d}\n", "\"bad\" is not"},
	    {"patterns:\n  - {id: a, kinds: gpu}\n", "kinds"},
	    {"patterns:\n  - {id: a, kind: used, text: has some, source: s, date: d}\n",
	     "no {size}"},
	    {"patterns:\n  - {id: a, kind: used, text: 'has {plus} and {size}', source: s, date: "
	     "d}\n",
	     "before {size}"},
	    {"patterns:\n  - {id: a, kind: used, text: 'has {size}*{minus}', source: s, date: d}\n",
	     "right behind"},
	    {"patterns: [3]\n", ":1:"},
	    {"other: 1\n", "other"},
	};
	char path[] = "/tmp/plimsoll-oom-XXXXXX";
	auto_close int fd = mkstemp(path);
	struct oom_patterns *none = NULL;
	struct error err;

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(
		    file_replace(path, cases[i].text, strlen(cases[i].text), 0600, NULL), 0);
		assert_true(oom_patterns_load(path, NULL, 0, &none, &err) < 0);
		if (!strstr(err.text, cases[i].message))
			fail_msg("%s", err.text);
		assert_null(none);
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(oom_patterns_load(path, NULL, 0, &none, &err), -ENOENT);
}

/* Those of plimsoll.yaml: before the built-in ones, be it that they ignore or do not. */
static void test_own_patterns(void **state)
{
	static const struct oom_pattern_text more[] = {
	    {"ours", "gpu", "arena wants {size} more", "p.yaml:3:7"},
	    {"quiet", "ignore", "CUDA out of memory, as planned", "p.yaml:4:7"},
	    {"loud", "gpu", "pool of pinned memory, failed to allocate", "p.yaml:5:7"},
	};
	static const struct oom_pattern_text wrong = {"bad", "vram", "abc", "p.yaml:6:7"};
	struct oom_patterns *all = patterns, *none = NULL;
	struct oom_evidence failed = {.exit_code = 1};
	struct oom_verdict v;
	struct error err;

	(void)state;
	assert_int_equal(oom_patterns_load(NULL, more, ARRAY_LEN(more), &patterns, NULL), 0);
	v = classify("the arena wants 3 MiB more\n", failed);
	assert_int_equal(v.outcome, OOM_GPU);
	assert_string_equal(v.pattern, "ours");
	assert_int_equal(v.requested_bytes, 3 * MIB);
	assert_int_equal(classify("the arena wants much more\n", failed).outcome, OOM_ERROR);
	assert_int_equal(classify("CUDA out of memory, as planned\n", failed).outcome, OOM_ERROR);
	v = classify("failed: 3 MiB of pinned memory, pool of pinned memory, failed to allocate\n",
		     failed);
	assert_int_equal(v.outcome, OOM_GPU);
	assert_string_equal(v.pattern, "loud");
	oom_patterns_destroy(patterns);
	patterns = all;
	assert_int_equal(oom_patterns_load(NULL, &wrong, 1, &none, &err), -EINVAL);
	assert_non_null(strstr(err.text, "p.yaml:6:7: \"vram\" is not"));
}

/* However hostile the log, the time it takes grows with its length only. */
static void test_hostile_logs(void **state)
{
	static const char *const units[] = {
	    "cuda",  "out of memory", "failed to allocate ", "a", "cuda error ", "(", "\\n", "\r",
	    "\x1b[", "\x1b]",         "tried to allocate 1"};
	clock_t began = clock();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		auto_text struct text log = {};

		while (log.len < OOM_LOG_BYTES)
			text_add(&log, units[i]);
		(void)classify(log.data, (struct oom_evidence){.exit_code = 1});
	}
	print_message("# %.1f ms a log of 64 KiB\n",
		      1000.0 * (double)(clock() - began) / CLOCKS_PER_SEC / ARRAY_LEN(units));
	/* Ten times what it takes under the sanitizers on a busy machine. */
	assert_true((double)(clock() - began) / CLOCKS_PER_SEC < 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_texts),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_only_the_end_counts),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_own_patterns),
	    cmocka_unit_test(test_hostile_logs),
	    cmocka_unit_test(test_bad_pattern_files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
