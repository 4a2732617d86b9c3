/*
 * See topview.h. The screen from above: one headline, the GPUs (one line each, one more for what is
 * to be called out and for services and foreign processes; on a tall screen each of those has its
 * own line), the tasks, one line of keys. When it is low, the GPUs get at most half of it.
 */
#include "cli/topview.h"

#include "cli/gpusview.h"
#include "cli/summary.h"
#include "cli/table.h"
#include "cli/tasktable.h"
#include "cli/term.h"

#include <ncurses.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIR_BAD = 1, PAIR_WARN, PAIR_GOOD, PAIR_HEAD };

#define KEYS "arrows move  Enter detail  k cancel  s sort  / filter  ? help  q quit"

#define TALL_LINES    30
#define HOLDERS_SHOWN 5 /* of one GPU */
#define PIDS_SHOWN    4

static const char help_text[] =
    "plimsoll top\n"
    "\n"
    "  up, down, PgUp, PgDn   move through the tasks\n"
    "  Enter                  everything about the selected task, and why\n"
    "  k                      cancel the selected task (asks first)\n"
    "  s                      sort by state, id, name, VRAM, time\n"
    "  /                      show only tasks with this in name, kind or state,\n"
    "                         or a batch (b3); Esc shows all again\n"
    "  q                      quit; tasks run on\n"
    "\n"
    "The bar of a GPU is its memory: # is used, | is its load line.\n"
    "Nothing is ever started above it.\n"
    "\n"
    "Any key goes back.\n";

void topview_init(void)
{
	const char *no_color = getenv("NO_COLOR");

	if ((no_color && *no_color) || !has_colors())
		return;
	(void)start_color();
	(void)use_default_colors();
	(void)init_pair(PAIR_BAD, COLOR_RED, -1);
	(void)init_pair(PAIR_WARN, COLOR_YELLOW, -1);
	(void)init_pair(PAIR_GOOD, COLOR_GREEN, -1);
	(void)init_pair(PAIR_HEAD, COLOR_CYAN, -1);
}

static bool is_tall(void)
{
	return LINES >= TALL_LINES;
}

/* One line, cut to the screen, cleared to its end. */
static void put_line(int y, attr_t attributes, const char *line)
{
	auto_text struct text clean = {};

	if (y < 0 || y >= LINES)
		return;
	term_add_clean(&clean, line, (size_t)MAX_OF(COLS - 1, 1));
	(void)attrset(attributes);
	(void)mvaddstr(y, 0, clean.data ? clean.data : "");
	if (attributes & A_REVERSE)
		for (size_t x = text_columns(clean.data ? clean.data : ""); x < (size_t)COLS; x++)
			(void)addch(' ');
	(void)attrset(A_NORMAL);
	(void)clrtoeol();
}

static unsigned count_state(const json_t *tasks, const char *state)
{
	unsigned n = 0;
	const json_t *task;
	size_t i;

	json_array_foreach (tasks, i, task)
		n += strcmp(jsonx_get_string(task, "state", ""), state) == 0;
	return n;
}

static void draw_headline(const struct top *top)
{
	const json_t *tasks = json_object_get(top->tasks, "tasks");
	const char *source = jsonx_get_string(top->gpus, "source", "asking"), *words;
	auto_text struct text line = {};
	time_t seconds = (time_t)(top->now_ms / 1000);
	struct tm local = {};
	char when[16];

	(void)localtime_r(&seconds, &local);
	(void)strftime(when, sizeof when, "%H:%M:%S", &local);
	text_printf(&line, "plimsoll %s  %u running, %u waiting", when,
		    count_state(tasks, "running") + count_state(tasks, "starting"),
		    count_state(tasks, "waiting") + count_state(tasks, "held"));
	text_printf(&line, "  sorted by %s", toptasks_sort_name(top->sort));
	if (top->filter[0])
		text_printf(&line, ", only \"%s\"", top->filter);
	words = jsonx_get_string(top->gpus, "text", "");
	if (strcmp(source, "ok") != 0)
		text_printf(&line, "  GPUs: %s %s", source, words);
	put_line(0,
		 strcmp(source, "ok") == 0 ? COLOR_PAIR(PAIR_HEAD) | A_BOLD
					   : COLOR_PAIR(PAIR_BAD) | A_BOLD,
		 line.data);
}

static attr_t note_attributes(enum gpusview_note note)
{
	switch (note) {
	case GPUSVIEW_SICK:
	case GPUSVIEW_CRITICAL:
		return COLOR_PAIR(PAIR_BAD) | A_BOLD;
	case GPUSVIEW_CLOSED:
	case GPUSVIEW_IDLE:
		return COLOR_PAIR(PAIR_WARN);
	case GPUSVIEW_NONE:
		break;
	}
	return A_NORMAL;
}

