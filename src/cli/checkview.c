/*
 * The screen of `check`. A finding begins as compilers' messages do (FILE:LINE:COLUMN: severity),
 * which editors know how to follow. What is wrong gets its line of the file with a mark under it;
 * notes are told in a line or two, after that. Files hold whatever they hold: all of theirs is
 * cleaned before it reaches a terminal.
 */
#include "cli/checkview.h"

#include "cli/table.h"
#include "cli/term.h"
#include "util/size.h"

#include <string.h>

#define INDENT      2
#define EXCERPT_MIN 24  /* columns a line of a file gets, however narrow the screen is */
#define EXCERPT_MAX 240 /* and however wide: a file may be one line */
#define LETTER_MAX  16  /* bytes a column may take, accents included: more is not looked at */
#define SHOWN_MAX   500 /* findings with their line, and notes: nobody reads more on a screen */

struct view {
	FILE *file;
	unsigned width;
	struct text *text;
};

static void add_styled(const struct view *view, enum term_style style, const char *s)
{
	text_printf(view->text, "%s%s%s", term_style(view->file, style), s,
		    term_style_end(view->file));
}

/* Where each service goes. */

static void add_gpus(const struct stack *stack, const struct stack_service *service,
		     struct text *text)
{
	if (!service->assigned_known) {
		text_add(text, "?");
		return;
	}
	stack_add_gpus(stack, service->assigned, service->n_assigned, ",", text);
	if (service->n_assigned == 0)
		text_add(text, "-");
}

static void add_reason(const struct stack_service *service, struct text *text)
{
	const struct compose_request *decides = service->gpus->decides;
	const struct compose_value *value = decides->n_values > 0 ? &decides->values[0] : NULL;
	const char *variable = value ? value->variable : NULL;

	switch (compose_request_source(decides)) {
	case COMPOSE_LITERAL:
		text_add(text, "written there");
		break;
	case COMPOSE_SHELL:
		text_printf(text, "%s of the shell", variable);
		break;
	case COMPOSE_ENV_FILE:
		text_printf(text, "%s of %s", variable,
			    value && value->assignment && value->assignment->span.file
				? value->assignment->span.file->shown
				: "an env file");
		break;
	case COMPOSE_DEFAULT:
		text_printf(text, "default of %s", variable);
		break;
	case COMPOSE_COMMENTED:
		text_printf(text, "commented-out %s", variable);
		break;
	case COMPOSE_ABSENT:
	case COMPOSE_SOURCE_COUNT:
		text_add(text, decides->by_image ? "the image's own" : "nothing says it");
		break;
	}
}

static void add_assignments(const struct view *view, const struct stack *stack)
{
	static const struct table_column columns[] = {
	    {"SERVICE", .shrinks = true}, {"GPU"},
	    {"NEEDS", .right = true},     {"BECAUSE OF", .shrinks = true},
	    {"AT", .wide_only = true},
	};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];
		auto_text struct text gpus = {}, reason = {}, place = {};
		struct compose_span span;
		unsigned line = 0, column;

		if (!service->wants_gpu)
			continue;
		span = compose_request_place(service->gpus->decides);
		add_gpus(stack, service, &gpus);
		add_reason(service, &reason);
		if (span.file) {
			compose_file_position(span.file, span.begin, &line, &column);
			text_printf(&place, "%s:%u", span.file->shown, line);
		}
		table_add(table, "%s", service->service->name);
		table_add(table, "%s", gpus.data);
		table_add(table, "%s",
			  service->vram_known ? SIZE_TEXT(service->vram_bytes) : "unknown");
		table_add(table, "%s", reason.data);
		table_add(table, "%s", place.data ? place.data : "");
	}
	table_render(table, view->width, view->text);
	if (view->text->len > 0)
		text_add(view->text, "\n");
}

/* One finding. */

/* The line of the file, and which of its bytes are meant. */
struct excerpt {
	const char *line;
	size_t len, begin, end;
};

