/*
 * What doctor looks at: the files of a machine, and the answers of what can only be asked (NVML,
 *the kernel's log, a container engine). Of this machine, of a folder that holds the files of
 *another one, or of a *bundle*: one text file with all of them, as `doctor --report` writes it.
 *Every fault can so be told from a recording, and a report is read again as it was.
 *
 * A bundle is a list of entries, each up to the next line of the same form:
 *
 *	-- proc/driver/nvidia/version --
 *	NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  ...
 *	-- usr/lib/libnvidia-ml.so.1 -> libnvidia-ml.so.570.133.20 --
 *	-- sys/module/nouveau/ --
 *	-- .plimsoll/nvml.json --
 *	{...}
 *
 * a file, a link, a folder, an answer. The text before the first entry is for people. A line of a
 * file that looks like the head of an entry is written with a backslash before it.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <sys/types.h>

struct root;

/* `path` NULL: this machine; a folder; a bundle. -EINVAL with the line for a bundle that is none.
 */
int root_open(const char *path, struct root **ret_root, struct error *err) MUST_CHECK;
void root_close(struct root *root);
static inline void root_cleanup(struct root **root)
{
	root_close(*root);
}
#define auto_root CLEANUP(root_cleanup)

/* Nothing but the machine itself may be asked for more (processes, containers). */
bool root_is_live(const struct root *root);

/*
 * Paths are absolute as on that machine ("/proc/modules"); links are followed within the root,
 * never out of it. 0, or a negative errno without a text: -ENOENT is an answer like any other,
 * -EACCES means unknown. At most ROOT_FILE_MAX bytes are read (-EFBIG beyond); the final newline is
 * cut.
 */
#define ROOT_FILE_MAX ((size_t)1 << 20)
int root_read(struct root *root, const char *path, char **ret_text) MUST_CHECK;
/* Names in a folder, sorted, without "." and "..". */
int root_list(struct root *root, const char *path, struct strings *ret_names) MUST_CHECK;
/* What a link says, as it is written. */
int root_link(struct root *root, const char *path, char **ret_target) MUST_CHECK;
bool root_exists(struct root *root, const char *path);

/* What can only be asked. Of a recording it is in ".plimsoll/NAME" (-ENOENT: nobody asked). */
enum root_answer {
	ROOT_NVML,       /* nvml.json: gpu_list_to_json(), with "details" of each GPU */
	ROOT_DEVICES,    /* devices.json: the nodes /dev/nvidia* and /dev/dri/*: mode, owner, and
			    whether    this user may open them */
	ROOT_KERNEL_LOG, /* kernel.log: of this boot, the last 1 MiB; "" when none may read it */
	ROOT_MODINFO,    /* modinfo.txt: `modinfo nvidia`: what a reload would bring */
	ROOT_ENGINE,     /* engine.json: {"docker": its /info and /version, "podman": ...} */
	ROOT_CONTAINERS, /* containers.json: those that run, as the engine inspects them */
	ROOT_CTK,        /* ctk.txt: `nvidia-ctk --version` */
	ROOT_DISKS,      /* disks.json: free and total bytes of the folders that matter */
	ROOT_USER,       /* user.json: uid, groups by name, limits (nofile, memlock) */
	ROOT_ANSWER_COUNT,
};
int root_ask(struct root *root, enum root_answer answer, char **ret_text) MUST_CHECK;

/* All that was read and asked so far (what was not there too) as a bundle, with names of users and
 * hosts, serials, UUIDs and MAC addresses blanked: the same name by the same blank. `head`: for
 * people, before the first entry. */
void root_bundle(struct root *root, const char *head, struct text *ret_bundle);
