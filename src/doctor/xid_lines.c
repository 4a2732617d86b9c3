/*
 * Reading the kernel's log line by line. Logs come with any prefix (seconds since boot, a date, a
 * host, a level, the name of an agent that copied them), so a line is known by the driver's own
 * words, wherever they stand; a tool that only talks about a fault lacks the driver's "NVRM:".
 *
 * Two things the driver spreads over lines. An API mismatch names the two versions on the lines
 * after its first: `open` stays at that event for some lines, until both were seen. "The NVIDIA GPU
 * 0000:01:00.0" may be lines before what befell it: `pci` keeps the last one named so.
 */
#include "doctor/xid.h"

#include <ctype.h>
#include <string.h>

#define LINE_MAX_LEN   2048 /* what is beyond is not looked at */
#define MISMATCH_LINES 8    /* in between other lines may come */

struct log_reader {
	struct kernel_line *items; /* room for twice KERNEL_LINES_MAX */
	size_t n;
	size_t open;         /* index of a mismatch without its versions */
	unsigned open_lines; /* for how many lines more; 0 = none is open */
	char pci[16];        /* of "The NVIDIA GPU ..." some lines before */
	unsigned pci_lines;  /* for how many lines more it counts */
};

/* The last ones are kept; a new one, empty. */
static struct kernel_line *add(struct log_reader *reader, enum kernel_event event, const char *text)
{
	struct kernel_line *line;

	if (!reader->items)
		reader->items = mem_calloc((size_t)2 * KERNEL_LINES_MAX, sizeof *reader->items);
	if (reader->n == (size_t)2 * KERNEL_LINES_MAX) {
		memmove(reader->items, reader->items + KERNEL_LINES_MAX,
			KERNEL_LINES_MAX * sizeof *reader->items);
		reader->n = KERNEL_LINES_MAX;
		reader->open_lines = 0;
	}
	line = &reader->items[reader->n++];
	*line = (struct kernel_line){.event = event};
	(void)snprintf(line->text, sizeof line->text, "%s", text);
	return line;
}

/* --- parts of a line --- */

/* "0000:4E:00.0" as "0000:4e:00"; what does not look like an address gives "". Returns what stands
 * after it. */
static const char *take_pci(const char *text, char ret_pci[16])
{
	size_t len = strspn(text, "0123456789abcdefABCDEF:");

	*ret_pci = '\0';
	if (len < 7 || len > 15 || !memchr(text, ':', len) || text[len - 1] == ':')
		return text;
	for (size_t i = 0; i < len; i++)
		ret_pci[i] = (char)tolower((unsigned char)text[i]);
	ret_pci[len] = '\0';
	text += len;
	if (text[0] == '.' && isxdigit((unsigned char)text[1]))
		text += 2;
	return text;
}

/* The address after the first of `words` that is followed by one. */
static void find_pci(const char *line, const char *words, char ret_pci[16])
{
	*ret_pci = '\0';
	for (const char *at = line; !*ret_pci && (at = strstr(at, words)); at += strlen(words))
		(void)take_pci(at + strlen(words), ret_pci);
}

/* A number in at most nine digits; returns what stands after it, NULL: none. */
static const char *take_number(const char *text, unsigned *ret_number)
{
	size_t len = strspn(text, "0123456789");
	unsigned number = 0;

	if (len == 0 || len > 9)
		return NULL;
	for (size_t i = 0; i < len; i++)
		number = number * 10 + (unsigned)(text[i] - '0');
	*ret_number = number;
	return text + len;
}

/* "pid=7194, name=python, " as it stands after the number; both may be '<unknown>' or missing. A
 * name may hold blanks, and ends at ", ". */
static void take_process(const char *text, struct kernel_line *line)
{
	unsigned pid;

	if (!text_starts_with(text, "pid="))
		return;
	text += strlen("pid=");
	if (take_number(text, &pid))
		line->pid = (pid_t)pid;
	text += strcspn(text, ",");
	if (!text_starts_with(text, ", name="))
		return;
	text += strlen(", name=");
	if (!text_starts_with(text, "<unknown>")) {
		const char *end = strstr(text, ", ");

		(void)snprintf(line->process, sizeof line->process, "%.*s",
			       (int)(end ? end - text : (ptrdiff_t)strcspn(text, ",")), text);
	}
}

