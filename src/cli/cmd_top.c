/*
 * plimsoll top: one loop, the event stream's. Events say that something changed, the tick (and
 * they, at most five times a second) ask for the whole picture over a second connection, the
 * terminal is read beside.
 */
#include "cli/session.h"
#include "cli/tasktable.h"
#include "cli/term.h"
#include "cli/topview.h"
#include "util/timestamp.h"

#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS         250
#define REFRESH_MS      1000
#define REFRESH_MIN_MS  200
#define TASKS_SHOWN_MAX 2000
#define ENDED_SHOWN_MAX 50
#define PATIENCE_MS     60000
#define KEY_ESCAPE      27

struct top_loop {
	struct top top;
	struct api_client *calls; /* the stream's own connection is busy */
	int64_t refreshed_ms;
	bool changed; /* an event came since */
	bool quit, gone;
};

static void refresh_now(struct top_loop *l)
{
	json_t *gpus = NULL, *tasks = NULL;
	struct error err = {};
	int r = session_try(l->calls, "GET", NULL, &gpus, &err, "/v1/gpus");

	if (r == 0)
		r = session_try(l->calls, "GET", NULL, &tasks, &err, "/v1/tasks?limit=%d&ended=%d",
				TASKS_SHOWN_MAX, ENDED_SHOWN_MAX);
	if (r < 0) {
		l->gone = session_is_gone(r);
		(void)snprintf(l->top.message, sizeof l->top.message, "%.250s", err.text);
		json_decref(gpus);
		return;
	}
	json_decref(l->top.gpus);
	json_decref(l->top.tasks);
	l->top.gpus = gpus;
	l->top.tasks = tasks;
	l->top.now_ms = timestamp_now_ms();
	l->refreshed_ms = monotonic_now_ms();
	l->changed = false;
}

static void open_detail(struct top_loop *l)
{
	auto_json json_t *task = NULL, *why = NULL;
	auto_text struct text text = {};
	struct error err = {};
	const json_t *line;
	size_t i;

	if (l->top.current == 0)
		return;
	if (session_try(l->calls, "GET", NULL, &task, &err, "/v1/tasks/%llu",
			(unsigned long long)l->top.current) < 0) {
		(void)snprintf(l->top.message, sizeof l->top.message, "%.250s", err.text);
		return;
	}
	tasktable_render_one(json_object_get(task, "task"), &text);
	if (session_try(l->calls, "GET", NULL, &why, &err, "/v1/tasks/%llu/why",
			(unsigned long long)l->top.current) == 0) {
		text_printf(&text, "\nwhy: %s\n",
			    jsonx_get_string(why, "reason", "no reason is known"));
		json_array_foreach (json_object_get(why, "details"), i, line)
			text_printf(&text, "  %s\n",
				    json_string_value(line) ? json_string_value(line) : "");
	}
	free(l->top.detail);
	l->top.detail = text_take(&text);
	l->top.mode = TOP_DETAIL;
	l->top.scroll = 0;
}

static void cancel_selected(struct top_loop *l)
{
	struct error err = {};
	unsigned long long id = l->top.selected;

	l->top.mode = TOP_LIST;
	if (session_try(l->calls, "POST", NULL, NULL, &err, "/v1/tasks/%llu/cancel", id) < 0)
		(void)snprintf(l->top.message, sizeof l->top.message, "%.250s", err.text);
	else
		(void)snprintf(l->top.message, sizeof l->top.message, "task %llu is being canceled",
			       id);
	l->changed = true;
}

static void key_in_filter(struct top *top, int key)
{
	size_t len = strlen(top->filter);

	if (key == KEY_ESCAPE)
		top->filter[0] = '\0';
	if (key == KEY_ESCAPE || key == '\n' || key == '\r' || key == KEY_ENTER)
		top->mode = TOP_LIST;
	else if ((key == KEY_BACKSPACE || key == 127 || key == 8) && len > 0)
		top->filter[len - 1] = '\0';
	else if (key >= ' ' && key < 127 && len + 1 < sizeof top->filter)
		(void)snprintf(top->filter + len, sizeof top->filter - len, "%c", key);
	top->scroll = 0;
}

static bool key_moves(struct top *top, int key)
{
	int page = MAX_OF(LINES / 2, 1);

	switch (key) {
	case KEY_UP:
		topview_move(top, -1);
		return true;
	case KEY_DOWN:
		topview_move(top, 1);
		return true;
	case KEY_PPAGE:
		topview_move(top, -page);
		return true;
	case KEY_NPAGE:
		topview_move(top, page);
		return true;
	case KEY_HOME:
		topview_move(top, -TASKS_SHOWN_MAX);
		return true;
	case KEY_END:
		topview_move(top, TASKS_SHOWN_MAX);
		return true;
	default:
		return key == KEY_RESIZE;
	}
}

