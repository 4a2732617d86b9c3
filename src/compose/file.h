/*
 * The files of a project, as they were read: their bytes, and where in them something stands. All
 * that is said about a project names a file, a line and a column; all that is changed is a range of
 * bytes. A file is read once; whoever writes it compares with what is there then.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define COMPOSE_FILE_MAX  ((size_t)4 << 20) /* bytes of one file */
#define COMPOSE_FILES_MAX 256               /* files of one project */

struct compose_file {
	char *path;  /* absolute, symbolic links kept */
	char *shown; /* as people know it: relative to where they stand, when it is below */
	char *text;  /* all bytes; '\0' after the last, which does not count */
	size_t len;
	mode_t mode;
	dev_t device; /* with inode: which file it is, whatever its path; 0 and 0: not on a disk */
	ino_t inode;
	bool missing;   /* not there yet: what is written makes it */
	bool unwritten; /* only a text (standard input): it cannot be changed */
	size_t *lines;  /* where each line begins */
	size_t n_lines;
	size_t *characters; /* how many there are before every so many bytes; file.c's */
};

/* The files of a project, each once, in the order they were first read. */
struct compose_files {
	struct compose_file **items;
	size_t n, room;
	const char
	    *standing; /* where people stand, for `shown`; borrowed; NULL: the current folder */
};

/* The file at `path`, relative to the folder `dir` (absolute; NULL: the current one), read now
 * unless it is there already; owned by `files`. -ENOENT, -EFBIG, -EINVAL (no plain file, a NUL byte
 * or no UTF-8 in it), -E2BIG (too many files). */
int compose_files_load(struct compose_files *files, const char *dir, const char *path,
		       const struct compose_file **ret_file, struct error *err) MUST_CHECK;
/* The same, but a file that is not there is an empty one with `missing` set, to be made when it is
 * written. */
int compose_files_load_or_new(struct compose_files *files, const char *dir, const char *path,
			      const struct compose_file **ret_file, struct error *err) MUST_CHECK;
/* A file that exists only as this text (tests, fuzzing, standard input): `unwritten`. */
const struct compose_file *compose_files_add(struct compose_files *files, const char *name,
					     const char *text, size_t len);
void compose_files_finish(struct compose_files *files);

/* `path` below `dir` (absolute; NULL: the current folder), without ".", ".." and doubled slashes,
 * as compose-go joins them: by their names alone. New. */
char *compose_path_join(const char *dir, const char *path);

/* A range of bytes of a file. `file` NULL: nowhere (a value that no file holds). */
struct compose_span {
	const struct compose_file *file;
	size_t begin, end;
};

/* How lines end there: "\r\n" where its first does, else "\n". */
const char *compose_file_newline(const struct compose_file *file);

/* Line and column of a byte, both from 1; columns count characters, a tab is one. */
void compose_file_position(const struct compose_file *file, size_t at, unsigned *ret_line,
			   unsigned *ret_column);

/* "FILE:LINE:COLUMN: <text>" for where the range begins; returns `code`. */
int compose_error(const struct compose_span *at, int code, struct error *err, const char *fmt, ...)
    PRINTF(4, 5);
