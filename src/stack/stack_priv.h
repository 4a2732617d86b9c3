/* Between the parts of the stack. */
#pragma once

#include "stack/stack.h"

/* What x-plimsoll of the service says, and plimsoll.yaml above it. */
int stack_read_need(const struct stack_facts *facts, const struct compose_service *service,
		    struct need *ret_need, struct error *err) MUST_CHECK;

/* What containers and processes tell: `running`, `today`, `measured` of the services, and
 * `foreign_bytes` of the GPUs. Their needs are known already. */
void stack_measure(struct stack *stack, const struct stack_facts *facts);

/* The place of what was said about it, or of the service. */
const char *stack_where(const struct stack_service *service, struct text *text);
