/* See submit_priv.h. */
#include "daemon/submit_priv.h"

#include <errno.h>
#include <string.h>

#define SECONDS_MAX (366.0 * 24 * 3600)

int read_wrong_type(const char *wanted, struct error *err)
{
	return error_set(err, -EINVAL, "must be %s", wanted);
}

int read_string(const json_t *value, size_t max, const char **ret_text, struct error *err)
{
	if (!json_is_string(value))
		return read_wrong_type("a string", err);
	if (json_string_length(value) > max)
		return error_set(err, -EINVAL, "is longer than %zu bytes", max);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return error_set(err, -EINVAL, "holds a zero byte");
	*ret_text = json_string_value(value);
	return 0;
}

int read_u64(const json_t *value, uint64_t max, uint64_t *ret_value, struct error *err)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return error_set(err, -EINVAL, "must be a whole number from 0 to %llu",
				 (unsigned long long)max);
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

int read_unsigned(const json_t *value, uint64_t max, unsigned *ret_value, struct error *err)
{
	uint64_t number = 0;
	int r = read_u64(value, max, &number, err);

	if (r == 0)
		*ret_value = (unsigned)number;
	return r;
}

int read_real(const json_t *value, double max, double *ret_value, struct error *err)
{
	double number = json_number_value(value);

	if (!json_is_number(value) || !(number >= 0) || number > max)
		return error_set(err, -EINVAL, "must be a number from 0 to %.7g", max);
	*ret_value = number;
	return 0;
}

int read_bool(const json_t *value, bool *ret_value, struct error *err)
{
	if (!json_is_boolean(value))
		return read_wrong_type("true or false", err);
	*ret_value = json_is_true(value);
	return 0;
}

int read_seconds(const json_t *value, int64_t *ret_ms, struct error *err)
{
	double seconds = json_number_value(value);

	if (!json_is_number(value) || !(seconds >= 0.001) || seconds > SECONDS_MAX)
		return error_set(err, -EINVAL,
				 "must be a number of seconds from 0.001 to %.0f (a year)",
				 SECONDS_MAX);
	*ret_ms = (int64_t)(seconds * 1000 + 0.5);
	return 0;
}

int read_members(const json_t *object, const struct member *members, struct target *target,
		 struct error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return read_wrong_type("an object", err);
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		const struct member *m = members;
		int r;

		while (m->name && strcmp(m->name, key) != 0)
			m++;
		if (!m->name)
			return error_set(err, -EINVAL, "unknown member \"%.64s\"", key);
		if (json_is_null(value))
			continue;
		r = m->read(value, target, err);
		if (r < 0)
			return error_prefix(err, r, "%s", key);
	}
	return 0;
}

int submit_check_members(const json_t *object, const char *const *known, const char *what,
			 struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		const char *const *k = known;

		while (*k && strcmp(*k, key) != 0)
			k++;
		if (!*k)
			return error_set(err, -EINVAL, "%s: unknown member \"%.64s\"", what, key);
	}
	return 0;
}
