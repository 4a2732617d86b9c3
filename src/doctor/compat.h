/*
 * What goes with what: toolkits, drivers, GPU architectures, builds of torch, NVIDIA's images
 * (data/cuda.yaml: each table with its source and date). Questions are answered from the tables
 * alone; what they do not know is unknown, never guessed.
 *
 * A compute capability is major * 10 + minor (86); 0 is unknown.
 */
#pragma once

#include "doctor/version.h"

struct compat;

/* NULL: data/cuda.yaml as found by paths_find_data(). -EINVAL with the place. */
int compat_load(const char *path, struct compat **ret_compat, struct error *err) MUST_CHECK;
void compat_destroy(struct compat *compat);
static inline void compat_cleanup(struct compat **compat)
{
	compat_destroy(*compat);
}
#define auto_compat CLEANUP(compat_cleanup)

/* "2026-11-21": when the tables were last gone through. */
const char *compat_date(const struct compat *compat);
/* Was that more than a year before `now_ms`? */
bool compat_is_old(const struct compat *compat, int64_t now_ms);

/* The highest CUDA of a driver, by its branch; between two branches the older one's. n == 0: not
 * known. */
struct version compat_driver_cuda(const struct compat *compat, const struct version *driver);
/* The oldest driver a toolkit runs on, and the one it came with; n == 0: not known. */
struct version compat_least_driver(const struct compat *compat, const struct version *cuda);
struct version compat_shipped_driver(const struct compat *compat, const struct version *cuda);

/* "Pascal"; NULL: not known. */
const char *compat_architecture(const struct compat *compat, unsigned capability);
/* The last driver branch for it; 0: it goes on, or is not known. */
unsigned compat_last_branch(const struct compat *compat, unsigned capability);
/* Of an old GPU that the driver leaves alone, by its PCI device id; 0: not known. */
unsigned compat_chip(const struct compat *compat, unsigned pci_device);

enum compat_verdict {
	COMPAT_UNKNOWN,
	COMPAT_RUNS,
	COMPAT_JIT,     /* only what carries PTX: the toolkit has no code for the GPU yet */
	COMPAT_PACKAGE, /* only with a cuda-compat package (forward compatibility) */
	COMPAT_NOT,
};
const char *compat_verdict_name(enum compat_verdict verdict); /* "runs", "jit", ... */

/* Of a GPU, by its name: "geforcertx", "tesla", "nvidia", ... as NVML calls brands. */
const char *compat_brand(const char *gpu_name);

/* Does a toolkit run on this driver and GPU? `brand` NULL: not known, so no data-centre GPU.
 * `ret_why`: the reason, or what to know; "" when there is nothing to say. */
enum compat_verdict compat_runs(const struct compat *compat, const struct version *cuda,
				const struct version *driver, unsigned capability,
				const char *brand, struct text *ret_why);

/* Does NVIDIA_REQUIRE_CUDA of an nvidia/cuda image let it start? `driver_cuda`: what NVML says, or
 * compat_driver_cuda(). True when the tables do not say. */
bool compat_lets_in(const struct compat *compat, const struct version *cuda,
		    const struct version *driver, const struct version *driver_cuda,
		    const char *brand);

/* Has this build of torch code for the GPU? JIT: its PTX. */
enum compat_verdict compat_torch_runs(const struct compat *compat, const struct version *torch,
				      const struct version *cuda, unsigned capability,
				      struct text *ret_why);

enum compat_tag {
	COMPAT_TAG_UNKNOWN,     /* newer than the table, or never made */
	COMPAT_TAG_BUILT,       /* still made */
	COMPAT_TAG_UNSUPPORTED, /* end of life: deleted within months */
	COMPAT_TAG_NOT_MADE,    /* not for this OS */
};
/* `os`: "ubuntu22.04", or "" */
enum compat_tag compat_tag(const struct compat *compat, const struct version *cuda, const char *os);
/* The one that is still made of the same major.minor, or of the newest of that major; n == 0. */
struct version compat_tag_instead(const struct compat *compat, const struct version *cuda);
