/*
 * See oom.h. The end of the log is cut into pieces once (colours and control bytes gone, in lower
 * case, one blank between two); each place of it is looked up by its next three bytes, and each
 * pattern is tried only once a piece, where its first part stands first: the time is linear in the
 * log, however hostile that is. Then the pieces are gone through from the last one backwards.
 */
#include "run/oom.h"

#include "run/log.h"
#include "run/oom_priv.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX   200
#define WRAP_MAX    512 /* bytes of the next piece a text may go on in */
#define SIZE_AFTER  6   /* pieces behind the one that decides where the size is looked for */
#define SIZE_BEFORE 10  /* and before it */
#define HAD_BEFORE  100 /* ... and what it had then */
#define FULL_BYTES  ((uint64_t)256 << 20)
#define BY_WORDS    "words" /* instead of a pattern's id */
#define SIGNALLED   128     /* plus the signal: a shell's exit status */
/* A process on a GPU has no less there: its context. */
#define HAD_MIN ((uint64_t)1 << 20)
#define HAD_MAX ((uint64_t)1e15)

static const char *const outcome_names[] = {
    [OOM_OK] = "ok",         [OOM_ERROR] = "error", [OOM_GPU] = "oom",
    [OOM_HOST] = "host-oom", [OOM_LOST] = "lost",
};

/* What decides, best first; in each the last piece counts. */
static const unsigned steps[] = {
    OOM_BIT(OOM_KIND_HOST_SURE), OOM_BIT(OOM_KIND_GPU) | OOM_BIT(OOM_KIND_EITHER),
    OOM_BIT(OOM_KIND_HOST),      OOM_BIT(OOM_KIND_WEAK),
    OOM_BIT(OOM_KIND_SUSPECT),   OOM_BIT(OOM_KIND_HOST_SUSPECT),
    OOM_BIT(OOM_KIND_PROBE),
};

struct piece {
	size_t start, len; /* in the text */
	unsigned line;     /* from the end, 0 is the last */
	/* The first pattern of each step that it matches; -1 = none. */
	int match[ARRAY_LEN(steps)];
	bool gpu_word, recovered;
	bool words, host_word; /* says it in words of its own; speaks of RAM */
	unsigned numbers;      /* kinds of the patterns with one, OOM_BIT() each */
	bool killed;           /* says that something was ended by SIGKILL */
};

struct tail {
	const struct oom_patterns *patterns;
	char *text, *lower; /* `len` bytes each, and a NUL */
	size_t len;
	struct piece *pieces;
	size_t n, room;
	/* Which piece a pattern was last tried on, plus one. */
	size_t *tried;
};

const char *oom_outcome_name(enum oom_outcome outcome)
{
	return outcome_names[outcome];
}

/* --- the log, cut --- */

static void piece_end(struct tail *tail, size_t start, unsigned line)
{
	struct piece *piece;

	while (tail->len > start && tail->text[tail->len - 1] == ' ')
		tail->len--;
	if (tail->len == start)
		return;
	ARRAY_GROW(tail->pieces, tail->n, tail->room);
	piece = &tail->pieces[tail->n++];
	*piece = (struct piece){.start = start, .len = tail->len - start, .line = line};
	memset(piece->match, -1, sizeof piece->match);
	tail->text[tail->len++] = ' ';
}

/* How many bytes of an escape sequence (CSI, OSC) stand here; 0 = none. */
static size_t escape_len(const char *log, size_t len)
{
	size_t i = 2;

	if (len < 2 || log[0] != 0x1b || (log[1] != '[' && log[1] != ']'))
		return 0;
	if (log[1] == '[')
		while (i < len && (log[i] < 0x40 || log[i] > 0x7e))
			i++;
	else
		while (i < len && log[i] != 0x07 && log[i] != '\n' && log[i] != 0x1b)
			i++;
	return i < len && log[i] != '\n' && log[i] != 0x1b ? i + 1 : i;
}

