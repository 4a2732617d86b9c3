/* See summary.h. */
#include "cli/summary.h"

#include "cli/table.h"
#include "cli/term.h"
#include "gpu/gpu.h"
#include "util/duration.h"
#include "util/size.h"

#include <string.h>

#define FAILED_SHOWN 20

const char *summary_batch_name(const json_t *batch, char buf[32])
{
	const json_t *id = json_is_object(batch) ? json_object_get(batch, "id") : batch;

	if (json_is_integer(id))
		(void)snprintf(buf, 32, "b%lld", (long long)json_integer_value(id));
	else
		(void)snprintf(buf, 32, "%.31s", json_is_string(id) ? json_string_value(id) : "?");
	return buf;
}

const char *summary_short_name(const char *model)
{
	const char *name = gpu_short_name(model);

	return text_starts_with(name, "GeForce ") ? name + strlen("GeForce ") : name;
}

bool summary_did_not_start(const json_t *task)
{
	const json_t *attempts = json_object_get(task, "attempts");
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);

	return last && strcmp(jsonx_get_string(last, "outcome", ""), "error") == 0 &&
	       !jsonx_has(last, "exit_code") && !jsonx_has(last, "signal");
}

const char *summary_outcome(const json_t *task, char buf[SUMMARY_OUTCOME_MAX])
{
	static const struct {
		const char *outcome, *text;
	} known[] = {{"oom", "out of GPU memory"},     {"host-oom", "out of host memory"},
		     {"timeout", "time limit"},        {"canceled", "canceled"},
		     {"gpu-lost", "its GPU was lost"}, {"lost", SUMMARY_LOST}};
	const json_t *attempts = json_object_get(task, "attempts");
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
	const char *outcome = jsonx_get_string(last, "outcome", "");

	/* Memory was not short: it was stopped before that. */
	if (jsonx_has(last, "stopped")) {
		(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "stopped: %s",
			       jsonx_get_string(last, "stopped", ""));
		return buf;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(outcome, known[i].outcome) == 0) {
			(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "%s", known[i].text);
			return buf;
		}
	if (jsonx_has(last, "signal"))
		(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "killed by signal %lld",
			       (long long)jsonx_get_i64(last, "signal", 0));
	else if (jsonx_has(last, "exit_code"))
		(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "exit %lld",
			       (long long)jsonx_get_i64(last, "exit_code", 0));
	else if (summary_did_not_start(task))
		(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "did not start");
	else
		(void)snprintf(buf, SUMMARY_OUTCOME_MAX, "%.100s",
			       jsonx_get_string(task, "state", "unknown"));
	return buf;
}

static size_t lost_count(const json_t *result)
{
	const json_t *task;
	size_t i, n = 0;

	json_array_foreach (json_object_get(result, "tasks"), i, task)
		n += strcmp(jsonx_get_string(task, "state", ""), "lost") == 0;
	return n;
}

/* The batch's own counts are of now and are told of everybody's batch; a summary is not. */
static unsigned long long counted(const json_t *result, const char *key)
{
	const json_t *batch = json_object_get(result, "batch");

	if (jsonx_has(batch, key))
		return jsonx_get_u64(batch, key, 0);
	return jsonx_get_u64(json_object_get(result, "summary"), key, 0);
}

int summary_exit_code(const json_t *result)
{
	return counted(result, "failed") > 0 || counted(result, "canceled") > 0 ||
	       lost_count(result) > 0;
}

static void add_number(struct table *table, const json_t *object, const char *key,
		       const char *fmt_unit)
{
	if (jsonx_has(object, key))
		table_add(table, "%.0f%s", jsonx_get_real(object, key, 0), fmt_unit);
	else
		table_add(table, "-");
}

static void render_gpus(const json_t *summary, unsigned width, struct text *text)
{
	static const struct table_column columns[] = {
	    {.title = "GPU", .right = true},
	    {.title = "name", .shrinks = true},
	    {.title = "tasks", .right = true},
	    {.title = "mean util", .right = true},
	    {.title = "peak VRAM", .right = true},
	    {.title = "load line", .right = true, .wide_only = true},
	    {.title = "tasks/hour", .right = true},
	};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	const json_t *gpu;
	size_t i;

	json_array_foreach (json_object_get(summary, "gpus"), i, gpu) {
		table_add(table, "%llu", (unsigned long long)jsonx_get_u64(gpu, "index", 0));
		table_add(table, "%s", summary_short_name(jsonx_get_string(gpu, "name", "")));
		table_add(table, "%llu", (unsigned long long)jsonx_get_u64(gpu, "tasks", 0));
		add_number(table, gpu, "mean_utilization_percent", " %");
		table_add(table, "%s",
			  jsonx_has(gpu, "peak_vram_bytes")
			      ? SIZE_TEXT(jsonx_get_u64(gpu, "peak_vram_bytes", 0))
			      : "-");
		table_add(table, "%s",
			  jsonx_has(gpu, "load_line_bytes")
			      ? SIZE_TEXT(jsonx_get_u64(gpu, "load_line_bytes", 0))
			      : "-");
		add_number(table, gpu, "tasks_per_hour", "");
	}
	table_render(table, width, text);
}

