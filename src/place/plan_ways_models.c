/*
 * Single models of one service that load on demand: as much as the service must give up, and of its
 * models the most that may stay.
 */
#include "place/plan_ways.h"

#include "util/size.h"

/* Nodes in the choice of models. */
#define CHOICE_WORK 100000

/* Which models stay: the most of them, of these the most bytes, within `room`. */
struct models {
	const struct plan_model *models;
	size_t order[PLAN_MODELS_MAX], n, wanted; /* from the largest down */
	uint64_t room, best_bytes, best_set;
	unsigned work;
};

static int by_bytes(const void *a, const void *b, void *data)
{
	const struct plan_model *models = data;
	uint64_t x = models[*(const size_t *)a].bytes, y = models[*(const size_t *)b].bytes;

	return x != y ? (x > y ? -1 : 1) : *(const size_t *)a < *(const size_t *)b ? -1 : 1;
}

static void choose_models(struct models *m, size_t at, size_t left, uint64_t bytes, uint64_t set)
{
	if (left == 0) {
		if (m->best_set == 0 || bytes > m->best_bytes) {
			m->best_bytes = bytes;
			m->best_set = set;
		}
		return;
	}
	for (size_t i = at; i + left <= m->n && m->best_bytes < m->room; i++) {
		uint64_t own = m->models[m->order[i]].bytes;

		if (++m->work > CHOICE_WORK && m->best_set)
			return;
		/* The rest are no larger: `left` of this size are the most there can be. */
		if (m->best_set && bytes + left * own <= m->best_bytes)
			return;
		if (bytes + own <= m->room)
			choose_models(m, i + 1, left - 1, bytes + own,
				      set | (uint64_t)1 << m->order[i]);
	}
}

uint64_t ways_models_in_room(const struct plan_service *service, uint64_t room)
{
	struct models m = {.models = service->models, .n = service->n_models};
	uint64_t sum = 0, base = service->shared_bytes, smallest = 0;

	for (size_t i = 0; i < m.n; i++) {
		m.order[i] = i;
		sum += service->models[i].bytes;
	}
	/* What is not said to be a model's stays, too. */
	base = MAX_OF(base, service->vram_bytes > sum ? service->vram_bytes - sum : 0);
	if (m.n == 0 || base > room)
		return 0;
	m.room = room - base;
	qsort_r(m.order, m.n, sizeof *m.order, by_bytes, (void *)(uintptr_t)service->models);
	for (size_t i = m.n; i-- > 0; m.wanted++) {
		smallest += service->models[m.order[i]].bytes;
		if (smallest > m.room)
			break;
	}
	if (m.wanted == 0)
		return 0;
	choose_models(&m, 0, m.wanted, 0, 0);
	return m.best_set;
}

uint64_t ways_bytes_of_models(const struct plan_service *service, uint64_t set)
{
	uint64_t sum = 0, all = 0;

	for (size_t i = 0; i < service->n_models; i++) {
		all += service->models[i].bytes;
		sum += set >> i & 1 ? service->models[i].bytes : 0;
	}
	return sum + MAX_OF(service->shared_bytes,
			    service->vram_bytes > all ? service->vram_bytes - all : 0);
}

void ways_add_model_names(const struct plan_service *service, uint64_t set, struct text *text)
{
	size_t n = (size_t)__builtin_popcountll(set), k = 0;

	for (size_t i = 0; i < service->n_models; i++)
		if (set >> i & 1) {
			text_printf(text, "%s%s",
				    k == 0       ? ""
				    : k + 1 == n ? " and "
						 : ", ",
				    service->models[i].name);
			k++;
		}
}

/* --- single models ------------------------------------------------------------------------- */

static void add_model_way(struct ways *ways, size_t service, uint64_t stay)
{
	const struct plan_service *s = &ways->problem->services[service];
	struct plan_change changes[PLAN_MODELS_MAX];
	auto_variant struct plan_variant variant;
	auto_text struct text text = {};
	struct plan_way *way;
	uint64_t leave = 0, largest = 0;
	size_t n = 0;

	for (size_t m = 0; m < s->n_models; m++)
		if (!(stay >> m & 1)) {
			leave |= (uint64_t)1 << m;
			largest = MAX_OF(largest, s->models[m].bytes);
			changes[n++] = (struct plan_change){.action = PLAN_ON_DEMAND,
							    .service = service,
							    .model = m,
							    .gpu = SIZE_MAX,
							    .bytes = s->models[m].bytes};
		}
	plan_variant_init(&variant, ways->problem);
	variant.services[service].vram_bytes = ways_bytes_of_models(s, stay);
	variant.services[service].load_bytes =
	    MAX_OF(s->load_bytes, ways_bytes_of_models(s, 0) + largest);
	way = ways_add(ways, &variant, changes, n);
	if (!way)
		return;
	text_printf(&text, "of %s, ", s->name);
	ways_add_model_names(s, leave, &text);
	text_printf(&text, " load%s on demand and ", n == 1 ? "s" : "");
	ways_add_model_names(s, stay, &text);
	text_printf(&text, " stay (%s with what they share)",
		    SIZE_TEXT(ways_bytes_of_models(s, stay)));
	ways_add_landing(&variant, way, &text);
	ways_set_reason(way, &text);
}

/* The services with models for which that helps, those that yield first first. */
void ways_find_models(struct ways *ways, size_t most)
{
	const struct plan_problem *problem = ways->problem;
	size_t able[PLAN_SERVICES_MAX], n = ways_list_able(ways, PLAN_ON_DEMAND, able);
	size_t added = 0;

	for (size_t i = 0; i < n && added < most; i++) {
		size_t service = able[i];
		const struct plan_service *s = &problem->services[service];
		uint64_t stay;

		if (s->n_models < 2)
			continue;
		ways->shrink[service] = ways_least_shrink(ways, service, UINT64_MAX);
		ways->shrink_known[service] = true;
		if (ways->shrink[service] == UINT64_MAX)
			continue;
		stay = ways_models_in_room(s, s->vram_bytes - ways->shrink[service]);
		if (stay == 0)
			continue;
		add_model_way(ways, service, stay);
		added++;
	}
}
