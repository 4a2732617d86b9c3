/*
 * What becomes of GPUs in containers: the CDI specifications against the driver that is loaded, and
 * the containers that run, each by the way it came by its GPUs. One that has none is not looked at.
 */
#include "doctor/containers.h"

#include "util/size.h"

#include <ctype.h>
#include <string.h>

#define CDI_KIND   "nvidia.com/gpu"
#define MINORS_MAX 64
#define BRANCH_MIN 100 /* the first components of the driver's libraries are far above */
#define UUID_LEN   (strlen("GPU-") + 36)

/* --- how containers come by their GPUs --- */

/* How a container came by its GPUs. */
enum gpu_way { WAY_NONE, WAY_HOOK, WAY_SPEC };

static const char *env_of(const json_t *container, const char *name)
{
	const json_t *entry;
	size_t at, len = strlen(name);

	json_array_foreach (json_object_get(json_object_get(container, "Config"), "Env"), at,
			    entry) {
		const char *text = json_string_value(entry);

		if (text && strncmp(text, name, len) == 0 && text[len] == '=')
			return text + len + 1;
	}
	return NULL;
}

static bool requests_gpu(const json_t *request)
{
	const char *driver = jsonx_get_string(request, "Driver", "");
	const json_t *set, *capability;
	size_t i, k;

	if (text_starts_with(driver, "nvidia"))
		return true;
	json_array_foreach (json_object_get(request, "Capabilities"), i, set)
		json_array_foreach (set, k, capability)
			if (json_is_string(capability) && !*driver &&
			    strcmp(json_string_value(capability), "gpu") == 0)
				return true;
	return false;
}

/* By what a container was started with. From Docker 29.2 on `--gpus` goes by CDI, and the runtime
 * of toolkit 1.18 writes the devices into the specification itself: the engine knows of both. */
static enum gpu_way way_of(const struct machine *machine, const json_t *container)
{
	const json_t *host = json_object_get(container, "HostConfig"), *entry;
	const struct version docker = containers_version(machine, "docker"),
			     toolkit = containers_toolkit(machine);
	const char *visible = env_of(container, "NVIDIA_VISIBLE_DEVICES");
	const bool by_runtime = strcmp(jsonx_get_string(host, "Runtime", ""), "nvidia") == 0;
	const bool runtime_writes = containers_mode_is(machine, "cdi") ||
				    containers_mode_is(machine, "jit-cdi") ||
				    (toolkit.n && !containers_is_before(&toolkit, "1.18.0") &&
				     !containers_mode_is(machine, "legacy"));
	size_t at;

	json_array_foreach (json_object_get(host, "DeviceRequests"), at, entry) {
		const char *driver = jsonx_get_string(entry, "Driver", "");

		if (strcmp(driver, "cdi") == 0 || strcmp(driver, "nvidia.cdi") == 0)
			return WAY_SPEC;
		if (!requests_gpu(entry))
			continue;
		if (by_runtime && runtime_writes)
			return WAY_SPEC;
		if (strcmp(driver, "nvidia.runtime-hook") == 0)
			return WAY_HOOK;
		return docker.n && containers_is_before(&docker, "29.2.0") ? WAY_HOOK : WAY_SPEC;
	}
	if (by_runtime && visible && *visible && strcmp(visible, "void") != 0)
		return runtime_writes ? WAY_SPEC : WAY_HOOK;
	json_array_foreach (json_object_get(host, "Devices"), at, entry)
		if (text_starts_with(jsonx_get_string(entry, "PathOnHost", ""), "/dev/nvidia"))
			return WAY_SPEC;
	return WAY_NONE;
}

/* "train" of "/train" */
static const char *name_of(const json_t *container)
{
	const char *name = jsonx_get_string(container, "Name", "?");

	return name + (*name == '/');
}

/* --- container-cdi --- */

struct spec {
	const struct machine *machine;
	struct doctor_result *result;
	const char *path, *text;
	enum doctor_status stale; /* what to say of a stale one */
	bool fresh;
};

static void PRINTF(2, 3) say_stale(struct spec *spec, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	doctor_say(spec->result, spec->stale, "%s %s", spec->path, text ? text : "is stale");
	spec->fresh = false;
}

/* ".../libcuda.so.570.133.20" is the driver's; libcuda.so.1.1 of a Jetson says nothing. */
static void compare_libraries(struct spec *spec)
{
	const struct version *loaded = &spec->machine->module_loaded;

	for (const char *at = spec->text; loaded->n && (at = strstr(at, ".so.")); at++) {
		const struct version version = version_parse(at + strlen(".so."));

		if (version.n < 2 || version.parts[0] < BRANCH_MIN ||
		    version_agrees(&version, loaded))
			continue;
		say_stale(spec, "mounts libraries of driver %s, %s is loaded",
			  VERSION_TEXT(&version), VERSION_TEXT(loaded));
		return;
	}
}

