/* Any text as a kernel's log: at most so many lines, each with its text, and each of them read
 * again as what it was. */
#include "doctor/xid.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const struct kernel_line *line)
{
	auto_kernel_lines struct kernel_lines again = {};
	unsigned action;

	if (!line->text[0] || strlen(line->text) >= sizeof line->text ||
	    strpbrk(line->text, "\n\r\x1b"))
		abort();
	if ((line->event == KERNEL_XID) != (line->xid > 0) || line->pid < 0)
		abort();
	if (kernel_line_recovery(line, &action) && line->xid != 154)
		abort();
	/* A line that was cut may have lost what told it. */
	if (line->event != KERNEL_XID || strlen(line->text) == sizeof line->text - 1)
		return;
	kernel_lines_read(line->text, &again);
	if (again.n != 1 || again.items[0].xid != line->xid ||
	    strcmp(again.items[0].pci, line->pci) != 0 || again.items[0].pid != line->pid ||
	    strcmp(again.items[0].process, line->process) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *log = mem_strndup((const char *)data, size);
	auto_kernel_lines struct kernel_lines lines = {};

	kernel_lines_read(log, &lines);
	if (lines.n > KERNEL_LINES_MAX)
		abort();
	for (size_t i = 0; i < lines.n; i++)
		check_line(&lines.items[i]);
	return 0;
}
