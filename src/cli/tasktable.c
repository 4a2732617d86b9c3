/* See tasktable.h. */
#include "cli/tasktable.h"

#include "cli/summary.h"
#include "cli/table.h"
#include "cli/taskfacts.h"
#include "cli/template.h"
#include "cli/term.h"
#include "util/duration.h"
#include "util/size.h"
#include "util/when.h"

#include <string.h>

#define UUID_SHOWN 12 /* "GPU-12345678": tells them apart on one machine */

static const json_t *newest_attempt(const json_t *task)
{
	const json_t *attempts = json_object_get(task, "attempts");

	return json_array_size(attempts) > 0
		   ? json_array_get(attempts, json_array_size(attempts) - 1)
		   : NULL;
}

static void attempt_where(const json_t *attempt, char *buf, size_t size)
{
	const json_t *gpu;
	size_t i, used = 0;

	(void)snprintf(buf, size, "%s", !attempt ? "-" : "cpu");
	json_array_foreach (json_object_get(attempt, "gpus"), i, gpu) {
		if (used < size)
			used +=
			    (size_t)snprintf(buf + used, size - used, "%s%llu", i ? "," : "",
					     (unsigned long long)jsonx_get_u64(gpu, "index", 0));
	}
}

void tasktable_where(const json_t *task, char *buf, size_t size)
{
	attempt_where(newest_attempt(task), buf, size);
}

/* On each of its GPUs; 0: nothing was promised. */
static uint64_t vram_granted(const json_t *attempt)
{
	return jsonx_get_u64(json_array_get(json_object_get(attempt, "gpus"), 0), "vram_bytes", 0);
}

/* Of one that uses more than it was granted: how much, or did at most. */
static uint64_t vram_beyond(const json_t *attempt)
{
	const json_t *gpu = json_array_get(json_object_get(attempt, "gpus"), 0);
	uint64_t used = jsonx_get_u64(gpu, "used_bytes", 0);

	if (!jsonx_get_bool(attempt, "overrun", false))
		return 0;
	return used > vram_granted(attempt) ? used : jsonx_get_u64(gpu, "peak_bytes", 0);
}

/* An overrun is told after its end, too, where nothing else is. */
static const char *why_of(const json_t *task)
{
	return jsonx_get_string(task, "reason",
				jsonx_get_string(newest_attempt(task), "overrun_text", ""));
}

static bool waits(const json_t *task)
{
	const char *state = jsonx_get_string(task, "state", "");

	return strcmp(state, "waiting") == 0 || strcmp(state, "held") == 0;
}

/* What it has, had, or asks for at this moment: on its ladder more than it was granted last. */
static const char *vram_of(const json_t *task, char *buf, size_t size)
{
	const json_t *request = json_object_get(task, "request"), *last = newest_attempt(task);
	uint64_t bytes = vram_granted(last);

	if (bytes == 0 || waits(task))
		bytes = jsonx_get_u64(request, "asks_vram_bytes",
				      jsonx_get_u64(request, "vram_bytes", 0));
	if (bytes > 0 && !waits(task) && vram_beyond(last) > bytes)
		(void)snprintf(buf, size, "%s of %s", SIZE_TEXT(vram_beyond(last)),
			       SIZE_TEXT(bytes));
	else if (bytes > 0)
		(void)snprintf(buf, size, "%s", SIZE_TEXT(bytes));
	else if (jsonx_has(request, "fraction"))
		(void)snprintf(buf, size, "%.10g GPU", jsonx_get_real(request, "fraction", 0));
	else
		(void)snprintf(buf, size, "-");
	return buf;
}

static double attempt_seconds(const json_t *attempt, int64_t now_ms)
{
	int64_t begin = jsonx_get_time(attempt, "started_at"),
		end = jsonx_get_time(attempt, "ended_at");

	if (begin <= 0 || jsonx_has(attempt, "ended_before"))
		return -1;
	return MAX_OF(0.0, (double)((end > 0 ? end : now_ms) - begin) / 1000);
}

