/*
 * Containers: is there an engine, can it hand out GPUs, and do containers keep them. Two ways lead
 * a GPU into a container: NVIDIA's hook, which works behind the engine's back, and CDI, a file that
 * names devices and libraries; each has faults of its own. Without an engine, or a GPU, all of this
 * does not apply.
 */
#include "doctor/checks.h"

#include "doctor/containers.h"
#include "doctor/distro.h"

#include <string.h>

#define DAEMON_JSON  "/etc/docker/daemon.json"
#define TOOLKIT_TOML "/etc/nvidia-container-runtime/config.toml"

/* --- what several ask --- */

const json_t *containers_info(const struct machine *machine, const char *engine)
{
	const json_t *info = json_object_get(json_object_get(machine->engine, engine), "info");

	return json_is_object(info) ? info : NULL;
}

struct version containers_version(const struct machine *machine, const char *engine)
{
	return version_parse(
	    jsonx_get_string(containers_info(machine, engine), "ServerVersion", "unknown"));
}

bool containers_is_before(const struct version *version, const char *bound)
{
	const struct version other = version_parse(bound);

	return version->n > 0 && version_compare(version, &other) < 0;
}

bool containers_has_option(const json_t *info, const char *option)
{
	const json_t *entry;
	size_t at;

	json_array_foreach (json_object_get(info, "SecurityOptions"), at, entry) {
		const char *text = json_string_value(entry);
		size_t len = strlen(option);

		if (text && strncmp(text, option, len) == 0 && (!text[len] || text[len] == ','))
			return true;
	}
	return false;
}

/* Docker Desktop and snaps are places of their own, with files of their own. */
static bool is_desktop(const json_t *info)
{
	return strcmp(jsonx_get_string(info, "OperatingSystem", ""), "Docker Desktop") == 0;
}

static bool is_snap(const json_t *info)
{
	return text_starts_with(jsonx_get_string(info, "DockerRootDir", ""), "/var/snap/");
}

/* Docker as its packages install it, that reads the files of /etc. */
static const json_t *plain_docker(const struct machine *machine)
{
	const json_t *info = containers_info(machine, "docker");

	return info && !is_desktop(info) && !is_snap(info) &&
		       !containers_has_option(info, "name=rootless")
		   ? info
		   : NULL;
}

/* GPUs, and an engine that could hand them out. Says why not. */
bool containers_apply(const struct machine *machine, struct doctor_result *result)
{
	if (!machine->engine)
		doctor_say(result, DOCTOR_UNKNOWN, "nobody asked for a container engine");
	else if (!containers_info(machine, "docker") && !containers_info(machine, "podman"))
		doctor_say(result, DOCTOR_SKIPPED, "no container engine answers");
	else if (machine->n_pci == 0 && machine->gpus->n == 0 && !machine->jetson)
		doctor_say(result, DOCTOR_SKIPPED, "no NVIDIA GPU");
	else if (!machine->nvidia_loaded && machine->gpus->state != GPU_SOURCE_OK &&
		 !machine->jetson)
		doctor_say(result, DOCTOR_SKIPPED, "the driver does not work");
	else
		return true;
	return false;
}

struct version containers_toolkit(const struct machine *machine)
{
	const char *at = machine->ctk ? strstr(machine->ctk, "version ") : NULL;

	return version_parse(at ? at + strlen("version ") : "unknown");
}

/* What a section of a TOML file sets a key to, without quotes. New; NULL: nothing. */
static char *toml_get(const char *text, const char *section, const char *key)
{
	auto_free char *copy = mem_strdup(text), *wanted = mem_printf("[%s]", section);
	char *rest = copy;
	bool inside = false;

	for (char *line; (line = strsep(&rest, "\n"));) {
		size_t len = strlen(key);

		line += strspn(line, " \t");
		if (*line == '[')
			inside = text_starts_with(line, wanted);
		if (!inside || strncmp(line, key, len) != 0)
			continue;
		line += len;
		line += strspn(line, " \t");
		if (*line++ != '=')
			continue;
		line += strspn(line, " \t");
		if (*line == '"')
			return mem_strndup(line + 1, strcspn(line + 1, "\""));
		return mem_strndup(line, strcspn(line, " \t\r#"));
	}
	return NULL;
}

