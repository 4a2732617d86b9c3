/* Services of profiles that are off: compose starts none of them, and no other check looks at them.
 * Who has a GPU in mind for one is told that nobody looked. */
#include "check/check_priv.h"

#define NAMES_MAX 8

static const char *profile_of(const struct stack_service *service)
{
	const struct compose_node *profiles = compose_get(service->service->node, "profiles");

	return profiles && profiles->type == COMPOSE_LIST && profiles->n > 0
		   ? compose_text(profiles->items[0])
		   : NULL;
}

static bool is_left_out(const struct stack_service *service)
{
	return !service->service->active && service->service->replicas > 0 &&
	       (service->gpus->n > 0 || service->need.has_vram);
}

void check_profiles(struct check *check)
{
	const struct stack_service *first = NULL;
	auto_text struct text names = {};
	size_t n = 0;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!is_left_out(service) || !profile_of(service))
			continue;
		first = first ? first : service;
		if (n++ < NAMES_MAX)
			text_printf(&names, "%s%s (%s)", n > 1 ? ", " : "", service->service->name,
				    profile_of(service));
	}
	if (!first)
		return;
	check_add(check, CHECK_PROFILE_OFF,
		  &(struct finding){
		      .service = first->service->name,
		      .message = mem_printf("%zu service%s of profiles that are off %s not looked "
					    "at: %s%s",
					    n, PLURAL(n), n == 1 ? "was" : "were", names.data,
					    n > NAMES_MAX ? ", ..." : ""),
		      .fix = mem_printf("`--profile %s` checks %s, `--profile '*'` those of all "
					"profiles",
					profile_of(first), first->service->name),
		  });
}
