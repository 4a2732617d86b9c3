/* Any text as a size: what is accepted stays in bounds, and what is printed is accepted again. */
#include "util/size.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_strndup((const char *)data, size);
	uint64_t bytes = 0, again = 0;

	if (size_parse(text, &bytes, NULL) < 0)
		return 0;
	if (bytes > INT64_MAX)
		abort();
	/* Below 1 KiB bytes are printed, which nobody may write; at the upper end the rounding to
	 * hundredths of a GiB may lead past the largest size. */
	if (bytes >= KIB && bytes < INT64_MAX - GIB &&
	    size_parse(SIZE_TEXT(bytes), &again, NULL) < 0)
		abort();
	return 0;
}
