/*
 * What of this machine can only be asked (root.h). Each question has a deadline, and none of them
 * changes anything. NVML above all: NVIDIA's library, once initialised, starts the setuid program
 * nvidia-modprobe and, as root, makes /dev/nvidia* itself, with no driver loaded too. A device node
 * that was not there is a finding, so NVML is asked only where it has nothing to make: the kernel
 * module is loaded and has all its nodes, there are none (WSL), or the GPUs are simulated. And
 * doctor never loads it: that is done by a process that may hang and be left behind
 * (gpu/details.h).
 */
#include "doctor/root_priv.h"

#include "container/container.h"
#include "gpu/details.h"
#include "util/file.h"
#include "util/limits.h"
#include "util/program.h"
#include "util/timestamp.h"
#include "util/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NVML_DEADLINE_MS    15000 /* the first contact with GPUs that sleep takes seconds each */
#define PROGRAM_DEADLINE_MS 10000
#define ENGINE_DEADLINE_MS  3000
#define KERNEL_LOG_MAX      ((size_t)512 << 10)
#define KERNEL_RECORD_MAX   8192 /* a record of /dev/kmsg is smaller (dev_kmsg(5)) */
#define CONTAINERS_ASKED    64

static char *dump(const json_t *json)
{
	char *text = json_dumps(json, JSON_INDENT(1));

	return text ? text : mem_strdup("null");
}

/* --- NVML --- */

static size_t count_names(const char *path, const char *pattern)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	size_t n = 0;

	while (dir && (entry = readdir(dir)))
		n += fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0;
	if (dir)
		(void)closedir(dir);
	return n;
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static bool nvml_has_nothing_to_make(void)
{
	const size_t gpus = count_names("/proc/driver/nvidia/gpus", "*");
	const size_t nodes = count_names("/dev", "nvidia[0-9]*");
	/* A container is given the nodes of its GPUs alone. */
	const bool container = is_there("/.dockerenv") || is_there("/run/.containerenv");
	const char *simulation = getenv("PLIMSOLL_SIM_STATE");

	if ((simulation && *simulation) || is_there("/dev/dxg"))
		return true;
	return is_there("/proc/driver/nvidia/version") && is_there("/dev/nvidiactl") && nodes > 0 &&
	       (nodes >= gpus || container);
}

static int ask_nvml(char **ret_text)
{
	auto_gpu_list struct gpu_list *list = NULL;
	auto_free struct gpu_details *details = NULL;
	auto_json json_t *json = NULL;

	if (!nvml_has_nothing_to_make())
		return -ENOENT;
	if (gpu_details_once(NVML_DEADLINE_MS, &list, &details, NULL) < 0)
		return -ENOENT;
	json = gpu_details_list_to_json(list, details);
	*ret_text = dump(json);
	return 0;
}

/* --- device nodes --- */

static void add_device(json_t *devices, const char *path)
{
	char mode[8], user[USER_NAME_MAX];
	const struct group *group;
	json_t *device;
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return;
	group = getgrgid(st.st_gid);
	(void)snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777);
	device =
	    json_pack("{s:s, s:s, s:I, s:I, s:s, s:s?, s:I, s:I, s:b}", "path", path, "mode", mode,
		      "uid", (json_int_t)st.st_uid, "gid", (json_int_t)st.st_gid, "user",
		      user_name(st.st_uid, user), "group", group ? group->gr_name : NULL, "major",
		      (json_int_t)major(st.st_rdev), "minor", (json_int_t)minor(st.st_rdev),
		      "usable", faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0);
	if (device)
		(void)json_array_append_new(devices, device);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_devices(json_t *devices, const char *folder, const char *pattern)
{
	auto_strings struct strings paths = {};
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0)
			strings_take(&paths, mem_printf("%s/%s", folder, entry->d_name));
	if (dir)
		(void)closedir(dir);
	if (paths.n > 1)
		qsort(paths.items, paths.n, sizeof *paths.items, by_name);
	for (size_t i = 0; i < paths.n; i++)
		add_device(devices, paths.items[i]);
}

static int ask_devices(char **ret_text)
{
	auto_json json_t *devices = json_array();

	add_devices(devices, "/dev", "nvidia*");
	add_devices(devices, "/dev/nvidia-caps", "*");
	add_devices(devices, "/dev/dri", "*");
	add_devices(devices, "/dev", "kfd");
	add_devices(devices, "/dev", "dxg");
	*ret_text = dump(devices);
	return 0;
}

/* --- the kernel's log --- */

