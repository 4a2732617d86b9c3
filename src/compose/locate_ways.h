/*
 * What the files behind locate.h share: the service at hand, its requests as they are found, and
 * how a part of a scalar becomes a value (assign.h's files use that part, too).
 */
#pragma once

#include "compose/interpolate.h"
#include "compose/locate.h"

struct locating {
	struct compose_project *project;
	struct arena *arena;
	const struct compose_service *service;
	struct compose_request *items; /* of this service so far */
	size_t n, room;
	bool too_many;
};

/* A part of a scalar, to be read as a value. */
struct locate_part {
	const struct compose_node *node;
	size_t begin, end;
	/* When the scalar stands in an env file, or is a bare KEY of `environment`: */
	const char *variable;
	enum compose_source source; /* LITERAL otherwise */
	const struct compose_assignment *assignment;
};
struct locate_part locate_part_all(const struct compose_node *scalar);

/* locate_value.c */

void locate_value(struct locating *locating, const struct locate_part *part,
		  struct compose_value *ret_value);
/* The part as the only value. -E2BIG: longer than COMPOSE_VALUE_LENGTH_MAX. */
int locate_single(struct locating *locating, const struct locate_part *part,
		  struct compose_request *request);
/* Add what stands between the commas, trimmed, empty items left out. -E2BIG: too long, or too many
 * values. */
int locate_values(struct locating *locating, const struct locate_part *part,
		  struct compose_request *request);
/* What an assignment says, as a scalar. */
const struct compose_node *locate_assigned(struct arena *arena,
					   const struct compose_assignment *assignment);
/* As the engines read a list of devices: `void` anywhere, then the first `all` or `none`, else what
 * is named; nothing named is none. */
void locate_visible(struct compose_request *request);

/* The ways, each adds what it finds. locate_device.c: */
void locate_reservations(struct locating *locating);
void locate_gpus(struct locating *locating);
void locate_devices(struct locating *locating);
/* locate_env.c: */
void locate_runtime(struct locating *locating);
void locate_cuda(struct locating *locating);

void locate_add(struct locating *locating, const struct compose_request *request);
/* Note the first problem of a request. */
void locate_problem(struct locating *locating, struct compose_request *request,
		    const struct compose_span *span, const char *fmt, ...) PRINTF(4, 5);
/* From a key to the end of its value, where both are in one file. */
struct compose_span locate_entry_span(const struct compose_entry *entry);
