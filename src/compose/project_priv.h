/*
 * What the parts of reading a project share: project.c keeps the order of steps; find.c,
 * documents.c, include.c, extends.c and services.c do theirs.
 */
#pragma once

#include "compose/interpolate.h"
#include "compose/project.h"

/* A file whose documents were parsed, and not filled in yet. */
struct parsed {
	struct parsed *next;
	const struct compose_file *file;
	struct compose_node **roots;
	size_t n;
};

struct loader {
	struct compose_project *project;
	const struct compose_options *options;
	const char *standing;          /* the folder one stands in, absolute */
	struct compose_node *profiles; /* those that are on, as keys */
	struct parsed *ahead;
	struct level *levels; /* every one there was, the last first */
	unsigned n_included;
	size_t n_text; /* bytes of files read */
	/* Growing lists of the project; it gets them in the end. */
	struct {
		const struct compose_file **items;
		size_t n, room;
	} compose_files;
	struct {
		struct compose_node **items;
		size_t n, room;
	} documents;
	struct compose_node *unset; /* variables that were warned of: a map of names */
	/* Files of `memory` that were asked for, in its order. */
	const struct compose_file **memory_files;
};

/* A file that some service extends a service of, or the document being read itself. */
struct base_file {
	struct base_file *next;
	const struct compose_file *file;
	const char *dir;                  /* what its paths are relative to */
	struct compose_node *services;    /* a map */
	const struct compose_node *marks; /* the document its !reset and !override stand in */
	/* For each service: itself with what it extends; NULL: not looked at yet. */
	struct compose_node **resolved;
	unsigned *depths; /* how many it extends; UINT_MAX: being looked at */
};

struct level_files {
	const struct compose_file **items;
	size_t n;
};

/* The project itself, or an included one. */
struct level {
	struct level *next; /* of all */
	struct level *up;   /* which includes it; NULL: the project itself */
	unsigned depth;
	const char *dir; /* what its paths are relative to */
	const struct compose_env *env;
	const struct level_files *files;
	const struct compose_file *reading; /* the file that is being read now */
	struct base_file *bases; /* files read for `extends`, with this level's variables */
};

/* One document on its way into the model. */
struct document {
	const struct compose_file *file;
	struct compose_node *root;        /* without !reset, interpolated */
	const struct compose_node *marks; /* as it was written; NULL: no mark is in it */
};

struct documents {
	struct document *items;
	size_t n;
};

/* What -f, COMPOSE_FILE or the search gave. */
struct found {
	struct strings files; /* as given, relative to where one stands */
	const char *dir;      /* of the project */
};

/* The files and the variables: COMPOSE_FILE may stand in the .env of the folder one stands in, and
 * the files it names may have another folder with another .env. */
int loader_find(struct loader *loader, struct found *found, struct compose_env *ret_env,
		struct error *err) MUST_CHECK;

static inline struct arena *loader_arena(struct loader *loader)
{
	return &loader->project->arena;
}

/* A file, from memory or disk; `path` absolute or relative to `dir`. */
int loader_file(struct loader *loader, const char *dir, const char *path,
		const struct compose_file **ret_file, struct error *err) MUST_CHECK;
/* One that the command line names, which may be a stream. */
int loader_given_file(struct loader *loader, const char *path, const struct compose_file **ret_file,
		      struct error *err) MUST_CHECK;
bool loader_exists(const struct loader *loader, const char *path);           /* and is no folder */
char *loader_join(struct loader *loader, const char *dir, const char *path); /* arena */
char *loader_dirname(struct loader *loader, const char *path);               /* arena */
/* -E2BIG at `span` when all trees together are too large. */
int loader_check_memory(const struct loader *loader, const struct compose_span *span,
			struct error *err) MUST_CHECK;

/* The trees of a file with no variable filled in; those read `ahead` are given out once. */
int loader_parse(struct loader *loader, const struct compose_file *file, struct parsed *ret_parsed,
		 struct error *err) MUST_CHECK;
/* The documents of a compose file, interpolated with `env`. */
int loader_documents(struct loader *loader, const struct compose_file *file,
		     const struct compose_env *env, struct documents *ret_documents,
		     struct error *err) MUST_CHECK;
/* Merge a document into `*model` (NULL at first): reset, merge, settle. */
int loader_merge(struct loader *loader, const struct document *document,
		 struct compose_node **model, struct error *err) MUST_CHECK;
/* env_file paths of all services of a document, relative to `dir`, made absolute: by them the
 * entries of merged lists are told apart. */
void loader_absolute(struct loader *loader, struct document *document, const char *dir);
/* All files of a level, merged; NULL: they are all empty. */
int level_read(struct loader *loader, struct level *level, struct compose_node **ret_root,
	       struct error *err) MUST_CHECK;

/* Take in what a document includes. */
int include_apply(struct loader *loader, struct level *level, struct document *document,
		  struct error *err) MUST_CHECK;
/* Complete the services of a document by those they extend. */
int extends_apply(struct loader *loader, struct level *level, struct document *document,
		  struct error *err) MUST_CHECK;
/* The project's services from its merged root. */
int services_create(struct loader *loader, struct error *err) MUST_CHECK;
/* Their settings: `environment` and env_file. */
int settings_create(struct loader *loader, struct compose_service *service,
		    struct error *err) MUST_CHECK;
