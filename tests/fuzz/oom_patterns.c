/* Any text as a file of patterns: read or refused with a place; what is read can be matched with.
 */
#include "run/oom.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oom_patterns *patterns = NULL;
	struct oom_verdict verdict;
	struct error err = {};
	char path[64];
	int fd = memfd_create("patterns", MFD_CLOEXEC);

	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
		abort();
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (oom_patterns_load(path, NULL, 0, &patterns, &err) < 0) {
		if (!err.text[0] || patterns)
			abort();
	} else {
		/* The file itself as a log. */
		struct oom_evidence evidence = {
		    .exit_code = 1, .log = (const char *)data, .log_len = size};

		oom_classify(patterns, &evidence, &verdict);
		oom_patterns_destroy(patterns);
	}
	(void)close(fd);
	return 0;
}
