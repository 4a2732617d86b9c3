/*
 * The bytes of values: over generated documents whose values are known beforehand, and over the
 * corpus of real projects where it is beside the checkout. Rewriting nothing gives the same bytes,
 * rewriting one value changes only its bytes and, parsed again, only that value.
 */
#include "compose/node.h"
#include "compose/rewrite.h"

#include "util/file.h"

#include "unit.h"

#include <ftw.h>
#include <string.h>

#define DOCUMENTS 300

/* A value as the generator wrote it, in the order of the text. */
struct value {
	size_t begin, end;
	char raw[48];
};

struct document {
	struct text text;
	struct value values[512];
	size_t n;
	uint64_t seed;
	const char *newline;
	unsigned anchors, levels;
};

static unsigned below(struct document *doc, unsigned n)
{
	doc->seed ^= doc->seed << 13;
	doc->seed ^= doc->seed >> 7;
	doc->seed ^= doc->seed << 17;
	return (unsigned)(doc->seed >> 16) % n;
}

static bool has_room(const struct document *doc)
{
	return doc->n + 16 < ARRAY_LEN(doc->values);
}

static void write_scalar(struct document *doc, bool flow)
{
	static const char *const words[] = {
	    "plain", "two words", "größe", "\xf0\x9f\x9a\x80 go", "${GPU:-0}", "http://x:80/",
	    "0",     "x#y",       "a-b_c"};
	struct value *value = &doc->values[doc->n++];
	const char *word = words[below(doc, flow ? 5 : ARRAY_LEN(words))];

	if (flow && strchr(word, '{'))
		word = "plain";
	if (below(doc, 8) == 0)
		text_add(&doc->text, "!!str ");
	if (below(doc, 8) == 0)
		text_printf(&doc->text, "&a%u ", doc->anchors++);
	value->begin = doc->text.len;
	(void)snprintf(value->raw, sizeof value->raw, "%s", word);
	switch (below(doc, flow ? 3 : 4)) {
	case 0:
		text_printf(&doc->text, "'%s''s'", word);
		(void)snprintf(value->raw, sizeof value->raw, "%s's", word);
		break;
	case 1:
		text_printf(&doc->text, "\"%s\\t\\u00e4\"", word);
		(void)snprintf(value->raw, sizeof value->raw, "%s\tä", word);
		break;
	default:
		text_add(&doc->text, word);
		break;
	}
	value->end = doc->text.len;
}

static void line_finish(struct document *doc)
{
	static const char *const ends[] = {"", "", "  # größe", "   "};

	text_printf(&doc->text, "%s%s", ends[below(doc, ARRAY_LEN(ends))], doc->newline);
	if (below(doc, 6) == 0)
		text_printf(&doc->text, "%s# \xf0\x9f\x98\x80 comment%s", doc->newline,
			    doc->newline);
}

static void write_flow(struct document *doc, unsigned level)
{
	unsigned n = below(doc, 4);
	bool map = below(doc, 2);

	text_add(&doc->text, map ? "{" : "[");
	for (unsigned i = 0; i < n && has_room(doc); i++) {
		text_printf(&doc->text, "%s", i ? ", " : "");
		if (map)
			text_printf(&doc->text, "k%u: ", i);
		if (level < 3 && below(doc, 4) == 0)
			write_flow(doc, level + 1);
		else
			write_scalar(doc, true);
	}
	text_add(&doc->text, map ? "}" : "]");
}

static void write_block(struct document *doc, unsigned indent, unsigned level);

