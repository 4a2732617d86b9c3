/* compose/dotenv, env: what env files set, which bytes say so, who wins over whom, and what hostile
 * files cost. The tables are tests/cases/compose/{dotenv,assignments}.json. */
#include "compose_cases.h"

#include <errno.h>
#include <time.h>

struct world {
	struct compose_files files;
	struct arena arena;
	struct compose_env env;
};

static void world_finish(struct world *w)
{
	compose_files_finish(&w->files);
	arena_finish(&w->arena);
}
#define auto_world CLEANUP(world_finish)

/* An environment of the shell's variables and these files. */
static int make_env(struct world *w, const struct strings *shell, const char *const *texts,
		    size_t n, struct error *err)
{
	const struct compose_file *files[8] = {};

	for (size_t i = 0; i < n; i++)
		files[i] = compose_files_add(&w->files, "f.env", texts[i], strlen(texts[i]));
	return compose_env_create(&w->arena, shell ? shell->items : NULL, files, n, &w->env, err);
}

/* What the file itself says of a name: the last of its assignments. */
static const char *said(const struct compose_env_file *file, const char *name)
{
	for (size_t i = file->n; i-- > 0;)
		if (!file->items[i].commented && !file->items[i].inherits &&
		    strcmp(file->items[i].name, name) == 0)
			return file->items[i].value;
	return NULL;
}

static void check_case(const json_t *c)
{
	auto_world struct world w = {};
	auto_strings struct strings shell = {};
	const char *input = jsonx_get_string(c, "input", NULL), *name;
	const char *error = jsonx_get_string(c, "error", NULL);
	json_t *variables = json_object_get(c, "variables");
	const struct compose_env_file *file;
	struct error err = {};
	json_t *value;
	size_t n = 0;

	cases_shell(json_object_get(c, "shell"), &shell);
	if (make_env(&w, &shell, &input, 1, &err) < 0) {
		check_string(err.text, error ? error : "(no error)", input);
		return;
	}
	if (error)
		fail_msg("%s: no error", input);
	file = &w.env.files[0];
	json_object_foreach ((json_t *)variables, name, value) {
		const struct compose_variable *variable = compose_env_get(&w.env, name);

		check_string(said(file, name), json_string_value(value), input);
		assert_non_null(variable);
		/* The shell's word is the last. */
		if (json_object_get(json_object_get(c, "shell"), name))
			assert_int_equal(variable->source, COMPOSE_SHELL);
		else
			check_string(variable->value, json_string_value(value), input);
	}
	for (size_t i = 0; i < w.env.n; i++)
		n += w.env.variables[i].source == COMPOSE_ENV_FILE;
	for (size_t i = 0; i < file->n; i++)
		if (!file->items[i].commented && !file->items[i].inherits)
			assert_non_null(json_object_get(variables, file->items[i].name));
	assert_true(n <= json_object_size(variables));
}

static void test_cases(void **state)
{
	auto_json json_t *json = cases_load("dotenv.json");
	size_t i;
	json_t *c;

	json_array_foreach (json_object_get(json, "cases"), i, c)
		check_case(c);
}

static void check_assignment(const char *input, const struct compose_assignment *item,
			     const json_t *wanted)
{
	const char *quote = jsonx_get_string(wanted, "quote", "");

	check_string(item->name, jsonx_get_string(wanted, "name", NULL), input);
	if (jsonx_has(wanted, "value"))
		check_string(item->value, jsonx_get_string(wanted, "value", NULL), input);
	else
		assert_null(item->value);
	check_part(input, item->span.begin, item->span.end, jsonx_get_string(wanted, "text", NULL),
		   input);
	check_part(input, item->value_span.begin, item->value_span.end,
		   jsonx_get_string(wanted, "value_text", NULL), input);
	assert_int_equal(item->quote, *quote);
	assert_int_equal(item->commented, jsonx_get_bool(wanted, "commented", false));
	assert_int_equal(item->inherits, jsonx_get_bool(wanted, "inherits", false));
	/* Where a value would be written: right after the separator. */
	if (item->value_span.begin == item->value_span.end && !item->inherits)
		assert_non_null(strchr("=:", input[item->value_span.begin - 1]));
}

static void test_assignments(void **state)
{
	auto_json json_t *json = cases_load("assignments.json");
	size_t i;
	json_t *c;

	json_array_foreach (json_object_get(json, "cases"), i, c) {
		auto_world struct world w = {};
		const char *input = jsonx_get_string(c, "input", NULL);
		const json_t *wanted = json_object_get(c, "items");
		struct error err = {};

		if (make_env(&w, NULL, &input, 1, &err) < 0)
			fail_msg("%s: %s", input, err.text);
		if (w.env.files[0].n != json_array_size(wanted))
			fail_msg("%s: %zu assignments", input, w.env.files[0].n);
		for (size_t j = 0; j < w.env.files[0].n; j++)
			check_assignment(input, &w.env.files[0].items[j],
					 json_array_get(wanted, j));
	}
}

