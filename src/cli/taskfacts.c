/* See taskfacts.h. One fact a line, short enough for 80 columns. */
#include "cli/taskfacts.h"

#include "cli/term.h"
#include "util/duration.h"
#include "util/when.h"

#include <string.h>

#define IDS_SHOWN      8  /* ranges of numbers; the rest are counted */
#define UUID_SHOWN     12 /* "GPU-12345678": tells them apart on one machine */
#define LINE_MAX_BYTES 512

static void add_line(struct text *text, const char *label, const char *fmt, ...) PRINTF(3, 4);

static void add_line(struct text *text, const char *label, const char *fmt, ...)
{
	char value[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	text_printf(text, "  %-10s ", label);
	term_add_clean(text, value, sizeof value);
	text_add(text, "\n");
}

static const char *seconds_text(const json_t *object, const char *key, char buf[DURATION_TEXT_MAX])
{
	return duration_format(buf, (int64_t)(jsonx_get_real(object, key, 0) * 1000 + 0.5));
}

/* "12-20, 31 and 4 more". */
static void add_ids(struct text *line, const char *what, const json_t *ids)
{
	size_t n = json_array_size(ids), shown = 0;

	if (n == 0)
		return;
	text_printf(line, "%s%s%s ", line->len > 0 ? ", " : "", what, PLURAL(n));
	for (size_t i = 0; i < n;) {
		json_int_t first = json_integer_value(json_array_get(ids, i)), last = first;

		if (shown++ == IDS_SHOWN) {
			text_printf(line, " and %zu more", n - i);
			return;
		}
		while (++i < n && json_integer_value(json_array_get(ids, i)) == last + 1)
			last++;
		text_printf(line, "%s%lld", shown > 1 ? ", " : "", (long long)first);
		if (last > first)
			text_printf(line, "-%lld", (long long)last);
	}
}

static void add_both(struct text *line, const json_t *object)
{
	add_ids(line, "task", json_object_get(object, "tasks"));
	add_ids(line, "batch", json_object_get(object, "batches"));
}

static void add_after(const json_t *task, struct text *text)
{
	static const struct {
		const char *on, *one, *all;
	} how[] = {{"success", "is done", "are done"},
		   {"failure", "has failed", "have failed"},
		   {"end", "has ended", "have ended"}};
	const json_t *after = json_object_get(task, "after"),
		     *left = json_object_get(after, "left");
	const char *on = jsonx_get_string(after, "on", ""),
		   *state = jsonx_get_string(task, "state", "");
	bool any = jsonx_get_bool(after, "any", false);
	auto_text struct text line = {}, rest = {};
	size_t n;

	if (!json_is_object(after))
		return;
	add_both(&line, after);
	n = json_array_size(json_object_get(after, "tasks")) +
	    json_array_size(json_object_get(after, "batches"));
	for (size_t i = 0; i < ARRAY_LEN(how); i++)
		if (strcmp(on, how[i].on) == 0)
			text_printf(&line, ": when %s %s",
				    n == 1 ? "it"
				    : any  ? "one"
					   : "all",
				    n == 1 || any ? how[i].one : how[i].all);
	add_line(text, "after", "%s", line.data);
	add_both(&rest, left);
	if (rest.len > 0 && (strcmp(state, "waiting") == 0 || strcmp(state, "held") == 0))
		add_line(text, "  to come", "%s", rest.data);
}

static void add_times(const json_t *task, struct text *text)
{
	char soft[DURATION_TEXT_MAX], hard[DURATION_TEXT_MAX];
	int64_t at = jsonx_get_time(task, "at"), next = jsonx_get_time(task, "not_before");

	if (at > 0)
		add_line(text, "not before", "%s", WHEN_TEXT(at));
	if (next > at && strcmp(jsonx_get_string(task, "state", ""), "waiting") == 0)
		add_line(text, "next try", "%s", WHEN_TEXT(next));
	if (jsonx_has(task, "soft_limit_seconds"))
		add_line(text, "soft limit", "%s, then %s",
			 seconds_text(task, "soft_limit_seconds", soft),
			 jsonx_get_string(task, "soft_signal", "SIGTERM"));
	if (jsonx_has(task, "time_limit_seconds"))
		add_line(text, "time limit", "%s, then SIGKILL",
			 seconds_text(task, "time_limit_seconds", hard));
}

static void add_retries(const json_t *task, struct text *text)
{
	unsigned long long allowed = jsonx_get_u64(task, "retries", 0),
			   used = jsonx_get_u64(task, "failures", 0),
			   lost = jsonx_get_u64(task, "requeues", 0);
	double pause = jsonx_get_real(task, "retry_delay_seconds", 0);
	bool said = jsonx_has(task, "retry_delay_seconds");
	char delay[DURATION_TEXT_MAX];

	if (allowed > 0)
		add_line(text, "retries", "%llu, %llu left%s%s", allowed,
			 allowed > used ? allowed - used : 0,
			 !said       ? ""
			 : pause > 0 ? ", the first after "
				     : ", at once",
			 said && pause > 0 ? seconds_text(task, "retry_delay_seconds", delay) : "");
	if (lost > 0)
		add_line(text, "put back", "%llu time%s, its GPU was lost", lost, PLURAL(lost));
}

static void add_names(const json_t *request, const char *key, const char *label, int shown,
		      struct text *text)
{
	auto_text struct text line = {};
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(request, key), i, item)
		text_printf(&line, "%s%.*s", i > 0 ? ", " : "", shown, json_string_value(item));
	if (line.len > 0)
		add_line(text, label, "%s", line.data);
}

