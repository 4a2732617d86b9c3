/*
 * Variables: those set for nothing, and those that decide for several services at once.
 *
 * A variable of an env file may well be there for a script, so only two kinds are told: one that
 * looks like a GPU assignment in name and value, and one that is a letter or two away from a name
 * that chooses a GPU and nobody sets. A file that a service reads as its env_file is used as a
 * whole.
 */
#include "check/check_priv.h"

#include "compose/interpolate.h"

#include "util/suggest.h"

#include <ctype.h>
#include <string.h>

#define NAMES_MAX    8
#define CHOOSERS_MAX 256

/* Names the compose files use, sorted, each once. */
struct names {
	const char **items;
	size_t n, room;
};

static void names_finish(struct names *names)
{
	free(names->items);
}
#define auto_names CLEANUP(names_finish)

static void add_name(struct names *names, const char *name)
{
	ARRAY_GROW(names->items, names->n, names->room);
	names->items[names->n++] = name;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_name(const struct names *names, const char *name)
{
	return names->n > 0 &&
	       bsearch(&name, names->items, names->n, sizeof *names->items, compare_names);
}

static bool is_name_letter(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Each NAME of $NAME, ${NAME...} and $$NAME in a text. */
static void add_dollars(struct arena *arena, const char *text, size_t len, struct names *names)
{
	for (size_t i = 0; i < len; i++) {
		size_t begin;

		if (text[i] != '$')
			continue;
		begin = i + 1;
		while (begin < len && (text[begin] == '$' || text[begin] == '{'))
			begin++;
		for (i = begin; i < len && is_name_letter(text[i]);)
			i++;
		if (i > begin)
			add_name(names, arena_strndup(arena, text + begin, i - begin));
		i--;
	}
}

static bool is_name(const char *text)
{
	size_t i = 0;

	while (is_name_letter(text[i]))
		i++;
	return i > 0 && text[i] == '\0';
}

/* All that a tree uses. A scalar or a key without a value that is a name (`- NAME` under
 * environment, `environment: NAME` of a secret) counts, too. */
static void add_tree(struct arena *arena, const struct compose_node *node, unsigned level,
		     struct names *names)
{
	if (level > COMPOSE_LEVELS_MAX)
		return;
	if (node->type == COMPOSE_SCALAR && node->raw) {
		add_dollars(arena, node->raw, strlen(node->raw), names);
		for (size_t i = 0; i < node->n_uses; i++)
			add_name(names, node->uses[i].name);
		if (is_name(node->raw))
			add_name(names, node->raw);
	}
	for (size_t i = 0; node->type == COMPOSE_LIST && i < node->n; i++)
		add_tree(arena, node->items[i], level + 1, names);
	for (size_t i = 0; node->type == COMPOSE_MAP && i < node->n; i++) {
		if (node->entries[i].value->type == COMPOSE_NULL)
			add_name(names, node->entries[i].key);
		add_tree(arena, node->entries[i].value, level + 1, names);
	}
}

static void names_of(const struct check *check, struct names *names)
{
	struct compose_project *project = check->stack->project;
	const struct compose_env *env = &project->env;

	for (size_t i = 0; i < project->n_documents; i++)
		add_tree(&project->arena, project->documents[i], 0, names);
	for (size_t f = 0; f < env->n_files; f++)
		for (size_t i = 0; i < env->files[f].n; i++) {
			const struct compose_assignment *item = &env->files[f].items[i];
			const struct compose_span *span = &item->value_span;

			if (!item->commented && item->quote != '\'' && span->file)
				add_dollars(&project->arena, span->file->text + span->begin,
					    span->end - span->begin, names);
		}
	for (size_t i = 0; check->beside && i < check->beside->n; i++)
		add_dollars(&project->arena, check->beside->items[i]->text,
			    check->beside->items[i]->len, names);
	if (names->n > 0)
		qsort(names->items, names->n, sizeof *names->items, compare_names);
}

/* Some service gets all of it into its environment. */
static bool is_env_file(const struct stack *stack, const struct compose_file *file)
{
	for (size_t i = 0; i < stack->project->n; i++) {
		const struct compose_service *service = &stack->project->services[i];
		const struct compose_node *list = compose_get(service->node, "env_file");

		for (size_t k = 0; k < service->n_settings; k++)
			if (service->settings[k].file == file)
				return true;
		for (size_t k = 0; list && list->type == COMPOSE_LIST && k < list->n; k++) {
			const char *path = compose_text(compose_get(list->items[k], "path"));

			if (path && strcmp(path, file->path) == 0)
				return true;
		}
	}
	return false;
}

static bool is_device_list(const char *value)
{
	if (text_starts_with(value, "GPU-") || text_starts_with(value, "MIG-") ||
	    text_starts_with(value, "cuda:") || strcmp(value, "all") == 0)
		return true;
	return value[0] && value[strspn(value, "0123456789, ")] == '\0' && strlen(value) <= 32;
}

/* One of the words of a name, which underscores part. */
static bool has_word(const char *name, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = name; (at = strcasestr(at, word)); at++)
		if ((at == name || at[-1] == '_') && (at[len] == '_' || at[len] == '\0'))
			return true;
	return false;
}

static bool looks_like_gpu(const struct compose_assignment *item)
{
	static const char *const others[] = {
	    "MEMORY", "MEM",      "VRAM",    "UTILIZATION", "LAYERS",     "COUNT",    "BATCH",
	    "LIMIT",  "FRACTION", "THREADS", "WORKER",      "WORKERS",    "REQUESTS", "TIMEOUT",
	    "NUM",    "MAX",      "MIN",     "CONCURRENCY", "CONCURRENT", "ENABLED",  "ENABLE",
	};
	const char *name = item->name;

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (has_word(name, others[i]))
			return false;
	return (has_word(name, "GPU") || has_word(name, "GPUS") ||
		has_word(name, "VISIBLE_DEVICES") || has_word(name, "CUDA_DEVICE")) &&
	       is_device_list(item->value);
}

/* Variables that choose GPUs, each once; the first ones of a project that has more. */
struct choosers {
	const char *items[CHOOSERS_MAX];
	size_t n;
};

static void choosers_of(const struct stack *stack, struct choosers *choosers)
{
	for (size_t i = 0; i < stack->n && choosers->n < CHOOSERS_MAX; i++) {
		const struct compose_value *value = check_value(&stack->services[i]);
		bool known = !stack->services[i].wants_gpu || !value || !value->variable;

		for (size_t k = 0; k < choosers->n && !known; k++)
			known = strcmp(choosers->items[k], value->variable) == 0;
		if (!known)
			choosers->items[choosers->n++] = value->variable;
	}
}

/* The name that chooses a GPU, is set nowhere, and nearly this one: a letter or two. Numbers apart
 * are two names. */
static const char *near_miss(const struct stack *stack, const struct choosers *choosers,
			     const char *wrong)
{
	size_t len = strlen(wrong), best = len < 5 ? 1 : len < 9 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < choosers->n; i++) {
		const char *name = choosers->items[i];
		size_t n = strlen(name), d;

		if (n + best <= len || len + best <= n || wrong[strcspn(wrong, "0123456789")] ||
		    name[strcspn(name, "0123456789")])
			continue;
		d = suggest_distance(wrong, name);
		if (d >= best || compose_env_get(&stack->project->env, name))
			continue;
		best = d;
		found = name;
	}
	return found;
}