static void draw_gpu(const struct top *top, size_t i, int y)
{
	const json_t *gpu = json_array_get(json_object_get(top->gpus, "gpus"), i);
	const json_t *vram = json_object_get(gpu, "vram");
	auto_text struct text left = {}, right = {}, line = {}, words = {};
	enum gpusview_note note = gpusview_note(top->gpus, i, &words);
	size_t name = COLS >= 110 ? 30 : 15, bar;
	const char *model = summary_short_name(jsonx_get_string(gpu, "name", "?"));
	char a[32], b[32], c[32], d[32];

	text_printf(&left, "%2llu ", (unsigned long long)jsonx_get_u64(gpu, "index", 0));
	term_add_clean(&left, model, name);
	text_printf(&left, "%*s ", (int)(name + 3 - MIN_OF(text_columns(left.data), name + 3)), "");
	text_printf(&right, " %s/%sG room %s", gpusview_gib(vram, "used_bytes", a),
		    gpusview_gib(vram, "total_bytes", b), gpusview_gib(vram, "room_bytes", c));
	text_printf(&right, " %5s %4s %5s", gpusview_measure(gpu, "utilization_percent", a),
		    gpusview_measure(gpu, "temperature_celsius", b),
		    gpusview_measure(gpu, "power_milliwatts", d));
	bar = (size_t)MAX_OF(COLS - (int)text_columns(left.data) - (int)right.len - 4, 6);
	text_printf(&line, "%s[", left.data);
	gpusview_bar(vram, (unsigned)MIN_OF(bar, (size_t)100), &line);
	text_printf(&line, "]%s", right.data);
	put_line(y, note_attributes(note), line.data);
}

static bool is_ours(const json_t *holder)
{
	return strcmp(jsonx_get_string(holder, "kind", ""), "task") == 0;
}

/* "foreign python3 2.0G" */
static void add_holder(const json_t *holder, struct text *line)
{
	char gib[32];

	text_printf(line, "%s %s %sG", jsonx_get_string(holder, "kind", "?"),
		    jsonx_get_string(holder, "name", "?"), gpusview_gib(holder, "used_bytes", gib));
}

/* Those that are not ours, a line each; returns the next line. */
static int draw_holders(const json_t *holders, int y, int limit)
{
	const json_t *holder, *pid;
	unsigned shown = 0;
	size_t i, k;

	json_array_foreach (holders, i, holder) {
		auto_text struct text line = {};

		if (is_ours(holder) || y >= limit || shown == HOLDERS_SHOWN)
			continue;
		text_add(&line, "     ");
		add_holder(holder, &line);
		json_array_foreach (json_object_get(holder, "pids"), k, pid)
			if (k < PIDS_SHOWN)
				text_printf(&line, "%s%lld", k ? " " : "  pid ",
					    (long long)json_integer_value(pid));
		put_line(y++, A_DIM, line.data);
		shown++;
	}
	return y;
}

/* Who else is on it, and what is to be called out: one line, or none (false). */
static bool draw_gpu_note(const struct top *top, size_t i, int y)
{
	const json_t *gpu = json_array_get(json_object_get(top->gpus, "gpus"), i), *holder;
	auto_text struct text words = {}, line = {};
	enum gpusview_note note = gpusview_note(top->gpus, i, &words);
	size_t k;

	if (note == GPUSVIEW_SICK)
		text_printf(&line, "   %s: %s ", jsonx_get_string(gpu, "health", "?"), words.data);
	else if (note != GPUSVIEW_NONE)
		text_printf(&line, "   %s: %s ", gpusview_note_name(note), words.data);
	json_array_foreach (json_object_get(gpu, "holders"), k, holder) {
		if (is_ours(holder) || is_tall())
			continue;
		text_add(&line, line.len > 0 ? "  " : "     ");
		add_holder(holder, &line);
	}
	if (line.len == 0)
		return false;
	put_line(y, note == GPUSVIEW_NONE ? A_DIM : note_attributes(note), line.data);
	return true;
}

/* Returns the first line below the GPUs. */
static int draw_gpus(const struct top *top)
{
	const json_t *gpus = json_object_get(top->gpus, "gpus");
	size_t n = json_array_size(gpus);
	int y = 1, limit = MAX_OF(LINES / 2, 2);

	for (size_t i = 0; i < n && y < limit; i++) {
		draw_gpu(top, i, y++);
		if (y < limit && draw_gpu_note(top, i, y))
			y++;
		if (is_tall())
			y = draw_holders(json_object_get(json_array_get(gpus, i), "holders"), y,
					 limit);
	}
	return y;
}

