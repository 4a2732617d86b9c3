/* Any bytes as a scenario, as a --gpus list and as an injected event: an image that keeps its
 * bounds, or an error that names the place. */
#include "sim/scenario.h"
#include "sim/timeline.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char small_catalogue[] =
    "gpus:\n  one:\n    {name: One, vram_mib: 8192, compute_capability: \"8.6\", speed: 1, "
    "bandwidth_gb_s: 448, power_w: 200, cores: 4608, bus_bits: 256, clock_mhz: 1700, "
    "memory_clock_mhz: 7000, pcie_generation: 4}\n";

static void check(const struct sim_state *image)
{
	if (image->n_gpus > SIM_GPUS_MAX || image->n_events > SIM_EVENTS_MAX ||
	    image->n_missing > SIM_MISSING_MAX || image->time_scale <= 0)
		abort();
	for (uint32_t i = 0; i < image->n_gpus; i++)
		if (image->gpus[i].reserved_bytes + image->gpus[i].other_bytes >
			image->gpus[i].total_bytes ||
		    image->gpus[i].speed <= 0 || image->gpus[i].n_migs > SIM_MIGS_MAX)
			abort();
	for (uint32_t i = 0; i < image->n_events; i++)
		if (image->events[i].gpu >= (int32_t)image->n_gpus || image->events[i].type < 0 ||
		    image->events[i].type >= SIM_EVENT_COUNT ||
		    (i > 0 && image->events[i].at_ns < image->events[i - 1].at_ns))
			abort();
}

static void as_list(const char *text, const struct yamlx *catalogue)
{
	auto_free struct sim_state *image = NULL;
	struct error err = {};

	if (scenario_parse_gpus(text, catalogue, &image, &err) == 0)
		check(image);
	else if (err.text[0] == '\0')
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_yamlx struct yamlx *catalogue = NULL, *doc = NULL;
	auto_free char *text = mem_strndup((const char *)data, size);
	auto_free struct sim_state *image = NULL;
	struct sim_event event;
	struct error err = {};

	if (yamlx_parse(small_catalogue, sizeof small_catalogue - 1, "catalogue", &catalogue,
			&err) < 0)
		abort();
	as_list(text, catalogue);
	if (yamlx_parse((const char *)data, size, "scenario", &doc, &err) < 0)
		return 0;
	if (scenario_parse(doc, catalogue, &image, &err) == 0) {
		check(image);
		for (uint32_t i = 0; i < image->n_events; i++)
			timeline_happen(image, &image->events[i]);
		if (scenario_parse_event(doc, doc->root, image, 0, &event, &err) == 0)
			abort(); /* a scenario is no event */
	} else if (!strstr(err.text, "scenario")) {
		abort();
	}
	return 0;
}
