/* Any text as plimsoll.yaml: read or refused with a place, never a crash, and what is read is
 * within its bounds. */
#include "config/config.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_config struct config *config = NULL;
	struct error err = {};

	if (config_parse((const char *)data, size, "f", &config, &err) < 0) {
		if (!err.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < config->n_gpus; i++) {
		const struct config_gpu *gpu = &config->gpus[i];

		if (!gpu->gpu == !gpu->model || !gpu->where)
			abort();
		if (gpu->has_hours)
			(void)hours_until_change(&gpu->hours, 17);
	}
	for (size_t i = 0; i < config->n_users; i++)
		if (!config->users[i].name || config->users[i].limits.weight < 0)
			abort();
	return 0;
}