static struct excerpt excerpt_of(const struct finding *finding, unsigned room)
{
	const struct compose_file *file = finding->span.file;
	size_t from = file->lines[finding->line - 1];
	const char *line = file->text + from;
	/* A file may be one line: of what comes after the mark only what can be shown counts. */
	const size_t most = finding->span.begin - from + 2 * (size_t)room * LETTER_MAX;
	struct excerpt excerpt = {.line = line, .len = MIN_OF(most, file->len - from)};
	const char *end = memchr(line, '\n', excerpt.len);

	excerpt.len = end ? (size_t)(end - line) : excerpt.len;
	if (excerpt.len > 0 && line[excerpt.len - 1] == '\r')
		excerpt.len--;
	excerpt.begin = MIN_OF(finding->span.begin - from, excerpt.len);
	excerpt.end = MIN_OF(finding->span.end - from, excerpt.len);
	excerpt.end = MIN_OF(excerpt.end, excerpt.begin + (size_t)room * LETTER_MAX);
	/* Of something longer than its line the line is meant, not the blanks it ends with. */
	while (excerpt.end > excerpt.begin + 1 && excerpt.line[excerpt.end - 1] == ' ')
		excerpt.end--;
	return excerpt;
}

static size_t columns_of(const char *s, size_t len)
{
	auto_free char *copy = mem_strndup(s, len);

	for (char *p = copy; *p; p++)
		if (*p == '\t')
			*p = ' ';
	return text_columns(copy);
}

static bool is_inside_letter(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Where to begin so that the mark is on the screen: at the first letter, or what is common to the
 * left of a long line is left out. */
static size_t first_shown(const struct excerpt *excerpt, unsigned room)
{
	const size_t most = room - room / 4;
	const size_t least = excerpt->begin - MIN_OF(excerpt->begin, (size_t)room * LETTER_MAX);
	size_t at = excerpt->begin;
	size_t columns = columns_of(excerpt->line + at, excerpt->end - at);

	while (at > least && columns <= most) {
		size_t before = at - 1;

		while (before > 0 && is_inside_letter(excerpt->line[before]))
			before--;
		columns += columns_of(excerpt->line + before, at - before);
		if (columns <= most)
			at = before;
	}
	return at;
}

static void add_excerpt(const struct view *view, const struct finding *finding)
{
	const unsigned gutter = (unsigned)snprintf(NULL, 0, "%5u | ", finding->line);
	const unsigned width = MIN_OF(view->width, gutter + EXCERPT_MAX);
	const unsigned room = MAX_OF(width, gutter + EXCERPT_MIN) - gutter;
	const struct excerpt excerpt = excerpt_of(finding, room);
	const size_t from = first_shown(&excerpt, room);
	auto_free char *line =
	    mem_strndup(excerpt.line + from,
			MIN_OF(excerpt.len - from, excerpt.end - from + (size_t)room * LETTER_MAX));
	size_t marks;

	for (char *p = line; *p; p++)
		if (*p == '\t')
			*p = ' ';
	text_printf(view->text, "%s%5u | %s", term_style(view->file, TERM_DIM), finding->line,
		    term_style_end(view->file));
	term_add_clean(view->text, line, room);
	marks = columns_of(excerpt.line + excerpt.begin, excerpt.end - excerpt.begin);
	text_printf(view->text, "\n%s      | %s%*s", term_style(view->file, TERM_DIM),
		    term_style_end(view->file),
		    (int)columns_of(excerpt.line + from, excerpt.begin - from), "");
	text_add(view->text, term_style(view->file, TERM_GREEN));
	text_add(view->text, "^");
	for (size_t i = 1; i < MIN_OF(marks, room); i++)
		text_add(view->text, "~");
	text_printf(view->text, "%s\n", term_style_end(view->file));
}

static enum term_style style_of(enum finding_severity severity)
{
	return severity == FINDING_ERROR     ? TERM_RED
	       : severity == FINDING_WARNING ? TERM_YELLOW
					     : TERM_PLAIN;
}

static void add_prose(const struct view *view, const char *lead, const char *prose)
{
	auto_text struct text line = {};

	text_add(&line, lead);
	term_add_clean(&line, prose, SIZE_MAX);
	term_add_wrapped(view->text, line.data, INDENT, view->width);
}

static void add_finding(const struct view *view, const struct finding *finding)
{
	auto_text struct text lead = {};

	if (finding->span.file)
		text_printf(&lead, "%s:%u:%u: ", finding->span.file->shown, finding->line,
			    finding->column);
	add_styled(view, TERM_BOLD, lead.data ? lead.data : "");
	text_printf(view->text, "%s%s%s", term_style(view->file, style_of(finding->severity)),
		    finding_severity_name(finding->severity), term_style_end(view->file));
	add_styled(view, TERM_DIM, " [");
	add_styled(view, TERM_DIM, finding->code);
	add_styled(view, TERM_DIM, "]\n");
	add_prose(view, "  ", finding->message);
	if (finding->span.file)
		add_excerpt(view, finding);
	if (finding->fix)
		add_prose(view, "  fix: ", finding->fix);
	text_add(view->text, "\n");
}

/* Habits that work: a line or two each, after what does not. */
static void add_note(const struct view *view, const struct finding *finding)
{
	auto_text struct text lead = {};

	if (finding->span.file)
		text_printf(&lead, "%s:%u:%u: ", finding->span.file->shown, finding->line,
			    finding->column);
	text_printf(&lead, "note [%s] ", finding->code);
	add_prose(view, lead.data, finding->message);
	if (finding->fix)
		add_prose(view, "  fix: ", finding->fix);
}

static void add_sum(const struct view *view, const struct findings *findings)
{
	static const struct {
		enum finding_severity severity;
		const char *name;
	} kinds[] = {
	    {FINDING_ERROR, "error"}, {FINDING_WARNING, "warning"}, {FINDING_INFO, "note"}};
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = findings_count(findings, kinds[i].severity);

		if (n == 0)
			continue;
		text_printf(view->text, "%s%s%zu %s%s%s", any ? ", " : "",
			    term_style(view->file, style_of(kinds[i].severity)), n, kinds[i].name,
			    PLURAL(n), term_style_end(view->file));
		any = true;
	}
	if (!any)
		add_styled(view, TERM_GREEN, "nothing found");
	if (findings->n_suppressed > 0)
		text_printf(view->text, " (%zu silenced by comments)", findings->n_suppressed);
	text_add(view->text, "\n");
}