static void key_in_list(struct top_loop *l, int key)
{
	struct top *top = &l->top;

	switch (key) {
	case 'q':
	case 'Q':
		l->quit = true;
		break;
	case 's':
		top->sort = (top->sort + 1) % TOPTASKS_SORT_COUNT;
		top->scroll = 0;
		break;
	case '/':
	case 'f':
		top->mode = TOP_FILTER;
		break;
	case KEY_ESCAPE:
		top->filter[0] = '\0';
		break;
	case 'k':
		/* What is asked about must not change before the answer. */
		top->selected = top->current;
		if (top->current > 0)
			top->mode = TOP_CONFIRM;
		break;
	case '?':
	case 'h':
		top->mode = TOP_HELP;
		top->scroll = 0;
		break;
	case '\n':
	case '\r':
	case KEY_ENTER:
		open_detail(l);
		break;
	default:
		break;
	}
}

static void handle_key(struct top_loop *l, int key)
{
	struct top *top = &l->top;

	top->message[0] = '\0';
	if (top->mode == TOP_FILTER) {
		key_in_filter(top, key);
	} else if (top->mode == TOP_CONFIRM) {
		top->mode = TOP_LIST;
		if (key == 'y' || key == 'Y')
			cancel_selected(l);
	} else if (key_moves(top, key)) {
		return;
	} else if (top->mode == TOP_LIST) {
		key_in_list(l, key);
	} else {
		top->mode = TOP_LIST;
		top->scroll = 0;
	}
}

static bool update(struct top_loop *l)
{
	int64_t age = monotonic_now_ms() - l->refreshed_ms;

	for (int key; !l->quit && (key = getch()) != ERR;)
		handle_key(l, key);
	if (!l->quit && (age >= REFRESH_MS || (l->changed && age >= REFRESH_MIN_MS)))
		refresh_now(l);
	if (!l->quit)
		topview_draw(&l->top);
	return !l->quit && !l->gone;
}

static bool on_line(void *data, const char *line)
{
	struct top_loop *l = data;

	(void)line;
	l->changed = true;
	return true;
}

static bool on_wake(void *data)
{
	return update(data);
}

/* A terminal that was closed reads as ready for ever, and getch() has nothing to say about it. */
static bool on_terminal(void *data)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	struct top_loop *l = data;

	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)))
		l->quit = true;
	return update(l);
}

static int loop(struct top_loop *l, struct api_client **events, struct error *err)
{
	struct api_stream_options stream = {
	    .data = l,
	    .on_line = on_line,
	    .watch_fd = STDIN_FILENO,
	    .on_readable = on_terminal,
	    .tick_ms = TICK_MS,
	    .on_tick = on_wake,
	};
	int r = 0;

	while (!l->quit && r == 0) {
		l->gone = false;
		r = api_client_stream(*events, "/v1/events", &stream, err);
		if (l->quit || (r < 0 && !session_is_gone(r)))
			break;
		(void)snprintf(l->top.message, sizeof l->top.message,
			       "the daemon went away; starting it again");
		topview_draw(&l->top);
		r = session_reopen(events, PATIENCE_MS, err);
		if (r == 0)
			r = session_reopen(&l->calls, PATIENCE_MS, err);
		l->top.message[0] = '\0';
	}
	return r;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *events = NULL;
	struct top_loop l = {.top.now_ms = timestamp_now_ms()};
	struct error err = {};
	int code, r;

	(void)options;
	if (!term_is_terminal(stdout) || !isatty(STDIN_FILENO))
		return verb_complain(
		    EXIT_CANNOT, "top needs a terminal; `plimsoll gpus` and `plimsoll queue` do "
				 "not, with --json for programs");
	code = session_open(&events);
	if (code == EXIT_DONE)
		code = session_open(&l.calls);
	if (code != EXIT_DONE)
		return code;
	/* initscr() would end the process itself when it cannot. */
	if (!newterm(NULL, stdout, stdin))
		return verb_complain(EXIT_CANNOT,
				     "top does not know this terminal; is TERM right?");
	(void)cbreak();
	(void)noecho();
	(void)nodelay(stdscr, true);
	(void)keypad(stdscr, true);
	(void)set_escdelay(50);
	(void)curs_set(0);
	topview_init();
	r = loop(&l, &events, &err);
	(void)endwin();
	json_decref(l.top.gpus);
	json_decref(l.top.tasks);
	free(l.top.detail);
	api_client_destroy(l.calls);
	return r < 0 ? verb_complain(EXIT_CANNOT, "%s", error_text(&err)) : EXIT_DONE;
}

const struct verb verb_top = {
    .name = "top",
    .summary = "GPUs and tasks, live",
    .usage = "",
    .description = "Keys: arrows move, Enter shows everything about a task, k cancels it (asks "
		   "first), s sorts,\n"
		   "/ filters, ? helps, q quits.\n",
    .examples = "  plimsoll top\n  plimsoll sim --gpus rtx-3090,rtx-a400 -- plimsoll top\n",
    .style = OPTIONS_OPERANDS,
    .run = run,
};
