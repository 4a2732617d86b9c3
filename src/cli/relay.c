/*
 * The thread alone touches our terminal while it runs. Input that the task does not read is kept
 * here, one piece at a time, and nothing more is read from our terminal meanwhile: what the task
 * prints must never wait for what it should read.
 *
 * Our side keeps the task's end open too: before the first attempt, and between two, it would read
 * as closed. When the leader of the task's session ends, the kernel hangs that end up all the same;
 * a hang-up is therefore not the end but something to look at again a little later.
 */
#include "cli/relay.h"

#include "util/file.h"
#include "util/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define HUNG_UP_MS   50   /* until it is looked at again */
#define DRAIN_MS     200  /* without a word: that was all */
#define DRAIN_MAX_MS 2000 /* of a task that goes on and on */

struct relay {
	int master, slave, wake_fd, signal_fd;
	char tty[64];
	pthread_t thread;
	bool has_thread;
	atomic_bool begun, ending;
	/* The thread's. */
	struct termios before;
	bool is_raw, is_stopped, is_hung_up, input_over, output_over;
	char pending[4096]; /* typed, not yet taken by the task */
	size_t n_pending;
};

static void copy_size(const struct relay *relay)
{
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		(void)ioctl(relay->master, TIOCSWINSZ, &size);
}

