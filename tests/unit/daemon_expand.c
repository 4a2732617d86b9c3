/* Placeholders and the environment of a task. */
#include "daemon/expand.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct expand_grant ON_GPU = {
    .task = 17,
    .attempt = 2,
    .n_gpus = 1,
    .gpus = {{.uuid = "GPU-aa", .index = 3, .total_bytes = 8ull << 30}},
    .vram_bytes = 2ull << 30,
};
static const struct expand_grant ON_TWO = {
    .task = 1,
    .attempt = 1,
    .n_gpus = 2,
    .gpus = {{.uuid = "GPU-aa", .index = 0}, {.uuid = "GPU-bb", .index = 4}},
    .vram_bytes = 1ull << 30,
};
static const struct expand_grant ON_CPU = {.task = 5, .attempt = 1};

static void test_expand(void **state)
{
	static const struct {
		const char *text;
		const struct expand_grant *grant;
		const char *want; /* NULL: refused */
	} cases[] = {
	    {"plain", &ON_GPU, "plain"},
	    {"", &ON_GPU, ""},
	    {"--device={device}", &ON_GPU, "--device=cuda:0"},
	    {"{gpu}/{uuid}/{vram_mib}", &ON_GPU, "3/GPU-aa/2048"},
	    {"{gpu}/{uuid}/{vram_mib}", &ON_TWO, "0,4/GPU-aa,GPU-bb/1024"},
	    {"{device}|{gpu}|{uuid}|{vram_mib}", &ON_CPU, "cpu|||0"},
	    {"{{device}} {{}} }}{{", &ON_GPU, "{device} {} }{"},
	    {"{{{device}}}", &ON_GPU, "{cuda:0}"},
	    {"{nope}", &ON_GPU, NULL},
	    {"{}", &ON_GPU, NULL},
	    {"{device", &ON_GPU, NULL},
	    {"device}", &ON_GPU, NULL},
	    {"{dev{ice}}", &ON_GPU, NULL},
	    {"{Device}", &ON_GPU, NULL},
	    {"{batch_size}", &ON_GPU, NULL},
	    {"{rank}/{workers}", &ON_GPU, "0/1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *text = NULL;
		struct error err = {};
		int r = expand_argument(cases[i].text, cases[i].grant, &text, &err);

		assert_int_equal(r, cases[i].want ? 0 : -EINVAL);
		assert_int_equal(expand_check(cases[i].text, false, &err), r);
		if (cases[i].want)
			assert_string_equal(text, cases[i].want);
		else
			assert_true(err.text[0]);
	}
}

static const char *env_get(const struct strings *env, const char *name)
{
	const char *found = NULL;
	size_t len = strlen(name);

	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->items[i], name, len) == 0 && env->items[i][len] == '=') {
			assert_null(found); /* once only */
			found = env->items[i] + len + 1;
		}
	return found;
}

static void test_environment_on_gpu(void **state)
{
	char visible[] = "CUDA_VISIBLE_DEVICES=7", order[] = "CUDA_DEVICE_ORDER=FASTEST_FIRST";
	char path[] = "PATH=/bin", xla[] = "XLA_PYTHON_CLIENT_PREALLOCATE=true";
	char outer[] = "PLIMSOLL_TASK_ID=3", other[] = "PLIMSOLL_OTHER=kept";
	char *base[] = {visible, order, path, xla, outer, other, NULL};
	auto_strings struct strings env = {};

	(void)state;
	expand_environment(base, &ON_GPU, &env);
	assert_string_equal(env_get(&env, "CUDA_VISIBLE_DEVICES"), "GPU-aa");
	assert_string_equal(env_get(&env, "NVIDIA_VISIBLE_DEVICES"), "GPU-aa");
	assert_string_equal(env_get(&env, "CUDA_DEVICE_ORDER"), "PCI_BUS_ID");
	assert_string_equal(env_get(&env, "PATH"), "/bin");
	assert_string_equal(env_get(&env, "PLIMSOLL_OTHER"), "kept");
	assert_string_equal(env_get(&env, "PLIMSOLL_TASK_ID"), "17");
	assert_string_equal(env_get(&env, "PLIMSOLL_ATTEMPT"), "2");
	assert_string_equal(env_get(&env, "PLIMSOLL_DEVICE"), "cuda:0");
	assert_string_equal(env_get(&env, "PLIMSOLL_GPU_INDEX"), "3");
	assert_string_equal(env_get(&env, "PLIMSOLL_GPU_UUID"), "GPU-aa");
	assert_string_equal(env_get(&env, "PLIMSOLL_VRAM_LIMIT_BYTES"), "2147483648");
	assert_string_equal(env_get(&env, "PLIMSOLL_VRAM_FRACTION"), "0.2500");
	/* The user's word on a framework's knob stands, the others are set. */
	assert_string_equal(env_get(&env, "XLA_PYTHON_CLIENT_PREALLOCATE"), "true");
	assert_string_equal(env_get(&env, "TF_FORCE_GPU_ALLOW_GROWTH"), "true");
}

