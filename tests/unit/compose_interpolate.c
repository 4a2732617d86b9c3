/* compose/interpolate: what templates come to, which bytes of them say so, and what hostile ones
 * cost. The tables are tests/cases/compose/{interpolate,uses,operators}.json. */
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

/* What holds for the uses of any template. */
static void check_uses(const char *text, const struct compose_uses *uses)
{
	size_t last_end = 0, last_begin = 0;

	for (size_t i = 0; i < uses->n; i++) {
		const struct compose_use *use = &uses->items[i];
		const char *name = text + use->begin + 1 + (text[use->begin + 1] == '{');

		assert_true(use->begin < use->end && use->end <= strlen(text));
		assert_int_equal(text[use->begin], '$');
		assert_memory_equal(name, use->name, strlen(use->name));
		assert_true(use->argument_begin <= use->argument_end);
		if (*use->operator_) {
			assert_true(use->argument_end == use->end - 1);
			assert_int_equal(text[use->end - 1], '}');
			assert_memory_equal(text + use->argument_begin - strlen(use->operator_),
					    use->operator_, strlen(use->operator_));
		}
		/* In the order of the text; a nested one is inside one before it. */
		assert_true(i == 0 || use->begin > last_begin);
		assert_int_equal(use->nested, use->begin < last_end);
		last_begin = use->begin;
		if (!use->nested)
			last_end = use->end;
	}
}

static void check_case(const struct compose_env *env, struct arena *arena, const json_t *c)
{
	const char *input = jsonx_get_string(c, "input", NULL), *output = NULL;
	const char *error = jsonx_get_string(c, "error", NULL);
	const json_t *warned = json_object_get(c, "warned");
	struct compose_uses uses = {};
	struct error err = {};
	size_t n_warned = 0;

	if (compose_interpolate(env, arena, input, &output, &uses, &err) < 0) {
		check_string(err.text, error ? error : "(no error)", input);
		assert_null(output);
		return;
	}
	if (error)
		fail_msg("%s: no error, but \"%s\"", input, output);
	check_string(output, jsonx_get_string(c, "output", NULL), input);
	check_uses(input, &uses);
	for (size_t i = 0; i < uses.n; i++) {
		const struct compose_use *use = &uses.items[i];

		if (use->source != COMPOSE_ABSENT || *use->operator_ || use->unused)
			continue;
		check_string(json_string_value(json_array_get(warned, n_warned++)), use->name,
			     input);
	}
	assert_int_equal(n_warned, json_array_size(warned));
	/* The same without uses. */
	assert_int_equal(compose_interpolate(env, arena, input, &output, NULL, NULL), 0);
	check_string(output, jsonx_get_string(c, "output", NULL), input);
}

static void test_cases(void **state)
{
	auto_json json_t *json = cases_load("interpolate.json");
	auto_world struct world w = {};
	size_t i;
	json_t *c;

	cases_env(json_object_get(json, "variables"), NULL, &w.files, &w.arena, &w.env);
	json_array_foreach (json_object_get(json, "cases"), i, c)
		check_case(&w.env, &w.arena, c);
}

static void check_use(const char *input, const struct compose_use *use, const json_t *wanted)
{
	const char *argument = jsonx_get_string(wanted, "argument", "");

	check_part(input, use->begin, use->end, jsonx_get_string(wanted, "text", NULL), input);
	check_part(input, use->argument_begin, use->argument_end, argument, input);
	check_string(use->name, jsonx_get_string(wanted, "name", NULL), input);
	check_string(use->operator_, jsonx_get_string(wanted, "operator", NULL), input);
	check_string(use->value, jsonx_get_string(wanted, "value", NULL), input);
	check_string(compose_source_name(use->source), jsonx_get_string(wanted, "source", NULL),
		     input);
	assert_int_equal(use->nested, jsonx_get_bool(wanted, "nested", false));
	assert_int_equal(use->unused, jsonx_get_bool(wanted, "unused", false));
	assert_int_equal(use->argument_used, jsonx_get_bool(wanted, "used", false));
	check_string(use->argument, use->argument_used ? use->value : argument, input);
	/* An empty one has a say, too: ${BAR:-1}. */
	if (use->source == COMPOSE_SHELL || use->source == COMPOSE_ENV_FILE)
		assert_non_null(use->variable);
}

static void test_uses(void **state)
{
	auto_json json_t *json = cases_load("uses.json");
	auto_world struct world w = {};
	size_t i;
	json_t *c;

	cases_env(json_object_get(json, "variables"), jsonx_get_string(json, "env_file", NULL),
		  &w.files, &w.arena, &w.env);
	json_array_foreach (json_object_get(json, "cases"), i, c) {
		const char *input = jsonx_get_string(c, "input", NULL), *output;
		const json_t *wanted = json_object_get(c, "uses");
		struct compose_uses uses = {};
		struct error err = {};

		if (compose_interpolate(&w.env, &w.arena, input, &output, &uses, &err) < 0)
			fail_msg("%s: %s", input, err.text);
		check_uses(input, &uses);
		if (uses.n != json_array_size(wanted))
			fail_msg("%s: %zu uses", input, uses.n);
		for (size_t j = 0; j < uses.n; j++)
			check_use(input, &uses.items[j], json_array_get(wanted, j));
	}
}

