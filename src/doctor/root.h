/*
 * What doctor looks at: the files of a machine, and the answers of what can only be asked (NVML,
 * the kernel's log, a container engine). Of this machine, of a folder that holds the files of
 * another one, or of a bundle: one text file with all of them, as `doctor --report` writes it.
 * Every fault can so be told from a recording, and a report is read again as it was.
 *
 * A bundle is a list of entries, each up to the next line of the same form:
 *
 *	-- proc/driver/nvidia/version --
 *	NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  ...
 *	-- usr/lib/libnvidia-ml.so.1 -> libnvidia-ml.so.570.133.20 --
 *	-- sys/module/nouveau/ --
 *	-- sys/firmware/efi !absent --
 *	-- sys/kernel/debug/x !denied --
 *	-- .plimsoll/nvml.json --
 *	{...}
 *
 * a file, a link, a folder (its lines name what is in it, beside what other entries show), what is
 * not there, what may not be read, an answer. The text before the first entry is for people. A line
 * of a file that looks like the head of an entry is written with a backslash before it. A later
 * entry takes the place of an earlier one of the same path; "!absent" also of all beneath it.
 */
#pragma once

#include "util/error.h"
#include "util/text.h"

#include <sys/types.h>

struct root;

/* `path` NULL: this machine; a folder; a bundle. -EINVAL with the line for a bundle that is none.
 */
int root_open(const char *path, struct root **ret_root, struct error *err) MUST_CHECK;
/* A bundle that is a text already; `name` is for messages. */
int root_open_bundle(const char *text, size_t len, const char *name, struct root **ret_root,
		     struct error *err) MUST_CHECK;
#define ROOT_BUNDLE_MAX  ((size_t)64 << 20)
#define ROOT_ENTRIES_MAX 100000
void root_close(struct root *root);
static inline void root_cleanup(struct root **root)
{
	root_close(*root);
}
#define auto_root CLEANUP(root_cleanup)

/*
 * Paths are absolute as on that machine ("/proc/modules"); links are followed within the root,
 * never out of it. 0, or a negative errno without a text: -ENOENT is an answer like any other,
 * -EACCES means unknown. At most ROOT_FILE_MAX bytes are read (-EFBIG beyond). What comes back is
 * text: a byte 0 is a line end (as in /proc/PID/cmdline), another control character is written
 * "\xNN" (so the variables of EFI can be read), final newlines are cut.
 */
#define ROOT_FILE_MAX ((size_t)1 << 20)
int root_read(struct root *root, const char *path, char **ret_text) MUST_CHECK;
/* Names in a folder that match a pattern (fnmatch(3): "libcuda.so*"; "*": all but hidden ones),
 * sorted. */
int root_list(struct root *root, const char *path, const char *pattern,
	      struct strings *ret_names) MUST_CHECK;
/* What a link says, as it is written. -EINVAL: it is none. */
int root_link(struct root *root, const char *path, char **ret_target) MUST_CHECK;
bool root_exists(struct root *root, const char *path);

/* What can only be asked. Of a recording it is in ".plimsoll/NAME" (-ENOENT: nobody asked). */
enum root_answer {
	ROOT_NVML,       /* nvml.json: gpu_list_to_json(), with "details" of each GPU */
	ROOT_DEVICES,    /* devices.json: [{"path", "mode": "0666", "uid", "gid", "user", "group",
			    "major", "minor", "usable": this user may open it to read and write}] of
			    /dev/nvidia* (and what is in /dev/nvidia-caps), /dev/dri and /dev/kfd */
	ROOT_KERNEL_LOG, /* kernel.log: of this boot, the lines that tell of GPUs, PCI, modules,
			    suspend and memory; the last 512 KiB; "" when none may read it */
	ROOT_MODINFO,    /* modinfo.txt: `modinfo nvidia`: what a reload would bring; "": there is
			    no such module for the kernel that runs */
	ROOT_ENGINE,     /* engine.json: {"docker": {"info", "version"} or {"error", "socket",
			    "reason": "denied", "refused", "silent", "other"}, "podman": ...}:
			    of /info what matters here; {}: there is none */
	ROOT_CONTAINERS, /* containers.json: those that run, as the engine inspects them; of their
			    environment only what is NVIDIA's and CUDA's */
	ROOT_CTK,        /* ctk.txt: `nvidia-ctk --version` */
	ROOT_DISKS,      /* disks.json: [{"path", "total_bytes", "free_bytes"}]: /, the engine's
			    folder, this user's home, /dev/shm */
	ROOT_USER,       /* user.json: {"uid", "name", "groups": names, "limits": util/limits.h} */
	ROOT_ANSWER_COUNT,
};
/* As root_read(). Of this machine: asked once and remembered, each with a deadline. */
int root_ask(struct root *root, enum root_answer answer, char **ret_text) MUST_CHECK;

/* All that was read and asked so far (what was not there too) as a bundle, with names of users and
 * hosts, serials, UUIDs and MAC addresses blanked: the same name by the same blank. `head`: for
 * people, before the first entry; blanked too. */
void root_bundle(struct root *root, const char *head, struct text *ret_bundle);
