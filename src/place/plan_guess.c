/*
 * A placement within the limits by luck, for questions that the search does not answer soon: it
 * goes through placements in an order, and one that is wrong near its root keeps it busy for long.
 * Here everything is somewhere, GPUs may hold too much, and single services change places with each
 * other or go elsewhere: always when that is better, and, less and less often, when it is worse.
 * What is wrong is a sum: bytes above the room of GPUs, moves and preference beyond their limits.
 * The numbers that decide are pseudo-random and the same each time, and so is the answer.
 */
#include "place/plan_priv.h"

#include <limits.h>
#include <math.h>

/* Of a GPU's mean room, what a move too many is worth, or a point of preference. */
#define MOVE_PART 0.05
#define WARMEST   0.05
#define COLDEST   0.0005
/* Rounds, each from the best so far, and tries in each of every item. */
#define ROUNDS 3
#define TRIES  400

struct guess {
	const struct core *core;
	const struct core_limits *limits;
	double mean; /* room of a GPU */
	uint64_t allowed[PLAN_SERVICES_MAX];
	uint64_t sets[PLAN_SERVICES_MAX], loads[PLAN_GPUS_MAX];
	uint64_t over; /* bytes above the room of GPUs */
	int64_t moves, preference;
	size_t free[PLAN_SERVICES_MAX], n_free; /* items that have a choice */
	double wrong;
	uint64_t random;
};

/* A change of at most two items. */
struct step {
	size_t n, items[2];
	uint64_t before[2];
};

static uint64_t next_random(struct guess *guess)
{
	guess->random ^= guess->random << 13;
	guess->random ^= guess->random >> 7;
	guess->random ^= guess->random << 17;
	return guess->random;
}

static uint64_t above(const struct guess *guess, size_t g)
{
	uint64_t room = guess->limits->room[g];

	return guess->loads[g] > room ? guess->loads[g] - room : 0;
}

static void count(struct guess *guess, size_t i, int sign)
{
	const struct core_item *item = &guess->core->items[i];

	for (uint64_t rest = guess->sets[i]; rest; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		guess->over -= above(guess, g);
		guess->loads[g] += sign > 0 ? item->size : -item->size;
		guess->over += above(guess, g);
		if (!item->on_demand)
			guess->preference += sign * item->preference[g];
	}
	if (!item->on_demand)
		guess->moves += sign * core_has_moved(item, guess->sets[i]);
}

static void set(struct guess *guess, struct step *step, size_t i, uint64_t to)
{
	step->items[step->n] = i;
	step->before[step->n++] = guess->sets[i];
	count(guess, i, -1);
	guess->sets[i] = to;
	count(guess, i, 1);
}

static void undo(struct guess *guess, const struct step *step)
{
	for (size_t n = step->n; n-- > 0;) {
		count(guess, step->items[n], -1);
		guess->sets[step->items[n]] = step->before[n];
		count(guess, step->items[n], 1);
	}
}

/* How much is wrong, as parts of a GPU; 0: nothing. */
static double how_wrong(const struct guess *guess)
{
	const struct core_limits *limits = guess->limits;
	double beyond = 0;

	if (limits->moves_max != UINT_MAX && guess->moves > limits->moves_max)
		beyond += (double)(guess->moves - limits->moves_max);
	if (limits->preference_min != INT64_MIN && guess->preference < limits->preference_min)
		beyond += (double)(limits->preference_min - guess->preference);
	return (double)guess->over / guess->mean + beyond * MOVE_PART;
}

/* Whom it must not meet, the search knows; here it only must not go there. */
static bool meets(const struct guess *guess, size_t i)
{
	const struct core_item *item = &guess->core->items[i];

	if (!guess->core->any_not_with && !guess->core->any_exclusive)
		return false;
	for (size_t k = 0; k < guess->core->n; k++)
		if (k != i && guess->sets[k] & guess->sets[i] &&
		    (item->exclusive || guess->core->items[k].exclusive ||
		     item->not_with[k / 64] >> k % 64 & 1))
			return true;
	return false;
}

