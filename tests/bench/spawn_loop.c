/* spawn_loop N AT_ONCE CMD [ARG]...: runs CMD N times, at most AT_ONCE at a time, by posix_spawn()
 * and wait(): what starting costs without anybody's queue. Prints the seconds it took. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double seconds_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	long n = argc > 3 ? strtol(argv[1], NULL, 10) : 0;
	long at_once = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
	long running = 0;
	double start = seconds_now();

	if (n < 1 || at_once < 1) {
		fprintf(stderr, "usage: spawn_loop N AT_ONCE CMD [ARG]...\n");
		return 2;
	}
	for (long started = 0; started < n || running > 0;) {
		int status, code;
		pid_t pid;

		if (started < n && running < at_once) {
			code = posix_spawnp(&pid, argv[3], NULL, NULL, argv + 3, environ);
			if (code != 0) {
				fprintf(stderr, "spawn_loop: %s: %s\n", argv[3], strerror(code));
				return 1;
			}
			started++;
			running++;
			continue;
		}
		if (wait(&status) < 0 || status != 0) {
			fprintf(stderr, "spawn_loop: %s did not end well\n", argv[3]);
			return 1;
		}
		running--;
	}
	printf("%.6f\n", seconds_now() - start);
	return 0;
}
