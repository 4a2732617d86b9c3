/* What goes with what: each row of tests/cases/doctor/compat.yaml asked of data/cuda.yaml. */
#include "doctor/compat.h"

#include "folder.h"

#include "util/file.h"
#include "util/timestamp.h"
#include "util/yamlx.h"

#include <errno.h>
#include <string.h>

#define LEAST_ROWS 9 /* of any table: a file that was not read must not pass */

static struct compat *loaded(void)
{
	struct compat *compat = NULL;
	struct error err = {};

	if (compat_load(NULL, &compat, &err) < 0)
		fail_msg("%s", error_text(&err));
	return compat;
}

struct cases {
	struct compat *compat;
	struct yamlx *doc;
	const struct yamlx_node *rows;
};

static const char *get(const struct yamlx_node *row, const char *key)
{
	const struct yamlx_node *node = yamlx_get(row, key);

	return node ? node->text : NULL;
}

static struct version get_version(const struct yamlx_node *row, const char *key)
{
	const char *text = get(row, key);

	return text ? version_parse(text) : (struct version){};
}

static unsigned get_capability(const struct yamlx_node *row)
{
	struct version version = get_version(row, "capability");

	return version.parts[0] * 10 + version.parts[1];
}

static struct cases open_cases(const char *table)
{
	struct cases cases = {.compat = loaded()};
	struct error err = {};

	if (yamlx_load(TEST_SOURCE "/tests/cases/doctor/compat.yaml", &cases.doc, &err) < 0)
		fail_msg("%s", error_text(&err));
	cases.rows = yamlx_get(cases.doc->root, table);
	assert_non_null(cases.rows);
	assert_true(cases.rows->n >= LEAST_ROWS);
	return cases;
}

static void close_cases(struct cases *cases)
{
	yamlx_destroy(cases->doc);
	compat_destroy(cases->compat);
}

static void assert_says(const struct yamlx_node *row, const char *what, const char *expected,
			const char *got)
{
	if (strcmp(expected, got) != 0)
		fail_msg("compat.yaml:%u: %s is %s, not %s", row->line, what, got, expected);
}

static void assert_why(const struct yamlx_node *row, const struct text *why)
{
	const char *expected = get(row, "why");

	if (expected && !strstr(why->data ? why->data : "", expected))
		fail_msg("compat.yaml:%u: says: %s", row->line, why->data ? why->data : "");
}

static void toolkits_and_their_drivers(void **state)
{
	struct cases cases = open_cases("toolkits");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version cuda = get_version(row, "cuda");
		struct version shipped = compat_shipped_driver(cases.compat, &cuda);
		struct version least = compat_least_driver(cases.compat, &cuda);

		assert_says(row, "shipped", get(row, "shipped"), VERSION_TEXT(&shipped));
		assert_says(row, "least", get(row, "least"), VERSION_TEXT(&least));
	}
	close_cases(&cases);
}

static void drivers_and_their_cuda(void **state)
{
	struct cases cases = open_cases("branches");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version driver = get_version(row, "driver");
		struct version cuda = compat_driver_cuda(cases.compat, &driver);

		assert_says(row, "CUDA", get(row, "cuda"), VERSION_TEXT(&cuda));
	}
	close_cases(&cases);
}

static void toolkits_on_drivers_and_gpus(void **state)
{
	struct cases cases = open_cases("runs");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version cuda = get_version(row, "cuda"), driver = get_version(row, "driver");
		const char *gpu = get(row, "gpu");
		auto_text struct text why = {};
		enum compat_verdict verdict =
		    compat_runs(cases.compat, &cuda, &driver, get_capability(row),
				gpu ? compat_brand(gpu) : NULL, &why);

		assert_says(row, "verdict", get(row, "is"), compat_verdict_name(verdict));
		assert_why(row, &why);
	}
	close_cases(&cases);
}

static void images_are_let_in_or_not(void **state)
{
	struct cases cases = open_cases("require");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version cuda = get_version(row, "cuda"), driver = get_version(row, "driver");
		struct version highest = compat_driver_cuda(cases.compat, &driver);
		bool in = compat_lets_in(cases.compat, &cuda, &driver, &highest,
					 compat_brand(get(row, "gpu")));

		assert_says(row, "in", get(row, "in"), in ? "true" : "false");
	}
	close_cases(&cases);
}