double tasktable_seconds(const json_t *task, int64_t now_ms)
{
	return attempt_seconds(newest_attempt(task), now_ms);
}

/* Somebody else's, of which the daemon told only what everybody may see. */
static bool is_foreign(const json_t *task)
{
	return jsonx_has(task, "uid") && !jsonx_has(task, "command") &&
	       !jsonx_get_bool(task, "archived", false);
}

static const char *name_of(const json_t *task)
{
	return jsonx_get_string(task, "name",
				jsonx_get_bool(task, "private", false) ? "(private)" : "");
}

/* Are the tasks of more than one user, or of one who is not the reader? */
static bool has_users(const json_t *tasks)
{
	uint64_t first = jsonx_get_u64(json_array_get(tasks, 0), "uid", 0);
	const json_t *task;
	size_t i;

	json_array_foreach (tasks, i, task)
		if (is_foreign(task) || jsonx_get_u64(task, "uid", first) != first)
			return true;
	return false;
}

static void add_row(struct table *table, const json_t *task, bool with_user, int64_t now_ms)
{
	const char *state = jsonx_get_string(task, "state", "?"), *reason = why_of(task);
	double seconds = tasktable_seconds(task, now_ms);
	char where[64], vram[32];

	tasktable_where(task, where, sizeof where);
	table_add(table, "%llu", (unsigned long long)jsonx_get_u64(task, "id", 0));
	if (jsonx_has(task, "batch"))
		table_add(table, "%s",
			  summary_batch_name(json_object_get(task, "batch"), (char[32]){0}));
	else
		table_add(table, "-");
	if (with_user)
		table_add(table, "%s", jsonx_get_string(task, "user", "?"));
	table_add(table, "%s", name_of(task));
	table_add(table, "%s", state);
	table_add(table, "%s", where);
	table_add(table, "%s", vram_of(task, vram, sizeof vram));
	table_add(table, "%s", seconds < 0 ? "-" : DURATION_TEXT((int64_t)(seconds * 1000)));
	if (!is_foreign(task) && !summary_did_not_start(task) &&
	    (strcmp(state, "failed") == 0 || strcmp(state, "lost") == 0))
		table_add(table, "%s", summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}));
	else
		table_add(table, "%s", reason);
}

void tasktable_render(const json_t *tasks, int64_t now_ms, unsigned width, struct text *text)
{
	static const struct table_column columns[] = {
	    {.title = "ID", .right = true},
	    {.title = "batch"},
	    {.title = "user"},
	    {.title = "name", .shrinks = true},
	    {.title = "state"},
	    {.title = "GPU"},
	    {.title = "VRAM", .right = true},
	    {.title = "ran", .right = true},
	    {.title = "why", .shrinks = true, .wide_only = true},
	};
	struct table_column shown[ARRAY_LEN(columns)];
	bool with_user = has_users(tasks);
	auto_table struct table *table = NULL;
	const json_t *task;
	size_t i, n = 0;

	for (i = 0; i < ARRAY_LEN(columns); i++)
		if (with_user || strcmp(columns[i].title, "user") != 0)
			shown[n++] = columns[i];
	table = table_create(shown, n);
	json_array_foreach (tasks, i, task)
		add_row(table, task, with_user, now_ms);
	table_render(table, width, text);
}

static void add_line(struct text *text, const char *label, const char *fmt, ...) PRINTF(3, 4);

