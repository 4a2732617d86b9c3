/* What the readers of a submit's members share: see submit_parse.c. */
#pragma once

#include "daemon/submit_parse.h"

/* What a reader reads into. */
struct target {
	struct sched_spec *spec;
	struct submit *submit;
	const struct gpu_list *gpus;
};

struct member {
	const char *name;
	int (*read)(const json_t *value, struct target *target, struct error *err);
};

/* Typed values with their bounds. Errors begin with "must be": the member's name is put before. */
int read_wrong_type(const char *wanted, struct error *err);
int read_string(const json_t *value, size_t max, const char **ret_text,
		struct error *err) MUST_CHECK;
int read_u64(const json_t *value, uint64_t max, uint64_t *ret_value, struct error *err) MUST_CHECK;
int read_unsigned(const json_t *value, uint64_t max, unsigned *ret_value,
		  struct error *err) MUST_CHECK;
int read_real(const json_t *value, double max, double *ret_value, struct error *err) MUST_CHECK;
int read_bool(const json_t *value, bool *ret_value, struct error *err) MUST_CHECK;
/* Seconds, with decimals; above 0 and at most a year. */
int read_seconds(const json_t *value, int64_t *ret_ms, struct error *err) MUST_CHECK;

/* Each member of `object` by the table; null is the same as absent. */
int read_members(const json_t *object, const struct member *members, struct target *target,
		 struct error *err) MUST_CHECK;

/* "request" (submit_request.c). */
int read_request(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
/* What contradicts itself in it; fills in what follows from the rest. */
int request_settle(struct place_request *request, struct error *err) MUST_CHECK;

/* When it may start and how long it may take (submit_terms.c). */
int read_after(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_at(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_held(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_private(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_retries(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_retry_delay(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_soft_limit(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_time_limit(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_soft_signal(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_on_oom(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_batch_size(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_on_overrun(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int read_tty(const json_t *value, struct target *target, struct error *err) MUST_CHECK;
int terms_settle(const struct sched_spec *spec, struct error *err) MUST_CHECK;