/* What stands behind `key:` or `-`, up to the end of its line. */
static void write_value(struct document *doc, unsigned indent, unsigned level)
{
	unsigned kind = below(doc, 6);

	if (kind >= 4 && level < 5 && has_room(doc)) {
		if (below(doc, 4) == 0)
			text_printf(&doc->text, " &a%u", doc->anchors++);
		line_finish(doc);
		write_block(doc, indent + 1 + below(doc, 3), level + 1);
		return;
	}
	text_add(&doc->text, " ");
	if (kind == 1) {
		write_flow(doc, level);
	} else if (kind == 2 && below(doc, 2)) {
		struct value *value = &doc->values[doc->n++];

		value->begin = doc->text.len;
		text_printf(&doc->text, "|%s%*sliteral", doc->newline, (int)indent + 2, "");
		value->end = doc->text.len;
		(void)snprintf(value->raw, sizeof value->raw, "literal\n");
		text_add(&doc->text, doc->newline);
		return;
	} else {
		write_scalar(doc, false);
	}
	line_finish(doc);
}

static void write_block(struct document *doc, unsigned indent, unsigned level)
{
	unsigned n = 2 + below(doc, 6);
	bool map = level == 0 || below(doc, 2);

	for (unsigned i = 0; i < n && (i == 0 || has_room(doc)); i++) {
		text_printf(&doc->text, "%*s", (int)indent, "");
		if (map)
			text_printf(&doc->text, "%s%u:", below(doc, 2) ? "key" : "schlüssel", i);
		else
			text_add(&doc->text, "-");
		write_value(doc, indent, level);
	}
}

static void write_document(struct document *doc, uint64_t seed)
{
	*doc = (struct document){.seed = seed * 2654435761u + 88172645463325252u};
	doc->newline = below(doc, 3) ? "\n" : "\r\n";
	if (below(doc, 4) == 0)
		text_add(&doc->text, "\xef\xbb\xbf");
	if (below(doc, 4) == 0)
		text_printf(&doc->text, "# ä%s---%s", doc->newline, doc->newline);
	write_block(doc, 0, 0);
}

struct scalars {
	const struct compose_node **items;
	size_t n, room;
};

/* In the order of the text; empty collections and keys without a value are none. */
static void gather(struct scalars *scalars, const struct compose_node *node)
{
	if (node->via.file)
		return;
	if (node->type == COMPOSE_SCALAR) {
		ARRAY_GROW(scalars->items, scalars->n, scalars->room);
		scalars->items[scalars->n++] = node;
	}
	for (size_t i = 0; i < node->n; i++)
		gather(scalars,
		       node->type == COMPOSE_MAP ? node->entries[i].value : node->items[i]);
}

struct parsed {
	struct compose_files files;
	struct arena arena;
	const struct compose_file *file;
	struct scalars scalars;
};

static void parsed_finish(struct parsed *parsed)
{
	compose_files_finish(&parsed->files);
	arena_finish(&parsed->arena);
	free(parsed->scalars.items);
}
#define auto_parsed CLEANUP(parsed_finish)

static void parse(struct parsed *parsed, const char *text, size_t len)
{
	struct compose_node **roots = NULL;
	struct error err = {};
	size_t n = 0;

	parsed->file = compose_files_add(&parsed->files, "f", text, len);
	/* Edits are for files of a disk. */
	((struct compose_file *)(uintptr_t)parsed->file)->unwritten = false;
	if (compose_parse(parsed->file, &parsed->arena, &roots, &n, &err) < 0)
		fail_msg("%s\n%.800s", err.text, text);
	for (size_t i = 0; i < n; i++)
		gather(&parsed->scalars, roots[i]);
}

