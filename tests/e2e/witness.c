/*
 * A task that says by itself when it ran: FILE SECONDS STATUS. One line when it starts and one
 * before it ends, each a single write() in append mode, so that lines of thousands of tasks do not
 * mix and none is lost:
 *
 *	<task>.<attempt> start <monotonic ns> <pid>
 *	<task>.<attempt> end <monotonic ns> <status>
 *
 * What is in that file is the truth that the queue's own records are held against.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void tell(int fd, const char *what, long number)
{
	const char *task = getenv("PLIMSOLL_TASK_ID"), *attempt = getenv("PLIMSOLL_ATTEMPT");
	char line[256];
	struct timespec now;
	int n;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	n = snprintf(line, sizeof line, "%s.%s %s %" PRIu64 " %ld\n", task ? task : "?",
		     attempt ? attempt : "?", what,
		     (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, number);
	if (write(fd, line, (size_t)n) != n)
		_exit(111);
}

int main(int argc, char **argv)
{
	double seconds = argc == 4 ? strtod(argv[2], NULL) : -1;
	int fd = argc == 4 ? open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
	long status = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	struct timespec left;

	if (fd < 0 || seconds < 0)
		return 112;
	left.tv_sec = (time_t)seconds;
	left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
	tell(fd, "start", (long)getpid());
	while (nanosleep(&left, &left) < 0)
		;
	tell(fd, "end", status);
	return (int)status;
}
