/* Any line as the output of plimsoll-nvml: what is accepted is written again the same. */
#include "gpu/helper_line.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_gpu_list struct gpu_list *again = NULL, *copy = NULL;
	auto_json json_t *json = NULL, *json_again = NULL;
	struct helper_line line = {};
	struct error err = {};

	if (helper_line_parse((const char *)data, size, &line, &err) < 0) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	if (!line.list)
		return 0;
	json = gpu_list_to_json(line.list);
	if (gpu_list_from_json(json, &again, NULL) < 0)
		abort();
	json_again = gpu_list_to_json(again);
	if (!json_equal(json, json_again))
		abort();
	copy = gpu_list_copy(again);
	gpu_list_carry_over(copy, line.list);
	gpu_list_mark_stale(copy, 1, "fuzzed");
	helper_line_finish(&line);
	return 0;
}
