/* Any bytes as an env file: assignments that stand in the file, in its order, and a variable for
 * each; or an error with a place. */
#include "compose/env.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_assignment(const struct compose_file *file, const struct compose_assignment *item)
{
	const struct compose_span *all = &item->span, *value = &item->value_span;

	check(item->name && (item->value || item->inherits) && all->file == file &&
	      value->file == file);
	check(all->begin <= value->begin && value->begin <= value->end && value->end == all->end &&
	      all->end <= file->len);
	check(item->commented == (file->text[all->begin] == '#'));
	if (item->quote)
		check(value->end - value->begin >= 2 && file->text[value->begin] == item->quote &&
		      file->text[value->end - 1] == item->quote);
}

static void check_env(const struct compose_env *env)
{
	size_t end = 0;

	for (size_t i = 0; i < env->files[0].n; i++) {
		const struct compose_assignment *item = &env->files[0].items[i];

		check_assignment(env->files[0].file, item);
		check(item->span.begin >= end);
		end = item->span.end;
		if (item->commented)
			check(compose_env_commented(env, item->name) != NULL);
		else if (!item->inherits)
			check(compose_env_get(env, item->name) != NULL);
	}
	for (size_t i = 0; i < env->n; i++) {
		check(i == 0 || strcmp(env->variables[i - 1].name, env->variables[i].name) < 0);
		check(compose_env_get(env, env->variables[i].name) == &env->variables[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char a[] = "A=shell", key[] = "KEY=k", *shell[] = {a, key, NULL};
	struct compose_files files = {};
	auto_arena struct arena arena = {};
	const struct compose_file *file = compose_files_add(&files, "f", (const char *)data, size);
	struct compose_env env = {};
	struct error err = {};

	if (compose_env_create(&arena, shell, &file, 1, &env, &err) < 0)
		check(strncmp(err.text, "f:", 2) == 0);
	else
		check_env(&env);
	compose_files_finish(&files);
	return 0;
}
