/* See term.h. */
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define COLUMNS_MIN     20
#define COLUMNS_MAX     1000
#define COLUMNS_DEFAULT 80
#define TABLE_UNLIMITED 100000

unsigned term_columns(FILE *file)
{
	const char *env = getenv("COLUMNS");
	struct winsize size = {};
	unsigned long long columns;

	if (env && text_to_u64(env, COLUMNS_MIN, COLUMNS_MAX, &columns))
		return (unsigned)columns;
	if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS_MIN)
		return MIN_OF((unsigned)size.ws_col, (unsigned)COLUMNS_MAX);
	return COLUMNS_DEFAULT;
}

bool term_is_terminal(FILE *file)
{
	return isatty(fileno(file));
}

unsigned term_table_width(FILE *file)
{
	return term_is_terminal(file) || getenv("COLUMNS") ? term_columns(file) : TABLE_UNLIMITED;
}

static bool may_colour(FILE *file)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return term_is_terminal(file) && !(no_color && *no_color) && term &&
	       strcmp(term, "dumb") != 0;
}

const char *term_style(FILE *file, enum term_style style)
{
	static const char *const sequences[] = {
	    [TERM_PLAIN] = "",         [TERM_BOLD] = "\033[1m",    [TERM_DIM] = "\033[2m",
	    [TERM_RED] = "\033[1;31m", [TERM_YELLOW] = "\033[33m", [TERM_GREEN] = "\033[32m",
	};

	return may_colour(file) ? sequences[style] : "";
}

const char *term_style_end(FILE *file)
{
	return may_colour(file) ? "\033[0m" : "";
}

void term_print_json(FILE *file, const json_t *json)
{
	size_t flags = term_is_terminal(file) ? JSON_INDENT(2) : JSON_COMPACT;

	(void)json_dumpf(json, file, flags | JSON_REAL_PRECISION(12));
	(void)fputc('\n', file);
}

/* Has no width and changes what is around it: the direction of writing, a joint, a mark of bytes.
 */
static bool is_format(wchar_t wc)
{
	static const struct {
		wchar_t first, last;
	} ranges[] = {{0xad, 0xad},     {0x600, 0x605},    {0x61c, 0x61c},   {0x180e, 0x180e},
		      {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f}, {0xfeff, 0xfeff},
		      {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		if (wc >= ranges[i].first && wc <= ranges[i].last)
			return true;
	return false;
}

void term_add_clean(struct text *text, const char *s, size_t columns)
{
	mbstate_t state = {};
	size_t used = 0, left = strlen(s), total = text_columns(s);

	while (left > 0) {
		wchar_t wc = L'?';
		size_t n = mbrtowc(&wc, s, left, &state);
		char escaped[16] = "?";
		bool printable;
		int width;

		if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
			state = (mbstate_t){};
			n = 1;
			wc = L'\0';
		}
		if (is_format(wc))
			(void)snprintf(escaped, sizeof escaped, "\\u%04lX", (unsigned long)wc);
		printable = wc != L'\0' && !is_format(wc) && iswprint((wint_t)wc);
		width = printable ? wcwidth(wc) : (int)strlen(escaped);
		width = MAX_OF(width, 0);
		if (used + (size_t)width > columns ||
		    (used + (size_t)width == columns && total > columns && left > n)) {
			text_add(text, columns > 0 ? "…" : "");
			return;
		}
		if (printable)
			text_add_bytes(text, s, n);
		else
			text_add(text, escaped);
		used += (size_t)width;
		s += n;
		left -= n;
	}
}

void term_add_bar(struct text *text, double share, double mark, unsigned width)
{
	unsigned full = (unsigned)(MIN_OF(MAX_OF(share, 0.0), 1.0) * width + 0.5);
	unsigned at = mark < 0 ? width : MIN_OF((unsigned)(MIN_OF(mark, 1.0) * width), width - 1);

	for (unsigned i = 0; i < width; i++)
		text_add(text, i == at ? "|" : i < full ? "#" : ".");
}

/* A number stays with its unit, and "GPU" with its number. */
static size_t word_length(const char *word)
{
	static const char *const units[] = {" %", " GiB", " MiB"};
	size_t len = strcspn(word, " ");

	if (len == 3 && text_starts_with(word, "GPU ") && word[4] >= '0' && word[4] <= '9')
		return 4 + strcspn(word + 4, " ");
	for (size_t i = 0; len > 0 && i < ARRAY_LEN(units); i++)
		if (word[len - 1] >= '0' && word[len - 1] <= '9' &&
		    text_starts_with(word + len, units[i]))
			return len + 1 + strcspn(word + len + 1, " ");
	return len;
}

void term_add_wrapped(struct text *text, const char *line, size_t hang, unsigned width)
{
	auto_text struct text clean = {};
	size_t column = 0;

	term_add_clean(&clean, line, SIZE_MAX);
	for (line = clean.data ? clean.data : ""; *line;) {
		size_t spaces = strspn(line, " "), len = spaces + word_length(line + spaces);
		auto_free char *word = mem_strndup(line, len);
		size_t columns = text_columns(word);

		if (column > hang && column + columns > width) {
			text_printf(text, "\n%*s%s", (int)hang, "", word + spaces);
			column = hang + columns - spaces;
		} else {
			text_add(text, word);
			column += columns;
		}
		line += len;
	}
	text_add(text, "\n");
}
