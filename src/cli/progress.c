/* See progress.h. */
#include "cli/progress.h"

#include "cli/term.h"
#include "util/duration.h"

#include <stdarg.h>

#define BAR_WIDTH 24

void progress_init(struct progress *progress, FILE *file)
{
	*progress = (struct progress){.file = file, .live = term_is_terminal(file)};
}

void progress_clear(struct progress *progress)
{
	if (progress->drawn)
		(void)fputs("\r\033[K", progress->file);
	progress->drawn = false;
	(void)fflush(progress->file);
}

void progress_draw(struct progress *progress, const char *line)
{
	auto_text struct text clean = {};

	if (!progress->live)
		return;
	/* The last column stays free: writing there may wrap. */
	term_add_clean(&clean, line, term_columns(progress->file) - 1);
	(void)fprintf(progress->file, "\r%s\033[K", clean.data ? clean.data : "");
	(void)fflush(progress->file);
	progress->drawn = true;
}

void progress_say(struct progress *progress, const char *fmt, ...)
{
	auto_text struct text clean = {};
	char line[2048];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	progress_clear(progress);
	term_add_clean(&clean, line, sizeof line);
	(void)fprintf(progress->file, "%s\n", clean.data ? clean.data : "");
	(void)fflush(progress->file);
}

void progress_of_batch(const json_t *batch, const char *load, unsigned width, struct text *text)
{
	unsigned long long total = jsonx_get_u64(batch, "total", 0),
			   done = jsonx_get_u64(batch, "done", 0);
	unsigned long long failed = jsonx_get_u64(batch, "failed", 0);
	unsigned long long over = done + failed + jsonx_get_u64(batch, "canceled", 0);

	text_add(text, "[");
	term_add_bar(text, total > 0 ? (double)over / (double)total : 0, -1,
		     width >= 60 ? BAR_WIDTH : 8);
	text_printf(text, "] %llu/%llu done, %llu running", done, total,
		    (unsigned long long)jsonx_get_u64(batch, "running", 0));
	if (failed > 0)
		text_printf(text, ", %llu failed", failed);
	if (jsonx_get_real(batch, "eta_seconds", 0) > 0)
		text_printf(
		    text, ", %s left",
		    DURATION_TEXT((int64_t)(jsonx_get_real(batch, "eta_seconds", 0) * 1000)));
	if (*load && text_columns(text->data) + 2 + text_columns(load) < width)
		text_printf(text, "  %s", load);
}
