/* Users by number and by name, as the system's user database says. */
#pragma once

#include "util/error.h"

#include <stddef.h>
#include <sys/types.h>

#define USER_NAME_MAX 64

/* The name of a user, his number where there is no name. The user database may be a server far
 * away: some thousands of names are remembered for ten minutes, and longer while it is slow. For
 * one thread. */
const char *user_name(uid_t uid, char buf[USER_NAME_MAX]);

/* From a name or a number. -ENOENT: there is no such user. */
int user_parse(const char *text, uid_t *ret_uid, struct error *err) MUST_CHECK;

/* The account of a user as it is now: nothing is remembered. */
struct user_account {
	gid_t gid;     /* his primary group */
	gid_t *groups; /* all he is in, the primary one too */
	size_t n_groups;
};
/* -ENOENT: there is no such account; other negative errno: it cannot be told now. */
int user_account_find(uid_t uid, struct user_account *ret_account) MUST_CHECK;
void user_account_finish(struct user_account *account);
