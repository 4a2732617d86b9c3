/* See visible.h. */
#include "sim/visible.h"

#include "util/text.h"

#include <string.h>

static int first_mig(const struct sim_gpu *gpu)
{
	for (uint32_t i = 0; i < gpu->n_migs; i++)
		if (gpu->migs[i].there)
			return (int)i;
	return -1;
}

/* What a whole GPU shows a CUDA program; false: nothing. */
static bool show_gpu(const struct sim_state *state, int index, struct visible_device *ret_device)
{
	const struct sim_gpu *gpu = &state->gpus[index];

	*ret_device = (struct visible_device){.gpu = index, .mig = -1};
	if (gpu->lost)
		return false;
	if (gpu->mig_mode)
		ret_device->mig = first_mig(gpu);
	return !gpu->mig_mode || ret_device->mig >= 0;
}

static bool by_index(const struct sim_state *state, unsigned long long wanted,
		     struct visible_device *ret_device)
{
	for (uint32_t i = 0; i < state->n_gpus; i++)
		if (show_gpu(state, (int)i, ret_device) && wanted-- == 0)
			return true;
	return false;
}

static bool by_uuid(const struct sim_state *state, const char *prefix,
		    struct visible_device *ret_device)
{
	int matches = 0;

	for (uint32_t i = 0; i < state->n_gpus; i++) {
		const struct sim_gpu *gpu = &state->gpus[i];
		struct visible_device device;

		if (text_starts_with(gpu->uuid, prefix) && show_gpu(state, (int)i, &device)) {
			*ret_device = device;
			matches++;
		}
		for (uint32_t m = 0; m < gpu->n_migs && !gpu->lost; m++) {
			if (!gpu->migs[m].there || !text_starts_with(gpu->migs[m].uuid, prefix))
				continue;
			*ret_device = (struct visible_device){.gpu = (int)i, .mig = (int)m};
			matches++;
		}
	}
	return matches == 1;
}

static bool by_word(const struct sim_state *state, const char *word,
		    struct visible_device *ret_device)
{
	unsigned long long index;

	if (text_to_u64(word, 0, SIM_GPUS_MAX, &index))
		return by_index(state, index, ret_device);
	return (text_starts_with(word, "GPU-") || text_starts_with(word, "MIG-")) &&
	       by_uuid(state, word, ret_device);
}

int visible_resolve(const struct sim_state *state, const char *value,
		    struct visible_device ret_devices[VISIBLE_MAX])
{
	auto_free char *copy = value ? mem_strdup(value) : NULL;
	char *rest = copy, *word;
	int n = 0;

	if (!value) {
		for (uint32_t i = 0; i < state->n_gpus; i++)
			if (show_gpu(state, (int)i, &ret_devices[n]))
				n++;
		return n;
	}
	while ((word = strsep(&rest, ",")) && n < VISIBLE_MAX) {
		word += strspn(word, " ");
		word[strcspn(word, " ")] = '\0';
		if (!by_word(state, word, &ret_devices[n]))
			break;
		for (int i = 0; i < n; i++)
			if (ret_devices[i].gpu == ret_devices[n].gpu &&
			    ret_devices[i].mig == ret_devices[n].mig)
				return 0;
		n++;
	}
	return n;
}
