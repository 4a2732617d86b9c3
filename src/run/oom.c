/* See oom.h. Lines are looked at from the last one backwards: what was said last decides. */
#include "run/oom.h"

#include "run/log.h"
#include "util/paths.h"
#include "util/yamlx.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX    200
#define PATTERNS_MAX 1000
#define LINE_MAX_LEN 4096

enum kind { KIND_GPU, KIND_HOST, KIND_EITHER, KIND_IGNORE };

static const char *const kind_names[] = {
    [KIND_GPU] = "gpu",
    [KIND_HOST] = "host",
    [KIND_EITHER] = "either",
    [KIND_IGNORE] = "ignore",
};

static const char *const outcome_names[] = {
    [OOM_OK] = "ok",         [OOM_ERROR] = "error", [OOM_GPU] = "oom",
    [OOM_HOST] = "host-oom", [OOM_LOST] = "lost",
};

struct pattern {
	char *id;
	char *text; /* lower case */
	enum kind kind;
};

struct oom_patterns {
	struct pattern *items;
	size_t n;
};

const char *oom_outcome_name(enum oom_outcome outcome)
{
	return outcome_names[outcome];
}

/* --- loading --- */

static int pattern_load(const struct yamlx *doc, const struct yamlx_node *node,
			struct pattern *pattern, struct error *err)
{
	static const char *const keys[] = {"id", "kind", "text", "source", "date", NULL};
	const char *values[5] = {};
	int r = yamlx_check_keys(doc, node, keys, err);

	for (size_t i = 0; r == 0 && keys[i]; i++) {
		const struct yamlx_node *value = yamlx_get(node, keys[i]);

		if (!value)
			return yamlx_error(doc, node, -EINVAL, err, "a pattern needs \"%s\"",
					   keys[i]);
		r = yamlx_string(doc, value, &values[i], err);
	}
	if (r < 0)
		return r;
	if (!values[2][0])
		return yamlx_error(doc, node, -EINVAL, err, "\"text\" is empty");
	for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
		if (strcmp(kind_names[i], values[1]) != 0)
			continue;
		pattern->kind = (enum kind)i;
		pattern->id = mem_strdup(values[0]);
		pattern->text = mem_strdup(values[2]);
		for (char *p = pattern->text; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		return 0;
	}
	return yamlx_error(doc, yamlx_get(node, "kind"), -EINVAL, err,
			   "\"%s\" is not gpu, host, either or ignore", values[1]);
}

int oom_patterns_load(const char *path, struct oom_patterns **ret_patterns, struct error *err)
{
	static const char *const keys[] = {"version", "patterns", NULL};
	auto_free char *found = NULL;
	auto_yamlx struct yamlx *doc = NULL;
	const struct yamlx_node *list;
	struct oom_patterns *patterns;
	int r = path ? 0 : paths_find_data("oom-patterns.yaml", &found, err);

	if (r == 0)
		r = yamlx_load(path ? path : found, &doc, err);
	if (r == 0)
		r = yamlx_check_keys(doc, doc->root, keys, err);
	if (r < 0)
		return r;
	list = yamlx_get(doc->root, "patterns");
	if (!list || list->type != YAMLX_SEQUENCE || list->n > PATTERNS_MAX)
		return yamlx_error(doc, list ? list : doc->root, -EINVAL, err,
				   "\"patterns\" is no list of at most %d", PATTERNS_MAX);
	patterns = mem_calloc(1, sizeof *patterns);
	patterns->items = mem_calloc(list->n + 1, sizeof *patterns->items);
	for (size_t i = 0; i < list->n && r == 0; i++) {
		r = pattern_load(doc, list->items[i], &patterns->items[i], err);
		patterns->n += r == 0;
	}
	if (r < 0) {
		oom_patterns_destroy(patterns);
		return r;
	}
	*ret_patterns = patterns;
	return 0;
}

void oom_patterns_destroy(struct oom_patterns *patterns)
{
	if (!patterns)
		return;
	for (size_t i = 0; i < patterns->n; i++) {
		free(patterns->items[i].id);
		free(patterns->items[i].text);
	}
	free(patterns->items);
	free(patterns);
}

/* --- matching --- */

/* Is `text`, whose '*' stand for anything, somewhere in `line`? The parts between the stars must
 * come one after the other: taking each at its first place loses nothing. */
static bool pattern_matches(const char *text, const char *line)
{
	while (*text) {
		size_t len = strcspn(text, "*");
		const char *at = memmem(line, strlen(line), text, len);

		if (!at)
			return false;
		line = at + len;
		text += len + (text[len] == '*');
	}
	return true;
}

/* One line without colours (CSI and OSC sequences) and control bytes. */
static void line_clean(const char *line, size_t len, char buf[LINE_MAX_LEN])
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < LINE_MAX_LEN; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c == 0x1b && i + 1 < len && line[i + 1] == '[') {
			for (i += 2; i < len && (line[i] < 0x40 || line[i] > 0x7e); i++)
				continue;
		} else if (c == 0x1b && i + 1 < len && line[i + 1] == ']') {
			for (i += 2; i < len && line[i] != 0x07; i++)
				continue;
		} else if (c >= ' ' || c == '\t') {
			buf[n++] = (char)c;
		}
	}
	buf[n] = '\0';
}