/* NULL: not there, or not set. */
static char *toolkit_setting(const struct machine *machine, const char *section, const char *key)
{
	auto_free char *text = NULL;

	if (root_read(machine->root, TOOLKIT_TOML, &text) < 0)
		return NULL;
	return toml_get(text, section, key);
}

bool containers_mode_is(const struct machine *machine, const char *mode)
{
	auto_free char *set = toolkit_setting(machine, "nvidia-container-runtime", "mode");

	return set && strcmp(set, mode) == 0;
}

/* --- container-engine --- */

static void does_not_answer(const struct machine *machine, const char *engine, const json_t *told,
			    struct doctor_result *result)
{
	const char *error = jsonx_get_string(told, "error", "no answer");
	const char *reason = jsonx_get_string(told, "reason", "other");
	const bool podman = strcmp(engine, "podman") == 0;

	if (strcmp(reason, "other") == 0) {
		doctor_say(result, DOCTOR_UNKNOWN, "%s", error);
	} else if (strcmp(reason, "denied") == 0) {
		/* podman's socket of the system is root's, and each user has another. */
		doctor_say(result,
			   podman || containers_info(machine, "podman") ? DOCTOR_UNKNOWN
									: DOCTOR_WARN,
			   "%s", error);
		doctor_because(result, "this user may not talk to Docker");
		doctor_fix(result, "sudo usermod -aG docker %s   # who is in it is root in effect",
			   jsonx_get_string(machine->user, "name", "$USER"));
		doctor_fix(result, "newgrp docker   # or log in anew");
	} else {
		const char *unit = podman ? "podman.socket" : "docker";

		doctor_say(result, DOCTOR_WARN, "%s", error);
		doctor_because(result, "its socket is there, and %s does not answer",
			       podman ? "podman" : "Docker");
		doctor_fix(result, "sudo systemctl restart %s", unit);
		doctor_fix(result, "# when that fails, why: journalctl -u %s -e", unit);
	}
}

static void look_docker(const struct machine *machine, const json_t *info,
			struct doctor_result *result)
{
	const struct version version = containers_version(machine, "docker");

	if (containers_is_before(&version, "20.10")) {
		doctor_say(result, DOCTOR_FAIL, "Docker %s", VERSION_TEXT(&version));
		doctor_because(result, "it is older than 20.10: compose files that reserve GPUs "
				       "and cgroup v2 do not work with it");
		doctor_fix(result, "curl -fsSL https://get.docker.com | sudo sh");
	} else if (is_snap(info)) {
		doctor_say(result, DOCTOR_WARN, "Docker %s is a snap (%s)", VERSION_TEXT(&version),
			   jsonx_get_string(info, "DockerRootDir", "?"));
		doctor_because(result, "a snap is locked in: it does not find NVIDIA's hook and "
				       "libraries (\"could not select device driver\")");
		doctor_fix(result, "sudo snap remove docker   # its images go with it");
		doctor_fix(result, "curl -fsSL https://get.docker.com | sudo sh");
	} else if (is_desktop(info) && !machine->wsl) {
		doctor_say(result, DOCTOR_WARN, "Docker Desktop %s", VERSION_TEXT(&version));
		doctor_because(result, "Docker Desktop on Linux runs containers in a virtual "
				       "machine that has no GPU");
		doctor_fix(result, "curl -fsSL https://get.docker.com | sudo sh");
		doctor_fix(result, "docker context use default");
	} else {
		doctor_say(result, DOCTOR_OK, "Docker %s", VERSION_TEXT(&version));
	}
}

