/* See jsonx.h. */
#include "util/jsonx.h"

#include "util/timestamp.h"

#include <errno.h>
#include <math.h>

json_t *jsonx_u64(uint64_t value)
{
	return json_integer((json_int_t)MIN_OF(value, (uint64_t)INT64_MAX));
}

json_t *jsonx_u64_if(bool known, uint64_t value)
{
	return known ? jsonx_u64(value) : json_null();
}

/* Without libm: the supervisor and the NVML helper would map it for this alone. */
json_t *jsonx_real_if(bool known, double value, int decimals)
{
	double scaled, scale = 1;

	if (!known || !isfinite(value))
		return json_null();
	for (int i = 0; i < decimals; i++)
		scale *= 10;
	scaled = value * scale;
	/* From 2^52 on there is nothing behind the point. */
	if (scaled < 0x1p52 && scaled > -0x1p52)
		scaled = (double)(int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
	return json_real(scaled / scale);
}

json_t *jsonx_string_if(const char *s)
{
	json_t *json = s && *s ? json_string(s) : NULL;

	/* Text that is not UTF-8 (a name from the kernel) must not break the whole answer. */
	return json ? json : json_null();
}

json_t *jsonx_time_if(int64_t ms)
{
	return ms > 0 ? json_string(TIMESTAMP_TEXT(ms)) : json_null();
}

json_t *jsonx_strv(char *const *items)
{
	json_t *array = json_array();

	for (; items && *items; items++)
		(void)json_array_append_new(array, jsonx_string_if(*items));
	return array;
}

uint64_t jsonx_get_u64(const json_t *object, const char *key, uint64_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_integer(value) && json_integer_value(value) >= 0)
		return (uint64_t)json_integer_value(value);
	return otherwise;
}

int64_t jsonx_get_i64(const json_t *object, const char *key, int64_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

double jsonx_get_real(const json_t *object, const char *key, double otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool jsonx_get_bool(const json_t *object, const char *key, bool otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

const char *jsonx_get_string(const json_t *object, const char *key, const char *otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_string(value) ? json_string_value(value) : otherwise;
}

int64_t jsonx_get_time(const json_t *object, const char *key)
{
	const char *text = jsonx_get_string(object, key, NULL);
	int64_t ms = 0;

	if (!text || timestamp_parse(text, &ms, NULL) < 0)
		return 0;
	return ms;
}

bool jsonx_has(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return value && !json_is_null(value);
}

int jsonx_parse(const char *text, size_t len, const char *name, json_t **ret_json,
		struct error *err)
{
	json_error_t at;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &at);

	if (!json)
		return error_set(err, -EBADMSG, "%s:%d:%d: not valid JSON: %s", name, at.line,
				 at.column, at.text);
	*ret_json = json;
	return 0;
}

char *jsonx_dump(const json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));

	return text ? text : mem_strdup("null");
}
