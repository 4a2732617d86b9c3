/* MPS and HAMi-core by a task's environment, on trees as machines with and without them have. */
#include "daemon/guards.h"
#include "daemon/offers.h"

#include "run/bound.h"
#include "util/file.h"
#include "util/size.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct expand_grant GRANT = {
    .task = 17,
    .attempt = 2,
    .n_gpus = 1,
    .gpus = {{.uuid = "GPU-aa"}},
    .vram_bytes = 4606 * MIB,
};

static void put(const char *root, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", root, name);
	struct error err = {};

	for (char *slash = strchr(path + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	if (file_replace(path, text, strlen(text), 0600, &err) < 0)
		fail_msg("%s", error_text(&err));
}

static const char *env_get(const struct strings *env, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->items[i], name, len) == 0 && env->items[i][len] == '=')
			return env->items[i] + len + 1;
	return NULL;
}

static char *root_make(void)
{
	char name[] = "/tmp/plimsoll-guards-XXXXXX";

	assert_non_null(mkdtemp(name));
	return mem_strdup(name);
}

static void root_remove(char *root)
{
	auto_free char *command = mem_printf("rm -r '%s'", root);

	assert_int_equal(system(command), 0);
	free(root);
}

#define LIMIT "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"

/* The variable as it is for such a grant and such an environment; NULL: it is not set by us. */
static void check_mps(const char *root, const char *entry, const struct expand_grant *grant,
		      uid_t uid, const char *want)
{
	struct guards guards = {.root = root, .uid = uid};
	auto_strings struct strings env = {};
	auto_text struct text words = {};
	const char *is;

	strings_add(&env, "PATH=/bin");
	if (entry)
		strings_add(&env, entry);
	guards_add(&guards, grant, &env, &words);
	is = env_get(&env, LIMIT);
	if (!is != !want || (is && strcmp(is, want) != 0))
		fail_msg("%s: %s", entry ? entry : "-", is ? is : "not set");
	assert_int_equal(words.len > 0, want && strcmp(want, "0=1G") != 0);
	if (words.len > 0)
		assert_string_equal(words.data, "MPS pinned-memory limit (for each process)");
}

static void test_mps(void **state)
{
	char *root = root_make();
	struct expand_grant two = GRANT, none = GRANT;

	(void)state;
	two.n_gpus = 2;
	none.vram_bytes = 0;
	check_mps(root, NULL, &GRANT, getuid(), NULL);
	/* A socket folder left over, its daemon gone; then its number somebody else's. */
	put(root, "tmp/nvidia-mps/nvidia-cuda-mps-control.pid", "4711\n");
	check_mps(root, NULL, &GRANT, getuid(), NULL);
	put(root, "proc/4711/comm", "bash\n");
	check_mps(root, NULL, &GRANT, getuid(), NULL);
	put(root, "proc/4711/comm", "nvidia-cuda-mps\n");
	check_mps(root, NULL, &GRANT, getuid(), "0=4606M");
	check_mps(root, LIMIT "=0=1G", &GRANT, getuid(), "0=1G");
	check_mps(root, NULL, &two, getuid(), NULL);
	check_mps(root, NULL, &none, getuid(), NULL);
	/* It serves its own user and, where it is root's, everybody. */
	check_mps(root, NULL, &GRANT, getuid() + 1, getuid() == 0 ? "0=4606M" : NULL);
	check_mps(root, "CUDA_MPS_PIPE_DIRECTORY=/run/mps", &GRANT, getuid(), NULL);
	put(root, "run/mps/nvidia-cuda-mps-control.pid", "4711\n");
	check_mps(root, "CUDA_MPS_PIPE_DIRECTORY=/run/mps", &GRANT, getuid(), "0=4606M");
	put(root, "run/mps/nvidia-cuda-mps-control.pid", "what\n");
	check_mps(root, "CUDA_MPS_PIPE_DIRECTORY=/run/mps", &GRANT, getuid(), NULL);
	root_remove(root);
}

static void test_hami(void **state)
{
	char *root = root_make();
	struct guards guards = {.root = root, .hami = "/opt/libvgpu.so", .uid = getuid()};
	auto_strings struct strings absent = {}, plain = {}, before = {}, own = {};
	auto_text struct text words = {}, more = {};
	struct expand_grant two = GRANT;

	(void)state;
	guards_add(&guards, &GRANT, &absent, &words);
	assert_int_equal(absent.n, 0);
	assert_int_equal(words.len, 0);
	put(root, "opt/libvgpu.so", "ELF");
	guards_add(&guards, &GRANT, &plain, &words);
	assert_string_equal(words.data, "HAMi-core");
	assert_string_equal(env_get(&plain, "LD_PRELOAD"), "/opt/libvgpu.so");
	assert_string_equal(env_get(&plain, "CUDA_DEVICE_MEMORY_LIMIT_0"), "4606m");
	assert_string_equal(env_get(&plain, "CUDA_DEVICE_MEMORY_SHARED_CACHE"),
			    "/tmp/plimsoll-hami.17.2");
	two.n_gpus = 2;
	strings_add(&before, "LD_PRELOAD=/usr/lib/libjemalloc.so");
	guards_add(&guards, &two, &before, &more);
	assert_string_equal(env_get(&before, "LD_PRELOAD"),
			    "/opt/libvgpu.so:/usr/lib/libjemalloc.so");
	assert_string_equal(env_get(&before, "CUDA_DEVICE_MEMORY_LIMIT_1"), "4606m");
	strings_add(&own, "CUDA_DEVICE_MEMORY_LIMIT=1g");
	guards_add(&guards, &GRANT, &own, &more);
	assert_int_equal(own.n, 1);
	root_remove(root);
}