/* The last LINES_MAX lines of the log in pieces. */
static void tail_cut(struct tail *tail, const char *log, size_t len)
{
	const char *from = log + len;
	unsigned lines = 0;
	size_t start = 0;

	while (from > log && from[-1] == '\n')
		from--;
	len = (size_t)(from - log);
	while (from > log && lines < LINES_MAX) {
		const char *newline = memrchr(log, '\n', (size_t)(from - log));

		from = newline ? newline : log;
		lines += newline || from == log;
		if (!newline)
			break;
	}
	/* A blank before each piece: the start of a line is that of a word. */
	tail->text = mem_alloc(len + 3);
	tail->text[tail->len++] = ' ';
	start = tail->len;
	for (size_t i = (size_t)(from - log); i < len; i++) {
		unsigned char c = (unsigned char)log[i];
		size_t escape = escape_len(log + i, len - i);
		bool written = c == '\\' && i + 1 < len && log[i + 1] == 'n';

		if (escape > 0) {
			i += escape - 1;
		} else if (c == '\n' || c == '\r' || written) {
			piece_end(tail, start, lines);
			start = tail->len;
			lines -= c == '\n' && lines > 0;
			i += written;
		} else if ((c > ' ' && c != 0x7f) ||
			   (isspace(c) && tail->len > start && tail->text[tail->len - 1] != ' ')) {
			tail->text[tail->len++] = isspace(c) ? ' ' : (char)c;
		}
	}
	piece_end(tail, start, lines);
	tail->text[tail->len] = '\0';
	tail->lower = mem_alloc(tail->len + 1);
	for (size_t i = 0; i <= tail->len; i++)
		tail->lower[i] = (char)tolower((unsigned char)tail->text[i]);
}

/* --- matching --- */

/* A text may go on in the next piece; what its '*' stands for only in what is ignored. */
static bool piece_matches(const struct tail *tail, const struct piece *piece,
			  const struct oom_pattern *pattern, size_t at)
{
	size_t end = piece->start + piece->len, first_end = at + pattern->first_len;
	size_t wrapped = MIN_OF(end + WRAP_MAX, tail->len);
	bool only_first = pattern->text[pattern->first_len] == '\0';

	if (first_end > wrapped || memcmp(tail->lower + at, pattern->text, pattern->first_len) != 0)
		return false;
	if (only_first)
		return !pattern->at_end || first_end == end + 1;
	/* What decides and names a size has one. */
	if (pattern->has_size && pattern->kind != OOM_KIND_SIZE) {
		uint64_t bytes;

		return oom_size_find(pattern, tail->lower + at, wrapped - at, &bytes);
	}
	if (pattern->kind != OOM_KIND_IGNORE && pattern->kind != OOM_KIND_ADVICE &&
	    pattern->kind != OOM_KIND_SIZE)
		wrapped = end;
	return first_end <= wrapped &&
	       oom_rest_follows(pattern->text + pattern->first_len + 1, tail->lower + first_end,
				wrapped - first_end);
}

struct found {
	bool ignored, ignored_by_own, own, advice, probe;
};

static void piece_note(struct tail *tail, struct piece *piece, int i, struct found *found)
{
	const struct oom_pattern *pattern = &tail->patterns->items[i];

	piece->numbers |= pattern->has_size ? OOM_BIT(pattern->kind) : 0;
	if (pattern->kind == OOM_KIND_IGNORE) {
		found->ignored = true;
		found->ignored_by_own |= pattern->own;
	}
	found->advice |= pattern->kind == OOM_KIND_ADVICE;
	found->probe |= pattern->kind == OOM_KIND_PROBE;
	piece->recovered |= pattern->kind == OOM_KIND_RECOVERED;
	piece->gpu_word |= pattern->kind == OOM_KIND_GPU_WORD;
	for (size_t step = 0; step < ARRAY_LEN(steps); step++) {
		if (!(steps[step] & OOM_BIT(pattern->kind)))
			continue;
		/* That of the list's order, however the line goes. */
		if (piece->match[step] < 0 || i < piece->match[step])
			piece->match[step] = i;
		found->own |= pattern->own;
	}
}