static void torch_has_code_or_not(void **state)
{
	struct cases cases = open_cases("torch");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version torch = get_version(row, "torch"), cuda = get_version(row, "cuda");
		auto_text struct text why = {};
		enum compat_verdict verdict =
		    compat_torch_runs(cases.compat, &torch, &cuda, get_capability(row), &why);

		assert_says(row, "verdict", get(row, "is"), compat_verdict_name(verdict));
		assert_why(row, &why);
	}
	close_cases(&cases);
}

static void tags_are_made_or_not(void **state)
{
	static const char *const names[] = {[COMPAT_TAG_UNKNOWN] = "unknown",
					    [COMPAT_TAG_BUILT] = "built",
					    [COMPAT_TAG_UNSUPPORTED] = "unsupported",
					    [COMPAT_TAG_NOT_MADE] = "not-made"};
	struct cases cases = open_cases("tags");

	for (size_t i = 0; i < cases.rows->n; i++) {
		const struct yamlx_node *row = cases.rows->items[i];
		struct version cuda = get_version(row, "cuda");
		struct version instead = compat_tag_instead(cases.compat, &cuda);

		assert_says(row, "state", get(row, "is"),
			    names[compat_tag(cases.compat, &cuda, get(row, "os"))]);
		if (get(row, "instead"))
			assert_says(row, "instead", get(row, "instead"), VERSION_TEXT(&instead));
	}
	close_cases(&cases);
}

static void the_file_grows_old(void **state)
{
	auto_compat struct compat *compat = loaded();
	auto_free char *at = mem_printf("%sT00:00:00Z", compat_date(compat));
	const int64_t day_ms = (int64_t)24 * 60 * 60 * 1000;
	int64_t ms = 0;

	assert_int_equal(timestamp_parse(at, &ms, NULL), 0);
	assert_false(compat_is_old(compat, ms));
	assert_false(compat_is_old(compat, ms + 365 * day_ms));
	assert_true(compat_is_old(compat, ms + 366 * day_ms));
}

static void a_wrong_file_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
	    {"[]\n", ":1:1: a mapping"},
	    {"minor: 1\n", ":1:"},
	    {"date: yesterday\n", ":1:7: date is needed"},
	    {"date: 2026-13-99\n", ":1:7: no date"},
	    {"date: 2026-11-21\n", "a table \"minor-compatibility\""},
	    {"date: 2026-11-21\nminor-compatibility: {date: 2026-11-21, rows: []}\n", "source"},
	    {"date: 2026-11-21\nminor-compatibility: {source: x, date: 2026-11-21, rows: [1]}\n",
	     "a row is a mapping"},
	    {"date: 2026-11-21\nminor-compatibility: {source: x, date: 2026-11-21, rows: [{cuda: "
	     "\"12.0\"}]}\n",
	     "driver is missing"},
	    {"date: 2026-11-21\nminor-compatibility: {source: x, date: 2026-11-21, rows: [{cuda: "
	     "12, driver: \"1.2\"}]}\n",
	     "not a version"},
	};
	auto_free char *path = mem_printf("%s/cuda.yaml", (char *)*state);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct compat *compat = NULL;
		struct error err = {};

		assert_int_equal(file_replace(path, rows[i].text, strlen(rows[i].text), 0644, NULL),
				 0);
		assert_int_equal(compat_load(path, &compat, &err), -EINVAL);
		if (!strstr(error_text(&err), rows[i].says) || compat)
			fail_msg("%s says: %s", rows[i].text, error_text(&err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(toolkits_and_their_drivers),
	    cmocka_unit_test(drivers_and_their_cuda),
	    cmocka_unit_test(toolkits_on_drivers_and_gpus),
	    cmocka_unit_test(images_are_let_in_or_not),
	    cmocka_unit_test(torch_has_code_or_not),
	    cmocka_unit_test(tags_are_made_or_not),
	    cmocka_unit_test(the_file_grows_old),
	    cmocka_unit_test_setup_teardown(a_wrong_file_is_refused_with_its_place, folder_create,
					    folder_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