/* The number in "/dev/nvidia0"; false for nvidiactl and its like. */
static bool minor_of(const char *path, unsigned *ret_minor)
{
	char *end;
	unsigned long minor;

	if (!text_starts_with(path, "/dev/nvidia") || !isdigit((unsigned char)path[11]))
		return false;
	minor = strtoul(path + 11, &end, 10);
	if (isalnum((unsigned char)*end) || *end == '-' || minor >= MINORS_MAX)
		return false;
	*ret_minor = (unsigned)minor;
	return true;
}

static void compare_nodes(struct spec *spec)
{
	uint64_t in_spec = 0, there = 0;
	const json_t *device;
	unsigned minor;
	size_t i;

	for (const char *at = spec->text; (at = strstr(at, "/dev/nvidia")); at++)
		if (minor_of(at, &minor))
			in_spec |= (uint64_t)1 << minor;
	json_array_foreach (spec->machine->devices, i, device)
		if (minor_of(jsonx_get_string(device, "path", ""), &minor))
			there |= (uint64_t)1 << minor;
	for (minor = 0; in_spec && there && minor < MINORS_MAX; minor++) {
		const uint64_t bit = (uint64_t)1 << minor;

		if (in_spec & ~there & bit)
			say_stale(spec, "names /dev/nvidia%u, which is not there", minor);
		else if (there & ~in_spec & bit)
			say_stale(spec, "does not name /dev/nvidia%u, which is there", minor);
	}
}

static bool has_uuid(const struct gpu_list *gpus, const char *uuid)
{
	for (size_t i = 0; i < gpus->n; i++)
		if (strncmp(gpus->gpus[i].uuid, uuid, UUID_LEN) == 0 ||
		    strncmp(gpus->gpus[i].parent_uuid, uuid, UUID_LEN) == 0)
			return true;
	return false;
}

static void compare_uuids(struct spec *spec)
{
	const struct gpu_list *gpus = spec->machine->gpus;

	for (const char *at = spec->text; gpus->n && (at = strstr(at, "GPU-")); at++)
		if (strspn(at + 4, "0123456789abcdef-") == UUID_LEN - 4 && !has_uuid(gpus, at)) {
			say_stale(spec, "names %.40s, which is not there", at);
			return;
		}
}

/* The specifications of one folder. True: a fresh one for NVIDIA's GPUs is among them. */
static bool look_folder(const struct machine *machine, const char *folder, enum doctor_status stale,
			struct doctor_result *result)
{
	auto_strings struct strings names = {};
	bool fresh = false;

	if (root_list(machine->root, folder, "*", &names) < 0)
		return false;
	for (size_t i = 0; i < names.n; i++) {
		auto_free char *path = mem_printf("%s/%s", folder, names.items[i]);
		auto_free char *text = NULL;
		struct spec spec = {machine, result, path, NULL, stale, true};

		if ((!text_ends_with(path, ".yaml") && !text_ends_with(path, ".json")) ||
		    root_read(machine->root, path, &text) < 0 || !strstr(text, CDI_KIND))
			continue;
		spec.text = text;
		compare_libraries(&spec);
		compare_nodes(&spec);
		compare_uuids(&spec);
		if (spec.fresh)
			doctor_say(result, DOCTOR_OK, "%s fits the driver and the GPUs", path);
		fresh |= spec.fresh;
	}
	return fresh;
}

static bool uses_cdi(const struct machine *machine)
{
	const struct version docker = containers_version(machine, "docker");

	return containers_info(machine, "podman") || containers_mode_is(machine, "cdi") ||
	       (docker.n && !containers_is_before(&docker, "29.2.0"));
}

