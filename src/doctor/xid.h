/*
 * The kernel's log: Xid lines of the NVIDIA driver in all their forms, "fell off the bus", API
 * mismatch, RmInitAdapter failed; what each means and what to do (data/xid.yaml).
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <stdint.h>
#include <sys/types.h>

enum xid_class { XID_APPLICATION, XID_HARDWARE, XID_DRIVER, XID_INFORMATION, XID_CONSEQUENCE };

struct xid_meaning {
	unsigned xid;
	char *meaning, *action; /* for people */
	enum xid_class class;
	bool page; /* somebody should look at it now */
};
struct xid_table;
/* NULL: data/xid.yaml as found by paths_find_data(). */
int xid_table_load(const char *path, struct xid_table **ret_table, struct error *err) MUST_CHECK;
void xid_table_destroy(struct xid_table *table);
/* NULL: the table does not have it. */
const struct xid_meaning *xid_table_find(const struct xid_table *table, unsigned xid);

/* One line of the kernel's log that tells of a GPU. */
enum kernel_event {
	KERNEL_XID,
	KERNEL_MISMATCH,
	KERNEL_INIT_FAILED,
	KERNEL_OFF_THE_BUS,
	KERNEL_NO_FIRMWARE
};
struct kernel_line {
	enum kernel_event event;
	unsigned xid; /* of KERNEL_XID */
	char pci[16]; /* "0000:4e:00", "" = not said */
	pid_t pid;    /* 0 = not said */
	char process[64];
	char text[256];      /* the line without its prefix */
	char version[2][32]; /* of KERNEL_MISMATCH: client, module */
};
struct kernel_lines {
	struct kernel_line *items; /* in the log's order, the last 256 */
	size_t n;
};
void kernel_lines_read(const char *log, struct kernel_lines *ret_lines);
void kernel_lines_finish(struct kernel_lines *lines);
#define auto_kernel_lines CLEANUP(kernel_lines_finish)
