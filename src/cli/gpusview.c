/* See gpusview.h. */
#include "cli/gpusview.h"

#include "cli/table.h"
#include "cli/term.h"
#include "util/size.h"
#include "util/when.h"

#include <string.h>

#define CRITICAL_PERCENT 95.0
/* A GPU is called idle when at least this share of it is free to be promised. */
#define IDLE_ROOM_SHARE 0.5
#define PIDS_SHOWN      4
#define BAR_MAX         120

const char *gpusview_gib(const json_t *object, const char *key, char buf[32])
{
	if (jsonx_has(object, key))
		(void)snprintf(buf, 32, "%.1f", GIB_OF(jsonx_get_u64(object, key, 0)));
	else
		(void)snprintf(buf, 32, "?");
	return buf;
}

const char *gpusview_measure(const json_t *gpu, const char *key, char buf[32])
{
	long long value = (long long)jsonx_get_i64(gpu, key, 0);

	if (!jsonx_has(gpu, key))
		(void)snprintf(buf, 32, "-");
	else if (strcmp(key, "power_milliwatts") == 0)
		(void)snprintf(buf, 32, "%lld W", (value + 500) / 1000);
	else
		(void)snprintf(buf, 32, "%lld %s", value,
			       strcmp(key, "temperature_celsius") == 0 ? "C" : "%");
	return buf;
}

void gpusview_bar(const json_t *vram, unsigned width, struct text *text)
{
	double total = (double)jsonx_get_u64(vram, "total_bytes", 0);
	double line = (double)jsonx_get_u64(vram, "load_line_bytes", 0);

	if (total <= 0 || !jsonx_has(vram, "used_bytes")) {
		text_printf(text, "%*s", (int)width, "");
		return;
	}
	term_add_bar(text, (double)jsonx_get_u64(vram, "used_bytes", 0) / total,
		     line > 0 ? line / total : -1, width);
}

static double used_percent(const json_t *vram)
{
	double total = (double)jsonx_get_u64(vram, "total_bytes", 0);

	return total > 0 ? 100 * (double)jsonx_get_u64(vram, "used_bytes", 0) / total : 0;
}

static bool is_critical(const json_t *gpu)
{
	const json_t *vram = json_object_get(gpu, "vram");

	return used_percent(vram) >= CRITICAL_PERCENT ||
	       (jsonx_has(vram, "load_line_bytes") &&
		jsonx_get_u64(vram, "used_bytes", 0) > jsonx_get_u64(vram, "load_line_bytes", 0));
}

static bool is_sick(const json_t *gpu)
{
	return strcmp(jsonx_get_string(gpu, "health", "ok"), "ok") != 0;
}

/* Index of the first critical GPU but this one; -1 when there is none. */
static long long other_critical(const json_t *gpus, size_t self)
{
	const json_t *gpu;
	size_t i;

	json_array_foreach (gpus, i, gpu)
		if (i != self && !is_sick(gpu) && is_critical(gpu))
			return (long long)jsonx_get_i64(gpu, "index", 0);
	return -1;
}

static enum gpusview_note note_critical(const json_t *vram, struct text *words)
{
	char line[32];

	text_printf(words, "%.1f %% of its memory is used", used_percent(vram));
	if (jsonx_get_u64(vram, "used_bytes", 0) >
	    jsonx_get_u64(vram, "load_line_bytes", UINT64_MAX))
		text_printf(words, ", more than its load line of %s GiB",
			    gpusview_gib(vram, "load_line_bytes", line));
	return GPUSVIEW_CRITICAL;
}

enum gpusview_note gpusview_note(const json_t *gpus, size_t i, struct text *words)
{
	const json_t *list = json_object_get(gpus, "gpus"), *gpu = json_array_get(list, i);
	const json_t *vram = json_object_get(gpu, "vram");
	double total = (double)jsonx_get_u64(vram, "total_bytes", 0);
	double room = (double)jsonx_get_u64(vram, "room_bytes", 0);
	long long critical;
	char gib[32];

	if (is_sick(gpu)) {
		text_printf(words, "%s",
			    jsonx_get_string(gpu, "health_text", "no work is placed on it"));
		if (jsonx_has(gpu, "stale_since") &&
		    !strstr(jsonx_get_string(gpu, "health_text", ""), "since"))
			text_printf(words, " (since %s)",
				    WHEN_TEXT(jsonx_get_time(gpu, "stale_since")));
		return GPUSVIEW_SICK;
	}
	if (is_critical(gpu))
		return note_critical(vram, words);
	if (jsonx_has(gpu, "closed")) {
		text_printf(words, "nothing new starts here: %s",
			    jsonx_get_string(gpu, "closed", ""));
		return GPUSVIEW_CLOSED;
	}
	critical = other_critical(list, i);
	if (critical < 0 || total <= 0 || room < total * IDLE_ROOM_SHARE)
		return GPUSVIEW_NONE;
	text_printf(words, "%s GiB of room here while GPU %lld is critical",
		    gpusview_gib(vram, "room_bytes", gib), critical);
	return GPUSVIEW_IDLE;
}