static void piece_match(struct tail *tail, size_t p)
{
	const struct oom_patterns *patterns = tail->patterns;
	struct piece *piece = &tail->pieces[p];
	struct found found = {};
	struct oom_words words;

	for (size_t at = piece->start - 1; at < piece->start + piece->len && at + 3 <= tail->len;
	     at++) {
		for (int i = patterns->chains[oom_chain(tail->lower + at)]; i >= 0;
		     i = patterns->items[i].next) {
			const struct oom_pattern *pattern = &patterns->items[i];

			if (tail->tried[i] == p + 1 ||
			    memcmp(tail->lower + at, pattern->text, OOM_FIRST_MIN) != 0 ||
			    at + pattern->first_len > tail->len ||
			    memcmp(tail->lower + at, pattern->text, pattern->first_len) != 0)
				continue;
			tail->tried[i] = p + 1;
			if (piece_matches(tail, piece, pattern, at))
				piece_note(tail, piece, i, &found);
		}
	}
	oom_words_read(tail->lower + piece->start, piece->len, &words);
	found.advice |= words.denied && !words.shortage;
	for (size_t step = 0; step < ARRAY_LEN(steps); step++) {
		bool own = piece->match[step] >= 0 && patterns->items[piece->match[step]].own;
		bool probe = found.probe && !(steps[step] & OOM_BIT(OOM_KIND_PROBE));

		/* What the people of the machine say about a line counts before the rest. */
		if (found.ignored_by_own || (found.own ? !own : found.ignored || probe))
			piece->match[step] = -1;
		else if (found.advice && !own && (steps[step] & OOM_BIT(OOM_KIND_WEAK)))
			piece->match[step] = -1;
	}
	piece->host_word = words.host;
	piece->words = words.shortage && !found.ignored && !found.advice && !found.probe;
	piece->killed = words.killed && !found.ignored;
}

/* --- deciding --- */

static bool near(uint64_t peak, uint64_t end)
{
	return peak > 0 && end > 0 && peak + MAX_OF(end / 100 * 3, FULL_BYTES) >= end;
}

static bool gpu_was_full(const struct oom_evidence *evidence)
{
	return !evidence->on_cpu && (near(evidence->gpu_peak_bytes, evidence->gpu_total_bytes) ||
				     near(evidence->own_peak_bytes, evidence->own_limit_bytes));
}

/*
 * It aborted without a word: the GPU's memory was full, and not of what it held itself. TensorFlow,
 * JAX and vLLM take three quarters and more of a GPU by design: that it was full says nothing about
 * why such a program ended. (Nor does it for a segmentation fault: whoever gets no memory and looks
 * at the error aborts, and who does not look is wrong in other ways, too.)
 */
static bool died_of_full_gpu(const struct oom_evidence *evidence)
{
	if (near(evidence->own_peak_bytes, evidence->own_limit_bytes))
		return !evidence->on_cpu;
	return gpu_was_full(evidence) &&
	       evidence->own_peak_bytes < evidence->gpu_total_bytes / 4 * 3;
}

static bool speaks_of_gpu(const struct tail *tail)
{
	for (size_t i = 0; i < tail->n; i++)
		if (tail->pieces[i].gpu_word)
			return true;
	return false;
}

/* Of a text that either memory has: what says near it that it was RAM? */
static bool near_host(const struct tail *tail, size_t p)
{
	size_t first = p - MIN_OF(p, (size_t)SIZE_BEFORE);

	for (size_t i = first; i < tail->n && i <= p + SIZE_AFTER; i++)
		for (size_t step = 0; step < ARRAY_LEN(steps); step++)
			if (tail->pieces[i].match[step] >= 0 &&
			    (steps[step] & OOM_BIT(OOM_KIND_HOST)))
				return true;
	return false;
}

static enum oom_outcome outcome_of(const struct tail *tail, const struct oom_evidence *evidence,
				   enum oom_kind kind, size_t p, bool *ret_gpu_full)
{
	const struct piece *piece = &tail->pieces[p];
	bool full = gpu_was_full(evidence);
	bool gpu = kind == OOM_KIND_GPU;

	if (kind == OOM_KIND_EITHER) {
		gpu = !evidence->on_cpu && !near_host(tail, p);
	} else if (kind == OOM_KIND_WEAK) {
		gpu = !evidence->on_cpu &&
		      (full || piece->gpu_word || (!piece->host_word && speaks_of_gpu(tail)));
		*ret_gpu_full = full;
	} else if (kind == OOM_KIND_SUSPECT) {
		if (!full)
			return OOM_ERROR;
		gpu = *ret_gpu_full = true;
	} else if (kind == OOM_KIND_PROBE) {
		if (evidence->on_cpu)
			return OOM_ERROR;
		gpu = true;
	} else if (kind == OOM_KIND_HOST_SUSPECT && evidence->oom_kills_known &&
		   evidence->oom_kills == 0) {
		return OOM_ERROR;
	}
	return gpu ? OOM_GPU : OOM_HOST;
}

