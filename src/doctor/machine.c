/*
 * The facts of one machine, one section each; a fact that is not to be had is left unknown. What is
 * looked for and where: PCI devices and modules in /sys and /proc, the driver's libraries where the
 * loader looks (and where packages hide them), the rest as answers (root.h).
 */
#include "doctor/machine.h"

#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define LIBRARIES_MAX     256
#define PCI_MAX           256
#define FOLDERS_MAX       64
#define LINKS_MAX         16
#define DRIVER_BRANCH_MIN 100 /* the first components of drivers are far above */

/* --- small files --- */

/* NULL: not there. */
static char *read_or_null(struct root *root, const char *path)
{
	char *text = NULL;

	return root_read(root, path, &text) == 0 ? text : NULL;
}

static char *read_in(struct root *root, const char *folder, const char *name)
{
	auto_free char *path = mem_printf("%s/%s", folder, name);

	return read_or_null(root, path);
}

static json_t *ask_json(struct root *root, enum root_answer answer)
{
	auto_free char *text = NULL;
	json_t *json = NULL;

	if (root_ask(root, answer, &text) < 0 ||
	    jsonx_parse(text, strlen(text), "answer", &json, NULL) < 0)
		return NULL;
	return json;
}

/* --- PCI --- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "16" */
static unsigned read_number(struct root *root, const char *folder, const char *name, int base)
{
	auto_free char *text = read_in(root, folder, name);
	unsigned long value = text ? strtoul(text, NULL, base) : 0;

	return value <= UINT32_MAX ? (unsigned)value : 0;
}

/* "8.0 GT/s PCIe", "Unknown" */
static double read_speed(struct root *root, const char *folder, const char *name)
{
	auto_free char *text = read_in(root, folder, name);
	double value = text ? strtod(text, NULL) : 0;

	return value > 0 && value < 1000 ? value : 0;
}

static void look_at_link(struct root *root, const char *folder, struct machine_pci *pci)
{
	/* A GPU that sleeps is left asleep, and its link says nothing. */
	if (strcmp(pci->runtime, "suspended") == 0)
		return;
	pci->link_width = read_number(root, folder, "current_link_width", 10);
	pci->link_width_max = read_number(root, folder, "max_link_width", 10);
	pci->link_gts = read_speed(root, folder, "current_link_speed");
	pci->link_gts_max = read_speed(root, folder, "max_link_speed");
	/* 63 and 255 lanes are what a device that does not answer reads as. */
	if (pci->link_width > 32 || pci->link_width_max > 32)
		pci->link_width = pci->link_width_max = 0;
}

static bool look_at_device(struct root *root, const char *name, struct machine_pci *ret_pci)
{
	auto_free char *folder = mem_printf("/sys/bus/pci/devices/%s", name);
	auto_free char *vendor = read_in(root, folder, "vendor");
	auto_free char *class = NULL, *link = NULL, *driver = NULL, *boot = NULL, *runtime = NULL;
	struct machine_pci pci = {};

	if (!vendor || strcmp(vendor, "0x10de") != 0)
		return false;
	class = read_in(root, folder, "class");
	if (!class || (!text_starts_with(class, "0x0300") && !text_starts_with(class, "0x0302")))
		return false;
	(void)snprintf(pci.address, sizeof pci.address, "%.15s", name);
	pci.device = read_number(root, folder, "device", 16);
	boot = read_in(root, folder, "boot_vga");
	pci.display = text_starts_with(class, "0x0300") && boot && *boot == '1';
	link = mem_printf("%s/driver", folder);
	if (root_link(root, link, &driver) == 0)
		(void)snprintf(pci.driver, sizeof pci.driver, "%s", base_name(driver));
	runtime = read_in(root, folder, "power/runtime_status");
	if (runtime)
		(void)snprintf(pci.runtime, sizeof pci.runtime, "%s", runtime);
	look_at_link(root, folder, &pci);
	*ret_pci = pci;
	return true;
}

