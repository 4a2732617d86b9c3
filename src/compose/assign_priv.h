/*
 * What the files behind assign.h share. For nobody else.
 *
 *	assign.c	which service is to say what
 *	assign_share.c	who shares the bytes it is said in
 *	assign_hold.c	who says what with a variable, and who has left it
 *	assign_seat.c	one value: the assignment, the default or the literal that says it
 *	assign_env.c	.env: values in place, lines uncommented, the group at its end
 *	assign_yaml.c	the compose file: scalars, lists, entries, parts of one's own
 *	assign_print.c	YAML as it is written anew
 */
#pragma once

#include "compose/assign.h"
#include "compose/locate_ways.h"

/* A variable that .env is to get at its end. */
struct assign_addition {
	const char *name, *value, *why; /* why may be NULL */
};

/* Where an env file sets a variable anew; what stands below it may name it. */
struct assign_line {
	const char *name;
	const struct compose_file *file;
	size_t at;
};

struct assign_hold;
struct assign_left;

struct assigning {
	struct compose_project *project;
	struct arena *arena; /* the project's */
	const struct gpu_list *list;
	const struct compose_assign_options *options;
	const struct compose_target *targets;
	size_t n;
	struct compose_gpus *all; /* of every service of the project */
	struct compose_edits edits;
	struct strings notes;
	struct assign_addition *additions;
	size_t n_additions, room;
	struct assign_hold *holds;
	size_t n_holds, holds_room;
	struct assign_left *left;
	size_t n_left, left_room;
	struct assign_line *lines;
	size_t n_lines, lines_room;
};

struct assign_set {
	bool in[GPU_LIST_MAX]; /* of the list's GPUs */
};

/* A part of a scalar that says something, as one value even when commas are in it. */
struct assign_region {
	const struct compose_target *target;
	const struct compose_request *request;
	struct locate_part part;
	struct compose_value value;
	const char *variable; /* the one to set for another value; NULL: none */
	const char *why;      /* for the comment: of the GPUs it names alone; NULL: none */
};

/* What a target says with a variable when all is written. */
struct assign_hold {
	struct assign_region region;
	const char *whole; /* what the variable stands for there */
	bool set;          /* for that it is changed */
};

/* The uses in [begin, end) of a scalar's template that are there no more. */
struct assign_left {
	const struct compose_service *service; /* for which alone; NULL: for all */
	struct compose_span span;              /* the scalar's */
	size_t begin, end;
};

/* assign.c */

/* Where a service will be: its target, else where it is now; false: it cannot be said. */
bool assign_final(const struct assigning *a, const struct compose_gpus *gpus,
		  struct assign_set *ret_set);
struct assign_set assign_wanted(const struct assigning *a, const struct compose_target *target);
bool assign_sets_equal(const struct assign_set *one, const struct assign_set *other);
/* "9 GiB on the X1" of the target's GPUs in the set, for a comment; NULL: nothing is to be said. */
const char *assign_why(const struct assigning *a, const struct compose_target *target,
		       const struct assign_set *set);
/* The GPUs that one device's name means; false: none. */
bool assign_meant(const struct assigning *a, const char *device, struct assign_set *ret_set);
void assign_note(struct assigning *a, const struct compose_target *target, const char *fmt, ...)
    PRINTF(3, 4);
/* A service that is off is not kept where it was, and is told of; `variable` NULL: bytes. */
void assign_goes_along(struct assigning *a, const struct compose_target *target,
		       const struct compose_gpus *other, const char *variable);
int assign_edit(struct assigning *a, const struct compose_span *span, const char *text,
		struct error *err) MUST_CHECK;
/* "FILE:LINE:COLUMN: service "X": ..."; -ENOTSUP. */
int assign_fail(const struct compose_target *target, const struct compose_span *at,
		struct error *err, const char *fmt, ...) PRINTF(4, 5);

/* Is it a variable of the container? */
static inline bool assign_is_in_environment(const struct compose_request *request)
{
	return request->how == COMPOSE_RUNTIME || request->how == COMPOSE_ENVIRONMENT;
}

/* assign_share.c */

/* Do the two stand in the same bytes of a compose file? */
bool assign_share_bytes(const struct compose_request *one, const struct compose_request *other);
/* The request of another service in the same bytes, when that service is to be elsewhere; NULL: it
 * goes along, or shares nothing. */
const struct compose_request *assign_sharing(const struct assigning *a,
					     const struct compose_target *target,
					     const struct compose_request *request,
					     const struct compose_gpus *other);
/* What else than requests for GPUs would be another thing if the variable were: "`ports` of web at
 * FILE:LINE"; NULL: nothing. Not the environment, command or labels of a service that has its GPUs
 * from it: these are meant to go along. */