/* A log names much that is nobody's business; these are the lines some check reads. */
static bool tells(const char *line)
{
	static const char *const words[] = {"NVRM",
					    "nvidia",
					    "NVIDIA",
					    "nouveau",
					    "Xid",
					    "ecure boot",
					    "ockdown",
					    "AER:",
					    "pcieport",
					    "PM: suspend",
					    "PM: hibernation",
					    "unsigned module",
					    "Out of memory",
					    "oom-kill",
					    "Killed process",
					    "mce: ",
					    "Hardware Error",
					    "vfio"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strstr(line, words[i]))
			return true;
	return false;
}

static void add_log_line(struct text *log, const char *line)
{
	if (!tells(line))
		return;
	text_printf(log, "%s\n", line);
	if (log->len > 2 * KERNEL_LOG_MAX) {
		const char *keep = strchr(log->data + log->len - KERNEL_LOG_MAX, '\n') + 1;
		size_t len = strlen(keep);

		memmove(log->data, keep, len + 1);
		log->len = len;
	}
}

/* "6,339,5140900,-;message", then lines that begin with a blank. */
static void add_record(struct text *log, char *record)
{
	unsigned long long sequence, us;
	unsigned priority;
	char *message = strchr(record, ';');
	auto_free char *line = NULL;

	if (!message || sscanf(record, "%u,%llu,%llu", &priority, &sequence, &us) != 3)
		return;
	message++;
	message[strcspn(message, "\n")] = '\0';
	line = mem_printf("[%5llu.%06llu] %s", us / 1000000, us % 1000000, message);
	add_log_line(log, line);
}

static int read_kmsg(struct text *log)
{
	auto_close int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[KERNEL_RECORD_MAX + 1];

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, record, KERNEL_RECORD_MAX);

		/* EPIPE: records were overwritten meanwhile; it goes on with the oldest. */
		if (n < 0 && (errno == EINTR || errno == EPIPE))
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return 0;
		record[n] = '\0';
		add_record(log, record);
	}
}

static void add_journal_line(void *data, const char *line)
{
	add_log_line(data, line);
}

static void read_journal(struct text *log)
{
	char *const argv[] = {(char[]){"journalctl"}, (char[]){"-k"},      (char[]){"-b"},
			      (char[]){"--no-pager"}, (char[]){"--quiet"}, NULL};
	const struct program_options options = {.argv = argv,
						.deadline_ms =
						    monotonic_now_ms() + PROGRAM_DEADLINE_MS,
						.interrupt_fd = -1,
						.on_line = add_journal_line,
						.data = log};
	int status = 0;

	if (program_run(&options, NULL, &status, NULL) < 0)
		return; /* what came until then is true */
}

static int ask_kernel_log(char **ret_text)
{
	auto_text struct text log = {};

	if (read_kmsg(&log) < 0)
		read_journal(&log);
	*ret_text = root_text_of(log.data, log.len);
	return 0;
}

/* --- programs --- */

/* The first of some programs that is there; its output when it ended well, "" when not. */
static int ask_program(char *const *argvs[], char **ret_text)
{
	for (size_t i = 0; argvs[i]; i++) {
		const struct program_options options = {.argv = argvs[i],
							.deadline_ms = monotonic_now_ms() +
								       PROGRAM_DEADLINE_MS,
							.interrupt_fd = -1};
		auto_text struct text output = {};
		int status = 0, r = program_run(&options, &output, &status, NULL);

		if (r == -ENOENT || r == -EACCES)
			continue;
		if (r < 0)
			return -EACCES; /* it hangs: nobody knows */
		*ret_text = root_text_of(output.data, status == 0 ? output.len : 0);
		return 0;
	}
	return -ENOENT;
}

static int ask_modinfo(char **ret_text)
{
	char *const in_path[] = {(char[]){"modinfo"}, (char[]){"nvidia"}, NULL};
	char *const in_sbin[] = {(char[]){"/usr/sbin/modinfo"}, (char[]){"nvidia"}, NULL};
	char *const in_old_sbin[] = {(char[]){"/sbin/modinfo"}, (char[]){"nvidia"}, NULL};
	char *const *argvs[] = {in_path, in_sbin, in_old_sbin, NULL};

	return ask_program(argvs, ret_text);
}

static int ask_ctk(char **ret_text)
{
	char *const argv[] = {(char[]){"nvidia-ctk"}, (char[]){"--version"}, NULL};
	char *const *argvs[] = {argv, NULL};

	return ask_program(argvs, ret_text);
}

/* --- container engines --- */

