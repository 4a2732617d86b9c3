/*
 * From "service X on GPU 1" to edits: the smallest ones that make it so, explicitly.
 *
 *	a variable decides	its assignment in .env: changed, or the commented-out line
 *				uncommented in place, or added at the end of .env in one commented
 *				group. The default in the compose file is corrected when the service
 *				cannot run on what it says
 *	a literal decides	the literal
 *	count, all, nothing	device_ids in its place
 *	two services share it	(one variable, one anchor, an extended service) and would part: a
 *				request or variable of one's own where that can be written; else an
 *				error that says so
 *	the variable is also	(a port, a name, a volume) the GPU is written in its place, and the
 *	used for other things	variable stays as it is
 *	.env says B=${A}	B keeps what it says when A is changed
 */
#pragma once

#include "compose/locate.h"
#include "compose/rewrite.h"
#include "gpu/gpu.h"

struct compose_target {
	const struct compose_gpus *gpus;
	const struct gpu **devices; /* where it is to be */
	size_t n_devices;
	/* For the comment beside a line that is added, "9 GiB"; which GPU is named behind it. May
	 * be NULL. */
	const char *why;
	uint64_t vram_bytes; /* what it needs there; 0: unknown. For the defaults */
	const bool *allowed; /* GPUs of the list it may be on at all; NULL: all. For the defaults */
};

struct compose_assign_options {
	bool by_uuid; /* --ids uuid; else as the files do, indices when they say nothing */
	/* What each GPU of the list can take beside what is planned for it; NULL: its VRAM. A
	 * default that names a GPU which is not there, has less room than the service needs, or is
	 * not for it, is corrected. */
	const uint64_t *room_bytes;
	/* The program that runs the project and cannot read `!override`: "docker-compose 1.29.2";
	 * NULL: it can, or is not known. Becomes true when the tag is written; may be NULL. */
	const char *no_override;
	/* Services whose profile is off that go along with others; may be NULL. */
	struct strings *ret_along;
	bool *ret_override;
};

/* Edits for all targets; a project that says so already gets none. `ret_notes`: what was done for
 * each, and what had to be left to people, a line each. A .env that is made belongs to the
 * project's files. -ENOTSUP: one cannot be written (FILE:LINE:COLUMN and why); no edit then. */
int compose_assign(struct compose_project *project, const struct compose_target *targets, size_t n,
		   const struct gpu_list *list, const struct compose_assign_options *options,
		   struct compose_edits *edits, struct strings *ret_notes,
		   struct error *err) MUST_CHECK;
