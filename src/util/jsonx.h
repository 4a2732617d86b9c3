/*
 * jansson with cleanup and with getters that keep "unknown" apart from zero. Objects returned are
 * new references unless a comment says borrowed.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

static inline void jsonx_cleanup(json_t **json)
{
	json_decref(*json);
	*json = NULL;
}
#define auto_json CLEANUP(jsonx_cleanup)

/* Values for building: a known number, or null. */
json_t *jsonx_u64(uint64_t value);
json_t *jsonx_u64_if(bool known, uint64_t value);
json_t *jsonx_real_if(bool known, double value, int decimals); /* rounded to `decimals` */
json_t *jsonx_string_if(const char *s);                        /* NULL or "" gives null */
json_t *jsonx_time_if(int64_t ms);                             /* RFC 3339; 0 or less gives null */
json_t *jsonx_strv(char *const *items);                        /* NULL-terminated list of strings */

/* Getters from an object (or NULL): the default when absent, null or of another type. Strings are
 * borrowed from `object`. */
uint64_t jsonx_get_u64(const json_t *object, const char *key, uint64_t otherwise);
int64_t jsonx_get_i64(const json_t *object, const char *key, int64_t otherwise);
double jsonx_get_real(const json_t *object, const char *key, double otherwise);
bool jsonx_get_bool(const json_t *object, const char *key, bool otherwise);
const char *jsonx_get_string(const json_t *object, const char *key, const char *otherwise);
int64_t jsonx_get_time(const json_t *object, const char *key); /* ms, 0 when null */
bool jsonx_has(const json_t *object, const char *key);         /* there and not null */

/* Parse text of `len` bytes; `name` is the file, for "name:line:column: ...". Duplicate keys
 * refused. */
int jsonx_parse(const char *text, size_t len, const char *name, json_t **ret_json,
		struct error *err) MUST_CHECK;

/* One line, compact; the caller frees. */
char *jsonx_dump(const json_t *json);
