/* compose/file, node, parse: trees that know their bytes. */
#include "compose/node.h"

#include "util/file.h"
#include "util/text.h"

#include "folder.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct world {
	struct compose_files files;
	struct arena arena;
	const struct compose_file *file;
	struct compose_node **roots;
	size_t n;
};

static void world_finish(struct world *w)
{
	compose_files_finish(&w->files);
	arena_finish(&w->arena);
}
#define auto_world CLEANUP(world_finish)

static struct compose_node *parse(struct world *w, const char *text)
{
	struct error err = {};

	w->file = compose_files_add(&w->files, "f.yaml", text, strlen(text));
	if (compose_parse(w->file, &w->arena, &w->roots, &w->n, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return w->n > 0 ? w->roots[0] : NULL;
}

static void check_bytes_of(const struct compose_span *span, const char *wanted, const char *where)
{
	size_t len = span->end - span->begin;

	assert_non_null(span->file);
	if (len != strlen(wanted) || memcmp(span->file->text + span->begin, wanted, len) != 0)
		fail_msg("%s: \"%.*s\" instead of \"%s\"", where, (int)len,
			 span->file->text + span->begin, wanted);
}
#define check_bytes(node, wanted) check_bytes_of(&(node)->span, wanted, __func__)

static void check_text(const struct compose_node *node, const char *wanted)
{
	assert_non_null(node);
	assert_int_equal(node->type, COMPOSE_SCALAR);
	assert_string_equal(node->raw, wanted);
	assert_string_equal(compose_text(node), wanted);
}

static void check_refused(const char *text, const char *told)
{
	auto_world struct world w = {};
	struct error err = {};

	w.file = compose_files_add(&w.files, "f.yaml", text, strlen(text));
	assert_int_equal(compose_parse(w.file, &w.arena, &w.roots, &w.n, &err), -EBADMSG);
	if (strcmp(err.text, told) != 0)
		fail_msg("%.80s: \"%s\" instead of \"%s\"", text, err.text, told);
}

static void every_node_knows_its_bytes(void **state)
{
	auto_world struct world w = {};
	struct compose_node *root = parse(&w, "a: one  # c\n"
					      "b: 'it''s'\n"
					      "c: \"x\\ty\"\n"
					      "d: \"plain\"\n"
					      "e:\n"
					      "  - 1\n"
					      "  - {k: v}   # c\n"
					      "\n"
					      "f: [a, 'b' ]\n"
					      "g: |\n"
					      "  text\n"
					      "\n"
					      "h:\n"
					      "- x\n"
					      "i:\n"
					      "j: a\n"
					      "   b\n");
	struct compose_node *node;

	check_text(node = compose_get(root, "a"), "one");
	check_bytes(node, "one");
	assert_true(node->exact);
	assert_int_equal(node->lead, 0);
	assert_int_equal(node->style, COMPOSE_PLAIN);
	check_text(node = compose_get(root, "b"), "it's");
	check_bytes(node, "'it''s'");
	assert_false(node->exact);
	assert_int_equal(node->style, COMPOSE_SINGLE);
	check_text(node = compose_get(root, "c"), "x\ty");
	check_bytes(node, "\"x\\ty\"");
	assert_false(node->exact);
	check_text(node = compose_get(root, "d"), "plain");
	check_bytes(node, "\"plain\"");
	assert_true(node->exact);
	assert_int_equal(node->lead, 1);
	assert_true(node->tagged_string);
	node = compose_get(root, "e");
	check_bytes(node, "- 1\n  - {k: v}");
	check_bytes(node->items[1], "{k: v}");
	check_bytes(compose_get(node->items[1], "k"), "v");
	check_bytes(compose_get(root, "f"), "[a, 'b' ]");
	check_text(node = compose_get(root, "g"), "text\n");
	check_bytes(node, "|\n  text");
	assert_false(node->exact);
	assert_int_equal(node->style, COMPOSE_BLOCK);
	check_bytes(compose_get(root, "h"), "- x");
	node = compose_get(root, "i");
	assert_int_equal(node->type, COMPOSE_NULL);
	check_bytes(node, "");
	assert_int_equal(node->span.begin, compose_entry(root, "i")->key_span.end + 1);
	check_text(node = compose_get(root, "j"), "a b");
	check_bytes(node, "a\n   b");
	assert_false(node->exact);
	check_bytes_of(&compose_entry(root, "f")->key_span, "f", "key");
	assert_int_equal(root->span.begin, 0);
	assert_int_equal(root->span.end, w.file->len - 1);
	assert_ptr_equal(compose_path(root, "nothing", "here", NULL), NULL);
	assert_ptr_equal(compose_get(NULL, "a"), NULL);
}

static void check_at(const char *text, const char *key, const char *bytes, unsigned line,
		     unsigned column)
{
	auto_world struct world w = {};
	struct compose_node *node = compose_get(parse(&w, text), key);
	unsigned at_line, at_column;

	assert_non_null(node);
	check_bytes_of(&node->span, bytes, text);
	compose_file_position(w.file, node->span.begin, &at_line, &at_column);
	assert_int_equal(at_line, line);
	assert_int_equal(at_column, column);
}

static void bytes_and_not_characters(void **state)
{
	auto_text struct text many = {};

	check_at("\xef\xbb\xbf"
		 "a: x\nb: y\n",
		 "a", "x", 1, 4);
	check_at("\xef\xbb\xbf"
		 "a: x\nb: y\n",
		 "b", "y", 2, 4);
	check_at("a: x\r\nb: y\r\n", "b", "y", 2, 4);
	check_at("a: x\r\nb:\r\n  - y\r\n\r\nc: 'z'\r\n", "c", "'z'", 5, 4);
	check_at("# schön\na: größe\nb: y\n", "a", "größe", 2, 4);
	check_at("# schön\na: größe\nb: y\n", "b", "y", 3, 4);
	check_at("\xef\xbb\xbf# \xf0\x9f\x98\x80\r\nk\xc3\xa4: \"\xf0\x9f\x9a\x80 x\"\r\nb: y\r\n",
		 "b", "y", 3, 4);
	check_at("'\xf0\x9f\x98\x80\xf0\x9f\x98\x80': x\n", "\xf0\x9f\x98\x80\xf0\x9f\x98\x80", "x",
		 1, 7);
	/* Past the table's stride, which a file of ASCII does not need. */
	for (int i = 0; i < 500; i++)
		text_printf(&many, "k%d: ä%d\n", i, i);
	text_add(&many, "last: z\n");
	check_at(many.data, "k63", "ä63", 64, 6);
	check_at(many.data, "k499", "ä499", 500, 7);
	check_at(many.data, "last", "z", 501, 7);
}

static void values_begin_after_anchor_and_tag(void **state)
{
	auto_world struct world w = {};
	struct compose_node *root = parse(&w, "a: &x !!str 1\n"
					      "b: !!str &y  'q'\n"
					      "c: &m # of the map\n"
					      "  &k key: v\n"
					      "d: !override\n"
					      "  - z\n"
					      "e: !reset null\n"
					      "f: !reset\n"
					      "g: &l [1]\n"
					      "h: !reset []\n"
					      "i: ! 7\n");
	struct compose_node *node;

	check_bytes(node = compose_get(root, "a"), "1");
	assert_true(node->tagged_string);
	assert_true(node->exact);
	check_bytes(compose_get(root, "b"), "'q'");
	check_bytes(compose_get(root, "c"), "&k key: v");
	check_bytes_of(&compose_entry(compose_get(root, "c"), "key")->key_span, "key", "key");
	check_bytes(node = compose_get(root, "d"), "- z");
	assert_int_equal(node->mark, COMPOSE_OVERRIDE);
	check_bytes(node = compose_get(root, "e"), "null");
	assert_int_equal(node->mark, COMPOSE_RESET);
	assert_int_equal(node->type, COMPOSE_NULL);
	node = compose_get(root, "f");
	assert_int_equal(node->mark, COMPOSE_RESET);
	assert_int_equal(node->type, COMPOSE_NULL);
	check_bytes(node, "");
	check_bytes(compose_get(root, "g"), "[1]");
	check_bytes(node = compose_get(root, "h"), "[]");
	assert_int_equal(node->mark, COMPOSE_RESET);
	check_bytes(compose_get(root, "i"), "7");
}

static void aliases_are_copies_that_know_the_way(void **state)
{
	auto_world struct world w = {};
	struct compose_node *root = parse(&w, "x: &a {k: v, l: [1, 2]}\n"
					      "y: *a\n"
					      "z: &s word\n"
					      "*s : by alias\n"
					      "n: &a other\n"
					      "o: *a\n");
	struct compose_node *node = compose_path(root, "y", "k", NULL);

	check_bytes(node, "v");
	check_bytes_of(&node->via, "*a", "via");
	assert_null(compose_path(root, "x", "k", NULL)->via.file);
	assert_true(node != compose_path(root, "x", "k", NULL));
	assert_int_equal(node->span.begin, compose_path(root, "x", "k", NULL)->span.begin);
	check_bytes_of(&compose_path(root, "y", "l", NULL)->items[1]->via, "*a", "via");
	check_text(compose_get(root, "word"), "by alias");
	check_text(compose_get(root, "o"), "other");
	check_bytes(root, "x: &a {k: v, l: [1, 2]}\ny: *a\nz: &s word\n*s : by alias\n"
			  "n: &a other\no: *a");
}

static void merge_keys(void **state)
{
	auto_world struct world w = {};
	struct compose_node *root = parse(&w, "a: &a {k: a, l: a, m: !reset null}\n"
					      "b: &b {l: b, n: b}\n"
					      "both: &both [*b, *a]\n"
					      "one:\n"
					      "  <<: *a\n"
					      "  k: own\n"
					      "list:\n"
					      "  k: own\n"
					      "  <<: [*a, *b]\n"
					      "of-a-list: {<<: *both}\n"
					      "nested: {<<: {<<: *a, z: z}}\n"
					      "quoted: {'<<': x}\n");
	struct compose_node *one = compose_get(root, "one"), *list = compose_get(root, "list");

	assert_int_equal(one->n, 3);
	check_text(compose_get(one, "k"), "own");
	check_text(compose_get(one, "l"), "a");
	assert_int_equal(compose_get(one, "m")->mark, COMPOSE_RESET);
	check_bytes_of(&compose_get(one, "l")->via, "*a", "via");
	assert_null(compose_get(one, "k")->via.file);
	assert_null(compose_get(one, "<<"));
	check_text(compose_get(list, "k"), "own");
	check_text(compose_get(list, "l"), "a");
	check_text(compose_get(list, "n"), "b");
	check_text(compose_path(root, "of-a-list", "l", NULL), "b");
	check_text(compose_path(root, "of-a-list", "k", NULL), "a");
	check_text(compose_path(root, "nested", "k", NULL), "a");
	check_bytes_of(&compose_path(root, "nested", "z", NULL)->via, "<<", "via");
	check_text(compose_path(root, "quoted", "<<", NULL), "x");
	check_bytes(list, "k: own\n  <<: [*a, *b]");
}

static void words_of_the_core_schema(void **state)
{
	static const struct {
		const char *text;
		enum compose_type type;
		int truth;   /* -1: no bool */
		bool number; /* and which */
		int64_t value;
	} cases[] = {
	    {"null", COMPOSE_NULL, -1, false, 0},
	    {"~", COMPOSE_NULL, -1, false, 0},
	    {"nUll", COMPOSE_SCALAR, -1, false, 0},
	    {"'null'", COMPOSE_SCALAR, -1, false, 0},
	    {"!!str null", COMPOSE_SCALAR, -1, false, 0},
	    {"!!null ''", COMPOSE_NULL, -1, false, 0},
	    {"true", COMPOSE_SCALAR, 1, false, 0},
	    {"False", COMPOSE_SCALAR, 0, false, 0},
	    {"\"true\"", COMPOSE_SCALAR, 1, false, 0},
	    {"off", COMPOSE_SCALAR, 0, false, 0},
	    {"1", COMPOSE_SCALAR, -1, true, 1},
	    {"-12", COMPOSE_SCALAR, -1, true, -12},
	    {"+3", COMPOSE_SCALAR, -1, true, 3},
	    {"0x1F", COMPOSE_SCALAR, -1, true, 31},
	    {"0o17", COMPOSE_SCALAR, -1, true, 15},
	    {"08", COMPOSE_SCALAR, -1, true, 8},
	    {"-0x1", COMPOSE_SCALAR, -1, false, 0},
	    {"1.5", COMPOSE_SCALAR, -1, false, 0},
	    {"1 2", COMPOSE_SCALAR, -1, false, 0},
	    {"9223372036854775808", COMPOSE_SCALAR, -1, false, 0},
	    {"-", COMPOSE_LIST, -1, false, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_world struct world w = {};
		auto_free char *text = mem_printf("k: %s\n", cases[i].text);
		bool truth = false;
		int64_t value = 0;
		struct compose_node *node;

		if (cases[i].type == COMPOSE_LIST) {
			free(TAKE(text));
			text = mem_strdup("k: []\n");
		}
		node = compose_get(parse(&w, text), "k");
		if (node->type != cases[i].type ||
		    compose_bool(node, &truth) != (cases[i].truth >= 0) ||
		    (cases[i].truth >= 0 && truth != cases[i].truth) ||
		    compose_integer(node, &value) != cases[i].number || value != cases[i].value)
			fail_msg("%s: type %d, %d, %lld", text, (int)node->type, truth,
				 (long long)value);
	}
}

static void several_documents(void **state)
{
	auto_world struct world w = {};

	assert_null(parse(&w, ""));
	assert_int_equal(w.n, 0);
	assert_null(parse(&w, "# nothing\n"));
	check_text(compose_get(parse(&w, "a: &x 1\n---\nb: 2\n---\n# empty\n...\n"), "a"), "1");
	assert_int_equal(w.n, 3);
	check_text(compose_get(w.roots[1], "b"), "2");
	assert_int_equal(w.roots[2]->type, COMPOSE_NULL);
}

static void what_is_refused_and_where(void **state)
{
	auto_text struct text deep = {}, steps = {};

	check_refused("a: 1\nb:\n  c: 1\n  d: 1\n  'c': 2\n",
		      "f.yaml:5:3: the key \"c\" stands here again; it was first in line 3");
	check_refused("a: {<<: {}, <<: {}}\n",
		      "f.yaml:1:13: the key \"<<\" stands here again; it was first in line 1");
	check_refused("a: *b\n", "f.yaml:1:4: no anchor &b above this alias");
	check_refused("x: &b 1\n---\na: *b\n", "f.yaml:3:4: no anchor &b above this alias");
	check_refused("a: &b [*b]\n",
		      "f.yaml:1:8: this alias stands inside the anchor &b it refers to");
	check_refused("a: &b {c: {<<: *b}}\n",
		      "f.yaml:1:16: this alias stands inside the anchor &b it refers to");
	check_refused("a: {<<: word}\n",
		      "f.yaml:1:5: << takes a map, an alias of one, or a list of these");
	check_refused("a: &l [1]\nb: {<<: [*l]}\n",
		      "f.yaml:2:5: << takes a map, an alias of one, or a list of these");
	check_refused("? [x]\n: 1\n", "f.yaml:1:3: a key must be a single word, no list or map");
	check_refused("ä: 1\nb: [1, 2\n",
		      "f.yaml:3:1: did not find expected ',' or ']' (while parsing a flow sequence "
		      "that begins in line 2)");
	check_refused("a: ä\x01\n", "f.yaml:1:5: control characters are not allowed");
	check_refused("\xef\xbb\xbfk: \x01\n", "f.yaml:1:4: control characters are not allowed");
	for (int i = 0; i < 65; i++)
		text_add(&deep, "[");
	check_refused(deep.data, "f.yaml:1:65: more than 64 levels deep");
	/* Each step is shallow; what they stand for is not. */
	text_add(&steps, "s0: &s0 [[[[[[[[[[1]]]]]]]]]]\n");
	for (int i = 1; i < 8; i++)
		text_printf(&steps, "s%d: &s%d [[[[[[[[[[*s%d]]]]]]]]]]\n", i, i, i - 1);
	check_refused(steps.data, "f.yaml:7:19: more than 64 levels deep");
}

/* Within a second and 100 MB, whatever is in the file. */
static void check_hostile(const char *text, size_t len, const char *told)
{
	auto_world struct world w = {};
	struct timespec begin, end;
	struct error err = {};
	double seconds;

	w.file = compose_files_add(&w.files, "f.yaml", text, len);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_int_equal(compose_parse(w.file, &w.arena, &w.roots, &w.n, &err), -EBADMSG);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	if (!strstr(err.text, told))
		fail_msg("\"%s\" instead of \"%s\"", err.text, told);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
#ifndef __SANITIZE_ADDRESS__
	assert_true(seconds < 1);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < (size_t)100 << 20);
#endif
	assert_true(seconds < 20);
	assert_true(w.arena.used < (size_t)80 << 20);
}

static void hostile_files(void **state)
{
	auto_text struct text bomb = {}, deep = {}, keys = {}, merges = {}, anchors = {}, huge = {};

	text_add(&bomb, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 9; i++)
		text_printf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n",
			    i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	check_hostile(bomb.data, bomb.len,
		      "more than 100000 values, what aliases stand for counted each time");
	for (int i = 0; i < 1000000; i++)
		text_add(&deep, "[");
	check_hostile(deep.data, deep.len, "f.yaml:1:65: more than 64 levels deep");
	text_clear(&deep);
	for (int i = 0; i < 1000; i++)
		text_printf(&deep, "%*sk:\n", i, "");
	check_hostile(deep.data, deep.len, "more than 64 levels deep");
	for (int i = 0; i < 60000; i++)
		text_printf(&keys, "key%d:\n", i);
	check_hostile(keys.data, keys.len, "f.yaml:50000:10: more than 100000 values");
	text_add(&merges, "x: &x {");
	for (int i = 0; i < 20000; i++)
		text_printf(&merges, "k%d: , ", i);
	text_add(&merges, "}\ny:\n");
	for (int i = 0; i < 10; i++)
		text_printf(&merges, "- {<<: *x}\n");
	check_hostile(merges.data, merges.len, "counted each time");
	for (int i = 0; i < 60000; i++)
		text_printf(&anchors, "- &a%d [*a%d]\n", i, i / 2);
	check_hostile(anchors.data, anchors.len, "stands inside the anchor &a0");
	text_clear(&anchors);
	for (int i = 0; i < 100001; i++)
		text_printf(&anchors, "- &a%d 1\n", i);
	check_hostile(anchors.data, anchors.len, "more than 100000 values");
	text_add(&huge, "k: '");
	while (huge.len < 10000000)
		text_add(&huge, "äöü lange Zeile\n");
	text_add(&huge, "'\n");
	check_hostile(huge.data, huge.len, "f.yaml: larger than 4 MiB");
	huge.len = 4000000;
	check_hostile(huge.data, huge.len, "found unexpected end of stream");
}

static void large_maps_are_found_by_an_index(void **state)
{
	auto_world struct world w = {};
	auto_text struct text text = {};
	struct compose_node *map;

	for (int i = 0; i < 1000; i++)
		text_printf(&text, "k%d: v%d\n", i, i);
	map = compose_node_copy(&w.arena, parse(&w, text.data));
	for (int i = 0; i < 1000; i++) {
		auto_free char *key = mem_printf("k%d", i), *value = mem_printf("v%d", i);

		check_text(compose_get(map, key), value);
		if (i % 3 == 0) {
			compose_map_remove(map, key);
			compose_map_remove(map, key);
			assert_null(compose_get(map, key));
		}
	}
	assert_int_equal(map->n, 666);
	compose_map_put(&w.arena, map, "k1", NULL, compose_node_scalar(&w.arena, map, "new"));
	compose_map_put(&w.arena, map, "more", NULL, compose_node_list(&w.arena, NULL));
	assert_int_equal(map->n, 667);
	check_text(compose_get(map, "k1"), "new");
	assert_int_equal(compose_get(map, "k1")->span.file, map->span.file);
	assert_string_equal(map->entries[0].key, "k1");
	check_text(compose_get(w.roots[0], "k1"), "v1");
	while (map->n > 0)
		compose_map_remove(map, arena_strdup(&w.arena, map->entries[map->n - 1].key));
	assert_null(compose_get(map, "k1"));
	assert_int_equal(w.roots[0]->n, 1000);
}

static void files_are_read_once(void **state)
{
	const char *folder = *state;
	struct compose_files files = {.standing = folder};
	const struct compose_file *file = NULL, *same = NULL, *missing = NULL;
	auto_free char *path = mem_printf("%s/sub/a.yaml", folder);
	auto_free char *sub = mem_printf("%s/sub", folder), *big = mem_printf("%s/big", folder);
	auto_text struct text text = {};
	struct error err = {};

	assert_int_equal(mkdir(sub, 0700), 0);
	assert_int_equal(file_replace(path, "a: ä\nb", 7, 0640, &err), 0);
	assert_int_equal(compose_files_load(&files, folder, "sub/./../sub//a.yaml", &file, &err),
			 0);
	assert_string_equal(file->path, path);
	assert_string_equal(file->shown, "sub/a.yaml");
	assert_string_equal(file->text, "a: ä\nb");
	assert_int_equal(file->mode, 0640);
	assert_int_equal(file->n_lines, 2);
	assert_int_equal(compose_files_load(&files, sub, path, &same, &err), 0);
	assert_ptr_equal(same, file);
	assert_int_equal(files.n, 1);
	assert_int_equal(compose_files_load(&files, folder, ".env", &missing, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/.env"));
	assert_int_equal(compose_files_load_or_new(&files, folder, ".env", &missing, &err), 0);
	assert_true(missing->missing);
	assert_int_equal(missing->len, 0);
	assert_int_equal(compose_files_load(&files, folder, ".env", &missing, &err), -ENOENT);
	assert_int_equal(compose_files_load(&files, folder, "sub", &missing, &err), -EISDIR);
	assert_int_equal(file_replace(path, "a: x\nb: \xe4\n", 10, 0600, &err), 0);
	compose_files_finish(&files);
	files.standing = folder;
	assert_int_equal(compose_files_load(&files, folder, "sub/a.yaml", &file, &err), -EINVAL);
	assert_string_equal(err.text, "sub/a.yaml:2:4: this byte (0xe4) is not UTF-8: save the "
				      "file as UTF-8");
	assert_int_equal(file_replace(path, "a\0b", 3, 0600, &err), 0);
	assert_int_equal(compose_files_load(&files, folder, "sub/a.yaml", &file, &err), -EINVAL);
	assert_string_equal(err.text, "sub/a.yaml:1:2: a NUL byte: this is not a text file");
	while (text.len <= COMPOSE_FILE_MAX)
		text_add(&text, "0123456789abcdef0123456789abcdef\n");
	assert_int_equal(file_replace(big, text.data, text.len, 0600, &err), 0);
	assert_int_equal(compose_files_load(&files, folder, "big", &file, &err), -EFBIG);
	compose_files_finish(&files);
}

/* All of a file may be one line, and each of its values is asked for its place. */
static void columns_of_a_long_line(void **state)
{
	struct compose_files files = {};
	auto_text struct text text = {};
	const struct compose_file *file;
	struct timespec begin, end;
	unsigned line, column, letters = 0;

	(void)state;
	text_add(&text, "\xef\xbb\xbf# two\n");
	while (text.len < (size_t)1 << 20)
		text_add(&text, text.len % 7 == 0 ? "\xf0\x9f\x8e\x88" : "\xc3\xa9 x");
	file = compose_files_add(&files, "f", text.data, text.len);
	compose_file_position(file, 4, &line, &column);
	assert_int_equal(line, 1);
	assert_int_equal(column, 2);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	for (size_t at = file->lines[1]; at <= file->len; at++) {
		compose_file_position(file, at, &line, &column);
		assert_int_equal(line, 2);
		assert_int_equal(column, 1 + letters);
		letters += (file->text[at] & 0xc0) != 0x80;
	}
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 10);
	compose_files_finish(&files);
}

static void paths_are_joined_by_their_names(void **state)
{
	static const char *const cases[][3] = {
	    {"/a/b", "c", "/a/b/c"},
	    {"/a/b", "../c", "/a/c"},
	    {"/a/b/", "./c//d/", "/a/b/c/d"},
	    {"/a", "../../../x", "/x"},
	    {"/a", "/b/../c", "/c"},
	    {"/", "..", "/"},
	    {"/a", "...", "/a/..."},
	    {"/a", "", "/a"},
	    {"/a", ".", "/a"},
	    {"/a/b", "..c/.d", "/a/b/..c/.d"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *path = compose_path_join(cases[i][0], cases[i][1]);

		assert_string_equal(path, cases[i][2]);
	}
}

static void there_is_an_end_to_files(void **state)
{
	const char *folder = *state;
	struct compose_files files = {};
	const struct compose_file *file = NULL;
	auto_free char *path = mem_printf("%s/a.yaml", folder);
	struct error err = {};

	assert_int_equal(file_replace(path, "", 0, 0600, &err), 0);
	for (int i = 0; i < COMPOSE_FILES_MAX; i++)
		(void)compose_files_add(&files, "x", "", 0);
	assert_int_equal(compose_files_load(&files, folder, "a.yaml", &file, &err), -E2BIG);
	compose_files_finish(&files);
}

static void the_first_line_says_how_lines_end(void **state)
{
	static const struct {
		const char *text, *newline;
	} cases[] = {
	    {"a\nb\r\n", "\n"}, {"a\r\nb\n", "\r\n"}, {"\r\n", "\r\n"},
	    {"a", "\n"},        {"", "\n"},           {"\na\r\n", "\n"},
	};
	struct compose_files files = {};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *name = mem_printf("f%zu", i);
		const struct compose_file *file =
		    compose_files_add(&files, name, cases[i].text, strlen(cases[i].text));

		assert_string_equal(compose_file_newline(file), cases[i].newline);
	}
	compose_files_finish(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_node_knows_its_bytes),
	    cmocka_unit_test(bytes_and_not_characters),
	    cmocka_unit_test(values_begin_after_anchor_and_tag),
	    cmocka_unit_test(aliases_are_copies_that_know_the_way),
	    cmocka_unit_test(merge_keys),
	    cmocka_unit_test(words_of_the_core_schema),
	    cmocka_unit_test(several_documents),
	    cmocka_unit_test(what_is_refused_and_where),
	    cmocka_unit_test(hostile_files),
	    cmocka_unit_test(large_maps_are_found_by_an_index),
	    cmocka_unit_test(columns_of_a_long_line),
	    cmocka_unit_test(columns_of_a_long_line),
	    cmocka_unit_test(paths_are_joined_by_their_names),
	    folder_test(files_are_read_once),
	    folder_test(there_is_an_end_to_files),
	    cmocka_unit_test(the_first_line_says_how_lines_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