static void test_operators(void **state)
{
	auto_json json_t *json = cases_load("operators.json");
	auto_world struct world w = {};
	size_t i;
	json_t *c;

	cases_env(NULL, "VARNAME=1\nX=1\nbar=1\n", &w.files, &w.arena, &w.env);
	json_array_foreach (json_object_get(json, "cases"), i, c) {
		auto_free char *text = mem_printf("${%s}", jsonx_get_string(c, "inside", NULL));
		struct compose_uses uses = {};
		struct error err = {};
		const char *output;

		if (compose_interpolate(&w.env, &w.arena, text, &output, &uses, &err) < 0)
			fail_msg("%s: %s", text, err.text);
		assert_int_equal(uses.n, 1);
		check_string(uses.items[0].operator_, jsonx_get_string(c, "operator", NULL), text);
		check_string(uses.items[0].name, jsonx_get_string(c, "name", NULL), text);
		check_part(text, uses.items[0].argument_begin, uses.items[0].argument_end,
			   jsonx_get_string(c, "argument", NULL), text);
	}
}

static void test_no_dollar_is_no_copy(void **state)
{
	auto_world struct world w = {};
	const char *text = "plain", *output = NULL;

	cases_env(NULL, NULL, &w.files, &w.arena, &w.env);
	assert_int_equal(compose_interpolate(&w.env, &w.arena, text, &output, NULL, NULL), 0);
	assert_ptr_equal(output, text);
}

/* `times` times `piece`, between `before` and `after`; then as often `closing`. */
static char *repeat(const char *before, const char *piece, size_t times, const char *after,
		    const char *closing)
{
	struct text text = {};

	text_add(&text, before);
	for (size_t i = 0; i < times; i++)
		text_add(&text, piece);
	text_add(&text, after);
	for (size_t i = 0; i < times; i++)
		text_add(&text, closing);
	return text_take(&text);
}

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A megabyte of what a naive reading takes for ever over, or fills the memory with: done within a
 * second and a hundred megabytes, as a result or as an error that says what. */
