/* A folder of its own for one test, removed with all in it when the test ends. */
#pragma once

#include "util/cleanup.h"

#include "unit.h"

#include <ftw.h>
#include <sys/stat.h>

static inline int folder_remove_entry(const char *path, const struct stat *st, int type,
				      struct FTW *ftw)
{
	return remove(path);
}

/* Setup for cmocka_unit_test_setup_teardown(): *state is the path. */
static inline int folder_create(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char *path = mem_printf("%s/plimsoll-unit.XXXXXX", tmp ? tmp : "/tmp");

	*state = mkdtemp(path);
	return *state ? 0 : -1;
}

static inline int folder_destroy(void **state)
{
	int r = nftw(*state, folder_remove_entry, 16, FTW_DEPTH | FTW_PHYS);

	free(*state);
	return r;
}

#define folder_test(f) cmocka_unit_test_setup_teardown(f, folder_create, folder_destroy)
