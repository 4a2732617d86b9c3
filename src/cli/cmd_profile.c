/* plimsoll profile: what was learned of kinds of tasks. What is asked here changes nothing but by
 * `forget`; all of it is the daemon's to say. */
#include "cli/session.h"
#include "cli/summary.h"
#include "cli/table.h"
#include "cli/term.h"
#include "util/duration.h"
#include "util/size.h"
#include "util/when.h"

#include <string.h>
#include <unistd.h>

#define KIND_COLUMNS 128

#define OF_OTHERS                                                                    \
	"(in parentheses: no task has ended on this GPU model; measured on another " \
	"one, or here\nso far)\n"

static bool is_of_others(const json_t *gpu)
{
	return jsonx_get_u64(gpu, "runs", 0) == 0 &&
	       jsonx_has(json_object_get(gpu, "need"), "p95_vram_bytes");
}

static void add_size(struct table *table, const json_t *object, const char *key)
{
	table_add(table, "%s",
		  jsonx_has(object, key) ? SIZE_TEXT(jsonx_get_u64(object, key, 0)) : "-");
}

/* Of a GPU model that has measured nothing of the kind, what others have is told in parentheses. */
static void add_need(struct table *table, const json_t *gpu, const char *key)
{
	const json_t *need = json_object_get(gpu, "need");

	if (!jsonx_has(need, key))
		table_add(table, "-");
	else if (is_of_others(gpu))
		table_add(table, "(%s)", SIZE_TEXT(jsonx_get_u64(need, key, 0)));
	else
		table_add(table, "%s", SIZE_TEXT(jsonx_get_u64(need, key, 0)));
}

static void add_seconds(struct table *table, const json_t *object, const char *key)
{
	table_add(table, "%s",
		  jsonx_has(object, key)
		      ? DURATION_TEXT((int64_t)(jsonx_get_real(object, key, 0) * 1000))
		      : "-");
}

static void add_time(struct table *table, const json_t *object, const char *key)
{
	table_add(table, "%s",
		  jsonx_has(object, key) ? WHEN_TEXT(jsonx_get_time(object, key)) : "-");
}

static void add_clean(struct table *table, const char *s)
{
	auto_text struct text clean = {};

	term_add_clean(&clean, s, KIND_COLUMNS);
	table_add(table, "%s", clean.data ? clean.data : "");
}

/* What a kind measured on one GPU model. On a narrow terminal the name of the kind is worth more
 * than what it is not asked for by. */
static void add_gpu(struct table *table, const json_t *gpu, bool narrow)
{
	const char *name = jsonx_get_string(gpu, "gpu", NULL);

	add_clean(table, name ? summary_short_name(name) : "cpu");
	table_add(table, "%llu", (unsigned long long)jsonx_get_u64(gpu, "runs", 0));
	add_need(table, gpu, "p95_vram_bytes");
	add_seconds(table, gpu, "mean_seconds");
	if (narrow)
		return;
	add_need(table, gpu, "max_vram_bytes");
	add_need(table, gpu, "p95_ram_bytes");
	if (jsonx_has(gpu, "utilization_percent"))
		table_add(table, "%.0f %%", jsonx_get_real(gpu, "utilization_percent", 0));
	else
		table_add(table, "-");
	if (jsonx_has(gpu, "batch_size"))
		table_add(table, "%llu", (unsigned long long)jsonx_get_u64(gpu, "batch_size", 0));
	else
		table_add(table, "-");
	add_time(table, gpu, "last_seen_at");
}

#define NARROW 120
static const struct table_column columns[] = {
    {.title = "kind", .shrinks = true},
    {.title = "asks", .right = true},
    {.title = "GPU"},
    {.title = "runs", .right = true},
    {.title = "VRAM p95", .right = true},
    {.title = "time", .right = true},
    {.title = "VRAM max", .right = true},
    {.title = "RAM p95", .right = true},
    {.title = "util", .right = true},
    {.title = "batch size", .right = true},
    {.title = "last seen"},
};
#define COLUMNS_NARROW  6
#define COLUMNS_OF_KIND 2

static void add_unshown(bool narrow, struct text *text)
{
	if (!narrow)
		return;
	text_printf(text, "(below %d columns without", NARROW);
	for (size_t i = COLUMNS_NARROW; i < ARRAY_LEN(columns); i++)
		text_printf(text, "%s %s", i > COLUMNS_NARROW ? "," : "", columns[i].title);
	text_add(text, ": --json)\n");
}

