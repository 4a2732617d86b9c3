/* How many tasks a second one batch of 20,000 is stored at: one unit, one commit, on the disk of
 * $TMPDIR (or /tmp). The target is 20,000. */
#include "store/store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TASKS 20000

static double seconds_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int batch_store(struct store *store, struct error *err)
{
	int64_t environment;
	int r = store_begin(store, err);

	if (r == 0)
		r = store_intern_environment(store, "PATH=/usr/bin", 14, &environment, err);
	for (uint64_t id = 1; r == 0 && id <= TASKS; id++) {
		char name[64], fingerprint[64], spec[512];
		const struct store_task task = {
		    .id = id,
		    .batch = 1,
		    .row = (unsigned)id,
		    .name = name,
		    .kind = "whisper-medium",
		    .state = "waiting",
		    .fingerprint = fingerprint,
		    .environment = environment,
		    .submitted_at_ms = 1763719200000,
		    .updated_at_ms = 1763719200000,
		    .spec = spec,
		};

		(void)snprintf(name, sizeof name, "%llu.wav", (unsigned long long)id);
		(void)snprintf(fingerprint, sizeof fingerprint, "%016llx%016llx",
			       (unsigned long long)(id * 0x9e3779b97f4a7c15ull),
			       (unsigned long long)id);
		(void)snprintf(
		    spec, sizeof spec,
		    "{\"command\":[\"python3\",\"transcribe.py\",\"/data/%s\",\"--device\","
		    "\"{device}\"],\"cwd\":\"/home/me\",\"umask\":18,\"policy\":\"auto\","
		    "\"request\":{\"vram_bytes\":2684354560,\"ram_bytes\":4831838208,"
		    "\"gpus\":1}}",
		    name);
		r = store_put_task(store, &task, err);
	}
	return r == 0 ? store_commit(store, err) : r;
}

int main(void)
{
	const char *base = getenv("TMPDIR");
	auto_free char *folder = mem_printf("%s/plimsoll-bench-XXXXXX", base ? base : "/tmp");
	struct store *store = NULL;
	struct error err = {};
	double start, took;
	int r;

	if (!mkdtemp(folder) || store_open(folder, &store, &err) < 0) {
		fprintf(stderr, "store_submit: %s\n", error_text(&err));
		return 1;
	}
	start = seconds_now();
	r = batch_store(store, &err);
	took = seconds_now() - start;
	store_close(store);
	for (size_t i = 0; i < 4; i++) {
		static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm",
						    "lock"};
		auto_free char *path = mem_printf("%s/%s", folder, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(folder);
	if (r < 0) {
		fprintf(stderr, "store_submit: %s\n", error_text(&err));
		return 1;
	}
	printf("store: %d tasks of one batch in %.0f ms, %.0f submits/s (target 20000)\n", TASKS,
	       took * 1000, TASKS / took);
	return took > TASKS / 20000.0 ? 1 : 0;
}
