/*
 * Who may do what to whose tasks, and what of them he gets to see. The daemon's own user and root
 * (API_ROLE_ADMIN) may do everything and see everything and do not come by here. Everybody else:
 *
 *   - does to his own tasks and batches what he likes;
 *   - touches nobody else's: a route of scope API_OWN_TASK or API_OWN_BATCH answers 403;
 *   - of what is not his sees the members of the tables in access.c, which are enough to understand
 *     a queue; all other members are null. With `private` not even its name.
 *
 * An object of an answer is somebody's when it has a member "uid". What has one and is in no table
 * is null in all its members: something new is hidden until somebody decides otherwise.
 */
#pragma once

#include "daemon/daemon.h"

/* For api_server_options; `data` is the daemon. */
int access_admit(void *data, const struct api_peer *peer, const struct api_route *route,
		 uint64_t id, struct error *err) MUST_CHECK;
void access_filter(void *data, const struct api_peer *peer, json_t *json);

/* The same of one object by itself: `member` is where it would be found in an answer ("task"). For
 * answers that are streams. */
void access_filter_member(const struct api_peer *peer, const char *member, json_t *json);

/* Is everything of this user's open to the peer? */
bool access_is_open(const struct api_peer *peer, uid_t owner);

/* May the peer know the task's name? */
bool access_sees_name(const struct api_peer *peer, const struct sched_task *task);

/* May the peer give this priority? Above 0 is root's to give, or who asks for most would always be
 * first; below it users rank their own tasks, and give way to others. -EPERM. */
int access_check_priority(const struct api_peer *peer, int priority, struct error *err) MUST_CHECK;