static const struct {
	const char *word; /* of a sick one its health is the word */
	enum term_style style;
} notes[] = {
    [GPUSVIEW_NONE] = {"", TERM_PLAIN},           [GPUSVIEW_SICK] = {"", TERM_RED},
    [GPUSVIEW_CRITICAL] = {"CRITICAL", TERM_RED}, [GPUSVIEW_CLOSED] = {"CLOSED", TERM_YELLOW},
    [GPUSVIEW_IDLE] = {"IDLE", TERM_YELLOW},
};

const char *gpusview_note_name(enum gpusview_note note)
{
	return notes[note].word;
}

static void add_note(const json_t *gpus, size_t i, FILE *file, struct text *text)
{
	const json_t *gpu = json_array_get(json_object_get(gpus, "gpus"), i);
	auto_text struct text words = {}, label = {};
	enum gpusview_note note = gpusview_note(gpus, i, &words);

	if (note == GPUSVIEW_NONE)
		return;
	text_add(&label,
		 notes[note].word[0] ? notes[note].word : jsonx_get_string(gpu, "health", "?"));
	for (char *p = label.data; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	text_printf(text, "  %s%s%s: ", term_style(file, notes[note].style), label.data,
		    term_style_end(file));
	term_add_clean(text, words.data, ERROR_TEXT_MAX);
	text_add(text, "\n");
}

/* Facts joined by two blanks, broken into lines that fit. */
static void add_facts(const json_t *vram, unsigned width, struct text *text)
{
	static const struct {
		const char *key, *label;
		bool rare; /* said only where there is some */
	} facts[] = {
	    {"load_line_bytes", "load line"},
	    {"reserve_bytes", "reserve"},
	    {"allocated_bytes", "allocated"},
	    {"foreign_bytes", "foreign"},
	    {"services_bytes", "services", true},
	    {"leaving_bytes", "coming back", true},
	    {"room_bytes", "room"},
	};
	size_t column = 0;

	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		auto_text struct text fact = {};
		char gib[32];

		if (facts[i].rare && jsonx_get_u64(vram, facts[i].key, 0) == 0)
			continue;
		text_printf(&fact, "%s %s", facts[i].label, gpusview_gib(vram, facts[i].key, gib));
		if (column > 0 && column + 3 + fact.len + 4 > width) {
			text_add(text, "\n");
			column = 0;
		}
		text_printf(text, "%s%s", column == 0 ? "  " : " | ", fact.data);
		column += 3 + fact.len;
	}
	text_add(text, " GiB\n");
}

static void add_pids(struct table *table, const json_t *holder)
{
	const json_t *pids = json_object_get(holder, "pids"), *pid;
	auto_text struct text list = {};
	size_t i;

	json_array_foreach (pids, i, pid) {
		if (i < PIDS_SHOWN)
			text_printf(&list, "%s%lld", i ? " " : "pid ",
				    (long long)json_integer_value(pid));
		else if (i == PIDS_SHOWN)
			text_printf(&list, " and %zu more", json_array_size(pids) - i);
	}
	table_add(table, "%s", list.data ? list.data : "");
}

/* What is to be done about memory that nobody uses any more: a task's that has ended, a dead
 * process's. */
static void add_leftovers(const json_t *holders, const json_t *gpu, struct text *text)
{
	unsigned long long index = jsonx_get_u64(gpu, "index", 0);
	const json_t *holder;
	size_t i;

	json_array_foreach (holders, i, holder) {
		long long pid =
		    json_integer_value(json_array_get(json_object_get(holder, "pids"), 0));
		bool left = strcmp(jsonx_get_string(holder, "kind", ""), "leftover") == 0;
		bool dead = jsonx_get_bool(holder, "dead", false);

		if (!left && !dead)
			continue;
		text_add(text, "    ");
		if (left)
			text_printf(text, "task %llu has ended, its ",
				    (unsigned long long)jsonx_get_u64(holder, "task", 0));
		text_printf(text, "%sprocess %lld still holds %s: ", dead ? "dead " : "", pid,
			    jsonx_has(holder, "used_bytes")
				? SIZE_TEXT(jsonx_get_u64(holder, "used_bytes", 0))
				: "memory");
		if (!dead)
			text_printf(text, "kill -9 %lld; if it stays, ", pid);
		text_printf(text, "reset the GPU (nvidia-smi --gpu-reset -i %llu) or reboot\n",
			    index);
	}
}