/* What it is one of, and the batch size it is started with. */
static void test_worker(void **state)
{
	struct expand_grant grant = ON_GPU;
	char outer[] = "PLIMSOLL_WORKER_RANK=9", size[] = "PLIMSOLL_BATCH_SIZE=64";
	char *base[] = {outer, size, NULL};
	auto_strings struct strings env = {}, plain = {};
	auto_free char *text = NULL;
	struct error err = {};

	(void)state;
	grant.batch_size = 16;
	grant.workers = 4;
	grant.rank = 3;
	assert_int_equal(expand_argument("{rank} of {workers}, {batch_size}", &grant, &text, &err),
			 0);
	assert_string_equal(text, "3 of 4, 16");
	expand_environment(base, &grant, &env);
	assert_string_equal(env_get(&env, "PLIMSOLL_WORKERS"), "4");
	assert_string_equal(env_get(&env, "PLIMSOLL_WORKER_RANK"), "3");
	assert_string_equal(env_get(&env, "PLIMSOLL_BATCH_SIZE"), "16");
	/* Of one that is none, nothing is left of what the outer task was. */
	expand_environment(base, &ON_GPU, &plain);
	assert_null(env_get(&plain, "PLIMSOLL_WORKER_RANK"));
	assert_null(env_get(&plain, "PLIMSOLL_BATCH_SIZE"));
	assert_int_equal(expand_check("{batch_size}", true, &err), 0);
	assert_int_equal(expand_check("{batch_size}", false, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--batch-size"));
}

/* How far JAX's pool and PyTorch's may grow; a user's word on either stands, whatever its name. */
static void test_fractions(void **state)
{
	static const struct {
		const char *user;
		bool torch;
		const char *xla, *alloc;
	} cases[] = {
	    {"A=b", true, "0.2500", "per_process_memory_fraction:0.2500"},
	    {"A=b", false, "0.2500", NULL},
	    {"PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True", true, "0.2500", NULL},
	    {"PYTORCH_ALLOC_CONF=max_split_size_mb:64", true, "0.2500", "max_split_size_mb:64"},
	    {"XLA_PYTHON_CLIENT_MEM_FRACTION=.9", false, ".9", NULL},
	    {"XLA_PYTHON_CLIENT_PREALLOCATE=true", false, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct expand_grant grant = ON_GPU;
		auto_free char *user = mem_strdup(cases[i].user);
		char *base[] = {user, NULL};
		auto_strings struct strings env = {};
		const char *xla, *alloc;

		grant.torch = cases[i].torch;
		expand_environment(base, &grant, &env);
		xla = env_get(&env, "XLA_PYTHON_CLIENT_MEM_FRACTION");
		alloc = env_get(&env, "PYTORCH_ALLOC_CONF");
		if (!xla != !cases[i].xla || (xla && strcmp(xla, cases[i].xla) != 0))
			fail_msg("%s: XLA %s", cases[i].user, xla ? xla : "none");
		if (!alloc != !cases[i].alloc || (alloc && strcmp(alloc, cases[i].alloc) != 0))
			fail_msg("%s: PyTorch %s", cases[i].user, alloc ? alloc : "none");
	}
}

static void test_environment_on_cpu(void **state)
{
	char uuid[] = "PLIMSOLL_GPU_UUID=GPU-outer";
	char *base[] = {uuid, NULL};
	auto_strings struct strings env = {};

	(void)state;
	expand_environment(base, &ON_CPU, &env);
	assert_string_equal(env_get(&env, "CUDA_VISIBLE_DEVICES"), "");
	assert_string_equal(env_get(&env, "NVIDIA_VISIBLE_DEVICES"), "void");
	assert_string_equal(env_get(&env, "PLIMSOLL_DEVICE"), "cpu");
	assert_null(env_get(&env, "PLIMSOLL_GPU_UUID"));
	assert_null(env_get(&env, "PLIMSOLL_VRAM_FRACTION"));
	assert_null(env_get(&env, "TF_FORCE_GPU_ALLOW_GROWTH"));
}

/* What is not known is not said: a fraction of an unknown total, a limit nobody promised. */
static void test_environment_unknown(void **state)
{
	struct expand_grant unknown = ON_GPU;
	auto_strings struct strings env = {};

	(void)state;
	unknown.gpus[0].total_bytes = 0;
	unknown.vram_bytes = 0;
	expand_environment(NULL, &unknown, &env);
	assert_null(env_get(&env, "PLIMSOLL_VRAM_FRACTION"));
	assert_null(env_get(&env, "PLIMSOLL_VRAM_LIMIT_BYTES"));
	assert_string_equal(env_get(&env, "PLIMSOLL_GPU_UUID"), "GPU-aa");
}

/* One fraction for GPUs that differ would be wrong on one of them; the bytes are right on both. */
static void test_environment_on_two_gpus(void **state)
{
	struct expand_grant two = ON_GPU;
	auto_strings struct strings alike = {}, differ = {};

	(void)state;
	two.n_gpus = 2;
	two.gpus[1] = two.gpus[0];
	two.gpus[1].uuid = "GPU-bb";
	expand_environment(NULL, &two, &alike);
	assert_string_equal(env_get(&alike, "PLIMSOLL_VRAM_FRACTION"), "0.2500");
	two.gpus[1].total_bytes /= 2;
	expand_environment(NULL, &two, &differ);
	assert_null(env_get(&differ, "PLIMSOLL_VRAM_FRACTION"));
	assert_string_equal(env_get(&differ, "PLIMSOLL_VRAM_LIMIT_BYTES"), "2147483648");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_expand),
	    cmocka_unit_test(test_environment_on_gpu),
	    cmocka_unit_test(test_worker),
	    cmocka_unit_test(test_fractions),
	    cmocka_unit_test(test_environment_on_cpu),
	    cmocka_unit_test(test_environment_unknown),
	    cmocka_unit_test(test_environment_on_two_gpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