static const struct pattern *line_match(const struct oom_patterns *patterns, const char *line)
{
	char lower[LINE_MAX_LEN];
	const struct pattern *match = NULL;
	size_t n = 0;

	for (; line[n]; n++)
		lower[n] = (char)tolower((unsigned char)line[n]);
	lower[n] = '\0';
	for (size_t i = 0; i < patterns->n; i++) {
		if (!pattern_matches(patterns->items[i].text, lower))
			continue;
		if (patterns->items[i].kind == KIND_IGNORE)
			return NULL;
		/* "MemoryError: std::bad_alloc: out_of_memory: CUDA error ..." is the GPU's. */
		if (!match || (match->kind == KIND_HOST && patterns->items[i].kind != KIND_HOST))
			match = &patterns->items[i];
	}
	return match;
}

static const struct {
	const char *name;
	double bytes;
} units[] = {
    {"bytes", 1},          {"KiB", 1024.0},          {"MiB", 1048576.0},
    {"GiB", 1073741824.0}, {"TiB", 1099511627776.0},
};

static void requested_read(const char *line, struct oom_verdict *verdict)
{
	static const char before[] = "Tried to allocate ";
	const char *at = strstr(line, before);
	char unit[16];
	double value;

	if (!at || sscanf(at + sizeof before - 1, "%lf %15[A-Za-z]", &value, unit) != 2 ||
	    value < 0 || value > 1e15)
		return;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(units[i].name, unit) != 0 || value * units[i].bytes > 1e18)
			continue;
		verdict->requested_bytes = (uint64_t)(value * units[i].bytes);
		verdict->has_requested = true;
	}
}

/* The last line that matches decides; but one of the GPU before it beats one of RAM: an allocation
 * that fails on the GPU is often followed by what it led to. */
static void log_search(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		       struct oom_verdict *verdict)
{
	const char *end = evidence->log + evidence->log_len;
	const struct pattern *best = NULL;

	for (unsigned lines = 0; end > evidence->log && lines < LINES_MAX; lines++) {
		const char *newline = memrchr(evidence->log, '\n', (size_t)(end - evidence->log));
		const char *start = newline ? newline + 1 : evidence->log;
		char line[LINE_MAX_LEN];
		const struct pattern *match;

		line_clean(start, (size_t)(end - start), line);
		end = newline ? newline : evidence->log;
		match = line_match(patterns, line);
		if (!match || (best && (best->kind != KIND_HOST || match->kind == KIND_HOST)))
			continue;
		best = match;
		verdict->has_requested = false;
		(void)snprintf(verdict->pattern, sizeof verdict->pattern, "%s", match->id);
		(void)snprintf(verdict->line, sizeof verdict->line, "%.*s",
			       (int)sizeof verdict->line - 1, line);
		requested_read(line, verdict);
	}
	if (best)
		verdict->outcome =
		    best->kind == KIND_HOST || (best->kind == KIND_EITHER && evidence->on_cpu)
			? OOM_HOST
			: OOM_GPU;
}

void oom_classify(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		  struct oom_verdict *ret_verdict)
{
	bool killed = evidence->signal == SIGKILL ||
		      (evidence->signal == 0 && evidence->exit_code == 128 + SIGKILL);

	*ret_verdict = (struct oom_verdict){.outcome = evidence->lost ? OOM_LOST : OOM_ERROR};
	if (!evidence->lost && evidence->signal == 0 && evidence->exit_code == 0)
		ret_verdict->outcome = OOM_OK;
	else if (!evidence->lost && killed && evidence->oom_kills > 0)
		ret_verdict->outcome = OOM_HOST;
	else if (evidence->log)
		log_search(patterns, evidence, ret_verdict);
}

void oom_classify_file(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		       const char *log_path, struct oom_verdict *ret_verdict)
{
	struct oom_evidence with_log = *evidence;
	auto_free char *tail = NULL;
	auto_close int fd = -1;
	off_t size;
	ssize_t n = 0;

	with_log.log = NULL;
	oom_classify(patterns, &with_log, ret_verdict);
	/* Most end well: what they wrote says nothing else about that. */
	if (ret_verdict->outcome == OOM_OK || ret_verdict->outcome == OOM_HOST)
		return;
	size = log_path && log_open(log_path, &fd) == 0 ? lseek(fd, 0, SEEK_END) : 0;
	tail = mem_alloc(OOM_LOG_BYTES);
	if (size > 0)
		n = pread(fd, tail, OOM_LOG_BYTES,
			  size > (off_t)OOM_LOG_BYTES ? size - (off_t)OOM_LOG_BYTES : 0);
	with_log.log = n > 0 ? tail : NULL;
	with_log.log_len = n > 0 ? (size_t)n : 0;
	oom_classify(patterns, &with_log, ret_verdict);
}
