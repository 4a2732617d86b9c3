/* plimsoll batch: rows in, tasks out. Everything about the rows is checked here, before anything is
 * sent; the daemon then accepts the whole batch or nothing of it. */
#include "cli/follow.h"
#include "cli/rows.h"
#include "cli/session.h"
#include "cli/submission.h"
#include "cli/table.h"
#include "cli/term.h"
#include "cli/workers.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 100000

/* -y goes on; a terminal is asked; a pipe stops. */
static const char *on_failure(const struct options *options)
{
	if (options_flag(options, "yes"))
		return "continue";
	if (options_flag(options, "detach"))
		return "stop";
	return term_is_terminal(stderr) && isatty(STDIN_FILENO) ? "ask" : "stop";
}

static int build(const struct options *options, const struct rows *rows, json_t **ret_batch,
		 struct error *err)
{
	auto_json json_t *batch = NULL;
	json_t *tasks = json_array();
	const char *cwd;
	int r = submission_shared(options, &batch, err);

	if (r < 0) {
		json_decref(tasks);
		return r;
	}
	cwd = jsonx_get_string(batch, "cwd", "/");
	(void)json_object_set_new(batch, "name", json_string(basename(rows_name(rows))));
	(void)json_object_set_new(batch, "on_failure", json_string(on_failure(options)));
	(void)json_object_set_new(batch, "resume", json_boolean(options_flag(options, "resume")));
	(void)json_object_set_new(batch, "tasks", tasks);
	if (options_flag(options, "threads"))
		(void)json_object_set_new(batch, "threads",
					  json_integer(options_int(options, "threads", 0)));
	if (options_flag(options, "max-per-gpu"))
		(void)json_object_set_new(batch, "max_per_gpu",
					  json_integer(options_int(options, "max-per-gpu", 0)));
	for (size_t i = 0; i < rows_count(rows); i++) {
		json_t *task;

		r = submission_task(options, rows, i, cwd, &task, err);
		if (r < 0)
			return r;
		(void)json_array_append_new(tasks, task);
	}
	*ret_batch = TAKE(batch);
	return 0;
}

struct submission {
	const struct options *options;
	const struct rows *rows;
	const json_t *body;
	struct api_client **client; /* may be replaced */
	json_t *answer;
};

/* The daemon speaks of "row 7"; the file and line it came from are known here. */
static int submit(struct submission *s, struct error *err)
{
	unsigned row;
	unsigned long long skipped;
	int r = session_submit(s->client, "/v1/batches", s->body, &s->answer, err);

	if (r < 0)
		submission_explain(err);
	if (r < 0 && sscanf(err->text, "row %u:", &row) == 1 && row >= 1 &&
	    row <= rows_count(s->rows))
		return error_prefix(err, r, "%s:%u", rows_name(s->rows),
				    rows_line(s->rows, row - 1));
	if (r == 0)
		submission_warn(s->answer);
	skipped = jsonx_get_u64(s->answer, "skipped", 0);
	if (r == 0 && skipped > 0)
		(void)fprintf(stderr, "%llu of %zu row%s %s done already and skipped\n", skipped,
			      rows_count(s->rows), PLURAL(rows_count(s->rows)),
			      skipped == 1 ? "is" : "are");
	return r;
}

static int submit_to_follow(void *data, json_t **ret_batch, struct error *err)
{
	struct submission *s = data;
	int r = submit(s, err);

	if (r < 0)
		return r;
	*ret_batch = json_incref(json_object_get(s->answer, "batch"));
	(void)fprintf(stderr, "batch b%llu: %llu task%s\n",
		      (unsigned long long)jsonx_get_u64(*ret_batch, "id", 0),
		      (unsigned long long)jsonx_get_u64(*ret_batch, "total", 0),
		      PLURAL(jsonx_get_u64(*ret_batch, "total", 0)));
	return 0;
}

static int submit_and_leave(struct submission *s)
{
	struct error err = {};

	if (submit(s, &err) < 0)
		return verb_fail(&err);
	if (options_flag(s->options, "json"))
		term_print_json(stdout, s->answer);
	else
		(void)printf("b%llu\n", (unsigned long long)jsonx_get_u64(
					    json_object_get(s->answer, "batch"), "id", 0));
	return EXIT_DONE;
}