static void add_rest(const struct view *view, size_t n)
{
	if (n > SHOWN_MAX)
		text_printf(view->text, "... and %zu more; --format json has all of them\n\n",
			    n - SHOWN_MAX);
}

/* In the order of the files; where there are too many to show, errors first. */
static void add_findings(const struct view *view, const struct findings *findings)
{
	const size_t n_errors = findings_count(findings, FINDING_ERROR);
	const size_t n = n_errors + findings_count(findings, FINDING_WARNING);
	size_t shown = 0;

	for (int pass = 0; pass < (n > SHOWN_MAX ? 2 : 1); pass++)
		for (size_t i = 0; i < findings->n && shown < SHOWN_MAX; i++) {
			const enum finding_severity severity = findings->items[i].severity;

			if (severity == FINDING_INFO ||
			    (n > SHOWN_MAX && (severity == FINDING_ERROR) != (pass == 0)))
				continue;
			add_finding(view, &findings->items[i]);
			shown++;
		}
	add_rest(view, n);
}

static void add_notes(const struct view *view, const struct findings *findings)
{
	size_t n = 0;

	for (size_t i = 0; i < findings->n; i++)
		if (findings->items[i].severity == FINDING_INFO && n++ < SHOWN_MAX)
			add_note(view, &findings->items[i]);
	add_rest(view, n);
}

void checkview_render(const struct stack *stack, const struct findings *findings, FILE *file,
		      unsigned width, struct text *text)
{
	const struct view view = {file, width, text};

	add_assignments(&view, stack);
	if (text->len == 0) {
		text_add(text, "No service of this project asks for a GPU");
		if (findings->n == 0 && findings->n_suppressed == 0) {
			text_add(text, "; nothing found.\n");
			return;
		}
		text_add(text, ".\n\n");
	}
	add_findings(&view, findings);
	add_notes(&view, findings);
	if (findings_count(findings, FINDING_INFO) > 0)
		text_add(text, "\n");
	add_sum(&view, findings);
}