static size_t random_bit(struct guess *guess, uint64_t mask)
{
	uint64_t skip = next_random(guess) % (uint64_t)__builtin_popcountll(mask);

	for (; skip > 0; skip--)
		mask &= mask - 1;
	return (size_t)__builtin_ctzll(mask);
}

/* One item leaves a GPU for another one; every second time another item takes its place. */
static bool take_step(struct guess *guess, struct step *step)
{
	size_t i = guess->free[next_random(guess) % guess->n_free];
	uint64_t others = guess->allowed[i] & ~guess->sets[i];
	size_t from = random_bit(guess, guess->sets[i]), to = random_bit(guess, others), k;

	step->n = 0;
	set(guess, step, i, (guess->sets[i] ^ (uint64_t)1 << from) | (uint64_t)1 << to);
	if (next_random(guess) & 1) {
		k = guess->free[next_random(guess) % guess->n_free];
		if (k == i || !(guess->sets[k] >> to & 1) || guess->sets[k] >> from & 1 ||
		    !(guess->allowed[k] >> from & 1))
			return false;
		set(guess, step, k, (guess->sets[k] ^ (uint64_t)1 << to) | (uint64_t)1 << from);
		return !meets(guess, i) && !meets(guess, k);
	}
	return !meets(guess, i);
}

static bool go_round(struct guess *guess)
{
	size_t tries = TRIES * guess->n_free;
	double warmth = WARMEST, cooler = pow(COLDEST / WARMEST, 1.0 / (double)tries);

	for (size_t n = 0; n < tries && guess->wrong > 0; n++, warmth *= cooler) {
		struct step step;
		bool allowed = take_step(guess, &step);
		double wrong = allowed ? how_wrong(guess) : 0;
		double luck = (double)(next_random(guess) >> 11) * 0x1p-53;

		if (allowed &&
		    (wrong <= guess->wrong || luck < exp((guess->wrong - wrong) / warmth)))
			guess->wrong = wrong;
		else
			undo(guess, &step);
	}
	return guess->wrong <= 0;
}

/* What `sets` are, and which of them have a choice. False: the limits hold what is not thought of
 * here, or the placement is none. */
static bool prepare(struct guess *guess, const uint64_t *sets)
{
	const struct core *core = guess->core;
	const struct core_limits *limits = guess->limits;

	for (size_t g = 0; g < core->m; g++)
		guess->mean += (double)limits->room[g] / (double)core->m;
	if (limits->used_max != UINT_MAX || limits->need || guess->mean <= 0)
		return false;
	for (size_t i = 0; i < core->n; i++) {
		const struct core_item *item = &core->items[i];
		unsigned choice = 0;

		for (uint64_t rest = limits->allowed[i]; rest; rest &= rest - 1)
			if (limits->room[__builtin_ctzll(rest)] >= item->size)
				guess->allowed[i] |= rest & -rest;
		if (limits->must[i] || (unsigned)__builtin_popcountll(sets[i]) != item->count)
			return false;
		guess->sets[i] = sets[i] & guess->allowed[i];
		while ((unsigned)__builtin_popcountll(guess->sets[i]) < item->count) {
			uint64_t left = guess->allowed[i] & ~guess->sets[i];

			if (left == 0)
				return false;
			guess->sets[i] |= left & -left;
		}
		choice = (unsigned)__builtin_popcountll(guess->allowed[i]);
		if (choice > item->count)
			guess->free[guess->n_free++] = i;
	}
	for (size_t i = 0; i < core->n; i++) {
		if (meets(guess, i))
			return false;
		count(guess, i, 1);
	}
	return guess->n_free > 0;
}

bool core_guess(const struct core *core, const struct core_limits *limits, uint64_t *sets)
{
	auto_free struct guess *guess = mem_calloc(1, sizeof *guess);

	*guess = (struct guess){.core = core, .limits = limits, .random = 88172645463325252};
	if (!prepare(guess, sets))
		return false;
	guess->wrong = how_wrong(guess);
	for (unsigned round = 0; round < ROUNDS; round++)
		if (go_round(guess)) {
			memcpy(sets, guess->sets, core->n * sizeof *sets);
			return true;
		}
	return false;
}
