/*
 * What Xids and failures mean: data/xid.yaml, read into three lists. Each row of the file is a flat
 * mapping; which keys it has is a table (of its list), so that a wrong row is told with its place
 * and nothing is read twice. The numbers lie in the file's order: there are some sixty.
 */
#include "doctor/xid.h"

#include "util/paths.h"
#include "util/yamlx.h"

#include <errno.h>
#include <string.h>

#define XID_MAX   9999
#define ROWS_MAX  1000
#define TEXT_MAX  400
#define FIRST_MIN 3 /* a shorter text would be found anywhere */

struct xid_table {
	struct xid_meaning *xids;
	struct xid_meaning events[KERNEL_EVENT_COUNT];
	struct smi_meaning *smi;
	size_t n_xids, n_smi;
};

static const char *const class_names[] = {"application", "hardware", "driver", "information",
					  "consequence"};

const char *xid_class_name(enum xid_class class)
{
	return class_names[class];
}

const char *kernel_event_name(enum kernel_event event)
{
	static const char *const names[KERNEL_EVENT_COUNT] = {
	    [KERNEL_XID] = "xid",
	    [KERNEL_MISMATCH] = "mismatch",
	    [KERNEL_INIT_FAILED] = "init-failed",
	    [KERNEL_OFF_THE_BUS] = "off-the-bus",
	    [KERNEL_NO_FIRMWARE] = "no-firmware",
	};

	return names[event];
}

/* --- reading the file --- */

struct reader {
	const struct yamlx *doc;
	struct xid_table *table;
	const char *const *keys; /* of a row, NULL-terminated; all are needed */
	int (*row)(struct reader *reader, const struct yamlx_node *node, struct error *err);
};

struct words {
	const char *const *names;
	size_t n;
	const char *told; /* all of them, for people */
};