const char *assign_other_use(struct assigning *a, const struct compose_target *target,
			     const char *variable);
/* Is there any such? */
bool assign_is_shared(const struct assigning *a, const struct compose_target *target,
		      const struct compose_request *request);

/* assign_hold.c */

enum assign_hanging {
	ASSIGN_HANGS_NOT,
	ASSIGN_FOLLOWS, /* it says with the variable what that is to be */
	ASSIGN_PARTS,   /* it says something else */
};
/* What a service says with the region's variable today, uses that are left by now excepted. */
enum assign_hanging assign_hanging(const struct assigning *a, const struct compose_gpus *gpus,
				   const struct assign_region *region, const char *whole);
/* The service that another value of the variable is decided for, this one's own other uses
 * included; NULL: none. `set_only`: that it is changed for; else also one that it stays for. */
const struct compose_gpus *assign_hold_against(const struct assigning *a,
					       const struct assign_region *region,
					       const char *whole, bool set_only);
/* Is it decided that the variable becomes this? */
bool assign_hold_is_set(const struct assigning *a, const struct assign_region *region,
			const char *whole);
void assign_hold_add(struct assigning *a, const struct assign_region *region, const char *whole,
		     bool set);
/* Commented-out lines that say what is in force, for those that are left with the variable. */
int assign_hold_finish(struct assigning *a, struct error *err) MUST_CHECK;
/* The region's variable is there no more. */
void assign_left_region(struct assigning *a, const struct assign_region *region);
/* None of the request's variables is, for this service, or (NULL) for all. */
void assign_left_request(struct assigning *a, const struct compose_service *service,
			 const struct compose_request *request);
/* The outermost use this one is in. */
const struct compose_use *assign_outermost(const struct compose_node *node,
					   const struct compose_use *use);

/* assign_seat.c */

/* The service that keeps the variable, when `whole` is not for it: one that is to be elsewhere and
 * stays where it is, or that comes before this one, or (`settled`) any. */
const struct compose_gpus *assign_keeper(struct assigning *a, const struct assign_region *region,
					 const char *whole, bool settled);

/* The region from one value of a request to a later one of the same scalar. */
void assign_region_find(struct assigning *a, const struct compose_target *target,
			const struct compose_request *request, const struct compose_value *first,
			const struct compose_value *last, struct assign_region *ret_region);
/* It is to say `text`. */
int assign_region_set(struct assigning *a, const struct assign_region *region, const char *text,
		      struct error *err) MUST_CHECK;
/* It says so already, and is to: when its variable becomes another one for somebody else, it leaves
 * it. Its default is looked at, and a commented-out line that would say it becomes one that does.
 */
int assign_region_keep(struct assigning *a, const struct assign_region *region,
		       struct error *err) MUST_CHECK;

/* assign_env.c */

int assign_env_set(struct assigning *a, const struct assign_region *region, const char *name,
		   const char *value, struct error *err) MUST_CHECK;
/* All additions become one edit. */
int assign_env_finish(struct assigning *a, struct error *err) MUST_CHECK;

/* assign_yaml.c */

/* A part of a scalar's bytes becomes `text`, which has no characters that YAML escapes; quotes are
 * put round the scalar when it needs them now. */
int assign_yaml_part(struct assigning *a, const struct compose_node *scalar,
		     const struct compose_span *span, const char *text,
		     struct error *err) MUST_CHECK;
/* All of a scalar becomes `text`, in its style of quotes. */
int assign_yaml_scalar(struct assigning *a, const struct compose_node *scalar, const char *text,
		       struct error *err) MUST_CHECK;
/* device_ids of a request: instead of its list, its `count` or nothing. */
int assign_yaml_ids(struct assigning *a, const struct compose_target *target,
		    const struct compose_request *request, const char *const *ids, size_t n,
		    struct error *err) MUST_CHECK;
/* `count:` of a request that names its devices: compose refuses both together. */
int assign_yaml_drop_count(struct assigning *a, const struct compose_target *target,
			   const struct compose_request *request, struct error *err) MUST_CHECK;
/* A variable of the service's own `environment`. -EXDEV, without a text: it has one there. */
int assign_yaml_environment(struct assigning *a, const struct compose_target *target,
			    const char *name, const char *value, struct error *err) MUST_CHECK;
/* A device request of the service's own, where it has one through an anchor, a merge key or
 * extends. -EXDEV, without a text: the bytes are its own. */
int assign_yaml_own(struct assigning *a, const struct compose_target *target,
		    const struct compose_request *request, const char *const *ids, size_t n,
		    struct error *err) MUST_CHECK;
