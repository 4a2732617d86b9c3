/* A daemon that runs is told where the services are, and keeps their VRAM for them from then on. */
#include "cli/apply.h"

#include "cli/session.h"

#include <errno.h>

static json_t *gpus_json(const struct planview_taken *taken, const struct plan_place *place)
{
	json_t *gpus = json_array();

	for (size_t i = 0; i < place->n; i++)
		(void)json_array_append_new(gpus, json_string(taken->gpus[place->gpus[i]].uuid));
	return gpus;
}

/* What loads on demand and what is on the CPU keeps nothing. */
static json_t *services_json(const struct planview_taken *taken)
{
	json_t *services = json_array();

	for (size_t i = 0; i < taken->problem.n_services; i++) {
		const struct plan_place *place = &taken->plan.places[i];

		if (planview_bytes(taken, i) > 0 && place->n > 0)
			(void)json_array_append_new(services,
						    json_pack("{s:s, s:o, s:o}", "service",
							      taken->services[i].name, "gpus",
							      gpus_json(taken, place), "vram_bytes",
							      jsonx_u64(planview_bytes(taken, i))));
	}
	return services;
}

void apply_tell_daemon(const struct apply *apply)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *body = json_object(), *answer = NULL;
	struct error err = {};
	int r = apply->before.is_elsewhere ? -ECONNREFUSED : session_join(&client, &err);

	if (r < 0)
		return; /* none runs: nothing is placed beside them */
	(void)json_object_set_new(body, "services", services_json(&apply->taken));
	r = session_try(client, "PUT", body, &answer, &err, "/v1/services/%s",
			apply->before.project->name);
	if (r < 0 && !session_is_gone(r))
		apply_tell("the daemon does not keep their VRAM for them while they idle: %s",
			   error_text(&err));
}
