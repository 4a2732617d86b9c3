/* See curl.h. The name is that of libcurl's binary interface since 2006. */
#include "container/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *symbol;
	size_t offset;
} function_table[] = {
    {"curl_global_init", offsetof(struct curl_calls, global_init)},
    {"curl_easy_init", offsetof(struct curl_calls, easy_init)},
    {"curl_easy_setopt", offsetof(struct curl_calls, easy_setopt)},
    {"curl_easy_perform", offsetof(struct curl_calls, easy_perform)},
    {"curl_easy_getinfo", offsetof(struct curl_calls, easy_getinfo)},
    {"curl_easy_strerror", offsetof(struct curl_calls, easy_strerror)},
    {"curl_easy_reset", offsetof(struct curl_calls, easy_reset)},
    {"curl_easy_cleanup", offsetof(struct curl_calls, easy_cleanup)},
};

static struct curl_calls calls;
static struct error trouble; /* code 0: loaded */

static void load(void)
{
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	const char *why = library ? NULL : dlerror();

	if (!library) {
		(void)error_set(&trouble, -ENOSYS,
				"libcurl, which container engines are asked with, cannot be "
				"loaded (%.120s): install it (libcurl4)",
				why ? why : "unknown");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(function_table); i++) {
		void *symbol = dlsym(library, function_table[i].symbol);

		if (!symbol) {
			(void)error_set(&trouble, -ENOSYS,
					"libcurl has no %s: install its package again (libcurl4)",
					function_table[i].symbol);
			return;
		}
		memcpy((char *)&calls + function_table[i].offset, &symbol, sizeof symbol);
	}
	/* Engines are asked from several threads; libcurl's own lazy start is not safe there. */
	(void)calls.global_init(CURL_GLOBAL_DEFAULT);
}

int container_curl_load(const struct curl_calls **ret_calls, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, load);
	if (trouble.code != 0)
		return error_set(err, trouble.code, "%s", error_text(&trouble));
	*ret_calls = &calls;
	return 0;
}
