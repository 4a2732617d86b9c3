/*
 * plimsoll queue: the tasks, those that wait and run first of all. As JSON the daemon's answer goes
 * through as it comes, however long it is: who reads only its head has it at once.
 */
#include "cli/control.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/tasktable.h"
#include "cli/term.h"
#include "util/timestamp.h"
#include "util/when.h"

#include <errno.h>
#include <string.h>

#define LIMIT_MAX    1000000
#define PAGE_MAX     1000000
#define PAGE_DEFAULT 50

static const char *const states[] = {"waiting", "held",     "starting", "running", "done",
				     "failed",  "canceled", "lost",     NULL};
static const char open_states[] = "waiting,held,starting,running";
static const char ended_states[] = "done,failed,canceled,lost";

static void add_member(struct text *path, const char *name, const char *value)
{
	auto_free char *escaped = api_query_escape(value);

	text_printf(path, "%s=%s&", name, escaped);
}

static int add_states(struct text *path, const char *text, struct error *err)
{
	auto_free char *copy = mem_strdup(text);
	auto_text struct text list = {};
	char *rest = copy;

	for (char *word; (word = strsep(&rest, ","));) {
		const char *const *known = states;

		while (*known && strcmp(word, *known) != 0)
			known++;
		if (list.len > 0)
			text_add(&list, ",");
		if (strcmp(word, "open") == 0)
			text_add(&list, open_states);
		else if (strcmp(word, "ended") == 0)
			text_add(&list, ended_states);
		else if (*known)
			text_add(&list, word);
		else
			return error_set(err, -EINVAL,
					 "--state: \"%.32s\" is not one of waiting, held, "
					 "starting, running, done, failed, canceled, lost, open "
					 "(the first four), ended (the last four)",
					 word);
	}
	add_member(path, "state", list.data);
	return 0;
}

static int add_time(struct text *path, const struct options *options, const char *name,
		    struct error *err)
{
	const char *text = options_text(options, name, NULL);
	int64_t ms = 0;
	int r = text ? when_parse_past(text, timestamp_now_ms(), &ms, err) : 0;

	if (text && r == 0)
		add_member(path, name, TIMESTAMP_TEXT(ms));
	return r < 0 ? error_prefix(err, r, "--%s", name) : 0;
}

static int add_conditions(struct text *path, const struct options *options, uint64_t *ret_batch,
			  struct error *err)
{
	static const char *const words[] = {"kind", "user", "name", NULL};
	const char *batch = options_text(options, "batch", NULL);
	const char *state = options_text(options, "state", NULL);
	struct target target = {};
	int r = state ? add_states(path, state, err) : 0;

	if (r == 0 && batch) {
		r = target_parse(batch, &target, err);
		if (r < 0)
			return error_prefix(err, r, "--batch");
		text_printf(path, "batch=%llu&", (unsigned long long)target.id);
		*ret_batch = target.id;
	}
	for (const char *const *word = words; *word; word++)
		if (options_text(options, *word, NULL))
			add_member(path, *word, options_text(options, *word, NULL));
	if (r == 0)
		r = add_time(path, options, "since", err);
	return r < 0 ? r : add_time(path, options, "until", err);
}

/* *ret_batch is 0 when none was named. */
static int build_path(const struct options *options, struct text *path, uint64_t *ret_batch,
		      struct error *err)
{
	bool all = options_flag(options, "all") || options_flag(options, "export");
	long long limit = options_int(options, "limit", PAGE_DEFAULT),
		  page = options_int(options, "page", 1);

	if (options_flag(options, "newest") && options_flag(options, "oldest"))
		return error_set(err, -EINVAL, "--newest contradicts --oldest");
	if (options_flag(options, "page") && all && !options_flag(options, "limit"))
		return error_set(err, -EINVAL,
				 "--page is of a list in parts: leave out --%s, or say with "
				 "--limit how long a page is",
				 options_flag(options, "all") ? "all" : "export");
	text_add(path, "/v1/tasks?");
	if (options_flag(options, "export"))
		text_add(path, "format=lines&");
	if (options_flag(options, "oldest"))
		text_add(path, "order=oldest&");
	if (options_flag(options, "newest"))
		text_add(path, "order=newest&");
	if (all && !options_flag(options, "limit"))
		text_printf(path, "limit=%lld&", (long long)INT64_MAX);
	else if (options_flag(options, "limit") || options_flag(options, "page"))
		text_printf(path, "limit=%lld&", limit);
	if (page > 1)
		text_printf(path, "offset=%lld&", (page - 1) * limit);
	return add_conditions(path, options, ret_batch, err);
}

static bool on_bytes(void *data, const char *bytes, size_t len)
{
	/* A reader that has enough closes its end: the rest is not asked for. */
	*(bool *)data = fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0;
	return *(bool *)data;
}

static int pass_through(struct api_client *client, const char *path)
{
	bool written = true;
	struct error err = {};
	int r = api_client_stream(
	    client, path, &(struct api_stream_options){.data = &written, .on_bytes = on_bytes},
	    &err);

	return r < 0 ? verb_fail(&err) : EXIT_DONE;
}

