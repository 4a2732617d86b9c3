/* Cleanup helpers and memory that is never NULL; see cleanup.h. */
#include "util/cleanup.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static __attribute__((noreturn)) void out_of_memory(void)
{
	static const char text[] = "plimsoll: out of host memory\n";

	(void)!write(STDERR_FILENO, text, sizeof text - 1);
	abort();
}

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return -1;
}

void cleanup_close(int *fd)
{
	*fd = fd_close(*fd);
}

void cleanup_file(FILE **file)
{
	int saved = errno;

	if (*file)
		(void)fclose(*file);
	*file = NULL;
	errno = saved;
}

void mem_give_back(void)
{
	(void)malloc_trim(0);
}

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *mem_calloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *mem_realloc(void *p, size_t count, size_t size)
{
	void *grown = reallocarray(p, count ? count : 1, size ? size : 1);

	if (!grown)
		out_of_memory();
	return grown;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
	size_t n = strnlen(s, len);
	char *copy = mem_alloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *mem_printf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0 || !text)
		out_of_memory();
	return text;
}
