/*
 * Placeholders. `{key}` is a value of the row. `{device} {gpu} {uuid} {vram_mib} {batch_size}` are
 * known only once a GPU was chosen: the daemon puts them in, unless the row has a value of that
 * name.
 * `{{` and `}}` are braces.
 */
#pragma once

#include "cli/rows.h"

enum template_target {
	TEMPLATE_COMMAND, /* goes to the daemon: its placeholders stay, every other brace is doubled
			   */
	TEMPLATE_VALUE,   /* is read here: only the row's keys, braces come out single */
};

/* {device} {gpu} {uuid} {vram_mib}: what a GPU is, once chosen. A batch size may well be swept. */
bool template_is_of_gpu(const char *name);

/* Fill row `i` into `text`. -EINVAL: an unknown placeholder (the error names it and the keys the
 * row has), a null value, a brace without its partner. */
int template_fill(const char *text, enum template_target target, const struct rows *rows, size_t i,
		  char **ret_filled, struct error *err) MUST_CHECK;

/* For a command without rows: the five names stay, everything else is literal (`{{gpu}}` is the
 * text
 * "{gpu}"). What the daemon reads; the caller frees. */
char *template_literal(const char *text);

/* Back again: what is typed for a word that the daemon has, where there are no rows. The caller
 * frees it. */
char *template_typed(const char *word);
