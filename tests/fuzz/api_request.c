/* The bodies of POST /v1/tasks and /v1/batches: whatever comes in is a submit or an error with a
 * text. */
#include "daemon/submit_parse.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_one(const json_t *body, int (*parse)(const json_t *, const struct gpu_list *,
						     struct submit *, struct error *))
{
	struct submit submit = {};
	struct error err = {};
	int r = parse(body, NULL, &submit, &err);

	if (r < 0 && !err.text[0])
		abort();
	for (size_t i = 0; r == 0 && i < submit.n; i++)
		if (!submit.specs[i].argv || !submit.specs[i].argv[0])
			abort();
	submit_finish(&submit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *body = NULL;

	if (jsonx_parse((const char *)data, size, "body", &body, NULL) < 0)
		return 0;
	(void)submit_needs_gpus(body);
	try_one(body, submit_parse_task);
	try_one(body, submit_parse_batch);
	return 0;
}
