/*
 * The signals a new process begins with. Ignored ones and the mask survive exec: whoever was
 * started under nohup, or by a shell as a background job, passes them on to all it starts.
 */
#pragma once

#include "util/error.h"

/* Every signal to its default, none blocked: also the two glibc keeps to itself (32 and 33), which
 * sigaction() refuses to touch. Safe between fork and exec; only for a process with one thread. */
void signals_reset(void);

#define SIGNAL_NAME_MAX 16

/* "SIGTERM"; the number of one that has no name. Returns `buf`. */
const char *signal_name(char buf[SIGNAL_NAME_MAX], int number);
#define SIGNAL_NAME(number) signal_name((char[SIGNAL_NAME_MAX]){0}, (number))

/* "SIGTERM", "TERM", "term", "15". -EINVAL: there is no such signal. */
int signal_parse(const char *text, int *ret_number, struct error *err) MUST_CHECK;