/* --- the kinds of lines --- */

/* Where "Xid" begins, as a word: an SXid is of an NVSwitch. NULL: nowhere. */
static const char *find_xid(const char *line)
{
	for (const char *at = line; (at = strstr(at, "Xid")); at++)
		if ((at == line || !isalnum((unsigned char)at[-1])) &&
		    (text_starts_with(at, "Xid (") || text_starts_with(at, "Xid: ")))
			return at;
	return NULL;
}

/* "Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7194, ...", "Xid (0000:05): 13, ...", "Xid: 13, ...". */
static bool read_xid(struct log_reader *reader, const char *line)
{
	const char *at = find_xid(line), *nvrm;
	struct kernel_line *item;
	char pci[16] = "";
	unsigned xid;

	if (!at)
		return false;
	nvrm = strstr(line, "NVRM: ");
	nvrm = nvrm && nvrm < at ? nvrm : at;
	if (at[3] == ' ') {
		const char *address = at + strlen("Xid (");

		address += text_starts_with(address, "PCI:") ? strlen("PCI:") : 0;
		(void)take_pci(address, pci);
		at = strstr(at, "): ");
		if (!at || !*pci)
			return false;
		at += strlen("): ");
	} else {
		at += strlen("Xid: ");
	}
	at = take_number(at, &xid);
	if (!at || (*at != ',' && *at != '\0') || xid == 0)
		return false;
	item = add(reader, KERNEL_XID, nvrm);
	item->xid = xid;
	memcpy(item->pci, pci, sizeof pci);
	take_process(at + strspn(at, ", "), item);
	return true;
}

/* The versions after "version ", up to the two of a mismatch. True: both are there. */
static bool take_versions(struct kernel_line *item, const char *line)
{
	for (const char *at = line; (at = strstr(at, "version ")); at++) {
		const char *text = at + strlen("version ");
		size_t len = strspn(text, "0123456789.");
		char *to = item->version[*item->version[0] ? 1 : 0];

		while (len > 0 && text[len - 1] == '.')
			len--;
		if (len == 0 || len >= sizeof item->version[0])
			continue;
		memcpy(to, text, len);
		to[len] = '\0';
		if (to == item->version[1])
			return true;
	}
	return false;
}

/* "the client has the version ...", or "the client 'NAME' (pid N)". */
static bool read_mismatch(struct log_reader *reader, const char *nvrm)
{
	const char *at = nvrm ? strstr(nvrm, "API mismatch:") : NULL, *name;
	struct kernel_line *item;

	if (!at)
		return false;
	item = add(reader, KERNEL_MISMATCH, nvrm);
	name = strstr(at, "the client '");
	if (name) {
		const char *pid = strstr(name, "' (pid ");
		unsigned number;

		name += strlen("the client '");
		(void)snprintf(item->process, sizeof item->process, "%.*s",
			       (int)(pid ? pid - name : (ptrdiff_t)strcspn(name, "'")), name);
		if (pid && take_number(pid + strlen("' (pid "), &number))
			item->pid = (pid_t)number;
	}
	reader->open = reader->n - 1;
	reader->open_lines = take_versions(item, at) ? 0 : MISMATCH_LINES;
	return true;
}

static void go_on_with_mismatch(struct log_reader *reader, const char *line)
{
	if (take_versions(&reader->items[reader->open], line))
		reader->open_lines = 0;
	else
		reader->open_lines--;
}

