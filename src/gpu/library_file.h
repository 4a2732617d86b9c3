/* The file a loaded library came from, and whether it is still the same. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

struct library_file {
	char path[PATH_MAX]; /* "": not known */
	struct stat stat;
};

/* `library` is of dlopen(). */
void library_file_remember(struct library_file *file, void *library);

/* Has another file taken its place? False when it was not known where it came from. */
bool library_file_was_replaced(const struct library_file *file);