static void look_at_pci(struct root *root, struct machine *machine)
{
	auto_strings struct strings names = {};
	size_t room = 0;

	machine->pci_known = root_list(root, "/sys/bus/pci/devices", "*", &names) == 0;
	for (size_t i = 0; i < names.n && machine->n_pci < PCI_MAX; i++) {
		struct machine_pci pci;

		if (!look_at_device(root, names.items[i], &pci))
			continue;
		ARRAY_GROW(machine->pci, machine->n_pci, room);
		machine->pci[machine->n_pci++] = pci;
	}
}

/* --- the kernel and its modules --- */

static bool has_module(const char *modules, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = modules; line && *line;) {
		if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == '\0'))
			return true;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

/* What stands after "KEY:" at the start of a line. New; NULL: no such line. */
static char *value_of(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line;) {
		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			line += len + 1;
			line += strspn(line, " \t");
			return mem_strndup(line, strcspn(line, "\n"));
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return NULL;
}

static void look_at_module_on_disk(struct root *root, struct machine *machine)
{
	auto_free char *text = NULL, *version = NULL;

	if (root_ask(root, ROOT_MODINFO, &text) < 0)
		return;
	machine->module_on_disk_known = true;
	version = value_of(text, "version");
	if (version)
		machine->module_on_disk = version_parse(version);
}

static void look_at_headers(struct root *root, struct machine *machine)
{
	auto_free char *modules = mem_printf("/lib/modules/%s", machine->release);
	auto_free char *build = mem_printf("%s/build", modules);
	auto_strings struct strings trees = {};

	machine->headers_known = *machine->release && root_exists(root, modules);
	machine->headers_there = machine->headers_known && root_exists(root, build);
	machine->dkms_nvidia =
	    root_list(root, "/var/lib/dkms", "nvidia*", &trees) == 0 && trees.n > 0;
}

/* The variable is 4 bytes of attributes and 1 byte that is 1 when Secure Boot is on. */
static void look_at_secure_boot(struct root *root, struct machine *machine)
{
	static const char *const path =
	    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
	auto_free char *text = NULL;
	int r;

	if (!root_exists(root, "/sys/firmware/efi")) {
		machine->secure_boot_known = root_exists(root, "/sys/firmware");
		return;
	}
	r = root_read(root, path, &text);
	machine->secure_boot_known = r == 0 || r == -ENOENT;
	machine->secure_boot = r == 0 && text_ends_with(text, "\\x01");
}

static void look_at_kernel(struct root *root, struct machine *machine)
{
	auto_free char *release = read_or_null(root, "/proc/sys/kernel/osrelease");
	auto_free char *modules = read_or_null(root, "/proc/modules");
	auto_free char *loaded = read_or_null(root, "/proc/driver/nvidia/version");
	auto_free char *compatible = read_or_null(root, "/proc/device-tree/compatible");

	if (release)
		(void)snprintf(machine->release, sizeof machine->release, "%s", release);
	machine->wsl = strcasestr(machine->release, "microsoft");
	machine->jetson = (compatible && strstr(compatible, "nvidia,tegra")) ||
			  root_exists(root, "/etc/nv_tegra_release");
	machine->modules_known = modules;
	machine->nvidia_loaded = has_module(modules, "nvidia");
	machine->nvidia_uvm_loaded = has_module(modules, "nvidia_uvm");
	machine->nouveau_loaded = has_module(modules, "nouveau");
	if (loaded)
		machine->module_loaded = version_of_module(loaded, &machine->module_open);
	look_at_module_on_disk(root, machine);
	look_at_headers(root, machine);
	look_at_secure_boot(root, machine);
}

/* --- libraries --- */

static void add_folder(struct strings *folders, const char *folder)
{
	if (*folder != '/' || folders->n == FOLDERS_MAX || strstr(folder, "i386") ||
	    strstr(folder, "lib32") || strstr(folder, "i686"))
		return;
	for (size_t i = 0; i < folders->n; i++)
		if (strcmp(folders->items[i], folder) == 0)
			return;
	strings_add(folders, folder);
}

