/* What gpu.c, gpu_json.c, gpu_carry.c and topology.c share; not for other folders. */
#pragma once

#include "gpu/gpu.h"

/* The enum's value, or -EINVAL. NULL is fine. */
int gpu_name_find(const char *const *names, size_t n, const char *name);

void gpu_list_remove(struct gpu_list *list, size_t at);
