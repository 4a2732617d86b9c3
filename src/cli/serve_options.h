/*
 * The options of `plimsoll serve`. The verb knows them for its help and its checks; the daemon is a
 * program of its own (daemon_main.c) and reads the same words again.
 */
#pragma once

#include "cli/options.h"
#include "daemon/serve.h"

extern const struct option_spec serve_options[];

/* What they ask of the daemon. */
struct daemon_options serve_options_read(const struct options *options);

/* The words that say the same to a daemon: "--grace=2s" ... of all that were given but `without`
 * (names, ended by NULL). */
void serve_options_words(const struct options *options, const char *const *without,
			 struct strings *ret_words);
