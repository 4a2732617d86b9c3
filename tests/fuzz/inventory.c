/* Any text as an inventory: refused with a text, or a list the ledger can be made from. */
#include "cli/inventory.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_inventory struct inventory inventory = {};
	struct error err = {};
	struct ledger *ledger;

	if (inventory_parse((const char *)data, size, "f", &inventory, &err) < 0) {
		if (!err.text[0] || inventory.list)
			abort();
		return 0;
	}
	if (inventory.list->n == 0)
		abort();
	ledger = ledger_create(
	    inventory.list, NULL, 0, &(struct ledger_host){},
	    &(struct ledger_options){.rules = inventory.rules, .n_rules = inventory.list->n});
	for (size_t i = 0; i < ledger->n_gpus; i++)
		if (!ledger->gpus[i].uuid[0] ||
		    ledger->gpus[i].load_line_bytes > ledger->gpus[i].total_bytes)
			abort();
	ledger_destroy(ledger);
	return 0;
}