static void render_tasks(const json_t *const *items, size_t n, int64_t now_ms, struct text *text)
{
	auto_json json_t *shown = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append(shown, (json_t *)(uintptr_t)items[i]);
	tasktable_render(shown, now_ms, (unsigned)MAX_OF(COLS - 1, 20), text);
}

/* Where the bar stands. It stays on a task that was chosen, wherever that one is sorted to. */
static size_t find_selected(struct top *top, const json_t *const *items, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n && top->selected > 0; i++)
		if (jsonx_get_u64(items[i], "id", 0) == top->selected)
			at = i;
	top->current = n > 0 ? jsonx_get_u64(items[at], "id", 0) : 0;
	return at;
}

static void draw_tasks(struct top *top, int y)
{
	auto_free const json_t **items = NULL;
	auto_text struct text text = {};
	size_t n = toptasks_select(json_object_get(top->tasks, "tasks"), top->filter, top->sort,
				   top->now_ms, &items);
	size_t room = (size_t)MAX_OF(LINES - y - 2, 1), selected = find_selected(top, items, n),
	       row = 0;

	if (selected < top->scroll)
		top->scroll = selected;
	if (selected >= top->scroll + room)
		top->scroll = selected - room + 1;
	if (n <= top->scroll)
		top->scroll = 0;
	render_tasks(items + top->scroll, MIN_OF(n - top->scroll, room), top->now_ms, &text);
	if (n == 0) {
		put_line(y++, A_DIM,
			 top->filter[0] ? "no task matches (Esc shows all)" : "no tasks");
	} else {
		for (char *rest = text.data, *line; (line = strsep(&rest, "\n")) && (*line || rest);
		     row++)
			put_line(y++,
				 row == 0                            ? A_BOLD | A_UNDERLINE
				 : row - 1 + top->scroll == selected ? A_REVERSE
								     : A_NORMAL,
				 line);
	}
	for (; y < LINES - 1; y++)
		put_line(y, A_NORMAL, "");
}

static void draw_text(struct top *top, const char *all)
{
	auto_free char *copy = mem_strdup(all);
	size_t skipped = 0, lines = 0;
	int y = 0;

	for (const char *p = all; *p; p++)
		lines += *p == '\n';
	top->scroll = MIN_OF(top->scroll, lines > 0 ? lines - 1 : 0);
	for (char *rest = copy, *line; y < LINES - 1 && (line = strsep(&rest, "\n"));) {
		if (skipped++ < top->scroll)
			continue;
		/* Long lines (a command) go on below, so that nothing of them is lost. */
		while (text_columns(line) > (size_t)COLS - 1 && strlen(line) > (size_t)COLS - 1 &&
		       y < LINES - 1) {
			auto_free char *part = mem_strndup(line, (size_t)COLS - 1);

			put_line(y++, A_NORMAL, part);
			line += strlen(part);
		}
		put_line(y++, A_NORMAL, line);
	}
	for (; y < LINES - 1; y++)
		put_line(y, A_NORMAL, "");
}

static void draw_bottom(const struct top *top)
{
	auto_text struct text line = {};

	switch (top->mode) {
	case TOP_CONFIRM:
		text_printf(&line, "cancel task %llu? y/n", (unsigned long long)top->selected);
		break;
	case TOP_FILTER:
		text_printf(&line, "show only: %s_   (Enter keeps it, Esc shows all)", top->filter);
		break;
	case TOP_DETAIL:
	case TOP_HELP:
		text_add(&line, "arrows scroll, any other key goes back");
		break;
	case TOP_LIST:
		text_add(&line, top->message[0] ? top->message : KEYS);
		break;
	}
	put_line(LINES - 1, A_REVERSE, line.data);
}

void topview_draw(struct top *top)
{
	(void)erase();
	if (top->mode == TOP_HELP) {
		draw_text(top, help_text);
	} else if (top->mode == TOP_DETAIL) {
		draw_text(top, top->detail ? top->detail : "");
	} else {
		draw_headline(top);
		draw_tasks(top, draw_gpus(top));
	}
	draw_bottom(top);
	(void)refresh();
}

void topview_move(struct top *top, int lines)
{
	auto_free const json_t **items = NULL;
	long long to;
	size_t n;

	if (top->mode == TOP_DETAIL || top->mode == TOP_HELP) {
		to = (long long)top->scroll + lines;
		top->scroll = to < 0 ? 0 : (size_t)to;
		return;
	}
	n = toptasks_select(json_object_get(top->tasks, "tasks"), top->filter, top->sort,
			    top->now_ms, &items);
	if (n == 0)
		return;
	to = (long long)find_selected(top, items, n) + lines;
	to = MAX_OF(0LL, MIN_OF(to, (long long)n - 1));
	top->selected = jsonx_get_u64(items[to], "id", 0);
}
