/*
 * Which service a container is: the names of all containers of all engines that
 * answer, by id. For whoever meets processes and wants to say whose they are.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

struct container_names;

/* Ask all engines, `deadline_ms` in all. What could be learnt is in the result,
 * which may be empty; it never fails. Blocks: not on an event loop. */
struct container_names *container_names_load(unsigned deadline_ms);
void container_names_destroy(struct container_names *names);
static inline void container_names_cleanup(struct container_names **names)
{
	container_names_destroy(*names);
}
#define auto_container_names CLEANUP(container_names_cleanup)

/* "PROJECT/SERVICE", of a second replica "PROJECT/SERVICE 2", of what no
 * compose program made the container's name; NULL: no engine knows it. `id` in
 * full; names may be NULL. */
const char *container_names_find(const struct container_names *names, const char *id);
/* Did every engine that is there answer, and is there one at all? Then who is
 * not among them is not there. */
bool container_names_are_all(const struct container_names *names);
/* Is there a container of that project among them, running or not? */
bool container_names_has_project(const struct container_names *names, const char *project);
size_t container_names_count(const struct container_names *names);
