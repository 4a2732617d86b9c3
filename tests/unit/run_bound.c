/* What an attempt's cgroup is told, on trees of files as kernels with and without each controller
 * have them. */
#include "run/bound.h"

#include "run/cgroup.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/size.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *folder, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

/* A file of the kernel takes a write whole; one of the disk keeps what was longer before. */
static void assert_begins(const char *folder, const char *name, const char *want)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);
	char text[256] = "";

	assert_true(file_read_small(path, text, sizeof text) >= 0);
	if (!text_starts_with(text, want))
		fail_msg("%s holds \"%s\", not \"%s\"", name, text, want);
}

static char *folder_make(void)
{
	char name[] = "/tmp/plimsoll-bound-XXXXXX";

	assert_non_null(mkdtemp(name));
	return mem_strdup(name);
}

static void folder_remove(char *folder)
{
	static const char *const files[] = {"memory.max", "memory.high", "memory.oom.group",
					    "dmem.max"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		auto_free char *path = mem_printf("%s/%s", folder, files[i]);

		(void)unlink(path);
	}
	assert_int_equal(rmdir(folder), 0);
	free(folder);
}

static void test_regions(void **state)
{
	static const struct {
		const char *text, *pci, *region; /* NULL: none */
	} cases[] = {
	    {"drm/0000:08:00.0/vram 17095983104\ndrm/0000:0a:00.0/vram 4294967296\n",
	     "00000000:0A:00.0", "drm/0000:0a:00.0/vram"},
	    {"nvidia/0000:65:00.0/vidmem max\n", "00000000:65:00.0", "nvidia/0000:65:00.0/vidmem"},
	    {"nvidia/00000001:65:00.0/vidmem max\n", "00000001:65:00.0",
	     "nvidia/00000001:65:00.0/vidmem"},
	    {"drm/0000:65:00.0/vram0 max", "00000000:65:00.0", "drm/0000:65:00.0/vram0"},
	    /* Of another GPU, another domain, another function; not its own memory; nonsense. */
	    {"drm/0000:66:00.0/vram max\n", "00000000:65:00.0", NULL},
	    {"drm/0000:65:00.0/vram max\n", "00000001:65:00.0", NULL},
	    {"drm/0000:65:00.1/vram max\n", "00000000:65:00.0", NULL},
	    {"drm/0000:65:00.0/gtt max\n", "00000000:65:00.0", NULL},
	    {"drm/0000:65:00.0x/vram max\n", "00000000:65:00.0", NULL},
	    {"drm/vram max\n/ max\n \n\n", "00000000:65:00.0", NULL},
	    {"", "00000000:65:00.0", NULL},
	    {"drm/0000:65:00.0/vram max\n", "", NULL},
	    {"drm/0000:65:00.0/vram max\n", "GPU-aa", NULL},
	    {"drm/0000:65:00.0/vram max\n", "00000000:65:00.0 and so on and on and on", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *region = bound_region(cases[i].text, cases[i].pci);

		if (!region != !cases[i].region || (region && strcmp(region, cases[i].region) != 0))
			fail_msg("case %zu: %s", i, region ? region : "none");
	}
}

static void test_numbers(void **state)
{
	(void)state;
	assert_true(bound_ram_max(GIB) == GIB + 256 * MIB);
	assert_true(bound_ram_max(100 * GIB) == 110 * GIB);
	assert_true(bound_ram_max(UINT64_MAX) == UINT64_MAX);
	assert_true(bound_has_swap("MemTotal: 5 kB\nSwapTotal:       2097148 kB\n"));
	assert_false(bound_has_swap("MemTotal: 5 kB\nSwapTotal:             0 kB\n"));
	assert_false(bound_has_swap(""));
}

static const struct bound BOTH = {
    .ram_bytes = 4 * GIB,
    .gpus = {{"00000000:65:00.0", 4606 * MIB}},
    .n_gpus = 1,
};

static void test_nothing_handed_down(void **state)
{
	char *folder = folder_make();
	auto_text struct text words = {};

	(void)state;
	bound_apply(folder, &BOTH, false, &words);
	assert_int_equal(words.len, 0);
	folder_remove(folder);
	bound_apply("/nonexistent", &BOTH, true, &words);
	assert_int_equal(words.len, 0);
}

static void test_memory(void **state)
{
	char *folder = folder_make();
	auto_text struct text words = {}, again = {}, none = {};
	struct bound nothing = {};

	(void)state;
	put(folder, "memory.max", "max\n");
	put(folder, "memory.high", "max\n");
	put(folder, "memory.oom.group", "0\n");
	bound_apply(folder, &nothing, false, &none);
	assert_int_equal(none.len, 0);
	assert_begins(folder, "memory.max", "max");
	bound_apply(folder, &BOTH, false, &words);
	assert_string_equal(words.data, "RAM: cgroup memory.max");
	assert_begins(folder, "memory.max", "4724464025");
	assert_begins(folder, "memory.high", "max");
	assert_begins(folder, "memory.oom.group", "1");
	/* Slowed down first only where there is swap to slow down into. */
	bound_apply(folder, &BOTH, true, &again);
	assert_begins(folder, "memory.high", "4294967296");
	folder_remove(folder);
}

static void test_dmem(void **state)
{
	char *folder = folder_make();
	auto_text struct text words = {}, other = {}, two = {};
	struct bound bound = BOTH;

	(void)state;
	bound.ram_bytes = 0;
	put(folder, "dmem.max", "drm/0000:65:00.0/vram max\n");
	bound_apply(folder, &bound, false, &words);
	assert_string_equal(words.data, "cgroup dmem.max");
	assert_begins(folder, "dmem.max", "drm/0000:65:00.0/vram 4829741056");
	/* A driver that does not account there: nothing is claimed; nor where only one of two is.
	 */
	put(folder, "dmem.max", "drm/0000:08:00.0/vram max\n");
	bound_apply(folder, &bound, false, &other);
	assert_int_equal(other.len, 0);
	put(folder, "dmem.max", "drm/0000:65:00.0/vram max\n");
	bound.n_gpus = 2;
	(void)snprintf(bound.gpus[1].pci, BOUND_PCI_MAX, "00000000:66:00.0");
	bound.gpus[1].bytes = GIB;
	bound_apply(folder, &bound, false, &two);
	assert_int_equal(two.len, 0);
	folder_remove(folder);
}

static void test_base(void **state)
{
	static const char *const cases[][2] = {
	    {"/sys/fs/cgroup/system.slice/plimsoll.service/plimsoll.leaf",
	     "/sys/fs/cgroup/system.slice/plimsoll.service"},
	    {"/sys/fs/cgroup/a/plimsoll.leaf/b", "/sys/fs/cgroup/a/plimsoll.leaf/b"},
	    {"/sys/fs/cgroup/a/xplimsoll.leaf", "/sys/fs/cgroup/a/xplimsoll.leaf"},
	    {"/sys/fs/cgroup", "/sys/fs/cgroup"},
	    {"/plimsoll.leaf", "/plimsoll.leaf"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *base = cgroup_base(cases[i][0]);

		assert_string_equal(base, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_regions),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_nothing_handed_down),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_dmem),
	    cmocka_unit_test(test_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