static void add_line(struct text *text, const char *label, const char *fmt, ...)
{
	char value[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	if (!value[0])
		return;
	text_printf(text, "  %-10s ", label);
	term_add_clean(text, value, sizeof value);
	text_add(text, "\n");
}

static const char *size_or(const json_t *object, const char *key, char buf[SIZE_TEXT_MAX])
{
	return jsonx_has(object, key) ? size_format(buf, jsonx_get_u64(object, key, 0)) : "unknown";
}

/* Words with anything a shell would touch are quoted, so that the line can be pasted; braces are as
 * they were typed. */
static void add_command(struct text *text, const json_t *command)
{
	auto_text struct text line = {};
	const json_t *word;
	size_t i;

	json_array_foreach (command, i, word) {
		auto_free char *typed =
		    template_typed(json_string_value(word) ? json_string_value(word) : "");
		const char *s = typed;

		text_add(&line, i ? " " : "");
		if (*s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-./=:,@%+") == strlen(s)) {
			text_add(&line, s);
			continue;
		}
		text_add(&line, "'");
		for (; *s; s++)
			text_add(&line, *s == '\'' ? "'\\''" : (char[]){*s, '\0'});
		text_add(&line, "'");
	}
	add_line(text, "command", "%s", line.data ? line.data : "");
}

static void add_request(struct text *text, const json_t *task)
{
	const json_t *request = json_object_get(task, "request");
	auto_text struct text line = {};
	const char *pin = jsonx_get_string(request, "pin", "");

	if (strcmp(jsonx_get_string(request, "cpu", ""), "only") == 0)
		text_add(&line, "no GPU");
	else
		text_printf(&line, "%llu GPU",
			    (unsigned long long)jsonx_get_u64(request, "gpus", 1));
	if (jsonx_has(request, "vram_bytes"))
		text_printf(&line, ", %s of VRAM",
			    SIZE_TEXT(jsonx_get_u64(request, "vram_bytes", 0)));
	if (jsonx_has(request, "fraction"))
		text_printf(&line, ", %.10g of its load line",
			    jsonx_get_real(request, "fraction", 0));
	if (jsonx_has(task, "vram_default_bytes"))
		text_printf(&line, ", %s of VRAM until its kind is known (--vram-default)",
			    SIZE_TEXT(jsonx_get_u64(task, "vram_default_bytes", 0)));
	if (jsonx_has(request, "ram_bytes"))
		text_printf(&line, ", %s of RAM",
			    SIZE_TEXT(jsonx_get_u64(request, "ram_bytes", 0)));
	if (jsonx_has(request, "cpus"))
		text_printf(&line, ", %.10g CPUs", jsonx_get_real(request, "cpus", 0));
	if (*pin)
		text_printf(&line, ", on %.*s only", UUID_SHOWN, pin);
	if (jsonx_get_bool(request, "exclusive", false))
		text_add(&line, ", exclusive");
	add_line(text, "asks for", "%s", line.data);
}

/* What became of it, where that is something else than what it said. */
static void add_asks_now(struct text *text, const json_t *task)
{
	const json_t *request = json_object_get(task, "request");
	const char *source = jsonx_get_string(request, "vram_source", ""),
		   *why = jsonx_get_string(request, "asks_reason", "");

	if (!waits(task) || !*why || strcmp(source, "said") == 0 || strcmp(source, "default") == 0)
		return;
	if (jsonx_has(request, "asks_vram_bytes"))
		add_line(text, "asks now", "%s of VRAM: %s",
			 SIZE_TEXT(jsonx_get_u64(request, "asks_vram_bytes", 0)), why);
	else if (strcmp(source, "alone") == 0)
		add_line(text, "asks now", "%s", why);
}

static const char *when_or_not(const json_t *object, const char *key, char buf[WHEN_TEXT_MAX])
{
	return jsonx_has(object, key) ? when_format(buf, jsonx_get_time(object, key)) : "";
}

/* "1 GiB of VRAM on each, 200 MiB of RAM"; "" when neither is known. */
static void add_sizes(struct text *line, const json_t *attempt, const char *vram, const char *ram)
{
	const json_t *gpus = json_object_get(attempt, "gpus"), *gpu = json_array_get(gpus, 0);

	if (jsonx_has(gpu, vram))
		text_printf(line, "%s of VRAM%s", SIZE_TEXT(jsonx_get_u64(gpu, vram, 0)),
			    json_array_size(gpus) > 1 ? " on each" : "");
	if (jsonx_has(attempt, ram))
		text_printf(line, "%s%s of RAM", line->len > 0 ? ", " : "",
			    SIZE_TEXT(jsonx_get_u64(attempt, ram, 0)));
}

/* "5.5 GiB of VRAM: learned from 4 runs of 'x' (p95 5 GiB); 1 GiB of RAM: said (watched)" */
static void add_granted(struct text *text, const json_t *attempt, const json_t *request)
{
	const json_t *gpus = json_object_get(attempt, "gpus");
	const char *limits = jsonx_get_string(attempt, "limits", ""),
		   *why = jsonx_get_string(attempt, "vram_reason", "");
	uint64_t vram = vram_granted(attempt), ram = jsonx_get_u64(attempt, "ram_bytes", 0),
		 said = jsonx_get_u64(request, "ram_bytes", 0);
	bool raised = said > 0 || strstr(jsonx_get_string(attempt, "rung", ""), " of RAM");
	auto_text struct text line = {};

	if (vram > 0)
		text_printf(&line, "%s of VRAM%s", SIZE_TEXT(vram),
			    json_array_size(gpus) > 1 ? " on each" : "");
	else if (*why)
		text_printf(&line, "%s", why);
	if (vram > 0 && *why)
		text_printf(&line, ": %s", why);
	if (ram > 0)
		text_printf(&line, "%s%s of RAM: %s", line.len > 0 ? "; " : "", SIZE_TEXT(ram),
			    ram == said ? "said"
			    : raised    ? "raised by its ladder"
					: "learned of its kind, kept free");
	if (line.len > 0)
		add_line(text, "  granted", "%s (%s)", line.data, *limits ? limits : "watched");
}

/* What it uses now; on several GPUs, on each. */
static void add_used(struct text *text, const json_t *attempt)
{
	const json_t *gpus = json_object_get(attempt, "gpus"), *gpu;
	auto_text struct text line = {};
	size_t i;

	if (json_array_size(gpus) <= 1) {
		add_sizes(&line, attempt, "used_bytes", "used_ram_bytes");
	} else {
		json_array_foreach (gpus, i, gpu)
			text_printf(&line, "%s%s on GPU %llu", i > 0 ? ", " : "",
				    size_or(gpu, "used_bytes", (char[SIZE_TEXT_MAX]){0}),
				    (unsigned long long)jsonx_get_u64(gpu, "index", 0));
		if (jsonx_has(attempt, "used_ram_bytes"))
			text_printf(&line, ", %s of RAM",
				    SIZE_TEXT(jsonx_get_u64(attempt, "used_ram_bytes", 0)));
	}
	if (line.len > 0)
		add_line(text, "  uses now", "%s", line.data);
}

static void add_peak(struct text *text, const json_t *attempt, bool over)
{
	char peak[SIZE_TEXT_MAX], ram[SIZE_TEXT_MAX];

	/* A moment after its start. */
	if (!over && !jsonx_has(attempt, "peak_vram_bytes") &&
	    !jsonx_has(attempt, "peak_ram_bytes"))
		return;
	add_line(text, "  peak", "%s of VRAM, %s of RAM", size_or(attempt, "peak_vram_bytes", peak),
		 size_or(attempt, "peak_ram_bytes", ram));
}

static void add_overrun(struct text *text, const json_t *attempt)
{
	const char *words = jsonx_get_string(attempt, "overrun_text", "");

	if (!*words)
		return;
	if (jsonx_has(attempt, "overrun_since"))
		add_line(text, "  overrun", "since %s: %s",
			 WHEN_TEXT(jsonx_get_time(attempt, "overrun_since")), words);
	else
		add_line(text, "  overrun", "%s", words);
}

/* False: it has not ended. */
static bool add_end(struct text *text, const json_t *attempt)
{
	double seconds = attempt_seconds(attempt, 0);

	if (jsonx_has(attempt, "ended_before"))
		add_line(text, "  ended", "nobody saw when, at the latest %s",
			 when_or_not(attempt, "ended_before", (char[WHEN_TEXT_MAX]){0}));
	else if (jsonx_has(attempt, "ended_at"))
		add_line(text, "  ended", "%s, after %s",
			 when_or_not(attempt, "ended_at", (char[WHEN_TEXT_MAX]){0}),
			 seconds >= 0 ? DURATION_TEXT((int64_t)(seconds * 1000))
				      : "an unknown time");
	else
		return false;
	return true;
}

static void add_outcome(struct text *text, const json_t *attempt)
{
	const char *outcome = jsonx_get_string(attempt, "outcome", "unknown");

	if (jsonx_has(attempt, "signal"))
		add_line(text, "  outcome", "%s, signal %lld", outcome,
			 (long long)jsonx_get_i64(attempt, "signal", 0));
	else if (jsonx_has(attempt, "exit_code"))
		add_line(text, "  outcome", "%s, exit %lld", outcome,
			 (long long)jsonx_get_i64(attempt, "exit_code", 0));
	else
		add_line(text, "  outcome", "%s, exit status unknown", outcome);
	add_line(text, "  stopped", "%s", jsonx_get_string(attempt, "stopped", ""));
	add_line(text, "  evidence", "%s", jsonx_get_string(attempt, "evidence", ""));
}

static void add_attempt(struct text *text, const json_t *attempt, const json_t *request,
			bool foreign)
{
	bool over;
	char where[64];

	attempt_where(attempt, where, sizeof where);
	text_printf(text, "  attempt %llu\n",
		    (unsigned long long)jsonx_get_u64(attempt, "number", 0));
	add_line(text, "  on", "%s%s", strcmp(where, "cpu") == 0 ? "" : "GPU ", where);
	if (!foreign)
		add_line(text, "  chosen by", "%s: %s", jsonx_get_string(attempt, "policy", ""),
			 jsonx_get_string(attempt, "reason", ""));
	if (!foreign && jsonx_has(attempt, "rung"))
		add_line(text, "  rung", "%s", jsonx_get_string(attempt, "rung", ""));
	if (!foreign && jsonx_has(attempt, "batch_size"))
		add_line(text, "  batch size", "%llu",
			 (unsigned long long)jsonx_get_u64(attempt, "batch_size", 0));
	add_line(text, "  started", "%s",
		 when_or_not(attempt, "started_at", (char[WHEN_TEXT_MAX]){0}));
	over = add_end(text, attempt);
	if (foreign)
		return;
	if (over)
		add_outcome(text, attempt);
	add_granted(text, attempt, request);
	if (!over)
		add_used(text, attempt);
	add_peak(text, attempt, over);
	add_overrun(text, attempt);
}

void tasktable_render_one(const json_t *task, struct text *text)
{
	bool foreign = is_foreign(task);
	const json_t *attempt;
	size_t i;

	text_printf(text, "task %llu\n", (unsigned long long)jsonx_get_u64(task, "id", 0));
	add_line(text, "name", "%s", name_of(task));
	if (foreign)
		add_line(text, "user", "%s; what it runs and how it ends are his to see",
			 jsonx_get_string(task, "user", "?"));
	if (jsonx_has(task, "batch"))
		add_line(text, "batch", "%s",
			 summary_batch_name(json_object_get(task, "batch"), (char[32]){0}));
	add_line(text, "state", "%s", jsonx_get_string(task, "state", ""));
	add_line(text, "reason", "%s", jsonx_get_string(task, "reason", ""));
	add_line(text, "kind", "%s", jsonx_get_string(task, "kind", ""));
	add_line(text, "priority", "%lld", (long long)jsonx_get_i64(task, "priority", 0));
	add_request(text, task);
	add_asks_now(text, task);
	taskfacts_add(task, text);
	add_command(text, json_object_get(task, "command"));
	add_line(text, "folder", "%s", jsonx_get_string(task, "cwd", ""));
	add_line(text, "submitted", "%s",
		 when_or_not(task, "submitted_at", (char[WHEN_TEXT_MAX]){0}));
	json_array_foreach (json_object_get(task, "attempts"), i, attempt)
		add_attempt(text, attempt, json_object_get(task, "request"), foreign);
}
