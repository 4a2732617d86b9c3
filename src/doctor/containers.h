/* What the checks of containers share. For src/doctor/checks_containers*.c alone. */
#pragma once

#include "doctor/doctor.h"

/* What the engine ("docker", "podman") says of itself; NULL: it does not answer. */
const json_t *containers_info(const struct machine *machine, const char *engine);
struct version containers_version(const struct machine *machine, const char *engine);
/* "name=rootless" among its security options. */
bool containers_has_option(const json_t *info, const char *option);
/* GPUs, and an engine that could hand them out. Says why not. */
bool containers_apply(const struct machine *machine, struct doctor_result *result);

/* Of a known version. */
bool containers_is_before(const struct version *version, const char *bound);
struct version containers_toolkit(const struct machine *machine); /* unknown: not there */
/* The mode of NVIDIA's runtime, by its configuration: "auto", "legacy", "cdi"... */
bool containers_mode_is(const struct machine *machine, const char *mode);

extern const struct doctor_check containers_check_cdi, containers_check_reload,
    containers_check_cgroups, containers_check_selinux, containers_check_shm;
