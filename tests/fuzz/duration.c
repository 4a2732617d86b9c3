/* Any text as a duration: never negative, never endless, and the bare-number form accepts all that
 * the strict one accepts, with the same meaning. */
#include "util/duration.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	struct error err = {};
	int64_t ms = -1, same = -1;

	if (duration_parse(text, &ms, &err) < 0)
		return 0;
	if (ms < 0 || !*DURATION_TEXT(ms))
		abort();
	if (duration_parse_seconds(text, &same, &err) < 0 || same != ms)
		abort();
	return 0;
}