static void terminal_raw(struct relay *relay)
{
	struct termios raw = relay->before;

	if (relay->is_raw || relay->is_stopped)
		return;
	cfmakeraw(&raw);
	relay->is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void terminal_restore(struct relay *relay)
{
	if (relay->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &relay->before);
	relay->is_raw = false;
}

/* Stopped and continued as any program of a shell's: with its terminal as it should be. */
static void on_signals(struct relay *relay)
{
	struct signalfd_siginfo info;

	if (read(relay->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	if (info.ssi_signo == SIGTSTP) {
		terminal_restore(relay);
		/* This thread may run on for a moment: the terminal is not ours before SIGCONT. */
		relay->is_stopped = true;
		(void)kill(getpid(), SIGSTOP);
	} else if (info.ssi_signo == SIGCONT) {
		relay->is_stopped = false;
	}
	copy_size(relay);
}

/* False: there was nothing. */
static bool pass_output(struct relay *relay)
{
	char bytes[8192];
	ssize_t n = read(relay->master, bytes, sizeof bytes);

	relay->is_hung_up = n < 0 && errno == EIO;
	if (n <= 0)
		return false;
	/* Raw first: our terminal would translate what the other one has translated already. */
	relay_begin(relay);
	terminal_raw(relay);
	/* Nobody reads it any more: the task's end is waited for all the same. */
	if (!relay->output_over)
		relay->output_over = fd_write_all(STDOUT_FILENO, bytes, (size_t)n) < 0;
	return true;
}

static void read_input(struct relay *relay)
{
	ssize_t n = read(STDIN_FILENO, relay->pending, sizeof relay->pending);

	if (n > 0)
		relay->n_pending = (size_t)n;
	else
		relay->input_over = n == 0 || (errno != EINTR && errno != EAGAIN);
}

static void pass_input(struct relay *relay)
{
	ssize_t n = write(relay->master, relay->pending, relay->n_pending);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		n = (ssize_t)relay->n_pending; /* nobody is there to read it */
	if (n <= 0)
		return;
	relay->n_pending -= (size_t)n;
	memmove(relay->pending, relay->pending + n, relay->n_pending);
}

static void *relay_run(void *arg)
{
	struct relay *relay = arg;

	while (!relay->ending) {
		bool reading = relay->begun && !relay->input_over && relay->n_pending == 0;
		struct pollfd fds[] = {
		    {.fd = relay->wake_fd, .events = POLLIN},
		    {.fd = relay->signal_fd, .events = POLLIN},
		    {.fd = relay->is_hung_up ? -1 : relay->master,
		     .events = (short)(POLLIN | (relay->n_pending > 0 ? POLLOUT : 0))},
		    {.fd = reading ? STDIN_FILENO : -1, .events = POLLIN},
		};
		uint64_t ignored;

		if (relay->begun)
			terminal_raw(relay);
		(void)poll(fds, ARRAY_LEN(fds), relay->is_hung_up ? HUNG_UP_MS : -1);
		if (fds[0].revents)
			(void)!read(relay->wake_fd, &ignored, sizeof ignored);
		if (fds[1].revents)
			on_signals(relay);
		if (fds[2].revents & POLLOUT)
			pass_input(relay);
		if (relay->is_hung_up || fds[2].revents & (POLLIN | POLLHUP | POLLERR))
			(void)pass_output(relay);
		if (fds[3].revents)
			read_input(relay);
	}
	return NULL;
}

static int pty_open(struct relay *relay, struct error *err)
{
	relay->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (relay->master < 0 || grantpt(relay->master) < 0 || unlockpt(relay->master) < 0 ||
	    ptsname_r(relay->master, relay->tty, sizeof relay->tty) != 0)
		return error_sys(err, -errno, "cannot make a terminal for the task");
	relay->slave = open(relay->tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (relay->slave < 0)
		return error_sys(err, -errno, "cannot open the task's terminal %s", relay->tty);
	(void)tcsetattr(relay->slave, TCSANOW, &relay->before);
	copy_size(relay);
	return 0;
}

static int watch_signals(struct relay *relay, struct error *err)
{
	sigset_t ours, background;

	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGWINCH);
	(void)sigaddset(&ours, SIGTSTP);
	(void)sigaddset(&ours, SIGCONT);
	/* Setting the terminal back from the background must not stop us. */
	(void)sigemptyset(&background);
	(void)sigaddset(&background, SIGTTOU);
	(void)pthread_sigmask(SIG_BLOCK, &ours, NULL);
	(void)pthread_sigmask(SIG_BLOCK, &background, NULL);
	relay->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (relay->signal_fd < 0 || relay->wake_fd < 0)
		return error_sys(err, -errno, "cannot watch for signals");
	return 0;
}

int relay_create(struct relay **ret_relay, struct error *err)
{
	auto_relay struct relay *relay = mem_calloc(1, sizeof *relay);
	int r;

	relay->master = relay->slave = relay->wake_fd = relay->signal_fd = -1;
	if (tcgetattr(STDIN_FILENO, &relay->before) < 0)
		return error_set(
		    err, -ENOTTY,
		    "-t: standard input is no terminal; leave out -t, the command then "
		    "reads nothing");
	r = pty_open(relay, err);
	if (r == 0)
		r = watch_signals(relay, err);
	if (r < 0)
		return r;
	r = pthread_create(&relay->thread, NULL, relay_run, relay);
	if (r != 0)
		return error_sys(err, -r, "cannot start a thread");
	relay->has_thread = true;
	*ret_relay = TAKE(relay);
	return 0;
}

const char *relay_tty(const struct relay *relay)
{
	return relay->tty;
}

static void wake(struct relay *relay)
{
	uint64_t one = 1;

	(void)!write(relay->wake_fd, &one, sizeof one);
}

void relay_begin(struct relay *relay)
{
	if (!atomic_exchange(&relay->begun, true))
		wake(relay);
}

static void drain(struct relay *relay)
{
	int64_t until = monotonic_now_ms() + DRAIN_MAX_MS;

	relay->slave = fd_close(relay->slave);
	while (monotonic_now_ms() < until) {
		struct pollfd fd = {.fd = relay->master, .events = POLLIN};

		if (poll(&fd, 1, DRAIN_MS) <= 0 || !pass_output(relay))
			return;
	}
}

void relay_destroy(struct relay *relay)
{
	if (!relay)
		return;
	if (relay->has_thread) {
		relay->ending = true;
		wake(relay);
		(void)pthread_join(relay->thread, NULL);
		drain(relay);
		terminal_restore(relay);
	}
	(void)fd_close(relay->slave);
	(void)fd_close(relay->master);
	(void)fd_close(relay->signal_fd);
	(void)fd_close(relay->wake_fd);
	free(relay);
}
