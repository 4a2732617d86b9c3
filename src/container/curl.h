/*
 * libcurl, loaded when an engine is first asked: with all it needs itself it is 4 MiB in every
 * process that links to it, and most machines' daemons never ask one.
 */
#pragma once

#include "util/error.h"

#include <curl/curl.h>

struct curl_calls {
	__typeof__(curl_global_init) *global_init;
	__typeof__(curl_easy_init) *easy_init;
	__typeof__(curl_easy_setopt) *easy_setopt;
	__typeof__(curl_easy_perform) *easy_perform;
	__typeof__(curl_easy_getinfo) *easy_getinfo;
	__typeof__(curl_easy_strerror) *easy_strerror;
	__typeof__(curl_easy_reset) *easy_reset;
	__typeof__(curl_easy_cleanup) *easy_cleanup;
};

/* From any thread; the same each time, and never unloaded. -ENOSYS: it is not installed. */
int container_curl_load(const struct curl_calls **ret_calls, struct error *err) MUST_CHECK;