static void check_variable(const struct compose_env *env, const char *name, const char *value,
			   enum compose_source source)
{
	const struct compose_variable *variable = compose_env_get(env, name);

	assert_non_null(variable);
	check_string(variable->value, value, name);
	assert_int_equal(variable->source, source);
	assert_int_equal(variable->assignment != NULL, source == COMPOSE_ENV_FILE);
	if (variable->assignment)
		check_string(variable->assignment->value, value, name);
}

static void test_precedence(void **state)
{
	auto_strings struct strings shell = {};
	const char *texts[] = {"H=one\nU=\"http://${H}\"\nLOW=1\n", "H=two\nU=\"https://${H}\"\n"};
	auto_world struct world w = {};
	struct error err = {};

	strings_add(&shell, "H=host.local");
	strings_add(&shell, "PATH=/bin");
	strings_add(&shell, "NOEQUALS");
	strings_add(&shell, "=odd");
	strings_add(&shell, "TWICE=1");
	strings_add(&shell, "TWICE=2");
	assert_int_equal(make_env(&w, &shell, texts, 2, &err), 0);
	check_variable(&w.env, "H", "host.local", COMPOSE_SHELL);
	check_variable(&w.env, "U", "https://host.local", COMPOSE_ENV_FILE);
	check_variable(&w.env, "LOW", "1", COMPOSE_ENV_FILE);
	check_variable(&w.env, "TWICE", "2", COMPOSE_SHELL);
	assert_null(compose_env_get(&w.env, "NOEQUALS"));
	assert_null(compose_env_get(&w.env, ""));
	/* The file's own word is kept, though the shell hides it. */
	check_string(w.env.files[1].items[0].value, "two", "H");
	assert_int_equal(w.env.n, 5);
}

static void test_later_file_wins(void **state)
{
	const char *texts[] = {"H=base\nU=\"http://${H}\"\nONLY=1",
			       "H=over\nU=\"http://${H}\"\nB=$ONLY"};
	auto_world struct world w = {};
	struct error err = {};

	assert_int_equal(make_env(&w, NULL, texts, 2, &err), 0);
	check_variable(&w.env, "H", "over", COMPOSE_ENV_FILE);
	check_variable(&w.env, "U", "http://over", COMPOSE_ENV_FILE);
	check_variable(&w.env, "B", "1", COMPOSE_ENV_FILE);
	assert_ptr_equal(compose_env_get(&w.env, "H")->assignment->span.file, w.env.files[1].file);
}

/* An included project's files stand below all that the outer one has. */
static void test_nested(void **state)
{
	auto_strings struct strings shell = {};
	const char *outer = "GPU=0\n# OFF=1\n# BOTH=1\n";
	static const char inner[] = "GPU=1\nS=file\nOWN=$GPU$S\nB=$OWN\n# BOTH=2\n# IN=3\n";
	auto_world struct world w = {};
	struct compose_env nested;
	const struct compose_file *file;
	struct error err = {};

	strings_add(&shell, "S=shell");
	assert_int_equal(make_env(&w, &shell, &outer, 1, &err), 0);
	file = compose_files_add(&w.files, "inner.env", inner, strlen(inner));
	assert_int_equal(compose_env_nested(&w.arena, &w.env, &file, 1, &nested, &err), 0);
	check_variable(&nested, "GPU", "0", COMPOSE_ENV_FILE);
	check_variable(&nested, "S", "shell", COMPOSE_SHELL);
	check_variable(&nested, "OWN", "0shell", COMPOSE_ENV_FILE);
	check_variable(&nested, "B", "0shell", COMPOSE_ENV_FILE);
	assert_string_equal(compose_env_commented(&nested, "BOTH")->value, "1");
	assert_string_equal(compose_env_commented(&nested, "OFF")->value, "1");
	assert_string_equal(compose_env_commented(&nested, "IN")->value, "3");
	/* The outer one is as it was. */
	assert_null(compose_env_get(&w.env, "OWN"));
	assert_null(compose_env_commented(&w.env, "IN"));
	assert_string_equal(compose_env_commented(&w.env, "BOTH")->value, "1");
}

