/*
 * A machine that is not this one: what `plimsoll gpus --json` printed there, read back. Who holds
 * the memory comes with it, services by the names of their containers; so do reserves and closed
 * GPUs, since the plimsoll.yaml they are from is not here.
 */
#pragma once

#include "gpu/gpu.h"
#include "place/ledger.h"
#include "stack/stack.h"

struct inventory {
	struct gpu_list *list;     /* a holder is one process that uses it all, and the others of
				      its pids nothing; `container` is set for services */
	struct ledger_rule *rules; /* one for each GPU of the list */
	struct stack_host host;
	char *note; /* what people should know of it: GPUs whose use it does not say; or NULL */
};

/* Errors: "NAME:LINE:COLUMN: ..." for what is no JSON; "NAME: gpus[1].vram.total_bytes is \"24G\";
 * wanted is ...", -EINVAL, for what is no inventory. */
int inventory_parse(const char *text, size_t len, const char *name, struct inventory *ret_inventory,
		    struct error *err) MUST_CHECK;
/* "-" is standard input. */
int inventory_load(const char *path, struct inventory *ret_inventory, struct error *err) MUST_CHECK;
void inventory_finish(struct inventory *inventory);
#define auto_inventory CLEANUP(inventory_finish)