/* The members of an object that some check reads: the rest is left out, it may hold secrets. */
static json_t *only(const json_t *from, const char *const *keys)
{
	json_t *object = json_object();

	for (; *keys; keys++) {
		json_t *value = json_object_get(from, *keys);

		if (value)
			(void)json_object_set(object, *keys, value);
	}
	return object;
}

static const char *reason_of(const struct error *err)
{
	switch (err->code) {
	case -EACCES:
		return "denied";
	case -ECONNREFUSED:
		return "refused";
	case -ETIMEDOUT:
		return "silent";
	default:
		return "other";
	}
}

static json_t *describe_engine(struct container_engine *engine)
{
	static const char *const info_keys[] = {"ServerVersion",
						"Runtimes",
						"DefaultRuntime",
						"CgroupDriver",
						"CgroupVersion",
						"SecurityOptions",
						"CDISpecDirs",
						"OperatingSystem",
						"DockerRootDir",
						"Driver",
						"Warnings",
						"DiscoveredDevices",
						NULL};
	static const char *const version_keys[] = {"Version", "ApiVersion", "Components", NULL};
	auto_json json_t *info = NULL, *version = NULL;
	json_t *json = json_object();
	struct error err = {};

	(void)json_object_set_new(json, "socket", json_string(container_engine_socket(engine)));
	if (container_engine_get(engine, "/info", &info, &err) < 0 ||
	    container_engine_get(engine, "/version", &version, &err) < 0) {
		(void)json_object_set_new(json, "error", json_string(error_text(&err)));
		(void)json_object_set_new(json, "reason", json_string(reason_of(&err)));
	}
	(void)json_object_set_new(json, "info", info ? only(info, info_keys) : json_null());
	(void)json_object_set_new(json, "version",
				  version ? only(version, version_keys) : json_null());
	return json;
}

static const char *name_of_kind(enum container_engine_kind kind)
{
	return kind == CONTAINER_PODMAN ? "podman" : "docker";
}

static int ask_engine(char **ret_text)
{
	auto_json json_t *json = json_object();
	auto_strings struct strings sockets = {};

	if (container_engine_sockets(&sockets, NULL) < 0)
		return -ENOENT;
	for (size_t i = 0; i < sockets.n; i++) {
		auto_container_engine struct container_engine *engine = NULL;
		const char *name = strstr(sockets.items[i], "podman") ? "podman" : "docker";
		struct error err = {};
		json_t *told;

		if (!is_there(sockets.items[i]))
			continue;
		if (container_engine_open(sockets.items[i], ENGINE_DEADLINE_MS, &engine, &err) <
		    0) {
			if (json_object_get(json, name))
				continue;
			told = json_pack("{s:s, s:s, s:s}", "socket", sockets.items[i], "error",
					 error_text(&err), "reason", reason_of(&err));
			(void)json_object_set_new(json, name, told ? told : json_object());
			continue;
		}
		name = name_of_kind(container_engine_kind(engine));
		if (!json_object_get(json_object_get(json, name), "info"))
			(void)json_object_set_new(json, name, describe_engine(engine));
	}
	*ret_text = dump(json);
	return 0;
}

/* "NVIDIA_VISIBLE_DEVICES=all" and its like. */
static json_t *environment_of(const json_t *config)
{
	static const char *const prefixes[] = {"NVIDIA_", "CUDA_", "PYTORCH_", "LD_LIBRARY_PATH="};
	json_t *env = json_array(), *variable;
	size_t at;

	json_array_foreach (json_object_get(config, "Env"), at, variable) {
		const char *text = json_string_value(variable);

		for (size_t i = 0; text && i < ARRAY_LEN(prefixes); i++)
			if (text_starts_with(text, prefixes[i]))
				(void)json_array_append(env, variable);
	}
	return env;
}

static json_t *describe_container(struct container_engine *engine, const char *id)
{
	static const char *const keys[] = {"Id", "Name", "State", NULL};
	static const char *const host_keys[] = {
	    "Runtime",     "DeviceRequests", "Devices", "ShmSize",  "CgroupParent", "Privileged",
	    "SecurityOpt", "IpcMode",        "Memory",  "NanoCpus", "CpusetCpus",   NULL};
	auto_free char *path = mem_printf("/containers/%s/json", id);
	auto_json json_t *inspected = NULL;
	const json_t *config;
	json_t *json, *host;

	if (container_engine_get(engine, path, &inspected, NULL) < 0)
		return NULL;
	json = only(inspected, keys);
	config = json_object_get(inspected, "Config");
	host = only(json_object_get(inspected, "HostConfig"), host_keys);
	(void)json_object_set_new(json, "HostConfig", host);
	(void)json_object_set_new(json, "Config",
				  json_pack("{s:s?, s:o}", "Image",
					    jsonx_get_string(config, "Image", NULL), "Env",
					    environment_of(config)));
	(void)json_object_set_new(json, "Engine",
				  json_string(name_of_kind(container_engine_kind(engine))));
	return json;
}

