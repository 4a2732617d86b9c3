/* What could hold a task to its grants here, for `gpus` to show. */
#pragma once

#include "gpu/gpu.h"
#include "util/jsonx.h"
#include "util/text.h"

struct offers {
	const char *root; /* "" = the file system as it is (struct guards) */
	const char *own;  /* the path of our own cgroup; NULL: there is none */
	const char *hami; /* as in struct guards */
	uid_t uid;
};

/* {"vram": ["cgroup dmem.max", "HAMi-core", "watched"], "ram": ["cgroup memory.max", "watched"]}:
 * the strongest first, in the words of an attempt's `limits`. Of VRAM only what is so for each of
 * these GPUs. A new reference. */
json_t *offers_to_json(const struct offers *offers, const struct gpu_list *list);
