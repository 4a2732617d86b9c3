/*
 * Is this machine fit for GPU work, and if not, what exactly to do. One table of checks
 * for each group (checks_GROUP.c): id, what it looks at. Each looks at the facts of one machine
 * (doctor/machine.h), taken through doctor/root.h, and says ok, warn, fail, unknown or skipped,
 * with the evidence in numbers, the cause, and a fix as commands. docs/doctor.md is made from the
 * table.
 *
 * Healthy is never accused: what cannot be known is unknown, what does not apply here is skipped,
 * and a fail is something that keeps GPU work from running or makes it wrong.
 */
#pragma once

#include "doctor/compat.h"
#include "doctor/machine.h"
#include "doctor/needs.h"

enum doctor_status { DOCTOR_OK, DOCTOR_SKIPPED, DOCTOR_UNKNOWN, DOCTOR_WARN, DOCTOR_FAIL };
const char *doctor_status_name(enum doctor_status status); /* "ok", "skipped", ... */

struct doctor_result {
	const struct doctor_check *check;
	enum doctor_status status; /* the worst that was said */
	struct text evidence;      /* what was seen, in numbers; one line for each thing seen */
	struct text cause;         /* why that is a fault; "" when ok */
	struct strings fix; /* commands in order; a line that begins with '#' is a word to people */
};

/* What a check is given. */
struct doctor {
	const struct machine *machine;
	enum doctor_purpose purpose;
	const struct needs *needs;
	const struct compat *compat;
	uint64_t model_vram_bytes; /* --for MODEL: what it needs; 0 = none was named */
};

struct doctor_check {
	const char *id;    /* "driver-library-mismatch"; stable */
	const char *group; /* "driver", "gpus", "containers", "host" */
	const char *title; /* a few words */
	const char *text;  /* what it looks at and what a fault means, for the docs */
	void (*look)(const struct doctor *doctor, struct doctor_result *result);
};

/* What checks say. The worst status counts; evidence and cause grow by a line each time (the cause
 * only for warn and fail, the same one once). */
void doctor_say(struct doctor_result *result, enum doctor_status status, const char *fmt, ...)
    PRINTF(3, 4);
void doctor_because(struct doctor_result *result, const char *fmt, ...) PRINTF(2, 3);
void doctor_fix(struct doctor_result *result, const char *fmt, ...) PRINTF(2, 3);

struct doctor_results {
	struct doctor_result *items; /* in the order of the table */
	size_t n;
};

/* `only`: ids or names of groups, NULL-terminated, or NULL for all; -EINVAL names the nearest id
 * for an unknown one. */
int doctor_run(const struct doctor *doctor, char *const *only, struct doctor_results *ret_results,
	       struct error *err) MUST_CHECK;
void doctor_results_finish(struct doctor_results *results);
#define auto_doctor_results CLEANUP(doctor_results_finish)
size_t doctor_count(const struct doctor_results *results, enum doctor_status status);

/* {"id", "group", "title", "status", "evidence": lines, "cause", "fix": lines}; of a result
 * without a check none of the first three. */
json_t *doctor_result_to_json(const struct doctor_result *result);
/* {"checks": [{"id", "group", "title", "status", "evidence": lines, "cause", "fix": lines}]} */
json_t *doctor_to_json(const struct doctor_results *results);
/* docs/doctor.md. */
void doctor_describe(struct text *text);