static int ask_containers(char **ret_text)
{
	struct container_engine *engines[CONTAINER_ENGINES_MAX];
	size_t n = container_engine_open_all(ENGINE_DEADLINE_MS, engines, ARRAY_LEN(engines));
	auto_json json_t *containers = json_array();

	for (size_t i = 0; i < n; i++) {
		auto_json json_t *list = NULL;
		const json_t *entry;
		size_t at;

		if (container_engine_get(engines[i], "/containers/json", &list, NULL) == 0)
			json_array_foreach (list, at, entry) {
				const char *id = jsonx_get_string(entry, "Id", "");
				json_t *told = strspn(id, "0123456789abcdef") == strlen(id) && *id
						   ? describe_container(engines[i], id)
						   : NULL;

				if (told && json_array_size(containers) < CONTAINERS_ASKED)
					(void)json_array_append(containers, told);
				json_decref(told);
			}
		container_engine_close(engines[i]);
	}
	*ret_text = dump(containers);
	return n > 0 ? 0 : -ENOENT;
}

/* --- disks and the user --- */

static void add_disk(json_t *disks, const char *path)
{
	struct statvfs st;

	if (path && *path == '/' && statvfs(path, &st) == 0)
		(void)json_array_append_new(
		    disks,
		    json_pack("{s:s, s:I, s:I}", "path", path, "total_bytes",
			      (json_int_t)((uint64_t)st.f_blocks * st.f_frsize), "free_bytes",
			      (json_int_t)((uint64_t)st.f_bavail * st.f_frsize)));
}

static int ask_disks(char **ret_text)
{
	auto_json json_t *disks = json_array();

	add_disk(disks, "/");
	add_disk(disks, "/var/lib/docker");
	add_disk(disks, "/var/lib/containers");
	add_disk(disks, getenv("HOME"));
	add_disk(disks, "/dev/shm");
	*ret_text = dump(disks);
	return 0;
}

static json_t *own_groups(void)
{
	gid_t gids[NGROUPS_MAX > 1024 ? 1024 : NGROUPS_MAX];
	int n = getgroups(ARRAY_LEN(gids), gids);
	json_t *groups = json_array();

	for (int i = 0; i < n; i++) {
		const struct group *group = getgrgid(gids[i]);

		if (group)
			(void)json_array_append_new(groups, json_string(group->gr_name));
	}
	return groups;
}

static int ask_user(char **ret_text)
{
	static const int asked[] = {RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_NPROC, RLIMIT_STACK};
	struct limits limits = {};
	char name[USER_NAME_MAX];
	auto_json json_t *json = NULL;

	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		struct rlimit limit;

		if (getrlimit((__rlimit_resource_t)asked[i], &limit) < 0)
			continue;
		limits.set |= 1u << asked[i];
		limits.of[asked[i]].soft =
		    limit.rlim_cur == RLIM_INFINITY ? LIMITS_NONE : limit.rlim_cur;
		limits.of[asked[i]].hard =
		    limit.rlim_max == RLIM_INFINITY ? LIMITS_NONE : limit.rlim_max;
	}
	json = json_pack("{s:I, s:s, s:o, s:o}", "uid", (json_int_t)geteuid(), "name",
			 user_name(geteuid(), name), "groups", own_groups(), "limits",
			 limits_encode(&limits));
	*ret_text = dump(json);
	return 0;
}

int ask_live(enum root_answer answer, char **ret_text)
{
	static int (*const asks[ROOT_ANSWER_COUNT])(char **) = {
	    [ROOT_NVML] = ask_nvml,
	    [ROOT_DEVICES] = ask_devices,
	    [ROOT_KERNEL_LOG] = ask_kernel_log,
	    [ROOT_MODINFO] = ask_modinfo,
	    [ROOT_ENGINE] = ask_engine,
	    [ROOT_CONTAINERS] = ask_containers,
	    [ROOT_CTK] = ask_ctk,
	    [ROOT_DISKS] = ask_disks,
	    [ROOT_USER] = ask_user,
	};

	return asks[answer](ret_text);
}
