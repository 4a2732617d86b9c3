/* See helper_line.h. */
#include "gpu/helper_line.h"

int helper_line_parse(const char *line, size_t len, struct helper_line *ret_line, struct error *err)
{
	struct helper_line parsed = {};
	auto_json json_t *json = NULL;
	int r = jsonx_parse(line, len, "plimsoll-nvml", &json, err);

	if (r < 0)
		return r;
	if (jsonx_has(json, "event")) {
		r = gpu_event_from_json(json, &parsed.event, err);
	} else {
		parsed.number = jsonx_get_u64(json, "sample", 0);
		r = gpu_details_list_from_json(json_object_get(json, "list"), &parsed.list,
					       &parsed.details, err);
	}
	if (r < 0)
		return r;
	*ret_line = parsed;
	return 0;
}

void helper_line_finish(struct helper_line *line)
{
	gpu_list_destroy(TAKE(line->list));
	free(TAKE(line->details));
}
