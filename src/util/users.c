/* See users.h. A name that changes is noticed when its entry has been replaced, or at the next
 * start; nothing but what people read depends on it. */
#include "util/users.h"

#include "util/text.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>

#define REMEMBERED 16

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
