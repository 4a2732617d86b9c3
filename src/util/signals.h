/*
 * The signals a new process begins with. Ignored ones and the mask survive exec: whoever was
 * started under nohup, or by a shell as a background job, passes them on to all it starts.
 */
#pragma once

/* Every signal to its default, none blocked: also the two glibc keeps to itself (32 and 33), which
 * sigaction() refuses to touch. Safe between fork and exec; only for a process with one thread. */
void signals_reset(void);
