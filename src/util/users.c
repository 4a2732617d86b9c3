/*
 * Names are kept in sets of a few, chosen by the uid; in a full one the entry that was asked for
 * longest ago makes room. One that is too old is asked for again, but an old name is good enough
 * while the user database was slow lately: renewals take a small share of the time, whatever it
 * costs to ask.
 */
#include "util/users.h"

#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SETS        1024 /* x WAYS users are remembered */
#define WAYS        4
#define RENEW_MS    (10 * 60 * 1000)  /* an account may have been renamed */
#define RENEW_SHARE 50                /* renewals take at most one in so many of the time */
#define ACCOUNT_MAX ((size_t)1 << 20) /* of its strings */
#define GROUPS_MAX  65536             /* NGROUPS_MAX of Linux */

/* *ret_buffer holds the strings of `pw`. */
static int account_get(uid_t uid, struct passwd *pw, char **ret_buffer)
{
	for (size_t size = 4096; size <= ACCOUNT_MAX; size *= 4) {
		auto_free char *buffer = mem_alloc(size);
		struct passwd *found = NULL;
		int code = getpwuid_r(uid, pw, buffer, size, &found);

		if (code == ERANGE || code == EINTR)
			continue;
		if (code != 0 && code != ENOENT && code != ESRCH)
			return -code;
		if (!found)
			return -ENOENT;
		*ret_buffer = TAKE(buffer);
		return 0;
	}
	return -ERANGE;
}

struct name {
	bool known;
	uid_t uid;
	int64_t asked_ms; /* monotonic */
	char name[USER_NAME_MAX];
};

/* False: it cannot be told now. */
static bool name_ask(uid_t uid, char name[USER_NAME_MAX])
{
	auto_free char *buffer = NULL;
	struct passwd pw;
	int r = account_get(uid, &pw, &buffer);

	if (r == 0)
		(void)snprintf(name, USER_NAME_MAX, "%s", pw.pw_name);
	else if (r == -ENOENT)
		(void)snprintf(name, USER_NAME_MAX, "%u", (unsigned)uid);
	return r == 0 || r == -ENOENT;
}

/* Where he is, or where he is to be put: then it is not `known`. */
static struct name *name_slot(struct name *set, uid_t uid)
{
	struct name *oldest = &set[0];

	for (unsigned i = 0; i < WAYS; i++) {
		if (!set[i].known || set[i].uid == uid)
			return &set[i];
		if (set[i].asked_ms < oldest->asked_ms)
			oldest = &set[i];
	}
	oldest->known = false;
	return oldest;
}

const char *user_name(uid_t uid, char buf[USER_NAME_MAX])
{
	static struct name names[SETS][WAYS];
	static int64_t renew_from_ms;
	struct name *at = name_slot(names[uid % SETS], uid);
	int64_t now = monotonic_now_ms();

	if (!at->known || (now - at->asked_ms >= RENEW_MS && now >= renew_from_ms)) {
		if (!name_ask(uid, at->name) && !at->known)
			(void)snprintf(at->name, sizeof at->name, "%u", (unsigned)uid);
		at->known = true;
		at->uid = uid;
		at->asked_ms = monotonic_now_ms();
		renew_from_ms = at->asked_ms + (at->asked_ms - now) * RENEW_SHARE;
	}
	(void)snprintf(buf, USER_NAME_MAX, "%s", at->name);
	return buf;
}

int user_parse(const char *text, uid_t *ret_uid, struct error *err)
{
	char strings[4096];
	struct passwd entry, *found = NULL;
	unsigned long long number;

	if (text_to_u64(text, 0, UINT32_MAX - 1, &number)) {
		*ret_uid = (uid_t)number;
		return 0;
	}
	if (getpwnam_r(text, &entry, strings, sizeof strings, &found) != 0 || !found)
		return error_set(err, -ENOENT, "there is no user \"%.64s\"", text);
	*ret_uid = found->pw_uid;
	return 0;
}

int user_account_find(uid_t uid, struct user_account *ret_account)
{
	auto_free char *buffer = NULL;
	auto_free gid_t *groups = NULL;
	struct passwd pw;
	int n = 64, r = account_get(uid, &pw, &buffer);

	if (r < 0)
		return r;
	for (;;) {
		int room = n;

		free(groups);
		groups = mem_calloc((size_t)room, sizeof *groups);
		if (getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) >= 0)
			break;
		if (n <= room || n > GROUPS_MAX)
			return -E2BIG;
	}
	*ret_account =
	    (struct user_account){.gid = pw.pw_gid, .groups = TAKE(groups), .n_groups = (size_t)n};
	return 0;
}

void user_account_finish(struct user_account *account)
{
	free(account->groups);
	*account = (struct user_account){};
}