/* A project that asks for no GPU, or not with these files, has no assignment to get wrong. */
static bool wants_gpus(const struct stack *stack)
{
	for (size_t i = 0; i < stack->n; i++)
		if (stack->services[i].wants_gpu)
			return true;
	return false;
}

struct unused {
	struct check *check;
	const struct names *names;
	struct choosers choosers;
};

static void unused_variable(const struct unused *unused, const struct compose_assignment *item)
{
	const struct stack *stack = unused->check->stack;
	const char *meant = near_miss(stack, &unused->choosers, item->name);
	auto_text struct text choosers = {};
	struct finding finding = {.span = item->span};

	if (!meant && !looks_like_gpu(item))
		return;
	for (size_t i = 0; i < MIN_OF(unused->choosers.n, (size_t)8); i++)
		text_printf(&choosers, "%s%s", i ? ", " : "", unused->choosers.items[i]);
	finding.message = mem_printf("%s=%s is used by no compose file: it does nothing",
				     item->name, item->value);
	if (meant)
		finding.fix = mem_printf("did you mean %s, which is used and not set?", meant);
	else if (choosers.data)
		finding.fix = mem_printf("take it out; GPUs are chosen by %s", choosers.data);
	else
		finding.fix = mem_strdup("take it out, or use it in a compose file");
	check_add(unused->check, CHECK_UNUSED_VARIABLE, &finding);
}

