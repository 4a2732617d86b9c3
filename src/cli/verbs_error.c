/* How errors are printed and which exit code they mean: see verbs.h. Apart from the table of verbs,
 * so that what the verbs share can use it without them. */
#include "cli/verbs.h"

#include "cli/term.h"

#include <errno.h>
#include <string.h>

int verb_complain(enum exit_code code, const char *fmt, ...)
{
	auto_text struct text clean = {};
	char text[ERROR_TEXT_MAX], *rest = text, *line;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)fflush(stdout);
	/* Names in it may be anybody's. */
	while ((line = strsep(&rest, "\n"))) {
		term_add_clean(&clean, line, SIZE_MAX);
		text_add(&clean, "\n");
	}
	(void)fprintf(stderr, "plimsoll: %s", clean.data);
	return (int)code;
}

int verb_fail(const struct error *err)
{
	static const int usage[] = {-EINVAL, -E2BIG, -ENODEV, -ENOENT, -ENODATA, -EFBIG, -ERANGE};
	enum exit_code code = EXIT_CANNOT;

	for (size_t i = 0; i < ARRAY_LEN(usage); i++)
		if (err->code == usage[i])
			code = EXIT_USAGE;
	return verb_complain(code, "%s", error_text(err));
}