static void add_wishes(const json_t *request, struct text *text)
{
	const char *min = jsonx_get_string(request, "compute_capability_min", ""),
		   *max = jsonx_get_string(request, "compute_capability_max", "");
	char stagger[DURATION_TEXT_MAX];

	add_names(request, "prefer", "prefers", UUID_SHOWN, text);
	add_names(request, "avoid", "avoids", UUID_SHOWN, text);
	add_names(request, "forbid", "never on", UUID_SHOWN, text);
	add_names(request, "models", "models", LINE_MAX_BYTES, text);
	if (*min || *max)
		add_line(text, "compute", "capability %s%s%s%s", min, *min && *max ? " to " : "",
			 *min || !*max ? "" : "at most ", *max ? max : " or above");
	if (jsonx_get_bool(request, "start_lock", false))
		add_line(text, "start lock",
			 "nothing else starts beside it until its use has settled");
	if (jsonx_has(request, "stagger_seconds"))
		add_line(text, "stagger", "%s between starts on its GPU",
			 seconds_text(request, "stagger_seconds", stagger));
}

/* May it do without a GPU? */
static void add_cpu(const json_t *task, struct text *text)
{
	const char *cpu = jsonx_get_string(json_object_get(task, "request"), "cpu", "");

	if (strcmp(cpu, "fallback") == 0)
		add_line(text, "CPU",
			 "when no GPU here can ever hold it, or on its ladder (--cpu fallback)");
	else if (strcmp(cpu, "when-idle") == 0)
		add_line(text, "CPU", "when no GPU takes it now (--cpu when-idle)");
}

static bool ran_out(const json_t *task)
{
	const json_t *attempt;
	size_t i;

	json_array_foreach (json_object_get(task, "attempts"), i, attempt)
		if (strstr(jsonx_get_string(attempt, "outcome", ""), "oom"))
			return true;
	return false;
}

/* The ladder that was asked for; the default one where it was climbed. */
static void add_on_oom(const json_t *task, struct text *text)
{
	const json_t *rungs = json_object_get(task, "on_oom"), *rung;
	bool is_default = jsonx_get_bool(task, "on_oom_default", true);
	auto_text struct text line = {};
	size_t i;

	if (is_default && !ran_out(task))
		return;
	json_array_foreach (rungs, i, rung)
		text_printf(&line, "%s%s", i > 0 ? ", " : "", json_string_value(rung));
	if (line.len > 0)
		add_line(text, "on oom", "%s%s", line.data, is_default ? " (the default)" : "");
}

static void add_on_overrun(const json_t *task, struct text *text)
{
	const char *on = jsonx_get_string(task, "on_overrun", "");

	if (strcmp(on, "warn") == 0)
		add_line(text, "on overrun", "warn: it is never stopped for what it uses");
	else if (strcmp(on, "stop") == 0)
		add_line(text, "on overrun",
			 "stop: it is ended when it uses more than it was granted");
}

void taskfacts_add(const json_t *task, struct text *text)
{
	add_cpu(task, text);
	add_on_oom(task, text);
	add_on_overrun(task, text);
	if (jsonx_has(task, "batch_size"))
		add_line(text, "batch size", "%llu",
			 (unsigned long long)jsonx_get_u64(task, "batch_size", 0));
	add_wishes(json_object_get(task, "request"), text);
	add_after(task, text);
	add_times(task, text);
	add_retries(task, text);
	if (jsonx_get_bool(task, "private", false))
		add_line(text, "private", "other users do not see its name");
	if (jsonx_has(task, "tty"))
		add_line(text, "terminal", "%s", jsonx_get_string(task, "tty", ""));
}