/* Whether a full grant explains an abort hangs on it: read from the words as they are made, alone
 * and together, and not from RAM's. */
static void test_what_refuses_more(void **state)
{
	const struct bound bound = {
	    .ram_bytes = GIB, .gpus = {{"00000000:65:00.0", GIB}}, .n_gpus = 1};
	char *root = root_make();
	struct guards guards = {.root = root, .hami = "/opt/libvgpu.so", .uid = getuid()};
	auto_strings struct strings env = {}, again = {};
	auto_text struct text mps = {}, both = {}, ram = {}, dmem = {};

	(void)state;
	assert_false(guards_refuse(NULL));
	assert_false(guards_refuse(""));
	put(root, "tmp/nvidia-mps/nvidia-cuda-mps-control.pid", "4711\n");
	put(root, "proc/4711/comm", "nvidia-cuda-mps\n");
	guards_add(&guards, &GRANT, &env, &mps);
	assert_true(guards_refuse(mps.data));
	put(root, "opt/libvgpu.so", "ELF");
	guards_add(&guards, &GRANT, &again, &both);
	assert_string_equal(both.data, "MPS pinned-memory limit (for each process); HAMi-core");
	assert_true(guards_refuse(both.data));
	assert_true(guards_refuse(both.data + strlen("MPS pinned-memory limit ")));
	put(root, "memory.max", "max\n");
	put(root, "memory.oom.group", "0\n");
	bound_apply(root, &bound, false, &ram);
	assert_string_equal(ram.data, "RAM: cgroup memory.max");
	assert_false(guards_refuse(ram.data));
	put(root, "dmem.max", "drm/0000:65:00.0/vram max\n");
	bound_apply(root, &bound, false, &dmem);
	assert_string_equal(dmem.data, "cgroup dmem.max; RAM: cgroup memory.max");
	assert_true(guards_refuse(dmem.data));
	root_remove(root);
}

static void check_offers(const struct offers *offers, const struct gpu_list *list, const char *want)
{
	auto_json json_t *json = offers_to_json(offers, list);
	auto_free char *text = jsonx_dump(json);

	assert_string_equal(text, want);
}

/* What a machine offers: nothing, all of it, and dmem only where it counts each of the GPUs. */
static void test_offers(void **state)
{
	char *root = root_make();
	auto_free char *own = mem_printf("%s/cg/plimsoll.leaf", root);
	struct offers offers = {.root = root, .uid = getuid()};
	auto_gpu_list struct gpu_list *list = gpu_list_create();
	struct gpu *gpu = gpu_list_append(list);

	(void)state;
	(void)snprintf(gpu->pci_bus_id, sizeof gpu->pci_bus_id, "00000000:65:00.0");
	check_offers(&offers, list, "{\"vram\":[\"watched\"],\"ram\":[\"watched\"]}");
	offers.own = own;
	check_offers(&offers, list, "{\"vram\":[\"watched\"],\"ram\":[\"watched\"]}");
	put(root, "cg/cgroup.controllers", "cpu memory dmem\n");
	put(root, "cg/dmem.max", "drm/0000:65:00.0/vram max\n");
	put(root, "opt/libvgpu.so", "ELF");
	offers.hami = "/opt/libvgpu.so";
	check_offers(&offers, list,
		     "{\"vram\":[\"cgroup dmem.max\",\"HAMi-core\",\"watched\"],"
		     "\"ram\":[\"cgroup memory.max\",\"watched\"]}");
	(void)snprintf(gpu_list_append(list)->pci_bus_id, GPU_PCI_MAX, "00000000:66:00.0");
	check_offers(&offers, list,
		     "{\"vram\":[\"HAMi-core\",\"watched\"],"
		     "\"ram\":[\"cgroup memory.max\",\"watched\"]}");
	/* Not in a leaf: what is there and not handed down reaches nobody. */
	*strrchr(own, '/') = '\0';
	check_offers(&offers, list, "{\"vram\":[\"HAMi-core\",\"watched\"],\"ram\":[\"watched\"]}");
	put(root, "cg/cgroup.subtree_control", "memory\n");
	check_offers(&offers, list,
		     "{\"vram\":[\"HAMi-core\",\"watched\"],"
		     "\"ram\":[\"cgroup memory.max\",\"watched\"]}");
	root_remove(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_mps), cmocka_unit_test(test_hami),
					   cmocka_unit_test(test_what_refuses_more),
					   cmocka_unit_test(test_offers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