static void test_hostile(void **state)
{
	static const struct {
		const char *before, *piece, *after, *closing;
		size_t times;
		const char *told; /* NULL: it is well-formed */
	} cases[] = {
	    {"", "${", "", "", 500000, "Invalid template: \"${${${"},
	    {"", "${A:-", "", "", 200000, "Invalid template"},
	    {"", "${A:-", "x", "}", 200000, "more than 32 variables inside each other"},
	    {"", "${FOO:-", "x", "}", 200000, NULL},
	    {"", "${A:-", "x", "}", 32, NULL},
	    {"", "${A:-", "x", "}", 33, "more than 32 variables inside each other"},
	    {"", "${A:-x}", "", "", 150000, "more than 10000 variables"},
	    {"", "${A:-x}", "", "", 9999, NULL},
	    {"", "${A:-x}${", "", "", 110000, "Invalid template"},
	    {"", "${A:-{", "", "", 150000, "Invalid template"},
	    {"${A:-", "{", "}", "", 1000000, NULL},
	    {"", "${A:-x}\n", "", "", 9999, NULL},
	    {"${A:-", "}", "", "", 1000000, NULL},
	    {"", "$", "", "", 1000000, NULL},
	    {"", "$BIG", "", "", 9999, "grows beyond 4 MiB"},
	    {"", "${A:-$BIG}", "", "", 9999, "grows beyond 4 MiB"},
	    {"", "${FOO:+${BIG}}", "", "", 9999, "grows beyond 4 MiB"},
	    {"${A:-${A:-${A:-${A:-${A:-", "x", "}}}}}", "", 1000000, NULL},
	    {"${", "a", "", "", 1000000, "Invalid template"},
	    {"$", "a", "", "", 1000000, NULL},
	    {"${A?", "why ", "}", "", 250000, "required variable A is missing a value: why why"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_world struct world w = {};
		auto_free char *big = repeat("BIG=", "x", 100000, "\nFOO=1\n", "");
		auto_free char *text = repeat(cases[i].before, cases[i].piece, cases[i].times,
					      cases[i].after, cases[i].closing);
		struct compose_uses uses = {};
		struct error err = {};
		const char *output;
		double start = now();

		cases_env(NULL, big, &w.files, &w.arena, &w.env);
		if (compose_interpolate(&w.env, &w.arena, text, &output, &uses, &err) < 0) {
			if (!cases[i].told || !strstr(err.text, cases[i].told))
				fail_msg("case %zu: %.200s", i, err.text);
		} else if (cases[i].told) {
			fail_msg("case %zu: no error", i);
		}
		if (now() - start > 1)
			fail_msg("case %zu: took %.1f s", i, now() - start);
		assert_true(w.arena.used < (size_t)100 << 20);
	}
}

/* A template as a scalar of a compose file. */
static int interpolate_file(struct world *w, const char *yaml, struct compose_node **ret_root,
			    struct error *err)
{
	const struct compose_file *file =
	    compose_files_add(&w->files, "compose.yaml", yaml, strlen(yaml));
	struct compose_node **roots;
	size_t n;
	int r = compose_parse(file, &w->arena, &roots, &n, err);

	if (r == 0)
		r = compose_interpolate_tree(&w->env, &w->arena, roots[0], err);
	*ret_root = r == 0 ? roots[0] : NULL;
	return r;
}

static void test_tree(void **state)
{
	static const char yaml[] = "x-a: &a '${GPU:-1}'\n"
				   "services:\n"
				   "  ${FOO}:\n"
				   "    image: \"a:${TAG:-b\\x41}\"\n"
				   "    ids: ['${GPU:-1}', *a, plain, 7]\n";
	auto_world struct world w = {};
	struct compose_node *root, *service, *ids;
	struct compose_span span;
	struct error err = {};

	cases_env(NULL, "FOO=first\nTAG=\n", &w.files, &w.arena, &w.env);
	assert_int_equal(interpolate_file(&w, yaml, &root, &err), 0);
	/* Keys are as they are. */
	service = compose_path(root, "services", "${FOO}", NULL);
	assert_non_null(service);
	assert_string_equal(compose_text(compose_get(service, "image")), "a:bA");
	/* Bytes cannot be told where escapes are; the scalar then is. */
	assert_false(compose_part_span(compose_get(service, "image"), 2, 13, &span));
	check_part(yaml, span.begin, span.end, "\"a:${TAG:-b\\x41}\"", "image");
	ids = compose_get(service, "ids");
	assert_int_equal(ids->n, 4);
	for (size_t i = 0; i < 2; i++) {
		const struct compose_use *use = ids->items[i]->uses;

		assert_string_equal(compose_text(ids->items[i]), "1");
		assert_int_equal(ids->items[i]->n_uses, 1);
		assert_true(compose_part_span(ids->items[i], use->begin, use->end, &span));
		check_part(yaml, span.begin, span.end, "${GPU:-1}", "use");
		assert_true(compose_part_span(ids->items[i], use->argument_begin, use->argument_end,
					      &span));
		check_part(yaml, span.begin, span.end, "1", "default");
		/* The alias leads to the anchor's bytes. */
		assert_int_equal(span.begin < 20, i == 1);
	}
	assert_int_equal(ids->items[2]->n_uses, 0);
}

static void test_tree_errors(void **state)
{
	static const struct {
		const char *yaml, *told;
	} cases[] = {
	    {"services:\n  a:\n    image: 'x ${'\n",
	     "compose.yaml:3:15: invalid interpolation format for services.a.image. You may "
	     "need to escape any $ with another $. Invalid template: \"x ${\""},
	    {"services:\n  a:\n    environment:\n      - A=1\n      - B=${B:?set it}\n",
	     "compose.yaml:5:11: error while interpolating services.a.environment.[]: required "
	     "variable B is missing a value: set it"},
	    {"name: \"\\x20${B?}\"\n",
	     "compose.yaml:1:7: error while interpolating name: required variable B is missing "
	     "a value"},
	    {"name: ok\nx-é: é${}\n",
	     "compose.yaml:2:7: invalid interpolation format for x-é. You may need to escape "
	     "any $ with another $. Invalid template: \"é${}\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_world struct world w = {};
		struct compose_node *root;
		struct error err = {};

		cases_env(NULL, NULL, &w.files, &w.arena, &w.env);
		assert_int_equal(interpolate_file(&w, cases[i].yaml, &root, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].told);
	}
}

/* Each value may be large, all of them together not. */
static void test_tree_memory(void **state)
{
	auto_free char *big = repeat("BIG=", "x", 1000000, "\n", "");
	auto_free char *yaml = repeat("a:\n", "  - $BIG\n", 1000, "", "");
	auto_world struct world w = {};
	struct compose_node *root;
	struct error err = {};
	double start = now();

	cases_env(NULL, big, &w.files, &w.arena, &w.env);
	assert_int_equal(interpolate_file(&w, yaml, &root, &err), -E2BIG);
	assert_non_null(strstr(err.text, "the project's values grow beyond 64 MiB"));
	assert_true(w.arena.used < (size_t)100 << 20);
	assert_true(now() - start < 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),       cmocka_unit_test(test_uses),
	    cmocka_unit_test(test_operators),   cmocka_unit_test(test_no_dollar_is_no_copy),
	    cmocka_unit_test(test_hostile),     cmocka_unit_test(test_tree),
	    cmocka_unit_test(test_tree_errors), cmocka_unit_test(test_tree_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