static void add_holders(const json_t *holders, unsigned width, struct text *text)
{
	static const struct table_column columns[] = {
	    {.title = "    holds"},
	    {.title = "name", .shrinks = true},
	    {.title = "promised", .right = true},
	    {.title = "uses", .right = true},
	    {.title = "", .shrinks = true},
	};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	const json_t *holder;
	size_t i;

	json_array_foreach (holders, i, holder) {
		const char *name = jsonx_get_string(
		    holder, "name", jsonx_get_bool(holder, "dead", false) ? "dead" : "unknown");

		table_add(table, "    %s", jsonx_get_string(holder, "kind", ""));
		if (jsonx_has(holder, "task"))
			table_add(table, "%llu %s",
				  (unsigned long long)jsonx_get_u64(holder, "task", 0), name);
		else
			table_add(table, "%s", name);
		table_add(table, "%s",
			  jsonx_has(holder, "allocated_bytes")
			      ? SIZE_TEXT(jsonx_get_u64(holder, "allocated_bytes", 0))
			      : "");
		table_add(table, "%s",
			  jsonx_has(holder, "used_bytes")
			      ? SIZE_TEXT(jsonx_get_u64(holder, "used_bytes", 0))
			      : "unknown");
		add_pids(table, holder);
	}
	table_render(table, width, text);
}

static void add_gpu(const json_t *gpus, size_t i, FILE *file, unsigned width, struct text *text)
{
	const json_t *gpu = json_array_get(json_object_get(gpus, "gpus"), i);
	const json_t *vram = json_object_get(gpu, "vram");
	auto_text struct text title = {}, measures = {}, amount = {};
	char a[32], b[32], c[32];
	size_t bar;

	text_printf(&measures, "util %s  %s  %s", gpusview_measure(gpu, "utilization_percent", a),
		    gpusview_measure(gpu, "temperature_celsius", b),
		    gpusview_measure(gpu, "power_milliwatts", c));
	text_printf(&title, "GPU %llu  ", (unsigned long long)jsonx_get_u64(gpu, "index", 0));
	term_add_clean(&title, jsonx_get_string(gpu, "name", "unknown GPU"),
		       width > measures.len + 14 ? width - measures.len - 14 : 10);
	text_printf(text, "%s%s%s%*s%s\n", term_style(file, TERM_BOLD), title.data,
		    term_style_end(file),
		    (int)MAX_OF(2, (int)width - (int)text_columns(title.data) - (int)measures.len),
		    "", measures.data);
	text_printf(&amount, "%s of %s GiB used", gpusview_gib(vram, "used_bytes", a),
		    gpusview_gib(vram, "total_bytes", b));
	bar = width > amount.len + 16 ? MIN_OF(width - amount.len - 6, (size_t)BAR_MAX) : 10;
	if (jsonx_has(vram, "total_bytes")) {
		text_add(text, "  [");
		gpusview_bar(vram, (unsigned)bar, text);
		text_printf(text, "] %s\n", amount.data);
		add_facts(vram, width, text);
	} else {
		text_printf(text, "  memory: not reported%s\n",
			    jsonx_get_bool(gpu, "unified_memory", false) ? " (shared with the host)"
									 : "");
	}
	add_note(gpus, i, file, text);
	add_holders(json_object_get(gpu, "holders"), width, text);
	add_leftovers(json_object_get(gpu, "holders"), gpu, text);
}

/* "limits: VRAM HAMi-core, watched | RAM watched" */
static void add_limits(const json_t *limits, struct text *text)
{
	static const char *const keys[][2] = {{"vram", "VRAM"}, {"ram", "RAM"}};

	if (!limits)
		return;
	text_add(text, "\nlimits:");
	for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
		const json_t *word;
		size_t i;

		text_printf(text, "%s %s", k > 0 ? " |" : "", keys[k][1]);
		json_array_foreach (json_object_get(limits, keys[k][0]), i, word)
			text_printf(text, "%s %s", i > 0 ? "," : "", json_string_value(word));
	}
	text_add(text, "\n");
}

void gpusview_render(const json_t *gpus, FILE *file, unsigned width, struct text *text)
{
	const char *source = jsonx_get_string(gpus, "source", "unknown"), *words;
	size_t n = json_array_size(json_object_get(gpus, "gpus"));

	words = jsonx_get_string(gpus, "text", "");
	if (strcmp(source, "ok") != 0 || n == 0) {
		text_printf(text, "%s%s%s: ", term_style(file, TERM_RED),
			    n == 0 ? "no GPU to be seen" : source, term_style_end(file));
		term_add_clean(text, *words ? words : source, ERROR_TEXT_MAX);
		if (jsonx_has(gpus, "stale_since") && !strstr(words, "since"))
			text_printf(text, " (since %s)",
				    WHEN_TEXT(jsonx_get_time(gpus, "stale_since")));
		text_add(text, "\n");
	}
	for (size_t i = 0; i < n; i++) {
		text_add(text, i ? "\n" : "");
		add_gpu(gpus, i, file, width, text);
	}
	add_limits(json_object_get(gpus, "limits"), text);
}

bool gpusview_is_problem(const json_t *gpus)
{
	const json_t *list = json_object_get(gpus, "gpus"), *gpu;
	size_t i;

	if (strcmp(jsonx_get_string(gpus, "source", ""), "ok") != 0 || json_array_size(list) == 0)
		return true;
	json_array_foreach (list, i, gpu)
		if (is_sick(gpu))
			return true;
	return false;
}