static void look_podman(const struct machine *machine, struct doctor_result *result)
{
	const struct version version = containers_version(machine, "podman");

	if (!containers_is_before(&version, "4.1")) {
		doctor_say(result, DOCTOR_OK, "podman %s", VERSION_TEXT(&version));
		return;
	}
	doctor_say(result, DOCTOR_WARN, "podman %s", VERSION_TEXT(&version));
	doctor_because(result, "podman hands GPUs out by CDI, from 4.1 on");
	doctor_fix(result, "# upgrade podman to 4.1 or newer");
}

static void without_engine(const struct machine *machine, struct doctor_result *result)
{
	if (root_exists(machine->root, "/usr/bin/dockerd")) {
		doctor_say(result, DOCTOR_WARN, "Docker is installed and has no socket");
		doctor_because(result, "Docker does not run");
		doctor_fix(result, "sudo systemctl enable --now docker");
	} else if (root_exists(machine->root, "/usr/bin/podman")) {
		doctor_say(result, DOCTOR_SKIPPED, "podman is installed, its socket is off");
	} else {
		doctor_say(result, DOCTOR_SKIPPED, "no container engine");
	}
}

static void look_engine(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	json_t *engine;
	const char *name;

	if (!machine->engine) {
		doctor_say(result, DOCTOR_UNKNOWN, "nobody asked for a container engine");
		return;
	}
	json_object_foreach (machine->engine, name, engine) {
		const json_t *info = containers_info(machine, name);

		if (!info)
			does_not_answer(machine, name, engine, result);
		else if (strcmp(name, "docker") == 0)
			look_docker(machine, info, result);
		else
			look_podman(machine, result);
	}
	if (json_object_size(machine->engine) == 0)
		without_engine(machine, result);
}

/* --- container-toolkit --- */

static void toolkit_missing(const struct machine *machine, struct doctor_result *result)
{
	doctor_say(result, DOCTOR_WARN, "nvidia-ctk is not there");
	doctor_because(result, "NVIDIA's container toolkit is not installed: no container gets a "
			       "GPU (\"could not select device driver\")");
	distro_fix_toolkit(machine, result);
	if (containers_info(machine, "docker")) {
		doctor_fix(result, "sudo nvidia-ctk runtime configure --runtime=docker");
		doctor_fix(result, "sudo systemctl restart docker");
	} else {
		doctor_fix(result, "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
	}
}

static void look_toolkit(const struct doctor *doctor, struct doctor_result *result)
{
	static const struct {
		const char *mended_in, *name, *text;
	} holes[] = {
	    {"1.17.8", "CVE-2025-23266", "an image can run code as root on this machine"},
	    {"1.17.4", "CVE-2025-23359", "an image can reach this machine's files"},
	    {"1.16.2", "CVE-2024-0132", "an image can reach this machine's files"},
	};
	const struct machine *machine = doctor->machine;
	const struct version version = containers_toolkit(machine);
	const json_t *docker = containers_info(machine, "docker");

	if (!containers_apply(machine, result))
		return;
	if (is_desktop(docker)) {
		doctor_say(result, DOCTOR_SKIPPED, "Docker Desktop brings its own");
		return;
	}
	if (!machine->ctk) {
		toolkit_missing(machine, result);
		return;
	}
	if (version.n == 0) {
		doctor_say(result, DOCTOR_UNKNOWN, "nvidia-ctk does not say its version");
		return;
	}
	doctor_say(result, DOCTOR_OK, "NVIDIA container toolkit %s", VERSION_TEXT(&version));
	for (size_t i = 0; i < ARRAY_LEN(holes); i++) {
		if (!containers_is_before(&version, holes[i].mended_in))
			continue;
		doctor_say(result, DOCTOR_WARN, "%s, mended in %s", holes[i].name,
			   holes[i].mended_in);
		doctor_because(result, "this toolkit has known holes: %s", holes[i].text);
		distro_fix_toolkit(machine, result);
		doctor_fix(result, "sudo systemctl restart docker");
	}
}

/* --- container-runtime --- */

static bool is_installed(struct root *root, const char *program)
{
	static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
					      "/usr/bin",        "/sbin",          "/bin"};

	if (*program == '/')
		return root_exists(root, program);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		auto_free char *path = mem_printf("%s/%s", folders[i], program);

		if (root_exists(root, path))
			return true;
	}
	return false;
}