/* `ratio` says what the factor behind it means: "times as long as this". */
static void add_yardstick(struct text *text, double seconds, const char *label, double factor,
			  const char *ratio)
{
	text_printf(text, "  %-34s %12s", label, DURATION_TEXT((int64_t)(seconds * 1000)));
	if (factor > 0)
		text_printf(text, "   %.2fx %s", factor, ratio);
	text_add(text, "\n");
}

static void render_times(const json_t *summary, struct text *text)
{
	static const struct {
		const char *key, *label;
	} others[] = {{"even_split_seconds", "an even split by hand"},
		      {"one_gpu_seconds", "all on the one best GPU"}};
	double wall = jsonx_get_real(summary, "wall_seconds", 0);
	double lower = jsonx_get_real(summary, "lower_bound_seconds", 0);

	text_printf(text, "  %-34s %12s", "wall time", DURATION_TEXT((int64_t)(wall * 1000)));
	if (jsonx_has(summary, "tasks_per_hour"))
		text_printf(text, "   %.0f tasks/hour",
			    jsonx_get_real(summary, "tasks_per_hour", 0));
	text_add(text, "\n");
	/* They are of the whole batch on GPUs: beside a part of it they would mislead. */
	if (jsonx_get_u64(summary, "canceled", 0) > 0 || jsonx_get_u64(summary, "on_cpu", 0) > 0)
		return;
	if (lower > 0)
		add_yardstick(text, lower, "lower bound: no schedule is shorter", wall / lower,
			      "of it was needed");
	else if (jsonx_get_u64(summary, "done", 0) > 0)
		text_add(text,
			 "  no lower bound: its tasks were too short to see how busy they keep a "
			 "GPU\n");
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		double seconds = jsonx_get_real(summary, others[i].key, 0);

		if (seconds > 0 && wall > 0)
			add_yardstick(text, seconds, others[i].label, seconds / wall, "as long");
	}
}

static void render_failed(const json_t *result, unsigned width, struct text *text)
{
	static const struct table_column columns[] = {
	    {.title = "failed", .shrinks = true},
	    {.title = "row", .right = true},
	    {.title = "how"},
	    {.title = "GPU", .wide_only = true},
	    {.title = "its log"},
	};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	unsigned failed = 0;
	const json_t *task;
	size_t i;

	json_array_foreach (json_object_get(result, "tasks"), i, task) {
		const char *state = jsonx_get_string(task, "state", "");
		const json_t *attempts = json_object_get(task, "attempts");
		const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
		const json_t *gpu = json_array_get(json_object_get(last, "gpus"), 0);

		if (strcmp(state, "failed") != 0 && strcmp(state, "lost") != 0)
			continue;
		if (failed++ >= FAILED_SHOWN)
			continue;
		table_add(table, "%s", jsonx_get_string(task, "name", ""));
		if (jsonx_has(task, "row"))
			table_add(table, "%llu", (unsigned long long)jsonx_get_u64(task, "row", 0));
		else
			table_add(table, "%zu", i + 1);
		table_add(table, "%s", summary_outcome(task, (char[SUMMARY_OUTCOME_MAX]){0}));
		if (jsonx_has(gpu, "index"))
			table_add(table, "%llu",
				  (unsigned long long)jsonx_get_u64(gpu, "index", 0));
		else
			table_add(table, "cpu");
		table_add(table, "plimsoll %s %llu", summary_did_not_start(task) ? "why" : "logs",
			  (unsigned long long)jsonx_get_u64(task, "id", 0));
	}
	if (failed > 0)
		text_add(text, "\n");
	table_render(table, width, text);
	if (failed > FAILED_SHOWN)
		text_printf(text, "... and %u more\n", failed - FAILED_SHOWN);
}

