/*
 * The terminal of a task in the foreground (run -t): a pseudo-terminal of ours, whose other side
 * the task's standard streams are, and everything passed on between it and our own terminal, both
 * ways, with its size. A thread of its own does that: a daemon that goes away and comes back stops
 * nothing.
 */
#pragma once

#include "util/error.h"

struct relay;

/* Make it, with the settings and the size of our terminal. From here on what the task prints is
 * passed on. Call it with all signals blocked that are
 * handled elsewhere: the thread takes over the mask, and SIGWINCH, SIGTSTP and SIGCONT for itself.
 */
int relay_create(struct relay **ret_relay, struct error *err) MUST_CHECK;

/* "/dev/pts/N", for the task. */
const char *relay_tty(const struct relay *relay);

/* The task runs: our terminal goes into raw mode, and what is typed to the task. Before, Ctrl-C is
 * still ours. What the task prints begins it too. May be called again. */
void relay_begin(struct relay *relay);

/* Pass on what is left, and put our terminal back as it was. Closes the task's terminal: whatever
 * of it runs on gets SIGHUP. NULL is fine. */
void relay_destroy(struct relay *relay);
static inline void relay_cleanup(struct relay **relay)
{
	relay_destroy(*relay);
}
#define auto_relay CLEANUP(relay_cleanup)
