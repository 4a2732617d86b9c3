/* See error.h. */
#include "util/error.h"

#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return code;
}

int error_sys(struct error *err, int code, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	(void)snprintf(err->text + n, sizeof err->text - n, ": %s", strerror(-code));
	return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
	char old[ERROR_TEXT_MAX];
	size_t n;
	va_list ap;

	if (!err)
		return code;
	memcpy(old, err->text, sizeof old);
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	(void)snprintf(err->text + n, sizeof err->text - n, ": %s", old);
	return code;
}

const char *error_text(const struct error *err)
{
	return err->text[0] ? err->text : strerror(err->code < 0 ? -err->code : err->code);
}
