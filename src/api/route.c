/*
 * Finding the route of a request: segment by segment, "{id}" matches a decimal number. The table is
 * short and read in order.
 */
#include "api/server.h"
#include "util/text.h"

#include <errno.h>
#include <string.h>

#define ID_SEGMENT   "{id}"
#define NAME_SEGMENT "/{name}"

static bool segment_to_id(const char *segment, size_t len, uint64_t *ret_id)
{
	char digits[24];
	unsigned long long id;

	if (len == 0 || len >= sizeof digits)
		return false;
	memcpy(digits, segment, len);
	digits[len] = '\0';
	if (strspn(digits, "0123456789") != len || !text_to_u64(digits, 1, INT64_MAX, &id))
		return false;
	*ret_id = id;
	return true;
}

static bool path_matches(const char *pattern, const char *path, uint64_t *ret_id)
{
	while (*pattern && *path) {
		size_t want = strcspn(pattern + 1, "/"), have = strcspn(path + 1, "/");

		if (*pattern != '/' || *path != '/')
			return false;
		if (strcmp(pattern, NAME_SEGMENT) == 0)
			return path[1] != '\0';
		if (want == strlen(ID_SEGMENT) && memcmp(pattern + 1, ID_SEGMENT, want) == 0) {
			if (!segment_to_id(path + 1, have, ret_id))
				return false;
		} else if (want != have || memcmp(pattern + 1, path + 1, want) != 0) {
			return false;
		}
		pattern += 1 + want;
		path += 1 + have;
	}
	return *pattern == '\0' && *path == '\0';
}

int api_route_find(const struct api_route *routes, size_t n_routes, const char *method,
		   const char *path, const struct api_route **ret_route, uint64_t *ret_id)
{
	bool path_known = false;
	uint64_t id = 0;

	for (size_t i = 0; i < n_routes; i++) {
		if (!path_matches(routes[i].path, path, &id))
			continue;
		path_known = true;
		if (strcmp(routes[i].method, method) != 0)
			continue;
		*ret_route = &routes[i];
		*ret_id = id;
		return 0;
	}
	return path_known ? -ENOTSUP : -ENOENT;
}
