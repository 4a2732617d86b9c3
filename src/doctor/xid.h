/*
 * The kernel's log: Xid lines of the NVIDIA driver in all their forms, "fell off the bus", API
 * mismatch, RmInitAdapter failed; how nvidia-smi fails; what each means and what to do
 * (data/xid.yaml).
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdint.h>
#include <sys/types.h>

enum xid_class { XID_APPLICATION, XID_HARDWARE, XID_DRIVER, XID_INFORMATION, XID_CONSEQUENCE };
const char *xid_class_name(enum xid_class class); /* "application", ... */

enum xid_way { XID_WAY_NONE, XID_WAY_RESET, XID_WAY_REBOOT, XID_WAY_POWER_CYCLE };

struct xid_meaning {
	unsigned xid;           /* 0: of a line that has no number */
	char *meaning, *action; /* for people */
	enum xid_class class;
	enum xid_way way; /* what brings the GPU back */
	bool page;        /* somebody should look at it now */
};
struct xid_table;
/* NULL: data/xid.yaml as found by paths_find_data(). */
/* -EINVAL with file:line:column for a file that is none. */
int xid_table_load(const char *path, struct xid_table **ret_table, struct error *err) MUST_CHECK;
void xid_table_destroy(struct xid_table *table);
static inline void xid_table_cleanup(struct xid_table **table)
{
	xid_table_destroy(*table);
}
#define auto_xid_table CLEANUP(xid_table_cleanup)
/* NULL: the table does not have it. */
const struct xid_meaning *xid_table_find(const struct xid_table *table, unsigned xid);

/* One line of the kernel's log that tells of a GPU. */
enum kernel_event {
	KERNEL_XID,
	KERNEL_MISMATCH,
	KERNEL_INIT_FAILED,
	KERNEL_OFF_THE_BUS,
	KERNEL_NO_FIRMWARE,
	KERNEL_EVENT_COUNT,
};
const char *kernel_event_name(enum kernel_event event); /* "xid", "mismatch", "init-failed", ... */
struct kernel_line {
	enum kernel_event event;
	unsigned xid; /* of KERNEL_XID */
	char pci[16]; /* "0000:4e:00", lower case; "0000:05" of old drivers; "" = not said */
	pid_t pid;    /* 0 = not said */
	char process[64];
	char text[256];      /* the line without its prefix */
	char version[2][32]; /* of KERNEL_MISMATCH: client, module; "" = the log does not say */
};
#define KERNEL_LINES_MAX 256
struct kernel_lines {
	struct kernel_line *items; /* in the log's order, the last 256 */
	size_t n;
};
void kernel_lines_read(const char *log, struct kernel_lines *ret_lines);
void kernel_lines_finish(struct kernel_lines *lines);
#define auto_kernel_lines CLEANUP(kernel_lines_finish)

/* NULL: an Xid that the table does not have. */
const struct xid_meaning *xid_table_of_line(const struct xid_table *table,
					    const struct kernel_line *line);
/* Of an Xid 154: the recovery action that is asked for from now on, as NVML numbers them (0 =
 * none). False for another line. */
bool kernel_line_recovery(const struct kernel_line *line, unsigned *ret_action);

/* How nvidia-smi fails. */
struct smi_meaning {
	char *id, *text; /* "lost"; what is looked for in a line */
	char *meaning, *action;
	enum xid_class class;
};
/* What its output says, the worst first; NULL: nothing that is known to be a failure. */
const struct smi_meaning *smi_meaning(const struct xid_table *table, const char *output);