/* The lines of a file of /etc/ld.so.conf.d. */
static void add_folders_of(struct root *root, const char *path, struct strings *folders)
{
	auto_free char *text = read_or_null(root, path);
	char *rest = text;

	for (char *line; rest && (line = strsep(&rest, "\n"));) {
		line += strspn(line, " \t");
		line[strcspn(line, "# \t")] = '\0';
		add_folder(folders, line);
	}
}

/* Where the loader looks. */
static void loader_folders(struct root *root, struct strings *folders)
{
	static const char *const usual[] = {"/usr/lib/x86_64-linux-gnu",
					    "/usr/lib/aarch64-linux-gnu",
					    "/usr/lib64",
					    "/usr/lib",
					    "/usr/local/lib",
					    "/usr/lib/wsl/lib",
					    "/run/opengl-driver/lib"};
	static const char *const unmerged[] = {"/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
					       "/lib64"};
	auto_strings struct strings files = {};
	auto_free char *merged = NULL;

	if (root_list(root, "/etc/ld.so.conf.d", "*.conf", &files) == 0)
		for (size_t i = 0; i < files.n; i++) {
			auto_free char *path = mem_printf("/etc/ld.so.conf.d/%s", files.items[i]);

			add_folders_of(root, path, folders);
		}
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		add_folder(folders, usual[i]);
	if (root_link(root, "/lib", &merged) < 0) {
		for (size_t i = 0; i < ARRAY_LEN(unmerged); i++)
			add_folder(folders, unmerged[i]);
		return;
	}
	/* /lib is /usr/lib: the same files by two names. */
	for (size_t i = 0; i < folders->n;)
		if (text_starts_with(folders->items[i], "/lib")) {
			free(folders->items[i]);
			memmove(&folders->items[i], &folders->items[i + 1],
				(folders->n-- - i) * sizeof *folders->items);
		} else {
			i++;
		}
}

/* Where a link ends; folders on the way are taken as they are written. New. */
static char *end_of_link(struct root *root, const char *path)
{
	char *at = mem_strdup(path);

	for (unsigned i = 0; i < LINKS_MAX; i++) {
		auto_free char *target = NULL;
		char *slash = strrchr(at, '/'), *next;

		if (root_link(root, at, &target) < 0)
			break;
		next = *target == '/' ? mem_strdup(target)
				      : mem_printf("%.*s/%s", (int)(slash - at), at, target);
		free(at);
		at = next;
	}
	return at;
}

static struct machine_library *library_at(struct machine *machine, const char *path)
{
	for (size_t i = 0; i < machine->n_libraries; i++)
		if (strcmp(machine->libraries[i].path, path) == 0)
			return &machine->libraries[i];
	return NULL;
}

static void add_library(struct root *root, struct machine *machine, const char *path,
			bool is_default)
{
	auto_free char *end = end_of_link(root, path);
	struct machine_library *library = library_at(machine, end);
	const char *version = strstr(base_name(end), ".so.");

	if (!library) {
		if (machine->n_libraries == LIBRARIES_MAX || !root_exists(root, end))
			return;
		machine->libraries =
		    mem_realloc(machine->libraries, machine->n_libraries + 1, sizeof *library);
		library = &machine->libraries[machine->n_libraries++];
		*library = (struct machine_library){
		    .is_cuda = text_starts_with(base_name(end), "libcuda"),
		    .is_compat = strstr(end, "/compat"),
		    .version =
			version ? version_parse(version + strlen(".so.")) : (struct version){},
		};
		/* "libcuda.so.1.1" of Jetson and WSL is no version of a driver. */
		if (library->version.parts[0] < DRIVER_BRANCH_MIN)
			library->version = (struct version){};
		library->path = TAKE(end);
	}
	library->is_default |= is_default;
}

static void look_in_folder(struct root *root, const char *folder, bool of_loader,
			   struct machine *machine)
{
	static const char *const patterns[] = {"libnvidia-ml.so.*", "libcuda.so.*"};

	for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
		auto_strings struct strings names = {};

		if (root_list(root, folder, patterns[i], &names) < 0)
			return;
		for (size_t k = 0; k < names.n; k++) {
			auto_free char *path = mem_printf("%s/%s", folder, names.items[k]);

			add_library(root, machine, path,
				    of_loader && text_ends_with(path, ".so.1"));
		}
	}
}

