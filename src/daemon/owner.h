/*
 * Whose a task is and what he was when he sent it; whom the task runs as. In a daemon for the whole
 * machine these are the sender's, learned from the kernel and never from his message; in a user's
 * own daemon every task is that user's and inherits what the daemon has.
 */
#pragma once

#include "daemon/daemon.h"
#include "run/client.h"

struct owner {
	uid_t uid;
	gid_t gid;
	bool has_account;
	char *rlimits; /* JSON (util/limits.h), of the process that connected; NULL: the daemon's */
};

/* Of a submit, while its connection is open. -EPERM: it cannot be told, with the reason. */
int owner_identify(const struct daemon *daemon, const struct api_peer *peer,
		   struct owner *ret_owner, struct error *err) MUST_CHECK;
void owner_finish(struct owner *owner);
#define auto_owner CLEANUP(owner_finish)

/* What only the owner may name (keys, fingerprints) is kept under a name of his: the same text of
 * another user is another. NULL stays NULL; the caller frees. */
char *owner_scoped(uid_t uid, const char *text);

/* Whom to start it as, asked now: groups may have changed since the submit. *ret_user is false in a
 * user's own daemon. -ENOENT: his account is gone (and he had one); -EAGAIN: it cannot be told. */
struct owner_user {
	struct supervisor_user user; /* for supervisor_client_start() */
	gid_t *groups;
};
int owner_resolve(const struct daemon *daemon, const struct sched_spec *spec, bool *ret_has_user,
		  struct owner_user *ret_user, struct error *err) MUST_CHECK;
void owner_user_finish(struct owner_user *user);
#define auto_owner_user CLEANUP(owner_user_finish)

/*
 * The log a task's owner has chosen is opened with his rights, whatever the daemon could read.
 * Between begin and end the files this thread opens are opened as that user (his uid and the gid
 * owner_resolve() gives, no further groups). Does nothing for a log of the daemon's own choice, and
 * in a user's own daemon. Fails as owner_resolve() does: nothing may be opened then.
 */
struct owner_rights {
	bool changed;
};
int owner_rights_begin(const struct daemon *daemon, const struct sched_spec *spec,
		       struct owner_rights *ret_rights, struct error *err) MUST_CHECK;
void owner_rights_end(struct owner_rights *rights);
#define auto_owner_rights CLEANUP(owner_rights_end)
