/* Any text as the end of a log: classified, never a crash; what is said about it holds together,
 * and it is said again of the same text. The first bytes choose how it ended. */
#include "run/oom.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct oom_patterns *patterns_get(void)
{
	static struct oom_patterns *patterns;
	struct error err;

	if (!patterns && oom_patterns_load(NULL, NULL, 0, &patterns, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		abort();
	}
	return patterns;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int exits[] = {0, 1, 2, 134, 137, 139, 255};
	uint8_t how = size > 0 ? data[0] : 0;
	struct oom_evidence evidence = {
	    .exit_code = exits[how % ARRAY_LEN(exits)],
	    .lost = how == 255,
	    .oom_kills = how & 64 ? 1 : 0,
	    .on_cpu = how & 32,
	    .gpu_peak_bytes = how & 16 ? (uint64_t)8 << 30 : 0,
	    .gpu_total_bytes = (uint64_t)8 << 30,
	    .log = (const char *)data + (size > 0),
	    .log_len = size - (size > 0),
	};
	struct oom_verdict first, second;

	oom_classify(patterns_get(), &evidence, &first);
	oom_classify(patterns_get(), &evidence, &second);
	if (first.outcome != second.outcome || strcmp(first.pattern, second.pattern) != 0 ||
	    first.requested_bytes != second.requested_bytes ||
	    first.used_bytes != second.used_bytes)
		abort();
	if (!evidence.lost && evidence.exit_code == 0 && first.outcome != OOM_OK)
		abort();
	if (evidence.on_cpu && first.gpu_full)
		abort();
	if (first.has_requested &&
	    (first.requested_bytes == 0 || first.requested_bytes > (uint64_t)1e15))
		abort();
	if (first.has_used ? first.used_bytes < 1 << 20 || first.outcome != OOM_GPU ||
				 evidence.on_cpu || first.used_bytes >= evidence.gpu_total_bytes
			   : first.used_bytes != 0)
		abort();
	if (!first.pattern[0] != !first.line[0] || memchr(first.line, '\n', strlen(first.line)))
		abort();
	return 0;
}
