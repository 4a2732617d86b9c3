/*
 * The kernel is asked directly: glibc's sigaction() answers EINVAL for its own two signals, and
 * those can be ignored as well by a parent that did as we do here. The kernel's struct differs
 * between architectures, but all zeroes is SIG_DFL without flags on each of them.
 */
#include "util/signals.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SET_SIZE    ((NSIG - 1) / 8)
#define KERNEL_ACTION_SIZE 64 /* at least: handler, flags, restorer, mask */

void signals_reset(void)
{
	static const char defaults[KERNEL_ACTION_SIZE] __attribute__((aligned(16)));
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)syscall(SYS_rt_sigaction, number, defaults, NULL, (size_t)KERNEL_SET_SIZE);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}