/* There are so many pages, and this is not one of them. */
static int no_such_page(const struct options *options, uint64_t total)
{
	uint64_t limit = (uint64_t)options_int(options, "limit", PAGE_DEFAULT);

	(void)fprintf(stderr, "page %lld of %llu: there is none\n", options_int(options, "page", 1),
		      (unsigned long long)MAX_OF((total + limit - 1) / limit, (uint64_t)1));
	return EXIT_PROBLEM;
}

static int print_table(struct api_client *client, const struct options *options, const char *path)
{
	auto_json json_t *answer = NULL;
	auto_text struct text text = {};
	uint64_t total, before = 0;
	size_t shown;
	int code = session_call(client, "GET", NULL, &answer, "%s", path);

	if (code != EXIT_DONE)
		return code;
	shown = json_array_size(json_object_get(answer, "tasks"));
	total = jsonx_get_u64(answer, "total", shown);
	if (shown == 0 && options_int(options, "page", 1) > 1)
		return no_such_page(options, total);
	tasktable_render(json_object_get(answer, "tasks"), timestamp_now_ms(),
			 term_table_width(stdout), &text);
	(void)fputs(shown > 0 ? text.data : "no tasks\n", stdout);
	if (options_int(options, "page", 1) > 1)
		before = (uint64_t)(options_int(options, "page", 1) - 1) *
			 (uint64_t)options_int(options, "limit", PAGE_DEFAULT);
	if (total > shown && before + shown < total)
		(void)fprintf(stderr,
			      "%zu of %llu tasks; --limit and --page show more, --state, --kind, "
			      "--since and others choose\n",
			      shown, (unsigned long long)total);
	return control_tell_pause(client);
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_text struct text path = {};
	struct error err = {};
	uint64_t batch = 0;
	int code;

	if (options->operands.n > 0)
		return control_queue(options);
	if (options_flag(options, "reason"))
		return verb_complain(EXIT_USAGE, "queue: --reason goes with pause");
	if (build_path(options, &path, &batch, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	path.data[--path.len] = '\0'; /* the last "&" or "?" */
	code = session_open(&client);
	/* Is there such a batch at all? */
	if (code == EXIT_DONE && batch > 0)
		code = session_call(client, "GET", NULL, NULL, "/v1/batches/%llu?limit=0",
				    (unsigned long long)batch);
	if (code != EXIT_DONE)
		return code;
	if (options_flag(options, "json") || options_flag(options, "export"))
		return pass_through(client, path.data);
	return print_table(client, options, path.data);
}

static const struct option_spec queue_options[] = {
    {"state", 's', OPTION_STRING, "STATE[,...]",
     .help = "only tasks in these states; open = all that have not ended, ended = the others"},
    {"kind", 'k', OPTION_STRING, "KIND", .help = "only tasks of this kind"},
    {"user", 'u', OPTION_STRING, "USER", .help = "only tasks of this user (name or number)"},
    {"batch", 'b', OPTION_STRING, "BATCH", .help = "only tasks of this batch (b3)"},
    {"name", 0, OPTION_STRING, "PATTERN", .help = "only tasks of this name; with * ? [...]"},
    {"since", 0, OPTION_STRING, "WHEN",
     .help = "only tasks that have not ended, or ended since then: 2h (ago), 14:30, yesterday, "
	     "2026-11-20"},
    {"until", 0, OPTION_STRING, "WHEN", .help = "only tasks submitted before then"},
    {"limit", 'n', OPTION_INT, "N", .min = 1, .max = LIMIT_MAX, .help = "at most so many"},
    {"page", 'p', OPTION_INT, "P", .min = 1, .max = PAGE_MAX,
     .help = "page P of the list, each of --limit tasks (50)"},
    {"all", 'a', OPTION_FLAG, NULL, .help = "all of them, however many ended"},
    {"newest", 0, OPTION_FLAG, NULL, .help = "the newest first"},
    {"oldest", 0, OPTION_FLAG, NULL, .help = "the oldest first"},
    {"reason", 0, OPTION_STRING, "TEXT", .help = "of a pause: shown wherever it makes tasks wait"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {"export", 0, OPTION_FLAG, NULL,
     .help = "print the whole history as JSON lines: each task with its attempts, the oldest "
	     "first"},
    {},
};

const struct verb verb_queue = {
    .name = "queue",
    .summary = "the tasks that wait and run, and the last that ended",
    .usage =
	"[CONDITION...] [--limit N [--page P] | --all] [--json | --export] | " CONTROL_QUEUE_USAGE,
    .operands_max = 1,
    .description =
	"First what has not ended, in the order of its submission, then what has, the newest "
	"first.\n"
	"Without any condition, of what has ended only the last 50 are listed.\n"
	"`pause` lets nothing new start until `resume`; `users` shows who had how much of the\n"
	"GPUs lately, which is what decides between users whose tasks wait.\n",
    .examples = "  plimsoll queue\n"
		"  plimsoll queue --state failed,lost --since yesterday\n"
		"  plimsoll queue --kind whisper-large --limit 20 --page 2\n"
		"  plimsoll queue pause --reason 'new power supply'\n"
		"  plimsoll queue --json | jq '.tasks[] | select(.state == \"running\").name'\n"
		"  plimsoll queue --export > history.jsonl\n",
    .style = OPTIONS_OPERANDS,
    .options = queue_options,
    .run = run,
};
