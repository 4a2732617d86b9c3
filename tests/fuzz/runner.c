/*
 * A fuzz target as an ordinary test: every seed of its corpus, then a fixed number of mutations of
 * each, the same ones on every run and machine (a failure can be repeated by running it again).
 * The input being tried is kept in a file, so that a crash leaves it behind: $TMPDIR/fuzz-<pid>.
 * libFuzzer, which learns from coverage, is `make fuzz`; this needs no clang.
 */
#include "util/file.h"

#include <dirent.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define MUTATIONS_PER_SEED 300 /* unless another number is given after the folder */
#define SEED_MAX           (16u << 20)
#define GROWTH_MAX         64 /* bytes a mutation may add */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void input_try(const char *kept, const uint8_t *data, size_t size)
{
	/* An exact copy on the heap, so that ASan and valgrind see a read past its end. */
	auto_free uint8_t *copy = mem_alloc(size);
	FILE *file = fopen(kept, "w");

	if (file) {
		(void)fwrite(data, 1, size, file);
		(void)fclose(file);
	}
	memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size);
}

/* One to four small changes: a bit, a byte, a telling character, a cut, a repeated piece. */
static size_t input_mutate(uint8_t *data, size_t size, size_t room, uint64_t *state)
{
	static const char telling[] = "\"'{}[],:;#-0.9eE\n\t\\%/ G\xff\x80";

	for (unsigned n = 1 + (unsigned)(random_next(state) % 4); n > 0 && size > 0; n--) {
		size_t at = random_next(state) % size;
		size_t len = 1 + random_next(state) % MIN_OF(size - at, (size_t)16);

		switch (random_next(state) % 5) {
		case 0:
			data[at] ^= (uint8_t)(1u << random_next(state) % 8);
			break;
		case 1:
			data[at] = (uint8_t)random_next(state);
			break;
		case 2:
			data[at] = (uint8_t)telling[random_next(state) % (sizeof telling - 1)];
			break;
		case 3:
			memmove(data + at, data + at + len, size - at - len);
			size -= len;
			break;
		default:
			if (size + len > room)
				break;
			memmove(data + at + len, data + at, size - at);
			size += len;
		}
	}
	return size;
}

static void seed_mutate(const char *kept, const struct text *seed, int mutations, uint64_t *state)
{
	size_t room = seed->len + GROWTH_MAX;
	auto_free uint8_t *data = mem_alloc(room);

	for (int i = 0; i < mutations; i++) {
		memcpy(data, seed->data, seed->len);
		input_try(kept, data, input_mutate(data, seed->len, room, state));
	}
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	auto_free char *kept = mem_printf("%s/fuzz-%d", tmp ? tmp : "/tmp", (int)getpid());
	struct dirent **entries = NULL;
	const int mutations = argc > 2 ? atoi(argv[2]) : MUTATIONS_PER_SEED;
	int n = argc > 1 ? scandir(argv[1], &entries, NULL, by_name) : -1;
	int tried = 0;

	if (n < 0) {
		printf("Bail out! no corpus: give its folder\n");
		return 1;
	}
	printf("# the input being tried is in %s\n", kept);
	for (int i = 0; i < n; i++) {
		auto_free char *path = mem_printf("%s/%s", argv[1], entries[i]->d_name);
		auto_text struct text seed = {};
		uint64_t state = UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)i;
		struct error err = {};

		if (entries[i]->d_name[0] != '.') {
			if (file_read(path, SEED_MAX, false, &seed, &err) < 0) {
				printf("Bail out! %s\n", err.text);
				return 1;
			}
			input_try(kept, (const uint8_t *)seed.data, seed.len);
			seed_mutate(kept, &seed, mutations, &state);
			printf("ok %d - %s and %d mutations\n", ++tried, entries[i]->d_name,
			       mutations);
		}
		free(entries[i]);
	}
	free(entries);
	(void)unlink(kept);
	if (tried == 0) {
		printf("Bail out! %s is empty\n", argv[1]);
		return 1;
	}
	printf("1..%d\n", tried);
	return 0;
}
