/*
 * Projects as text: cases of tests/cases/compose/{merge,project}/, each a few files in memory, how
 * they are loaded, and what comes out.
 *
 *	== NAME
 *	args: NAME=VALUE -f FILE --profile NAME --env-file FILE -p NAME -d DIR --in DIR
 *	@@ FILE
 *	its text
 *	=> WHAT = what it is
 *
 * Files lie in /p unless they are absolute. WHAT: a path in the merged tree (services.app.image; an
 *item of a list by its number), or `error`, `services`, `settings NAME`, `depends NAME`, `replicas
 *NAME`, `name`, `dir`, `files`, `read`, `warnings`, `where PATH` (its place in a file).
 */
#pragma once

#include "compose/project.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SCENE_FILES_MAX 400

struct scene {
	struct compose_options options;
	struct strings files, env_files, profiles, shell;
	struct compose_memory_file memory[SCENE_FILES_MAX];
	size_t n_memory;
	struct strings texts; /* what the fields above point to */
};

void scene_finish(struct scene *scene);
#define auto_scene CLEANUP(scene_finish)

/* A file of that text, in /p unless `path` is absolute. */
void scene_file(struct scene *scene, const char *path, const char *text, size_t len);
/* Words of an `args:` line. */
void scene_args(struct scene *scene, const char *words);
int scene_load(struct scene *scene, struct compose_project **ret_project, struct error *err);

/* A node as "{a: 1, b: [x, y]}", "~" for null. */
void scene_render(const struct compose_node *node, struct text *text);

/* All cases of the files in $PLIMSOLL_CASES/compose/<folder>, each a test; `more` are added. */
int scene_run(const char *folder, const struct CMUnitTest *more, size_t n_more);
