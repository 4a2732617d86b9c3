/* util/yamlx: trees that know where they stand, limits, and messages with line and column. */
#include "util/yamlx.h"

#include "util/size.h"
#include "util/text.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static struct yamlx *parse(const char *text)
{
	struct yamlx *doc = NULL;
	struct error err = {};

	if (yamlx_parse(text, strlen(text), "f.yaml", &doc, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return doc;
}

static void check_refused(const char *text, const char *told)
{
	struct yamlx *doc = NULL;
	struct error err = {};

	assert_int_equal(yamlx_parse(text, strlen(text), "f.yaml", &doc, &err), -EBADMSG);
	assert_null(doc);
	if (!strstr(err.text, told))
		fail_msg("%.80s: %s", text, err.text);
}

static void the_tree_knows_lines_and_columns(void **state)
{
	auto_yamlx struct yamlx *doc =
	    parse("gpus:\n  - name: a\n    vram: 8G\n  - {name: \"b\"}\n");
	const struct yamlx_node *gpus = yamlx_get(doc->root, "gpus"), *vram, *name;

	assert_non_null(gpus);
	assert_int_equal(gpus->type, YAMLX_SEQUENCE);
	assert_int_equal(gpus->n, 2);
	vram = yamlx_get(gpus->items[0], "vram");
	assert_string_equal(vram->text, "8G");
	assert_int_equal(vram->line, 3);
	assert_int_equal(vram->column, 11);
	assert_true(vram->plain);
	name = yamlx_get(gpus->items[1], "name");
	assert_false(name->plain);
	assert_null(yamlx_get(gpus->items[1], "vram"));
	assert_null(yamlx_get(gpus, "name"));
	assert_null(yamlx_get(NULL, "name"));
}

static void an_empty_file_is_an_empty_mapping(void **state)
{
	auto_yamlx struct yamlx *doc = parse("# nothing but a comment\n");

	assert_int_equal(doc->root->type, YAMLX_MAPPING);
	assert_int_equal(doc->root->n, 0);
	assert_int_equal(doc->root->line, 1);
}

static void what_is_refused_and_where(void **state)
{
	auto_text struct text deep = {}, many = {};

	check_refused("a: 1\na: 2\n", "f.yaml:2:1: this key stands here twice");
	check_refused("a: &x 1\nb: *x\n", "f.yaml:2:4: aliases (*name) are not supported here");
	check_refused("--- a\n--- b\n", "f.yaml:2:5: a second document is not expected");
	check_refused("? [x]\n: 1\n", "f.yaml:1:3: a key must be a plain word");
	check_refused("a: [1, 2\n", "f.yaml:2:1:");
	check_refused("a:\n\tb: 1\n", "f.yaml:2:1:");
	for (int i = 0; i < 66; i++)
		text_add(&deep, "[");
	for (int i = 0; i < 66; i++)
		text_add(&deep, "]");
	check_refused(deep.data, "too deep or too large");
	for (int i = 0; i < 100001; i++)
		text_add(&many, "- 1\n");
	check_refused(many.data, "f.yaml:100000:3: too deep or too large");
}

static void unknown_keys_are_named_with_the_known_ones(void **state)
{
	static const char *const known[] = {"name", "vram", NULL};
	auto_yamlx struct yamlx *doc = parse("name: a\nvrm: 8G\n");
	auto_yamlx struct yamlx *list = parse("- a\n");
	struct error err = {};

	assert_int_equal(yamlx_check_keys(doc, doc->root, known, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:2:1: unknown key \"vrm\"; known: name, vram");
	assert_int_equal(yamlx_check_keys(list, list->root, known, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:1:1: a mapping (key: value) is expected here");
}

static void typed_values_name_the_place_when_wrong(void **state)
{
	auto_yamlx struct yamlx *doc =
	    parse("size: 2.5G\nwhen: 5s\nshare: 0.5\non: yes\noff: false\n"
		  "bare: 6\nlist: [1]\n");
	const struct yamlx_node *root = doc->root, *bare = yamlx_get(root, "bare");
	const struct yamlx_node *list = yamlx_get(root, "list");
	struct error err = {};
	uint64_t bytes = 0;
	int64_t ms = 0;
	double real = 0;
	bool flag = false;
	const char *text = NULL;

	assert_int_equal(yamlx_size(doc, yamlx_get(root, "size"), &bytes, &err), 0);
	assert_int_equal(bytes, 2560 * MIB);
	assert_int_equal(yamlx_duration(doc, yamlx_get(root, "when"), &ms, &err), 0);
	assert_int_equal(ms, 5000);
	assert_int_equal(yamlx_real(doc, yamlx_get(root, "share"), 0, 1, &real, &err), 0);
	assert_true(real == 0.5);
	assert_int_equal(yamlx_bool(doc, yamlx_get(root, "on"), &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(yamlx_bool(doc, yamlx_get(root, "off"), &flag, &err), 0);
	assert_false(flag);

	assert_int_equal(yamlx_size(doc, bare, &bytes, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:6:7: size \"6\" has no unit; write 6M or 6G");
	assert_int_equal(yamlx_duration(doc, bare, &ms, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:6:7: duration \"6\" has no unit; write 6s or 6m");
	assert_int_equal(yamlx_real(doc, bare, 0, 1, &real, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:6:7: \"6\" is not a number from 0 to 1");
	assert_int_equal(yamlx_bool(doc, bare, &flag, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:6:7: \"6\" is not true or false");
	assert_int_equal(yamlx_string(doc, list, &text, &err), -EINVAL);
	assert_string_equal(err.text, "f.yaml:7:7: a single value is expected here");
}

static void numbers_must_be_finite(void **state)
{
	static const char *const wrong[] = {"nan", "inf", "1e999", "", "1x", "'1 '"};
	struct error err = {};
	double real = 77;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		auto_free char *text = mem_printf("v: %s\n", wrong[i]);
		auto_yamlx struct yamlx *doc = parse(text);

		assert_int_equal(
		    yamlx_real(doc, yamlx_get(doc->root, "v"), -1e300, 1e300, &real, &err),
		    -EINVAL);
	}
	assert_true(real == 77);
}

static void a_file_that_is_not_there_is_named(void **state)
{
	struct yamlx *doc = NULL;
	struct error err = {};

	assert_int_equal(yamlx_load("/nowhere/plimsoll.yaml", &doc, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/plimsoll.yaml"));
}

static void words_for_nothing(void **state)
{
	static const char *const null[] = {"", "~", "null", "Null", "NULL"};
	static const char *const other[] = {" ", "nULL", "none", "nil", "0"};

	for (size_t i = 0; i < ARRAY_LEN(null); i++)
		assert_true(yamlx_is_null_word(null[i]));
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		assert_false(yamlx_is_null_word(other[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_tree_knows_lines_and_columns),
	    cmocka_unit_test(an_empty_file_is_an_empty_mapping),
	    cmocka_unit_test(what_is_refused_and_where),
	    cmocka_unit_test(unknown_keys_are_named_with_the_known_ones),
	    cmocka_unit_test(typed_values_name_the_place_when_wrong),
	    cmocka_unit_test(numbers_must_be_finite),
	    cmocka_unit_test(a_file_that_is_not_there_is_named),
	    cmocka_unit_test(words_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
