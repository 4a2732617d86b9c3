/* See doctorview.h. A line of a machine's file may hold anything: all of it is cleaned before it
 * reaches a terminal. */
#include "cli/doctorview.h"

#include "cli/term.h"

#include <string.h>

#define INDENT      2
#define WRAP_MAX    100 /* prose that is wider is not read */
#define FIX_INDENT  7   /* "  fix: " */
#define STATUS_WIDE 7   /* "skipped" */

struct view {
	FILE *file; /* NULL: it goes into a file, without colours */
	unsigned width;
	bool verbose;
	struct text *text;
};

static const char *begin(const struct view *view, enum term_style style)
{
	return view->file ? term_style(view->file, style) : "";
}

static const char *end(const struct view *view)
{
	return view->file ? term_style_end(view->file) : "";
}

static void add_styled(const struct view *view, enum term_style style, const char *s)
{
	text_printf(view->text, "%s%s%s", begin(view, style), s, end(view));
}

static enum term_style style_of(enum doctor_status status)
{
	switch (status) {
	case DOCTOR_FAIL:
		return TERM_RED;
	case DOCTOR_WARN:
		return TERM_YELLOW;
	case DOCTOR_OK:
		return TERM_GREEN;
	case DOCTOR_SKIPPED:
	case DOCTOR_UNKNOWN:
		break;
	}
	return TERM_DIM;
}

static void add_lines(const struct view *view, const char *lead, const char *lines)
{
	static const char blanks[] = "                ";
	const size_t hang = strlen(lead);
	auto_free char *copy = mem_strdup(lines ? lines : "");
	char *rest = copy;

	for (char *line; (line = strsep(&rest, "\n"));) {
		auto_text struct text whole = {};

		if (!*line)
			continue;
		text_printf(&whole, "%s%s", lead, line);
		term_add_wrapped(view->text, whole.data, hang, view->width);
		/* Once: what follows stands below. */
		lead = blanks + sizeof blanks - 1 - hang;
	}
}

/* A word to people, broken where it is too wide; each piece is a comment to a shell too. */
static void add_word(const struct view *view, const char *word)
{
	const size_t room = view->width > 40 ? view->width - FIX_INDENT : 40;
	bool first = true;

	while (*word) {
		const char *mark = first ? "" : "# ";
		auto_free char *piece = NULL;
		size_t len = strlen(word), most = room - strlen(mark);

		if (len > most) {
			for (len = most; len > 0 && word[len] != ' '; len--)
				;
			len = len > 1 ? len : strcspn(word, " ");
		}
		text_printf(view->text, "%*s%s%s", first ? 0 : FIX_INDENT, "",
			    begin(view, TERM_DIM), mark);
		piece = mem_strndup(word, len);
		term_add_clean(view->text, piece, SIZE_MAX);
		text_printf(view->text, "%s\n", end(view));
		word += len;
		word += strspn(word, " ");
		first = false;
	}
}

/* A command is never broken: it is to be pasted. */
static void add_fix(const struct view *view, const struct strings *fix)
{
	for (size_t i = 0; i < fix->n; i++) {
		text_printf(view->text, "%-*s", FIX_INDENT, i == 0 ? "  fix:" : "");
		if (fix->items[i][0] == '#') {
			add_word(view, fix->items[i]);
			continue;
		}
		text_add(view->text, begin(view, TERM_BOLD));
		term_add_clean(view->text, fix->items[i], SIZE_MAX);
		text_printf(view->text, "%s\n", end(view));
	}
}

static void add_fault(const struct view *view, const struct doctor_result *result, const char *head)
{
	add_styled(view, style_of(result->status), doctor_status_name(result->status));
	text_printf(view->text, " %s", begin(view, TERM_BOLD));
	term_add_clean(view->text, head, SIZE_MAX);
	text_printf(view->text, "%s\n", end(view));
	add_lines(view, "  ", result->evidence.data);
	add_lines(view, "  why: ", result->cause.data);
	add_fix(view, &result->fix);
	text_add(view->text, "\n");
}

static void add_quiet(const struct view *view, const struct doctor_result *result)
{
	text_printf(view->text, "%s%-*s%s ", begin(view, style_of(result->status)), STATUS_WIDE,
		    doctor_status_name(result->status), end(view));
	text_printf(view->text, "%s\n", result->check->id);
	add_lines(view, "        ", result->evidence.data);
}

/* Each group is shown under its name; one of which nothing is to be said is not. */
static void add_group(const struct view *view, const struct doctor_results *results, size_t from,
		      size_t to)
{
	bool any = view->verbose;

	for (size_t i = from; i < to; i++)
		any |= results->items[i].status >= DOCTOR_WARN;
	if (!any)
		return;
	add_styled(view, TERM_DIM, results->items[from].check->group);
	text_add(view->text, "\n");
	for (size_t i = from; i < to; i++)
		if (results->items[i].status >= DOCTOR_WARN)
			add_fault(view, &results->items[i], results->items[i].check->id);
	for (size_t i = from; i < to && view->verbose; i++)
		if (results->items[i].status < DOCTOR_WARN)
			add_quiet(view, &results->items[i]);
	if (view->verbose)
		text_add(view->text, "\n");
}

static void add_sum(const struct view *view, const struct doctor_results *results)
{
	static const struct {
		enum doctor_status status;
		const char *one, *many;
	} kinds[] = {{DOCTOR_FAIL, "failure", "failures"},
		     {DOCTOR_WARN, "warning", "warnings"},
		     {DOCTOR_OK, "ok", "ok"},
		     {DOCTOR_SKIPPED, "does not apply here", "do not apply here"},
		     {DOCTOR_UNKNOWN, "unknown", "unknown"}};
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = doctor_count(results, kinds[i].status);

		if (n == 0)
			continue;
		text_printf(view->text, "%s%s%zu %s%s", any ? ", " : "",
			    begin(view, style_of(kinds[i].status)), n,
			    n == 1 ? kinds[i].one : kinds[i].many, end(view));
		any = true;
	}
	if (any && !view->verbose && doctor_count(results, DOCTOR_OK) < results->n)
		text_add(view->text, " (-v shows all)");
	text_add(view->text, "\n");
}

void doctorview_render(const struct doctor_results *results, bool verbose, FILE *file,
		       unsigned width, struct text *text)
{
	const struct view view = {file, MIN_OF(width, WRAP_MAX), verbose, text};
	size_t first = 0;

	for (size_t i = 1; i <= results->n; i++)
		if (i == results->n || strcmp(results->items[i].check->group,
					      results->items[first].check->group) != 0) {
			add_group(&view, results, first, i);
			first = i;
		}
	add_sum(&view, results);
}

void doctorview_result(const struct doctor_result *result, const char *head, FILE *file,
		       unsigned width, struct text *text)
{
	const struct view view = {file, MIN_OF(width, WRAP_MAX), true, text};

	add_fault(&view, result, head);
}

json_t *doctorview_json(const struct doctor_results *results, enum doctor_purpose purpose)
{
	json_t *json = doctor_to_json(results), *summary = json_object();

	for (enum doctor_status status = DOCTOR_OK; status <= DOCTOR_FAIL; status++)
		(void)json_object_set_new(summary, doctor_status_name(status),
					  json_integer((json_int_t)doctor_count(results, status)));
	(void)json_object_set_new(json, "summary", summary);
	(void)json_object_set_new(json, "for", json_string(doctor_purpose_name(purpose)));
	(void)json_object_set_new(json, "fit",
				  json_boolean(doctor_count(results, DOCTOR_FAIL) == 0));
	return json;
}