static void unused_variables(struct check *check)
{
	const struct compose_env *env = &check->stack->project->env;
	auto_names struct names names = {};
	struct unused unused = {.check = check, .names = &names};

	if (!wants_gpus(check->stack))
		return;
	names_of(check, &names);
	choosers_of(check->stack, &unused.choosers);
	for (size_t f = 0; f < env->n_files; f++) {
		const struct compose_env_file *file = &env->files[f];

		if (is_env_file(check->stack, file->file))
			continue;
		for (size_t i = 0; i < file->n; i++) {
			const struct compose_assignment *item = &file->items[i];

			if (item->commented || item->inherits || has_name(&names, item->name) ||
			    text_starts_with(item->name, "COMPOSE_") ||
			    text_starts_with(item->name, "DOCKER_") ||
			    text_starts_with(item->name, "PODMAN_"))
				continue;
			unused_variable(&unused, item);
		}
	}
}

/* Those that want a GPU, by their number in the stack. */
struct wanting {
	const struct compose_sharing *sharing;
	size_t *items;
	size_t n;
};

/* Told at the first of them, where the value stands that all have; eight names are enough. */
static void shared(struct check *check, const struct wanting *wanting, size_t at)
{
	const struct stack *stack = check->stack;
	const size_t i = wanting->items[at];
	const struct compose_value *value = check_value(&stack->services[i]);
	auto_text struct text text = {};
	size_t n = 0;

	for (size_t k = 0; k < at; k++)
		if (compose_shares(wanting->sharing, i, wanting->items[k]))
			return;
	for (size_t k = at + 1; k < wanting->n; k++) {
		const size_t other = wanting->items[k];

		if (compose_shares(wanting->sharing, i, other) && n++ < NAMES_MAX)
			text_printf(&text, "%s%s", n > 1 ? ", " : "",
				    stack->services[other].service->name);
	}
	if (n == 0)
		return;
	if (n > NAMES_MAX)
		text_printf(&text, ", ... (%zu)", n);
	check_add(
	    check, CHECK_SHARED_SOURCE,
	    &(struct finding){
		.span = value && value->edit.file ? value->edit
						  : compose_request_place(stack->gpus[i].decides),
		.service = stack->services[i].service->name,
		.message = value && value->variable
			       ? mem_printf("%s decides for %s and %s together", value->variable,
					    stack->services[i].service->name, text.data)
			       : mem_printf("%s and %s take their GPU from here, together",
					    stack->services[i].service->name, text.data),
		.fix = mem_strdup("write a variable of its own for each that is to be on another "
				  "GPU"),
	    });
}

static void shared_sources(struct check *check)
{
	const struct stack *stack = check->stack;
	auto_compose_sharing struct compose_sharing *sharing =
	    compose_sharing_create(stack->gpus, stack->n);
	auto_free size_t *items = mem_calloc(stack->n + 1, sizeof *items);
	struct wanting wanting = {.sharing = sharing, .items = items};

	for (size_t i = 0; i < stack->n; i++)
		if (stack->services[i].wants_gpu)
			items[wanting.n++] = i;
	for (size_t at = 0; at < wanting.n; at++)
		if (!stack->gpus[items[at]].decides->all)
			shared(check, &wanting, at);
}

void check_variables(struct check *check)
{
	unused_variables(check);
	if (check->stack->list->n > 1)
		shared_sources(check);
}
