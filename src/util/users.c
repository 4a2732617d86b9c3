/* See users.h. A name that changes is noticed when its entry has been replaced, or at the next
 * start; nothing but what people read depends on it. */
#include "util/users.h"

#include "util/text.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REMEMBERED  16
#define ACCOUNT_MAX ((size_t)1 << 20) /* of its strings */
#define GROUPS_MAX  65536             /* NGROUPS_MAX of Linux */

static bool name_ask(uid_t uid, char buf[USER_NAME_MAX])
{
	char strings[4096];
	struct passwd entry, *found = NULL;

	if (getpwuid_r(uid, &entry, strings, sizeof strings, &found) != 0 || !found)
		return false;
	(void)snprintf(buf, USER_NAME_MAX, "%s", found->pw_name);
	return true;
}

const char *user_name(uid_t uid, char buf[USER_NAME_MAX])
{
	static struct {
		bool known;
		uid_t uid;
		char name[USER_NAME_MAX];
	} last[REMEMBERED];
	static unsigned next;

	for (unsigned i = 0; i < REMEMBERED; i++)
		if (last[i].known && last[i].uid == uid) {
			(void)snprintf(buf, USER_NAME_MAX, "%s", last[i].name);
			return buf;
		}
	if (!name_ask(uid, buf))
		(void)snprintf(buf, USER_NAME_MAX, "%u", (unsigned)uid);
	last[next].known = true;
	last[next].uid = uid;
	(void)snprintf(last[next].name, sizeof last[next].name, "%s", buf);
	next = (next + 1) % REMEMBERED;
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
