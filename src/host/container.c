/*
 * Which container a cgroup path belongs to. Each runtime names its groups in its own way; the table
 * below lists them (docker and podman under the systemd and the cgroupfs driver, CRI runtimes, LXC,
 * nspawn, Slurm). A path is read component by component and the innermost match wins, so that
 * podman inside docker is podman's container; a Kubernetes pod marks what is inside as Kubernetes'.
 */
#include "host/process.h"

#include "util/text.h"

#include <ctype.h>
#include <string.h>

#define ID_HEX 64

static const char *const runtime_names[] = {
    [HOST_RUNTIME_NONE] = "",
    [HOST_RUNTIME_DOCKER] = "docker",
    [HOST_RUNTIME_PODMAN] = "podman",
    [HOST_RUNTIME_KUBERNETES] = "kubernetes",
    [HOST_RUNTIME_CONTAINERD] = "containerd",
    [HOST_RUNTIME_LXC] = "lxc",
    [HOST_RUNTIME_NSPAWN] = "nspawn",
    [HOST_RUNTIME_SLURM] = "slurm",
};

/* One component: `before`, then 64 hex digits or (is_name) a name, then `after`. With `parent` the
 * component before it must be that one. */
static const struct {
	const char *parent, *before, *after;
	bool is_name;
	enum host_runtime runtime;
} patterns[] = {
    {NULL, "docker-", ".scope", false, HOST_RUNTIME_DOCKER},
    {"docker", "", "", false, HOST_RUNTIME_DOCKER},
    {NULL, "libpod-", ".scope", false, HOST_RUNTIME_PODMAN},
    {NULL, "libpod-", "", false, HOST_RUNTIME_PODMAN},
    {"libpod_parent", "libpod-", "", false, HOST_RUNTIME_PODMAN},
    {NULL, "libpod-payload-", "", false, HOST_RUNTIME_PODMAN},
    {NULL, "cri-containerd-", ".scope", false, HOST_RUNTIME_CONTAINERD},
    {NULL, "crio-", ".scope", false, HOST_RUNTIME_KUBERNETES},
    {NULL, "nerdctl-", ".scope", false, HOST_RUNTIME_CONTAINERD},
    {"default", "", "", false, HOST_RUNTIME_CONTAINERD},
    {NULL, "lxc.payload.", "", true, HOST_RUNTIME_LXC},
    {"lxc", "", "", true, HOST_RUNTIME_LXC},
    {"machine.slice", "machine-", ".scope", true, HOST_RUNTIME_NSPAWN},
    {"machine.slice", "systemd-nspawn@", ".service", true, HOST_RUNTIME_NSPAWN},
    {NULL, "job_", "", true, HOST_RUNTIME_SLURM},
};

static bool is_id(const char *s, size_t len)
{
	if (len != ID_HEX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return true;
}

static void field_set(char buf[HOST_TEXT_MAX], const char *s, size_t len)
{
	(void)snprintf(buf, HOST_TEXT_MAX, "%.*s", (int)MIN_OF(len, (size_t)HOST_TEXT_MAX - 1), s);
}

static bool component_match(size_t i, const char *parent, const char *component,
			    struct host_container *container)
{
	size_t before = strlen(patterns[i].before), after = strlen(patterns[i].after);
	size_t len = strlen(component);

	if (patterns[i].parent && (!parent || strcmp(parent, patterns[i].parent) != 0))
		return false;
	if (len <= before + after || !text_starts_with(component, patterns[i].before) ||
	    !text_ends_with(component, patterns[i].after))
		return false;
	component += before;
	len -= before + after;
	if (!patterns[i].is_name && !is_id(component, len))
		return false;
	if (patterns[i].runtime == HOST_RUNTIME_SLURM && !isdigit((unsigned char)component[0]))
		return false;
	container->runtime = patterns[i].runtime;
	container->id[0] = container->name[0] = '\0';
	field_set(patterns[i].is_name ? container->name : container->id, component, len);
	return true;
}

static void path_parse(char *path, struct host_container *container)
{
	const char *parent = NULL;
	char *rest = NULL;
	bool in_pod = false;

	for (char *part = strtok_r(path, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
		bool matched = false;

		in_pod = in_pod || text_starts_with(part, "kubepods");
		for (size_t i = 0; i < ARRAY_LEN(patterns) && !matched; i++)
			matched = component_match(i, parent, part, container);
		if (!matched && in_pod && is_id(part, strlen(part))) {
			container->runtime = HOST_RUNTIME_KUBERNETES;
			field_set(container->id, part, strlen(part));
		} else if (!matched &&
			   (text_ends_with(part, ".service") || text_ends_with(part, ".scope"))) {
			field_set(container->unit, part, strlen(part));
		}
		parent = part;
	}
	if (in_pod && container->id[0])
		container->runtime = HOST_RUNTIME_KUBERNETES;
}

void host_container_parse(const char *cgroup_text, struct host_container *ret_container)
{
	auto_free char *text = mem_strdup(cgroup_text);
	struct host_container container = {};
	char *rest = NULL;

	/* Of v1's many lines the first that names a container tells; the unit is systemd's word,
	 * in any line. */
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		struct host_container found = {};
		char *path = strchr(line, ':');

		path = path ? strchr(path + 1, ':') : NULL;
		if (!path)
			continue;
		path_parse(path + 1, &found);
		if (!container.unit[0])
			memcpy(container.unit, found.unit, sizeof container.unit);
		if (container.runtime != HOST_RUNTIME_NONE || found.runtime == HOST_RUNTIME_NONE)
			continue;
		memcpy(found.unit, container.unit, sizeof found.unit);
		container = found;
	}
	*ret_container = container;
}

const char *host_runtime_name(enum host_runtime runtime)
{
	return runtime_names[runtime];
}