/* Lines without a number: the words that tell them. */
static bool read_words(struct log_reader *reader, const char *nvrm)
{
	static const struct {
		const char *words;
		enum kernel_event event;
	} rows[] = {
	    {"RmInitAdapter failed", KERNEL_INIT_FAILED},
	    {"rm_init_adapter", KERNEL_INIT_FAILED},
	    {"fallen off the bus", KERNEL_OFF_THE_BUS},
	    {"lost from the bus", KERNEL_OFF_THE_BUS},
	    {"No firmware image found", KERNEL_NO_FIRMWARE},
	    {"failed to load GSP firmware", KERNEL_NO_FIRMWARE},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct kernel_line *before = reader->n ? &reader->items[reader->n - 1] : NULL;
		struct kernel_line *item;
		char pci[16];

		if (!strcasestr(nvrm, rows[i].words))
			continue;
		find_pci(nvrm, "GPU ", pci);
		if (!*pci && reader->pci_lines > 0)
			memcpy(pci, reader->pci, sizeof pci);
		/* The driver says the same again, function by function. */
		if (before && before->event == rows[i].event && strcmp(before->pci, pci) == 0 &&
		    i > 0 && rows[i - 1].event == rows[i].event)
			return true;
		item = add(reader, rows[i].event, nvrm);
		memcpy(item->pci, pci, sizeof pci);
		return true;
	}
	return false;
}

/* "nvidia 0000:01:00.0: Direct firmware load for nvidia/575.57.08/gsp_ga10x.bin failed with error
 * -2": of the kernel, and of NVIDIA's driver alone (nouveau looks for others of that folder). */
static bool read_firmware(struct log_reader *reader, const char *line)
{
	const char *at = strstr(line, "Direct firmware load for nvidia/");
	const char *driver = strstr(line, "nvidia ");
	struct kernel_line *item;

	if (!at || !driver || driver > at || !strstr(at, "gsp_"))
		return false;
	item = add(reader, KERNEL_NO_FIRMWARE, driver);
	(void)take_pci(driver + strlen("nvidia "), item->pci);
	return true;
}

static void read_line(struct log_reader *reader, const char *line)
{
	const char *nvrm = strstr(line, "NVRM: ");
	char pci[16] = "";

	if (read_xid(reader, line) || read_mismatch(reader, nvrm) || read_firmware(reader, line) ||
	    (nvrm && read_words(reader, nvrm)))
		return;
	if (reader->open_lines > 0)
		go_on_with_mismatch(reader, line);
	if (nvrm)
		find_pci(nvrm, "The NVIDIA GPU ", pci);
	if (*pci) {
		memcpy(reader->pci, pci, sizeof pci);
		reader->pci_lines = 3;
	} else if (reader->pci_lines > 0) {
		reader->pci_lines--;
	}
}

void kernel_lines_read(const char *log, struct kernel_lines *ret_lines)
{
	struct log_reader reader = {};
	char line[LINE_MAX_LEN];

	while (*log) {
		size_t len = strcspn(log, "\n"), kept = MIN_OF(len, sizeof line - 1);

		memcpy(line, log, kept);
		while (kept > 0 && isspace((unsigned char)line[kept - 1]))
			kept--;
		line[kept] = '\0';
		text_hide_controls(line, kept);
		read_line(&reader, line);
		log += len + (log[len] == '\n');
	}
	*ret_lines = (struct kernel_lines){.items = reader.items, .n = reader.n};
	if (reader.n > KERNEL_LINES_MAX) {
		size_t past = reader.n - KERNEL_LINES_MAX;

		memmove(reader.items, reader.items + past, KERNEL_LINES_MAX * sizeof *reader.items);
		ret_lines->n = KERNEL_LINES_MAX;
	}
}

void kernel_lines_finish(struct kernel_lines *lines)
{
	free(lines->items);
	*lines = (struct kernel_lines){};
}

bool kernel_line_recovery(const struct kernel_line *line, unsigned *ret_action)
{
	const char *to = strstr(line->text, ") to 0x");
	unsigned long action;

	if (line->event != KERNEL_XID || line->xid != 154 || !to)
		return false;
	to += strlen(") to 0x");
	if (!isxdigit((unsigned char)*to))
		return false;
	action = strtoul(to, NULL, 16);
	*ret_action = action > 0xff ? 0xff : (unsigned)action;
	return true;
}