static void make_spec(const struct machine *machine, struct doctor_result *result)
{
	const struct version toolkit = containers_toolkit(machine);

	if (toolkit.n && !containers_is_before(&toolkit, "1.18.0"))
		doctor_fix(result, "sudo systemctl enable --now nvidia-cdi-refresh.path "
				   "nvidia-cdi-refresh.service");
	else
		doctor_fix(result, "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
	doctor_fix(result, "nvidia-ctk cdi list");
}

/* What lies in a folder later in the engine's list goes before what lies in an earlier one. */
static void look_cdi(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	enum doctor_status stale;
	bool fresh;

	if (!containers_apply(machine, result))
		return;
	stale = uses_cdi(machine) ? DOCTOR_FAIL : DOCTOR_WARN;
	fresh = look_folder(machine, "/var/run/cdi", stale, result);
	fresh |= look_folder(machine, "/etc/cdi", fresh ? DOCTOR_OK : stale, result);
	if (result->status >= DOCTOR_WARN) {
		doctor_because(result,
			       "the CDI specification is of another driver or of other GPUs: "
			       "what it mounts is not there, and the container does not start");
		make_spec(machine, result);
		return;
	}
	if (fresh || result->evidence.len)
		return;
	if ((containers_info(machine, "docker") && !containers_mode_is(machine, "cdi")) ||
	    !machine->ctk) {
		doctor_say(result, DOCTOR_OK, "no CDI specification; %s",
			   machine->ctk ? "Docker hands GPUs out by NVIDIA's hook"
					: "the toolkit makes one");
		return;
	}
	doctor_say(result, DOCTOR_WARN, "no CDI specification in /etc/cdi and /var/run/cdi");
	doctor_because(result, "GPUs are handed out by CDI here: \"unresolvable CDI devices "
			       "nvidia.com/gpu\"");
	make_spec(machine, result);
}

const struct doctor_check containers_check_cdi = {
    .id = "container-cdi",
    .group = "containers",
    .title = "CDI specifications against the driver and the GPUs",
    .text = "None where GPUs are handed out by them, or one of another driver or of other GPUs",
    .look = look_cdi,
};

/* --- container-daemon-reload --- */

/* Was it given its node by the engine too (--device), and may systemd name the node? */
static bool is_held(const struct machine *machine, const json_t *container)
{
	auto_strings struct strings links = {};
	const json_t *device;
	size_t at;

	if (root_list(machine->root, "/dev/char", "195:*", &links) < 0 || links.n == 0)
		return false;
	json_array_foreach (json_object_get(json_object_get(container, "HostConfig"), "Devices"),
			    at, device)
		if (text_starts_with(jsonx_get_string(device, "PathOnHost", ""), "/dev/nvidia"))
			return true;
	return false;
}

static void look_reload(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const json_t *docker = containers_info(machine, "docker"), *container;
	size_t at, n = 0;

	if (!containers_apply(machine, result))
		return;
	if (!docker || strcmp(jsonx_get_string(docker, "CgroupDriver", ""), "systemd") != 0) {
		doctor_say(result, DOCTOR_SKIPPED, "no Docker whose cgroups are systemd's");
		return;
	}
	json_array_foreach (machine->containers, at, container) {
		if (strcmp(jsonx_get_string(container, "Engine", "docker"), "docker") != 0)
			continue;
		n += way_of(machine, container) != WAY_NONE;
		if (way_of(machine, container) != WAY_HOOK || is_held(machine, container))
			continue;
		doctor_say(result, DOCTOR_WARN, "%s has its GPUs by NVIDIA's hook",
			   name_of(container));
		doctor_because(
		    result, "the hook opens the devices behind systemd's back: the next "
			    "`systemctl daemon-reload` (any package may run one) closes them, "
			    "and the container has \"Failed to initialize NVML: Unknown Error\"");
		doctor_fix(result, "docker restart %s   # when it has lost them",
			   name_of(container));
	}
	if (result->status < DOCTOR_WARN) {
		doctor_say(result, DOCTOR_OK, "%zu container%s with a GPU, none by the hook alone",
			   n, PLURAL(n));
		return;
	}
	doctor_fix(result, "# for good: the devices by CDI, which systemd knows of");
	doctor_fix(result, "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
	doctor_fix(result, "sudo nvidia-ctk config --set nvidia-container-runtime.mode=cdi "
			   "--in-place");
	doctor_fix(result, "# and start it anew with `runtime: nvidia`; or without systemd's "
			   "cgroups, in /etc/docker/daemon.json:");
	doctor_fix(result, "#   \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"]");
}

const struct doctor_check containers_check_reload = {
    .id = "container-daemon-reload",
    .group = "containers",
    .title = "how containers that run came by their GPUs",
    .text = "By the hook, under systemd's cgroups: a `daemon-reload` takes the GPUs away",
    .look = look_reload,
};

/* --- container-cgroups --- */

static void look_cgroups(const struct doctor *doctor, struct doctor_result *result)
{
	static const char *const engines[] = {"docker", "podman"};

	if (!containers_apply(doctor->machine, result))
		return;
	for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
		const json_t *info = containers_info(doctor->machine, engines[i]);
		const char *driver = jsonx_get_string(info, "CgroupDriver", "");

		if (!info || !*driver)
			continue;
		if (strcmp(driver, "none") != 0) {
			doctor_say(result, DOCTOR_OK, "%s: cgroup v%s by %s", engines[i],
				   jsonx_get_string(info, "CgroupVersion", "?"), driver);
			continue;
		}
		doctor_say(result, DOCTOR_WARN, "%s has no cgroups", engines[i]);
		doctor_because(result, "limits of memory and CPUs are not kept: one container can "
				       "take down the others");
		doctor_fix(result, "# boot with systemd.unified_cgroup_hierarchy=1, then let users "
				   "have cgroups:");
		doctor_fix(result, "sudo mkdir -p /etc/systemd/system/user@.service.d");
		doctor_fix(result,
			   "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee "
			   "/etc/systemd/system/user@.service.d/delegate.conf");
		doctor_fix(result, "sudo systemctl daemon-reload   # and log in anew");
	}
}

const struct doctor_check containers_check_cgroups = {
    .id = "container-cgroups",
    .group = "containers",
    .title = "cgroup version and driver of the engine",
    .text = "Rootless without cgroups: limits are not kept",
    .look = look_cgroups,
};

/* --- container-selinux --- */

static bool is_unlabelled(const json_t *container)
{
	const json_t *entry, *host = json_object_get(container, "HostConfig");
	size_t at;

	json_array_foreach (json_object_get(host, "SecurityOpt"), at, entry) {
		const char *text = json_string_value(entry);

		if (text &&
		    (strcmp(text, "label=disable") == 0 || strcmp(text, "label:disable") == 0 ||
		     strstr(text, "nvidia_container_t")))
			return true;
	}
	return jsonx_get_bool(host, "Privileged", false);
}

static void look_selinux(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	auto_free char *enforce = NULL, *open = NULL;
	size_t at, n = 0, n_free = 0;
	const json_t *container;

	if (!containers_apply(machine, result))
		return;
	if (root_read(machine->root, "/sys/fs/selinux/enforce", &enforce) < 0 || *enforce != '1' ||
	    (!containers_has_option(containers_info(machine, "docker"), "name=selinux") &&
	     !containers_has_option(containers_info(machine, "podman"), "name=selinux"))) {
		doctor_say(result, DOCTOR_SKIPPED, "SELinux does not confine containers here");
		return;
	}
	if (root_read(machine->root, "/sys/fs/selinux/booleans/container_use_devices", &open) < 0) {
		doctor_say(result, DOCTOR_UNKNOWN, "SELinux has no container_use_devices");
		return;
	}
	if (*open == '1') {
		doctor_say(result, DOCTOR_OK, "SELinux: container_use_devices is on");
		return;
	}
	json_array_foreach (machine->containers, at, container) {
		if (way_of(machine, container) == WAY_NONE)
			continue;
		n++;
		n_free += is_unlabelled(container);
	}
	if (n > 0 && n == n_free) {
		doctor_say(result, DOCTOR_OK, "%zu container%s with a GPU, not confined", n,
			   PLURAL(n));
		return;
	}
	doctor_say(result, DOCTOR_WARN, "SELinux enforces, container_use_devices is off");
	doctor_because(result, "containers may not open the GPU's devices: \"Insufficient "
			       "Permissions\", or no GPU at all");
	doctor_fix(result, "sudo setsebool -P container_use_devices on");
	doctor_fix(result, "# or, for one container: --security-opt label=disable");
}

const struct doctor_check containers_check_selinux = {
    .id = "container-selinux",
    .group = "containers",
    .title = "SELinux and containers that use devices",
    .text = "Enforcing without `container_use_devices`: the GPU's devices stay closed",
    .look = look_selinux,
};

/* --- container-shm --- */

static void look_container_shm(const struct doctor *doctor, struct doctor_result *result)
{
	const uint64_t least = doctor->needs->of[doctor->purpose].shm_bytes;
	const json_t *container;
	size_t at;

	if (!containers_apply(doctor->machine, result))
		return;
	json_array_foreach (doctor->machine->containers, at, container) {
		const json_t *host = json_object_get(container, "HostConfig");
		const uint64_t size = jsonx_get_u64(host, "ShmSize", 0);

		if (way_of(doctor->machine, container) == WAY_NONE || size == 0 ||
		    strcmp(jsonx_get_string(host, "IpcMode", ""), "host") == 0)
			continue;
		doctor_say(result, size < least ? DOCTOR_WARN : DOCTOR_OK, "%s: /dev/shm has %s",
			   name_of(container), SIZE_TEXT(size));
		if (size >= least)
			continue;
		doctor_because(result,
			       "the workers of a DataLoader hand batches over in shared memory: "
			       "with too little they die with \"Bus error\"");
		doctor_fix(result, "# start it with --shm-size=8g or --ipc=host; in a compose "
				   "file: shm_size: 8gb");
	}
	if (!result->evidence.len)
		doctor_say(result, DOCTOR_SKIPPED, "no container with a GPU runs");
}

const struct doctor_check containers_check_shm = {
    .id = "container-shm",
    .group = "containers",
    .title = "shared memory of containers with a GPU",
    .text = "For training: too little for the workers of a DataLoader",
    .look = look_container_shm,
};
