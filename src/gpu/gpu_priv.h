/* What gpu.c, gpu_json.c and gpu_carry.c share; not for other folders. */
#pragma once

#include "gpu/gpu.h"

/* The enum's value, or -EINVAL. NULL is fine. */
int gpu_health_from_name(const char *name);
int gpu_source_from_name(const char *name);

void gpu_list_remove(struct gpu_list *list, size_t at);
