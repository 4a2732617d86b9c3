/* See log.h. One write() a line, so that lines of several processes do not mix. */
#include "util/log.h"

#include "util/text.h"
#include "util/timestamp.h"

#include <stdarg.h>
#include <unistd.h>

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {
	    [LOG_LEVEL_ERROR] = "error",
	    [LOG_LEVEL_WARNING] = "warning",
	    [LOG_LEVEL_INFO] = "info",
	};
	char line[2048];
	va_list ap;
	int n, more;

	n = snprintf(line, sizeof line, "%s %s ", TIMESTAMP_TEXT(timestamp_now_ms()), names[level]);
	va_start(ap, fmt);
	more = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = MIN_OF(n + (more > 0 ? more : 0), (int)sizeof line - 2);
	line[n++] = '\n';
	(void)!write(STDERR_FILENO, line, (size_t)n);
}
