/*
 * The host's RAM: what services say (`ram:`), summed and compared with what there is. Two questions
 * with two answers: is it more than the host has, which no order of starting mends; and is it more
 * than is left now beside everything else, which may pass. What is not known is not asked.
 */
#include "stack/stack.h"

#include "util/size.h"

#define NAMES_MAX 8

uint64_t stack_ram_of(const struct stack_service *service)
{
	uint64_t bytes;

	if (!service->service->active || !service->need.has_ram)
		return 0;
	return __builtin_mul_overflow(service->need.ram_bytes, service->service->replicas, &bytes)
		   ? UINT64_MAX
		   : bytes;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* The lowest priority, whoever is to be kept last; of equal ones the smallest that is enough, else
 * the largest. */
static bool yields_before(const struct stack_service *one, const struct stack_service *other,
			  uint64_t excess)
{
	const uint64_t a = stack_ram_of(one), b = stack_ram_of(other);

	if (one->need.keep != other->need.keep)
		return other->need.keep;
	if (one->need.priority != other->need.priority)
		return one->need.priority < other->need.priority;
	if ((a >= excess) != (b >= excess))
		return a >= excess;
	return a >= excess ? a < b : a > b;
}

static const struct stack_service *who_yields(const struct stack *stack, uint64_t excess)
{
	const struct stack_service *first = NULL;

	for (size_t i = 0; i < stack->n; i++)
		if (stack_ram_of(&stack->services[i]) > 0 &&
		    (!first || yields_before(&stack->services[i], first, excess)))
			first = &stack->services[i];
	return first;
}

/* What those that say something use now. */
static uint64_t used_now(const struct stack *stack)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < stack->n; i++)
		if (stack_ram_of(&stack->services[i]) > 0)
			bytes = add(bytes, stack->services[i].ram_used_bytes);
	return bytes;
}

void stack_ram_sum(const struct stack *stack, struct stack_ram *ret_ram)
{
	const struct stack_host *host = &stack->host;
	struct stack_ram ram = {};
	uint64_t at_hand; /* what they have is theirs already */

	for (size_t i = 0; i < stack->n; i++) {
		ram.n_services += stack_ram_of(&stack->services[i]) > 0;
		ram.said_bytes = add(ram.said_bytes, stack_ram_of(&stack->services[i]));
	}
	at_hand = add(host->available_bytes, used_now(stack));
	if (host->total_known && ram.said_bytes > host->total_bytes) {
		ram.verdict = STACK_RAM_OVER_HOST;
		ram.excess_bytes = ram.said_bytes - host->total_bytes;
	} else if (host->available_known && stack->ram_used_known && ram.said_bytes > at_hand) {
		ram.verdict = STACK_RAM_OVER_NOW;
		ram.excess_bytes = ram.said_bytes - at_hand;
	}
	if (ram.verdict != STACK_RAM_FITS)
		ram.yields = who_yields(stack, ram.excess_bytes);
	*ret_ram = ram;
}

void stack_ram_names(const struct stack *stack, struct text *text)
{
	auto_free bool *told = mem_calloc(stack->n + 1, sizeof *told);

	for (unsigned k = 0;; k++) {
		size_t most = SIZE_MAX;

		for (size_t i = 0; i < stack->n; i++)
			if (!told[i] && stack_ram_of(&stack->services[i]) > 0 &&
			    (most == SIZE_MAX || stack_ram_of(&stack->services[i]) >
						     stack_ram_of(&stack->services[most])))
				most = i;
		if (most == SIZE_MAX)
			return;
		if (k == NAMES_MAX) {
			text_add(text, ", ...");
			return;
		}
		told[most] = true;
		text_printf(text, "%s%s %s", k > 0 ? ", " : "", stack->services[most].service->name,
			    SIZE_TEXT(stack_ram_of(&stack->services[most])));
	}
}

void stack_ram_text(const struct stack *stack, const struct stack_ram *ram, struct text *text)
{
	const struct stack_host *host = &stack->host;
	const uint64_t used = used_now(stack);

	text_printf(text, "%zu service%s %s to need %s of the host's RAM (", ram->n_services,
		    PLURAL(ram->n_services), ram->n_services == 1 ? "says" : "say",
		    SIZE_TEXT(ram->said_bytes));
	stack_ram_names(stack, text);
	if (ram->verdict == STACK_RAM_OVER_HOST) {
		text_printf(text, "), which has %s: %s less", SIZE_TEXT(host->total_bytes),
			    SIZE_TEXT(ram->excess_bytes));
		return;
	}
	text_printf(text, "), of which %s is available now", SIZE_TEXT(host->available_bytes));
	if (used > 0)
		text_printf(text, " beside the %s they use already", SIZE_TEXT(used));
	text_printf(text, ": %s less", SIZE_TEXT(ram->excess_bytes));
}
