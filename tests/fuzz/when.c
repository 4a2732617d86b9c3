/* Any text as a point in time: taken whole and put out, or refused and nothing put out. */
#include "util/when.h"
#include "util/timestamp.h"

#include "util/cleanup.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	struct error err = {};
	int64_t ms = INT64_MIN;
	int r = when_parse_past(text, INT64_C(1795269600000), &ms, &err);

	if ((r == 0) != (ms != INT64_MIN) || (r < 0 && !*err.text))
		abort();
	err = (struct error){};
	ms = INT64_MIN;
	r = when_parse_future(text, INT64_C(1795269600000), &ms, &err);
	if ((r == 0) != (ms > INT64_C(1795269600000)) || (r < 0 && !*err.text))
		abort();
	return 0;
}
