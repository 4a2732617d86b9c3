/*
 * The faster GPU for the heavier service, by hand: a service goes to a faster GPU, alone or in
 * exchange with a lighter one, while all limits are kept, until no such step is left. What a
 * bounded search did not find on its own is found here where it is plain to see.
 */
#include "place/plan_priv.h"

struct swap {
	const struct core *core;
	const struct core_limits *limits;
	uint64_t *sets;
	uint64_t loads[PLAN_GPUS_MAX];
};

static uint64_t bit(size_t n)
{
	return (uint64_t)1 << n;
}

static bool may_meet(const struct swap *swap, size_t item, size_t g)
{
	const struct core_item *it = &swap->core->items[item];

	if (!swap->core->any_not_with && !swap->core->any_exclusive)
		return true;
	for (size_t k = 0; k < swap->core->n; k++)
		if (k != item && swap->sets[k] >> g & 1 &&
		    (it->exclusive || swap->core->items[k].exclusive ||
		     it->not_with[k / 64] >> k % 64 & 1))
			return false;
	return true;
}

static bool keeps_numbers(const struct swap *swap)
{
	const struct core_limits *limits = swap->limits;
	struct core_value value;

	core_value(swap->core, swap->sets, &value);
	return value.moves <= limits->moves_max && value.used <= limits->used_max &&
	       value.preference >= limits->preference_min;
}

/* Item `i` from `g` to `h`, and `k` (SIZE_MAX: none) from there to `g`. */
static bool step(struct swap *swap, size_t i, size_t g, size_t h, size_t k)
{
	const struct core_item *items = swap->core->items;
	uint64_t up = items[i].size, down = k == SIZE_MAX ? 0 : items[k].size;
	const uint64_t *room = swap->limits->room;
	bool kept;

	if (swap->loads[h] - down + up > room[h] || swap->loads[g] - up + down > room[g])
		return false;
	if (k != SIZE_MAX) {
		if (swap->sets[k] >> g & 1 || !(items[k].allowed >> g & 1))
			return false;
		swap->sets[k] ^= bit(g) | bit(h);
	}
	swap->sets[i] ^= bit(g) | bit(h);
	kept =
	    may_meet(swap, i, h) && (k == SIZE_MAX || may_meet(swap, k, g)) && keeps_numbers(swap);
	if (kept) {
		swap->loads[h] += up - down;
		swap->loads[g] += down - up;
		return true;
	}
	swap->sets[i] ^= bit(g) | bit(h);
	if (k != SIZE_MAX)
		swap->sets[k] ^= bit(g) | bit(h);
	return false;
}

static bool go_faster(struct swap *swap, size_t i, size_t g, size_t h)
{
	const struct core *core = swap->core;

	if (step(swap, i, g, h, SIZE_MAX))
		return true;
	for (size_t k = i + 1; k < core->n; k++)
		if (swap->sets[k] >> h & 1 && core->items[k].size < core->items[i].size &&
		    !core->items[k].on_demand && step(swap, i, g, h, k))
			return true;
	return false;
}

/* Of the GPUs it is on, the slowest; of those it may have instead, the fastest that will do. */
static bool improve(struct swap *swap, size_t i)
{
	const struct core *core = swap->core;
	size_t g = (size_t)__builtin_ctzll(swap->sets[i]);

	for (uint64_t rest = swap->sets[i]; rest; rest &= rest - 1)
		if (core->gpus[__builtin_ctzll(rest)].speed_class > core->gpus[g].speed_class)
			g = (size_t)__builtin_ctzll(rest);
	for (unsigned class = 0; class < core->gpus[g].speed_class; class ++)
		for (uint64_t rest = core->items[i].allowed & ~swap->sets[i]; rest;
		     rest &= rest - 1) {
			size_t h = (size_t)__builtin_ctzll(rest);

			if (core->gpus[h].speed_class == class && go_faster(swap, i, g, h))
				return true;
		}
	return false;
}

void core_swap(const struct core *core, const struct core_limits *limits, uint64_t *sets)
{
	struct swap swap = {.core = core, .limits = limits, .sets = sets};
	size_t i = 0;

	core_loads(core, sets, swap.loads);
	/* Each step makes the list of classes, the heaviest first, a better one: that ends. */
	while (i < core->n)
		if (core->items[i].count > 0 && !core->items[i].on_demand && improve(&swap, i))
			i = 0;
		else
			i++;
}
