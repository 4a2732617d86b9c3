/*
 * See clock.h. The monotonic clock begins anew with each boot, so the distance between the two is
 * kept with the boot it is of; after another boot, nothing that is timed runs any more.
 */
#include "daemon/clock.h"

#include "util/file.h"
#include "util/timestamp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define META_KEY "clock" /* "<boot> <realtime less monotonic, ms>" */
#define BOOT_MAX 64

struct clock {
	struct daemon *daemon;
	char boot[BOOT_MAX]; /* "": unknown, nothing is kept */
	bool is_stored;
	int64_t stored_ms, put_ms; /* the distance that is in the store, and that is being put */
};

int64_t clock_now_ms(struct clock *clock)
{
	int64_t now_ms, monotonic_ms;

	timestamp_now_both_ms(&now_ms, &monotonic_ms);
	sched_clock(clock->daemon->sched, now_ms, monotonic_ms);
	return now_ms;
}

bool clock_is_due(const struct clock *clock)
{
	int64_t offset = sched_clock_offset(clock->daemon->sched);

	return clock->boot[0] &&
	       (!clock->is_stored || llabs(offset - clock->stored_ms) > SCHED_CLOCK_STEP_MS);
}

int clock_put(struct clock *clock, struct error *err)
{
	char text[BOOT_MAX + 32];

	clock->put_ms = sched_clock_offset(clock->daemon->sched);
	(void)snprintf(text, sizeof text, "%s %lld", clock->boot, (long long)clock->put_ms);
	return store_put_meta(clock->daemon->store, META_KEY, text, err);
}

void clock_stored(struct clock *clock)
{
	if (!clock_is_due(clock))
		return;
	clock->stored_ms = clock->put_ms;
	clock->is_stored = true;
}

int clock_restore(struct clock *clock, struct error *err)
{
	auto_free char *text = NULL;
	size_t length = strlen(clock->boot);
	char *end;
	long long offset;
	int r = store_get_meta(clock->daemon->store, META_KEY, &text, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (length == 0 || strncmp(text, clock->boot, length) != 0 || text[length] != ' ')
		return 0;
	/* Damaged: as if there were none. */
	errno = 0;
	offset = strtoll(text + length + 1, &end, 10);
	if (errno != 0 || *end || end == text + length + 1)
		return 0;
	clock->stored_ms = clock->put_ms = offset;
	clock->is_stored = true;
	sched_restore_clock(clock->daemon->sched, offset);
	return 0;
}

struct clock *clock_create(struct daemon *daemon)
{
	struct clock *clock = mem_calloc(1, sizeof *clock);

	clock->daemon = daemon;
	if (file_read_small("/proc/sys/kernel/random/boot_id", clock->boot, sizeof clock->boot) < 0)
		clock->boot[0] = '\0';
	return clock;
}

void clock_destroy(struct clock *clock)
{
	free(clock);
}