static void look_at_libraries(struct root *root, struct machine *machine)
{
	static const char *const hidden[] = {"/usr/lib/x86_64-linux-gnu/nvidia/current",
					     "/usr/local/cuda/compat", "/usr/lib/nvidia"};
	auto_strings struct strings folders = {};

	loader_folders(root, &folders);
	for (size_t i = 0; i < folders.n; i++)
		look_in_folder(root, folders.items[i], true, machine);
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
		look_in_folder(root, hidden[i], false, machine);
}

/* --- answers --- */

static void look_at_gpus(struct root *root, struct machine *machine)
{
	auto_json json_t *json = ask_json(root, ROOT_NVML);

	if (!json || gpu_details_list_from_json(json, &machine->gpus, &machine->details, NULL) < 0)
		machine->gpus = gpu_list_create();
}

static void look_at_memory(struct root *root, struct machine *machine)
{
	auto_free char *text = read_or_null(root, "/proc/meminfo");
	auto_free char *ram = text ? value_of(text, "MemTotal") : NULL;
	auto_free char *swap = text ? value_of(text, "SwapTotal") : NULL;

	machine->ram_total_bytes = ram ? strtoull(ram, NULL, 10) * KIB : 0;
	machine->swap_total_bytes = swap ? strtoull(swap, NULL, 10) * KIB : 0;
}

static void look_at_answers(struct root *root, struct machine *machine)
{
	auto_free char *log = NULL;

	look_at_gpus(root, machine);
	machine->devices = ask_json(root, ROOT_DEVICES);
	machine->engine = ask_json(root, ROOT_ENGINE);
	machine->containers = ask_json(root, ROOT_CONTAINERS);
	machine->user = ask_json(root, ROOT_USER);
	machine->disks = ask_json(root, ROOT_DISKS);
	if (root_ask(root, ROOT_CTK, &machine->ctk) < 0)
		machine->ctk = NULL;
	machine->log_known = root_ask(root, ROOT_KERNEL_LOG, &log) == 0 && *log;
	machine->log_text = TAKE(log);
	if (machine->log_known)
		kernel_lines_read(machine->log_text, &machine->log);
}

int machine_look(struct root *root, struct machine **ret_machine, struct error *err)
{
	auto_machine struct machine *machine = mem_calloc(1, sizeof *machine);
	int r = xid_table_load(NULL, &machine->xids, err);

	if (r < 0)
		return r;
	machine->root = root;
	look_at_kernel(root, machine);
	look_at_pci(root, machine);
	look_at_libraries(root, machine);
	look_at_memory(root, machine);
	look_at_answers(root, machine);
	*ret_machine = TAKE(machine);
	return 0;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	for (size_t i = 0; i < machine->n_libraries; i++)
		free(machine->libraries[i].path);
	free(machine->libraries);
	free(machine->pci);
	free(machine->log_text);
	kernel_lines_finish(&machine->log);
	xid_table_destroy(machine->xids);
	gpu_list_destroy(machine->gpus);
	free(machine->details);
	json_decref(machine->devices);
	json_decref(machine->engine);
	json_decref(machine->containers);
	json_decref(machine->user);
	json_decref(machine->disks);
	free(machine->ctk);
	free(machine);
}

const struct machine_library *machine_default_library(const struct machine *machine, bool cuda)
{
	for (size_t i = 0; i < machine->n_libraries; i++)
		if (machine->libraries[i].is_cuda == cuda && machine->libraries[i].is_default)
			return &machine->libraries[i];
	return NULL;
}

/* 8 portable, 9 laptop, 10 notebook, 14 sub-notebook, 31 convertible, 32 detachable (SMBIOS). */
bool machine_is_laptop(const struct machine *machine)
{
	static const unsigned types[] = {8, 9, 10, 14, 31, 32};
	auto_free char *text = NULL;

	if (root_read(machine->root, "/sys/class/dmi/id/chassis_type", &text) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strtoul(text, NULL, 10) == types[i])
			return true;
	return false;
}