/* NULL: not there, or no JSON (which is said). */
static json_t *read_daemon_json(const struct machine *machine, struct doctor_result *result)
{
	auto_free char *text = NULL;
	json_error_t where;
	json_t *json;

	if (root_read(machine->root, DAEMON_JSON, &text) < 0 || !text[strspn(text, " \t\n")])
		return NULL;
	json = json_loads(text, 0, &where);
	if (json)
		return json;
	doctor_say(result, DOCTOR_FAIL, DAEMON_JSON ":%d: %s", where.line, where.text);
	doctor_because(result, "Docker's configuration is no JSON: it will not start again");
	doctor_fix(result, "sudo dockerd --validate --config-file " DAEMON_JSON);
	doctor_fix(result, "# mend that line, then: sudo systemctl restart docker");
	return NULL;
}

static void configure_docker(struct doctor_result *result)
{
	doctor_fix(result, "sudo nvidia-ctk runtime configure --runtime=docker");
	doctor_fix(result, "sudo systemctl restart docker");
}

static void not_registered(const struct machine *machine, const json_t *daemon,
			   struct doctor_result *result)
{
	const json_t *container;
	size_t at;

	json_array_foreach (machine->containers, at, container)
		if (strcmp(
			jsonx_get_string(json_object_get(container, "HostConfig"), "Runtime", ""),
			"nvidia") == 0)
			doctor_say(result, DOCTOR_FAIL,
				   "the container %s has it, and will not start again",
				   jsonx_get_string(container, "Name", "?"));
	if (json_object_get(json_object_get(daemon, "runtimes"), "nvidia")) {
		doctor_say(result, DOCTOR_WARN,
			   DAEMON_JSON " names the runtime nvidia, Docker does not have it");
		doctor_because(result, "Docker was not restarted after it was configured");
		doctor_fix(result, "sudo systemctl restart docker");
		return;
	}
	if (strcmp(jsonx_get_string(daemon, "default-runtime", ""), "nvidia") == 0) {
		doctor_say(result, DOCTOR_FAIL,
			   DAEMON_JSON " has it as the default and does not define it");
		doctor_because(result, "Docker will not start again");
	}
	if (json_array_size(
		json_object_get(containers_info(machine, "docker"), "DiscoveredDevices")) > 0 &&
	    result->status < DOCTOR_WARN) {
		doctor_say(result, DOCTOR_OK, "no runtime \"nvidia\"; Docker has the GPUs by CDI");
		return;
	}
	doctor_say(result, DOCTOR_WARN, "Docker has no runtime \"nvidia\"");
	doctor_because(result, "`runtime: nvidia` is refused: \"unknown or invalid runtime name\"");
	configure_docker(result);
}

static void look_runtime(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const json_t *docker = plain_docker(machine), *runtime;
	auto_json json_t *daemon = NULL;
	const char *path;

	if (!containers_apply(machine, result))
		return;
	if (!docker || !machine->ctk) {
		doctor_say(result, DOCTOR_SKIPPED, "%s",
			   docker ? "the toolkit is not installed" : "no Docker of this machine");
		return;
	}
	daemon = read_daemon_json(machine, result);
	runtime = json_object_get(json_object_get(docker, "Runtimes"), "nvidia");
	path = jsonx_get_string(runtime, "path", NULL);
	if (!runtime) {
		not_registered(machine, daemon, result);
	} else if (path && !is_installed(machine->root, path)) {
		doctor_say(result, DOCTOR_FAIL, "the runtime \"nvidia\" is %s, which is not there",
			   path);
		doctor_because(result, "containers with `runtime: nvidia` do not start");
		distro_fix_toolkit(machine, result);
		configure_docker(result);
	} else {
		doctor_say(result, DOCTOR_OK, "Docker has the runtime \"nvidia\"%s",
			   strcmp(jsonx_get_string(docker, "DefaultRuntime", ""), "nvidia") == 0
			       ? ", by default"
			       : "");
	}
}