/* "  3 tasks ran out of memory and were recovered: 2 by retry, 1 on the CPU" */
static void render_recovered(const json_t *summary, struct text *text)
{
	static const struct {
		const char *rung, *how;
	} ways[] = {{"retry", "by retry"},
		    {"bigger-gpu", "on a bigger GPU"},
		    {"alone", "alone on a GPU"},
		    {"smaller-batch", "with a smaller batch"},
		    {"cpu", "on the CPU"}};
	unsigned long long n = jsonx_get_u64(summary, "oom_recovered", 0);
	const json_t *by = json_object_get(summary, "oom_recovered_by");
	bool first = true;

	if (n == 0)
		return;
	text_printf(text, "  %llu task%s ran out of memory and %s recovered", n, PLURAL(n),
		    n == 1 ? "was" : "were");
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		unsigned long long some = jsonx_get_u64(by, ways[i].rung, 0);

		if (some == 0)
			continue;
		text_printf(text, "%s%llu %s", first ? ": " : ", ", some, ways[i].how);
		first = false;
	}
	text_add(text, "\n");
}

/* "  2 tasks used more than they were granted:" and who, where that is known. */
static void render_overruns(const json_t *summary, unsigned width, struct text *text)
{
	unsigned long long n = jsonx_get_u64(summary, "overran", 0);
	const json_t *overruns = json_object_get(summary, "overruns"), *overrun;
	size_t i;

	if (n == 0)
		return;
	text_printf(text, "  %llu task%s used more than %s granted%s\n", n, PLURAL(n),
		    n == 1 ? "it was" : "they were", json_array_size(overruns) > 0 ? ":" : "");
	json_array_foreach (overruns, i, overrun) {
		auto_text struct text line = {};

		text_printf(&line, "    task %llu (",
			    (unsigned long long)jsonx_get_u64(overrun, "task", 0));
		term_add_clean(&line, jsonx_get_string(overrun, "name", ""), 40);
		text_add(&line, ") ");
		term_add_clean(&line, jsonx_get_string(overrun, "text", ""), ERROR_TEXT_MAX);
		term_add_wrapped(text, line.data, 6, width);
	}
	if (n > i && i > 0)
		text_printf(text, "    and %llu more\n", n - i);
}

/* Where nothing failed, why something was canceled. */
static void render_canceled(const json_t *result, struct text *text)
{
	const json_t *task;
	size_t i;

	if (counted(result, "canceled") == 0 || counted(result, "failed") > 0)
		return;
	json_array_foreach (json_object_get(result, "tasks"), i, task) {
		if (strcmp(jsonx_get_string(task, "state", ""), "canceled") != 0 ||
		    !jsonx_has(task, "reason"))
			continue;
		text_add(text, "  canceled: ");
		term_add_clean(text, jsonx_get_string(task, "reason", ""), ERROR_TEXT_MAX);
		text_add(text, "\n");
		return;
	}
}

void summary_add_warning(struct text *text, const json_t *warning)
{
	unsigned long long tasks = jsonx_get_u64(warning, "tasks", 1);

	text_add(text, "kind ");
	term_add_clean(text, jsonx_get_string(warning, "kind", ""), 128);
	if (tasks > 1)
		text_printf(text, " (%llu tasks)", tasks);
	text_add(text, " ");
	term_add_clean(text, jsonx_get_string(warning, "text", ""), ERROR_TEXT_MAX);
}

static void render_warnings(const json_t *summary, unsigned width, struct text *text)
{
	const json_t *warning;
	size_t i;

	json_array_foreach (json_object_get(summary, "warnings"), i, warning) {
		auto_text struct text line = {};

		text_add(&line, "  ");
		summary_add_warning(&line, warning);
		term_add_wrapped(text, line.data, 4, width);
	}
}

void summary_render(const json_t *result, unsigned width, struct text *text)
{
	const json_t *summary = json_object_get(result, "summary"),
		     *batch = json_object_get(result, "batch");
	static const struct {
		const char *key, *text;
	} counts[] = {{"failed", "failed"},
		      {"canceled", "canceled"},
		      {"running", "running"},
		      {"waiting", "waiting"},
		      {"on_cpu", "on the CPU"}};

	render_gpus(summary, width, text);
	if (text->len > 0)
		text_add(text, "\n");
	text_printf(text, "batch %s: %llu done", summary_batch_name(batch, (char[32]){0}),
		    counted(result, "done"));
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		if (i == 0 || counted(result, counts[i].key) > 0)
			text_printf(text, ", %llu %s", counted(result, counts[i].key),
				    counts[i].text);
		/* They count as failed: nobody can say that they did what they were to do. */
		if (i == 0 && lost_count(result) > 0)
			text_printf(text, " (%zu of them " SUMMARY_LOST ")", lost_count(result));
	}
	text_add(text, "\n");
	render_recovered(summary, text);
	render_overruns(summary, width, text);
	render_canceled(result, text);
	if (json_is_object(summary))
		render_times(summary, text);
	render_warnings(summary, width, text);
	render_failed(result, width, text);
}
