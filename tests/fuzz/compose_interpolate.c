/* Any text as a template: a result within its bounds or an error with a text; every variable stands
 * in the template where its use says, idle ones too; and the uses cost no difference. The first
 * line of the input is the value of A. */
#include "compose/interpolate.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_use(const char *text, const struct compose_use *use)
{
	size_t len = strlen(text);

	check(use->begin < use->end && use->end <= len && text[use->begin] == '$');
	check(use->argument_begin <= use->argument_end && use->argument_end <= use->end);
	check(*use->operator_ || use->argument_begin == use->argument_end);
	check(strncmp(text + use->begin + 1 + (text[use->begin + 1] == '{'), use->name,
		      strlen(use->name)) == 0);
	check(use->value && use->argument && use->source < COMPOSE_SOURCE_COUNT);
	check(use->variable || (use->source != COMPOSE_SHELL && use->source != COMPOSE_ENV_FILE));
}

static void try_template(const struct compose_env *env, struct arena *arena, const char *text)
{
	const char *one = NULL, *other = NULL;
	struct compose_uses uses = {};
	struct error err = {};
	int r = compose_interpolate(env, arena, text, &one, &uses, &err);

	if (r < 0) {
		check(err.text[0] && !one && uses.n == 0);
		return;
	}
	check(strlen(one) <= COMPOSE_TEXT_MAX);
	for (size_t i = 0; i < uses.n; i++) {
		check_use(text, &uses.items[i]);
		check(i == 0 || uses.items[i].begin > uses.items[i - 1].begin);
	}
	check(compose_interpolate(env, arena, text, &other, NULL, NULL) == 0);
	check(strcmp(one, other) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	size_t first = strcspn(text, "\n");
	auto_free char *value = mem_printf("A=%.*s", (int)first, text);
	char empty[] = "B=", *shell[] = {value, empty, NULL};
	auto_arena struct arena arena = {};
	struct compose_env env;

	check(compose_env_create(&arena, shell, NULL, 0, &env, NULL) == 0);
	try_template(&env, &arena, text);
	if (text[first])
		try_template(&env, &arena, text + first + 1);
	return 0;
}
