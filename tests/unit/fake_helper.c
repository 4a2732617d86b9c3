/*
 * Stands in for plimsoll-nvml beside test-gpu_sampler: speaks its protocol and misbehaves as the
 * first word in $FAKE_HELPER says. $FAKE_HELPER_COUNT names a file that grows by a byte a start.
 */
#include "util/file.h"
#include "util/text.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static const char *mode = "good";
static unsigned starts;

static unsigned count_start(void)
{
	const char *path = getenv("FAKE_HELPER_COUNT");
	auto_close int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

	if (fd < 0 || fd_write_all(fd, "x", 1) < 0)
		return 1;
	return (unsigned)lseek(fd, 0, SEEK_END);
}

static void say(const char *text)
{
	if (fd_write_all(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

static void answer(unsigned long long number)
{
	char line[512];
	(void)snprintf(line, sizeof line,
		       "{\"sample\":%llu,\"list\":{\"state\":\"ok\",\"sampled_at\":"
		       "\"2026-01-01T00:00:00.000Z\",\"gpus\":[{\"index\":0,\"uuid\":\"GPU-1\","
		       "\"health\":\"ok\",\"utilization_percent\":%u}]}}\n",
		       number, (unsigned)(number % 100));

	say(line);
}

static void flood(void)
{
	static char block[65536];

	memset(block, 'x', sizeof block);
	while (fd_write_all(STDOUT_FILENO, block, sizeof block) == 0)
		;
	_exit(1);
}

static bool is(const char *what)
{
	return strcmp(mode, what) == 0;
}

static void misbehave(unsigned long long number)
{
	if (is("hang") || (is("hang-third") && number == 3 && starts == 1)) {
		for (;;)
			(void)poll(NULL, 0, -1);
	} else if (is("garbage-once") && starts == 1) {
		say("garbage\n");
	} else if (is("flood-once") && starts == 1) {
		flood();
	} else if (is("die-third") && number == 3 && starts == 1) {
		(void)raise(SIGKILL);
	} else if (is("slow")) {
		(void)poll(NULL, 0, number == 1 ? 0 : 400);
		answer(number);
	} else if (is("event")) {
		say("{\"event\":\"xid\",\"uuid\":\"GPU-1\",\"xid\":79}\n");
		answer(number);
	} else if (is("other-number")) {
		answer(number + 1000);
		answer(number);
	} else {
		answer(number);
	}
}

int main(void)
{
	char line[64];
	unsigned long long number;

	(void)signal(SIGPIPE, SIG_IGN);
	if (getenv("FAKE_HELPER"))
		mode = getenv("FAKE_HELPER");
	starts = count_start();
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!text_starts_with(line, "sample ") ||
		    !text_to_u64(line + 7, 0, INT64_MAX, &number))
			return 2;
		misbehave(number);
	}
	return 0;
}