static int list(struct api_client *client, bool as_json)
{
	bool narrow = term_table_width(stdout) < NARROW, others = false;
	auto_table struct table *table =
	    table_create(columns, narrow ? COLUMNS_NARROW : ARRAY_LEN(columns));
	auto_json json_t *answer = NULL;
	auto_text struct text text = {};
	const json_t *profile, *gpu;
	size_t i, k;
	int code = session_call(client, "GET", NULL, &answer, "/v1/profiles");

	if (code != EXIT_DONE)
		return code;
	if (as_json) {
		term_print_json(stdout, answer);
		return EXIT_DONE;
	}
	json_array_foreach (json_object_get(answer, "profiles"), i, profile) {
		json_array_foreach (json_object_get(profile, "gpus"), k, gpu) {
			add_clean(table, k > 0 ? "" : jsonx_get_string(profile, "kind", ""));
			if (k > 0)
				table_add(table, "%s", "");
			else
				add_size(table, profile, "default_vram_bytes");
			add_gpu(table, gpu, narrow);
			others |= is_of_others(gpu);
		}
	}
	table_render(table, term_table_width(stdout), &text);
	text_add(&text, others ? OF_OTHERS : "");
	add_unshown(narrow, &text);
	(void)fputs(i > 0 ? text.data : "nothing was learned yet: no task has run\n", stdout);
	return EXIT_DONE;
}

static void add_peaks(const json_t *gpu, const char *key, const char *label, unsigned width,
		      struct text *text)
{
	const json_t *peaks = json_object_get(gpu, key), *peak;
	auto_text struct text line = {};
	size_t i;

	if (json_array_size(peaks) == 0)
		return;
	text_printf(&line, "  %s", label);
	json_array_foreach (peaks, i, peak)
		text_printf(&line, "%s %s%s", i > 0 ? "," : "",
			    SIZE_TEXT(jsonx_get_u64(peak, "bytes", 0)),
			    jsonx_get_bool(peak, "out_of_memory", false) ? " (out of memory)" : "");
	term_add_wrapped(text, line.data, 4, width);
}

static void render_profile(const json_t *profile, unsigned width, struct text *text)
{
	bool narrow = width < NARROW;
	auto_table struct table *table =
	    table_create(columns + COLUMNS_OF_KIND,
			 (narrow ? COLUMNS_NARROW : ARRAY_LEN(columns)) - COLUMNS_OF_KIND);
	const json_t *gpus = json_object_get(profile, "gpus"), *gpu;
	auto_text struct text why = {};
	size_t i;

	text_add(text, "kind ");
	term_add_clean(text, jsonx_get_string(profile, "kind", ""), KIND_COLUMNS);
	text_add(text, "\n\n");
	json_array_foreach (gpus, i, gpu)
		add_gpu(table, gpu, narrow);
	table_render(table, width, text);
	json_array_foreach (gpus, i, gpu)
		if (is_of_others(gpu)) {
			text_add(text, OF_OTHERS);
			break;
		}
	text_printf(&why, "without --vram the next one gets %s: %s",
		    jsonx_has(profile, "default_vram_bytes")
			? SIZE_TEXT(jsonx_get_u64(profile, "default_vram_bytes", 0))
			: "a GPU alone, or what --vram-default says",
		    jsonx_get_string(profile, "default_reason", ""));
	text_add(text, "\n");
	term_add_wrapped(text, why.data, 2, width);
	json_array_foreach (gpus, i, gpu) {
		const char *name = jsonx_get_string(gpu, "gpu", NULL);

		if (json_array_size(json_object_get(gpu, "vram_peaks")) +
			    json_array_size(json_object_get(gpu, "ram_peaks")) ==
			0 &&
		    !jsonx_has(gpu, "running_peak_vram_bytes"))
			continue;
		text_add(text, "\nlast peaks on ");
		term_add_clean(text, name ? name : "the CPU", KIND_COLUMNS);
		text_add(text, ", the oldest first\n");
		add_peaks(gpu, "vram_peaks", "VRAM:", width, text);
		add_peaks(gpu, "ram_peaks", "RAM:", width, text);
		if (jsonx_has(gpu, "running_peak_vram_bytes"))
			text_printf(text, "  none has ended well yet; seen: %s\n",
				    SIZE_TEXT(jsonx_get_u64(gpu, "running_peak_vram_bytes", 0)));
	}
}

static int show(struct api_client *client, const struct strings *kinds, bool as_json)
{
	auto_json json_t *document = json_pack("{s:[]}", "profiles");
	auto_text struct text text = {};

	for (size_t i = 0; i < kinds->n; i++) {
		auto_free char *escaped = api_query_escape(kinds->items[i]);
		auto_json json_t *answer = NULL;
		int code = session_call(client, "GET", NULL, &answer, "/v1/profiles/%s", escaped);

		if (code != EXIT_DONE)
			return code;
		(void)json_array_append(json_object_get(document, "profiles"),
					json_object_get(answer, "profile"));
		text_add(&text, i > 0 ? "\n" : "");
		render_profile(json_object_get(answer, "profile"), term_table_width(stdout), &text);
	}
	if (as_json)
		term_print_json(stdout, document);
	else
		(void)fputs(text.data, stdout);
	return EXIT_DONE;
}

static int ask_all(void)
{
	auto_free char *line = NULL;
	size_t room = 0;

	if (!isatty(STDIN_FILENO))
		return verb_complain(EXIT_USAGE, "nothing is forgotten: nobody can be asked here; "
						 "--yes forgets without asking");
	(void)fputs("Forget all that was learned? [y/N] ", stderr);
	(void)fflush(stderr);
	if (getline(&line, &room, stdin) > 0 && (*line == 'y' || *line == 'Y'))
		return EXIT_DONE;
	return verb_complain(EXIT_PROBLEM, "nothing is forgotten");
}

