/*
 * The pid of a connection is that of who connected. It may have ended and its number gone to
 * somebody else, so after its limits were read its uid must still be the peer's: what is read then
 * is at worst of another process of the same user.
 *
 * The group of a connection is the sender's effective one, which a set-group-id program lends to
 * anybody. It is used only when he is in it by the database at the time of the start; else his
 * primary one is.
 */
#include "daemon/owner.h"

#include "util/file.h"
#include "util/users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <unistd.h>

/* The effective uid of a process. */
static int process_uid(pid_t pid, uid_t *ret_uid)
{
	auto_free char *path = mem_printf("/proc/%d/status", (int)pid);
	char status[4096];
	const char *line;
	unsigned real, effective;
	int r = file_read_small(path, status, sizeof status);

	if (r < 0)
		return r;
	line = strstr(status, "\nUid:");
	if (!line || sscanf(line, "\nUid: %u %u", &real, &effective) != 2)
		return -EBADMSG;
	*ret_uid = effective;
	return 0;
}

static bool limit_read(const char **at, uint64_t *ret_value)
{
	unsigned long long value;
	int used = 0;

	*at += strspn(*at, " ");
	if (text_starts_with(*at, "unlimited")) {
		*at += strlen("unlimited");
		*ret_value = LIMITS_NONE;
		return true;
	}
	if (sscanf(*at, "%llu%n", &value, &used) != 1)
		return false;
	*at += used;
	*ret_value = value;
	return true;
}

/* As the kernel prints them for everybody: prlimit(2) of another user's process would need
 * CAP_SYS_RESOURCE, which root has not in a container. */
static int limits_of(pid_t pid, struct limits *ret_limits)
{
	static const char *const titles[LIMITS_MAX] = {
	    [RLIMIT_AS] = "Max address space",
	    [RLIMIT_CORE] = "Max core file size",
	    [RLIMIT_CPU] = "Max cpu time",
	    [RLIMIT_DATA] = "Max data size",
	    [RLIMIT_FSIZE] = "Max file size",
	    [RLIMIT_LOCKS] = "Max file locks",
	    [RLIMIT_MEMLOCK] = "Max locked memory",
	    [RLIMIT_MSGQUEUE] = "Max msgqueue size",
	    [RLIMIT_NICE] = "Max nice priority",
	    [RLIMIT_NOFILE] = "Max open files",
	    [RLIMIT_NPROC] = "Max processes",
	    [RLIMIT_RSS] = "Max resident set",
	    [RLIMIT_RTPRIO] = "Max realtime priority",
	    [RLIMIT_RTTIME] = "Max realtime timeout",
	    [RLIMIT_SIGPENDING] = "Max pending signals",
	    [RLIMIT_STACK] = "Max stack size",
	};
	auto_free char *path = mem_printf("/proc/%d/limits", (int)pid);
	char text[4096];
	int r = file_read_small(path, text, sizeof text);

	*ret_limits = (struct limits){};
	for (int i = 0; r == 0 && i < LIMITS_MAX; i++) {
		const char *at = strstr(text, titles[i]);

		if (!at)
			return -EBADMSG;
		at += strlen(titles[i]);
		if (!limit_read(&at, &ret_limits->of[i].soft) ||
		    !limit_read(&at, &ret_limits->of[i].hard))
			return -EBADMSG;
		ret_limits->set |= 1u << i;
	}
	return r;
}

static int limits_learn(const struct api_peer *peer, char **ret_text, struct error *err)
{
	auto_json json_t *json = NULL;
	struct limits limits;
	uid_t uid = (uid_t)-1;
	int r;

	if (peer->pid <= 0)
		return error_set(err, -EPERM,
				 "the resource limits of the sender cannot be told: it is in "
				 "another pid namespace (a container); send from outside of it");
	r = limits_of(peer->pid, &limits);
	if (r == 0)
		r = process_uid(peer->pid, &uid);
	if (r < 0 || uid != peer->uid)
		return error_set(err, -EPERM,
				 "the resource limits of the sender cannot be told: process %d, "
				 "which connected, %s",
				 (int)peer->pid,
				 r == 0                        ? "is another user's by now"
				 : r == -ESRCH || r == -ENOENT ? "has ended"
							       : strerror(-r));
	json = limits_encode(&limits);
	*ret_text = jsonx_dump(json);
	return 0;
}