static int submit_rows(const struct options *options, const struct rows *rows, const json_t *body)
{
	auto_api_client struct api_client *client = NULL, *events = NULL;
	auto_json json_t *answer = NULL;
	struct submission s = {.options = options, .rows = rows, .body = body};
	struct follow_target target = {.submit = submit_to_follow, .data = &s};
	int code = session_open(&client);

	s.client = &client;
	if (code == EXIT_DONE && !options_flag(options, "detach"))
		code = session_open(&events);
	if (code != EXIT_DONE)
		return code;
	code = events ? follow_and_report(&events, &target, options_flag(options, "json"))
		      : submit_and_leave(&s);
	answer = s.answer;
	return code;
}

/* What would be sent, and nothing is. */
static int print_rows(const struct options *options, const json_t *tasks)
{
	static const struct table_column columns[] = {{.title = "row", .right = true},
						      {.title = "name"},
						      {.title = "command", .shrinks = true}};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	auto_text struct text text = {};
	const json_t *task, *word;
	size_t i, k;

	if (options_flag(options, "json")) {
		term_print_json(stdout, tasks);
		return EXIT_DONE;
	}
	json_array_foreach (tasks, i, task) {
		auto_text struct text line = {};

		json_array_foreach (json_object_get(task, "command"), k, word)
			text_printf(&line, "%s%s", k > 0 ? " " : "", json_string_value(word));
		table_add(table, "%zu", i + 1);
		table_add(table, "%s", jsonx_get_string(task, "name", ""));
		table_add(table, "%s", line.data);
	}
	table_render(table, term_table_width(stdout), &text);
	text_add(&text, "\n");
	(void)fputs(text.data, stdout);
	return EXIT_DONE;
}

/* The rows of the file, if there is one, times those of the sweeps, if there are any. */
static int load(const struct options *options, struct rows **ret_rows, struct error *err)
{
	const struct option_value *format = options_get(options, "format");
	const char *array = options_text(options, "array", NULL);
	auto_free char *array_sweep = array ? rows_array_sweep(array) : NULL;
	auto_strings struct strings sweeps = {};
	auto_rows struct rows *rows = NULL;
	int r = 0;

	for (size_t i = 0; i < options_list(options, "sweep")->n; i++)
		strings_add(&sweeps, options_list(options, "sweep")->items[i]);
	if (array)
		strings_add(&sweeps, array_sweep);
	if (options->operands.n > 0)
		r = rows_load(options->operands.items[0],
			      format->given ? (enum rows_format)format->choice : ROWS_AUTO, &rows,
			      err);
	else if (sweeps.n == 0)
		r = error_set(err, -EINVAL,
			      "batch: rows are missing: name a file, or - for standard input, or "
			      "give --sweep KEY=VALUES");
	else if (format->given)
		r = error_set(err, -EINVAL, "batch: --format says how a file is read, and none is");
	if (r < 0)
		return r;
	if (sweeps.n == 0) {
		*ret_rows = TAKE(rows);
		return 0;
	}
	r = rows_sweep(rows, &sweeps, ret_rows, err);
	return r < 0 ? error_prefix(err, r, array && sweeps.n == 1 ? "--array" : "--sweep") : 0;
}

/* Copies of one command have no rows, and nothing that goes by rows. */
static int run_workers(const struct options *options)
{
	static const char *const of_rows[] = {"sweep",       "array",  "dry-run", "threads",
					      "max-per-gpu", "format", "resume"};

	if (options->operands.n > 0)
		return verb_complain(EXIT_USAGE,
				     "batch: --workers-per-gpu runs copies of one command, and "
				     "there are rows: %s",
				     options->operands.items[0]);
	for (size_t i = 0; i < ARRAY_LEN(of_rows); i++)
		if (options_get(options, of_rows[i])->given)
			return verb_complain(EXIT_USAGE,
					     "batch: --workers-per-gpu runs copies of one command; "
					     "--%s is for rows",
					     of_rows[i]);
	return workers_run(options, on_failure(options), options_flag(options, "detach"),
			   options_flag(options, "json"));
}

