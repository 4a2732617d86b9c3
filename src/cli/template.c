/* See template.h. Values of rows are escaped on their way to the daemon: a file named "{gpu}.wav"
 * stays what it is. */
#include "cli/template.h"

#include <errno.h>
#include <string.h>

#define KEYS_SHOWN 20

static const char *const daemon_names[] = {"device",     "gpu",  "uuid",   "vram_mib",
					   "batch_size", "rank", "workers"};

static bool is_daemon_name(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(daemon_names); i++)
		if (strlen(daemon_names[i]) == len && strncmp(daemon_names[i], name, len) == 0)
			return true;
	return false;
}

bool template_is_of_gpu(const char *name)
{
	static const char *const of_gpu[] = {"device", "gpu", "uuid", "vram_mib"};

	for (size_t i = 0; i < ARRAY_LEN(of_gpu); i++)
		if (strcmp(of_gpu[i], name) == 0)
			return true;
	return false;
}

static void add_escaped(struct text *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		text_add_bytes(out, &s[i], 1);
		if (s[i] == '{' || s[i] == '}')
			text_add_bytes(out, &s[i], 1);
	}
}

static int unknown_placeholder(const char *key, enum template_target target,
			       const struct rows *rows, size_t i, struct error *err)
{
	auto_strings struct strings keys = {};
	auto_text struct text list = {};
	bool numbered = false;

	rows_keys(rows, i, KEYS_SHOWN, &keys);
	for (size_t k = 0; k < keys.n; k++) {
		text_printf(&list, "{%.64s} ", keys.items[k]);
		numbered = numbered || strcmp(keys.items[k], "row") == 0;
	}
	text_printf(&list, "%s%s", keys.n == KEYS_SHOWN ? "... " : "", numbered ? "" : "{row} ");
	list.data[--list.len] = '\0';
	if (target == TEMPLATE_VALUE && is_daemon_name(key, strlen(key)))
		return error_set(
		    err, -EINVAL,
		    "%s:%u: row %zu: {%s} is known only when the task starts; it can stand in the "
		    "command, not in an option",
		    rows_name(rows), rows_line(rows, i), i + 1, key);
	return error_set(
	    err, -EINVAL,
	    "%s:%u: row %zu: unknown placeholder {%.64s}; the row has %s%s; for a literal "
	    "brace write {{ or }}",
	    rows_name(rows), rows_line(rows, i), i + 1, key, list.data,
	    target == TEMPLATE_COMMAND
		? " and {device} {gpu} {uuid} {vram_mib} {batch_size} {rank} {workers}"
		: "");
}

static int add_placeholder(const char *key, enum template_target target, const struct rows *rows,
			   size_t i, struct text *out, struct error *err)
{
	auto_text struct text value = {};
	int r;

	r = rows_value(rows, i, key, &value);
	if (r == -ENOENT && target == TEMPLATE_COMMAND && is_daemon_name(key, strlen(key))) {
		text_printf(out, "{%s}", key);
		return 0;
	}
	if (r == -ENODATA)
		return error_set(err, -EINVAL, "%s:%u: row %zu: {%.64s} is null", rows_name(rows),
				 rows_line(rows, i), i + 1, key);
	if (r < 0)
		return unknown_placeholder(key, target, rows, i, err);
	if (target == TEMPLATE_COMMAND)
		add_escaped(out, value.data ? value.data : "", value.len);
	else
		text_add_bytes(out, value.data ? value.data : "", value.len);
	return 0;
}

int template_fill(const char *text, enum template_target target, const struct rows *rows, size_t i,
		  char **ret_filled, struct error *err)
{
	auto_text struct text out = {};

	for (const char *p = text; *p;) {
		size_t plain = strcspn(p, "{}");
		auto_free char *key = NULL;
		const char *end;
		int r;

		text_add_bytes(&out, p, plain);
		p += plain;
		if (!*p)
			break;
		if (p[0] == p[1]) {
			text_add_bytes(&out, p, target == TEMPLATE_COMMAND ? 2 : 1);
			p += 2;
			continue;
		}
		end = *p == '{' ? strchr(p, '}') : NULL;
		if (!end)
			return error_set(err, -EINVAL,
					 "\"%.200s\": a %s; for a literal brace write %s", text,
					 *p == '{' ? "{ without its }" : "} without its {",
					 *p == '{' ? "{{" : "}}");
		key = mem_strndup(p + 1, (size_t)(end - p) - 1);
		r = add_placeholder(key, target, rows, i, &out, err);
		if (r < 0)
			return r;
		p = end + 1;
	}
	*ret_filled = text_take(&out);
	return 0;
}

char *template_literal(const char *text)
{
	auto_text struct text out = {};

	for (const char *p = text; *p;) {
		size_t plain = strcspn(p, "{}"), len;

		text_add_bytes(&out, p, plain);
		p += plain;
		if (!*p)
			break;
		len = strcspn(p + 1, "{}");
		if (p[0] == '{' && p[1 + len] == '}' && is_daemon_name(p + 1, len)) {
			text_add_bytes(&out, p, len + 2);
			p += len + 2;
			continue;
		}
		if (text_starts_with(p, "{{")) {
			len = strcspn(p + 2, "{}");
			if (text_starts_with(p + 2 + len, "}}") && is_daemon_name(p + 2, len)) {
				text_add_bytes(&out, p, len + 4);
				p += len + 4;
				continue;
			}
		}
		add_escaped(&out, p, 1);
		p++;
	}
	return text_take(&out);
}

char *template_typed(const char *word)
{
	auto_text struct text out = {};

	for (const char *p = word; *p;) {
		size_t plain = strcspn(p, "{}"), len;

		text_add_bytes(&out, p, plain);
		p += plain;
		if (!*p)
			break;
		len = strcspn(p + MIN_OF(strlen(p), (size_t)2), "{}");
		/* The daemon's own name in two braces was typed with two. */
		if (text_starts_with(p, "{{") && text_starts_with(p + 2 + len, "}}") &&
		    is_daemon_name(p + 2, len)) {
			text_add_bytes(&out, p, len + 4);
			p += len + 4;
			continue;
		}
		text_add_bytes(&out, p, 1);
		p += p[0] == p[1] ? 2 : 1;
	}
	return out.data ? text_take(&out) : mem_strdup("");
}
