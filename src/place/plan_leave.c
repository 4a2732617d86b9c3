/*
 * Who stays and who leaves, see plan_search.c. Those that leave are put aside and get their GPUs
 * when all have chosen. One that may be on several GPUs, or chooses for itself, either stays as it
 * is or leaves; where those of one GPU choose together, a node is one more that leaves, from the
 * heaviest down, and the rest stays all at once when there is room for it.
 */
#include "place/plan_search.h"

/* What comes back when an item that was put aside does. */
struct aside {
	size_t item, at, from;
	uint64_t left;
};

/* The item leaves its GPU, or had none; where it goes is seen later: those aside get their GPUs in
 * the order in which they are items, the heaviest first. */
static bool put_aside(struct search *s, size_t item, struct aside *ret_aside)
{
	const struct core_item *it = &s->core->items[item];
	struct aside *aside = ret_aside;
	size_t twin = s->twin[item];

	if ((s->allowed[item] & ~it->today) == 0)
		return false;
	*aside = (struct aside){.item = item, .at = s->n_aside++};
	if (twin != SIZE_MAX && s->allowed[item] & it->today) {
		aside->from = (size_t)__builtin_ctzll(it->today);
		aside->left = ~s->left[aside->from][twin / 64] & bit(twin % 64);
		s->left[aside->from][twin / 64] |= aside->left;
	}
	for (; aside->at > 0 && s->aside[aside->at - 1] > item; aside->at--)
		s->aside[aside->at] = s->aside[aside->at - 1];
	s->aside[aside->at] = item;
	s->is_aside[item] = true;
	s->aside_bytes += it->size * it->count;
	s->aside_preference += s->best_preference[item];
	s->moves += it->stay > 0;
	return true;
}

static void bring_back(struct search *s, const struct aside *aside)
{
	const struct core_item *it = &s->core->items[aside->item];
	size_t twin = s->twin[aside->item];

	if (aside->left)
		s->left[aside->from][twin / 64] &= ~aside->left;
	s->moves -= it->stay > 0;
	s->aside_preference -= s->best_preference[aside->item];
	s->aside_bytes -= it->size * it->count;
	s->is_aside[aside->item] = false;
	s->n_aside--;
	memmove(s->aside + aside->at, s->aside + aside->at + 1,
		(s->n_aside - aside->at) * sizeof *s->aside);
}

/* Can it stay where it is? In `ret_choice`, when it can. */
static bool can_stay(const struct search *s, struct search_choice *ret_choice)
{
	const struct core_item *it = &s->core->items[ret_choice->item];

	if (it->today == 0 || it->today & ~s->allowed[ret_choice->item])
		return false;
	for (uint64_t rest = it->today; rest; rest &= rest - 1) {
		size_t g = (size_t)__builtin_ctzll(rest);

		if (!search_may_go(s, ret_choice->item, g))
			return false;
		ret_choice->like_before[ret_choice->n] = false;
		ret_choice->gpus[ret_choice->n++] = g;
	}
	return ret_choice->n == it->count;
}

/* Which first? As it was before; else the heaviest leave while more is held there than there is
 * room. */
static bool is_to_leave(const struct search *s, const struct search_choice *stay)
{
	uint64_t hint = s->hints[stay->item], today = s->core->items[stay->item].today;

	if (hint)
		return (hint & today) != today;
	return s->held[stay->at][stay->gpus[0]].one > s->room[stay->gpus[0]];
}

/* Stay or leave. Of items that nothing tells apart, the first leave. */
enum core_found search_stay_or_leave(struct search *s, size_t item, size_t k)
{
	struct search_choice stay;
	struct aside aside;
	bool may_leave = !s->same_as_before[item] || s->is_aside[s->order[k - 1]], leave_first;
	bool may_stay;
	enum core_found found = CORE_NONE;

	stay.item = item;
	stay.at = k;
	stay.n = 0;
	may_stay = can_stay(s, &stay);
	leave_first = !may_stay || is_to_leave(s, &stay);
	for (int turn = 0; turn < 2 && found == CORE_NONE; turn++) {
		if ((turn == 0) == leave_first) {
			if (!may_leave || !put_aside(s, item, &aside))
				continue;
			found = search_go_on(s, k + 1);
			if (found != CORE_FOUND)
				bring_back(s, &aside);
		} else if (may_stay)
			found = search_place_copies(s, &stay, s->core->items[item].count, 0);
	}
	return found;
}

/* The GPU whose services choose, the positions they have, and how many moves those after them
 * take. */
struct group {
	size_t g, from, to;
	unsigned later;
};

/* All of the group that are not aside stay where they are. */
static enum core_found let_stay(struct search *s, const struct group *group)
{
	struct search_undo undo = search_note(s);
	enum core_found found = CORE_NONE;
	size_t k = group->from;

	for (; k < group->to; k++)
		if (!s->is_aside[s->order[k]]) {
			if (!search_may_go(s, s->order[k], group->g))
				break;
			search_put(s, s->order[k], group->g);
		}
	if (k == group->to)
		found = search_go_on(s, k);
	if (found == CORE_FOUND)
		return found;
	while (k-- > group->from)
		if (!s->is_aside[s->order[k]])
			search_take_back(s, s->order[k], group->g, &undo);
	return found;
}

static enum core_found choose_leavers(struct search *s, const struct group *group, size_t k,
				      uint64_t stay);

/* The one at position `k` leaves, and perhaps some after it. Of items that nothing tells apart, the
 * first leave. */
static enum core_found leave(struct search *s, const struct group *group, size_t k, uint64_t stay)
{
	size_t item = s->order[k];
	struct aside aside;
	enum core_found found;

	if ((k > group->from && s->same_as_before[item] && !s->is_aside[s->order[k - 1]]) ||
	    !put_aside(s, item, &aside))
		return CORE_NONE;
	found = choose_leavers(s, group, k + 1, stay - s->core->items[item].size);
	if (found != CORE_FOUND)
		bring_back(s, &aside);
	return found;
}

/* Who leaves next, from position `k` on? `stay`: bytes of those that do not leave so far. First as
 * it was before. */
static enum core_found choose_leavers(struct search *s, const struct group *group, size_t k,
				      uint64_t stay)
{
	uint64_t over = stay > s->room[group->g] ? stay - s->room[group->g] : 0;
	enum core_found found = CORE_NONE;
	size_t hint = k;

	if (++s->work > s->work_max)
		return CORE_GAVE_UP;
	if (s->moves + group->later + search_fewest_leaving(s, k, group->g, over) >
	    s->limits->moves_max)
		return CORE_NONE;
	while (hint < group->to &&
	       (!s->hints[s->order[hint]] || s->hints[s->order[hint]] >> group->g & 1))
		hint++;
	if (hint < group->to)
		found = leave(s, group, hint, stay);
	if (over == 0 && found == CORE_NONE)
		found = let_stay(s, group);
	for (; k < group->to && found == CORE_NONE; k++)
		if (k != hint)
			found = leave(s, group, k, stay);
	return found;
}

/* The services of one GPU: all that leave it are chosen before the next. */
enum core_found search_choose_group(struct search *s, size_t k)
{
	struct group group = {.g = search_today(s, k), .from = k, .to = k};

	while (group.to < s->n_chosen && search_today(s, group.to) == group.g)
		group.to++;
	group.later = s->later_moves[s->rank[group.g] + 1];
	return choose_leavers(s, &group, k, s->held[k][group.g].one);
}
