/*
 * Another program, run to its end with a deadline: in a process group of its own, so that Ctrl-C in
 * the terminal does not reach it by itself, without standard input, its output read line by line.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdint.h>

#define PROGRAM_OUTPUT_MAX ((size_t)64 << 10) /* the last so many bytes are kept */

struct program_options {
	char *const *argv;        /* argv[0] is looked for in PATH */
	const char *const *unset; /* names of variables it does not get; NULL-terminated or NULL */
	char *const *set;         /* "NAME=value"; NULL-terminated or NULL */
	const char *dir;          /* NULL: the current one */
	int64_t deadline_ms;      /* monotonic */
	int interrupt_fd;         /* readable: enough; negative: none */
	/* Each line of its output, control characters as '?'; may be NULL. */
	void (*on_line)(void *data, const char *line);
	void *data;
};

/* `ret_status` as waitpid() says. -ENOENT: no such program; -ETIMEDOUT and -ECANCELED: it was ended
 * (SIGTERM, SIGKILL after 10 s). `ret_output` (may be NULL) has its last lines in every case. */
int program_run(const struct program_options *options, struct text *ret_output, int *ret_status,
		struct error *err) MUST_CHECK;

/* Is there a program of this name in PATH? */
bool program_exists(const char *name);
