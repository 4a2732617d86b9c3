/*
 * What the daemon and plimsoll-supervisor say to each other: one JSON object a line, both ways, on
 * the Unix socket `supervisor.sock` in the runtime folder (mode 0600; SO_PEERCRED must be the
 * supervisor's own user or root). Unknown keys are ignored, a missing key means its default: both
 * sides read tolerantly. A line that is no object, names no known "op" or lacks what the op needs
 * is answered with an `error` event; a line longer than PROTOCOL_LINE_MAX ends that connection
 * alone.
 *
 * An *attempt* is one try of one task; its id is chosen by the daemon ("<task>.<number>") and is
 * never used twice. Times are milliseconds since 1970, `_bytes` are bytes.
 *
 * Requests
 *	{"op": "hello", "version": 1, "usage": false}
 *		Answered by `hello`, then one event for each attempt known (`started` while it runs,
 *		`ended` or `failed` until acknowledged), then `synced`. From then on this connection
 *		gets every event; without a hello it only gets the answers to its own requests.
 *		"usage": true adds a `usage` event at each sample.
 *	{"op": "start", "attempt", "argv": [...], "env": ["K=V"...], "cwd": "/", "umask": 18,
 *	 "log": "/path", "log_owner": "user", "log_cap_bytes": 0, "nice": 0, "tty": "/dev/pts/N",
 *	 "user": {"uid", "gid", "groups": [...], "limits": {"nofile": [soft, hard], ...}},
 *	 "bound": {"ram_bytes": 0, "gpus": [{"pci": "00000000:65:00.0", "bytes": 4829741056}]}}
 *		Start it, once: when the id is known, nothing is started and its state is answered.
 *		"log": where standard output and error go (appended, created 0600; absent =
 *		/dev/null). "log_cap_bytes": 0 = no cap. Standard input is /dev/null. Strings that
 *		are not UTF-8 are written {"hex": "..."}.
 *
 *		"user": whom it runs as; absent = as the supervisor. Somebody else only when the
 *		supervisor is root. "uid" and "gid" must be there, "groups" are the supplementary
 *		ones (absent = none). "limits": see util/limits.h; set before it becomes the user.
 *		The folder is entered, the terminal opened and the PATH searched as the user.
 *		So is the log opened, because root must not be made to write into a file of
 *		somebody's choice; except with "log_owner": "supervisor", for a log in a folder
 *		nobody but the supervisor's user may enter: there it is opened as the supervisor,
 *		through no symbolic link, and given to the user, who needs to own it for
 *		/dev/stdout to be opened anew.
 *
 *		"bound": what was granted, to be held to in its cgroup as far as that can be done
 *		(bound.h); absent = nothing.
 *
 *		"tty": standard input, output and error are this terminal, which becomes the
 *		controlling terminal of the task's session; there is no log then. It must be nobody
 *		else's controlling terminal. When the terminal goes away (its other end is closed)
 *		the kernel sends SIGHUP to the task's first process and the foreground group.
 *	{"op": "signal", "attempt", "signal": 15}
 *		To every process of its session and, where it has one, of its cgroup (cgroup.h).
 *		SIGTERM and SIGHUP are followed by SIGCONT: one that is stopped would sleep over
 *		them. Without a process left: nothing happens.
 *	{"op": "ack", "attempt"}	Its end is on record elsewhere: forget it.
 *	{"op": "list"}			Answered by `list`.
 *	{"op": "quit"}			Leave as soon as no attempt runs and none waits for its ack.
 *
 * Events
 *	{"event": "hello", "version": 1, "pid", "start_time", "records_lost": bool}
 *		"records_lost": attempts may be running that are not reported; said to the first
 *		that connects.
 *	{"event": "started", "attempt", "pid", "start_time", "started_at", "adopted": bool,
 *	 "bounds"}
 *		The command is running: exec has succeeded. start_time as in struct pidref.
 *"bounds": what of its cgroup holds it to its grant, in words; null when nothing does, or it was
 *adopted.
 *	{"event": "failed", "attempt", "errno", "text", "transient": bool, "as_task": bool,
 *	 "never_ran": bool, "ended_at"}
 *		Not started, and nothing of it ever ran. Sent instead of `started`. "transient":
 *		something was short (processes, descriptors, memory, disk): the same start may
 *		succeed later. "as_task": it was short for this task, as its user and with his
 *		limits and files; else no other task would have started either. "never_ran": the
 *		supervisor before this one was killed on the way, nothing has failed.
 *	{"event": "ended", "attempt", "exit_code" | "signal" | "lost": true, "started_at",
 *	 "ended_at", "peak_ram_bytes", "cgroup_peak_bytes", "cpu_seconds", "stragglers": N,
 *	 "oom_kills": N}
 *		"lost": it is over, how is not known (it ended while no supervisor was there, or its
 *		parent was not this one and the kernel is older than 6.15). "stragglers": processes
 *		of its session or cgroup that outlived it and were ended. Unknown numbers are null.
 *	{"event": "synced"}
 *	{"event": "usage", "attempts": [{"attempt", "ram_bytes", "cpu_seconds", "processes"}]}
 *	{"event": "list", "attempts": [{"attempt", "state": "starting|running|ending|ended|failed",
 *	 "pid", "start_time", "started_at", "log", "ram_bytes"}]}
 *	{"event": "quitting", "running": N}
 *	{"event": "error", "op", "attempt", "text"}
 *
 * `failed` and `ended` are sent again on every hello until they are acknowledged.
 */
