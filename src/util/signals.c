/*
 * The kernel is asked directly: glibc's sigaction() answers EINVAL for its own two signals, and
 * those can be ignored as well by a parent that did as we do here. The kernel's struct differs
 * between architectures, but all zeroes is SIG_DFL without flags on each of them.
 */
#include "util/signals.h"

#include "util/text.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
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

const char *signal_name(char buf[SIGNAL_NAME_MAX], int number)
{
	const char *name = sigabbrev_np(number);

	if (name)
		(void)snprintf(buf, SIGNAL_NAME_MAX, "SIG%s", name);
	else
		(void)snprintf(buf, SIGNAL_NAME_MAX, "%d", number);
	return buf;
}

int signal_parse(const char *text, int *ret_number, struct error *err)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	unsigned long long number;

	if (text_to_u64(text, 1, NSIG - 1, &number)) {
		*ret_number = (int)number;
		return 0;
	}
	for (int i = 1; i < NSIG; i++) {
		const char *known = sigabbrev_np(i);

		if (known && strcasecmp(known, name) == 0) {
			*ret_number = i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "\"%.32s\" is not a signal; write for example SIGUSR1, or a "
			 "number from 1 to %d",
			 text, NSIG - 1);
}