static int run(const struct options *options)
{
	auto_rows struct rows *rows = NULL;
	auto_json json_t *body = NULL;
	struct error err = {};

	if (options_flag(options, "workers-per-gpu"))
		return run_workers(options);
	/* Whatever is wrong with the rows is the user's to mend: status 2, also for a file that is
	 * not there. */
	if (load(options, &rows, &err) < 0 || build(options, rows, &body, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	if (options_flag(options, "dry-run"))
		return print_rows(options, json_object_get(body, "tasks"));
	return submit_rows(options, rows, body);
}

static const struct option_spec batch_options[] = {
    {"sweep", 0, OPTION_STRING, "KEY=VALUES", .repeats = true,
     .help = "a row for each of VALUES, {KEY} in the command: lr=1e-3,1e-4 or seed=0..9 or "
	     "0..90:10; several --sweep give all combinations, of each row of ROWS if there is "
	     "one"},
    {"array", 0, OPTION_STRING, "LIST", .help = "the same for {index}: 0-9, 0-90:10, 1,3,5-7"},
    {"dry-run", 0, OPTION_FLAG, NULL, .help = "show the tasks there would be, and send nothing"},
    {"threads", 't', OPTION_INT, "N", .min = 1, .max = THREADS_MAX,
     .help = "tasks of this batch at once, on all GPUs (as many as fit)"},
    {"max-per-gpu", 0, OPTION_INT, "M", .min = 1, .max = THREADS_MAX,
     .help = "tasks of this batch at once on one GPU (as many as fit)"},
    SUBMISSION_OPTIONS,
    CONDITIONS_OPTIONS,
    CONDITIONS_LATER_OPTIONS,
    {"format", 0, OPTION_CHOICE, "NAME", .choices = rows_format_names,
     .help = "json, jsonl, csv or lines; auto (the default) goes by extension and content"},
    {"yes", 'y', OPTION_FLAG, NULL, .help = "go on after a failure; the summary lists what failed"},
    {"resume", 0, OPTION_FLAG, NULL,
     .help = "skip rows that ended well before: same command, same row, same folder"},
    {"detach", 0, OPTION_FLAG, NULL, .help = "print the batch's id and do not wait for it"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print the result as JSON"},
    {},
};

const struct verb verb_batch = {
    .name = "batch",
    .summary = "a command over many rows, balanced over the GPUs",
    .usage = "[ROWS] [--sweep KEY=VALUES]... [options] -- CMD [ARG]...",
    .description =
	"Runs CMD once for each row of ROWS (- is standard input): a JSON array of objects or\n"
	"strings, JSON lines, CSV with a header, or plain lines. {key} in the command (and in\n"
	"options whose value can differ from row to row: --vram, --fraction, --ram, --cpus, "
	"--device, --cpu,\n"
	"--work, --kind, --name) is the row's value of that name, {a.b} a nested one; {line} is\n"
	"a plain line or string, {row} the row's number. {device} {gpu} {uuid} {vram_mib}\n"
	"{batch_size} {rank} {workers} are filled in when the task starts. {{ and }} are braces. "
	"No shell is\n"
	"involved. --sweep makes rows without a file: all combinations of the values named.\n"
	"\n"
	"Each task starts on a GPU where its --vram fits below the load line; tasks without "
	"--vram\n"
	"run one per GPU unless --max-per-gpu says otherwise. Without --yes the first\n"
	"failure stops new starts: on a terminal it asks, in a pipe it ends with status 1.\n"
	"Ctrl-C leaves the batch running with status 130 (plimsoll wait bN comes back to it);\n"
	"twice within two seconds cancels it.\n",
    .examples =
	"  plimsoll batch assets.json --vram 2.5G --ram 4.5G -- python3 transcribe.py {file} "
	"--device {device}\n"
	"  plimsoll batch runs.csv --vram '{vram}' -t 8 --max-per-gpu 3 -y -- ./train.sh {config}\n"
	"  ls *.wav | plimsoll batch - --vram 1G -- whisper {line} --device {device}\n"
	"  plimsoll batch --sweep lr=1e-3,1e-4 --sweep seed=0..9 --vram 4G -- python3 train.py "
	"--lr {lr} --seed {seed}\n"
	"  plimsoll batch --workers-per-gpu 2 -y -- python3 worker.py {rank} {workers}\n"
	"  plimsoll batch --array 0-99 --cpu only -- ./part.sh {index}\n"
	"  plimsoll batch assets.json --resume --json -- ./convert {file} > result.json\n",
    .style = OPTIONS_OPERANDS_COMMAND,
    .options = batch_options,
    .operands_max = 1,
    .needs_command = true,
    .run = run,
};