#pragma once

#include "run/bound.h"
#include "util/error.h"
#include "util/jsonx.h"
#include "util/limits.h"
#include "util/text.h"

#include <sys/types.h>

#define PROTOCOL_VERSION     1
#define PROTOCOL_LINE_MAX    ((size_t)1 << 20) /* one request with its environment */
#define PROTOCOL_ATTEMPT_MAX 128               /* bytes of an attempt id */
#define PROTOCOL_ARGS_MAX    65536             /* entries of argv, and of env */
#define PROTOCOL_GROUPS_MAX  65536             /* NGROUPS_MAX of Linux */

#define SUPERVISOR_PROGRAM "plimsoll-supervisor"
#define SUPERVISOR_SOCKET  "supervisor.sock"    /* in the runtime folder */
#define SUPERVISOR_PID     "supervisor.pid"     /* in the runtime folder: "<pid> <start_time>\n" */
#define SUPERVISOR_JOURNAL "supervisor.journal" /* in the state folder */
#define SUPERVISOR_GATES   "supervisor.gates"
#define SUPERVISOR_LOCK    "supervisor.lock" /* in the state folder */
#define SUPERVISOR_LOG     "supervisor.log"  /* in the state folder: its own messages */

enum protocol_op {
	PROTOCOL_HELLO,
	PROTOCOL_START,
	PROTOCOL_SIGNAL,
	PROTOCOL_ACK,
	PROTOCOL_LIST,
	PROTOCOL_QUIT,
};

enum protocol_log_owner {
	PROTOCOL_LOG_USER,       /* opened as the user the task runs as */
	PROTOCOL_LOG_SUPERVISOR, /* opened as the supervisor and given to the user */
};

struct protocol_user {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t n_groups;
	struct limits limits;
};

/* One request as the supervisor reads it; what the op does not have is zero. Owns its strings. */
struct protocol_request {
	enum protocol_op op;
	char *attempt;
	struct strings argv, env;
	char *cwd, *log_path; /* log_path NULL: none */
	char *tty;            /* NULL: none */
	enum protocol_log_owner log_owner;
	bool has_user;
	struct protocol_user user;
	mode_t umask;
	uint64_t log_cap_bytes;
	int nice;
	struct bound bound;
	int signal;
	bool wants_usage;
};

/* Read one line (without its newline). Whatever comes in, it is either a request that can be
 * carried out or an error with a text for the sender. */
int protocol_request_parse(const char *line, size_t len, struct protocol_request *ret_request,
			   struct error *err) MUST_CHECK;
void protocol_request_finish(struct protocol_request *request);

/* Arguments, environment and paths are bytes to the kernel and need not be UTF-8, which JSON
 * insists on: what is none travels as {"hex": "..."}. */
json_t *protocol_bytes_encode(const char *s);
/* The caller frees it. NULL: neither text nor hex, or with a zero byte inside. */
char *protocol_bytes_decode(const json_t *json);

/* May what failed with this (positive) errno before its exec succeed later, unchanged? */
bool protocol_is_transient(int code);

/* What the daemon asks for, see client.h. All borrowed. */
struct supervisor_start;

/* A start request as one line without its newline; the caller frees it. -EINVAL, -E2BIG. */
int protocol_start_encode(const struct supervisor_start *start, char **ret_line,
			  struct error *err) MUST_CHECK;
