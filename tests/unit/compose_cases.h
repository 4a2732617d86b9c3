/* Case tables of tests/cases/compose/: a JSON object with "cases", and what they share. */
#pragma once

#include "compose/interpolate.h"
#include "util/file.h"
#include "util/jsonx.h"

#include "unit.h"

#include <string.h>

static inline json_t *cases_load(const char *name)
{
	auto_free char *path = mem_printf("%s/compose/%s", getenv("PLIMSOLL_CASES"), name);
	auto_text struct text text = {};
	struct error err = {};
	json_t *json = NULL;

	if (file_read(path, (size_t)1 << 20, false, &text, &err) < 0 ||
	    jsonx_parse(text.data, text.len, path, &json, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(json_array_size(json_object_get(json, "cases")) > 5);
	return json;
}

/* {"NAME": "value"} as a shell's environment. */
static inline void cases_shell(json_t *object, struct strings *ret_shell)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)object, name, value)
		strings_take(ret_shell, mem_printf("%s=%s", name, json_string_value(value)));
}

/* An environment of these variables and this env file (NULL: none); `files` and `arena` own it. */
static inline void cases_env(json_t *variables, const char *env_file, struct compose_files *files,
			     struct arena *arena, struct compose_env *ret_env)
{
	auto_strings struct strings shell = {};
	const struct compose_file *file = NULL;
	struct error err = {};

	cases_shell(variables, &shell);
	if (env_file)
		file = compose_files_add(files, ".env", env_file, strlen(env_file));
	if (compose_env_create(arena, shell.items, &file, env_file ? 1 : 0, ret_env, &err) < 0)
		fail_msg("%s", err.text);
}

/* The bytes [begin, end) of `text` are `wanted`. */
static inline void check_part(const char *text, size_t begin, size_t end, const char *wanted,
			      const char *where)
{
	assert_true(begin <= end && end <= strlen(text));
	if (end - begin != strlen(wanted) || memcmp(text + begin, wanted, end - begin) != 0)
		fail_msg("%s: \"%.*s\" instead of \"%s\"", where, (int)(end - begin), text + begin,
			 wanted);
}

static inline void check_string(const char *is, const char *wanted, const char *where)
{
	if (!is || strcmp(is, wanted) != 0)
		fail_msg("%s: \"%s\" instead of \"%s\"", where, is ? is : "(none)", wanted);
}
