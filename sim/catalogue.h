/* The GPU catalogue, data/gpus.yaml: what is known of each model before anything was measured. */
#pragma once

#include "sim/state.h"
#include "util/yamlx.h"

/* Load the catalogue file (paths_find_data()). */
int catalogue_load(struct yamlx **ret_catalogue, struct error *err) MUST_CHECK;

/* Fill in the model-dependent part of `gpu`. -ENOENT (text names the models there are): no such
 * model. */
int catalogue_fill(const struct yamlx *catalogue, const char *model, struct sim_gpu *gpu,
		   struct error *err) MUST_CHECK;

/* What a GPU outside the catalogue is like until told otherwise. */
void catalogue_fill_generic(const char *name, struct sim_gpu *gpu);

/* "8.6" -> 8, 6. -EINVAL without a text. */
int catalogue_parse_capability(const char *text, uint32_t *ret_major,
			       uint32_t *ret_minor) MUST_CHECK;
