/*
 * The gate between fork and exec. A child does nothing until it is let through, so that its
 * existence can be made durable first. One gate serves many children (one fdatasync for all).
 *
 * Whether a gate was opened is decided by one write to the gates' file, which survives the death of
 * everybody (not of the machine). Before that write no child of the gate ever becomes its command;
 * after it every one does that lives. So whoever finds a process of a dead supervisor gone can tell
 * "it never ran" from "nobody saw how it ended".
 *
 * A child may find its supervisor killed and look at the file only when the next one has been
 * opening gates for a while. Therefore each supervisor has a round of its own: numbers no other one
 * gives out, not even those it has told nobody of, and a place in the file where only it writes.
 * The places of the last GATE_ROUNDS_KEPT rounds are kept. Private to the supervisor.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_ROUNDS_KEPT 512

struct gates {
	char *path;
	int fd;
	uint64_t opened;                 /* the last gate that was; 0: none, or it is not known */
	uint64_t next;                   /* 0: no round yet */
	uint64_t last[GATE_ROUNDS_KEPT]; /* of each round the last that was; 0: not known */
};

/* Use the file at `path`, made when it is not there. Nothing is changed in it yet. */
int gates_init(struct gates *gates, const char *path, struct error *err) MUST_CHECK;
void gates_finish(struct gates *gates); /* an empty struct, or one of gates_init() */

/* Surely never opened; false also when it cannot be told (no number, the file was not there). */
bool gates_never_opened(const struct gates *gates, uint64_t number);

/* Begin a round: numbers nobody was given, above those in the file and above `known`, the largest
 * that is known otherwise. Gates can be created then. */
int gates_begin(struct gates *gates, uint64_t known, struct error *err) MUST_CHECK;

struct gate {
	uint64_t number;      /* never 0 */
	int wait_fd, open_fd; /* a pipe */
	int mark_fd;          /* the gates' file, not owned */
};

int gate_create(struct gates *gates, struct gate *ret_gate, struct error *err) MUST_CHECK;

/* Let `n` children through. On failure none of them was, nor will be. */
int gate_open(struct gates *gates, struct gate *gate, size_t n, struct error *err) MUST_CHECK;

/* Whoever waits still ends without having run. */
void gate_close(struct gate *gate);

/* In the child, with its own descriptors: wait. True: it may run. */
bool gate_wait(int wait_fd, int mark_fd, uint64_t number);
