/*
 * See assign_print.h. Scalars are quoted only where they would mean something else without; a
 * variable stays as it was written.
 */
#include "compose/assign_print.h"

#include <string.h>
#include <strings.h>

char assign_print_quote(const struct compose_file *file)
{
	size_t singles = 0, doubles = 0;

	for (size_t i = 0; i < file->len; i++) {
		singles += file->text[i] == '\'';
		doubles += file->text[i] == '"';
	}
	return singles > doubles ? '\'' : '"';
}

bool assign_print_needs_quotes(const char *text)
{
	static const char *const words[] = {"",   "~",  "null", "true", "false", "yes",
					    "no", "on", "off",  "y",    "n",     "<<"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	if (strchr("0123456789-+.!&*?|>@`%'\"#", *text) || strpbrk(text, ",[]{}\n\t\\"))
		return true;
	return strstr(text, ": ") || strstr(text, " #") || text[strlen(text) - 1] == ':' ||
	       text[strlen(text) - 1] == ' ';
}

void assign_print_scalar(struct text *out, const char *text, char quote)
{
	if (!quote && assign_print_needs_quotes(text))
		quote = strpbrk(text, "\n\t\r\\") ? '"' : '\'';
	if (!quote) {
		text_add(out, text);
		return;
	}
	text_add_bytes(out, &quote, 1);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (quote == '\'')
			text_add(out, c == '\'' ? "''" : (char[]){*text, '\0'});
		else if (c == '"' || c == '\\')
			text_printf(out, "\\%c", c);
		else if (c < ' ')
			text_printf(out, "\\x%02x", c);
		else
			text_add_bytes(out, text, 1);
	}
	text_add_bytes(out, &quote, 1);
}

void assign_print_ids(struct text *out, const char *const *ids, size_t n, char quote)
{
	text_add(out, "[");
	for (size_t i = 0; i < n; i++) {
		text_add(out, i ? ", " : "");
		assign_print_scalar(out, ids[i], quote);
	}
	text_add(out, "]");
}

/* In flow style, as the template was. */
static void add_collection(struct text *out, const struct compose_node *node)
{
	bool is_map = node->type == COMPOSE_MAP;

	text_add(out, is_map ? "{" : "[");
	for (size_t i = 0; i < node->n; i++) {
		text_add(out, i ? ", " : "");
		if (is_map) {
			assign_print_scalar(out, node->entries[i].key, '\0');
			text_add(out, ": ");
		}
		assign_print_node(out, is_map ? node->entries[i].value : node->items[i]);
	}
	text_add(out, is_map ? "}" : "]");
}

void assign_print_node(struct text *out, const struct compose_node *node)
{
	if (node->mark != COMPOSE_UNMARKED)
		text_add(out, node->mark == COMPOSE_RESET ? "!reset " : "!override ");
	if (node->type == COMPOSE_MAP || node->type == COMPOSE_LIST)
		add_collection(out, node);
	else if (node->type == COMPOSE_NULL)
		text_add(out, "null");
	else if (node->style == COMPOSE_PLAIN && node->exact && !strpbrk(node->raw, ",[]{}"))
		text_add(out, node->raw);
	else
		assign_print_scalar(out, node->raw,
				    node->style == COMPOSE_SINGLE   ? '\''
				    : node->style == COMPOSE_DOUBLE ? '"'
								    : '\0');
}

/* Maps, and lists of maps, are written in block style where that goes; the rest in one line. */
static bool is_blocky(const struct compose_node *node)
{
	if (node->type == COMPOSE_LIST)
		return node->n > 0 && node->items[0]->type == COMPOSE_MAP && node->items[0]->n > 0;
	return node->type == COMPOSE_MAP && node->n > 0;
}

static void add_entries(struct text *out, const struct compose_node *map, int indent,
			const char *newline, const char *first)
{
	for (size_t i = 0; i < map->n; i++) {
		text_printf(out, "%s%*s%s", newline, indent, "", i == 0 ? first : "");
		if (i == 0)
			indent += (int)strlen(first);
		assign_print_scalar(out, map->entries[i].key, '\0');
		text_add(out, ":");
		assign_print_block(out, map->entries[i].value, indent + ASSIGN_STEP, newline);
	}
}

void assign_print_block(struct text *out, const struct compose_node *node, int indent,
			const char *newline)
{
	if (!is_blocky(node)) {
		text_add(out, " ");
		assign_print_node(out, node);
		return;
	}
	if (node->mark != COMPOSE_UNMARKED)
		text_add(out, node->mark == COMPOSE_RESET ? " !reset" : " !override");
	if (node->type == COMPOSE_MAP)
		add_entries(out, node, indent, newline, "");
	for (size_t i = 0; node->type == COMPOSE_LIST && i < node->n; i++) {
		if (is_blocky(node->items[i]) && node->items[i]->type == COMPOSE_MAP) {
			add_entries(out, node->items[i], indent, newline, "- ");
			continue;
		}
		text_printf(out, "%s%*s- ", newline, indent, "");
		assign_print_node(out, node->items[i]);
	}
}