/* --- container-toolkit-config --- */

static void look_toolkit_config(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const json_t *docker = containers_info(machine, "docker");
	auto_free char *text = NULL, *no_cgroups = NULL, *ldconfig = NULL;
	bool rootless, off;

	if (!containers_apply(machine, result))
		return;
	if (root_read(machine->root, TOOLKIT_TOML, &text) < 0) {
		doctor_say(result, DOCTOR_SKIPPED, "no " TOOLKIT_TOML);
		return;
	}
	no_cgroups = toml_get(text, "nvidia-container-cli", "no-cgroups");
	ldconfig = toml_get(text, "nvidia-container-cli", "ldconfig");
	rootless = containers_has_option(docker, "name=rootless");
	off = no_cgroups && strcmp(no_cgroups, "true") == 0;
	doctor_say(result, DOCTOR_OK, TOOLKIT_TOML ": no-cgroups is %s, ldconfig is %s",
		   off ? "true" : "false", ldconfig ? ldconfig : "the default");
	if (docker && off && !rootless) {
		doctor_say(result, DOCTOR_FAIL, "no-cgroups is true, and Docker is not rootless");
		doctor_because(result, "the hook does not open the GPU's devices to containers: "
				       "\"Failed to initialize NVML: Unknown Error\"");
		doctor_fix(result, "sudo nvidia-ctk config --set "
				   "nvidia-container-cli.no-cgroups=false --in-place");
	}
	if (docker && !off && rootless) {
		doctor_say(result, DOCTOR_WARN, "Docker is rootless, and no-cgroups is not set");
		doctor_because(result, "the hook may not write cgroups without root, and "
				       "containers with a GPU do not start");
		doctor_fix(result, "sudo nvidia-ctk config --set "
				   "nvidia-container-cli.no-cgroups=true --in-place");
	}
	if (ldconfig && text_starts_with(ldconfig, "@/") &&
	    !root_exists(machine->root, ldconfig + 1)) {
		doctor_say(result, DOCTOR_FAIL, "%s is not there", ldconfig + 1);
		doctor_because(result, "the hook runs the ldconfig of another distribution: "
				       "containers with a GPU do not start (\"ldcache error\")");
		doctor_fix(result, "sudo nvidia-ctk config --set "
				   "nvidia-container-cli.ldconfig=@/sbin/ldconfig --in-place");
	}
}

#define CHECK(name_, id_, title_, text_)                                         \
	static const struct doctor_check check_##name_ = {.id = (id_),           \
							  .group = "containers", \
							  .title = (title_),     \
							  .text = (text_),       \
							  .look = look_##name_}

CHECK(engine, "container-engine", "Docker or podman: its version, where it runs, does it answer",
      "Older than Docker 20.10 or podman 4.1, closed to this user, not running, or locked in");
CHECK(toolkit, "container-toolkit", "NVIDIA's container toolkit, its version",
      "Not installed: no container gets a GPU. Older than 1.17.8: known holes");
CHECK(runtime, "container-runtime", "the runtime `nvidia` of Docker, and `daemon.json`",
      "Not registered: `runtime: nvidia` is refused");
CHECK(toolkit_config, "container-toolkit-config", "`config.toml` of the toolkit",
      "Set for another distribution, or for another kind of Docker");

const struct doctor_check *const checks_containers[] = {
    &check_engine,
    &check_toolkit,
    &check_runtime,
    &check_toolkit_config,
    &containers_check_cdi,
    &containers_check_reload,
    &containers_check_cgroups,
    &containers_check_selinux,
    &containers_check_shm,
    NULL,
};
