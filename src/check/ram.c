/* The host's RAM: services that say more of it than there is. */
#include "check/check_priv.h"

#include "util/size.h"

/* Where it is said; else the service itself. */
static struct compose_span place_of(const struct stack_service *service)
{
	const struct compose_node *said =
	    compose_get(compose_get(service->service->node, "x-plimsoll"), "ram");

	return said && said->span.file ? said->span : (struct compose_span){};
}

void check_ram(struct check *check)
{
	auto_text struct text text = {};
	struct stack_ram ram;

	stack_ram_sum(check->stack, &ram);
	if (ram.verdict == STACK_RAM_FITS)
		return;
	stack_ram_text(check->stack, &ram, &text);
	check_add(
	    check,
	    ram.verdict == STACK_RAM_OVER_HOST ? CHECK_RAM_OVER_HOST : CHECK_RAM_OVER_HOST_NOW,
	    &(struct finding){
		.span = place_of(ram.yields),
		.service = ram.yields->service->name,
		.message = text_take(&text),
		.fix = mem_printf("run less at once, or write a smaller `ram:` where it says "
				  "too much: by priority %s (%s) yields first",
				  ram.yields->service->name, SIZE_TEXT(stack_ram_of(ram.yields))),
	    });
}