int owner_identify(const struct daemon *daemon, const struct api_peer *peer,
		   struct owner *ret_owner, struct error *err)
{
	struct owner owner = {.uid = geteuid(), .gid = getegid()};
	struct user_account account = {};
	int r;

	if (!daemon->options.system) {
		*ret_owner = owner;
		return 0;
	}
	owner.uid = peer->uid;
	owner.gid = peer->gid;
	r = user_account_find(peer->uid, &account);
	user_account_finish(&account);
	if (r < 0 && r != -ENOENT)
		return error_sys(err, -EIO, "cannot look up the account of user %u (%s)",
				 (unsigned)peer->uid, strerror(-r));
	owner.has_account = r == 0;
	r = limits_learn(peer, &owner.rlimits, err);
	if (r < 0)
		return r;
	*ret_owner = owner;
	return 0;
}

void owner_finish(struct owner *owner)
{
	free(owner->rlimits);
	*owner = (struct owner){};
}

char *owner_scoped(uid_t uid, const char *text)
{
	if (!text)
		return NULL;
	return uid == geteuid() ? mem_strdup(text) : mem_printf("%u/%s", (unsigned)uid, text);
}

static int rlimits_load(const struct sched_spec *spec, struct limits *ret_limits, struct error *err)
{
	auto_json json_t *json = NULL;
	int r = jsonx_parse(spec->rlimits, strlen(spec->rlimits), "limits", &json, err);

	return r < 0 ? r : limits_decode(json, ret_limits, err);
}

static bool is_in(const struct user_account *account, gid_t gid)
{
	for (size_t i = 0; i < account->n_groups; i++)
		if (account->groups[i] == gid)
			return true;
	return account->gid == gid;
}

/* His account as it is now, and the group he acts in: the one he sent the task from if he is in it
 * still, or never had an account. The caller finishes the account. */
static int account_resolve(const struct sched_spec *spec, struct user_account *ret_account,
			   gid_t *ret_gid, struct error *err)
{
	int r = user_account_find(spec->uid, ret_account);

	if (r == -ENOENT && spec->has_account)
		return error_set(err, r,
				 "the account of user %u, who sent it, is gone: it is not run as "
				 "anybody else",
				 (unsigned)spec->uid);
	if (r < 0 && r != -ENOENT)
		return error_set(err, -EAGAIN, "cannot look up the groups of user %u: %s",
				 (unsigned)spec->uid, strerror(-r));
	*ret_gid = r == 0 && !is_in(ret_account, spec->gid) ? ret_account->gid : spec->gid;
	return 0;
}

int owner_resolve(const struct daemon *daemon, const struct sched_spec *spec, bool *ret_has_user,
		  struct owner_user *ret_user, struct error *err)
{
	auto_owner_user struct owner_user owner = {.user = {.uid = spec->uid, .gid = spec->gid}};
	struct user_account account = {};
	int r;

	*ret_has_user = daemon->options.system;
	if (!daemon->options.system)
		return 0;
	if (!spec->rlimits)
		return error_set(err, -EPERM,
				 "it was sent to another kind of daemon: who its sender was is not "
				 "on record; send it again");
	r = rlimits_load(spec, &owner.user.limits, err);
	if (r < 0)
		return r;
	r = account_resolve(spec, &account, &owner.user.gid, err);
	if (r < 0)
		return r;
	owner.groups = TAKE(account.groups);
	owner.user.groups = owner.groups;
	owner.user.n_groups = account.n_groups;
	user_account_finish(&account);
	*ret_user = owner;
	owner.groups = NULL;
	return 0;
}

void owner_user_finish(struct owner_user *user)
{
	free(user->groups);
	*user = (struct owner_user){};
}

int owner_rights_begin(const struct daemon *daemon, const struct sched_spec *spec,
		       struct owner_rights *ret_rights, struct error *err)
{
	struct user_account account = {};
	gid_t gid;
	int r;

	*ret_rights = (struct owner_rights){};
	if (!daemon->options.system || !spec->log_path || spec->uid == 0)
		return 0;
	r = account_resolve(spec, &account, &gid, err);
	user_account_finish(&account);
	if (r < 0)
		return r;
	/* The group while we may; the capabilities of root over files go with the user. */
	(void)setfsgid(gid);
	(void)setfsuid(spec->uid);
	ret_rights->changed = true;
	return 0;
}

void owner_rights_end(struct owner_rights *rights)
{
	if (!rights->changed)
		return;
	(void)setfsuid(geteuid());
	(void)setfsgid(getegid());
	rights->changed = false;
}