/* Another value in the place of one: those bytes and no others, that value and no other. */
static void check_rewrite(const struct parsed *before, size_t which)
{
	const struct compose_node *old = before->scalars.items[which];
	const struct compose_span *span = &old->span;
	struct compose_edits edits = {};
	struct error err = {};
	auto_text struct text text = {};
	auto_parsed struct parsed after = {};

	if (compose_edits_add(&edits, span, "\"new 1\"", &err) < 0)
		fail_msg("%s", err.text);
	compose_edits_apply(&edits, before->file, &text);
	assert_int_equal(text.len, before->file->len - (span->end - span->begin) + 7);
	assert_memory_equal(text.data, before->file->text, span->begin);
	assert_memory_equal(text.data + span->begin, "\"new 1\"", 7);
	assert_memory_equal(text.data + span->begin + 7, before->file->text + span->end,
			    before->file->len - span->end);
	parse(&after, text.data, text.len);
	assert_int_equal(after.scalars.n, before->scalars.n);
	for (size_t i = 0; i < after.scalars.n; i++)
		if (strcmp(after.scalars.items[i]->raw,
			   i == which ? "new 1" : before->scalars.items[i]->raw) != 0)
			fail_msg("value %zu of %zu became \"%s\"", i, after.scalars.n,
				 after.scalars.items[i]->raw);
	compose_edits_finish(&edits);
}

static void check_nothing(const struct compose_file *file)
{
	struct compose_edits edits = {};
	auto_text struct text text = {}, diff = {};

	compose_edits_apply(&edits, file, &text);
	assert_int_equal(text.len, file->len);
	assert_memory_equal(text.data, file->text, file->len);
	compose_edits_diff(&edits, &diff);
	assert_int_equal(diff.len, 0);
}

static void generated_documents(void **state)
{
	static struct document doc;
	size_t values = 0;

	for (uint64_t seed = 1; seed <= DOCUMENTS; seed++) {
		auto_parsed struct parsed parsed = {};

		write_document(&doc, seed);
		parse(&parsed, doc.text.data, doc.text.len);
		if (parsed.scalars.n != doc.n)
			fail_msg("%zu of %zu values in\n%.900s", parsed.scalars.n, doc.n,
				 doc.text.data);
		for (size_t i = 0; i < doc.n; i++) {
			const struct compose_node *node = parsed.scalars.items[i];

			if (strcmp(node->raw, doc.values[i].raw) != 0 ||
			    node->span.begin != doc.values[i].begin ||
			    node->span.end != doc.values[i].end)
				fail_msg("document %d: \"%s\" at %zu-%zu instead of \"%s\" at "
					 "%zu-%zu",
					 (int)seed, node->raw, node->span.begin, node->span.end,
					 doc.values[i].raw, doc.values[i].begin, doc.values[i].end);
		}
		check_nothing(parsed.file);
		for (unsigned i = 0; i < 3 && doc.n > 0; i++)
			check_rewrite(&parsed, below(&doc, (unsigned)doc.n));
		values += doc.n;
		text_finish(&doc.text);
	}
	/* Else the generator writes nothing any more. */
	assert_true(values > (size_t)5 * DOCUMENTS);
}

static size_t corpus_files;

static int corpus_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *dot = strrchr(path, '.');
	auto_parsed struct parsed parsed = {};
	auto_text struct text text = {};
	struct error err = {};
	size_t step;

	if (type != FTW_F || !dot || (strcmp(dot, ".yml") != 0 && strcmp(dot, ".yaml") != 0))
		return 0;
	if (file_read(path, COMPOSE_FILE_MAX, false, &text, &err) < 0)
		fail_msg("%s", err.text);
	parse(&parsed, text.data, text.len);
	check_nothing(parsed.file);
	step = parsed.scalars.n / 12 + 1;
	for (size_t i = corpus_files % step; i < parsed.scalars.n; i += step)
		check_rewrite(&parsed, i);
	corpus_files++;
	return 0;
}

static void real_projects(void **state)
{
	auto_free char *corpus =
	    mem_printf("%s/../shared/compose-corpus", getenv("PLIMSOLL_SOURCE"));
	struct stat st;

	if (stat(corpus, &st) < 0) {
		print_message("# SKIP: no compose-corpus beside the checkout\n");
		skip();
	}
	assert_int_equal(nftw(corpus, corpus_file, 16, FTW_PHYS), 0);
	assert_true(corpus_files > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(generated_documents),
	    cmocka_unit_test(real_projects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
