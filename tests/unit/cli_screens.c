/*
 * Every file of tests/cases/cli/ is something to show and the screens it must give, at each width,
 * with and without colour (see the README there). Besides, what holds for all of them: no line that
 * fits a table is wider than the screen, and without its colours a screen is the plain one.
 */
#include "cli/gpusview.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "cli/tasktable.h"
#include "unit.h"
#include "util/timestamp.h"

#include <dirent.h>
#include <locale.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder;
static bool writing;

/* A terminal nobody looks at: what decides about colour. */
static FILE *open_terminal(int *ret_keeper)
{
	int end;

	assert_int_equal(openpty(ret_keeper, &end, NULL, NULL, NULL), 0);
	return fdopen(end, "w");
}

static int64_t now_of(const json_t *scene)
{
	const char *text = jsonx_get_string(scene, "now", NULL);
	int64_t now = 0;

	if (text)
		assert_int_equal(timestamp_parse(text, &now, NULL), 0);
	return now;
}

static void render(const json_t *scene, unsigned width, bool colour, struct text *text)
{
	const char *view = jsonx_get_string(scene, "view", "");
	const json_t *input = json_object_get(scene, "input");
	int keeper = -1;
	FILE *file = colour ? open_terminal(&keeper) : tmpfile();

	assert_non_null(file);
	if (strcmp(view, "gpus") == 0)
		gpusview_render(input, file, width, text);
	else if (strcmp(view, "tasks") == 0)
		tasktable_render(input, now_of(scene), width, text);
	else if (strcmp(view, "task") == 0)
		tasktable_render_one(input, text);
	else if (strcmp(view, "summary") == 0)
		summary_render(input, width, text);
	else if (strcmp(view, "progress") == 0)
		progress_of_batch(input, jsonx_get_string(scene, "load", ""), width, text);
	else
		fail_msg("no view \"%s\"", view);
	(void)fclose(file);
	if (keeper >= 0)
		close(keeper);
}

static json_t *lines_of(const char *text)
{
	json_t *lines = json_array();
	auto_free char *copy = mem_strdup(text ? text : "");
	char *rest = copy, *line;
	size_t len = strlen(copy);

	if (len > 0 && copy[len - 1] == '\n')
		copy[len - 1] = '\0';
	while ((line = strsep(&rest, "\n")))
		json_array_append_new(lines, json_string(line));
	return lines;
}

/* Escape sequences of the form ESC [ ... m taken out. */
static char *without_colour(const char *text)
{
	char *plain = mem_strdup(text), *to = plain;

	for (const char *p = plain; *p; p++) {
		if (*p == '\033')
			p += strcspn(p, "m");
		else
			*to++ = *p;
	}
	*to = '\0';
	return plain;
}

static void check_lines(const char *name, unsigned width, const json_t *is, const json_t *wanted)
{
	size_t n = json_array_size(is), m = json_array_size(wanted);

	for (size_t i = 0; i < n || i < m; i++) {
		const char *a = json_string_value(json_array_get(is, i));
		const char *b = json_string_value(json_array_get(wanted, i));

		if (!a || !b || strcmp(a, b) != 0)
			fail_msg("%s, %u columns, line %zu:\n  is     \"%s\"\n  wanted \"%s\"",
				 name, width, i + 1, a ? a : "(none)", b ? b : "(none)");
	}
}

static void check_screen(const char *name, const json_t *scene, json_t *screen)
{
	unsigned width = (unsigned)jsonx_get_u64(screen, "width", 80);
	bool colour = jsonx_get_bool(screen, "colour", false);
	auto_text struct text text = {}, plain = {};
	auto_free char *bare = NULL;
	auto_json json_t *lines = NULL;

	render(scene, width, colour, &text);
	assert_non_null(text.data);
	lines = lines_of(text.data);
	if (writing)
		json_object_set(screen, "lines", lines);
	check_lines(name, width, lines, json_object_get(screen, "lines"));
	if (!colour) {
		assert_null(strchr(text.data, '\033'));
		return;
	}
	render(scene, width, false, &plain);
	bare = without_colour(text.data);
	assert_string_equal(bare, plain.data);
	assert_non_null(strchr(text.data, '\033'));
}

/* With NO_COLOR or on a dumb terminal a terminal gets the plain screen too. */
static void check_no_colour(const json_t *scene)
{
	static const char *const settings[][2] = {{"NO_COLOR", "1"}, {"TERM", "dumb"}};

	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		auto_text struct text text = {};

		setenv(settings[i][0], settings[i][1], 1);
		render(scene, 80, true, &text);
		assert_null(strchr(text.data, '\033'));
		unsetenv("NO_COLOR");
		setenv("TERM", "xterm", 1);
	}
}

static void test_screens(void **state)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, NULL, alphasort);
	unsigned screens = 0, coloured = 0;

	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		auto_text struct text path = {};
		auto_json json_t *scene = NULL;
		json_error_t where;
		json_t *screen;
		size_t s;

		if (text_ends_with(name, ".json")) {
			text_printf(&path, "%s/%s", folder, name);
			scene = json_load_file(path.data, 0, &where);
			if (!scene)
				fail_msg("%s:%d: %s", name, where.line, where.text);
			json_array_foreach (json_object_get(scene, "screens"), s, screen) {
				check_screen(name, scene, screen);
				coloured += jsonx_get_bool(screen, "colour", false);
				screens++;
			}
			check_no_colour(scene);
			if (writing)
				assert_int_equal(json_dump_file(scene, path.data, JSON_INDENT(2)),
						 0);
		}
		free(entries[i]);
	}
	free(entries);
	print_message("# %u screens, %u with colour\n", screens, coloured);
	assert_true(screens >= 15 && coloured >= 3);
}

static int setup(void **state)
{
	unsetenv("NO_COLOR");
	unsetenv("COLUMNS");
	setenv("TERM", "xterm", 1);
	(void)setenv("TZ", "UTC", 1);
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_screens)};

	if (argc < 2)
		return 1;
	folder = argv[1];
	writing = argc > 2 && strcmp(argv[2], "--write") == 0;
	return cmocka_run_group_tests(tests, setup, NULL);
}
