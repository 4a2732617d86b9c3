/* See limits.h. */
#include "util/limits.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert((int)RLIMIT_NLIMITS == LIMITS_MAX, "one entry for each limit");

static const char *const names[LIMITS_MAX] = {
    [RLIMIT_AS] = "as",
    [RLIMIT_CORE] = "core",
    [RLIMIT_CPU] = "cpu",
    [RLIMIT_DATA] = "data",
    [RLIMIT_FSIZE] = "fsize",
    [RLIMIT_LOCKS] = "locks",
    [RLIMIT_MEMLOCK] = "memlock",
    [RLIMIT_MSGQUEUE] = "msgqueue",
    [RLIMIT_NICE] = "nice",
    [RLIMIT_NOFILE] = "nofile",
    [RLIMIT_NPROC] = "nproc",
    [RLIMIT_RSS] = "rss",
    [RLIMIT_RTPRIO] = "rtprio",
    [RLIMIT_RTTIME] = "rttime",
    [RLIMIT_SIGPENDING] = "sigpending",
    [RLIMIT_STACK] = "stack",
};

const char *limits_name(int resource)
{
	return resource >= 0 && resource < LIMITS_MAX ? names[resource] : NULL;
}

static int name_find(const char *name)
{
	for (int i = 0; i < LIMITS_MAX; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

static rlim_t to_kernel(uint64_t value)
{
	return value == LIMITS_NONE ? RLIM_INFINITY : (rlim_t)value;
}

static bool value_decode(const json_t *json, uint64_t *ret_value)
{
	if (json_is_null(json)) {
		*ret_value = LIMITS_NONE;
		return true;
	}
	if (!json_is_integer(json) || json_integer_value(json) < 0)
		return false;
	*ret_value = (uint64_t)json_integer_value(json);
	return true;
}

int limits_decode(json_t *json, struct limits *ret_limits, struct error *err)
{
	struct limits limits = {};
	const char *name;
	json_t *pair;

	if (!json_is_object(json))
		return error_set(err, -EINVAL,
				 "limits are an object of \"name\": [soft, hard] pairs");
	json_object_foreach (json, name, pair) {
		int i = name_find(name);

		if (i < 0)
			return error_set(err, -EINVAL, "unknown limit \"%.40s\"", name);
		if (json_array_size(pair) != 2 ||
		    !value_decode(json_array_get(pair, 0), &limits.of[i].soft) ||
		    !value_decode(json_array_get(pair, 1), &limits.of[i].hard))
			return error_set(err, -EINVAL,
					 "limit \"%s\" is not [soft, hard], numbers or null", name);
		limits.set |= 1u << i;
	}
	*ret_limits = limits;
	return 0;
}

static json_t *value_encode(uint64_t value)
{
	return jsonx_u64_if(value != LIMITS_NONE, value);
}

json_t *limits_encode(const struct limits *limits)
{
	json_t *json = json_object();

	for (int i = 0; i < LIMITS_MAX; i++)
		if (limits->set & 1u << i)
			(void)json_object_set_new(json, names[i],
						  json_pack("[o, o]",
							    value_encode(limits->of[i].soft),
							    value_encode(limits->of[i].hard)));
	return json;
}

int limits_apply(const struct limits *limits, int *ret_resource)
{
	for (int i = 0; i < LIMITS_MAX; i++) {
		struct rlimit own, limit;

		if (!(limits->set & 1u << i))
			continue;
		*ret_resource = i;
		if (getrlimit((__rlimit_resource_t)i, &own) < 0)
			return -errno;
		/* RLIM_INFINITY is the largest number there is. */
		limit.rlim_max = MIN_OF(to_kernel(limits->of[i].hard), own.rlim_max);
		limit.rlim_cur = MIN_OF(to_kernel(limits->of[i].soft), limit.rlim_max);
		if (setrlimit((__rlimit_resource_t)i, &limit) < 0)
			return -errno;
	}
	return 0;
}
