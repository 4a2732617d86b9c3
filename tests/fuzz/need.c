/* Any YAML as x-plimsoll: read or refused with a place, within its bounds, and merging it into
 * itself changes nothing. */
#include "config/need.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct need *need)
{
	uint64_t sum = need->shared_bytes;

	for (size_t i = 0; i < need->n_models; i++) {
		if (!need->models[i].name[0] || need->models[i].vram_bytes == 0)
			abort();
		sum += need->models[i].on_demand ? 0 : need->models[i].vram_bytes;
	}
	if ((need->n_models > 0 && sum != need->vram_bytes) ||
	    need->has_vram != (need->n_models > 0 || need->vram_bytes > 0) ||
	    need->priority > 1000 || need->priority < -1000 || need->gpus > 64 ||
	    (need->given != 0) != (need->where != NULL))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_yamlx struct yamlx *doc = NULL;
	struct need need = {}, twice = {};
	struct error err = {};

	if (yamlx_parse((const char *)data, size, "f", &doc, &err) < 0)
		return 0;
	if (need_parse(doc, doc->root, &need, &err) < 0) {
		if (strncmp(err.text, "f:", 2) != 0)
			abort();
		return 0;
	}
	check(&need);
	need_merge(&twice, &need);
	need_merge(&twice, &need);
	check(&twice);
	if (twice.vram_bytes != need.vram_bytes || twice.prefer.n != need.prefer.n)
		abort();
	need_finish(&need);
	need_finish(&twice);
	return 0;
}
