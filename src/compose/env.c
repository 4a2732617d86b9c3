/*
 * See env.h. What the shell says stands above all files, what an outer project says above an
 * included one's files. Files are read one after another into one scope, the later assignment
 * winning; then both sorted lists are made one. Lookups are binary searches: a compose file may
 * name a hundred thousand variables.
 */
#include "compose/env.h"

#include "compose/dotenv.h"

#include <search.h>
#include <string.h>

const char *compose_source_name(enum compose_source source)
{
	static const char *const names[COMPOSE_SOURCE_COUNT] = {
	    [COMPOSE_LITERAL] = "literal",     [COMPOSE_SHELL] = "shell",
	    [COMPOSE_ENV_FILE] = "env-file",   [COMPOSE_DEFAULT] = "default",
	    [COMPOSE_COMMENTED] = "commented", [COMPOSE_ABSENT] = "absent",
	};

	return names[source];
}

static int compare_variables(const void *a, const void *b)
{
	const struct compose_variable *one = a, *other = b;

	return strcmp(one->name, other->name);
}

static void keep_variable(void *variable)
{
	(void)variable; /* the arena's */
}

/* The last of a name wins, as in a map it is put into. */
static void env_add_shell(struct compose_env *env, char *const *shell)
{
	size_t room = 0;
	void *by_name = NULL;

	while (shell && shell[room])
		room++;
	env->variables = arena_alloc(env->arena, room * sizeof *env->variables);
	for (size_t i = 0; i < room; i++) {
		const char *equals = strchr(shell[i], '=');
		struct compose_variable *variable = &env->variables[env->n], **known;

		if (!equals || equals == shell[i])
			continue;
		variable->name = arena_strndup(env->arena, shell[i], (size_t)(equals - shell[i]));
		variable->value = arena_strdup(env->arena, equals + 1);
		variable->source = COMPOSE_SHELL;
		known = tsearch(variable, &by_name, compare_variables);
		if (known && *known != variable)
			(*known)->value = variable->value;
		else
			env->n++;
	}
	tdestroy(by_name, keep_variable);
	if (env->n > 0)
		qsort(env->variables, env->n, sizeof *env->variables, compare_variables);
}

/* Both lists sorted; of a name both have, the one above wins. */
static void env_merge(struct compose_env *env, const struct compose_variable *above, size_t n_above,
		      const struct dotenv_scope *scope)
{
	size_t n_below, i = 0, j = 0;
	struct compose_variable **below = dotenv_scope_sorted(scope, &n_below);

	env->variables = arena_alloc(env->arena, (n_above + n_below) * sizeof *env->variables);
	env->n = 0;
	while (i < n_above || j < n_below) {
		int order = i == n_above   ? 1
			    : j == n_below ? -1
					   : strcmp(above[i].name, below[j]->name);

		env->variables[env->n++] = order <= 0 ? above[i++] : *below[j++];
		if (order == 0)
			j++;
	}
	free(below);
}

/* By name, those of a name in the order they were read. */
static int compare_commented(const void *a, const void *b)
{
	const struct compose_assignment *one = *(const struct compose_assignment *const *)a;
	const struct compose_assignment *other = *(const struct compose_assignment *const *)b;
	int order = strcmp(one->name, other->name);

	if (order != 0 || one == other)
		return order;
	return one->order < other->order ? -1 : 1;
}

/* An outer project's come after one's own: uncommented, they would win. */
static void env_index_commented(struct compose_env *env, const struct compose_env *above)
{
	size_t n = above->n_commented, at = 0;

	for (size_t i = 0; i < env->n_files; i++)
		for (size_t j = 0; j < env->files[i].n; j++)
			n += env->files[i].items[j].commented;
	if (n == 0)
		return;
	env->commented = arena_alloc(env->arena, n * sizeof *env->commented);
	for (size_t i = 0; i < env->n_files; i++)
		for (size_t j = 0; j < env->files[i].n; j++)
			if (env->files[i].items[j].commented)
				env->commented[at++] = &env->files[i].items[j];
	for (size_t i = 0; i < above->n_commented; i++)
		env->commented[at++] = above->commented[i];
	for (size_t i = 0; i < n; i++)
		env->commented[i]->order = i;
	env->n_commented = n;
	qsort(env->commented, n, sizeof *env->commented, compare_commented);
}

/* Fill in `env`, whose variables are those of the shell or of the outer project. */
static int env_add_files(struct compose_env *env, const struct compose_env *above,
			 const struct compose_file *const *files, size_t n_files, struct error *err)
{
	auto_dotenv_scope struct dotenv_scope scope = {};

	env->files = arena_alloc(env->arena, n_files * sizeof *env->files);
	for (size_t i = 0; i < n_files; i++) {
		int r = dotenv_read(files[i], above, &scope, env->arena, &env->files[i], err);

		if (r < 0)
			return r;
		env->n_files++;
	}
	env_merge(env, above->variables, above->n, &scope);
	env_index_commented(env, above);
	return 0;
}

int compose_env_create(struct arena *arena, char *const *shell,
		       const struct compose_file *const *files, size_t n_files,
		       struct compose_env *ret_env, struct error *err)
{
	struct compose_env above = {.arena = arena}, env = {.arena = arena};
	int r;

	env_add_shell(&above, shell);
	r = env_add_files(&env, &above, files, n_files, err);
	if (r < 0)
		return r;
	*ret_env = env;
	return 0;
}

int compose_env_nested(struct arena *arena, const struct compose_env *outer,
		       const struct compose_file *const *files, size_t n_files,
		       struct compose_env *ret_env, struct error *err)
{
	struct compose_env env = {.arena = arena};
	int r = env_add_files(&env, outer, files, n_files, err);

	if (r < 0)
		return r;
	*ret_env = env;
	return 0;
}

const struct compose_variable *compose_env_get(const struct compose_env *env, const char *name)
{
	struct compose_variable key = {.name = name};

	if (env->n == 0)
		return NULL;
	return bsearch(&key, env->variables, env->n, sizeof *env->variables, compare_variables);
}

const char *compose_env_text(const struct compose_env *env, const char *name)
{
	const struct compose_variable *found = compose_env_get(env, name);

	return found && found->value && *found->value ? found->value : NULL;
}

const struct compose_assignment *compose_env_commented(const struct compose_env *env,
						       const char *name)
{
	size_t low = 0, high = env->n_commented;

	/* The first of a later name; the one before it is the last of this name, if it is there. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(env->commented[middle]->name, name) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || strcmp(env->commented[low - 1]->name, name) != 0)
		return NULL;
	return env->commented[low - 1];
}
