/*
 * What kind of task a command is, when --kind does not say: what is learned of one is expected of
 * all others of its kind.
 *
 * The program, and those of its options that decide how much memory it takes: the model, the batch,
 * the precision, sizes and lengths. What tells one input from another (files, seeds, rates) does
 * not count, nor does what is asked for: a wrong --vram must not make another kind of the same
 * program. Of a shell's script (-c) or behind a program that only starts others (env, docker run)
 * nothing of that can be read: there the text of the command is the kind, as it stands before a
 * row is filled in.
 */
#pragma once

#include "util/jsonx.h"

/* `words` as written, with placeholders; `command` the same, filled in for one row. The caller
 * frees. */
char *kind_derive(char *const *words, const json_t *command);