static void test_commented(void **state)
{
	const char *texts[] = {"# A=1\n# A=2\n#B=x\n", "# A=3\nB=y\n"};
	auto_world struct world w = {};
	struct error err = {};

	assert_int_equal(make_env(&w, NULL, texts, 2, &err), 0);
	assert_string_equal(compose_env_commented(&w.env, "A")->value, "3");
	assert_string_equal(compose_env_commented(&w.env, "B")->value, "x");
	assert_null(compose_env_commented(&w.env, "C"));
	assert_null(compose_env_commented(&w.env, ""));
	assert_null(compose_env_get(&w.env, "A"));
}

/* An env file of a service: what the project knows stands above what the file says itself. */
static void test_parse_alone(void **state)
{
	static const char text[] =
	    "GPU=1\nBOTH=$GPU,$OTHER\nOTHER=2\nAFTER=$OTHER\nBARE\nGPU\nOTHER\n";
	auto_strings struct strings shell = {};
	auto_world struct world w = {};
	struct compose_env_file parsed;
	const struct compose_file *file;
	struct error err = {};

	strings_add(&shell, "GPU=0");
	assert_int_equal(make_env(&w, &shell, NULL, 0, &err), 0);
	file = compose_files_add(&w.files, "service.env", text, strlen(text));
	assert_int_equal(compose_dotenv_parse(file, &w.env, &w.arena, &parsed, &err), 0);
	assert_int_equal(parsed.n, 7);
	assert_string_equal(said(&parsed, "BOTH"), "0,");
	assert_string_equal(said(&parsed, "AFTER"), "2");
	/* A bare name: what the project has, then what the file said; else it is not set. */
	for (size_t i = 4; i < 7; i++)
		assert_true(parsed.items[i].inherits);
	assert_null(parsed.items[4].value);
	assert_string_equal(parsed.items[5].value, "0");
	assert_string_equal(parsed.items[6].value, "2");
	assert_ptr_equal(parsed.file, file);
}

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Megabytes of what doubles, repeats or never ends: an error or a result within a second and a
 * hundred megabytes. */
static void test_hostile(void **state)
{
	static const struct {
		const char *before, *piece;
		size_t times;
		const char *told; /* NULL: it is well-formed */
	} cases[] = {
	    {"A=xxxxxxxx\n", "A=$A$A\n", 100, "grows beyond 4 MiB"},
	    {"A=xxxxxxxx\nB=$A$A$A$A$A$A$A$A\nA=$B$B$B$B$B$B$B$B$B\nB=$A$A$A$A$A$A$A$A\n",
	     "A=$B$B$B$B\n", 50000, "the project's values grow beyond 64 MiB"},
	    {"", "A=1\n", 99999, NULL},
	    {"", "# A=1\n", 99999, NULL},
	    {"", "A=1\n", 100001, "more than 100000 assignments"},
	    {"", "#A=1\n", 100001, "more than 100000 assignments"},
	    {"A=\"", "x\\\"\n", 500000, "unterminated quoted value"},
	    {"A=", "${", 500000, "Invalid template"},
	    {"", "#\n", 1000000, NULL},
	    {"A=1", "\"\"", 1000000, NULL},
	    {"A=\"1\"", "B=\"\"", 99998, NULL},
	    {"", " ", 2000000, NULL},
	    {"", "a", 2000000, NULL},
	    {"", "\xc2\xa0", 1000000, NULL},
	    {"A=", "\xc2\xa0x", 1000000, NULL},
	    {"#", "# A=", 700000, NULL},
	    {"A=", " #", 1000000, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_world struct world w = {};
		auto_text struct text text = {};
		const char *data;
		struct error err = {};
		double start;

		text_add(&text, cases[i].before);
		for (size_t j = 0; j < cases[i].times; j++)
			text_add(&text, cases[i].piece);
		data = text.data;
		start = now();
		if (make_env(&w, NULL, &data, 1, &err) < 0) {
			if (!cases[i].told || !strstr(err.text, cases[i].told))
				fail_msg("case %zu: %.200s", i, err.text);
		} else if (cases[i].told) {
			fail_msg("case %zu: no error", i);
		}
		if (now() - start > 1)
			fail_msg("case %zu: took %.1f s", i, now() - start);
		if (w.arena.used > (size_t)100 << 20)
			fail_msg("case %zu: took %zu bytes", i, w.arena.used);
	}
}

static void test_source_names(void **state)
{
	for (enum compose_source i = 0; i < COMPOSE_SOURCE_COUNT; i++)
		assert_non_null(compose_source_name(i));
	assert_string_equal(compose_source_name(COMPOSE_ENV_FILE), "env-file");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),        cmocka_unit_test(test_assignments),
	    cmocka_unit_test(test_precedence),   cmocka_unit_test(test_later_file_wins),
	    cmocka_unit_test(test_nested),       cmocka_unit_test(test_commented),
	    cmocka_unit_test(test_parse_alone),  cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_source_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
