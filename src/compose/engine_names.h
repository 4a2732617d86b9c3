/*
 * Which service a container is: the names of all containers of all engines that answer, by id. For
 * whoever meets processes and wants to say whose they are.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>

struct engine_names;

/* Ask all engines, `deadline_ms` in all. What could be learnt is in the result, which may be
 * empty; it never fails. Blocks: not on an event loop. */
struct engine_names *engine_names_load(unsigned deadline_ms);
void engine_names_destroy(struct engine_names *names);
static inline void engine_names_cleanup(struct engine_names **names)
{
	engine_names_destroy(*names);
}
#define auto_engine_names CLEANUP(engine_names_cleanup)

/* "PROJECT/SERVICE", of a second replica "PROJECT/SERVICE 2", of what no compose program made the
 * container's name; NULL: no engine knows it. `id` in full; names may be NULL. */
const char *engine_names_find(const struct engine_names *names, const char *id);
size_t engine_names_count(const struct engine_names *names);
