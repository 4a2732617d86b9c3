/* See text.h. */
#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <wchar.h>

char *text_room(struct text *t, size_t more)
{
	size_t need = t->len + more + 1;

	if (need > t->room) {
		t->room = MAX_OF(need, t->room * 2);
		t->room = MAX_OF(t->room, 64);
		t->data = mem_realloc(t->data, t->room, 1);
	}
	return t->data + t->len;
}

void text_add_bytes(struct text *t, const char *s, size_t len)
{
	memcpy(text_room(t, len), s, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void text_add(struct text *t, const char *s)
{
	text_add_bytes(t, s, strlen(s));
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n > 0) {
		(void)vsnprintf(text_room(t, (size_t)n), (size_t)n + 1, fmt, again);
		t->len += (size_t)n;
	}
	va_end(again);
}

void text_clear(struct text *t)
{
	t->len = 0;
	if (t->data)
		t->data[0] = '\0';
}

void text_finish(struct text *t)
{
	free(t->data);
	*t = (struct text){};
}

char *text_take(struct text *t)
{
	char *data = t->data ? t->data : mem_strdup("");

	*t = (struct text){};
	return data;
}

void strings_take(struct strings *s, char *item)
{
	if (s->n + 1 >= s->room) {
		s->room = s->room ? s->room * 2 : 8;
		s->items = mem_realloc(s->items, s->room, sizeof *s->items);
	}
	s->items[s->n++] = item;
	s->items[s->n] = NULL;
}

void strings_add(struct strings *s, const char *item)
{
	strings_take(s, mem_strdup(item));
}

void strings_finish(struct strings *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i]);
	free(s->items);
	*s = (struct strings){};
}

bool text_starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

const char *text_and(size_t i, size_t n)
{
	if (i == 0)
		return "";
	return i + 1 == n ? " and " : ", ";
}

void text_add_uri(struct text *t, const char *s, const char *keep)
{
	static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789-._~";

	for (; *s; s++) {
		if (strchr(unreserved, *s) || strchr(keep, *s))
			text_add_bytes(t, s, 1);
		else
			text_printf(t, "%%%02X", (unsigned)(unsigned char)*s);
	}
}

void text_hide_controls(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 && s[i] != '\t' && s[i] != '\n')
			s[i] = '?';
}

bool text_to_u64(const char *s, unsigned long long min, unsigned long long max,
		 unsigned long long *ret_value)
{
	char *end = NULL;
	unsigned long long value;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (errno != 0 || *end != '\0' || value < min || value > max)
		return false;
	*ret_value = value;
	return true;
}

/* Bytes of the letter at `s`; 0 = that is none. */
static size_t letter_len(const char *s)
{
	static const struct {
		unsigned char mask, lead;
		unsigned long least;
	} forms[] = {
	    {0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	const unsigned char *u = (const unsigned char *)s;

	for (size_t more = 0; more < ARRAY_LEN(forms); more++) {
		unsigned long code = u[0] & (unsigned char)~forms[more].mask;
		size_t i = 1;

		if ((u[0] & forms[more].mask) != forms[more].lead)
			continue;
		for (; i <= more && (u[i] & 0xc0) == 0x80; i++)
			code = code << 6 | (u[i] & 0x3f);
		return i <= more || code < forms[more].least || code > 0x10ffff ||
			       (code >= 0xd800 && code <= 0xdfff)
			   ? 0
			   : more + 1;
	}
	return 0;
}

void text_repair(char *s)
{
	while (*s) {
		size_t len = letter_len(s);

		if (len == 0)
			*s = '?';
		s += MAX_OF(len, (size_t)1);
	}
}

void text_cut_middle(char *buf, size_t size, const char *s, size_t tail)
{
	static const char cut[] = " [...] ";
	size_t len = strlen(s), head, blank;

	if (len < size) {
		memcpy(buf, s, len + 1);
		return;
	}
	tail = MIN_OF(tail, size - MIN_OF(size, sizeof cut));
	while (tail > 0 && (s[len - tail] & 0xc0) == 0x80)
		tail--;
	head = size - MIN_OF(size, sizeof cut + tail);
	while (head > 0 && (s[head] & 0xc0) == 0x80)
		head--;
	/* Between words, where one ends near there. */
	blank = head;
	while (blank > head / 2 && s[blank] != ' ')
		blank--;
	if (blank > head / 2)
		head = blank;
	(void)snprintf(buf, size, "%.*s%.*s%s", (int)head, s, (int)(sizeof cut - 1 - (tail == 0)),
		       cut, s + len - tail);
}

size_t text_columns(const char *s)
{
	mbstate_t state = {};
	size_t columns = 0, left = strlen(s);

	while (left > 0) {
		wchar_t wc;
		size_t n = mbrtowc(&wc, s, left, &state);
		int width;

		if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
			columns++;
			s++;
			left--;
			state = (mbstate_t){};
			continue;
		}
		width = wcwidth(wc);
		columns += width > 0 ? (size_t)width : 0;
		s += n;
		left -= n;
	}
	return columns;
}