/* The text of a key; printable, so it can be shown as it is. */
static int read_text(const struct reader *reader, const struct yamlx_node *node, const char *key,
		     const char **ret_text, struct error *err)
{
	const struct yamlx_node *value = yamlx_get(node, key);
	int r = yamlx_string(reader->doc, value, ret_text, err);

	if (r < 0)
		return r;
	if (!**ret_text || strlen(*ret_text) > TEXT_MAX)
		return yamlx_error(reader->doc, value, -EINVAL, err, "`%s` has 1 to %d characters",
				   key, TEXT_MAX);
	for (const unsigned char *p = (const unsigned char *)*ret_text; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			return yamlx_error(reader->doc, value, -EINVAL, err,
					   "`%s` holds control characters", key);
	return 0;
}

/* The index of the word that a key has among its names. */
static int read_word(const struct reader *reader, const struct yamlx_node *node, const char *key,
		     const struct words *words, struct error *err)
{
	const char *name;
	int r = read_text(reader, node, key, &name, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < words->n; i++)
		if (strcmp(words->names[i], name) == 0)
			return (int)i;
	return yamlx_error(reader->doc, yamlx_get(node, key), -EINVAL, err,
			   "`%s` is %s, not \"%.64s\"", key, words->told, name);
}

static int read_class(const struct reader *reader, const struct yamlx_node *node,
		      enum xid_class *ret_class, struct error *err)
{
	static const struct words words = {
	    class_names, ARRAY_LEN(class_names),
	    "application, hardware, driver, information or consequence"};
	int r = read_word(reader, node, "class", &words, err);

	if (r < 0)
		return r;
	*ret_class = (enum xid_class)r;
	return 0;
}

static int read_way(const struct reader *reader, const struct yamlx_node *node,
		    enum xid_way *ret_way, struct error *err)
{
	static const char *const names[] = {"none", "reset", "reboot", "power-cycle"};
	static const struct words words = {names, ARRAY_LEN(names),
					   "none, reset, reboot or power-cycle"};
	int r = read_word(reader, node, "way", &words, err);

	if (r < 0)
		return r;
	*ret_way = (enum xid_way)r;
	return 0;
}

/* What rows of Xids and of events share. */
static int read_meaning(const struct reader *reader, const struct yamlx_node *node,
			struct xid_meaning *ret_meaning, struct error *err)
{
	struct xid_meaning meaning = {};
	const char *text, *action;
	int r = read_class(reader, node, &meaning.class, err);

	if (r == 0)
		r = read_way(reader, node, &meaning.way, err);
	if (r == 0)
		r = yamlx_bool(reader->doc, yamlx_get(node, "page"), &meaning.page, err);
	if (r == 0)
		r = read_text(reader, node, "meaning", &text, err);
	if (r == 0)
		r = read_text(reader, node, "action", &action, err);
	if (r < 0)
		return r;
	meaning.meaning = mem_strdup(text);
	meaning.action = mem_strdup(action);
	*ret_meaning = meaning;
	return 0;
}

static int read_xid(struct reader *reader, const struct yamlx_node *node, struct error *err)
{
	const struct yamlx_node *value = yamlx_get(node, "xid");
	struct xid_table *table = reader->table;
	unsigned long long xid;
	const char *text;
	int r = read_text(reader, node, "xid", &text, err);

	if (r < 0)
		return r;
	if (!text_to_u64(text, 1, XID_MAX, &xid))
		return yamlx_error(reader->doc, value, -EINVAL, err,
				   "`xid` is a number from 1 to %d, not \"%.32s\"", XID_MAX, text);
	if (xid_table_find(table, (unsigned)xid))
		return yamlx_error(reader->doc, value, -EINVAL, err, "Xid %llu is there twice",
				   xid);
	r = read_meaning(reader, node, &table->xids[table->n_xids], err);
	if (r < 0)
		return r;
	table->xids[table->n_xids++].xid = (unsigned)xid;
	return 0;
}

static int read_event(struct reader *reader, const struct yamlx_node *node, struct error *err)
{
	const struct yamlx_node *value = yamlx_get(node, "event");
	const char *name;
	int r = read_text(reader, node, "event", &name, err);

	if (r < 0)
		return r;
	for (unsigned i = KERNEL_XID + 1; i < KERNEL_EVENT_COUNT; i++) {
		struct xid_meaning *meaning = &reader->table->events[i];

		if (strcmp(kernel_event_name(i), name) != 0)
			continue;
		if (meaning->meaning)
			return yamlx_error(reader->doc, value, -EINVAL, err,
					   "\"%s\" is there twice", name);
		return read_meaning(reader, node, meaning, err);
	}
	return yamlx_error(reader->doc, value, -EINVAL, err,
			   "`event` is mismatch, init-failed, off-the-bus or no-firmware, not "
			   "\"%.64s\"",
			   name);
}

static int read_smi(struct reader *reader, const struct yamlx_node *node, struct error *err)
{
	static const char *const keys[] = {"id", "text", "meaning", "action"};
	const char *values[ARRAY_LEN(keys)];
	enum xid_class class;
	int r = read_class(reader, node, &class, err);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(keys); i++)
		r = read_text(reader, node, keys[i], &values[i], err);
	if (r < 0)
		return r;
	if (strcspn(values[1], "*") < FIRST_MIN)
		return yamlx_error(reader->doc, yamlx_get(node, "text"), -EINVAL, err,
				   "`text` begins with at least %d characters that are no `*`",
				   FIRST_MIN);
	reader->table->smi[reader->table->n_smi++] = (struct smi_meaning){
	    .id = mem_strdup(values[0]),
	    .text = mem_strdup(values[1]),
	    .meaning = mem_strdup(values[2]),
	    .action = mem_strdup(values[3]),
	    .class = class,
	};
	return 0;
}

static int read_rows(struct reader *reader, const struct yamlx_node *rows, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < rows->n; i++) {
		const struct yamlx_node *node = rows->items[i];
		const char *source;

		if (node->type != YAMLX_MAPPING)
			return yamlx_error(reader->doc, node, -EINVAL, err,
					   "a mapping is expected");
		r = yamlx_check_keys(reader->doc, node, reader->keys, err);
		for (const char *const *key = reader->keys; r == 0 && *key; key++)
			if (!yamlx_get(node, *key))
				r = yamlx_error(reader->doc, node, -EINVAL, err,
						"\"%s\" is missing", *key);
		if (r == 0)
			r = read_text(reader, node, "source", &source, err);
		if (r == 0)
			r = reader->row(reader, node, err);
	}
	return r;
}

static int check_version(const struct yamlx *doc, struct error *err)
{
	const struct yamlx_node *version = yamlx_get(doc->root, "version");

	if (version && version->type == YAMLX_SCALAR && strcmp(version->text, "1") == 0)
		return 0;
	return yamlx_error(doc, version ? version : doc->root, -EINVAL, err,
			   "`version: 1` is expected: this file is of another plimsoll");
}

