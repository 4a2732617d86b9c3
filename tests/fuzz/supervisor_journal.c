/* Any bytes as the supervisor's journal: it opens, every attempt in it is whole, and what it is
 * written anew as holds as many. */
#include "run/journal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t open_once(const char *path)
{
	struct idtable attempts = {};
	auto_strings struct strings warnings = {};
	struct journal *journal = NULL;
	size_t n;

	if (journal_open(path, &attempts, &journal, &warnings, NULL) < 0)
		abort();
	n = attempts.n;
	{
		auto_free struct idtable_node **list = idtable_list(&attempts);

		for (struct idtable_node **node = list; *node; node++) {
			struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_id);

			if (!attempt->id[0])
				abort();
			json_decref(attempt_event(attempt));
			attempt_destroy(attempt);
		}
	}
	idtable_finish(&attempts);
	journal_close(journal);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char path[64];
	size_t n;
	int fd;

	if (!path[0])
		/* In memory where there is such: the journal syncs what it writes. */
		(void)snprintf(path, sizeof path, "%s/plimsoll-fuzz-journal-%d",
			       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	(void)close(fd);
	n = open_once(path);
	if (open_once(path) != n)
		abort();
	(void)unlink(path);
	return 0;
}
