/*
 * What is known of GPU models before anything was measured on them: data/gpus.yaml. For placement
 * it is the prior of a model on which no task of a kind ran yet; a model that is not there is
 * unknown, and nothing is guessed from its name.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

struct catalogue;

/* Read the data file (paths_find_data()). */
int catalogue_load(struct catalogue **ret_catalogue, struct error *err) MUST_CHECK;
int catalogue_load_file(const char *path, struct catalogue **ret_catalogue,
			struct error *err) MUST_CHECK;
void catalogue_destroy(struct catalogue *catalogue);

static inline void catalogue_cleanup(struct catalogue **catalogue)
{
	catalogue_destroy(*catalogue);
}
#define auto_catalogue CLEANUP(catalogue_cleanup)

/* Relative speed of a model by NVML's name for it ("NVIDIA GeForce RTX 2080 SUPER"), 1.0 being the
 * file's reference model; false when the model is not known. A NULL catalogue knows none. Models of
 * one name and several memory sizes are one model here. */
bool catalogue_speed(const struct catalogue *catalogue, const char *model, double *ret_speed);
