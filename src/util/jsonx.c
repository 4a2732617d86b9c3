/* See jsonx.h. */
#include "util/jsonx.h"

#include "util/text.h"
#include "util/timestamp.h"

#include <errno.h>
#include <math.h>
#include <string.h>

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

/* --- writing ---
 *
 * As json_dumps() does with JSON_COMPACT, in a quarter of the time: that one keeps a table of the
 * containers it is in, with their addresses as text, against loops, which are not built here. */

/* Most of what is written is less. */
#define DUMP_ROOM 1000

/* As text_room(), which is called once in some hundred times. */
static inline char *room(struct text *text, size_t more)
{
	return text->len + more < text->room ? text->data + text->len : text_room(text, more);
}

static inline void dump_char(char c, struct text *text)
{
	*room(text, 1) = c;
	text->len++;
}

static void dump_bytes(const char *s, size_t len, struct text *text)
{
	memcpy(room(text, len), s, len);
	text->len += len;
}

static void dump_escape(unsigned char c, struct text *text)
{
	static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	for (const char *s = shorts; *s; s += 2) {
		if ((unsigned char)*s == c) {
			dump_bytes((const char[]){'\\', s[1]}, 2, text);
			return;
		}
	}
	text_printf(text, "\\u%04X", c);
}

/* jansson's strings are UTF-8, which goes as it is. */
static void dump_string(const char *s, size_t len, struct text *text)
{
	const char *from = s, *end = s + len;

	dump_char('"', text);
	for (; s < end; s++) {
		unsigned char c = (unsigned char)*s;

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		dump_bytes(from, (size_t)(s - from), text);
		dump_escape(c, text);
		from = s + 1;
	}
	dump_bytes(from, (size_t)(end - from), text);
	dump_char('"', text);
}

static void dump_integer(json_int_t value, struct text *text)
{
	char digits[24], *at = digits + sizeof digits;
	/* Not -value: the smallest has no positive. */
	uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do
		*--at = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (value < 0)
		*--at = '-';
	dump_bytes(at, (size_t)(digits + sizeof digits - at), text);
}

/* Rare, and it knows about locales. */
static void dump_real(const json_t *json, struct text *text)
{
	char digits[64];
	size_t len =
	    json_dumpb(json, digits, sizeof digits, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));

	dump_bytes(digits, MIN_OF(len, sizeof digits), text);
}

static void dump(const json_t *json, struct text *text);

static void dump_object(const json_t *json, struct text *text)
{
	json_t *object = (json_t *)(uintptr_t)json; /* only read */
	char before = '{';

	for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
		dump_char(before, text);
		dump_string(json_object_iter_key(at), json_object_iter_key_len(at), text);
		dump_char(':', text);
		dump(json_object_iter_value(at), text);
		before = ',';
	}
	if (before == '{')
		dump_char('{', text);
	dump_char('}', text);
}

static void dump_array(const json_t *json, struct text *text)
{
	size_t n = json_array_size(json);

	dump_char('[', text);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			dump_char(',', text);
		dump(json_array_get(json, i), text);
	}
	dump_char(']', text);
}

static void dump(const json_t *json, struct text *text)
{
	if (!json) {
		dump_bytes("null", 4, text);
		return;
	}
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		dump_object(json, text);
		break;
	case JSON_ARRAY:
		dump_array(json, text);
		break;
	case JSON_STRING:
		dump_string(json_string_value(json), json_string_length(json), text);
		break;
	case JSON_INTEGER:
		dump_integer(json_integer_value(json), text);
		break;
	case JSON_REAL:
		dump_real(json, text);
		break;
	case JSON_TRUE:
		dump_bytes("true", 4, text);
		break;
	case JSON_FALSE:
		dump_bytes("false", 5, text);
		break;
	case JSON_NULL:
		dump_bytes("null", 4, text);
		break;
	}
}

char *jsonx_dump(const json_t *json)
{
	struct text text = {};

	(void)text_room(&text, DUMP_ROOM);
	dump(json, &text);
	text.data[text.len] = '\0';
	/* Many are kept. */
	return mem_realloc(text.data, text.len + 1, 1);
}
