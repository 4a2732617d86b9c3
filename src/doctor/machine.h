/*
 * The facts of one machine, taken once through doctor/root.h and then only looked at: the checks
 * are pure. Unknown is a value: a member that was not to be had says so.
 */
#pragma once

#include "doctor/root.h"
#include "doctor/version.h"
#include "doctor/xid.h"
#include "gpu/details.h"

/* A display or 3D controller of NVIDIA (vendor 10de, class 0300 or 0302), by sysfs. */
struct machine_pci {
	char address[16];                    /* "0000:01:00.0" */
	unsigned device;                     /* PCI device id */
	bool display;                        /* class 0300, and it is the boot display */
	char driver[32];                     /* "nvidia", "nouveau", "vfio-pci", "" = none */
	unsigned link_width, link_width_max; /* lanes; 0 = unknown */
	double link_gts, link_gts_max;       /* GT/s; 0 = unknown */
	char runtime[16]; /* power/runtime_status: "active", "suspended" (Optimus) */
};

/* A user-space library of the driver, by its file name. */
struct machine_library {
	char *path;             /* "/usr/lib/x86_64-linux-gnu/libcuda.so.570.133.20" */
	bool is_cuda;           /* libcuda, else libnvidia-ml */
	bool is_default;        /* what ".so.1" leads to in a folder of the loader */
	bool is_compat;         /* of a cuda-compat package: another version on purpose */
	struct version version; /* unknown: a stub, or a compat library without one */
};

struct machine {
	struct root *root; /* borrowed; for what only one check wants */
	bool jetson;       /* an integrated GPU: no PCI, no NVML memory */
	bool wsl;
	char release[96]; /* of the kernel that runs */
	bool pci_known;   /* /sys/bus/pci could be read */
	struct machine_pci *pci;
	size_t n_pci;
	bool modules_known; /* /proc/modules could be read */
	bool nvidia_loaded, nvidia_uvm_loaded, nouveau_loaded;
	bool module_open;              /* the open kernel modules */
	struct version module_loaded;  /* /proc/driver/nvidia/version */
	struct version module_on_disk; /* what a reload would bring; unknown when there is none */
	bool module_on_disk_known;     /* modinfo answered (there may be none) */
	bool headers_known, headers_there; /* /lib/modules/RELEASE/build */
	bool dkms_nvidia;                  /* DKMS would build it */
	bool secure_boot_known, secure_boot;
	struct machine_library *libraries;
	size_t n_libraries;
	char *log_text; /* ROOT_KERNEL_LOG; NULL: nobody asked */
	struct kernel_lines log;
	bool log_known;
	struct gpu_list *gpus;       /* NVML's answer; state UNKNOWN when nobody asked */
	struct gpu_details *details; /* of gpus->gpus[i], or NULL */
	struct xid_table *xids;
	json_t *devices, *engine, *containers, *user, *disks; /* NULL: not known */
	char *ctk;                                            /* NULL: no nvidia-ctk */
	uint64_t ram_total_bytes, swap_total_bytes;           /* 0 = unknown */
};

/* Never fails for want of a fact; only when data/xid.yaml cannot be read. */
int machine_look(struct root *root, struct machine **ret_machine, struct error *err) MUST_CHECK;
void machine_destroy(struct machine *machine);
static inline void machine_cleanup(struct machine **machine)
{
	machine_destroy(*machine);
}
#define auto_machine CLEANUP(machine_cleanup)

/* What the loader gives a program that asks for libcuda.so.1 or libnvidia-ml.so.1; NULL: none. Its
 * folders are looked at in the loader's order. */
const struct machine_library *machine_default_library(const struct machine *machine, bool cuda);
/* By the chassis that DMI names. */
bool machine_is_laptop(const struct machine *machine);