/* The first in the list's order of the patterns of `kinds` with a number that fits; NULL = none. */
static const struct oom_pattern *piece_number(const struct tail *tail, size_t p, unsigned kinds,
					      uint64_t *ret_bytes)
{
	const struct piece *piece = &tail->pieces[p];
	/* With the blank before it. Of what a text without a number in this piece has in the next
	 * one, too. */
	size_t start = piece->start - 1;
	size_t end = MIN_OF(piece->start + piece->len + WRAP_MAX, tail->len);

	if (!(piece->numbers & kinds))
		return NULL;
	for (size_t i = 0; i < tail->patterns->n; i++) {
		const struct oom_pattern *pattern = &tail->patterns->items[i];

		if (pattern->has_size && (OOM_BIT(pattern->kind) & kinds) &&
		    oom_size_find(pattern, tail->lower + start, end - start, ret_bytes))
			return pattern;
	}
	return NULL;
}

/* What pieces around one are looked through: it, those behind it, those before it. */
struct around {
	size_t middle, first, last;
};

static struct around around_piece(const struct tail *tail, size_t middle, size_t before,
				  size_t after)
{
	return (struct around){.middle = middle,
			       .first = middle - MIN_OF(middle, before),
			       .last = MIN_OF(middle + after, tail->n - 1)};
}

/* The nearest piece behind, else before, that has a number of these kinds. */
static const struct oom_pattern *number_near(const struct tail *tail, const struct around *around,
					     unsigned kinds, size_t *ret_piece, uint64_t *ret_bytes)
{
	const struct oom_pattern *by = NULL;

	for (size_t p = around->middle; p <= around->last && !by; p++)
		by = piece_number(tail, *ret_piece = p, kinds, ret_bytes);
	for (size_t p = around->middle; p-- > around->first && !by;)
		by = piece_number(tail, *ret_piece = p, kinds, ret_bytes);
	return by;
}

/* "CUDA0 model buffer size = 4403.49 MiB", "CUDA0 KV buffer size = 1024.00 MiB": their sum up to
 * here; 0 = where they begin is not in the log. */
static uint64_t parts_sum(const struct tail *tail, size_t decisive)
{
	uint64_t sum = 0;

	for (size_t p = decisive; p-- > 0 && sum <= HAD_MAX;) {
		uint64_t bytes = 0;
		const struct oom_pattern *part = piece_number(tail, p, OOM_KINDS_PART, &bytes);

		sum += part ? bytes : 0;
		if (part && part->kind == OOM_KIND_PART_FIRST)
			return sum;
	}
	return 0;
}

/* What it had itself when it asked, by its own words; near what it asked for. */
static void used_read(const struct tail *tail, size_t at, const struct oom_evidence *evidence,
		      struct oom_verdict *verdict)
{
	struct around around = around_piece(tail, at, HAD_BEFORE, SIZE_AFTER);
	bool said =
	    number_near(tail, &around, OOM_BIT(OOM_KIND_USED), &at, &verdict->used_bytes) != NULL;

	if (!said) {
		verdict->used_bytes = parts_sum(tail, around.middle);
		said = verdict->used_bytes > 0;
	}
	verdict->used_bytes = MAX_OF(verdict->used_bytes, HAD_MIN);
	/* More than there is: not what one process has on one GPU. */
	verdict->has_used =
	    said && verdict->used_bytes <= HAD_MAX &&
	    (evidence->gpu_total_bytes == 0 || verdict->used_bytes < evidence->gpu_total_bytes);
	if (!verdict->has_used)
		verdict->used_bytes = 0;
}

/* How much it asked for and had: in the piece that decided, else in one near it. */
static void numbers_read(const struct tail *tail, size_t decisive,
			 const struct oom_evidence *evidence, bool near_too,
			 struct oom_verdict *verdict)
{
	struct around around =
	    around_piece(tail, decisive, near_too ? SIZE_BEFORE : 0, near_too ? SIZE_AFTER : 0);
	size_t at = decisive;
	const struct oom_pattern *by =
	    number_near(tail, &around, ~OOM_KINDS_HAD, &at, &verdict->requested_bytes);

