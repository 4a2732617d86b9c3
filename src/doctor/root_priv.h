/* What root.c, bundle.c, ask.c and report.c share; not for other folders. */
#pragma once

#include "doctor/root.h"

#define ROOT_PATH_MAX  1024
#define ROOT_LINKS_MAX 40 /* as the kernel's */

enum entry_kind { ENTRY_FILE, ENTRY_LINK, ENTRY_FOLDER, ENTRY_ABSENT, ENTRY_DENIED };

struct entry {
	char *path; /* without the leading slash */
	enum entry_kind kind;
	char *text;   /* content, what a link says, names in a folder; never NULL */
	size_t order; /* of a bundle's: as it stood there */
};

/* Sorted by path. `struct entries e = {};` is empty. */
struct entries {
	struct entry *items;
	size_t n, room;
};
/* NULL: not there. */
struct entry *entries_find(const struct entries *entries, const char *path);
/* Enter or replace. */
void entries_put(struct entries *entries, const char *path, enum entry_kind kind, const char *text);
void entries_finish(struct entries *entries);

int bundle_parse(const char *text, size_t len, const char *name, struct entries *ret_entries,
		 struct error *err) MUST_CHECK;
int bundle_read(const struct entries *entries, const char *path, const char **ret_text) MUST_CHECK;
int bundle_list(const struct entries *entries, const char *path,
		struct strings *ret_names) MUST_CHECK;
int bundle_link(const struct entries *entries, const char *path,
		const char **ret_target) MUST_CHECK;
bool bundle_exists(const struct entries *entries, const char *path);
void bundle_write(const struct entries *entries, struct text *text);

struct root {
	bool live;
	int folder;             /* of this machine and of a folder; -1: a bundle */
	struct entries entries; /* of a bundle */
	struct entries seen;    /* what was asked for so far, and what came back */
};

/* Ask this machine. A new text; -ENOENT: it cannot be asked. */
int ask_live(enum root_answer answer, char **ret_text) MUST_CHECK;

/* `bytes` as root_read() gives them back: a text without control characters. New. */
char *root_text_of(const char *bytes, size_t len);