static int forget_all(struct api_client *client, const struct options *options,
		      json_int_t *ret_forgotten)
{
	auto_json json_t *answer = NULL;
	int code = options_flag(options, "yes") ? EXIT_DONE : ask_all();

	if (code == EXIT_DONE)
		code = session_call(client, "DELETE", NULL, &answer, "/v1/profiles");
	*ret_forgotten = jsonx_get_i64(answer, "forgotten", 0);
	return code;
}

static int forget(struct api_client *client, const struct options *options,
		  const struct strings *kinds)
{
	json_int_t forgotten = 0;
	int code, worst = EXIT_DONE;

	if (options_flag(options, "all"))
		worst = forget_all(client, options, &forgotten);
	for (size_t i = 0; i < kinds->n; i++) {
		auto_free char *escaped = api_query_escape(kinds->items[i]);

		code = session_call(client, "DELETE", NULL, NULL, "/v1/profiles/%s", escaped);
		worst = MAX_OF(worst, code);
		forgotten += code == EXIT_DONE;
	}
	if (options_flag(options, "json")) {
		auto_json json_t *document = json_pack("{s:I}", "forgotten", forgotten);

		term_print_json(stdout, document);
	} else if (forgotten > 0 || worst == EXIT_DONE) {
		(void)printf("%lld kind%s forgotten\n", (long long)forgotten,
			     forgotten == 1 ? " is" : "s are");
	}
	return worst;
}

static int check_words(const struct options *options, const char *action, size_t n_kinds)
{
	bool all = options_flag(options, "all");

	if (strcmp(action, "list") == 0 && n_kinds > 0)
		return verb_complain(EXIT_USAGE, "profile: list takes no kind; `plimsoll profile "
						 "show KIND` shows one");
	if (strcmp(action, "show") == 0 && n_kinds == 0)
		return verb_complain(EXIT_USAGE, "profile show: which kind? `plimsoll profile "
						 "list` names them");
	if (strcmp(action, "forget") == 0 && all == (n_kinds > 0))
		return verb_complain(EXIT_USAGE, "profile forget: name kinds, or --all");
	if (strcmp(action, "forget") != 0 && (all || options_flag(options, "yes")))
		return verb_complain(EXIT_USAGE, "profile: --all and --yes go with forget");
	return EXIT_DONE;
}

static int run(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	const char *action = options->operands.n > 0 ? options->operands.items[0] : "list";
	const struct strings kinds = {.items = options->operands.n > 0 ? options->operands.items + 1
								       : NULL,
				      .n = options->operands.n > 0 ? options->operands.n - 1 : 0};
	bool as_json = options_flag(options, "json");
	int code;

	if (strcmp(action, "list") != 0 && strcmp(action, "show") != 0 &&
	    strcmp(action, "forget") != 0)
		return verb_complain(EXIT_USAGE, "profile: \"%.64s\" is none of list, show, forget",
				     action);
	code = check_words(options, action, kinds.n);
	if (code == EXIT_DONE)
		code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	return strcmp(action, "list") == 0   ? list(client, as_json)
	       : strcmp(action, "show") == 0 ? show(client, &kinds, as_json)
					     : forget(client, options, &kinds);
}

static const struct option_spec profile_options[] = {
    {"all", 0, OPTION_FLAG, NULL, .help = "forget all kinds"},
    {"yes", 'y', OPTION_FLAG, NULL, .help = "with --all: without asking"},
    {"json", 0, OPTION_FLAG, NULL, .help = "print as JSON"},
    {},
};

const struct verb verb_profile = {
    .name = "profile",
    .summary = "what was learned of kinds of tasks: VRAM, RAM, time",
    .usage = "[list | show KIND... | forget KIND... | forget --all] [--json]",
    .operands_max = 1000,
    .description =
	"Of each kind of task (--kind, else derived from the command) the peaks of the last 32\n"
	"runs on each GPU model are kept. From three runs on, a task that says no --vram asks\n"
	"for what 95 % of them stayed below, and a margin: 10 % (256 MiB at least) up to nine\n"
	"runs, 5 % (128 MiB) above. A run that ran out of memory counts with what it had.\n"
	"Who says no --ram is kept free what 95 % of them stayed below, and a tenth.\n"
	"A --vram that is too small is raised by as much as others of its kind took beyond what\n"
	"they said, at most to what was measured; one far too large is said.\n"
	"forget makes a kind unknown again: after a change that makes it need less.\n",
    .examples = "  plimsoll profile\n"
		"  plimsoll profile show train.py\n"
		"  plimsoll profile forget train.py 'whisper --model large'\n"
		"  plimsoll profile list --json | jq '.profiles[] | {kind, default_vram_bytes}'\n",
    .style = OPTIONS_OPERANDS,
    .options = profile_options,
    .run = run,
};