static int read_table(const struct yamlx *doc, struct xid_table *table, struct error *err)
{
	static const char *const keys[] = {"version", "xids", "events", "smi", NULL};
	static const char *const of_xid[] = {"xid",    "class",  "page", "way", "meaning",
					     "action", "source", "date", NULL};
	static const char *const of_event[] = {"event",  "class",  "page", "way", "meaning",
					       "action", "source", "date", NULL};
	static const char *const of_smi[] = {"id",     "text",   "class", "meaning",
					     "action", "source", "date",  NULL};
	struct reader readers[] = {
	    {doc, table, of_xid, read_xid},
	    {doc, table, of_event, read_event},
	    {doc, table, of_smi, read_smi},
	};
	int r = doc->root->type == YAMLX_MAPPING
		    ? yamlx_check_keys(doc, doc->root, keys, err)
		    : yamlx_error(doc, doc->root, -EINVAL, err, "a mapping is expected");

	if (r == 0)
		r = check_version(doc, err);
	table->xids = mem_calloc(ROWS_MAX, sizeof *table->xids);
	table->smi = mem_calloc(ROWS_MAX, sizeof *table->smi);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(readers); i++) {
		const struct yamlx_node *rows = yamlx_get(doc->root, keys[i + 1]);

		if (!rows || rows->type != YAMLX_SEQUENCE || rows->n > ROWS_MAX)
			return yamlx_error(doc, rows ? rows : doc->root, -EINVAL, err,
					   "`%s` is a list of at most %d", keys[i + 1], ROWS_MAX);
		r = read_rows(&readers[i], rows, err);
	}
	for (unsigned i = KERNEL_XID + 1; r == 0 && i < KERNEL_EVENT_COUNT; i++)
		if (!table->events[i].meaning)
			r = yamlx_error(doc, yamlx_get(doc->root, "events"), -EINVAL, err,
					"\"%s\" is missing", kernel_event_name(i));
	return r;
}

int xid_table_load(const char *path, struct xid_table **ret_table, struct error *err)
{
	auto_xid_table struct xid_table *table = NULL;
	auto_yamlx struct yamlx *doc = NULL;
	auto_free char *found = NULL;
	int r = path ? 0 : paths_find_data("xid.yaml", &found, err);

	if (r == 0)
		r = yamlx_load(path ? path : found, &doc, err);
	if (r < 0)
		return r;
	table = mem_calloc(1, sizeof *table);
	r = read_table(doc, table, err);
	if (r < 0)
		return r;
	*ret_table = TAKE(table);
	return 0;
}

void xid_table_destroy(struct xid_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->n_xids; i++) {
		free(table->xids[i].meaning);
		free(table->xids[i].action);
	}
	for (size_t i = 0; i < KERNEL_EVENT_COUNT; i++) {
		free(table->events[i].meaning);
		free(table->events[i].action);
	}
	for (size_t i = 0; i < table->n_smi; i++) {
		free(table->smi[i].id);
		free(table->smi[i].text);
		free(table->smi[i].meaning);
		free(table->smi[i].action);
	}
	free(table->xids);
	free(table->smi);
	free(table);
}

/* --- asking it --- */

const struct xid_meaning *xid_table_find(const struct xid_table *table, unsigned xid)
{
	for (size_t i = 0; i < table->n_xids; i++)
		if (table->xids[i].xid == xid)
			return &table->xids[i];
	return NULL;
}

const struct xid_meaning *xid_table_of_line(const struct xid_table *table,
					    const struct kernel_line *line)
{
	return line->event == KERNEL_XID ? xid_table_find(table, line->xid)
					 : &table->events[line->event];
}

/* Is `text` in the line, its parts (between `*`) in their order? The first place of each part is
 * the best one, so no way back is needed. */
static bool line_has(const char *line, const char *text)
{
	while (*text) {
		auto_free char *part = mem_strndup(text, strcspn(text, "*"));

		line = strcasestr(line, part);
		if (!line)
			return false;
		line += strlen(part);
		text += strlen(part);
		text += *text == '*';
	}
	return true;
}

static bool output_has(const char *output, const char *text)
{
	while (*output) {
		size_t len = strcspn(output, "\n");
		auto_free char *line = mem_strndup(output, len);

		if (line_has(line, text))
			return true;
		output += len + (output[len] == '\n');
	}
	return false;
}

const struct smi_meaning *smi_meaning(const struct xid_table *table, const char *output)
{
	for (size_t i = 0; i < table->n_smi; i++)
		if (output_has(output, table->smi[i].text))
			return &table->smi[i];
	return NULL;
}