	verdict->has_requested = by != NULL;
	if (verdict->outcome != OOM_GPU || evidence->on_cpu)
		return;
	if (!by || by->kind != OOM_KIND_TOTAL) {
		used_read(tail, by ? at : decisive, evidence, verdict);
		return;
	}
	verdict->has_used = true;
	verdict->used_bytes = HAD_MIN;
}

/* What a piece says in words no pattern has. */
static bool piece_says(const struct piece *piece, unsigned kinds, enum oom_kind *ret_kind)
{
	if (piece->words && (kinds & OOM_BIT(OOM_KIND_WEAK)))
		*ret_kind = OOM_KIND_WEAK;
	else if (piece->killed && (kinds & OOM_BIT(OOM_KIND_HOST_SUSPECT)))
		*ret_kind = OOM_KIND_HOST_SUSPECT;
	else
		return false;
	return true;
}

static bool step_decides(const struct tail *tail, const struct oom_evidence *evidence, size_t step,
			 size_t first, struct oom_verdict *verdict)
{
	for (size_t p = tail->n; p-- > first;) {
		int i = tail->pieces[p].match[step];
		const struct oom_pattern *pattern = i < 0 ? NULL : &tail->patterns->items[i];
		enum oom_kind kind = pattern ? pattern->kind : OOM_KIND_WEAK;
		enum oom_outcome outcome;

		/* A program that got over its probe wrote something behind it. */
		if (!pattern && (steps[step] & OOM_BIT(OOM_KIND_PROBE)))
			break;
		if (!pattern && !piece_says(&tail->pieces[p], steps[step], &kind))
			continue;
		outcome = outcome_of(tail, evidence, kind, p, &verdict->gpu_full);
		if (outcome == OOM_ERROR)
			continue;
		verdict->outcome = outcome;
		(void)snprintf(verdict->pattern, sizeof verdict->pattern, "%s",
			       pattern ? pattern->id : BY_WORDS);
		(void)snprintf(verdict->line, sizeof verdict->line, "%.*s",
			       (int)MIN_OF(tail->pieces[p].len, sizeof verdict->line - 1),
			       tail->text + tail->pieces[p].start);
		/* What is said near the kernel's mark is another's. */
		numbers_read(tail, p, evidence, kind != OOM_KIND_HOST_SURE, verdict);
		return true;
	}
	return false;
}

static void log_search(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		       struct oom_verdict *verdict)
{
	struct tail tail = {.patterns = patterns,
			    .tried = mem_calloc(patterns->n + 1, sizeof *tail.tried)};
	size_t first = 0;

	tail_cut(&tail, evidence->log, evidence->log_len);
	for (size_t p = 0; p < tail.n; p++) {
		piece_match(&tail, p);
		if (tail.pieces[p].recovered)
			first = p + 1;
	}
	for (size_t step = 0; step < ARRAY_LEN(steps); step++)
		if (step_decides(&tail, evidence, step, first, verdict))
			break;
	free(tail.text);
	free(tail.lower);
	free(tail.pieces);
	free(tail.tried);
}

static bool ended_by(const struct oom_evidence *evidence, int signal)
{
	return !evidence->lost &&
	       (evidence->signal == signal ||
		(evidence->signal == 0 && evidence->exit_code == SIGNALLED + signal));
}

void oom_classify(const struct oom_patterns *patterns, const struct oom_evidence *evidence,
		  struct oom_verdict *ret_verdict)
{
	bool killed = ended_by(evidence, SIGKILL);

	*ret_verdict = (struct oom_verdict){.outcome = evidence->lost ? OOM_LOST : OOM_ERROR};
	if (!evidence->lost && evidence->signal == 0 && evidence->exit_code == 0)
		ret_verdict->outcome = OOM_OK;
	else if (killed && evidence->oom_kills > 0)
		ret_verdict->outcome = OOM_HOST;
	else if (patterns && evidence->log)
		log_search(patterns, evidence, ret_verdict);
	if (ret_verdict->outcome != OOM_ERROR)
		return;
	if (ended_by(evidence, SIGABRT) && died_of_full_gpu(evidence)) {
		ret_verdict->outcome = OOM_GPU;
		ret_verdict->gpu_full = true;
	}
	ret_verdict->killed = killed;
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
