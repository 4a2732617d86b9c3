/*
 * The driver: is there a GPU, what drives it, do its parts fit each other. One fault is told by one
 * check: what follows from it (no module, so no nodes, so no NVML) is skipped by the others.
 */
#include "doctor/checks.h"

#include "doctor/distro.h"

#include <string.h>

/* --- what several ask --- */

static bool nvml_answers(const struct machine *machine)
{
	return machine->gpus->state == GPU_SOURCE_OK || machine->gpus->state == GPU_SOURCE_NO_GPUS;
}

/* GPUs whose work is this machine's own: not those given to virtual machines. */
static size_t n_own(const struct machine *machine)
{
	size_t n = 0;

	for (size_t i = 0; i < machine->n_pci; i++)
		n += strcmp(machine->pci[i].driver, "vfio-pci") != 0;
	return n;
}

static bool is_driven_by(const struct machine *machine, const char *driver)
{
	for (size_t i = 0; i < machine->n_pci; i++)
		if (strcmp(machine->pci[i].driver, driver) == 0)
			return true;
	return false;
}

static bool is_loaded(const struct machine *machine)
{
	return machine->nvidia_loaded || machine->module_loaded.n > 0;
}

/* Is there a GPU at all, by any sign? */
static bool has_gpu(const struct machine *machine)
{
	return n_own(machine) > 0 || machine->jetson ||
	       (nvml_answers(machine) && machine->gpus->n > 0);
}

/* The driver's version, from wherever it is known. */
static struct version driver_version(const struct machine *machine)
{
	return machine->module_loaded.n ? machine->module_loaded
					: version_parse(machine->gpus->driver_version);
}

static bool log_has(const struct machine *machine, const char *words)
{
	return machine->log_text && strstr(machine->log_text, words);
}

/* --- gpu-present --- */

static void say_pci(const struct machine *machine, struct doctor_result *result)
{
	for (size_t i = 0; i < machine->n_pci; i++) {
		const struct machine_pci *pci = &machine->pci[i];

		doctor_say(result, DOCTOR_OK, "%s: NVIDIA device %04x, driver %s%s", pci->address,
			   pci->device, *pci->driver ? pci->driver : "none",
			   strcmp(pci->runtime, "suspended") == 0 ? ", asleep" : "");
	}
}

static void look_present(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;

	say_pci(machine, result);
	if (machine->n_pci > 0 && n_own(machine) == 0)
		doctor_say(result, DOCTOR_SKIPPED, "given to virtual machines (vfio-pci)");
	if (has_gpu(machine)) {
		if (machine->n_pci == 0 && machine->jetson)
			doctor_say(result, DOCTOR_OK, "an integrated GPU (Jetson)");
		else if (machine->n_pci == 0)
			doctor_say(result, DOCTOR_OK,
				   "%zu GPU%s by NVML, none on this machine's PCI bus",
				   machine->gpus->n, PLURAL(machine->gpus->n));
		return;
	}
	if (doctor->purpose == DOCTOR_FOR_NONE) {
		doctor_say(result, DOCTOR_SKIPPED, "no NVIDIA GPU, and none is asked for");
		return;
	}
	if (!machine->pci_known && machine->n_pci == 0) {
		doctor_say(result, DOCTOR_UNKNOWN,
			   "the PCI bus cannot be looked at (/sys/bus/pci/devices)");
		return;
	}
	if (machine->n_pci > 0)
		return;
	doctor_say(result, DOCTOR_FAIL, "no NVIDIA device on the PCI bus");
	if (machine->n_libraries > 0)
		doctor_say(result, DOCTOR_FAIL, "the driver's libraries are installed: %s",
			   machine->libraries[0].path);
	doctor_because(result, "this machine has no NVIDIA GPU, or none that it can see");
	doctor_fix(result, "# if there is one: power off, look at its seat and its power cables;");
	doctor_fix(result, "# in a virtual machine: pass it through; on a laptop: switch it on in "
			   "the firmware's setup");
	doctor_fix(result, "lspci -nn | grep -i -e vga -e 3d");
	doctor_fix(result, "# if there is to be none: plimsoll doctor --for none");
}

/* --- driver-nouveau --- */

static void look_nouveau(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;

	if (n_own(machine) == 0)
		return;
	if (!is_driven_by(machine, "nouveau")) {
		doctor_say(result, DOCTOR_OK, "nouveau drives no GPU");
		return;
	}
	for (size_t i = 0; i < machine->n_pci; i++)
		if (strcmp(machine->pci[i].driver, "nouveau") == 0)
			doctor_say(result, DOCTOR_FAIL, "%s is driven by nouveau",
				   machine->pci[i].address);
	doctor_because(result, "the kernel's own driver, nouveau, has the GPU: it has no CUDA, and "
			       "NVIDIA's cannot take the GPU from it");
	if (machine->module_on_disk_known && machine->module_on_disk.n == 0)
		distro_fix_driver(machine, result);
	doctor_fix(result, "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' | sudo tee "
			   "/etc/modprobe.d/blacklist-nouveau.conf");
	distro_fix_initramfs(machine, result);
	doctor_fix(result, "sudo reboot");
}

/* --- driver-module --- */

static void no_module_for_kernel(const struct machine *machine, struct doctor_result *result)
{
	doctor_say(result, DOCTOR_FAIL, "no module \"nvidia\" for kernel %s", machine->release);
	if (machine->dkms_nvidia && machine->headers_known && !machine->headers_there) {
		doctor_say(result, DOCTOR_FAIL, "/lib/modules/%s/build is not there",
			   machine->release);
		doctor_because(result,
			       "the kernel was updated without its headers, so DKMS could not "
			       "build the driver's module for it");
		distro_fix_headers(machine, result);
		doctor_fix(result, "sudo dkms autoinstall -k %s", machine->release);
		doctor_fix(result, "sudo modprobe nvidia");
	} else if (machine->dkms_nvidia) {
		doctor_because(result, "DKMS has the driver's sources and did not build them for "
				       "this kernel");
		doctor_fix(result, "dkms status");
		doctor_fix(result, "sudo dkms autoinstall -k %s", machine->release);
		doctor_fix(result,
			   "# when that fails: the end of /var/lib/dkms/nvidia/*/build/make.log");
		doctor_fix(result, "sudo modprobe nvidia");
	} else if (machine->n_libraries > 0) {
		doctor_because(result, "the driver's libraries are installed, its module is not "
				       "for this kernel: the kernel was updated without it");
		distro_fix_headers(machine, result);
		distro_fix_driver(machine, result);
		doctor_fix(result, "sudo reboot");
	} else {
		doctor_because(result, "NVIDIA's driver is not installed");
		distro_fix_driver(machine, result);
		doctor_fix(result, "sudo reboot");
	}
}

static void refused_by_secure_boot(struct doctor_result *result)
{
	doctor_say(result, DOCTOR_FAIL, "Secure Boot is on");
	doctor_because(result, "Secure Boot refuses a module that is signed with no key of this "
			       "machine: the one DKMS signed with is not enrolled");
	doctor_fix(result, "# Ubuntu: /var/lib/shim-signed/mok/MOK.der; elsewhere "
			   "/var/lib/dkms/mok.pub. It asks for a password to be made up:");
	doctor_fix(result, "sudo mokutil --import /var/lib/shim-signed/mok/MOK.der");
	doctor_fix(result, "sudo reboot");
	doctor_fix(result, "# at the blue screen: Enroll MOK, Continue, that password");
	doctor_fix(result, "# or switch Secure Boot off in the firmware's setup");
}

/* The file that blacklists the module; "": none. */
static void find_blacklist(const struct machine *machine, struct text *ret_path)
{
	static const char *const folders[] = {"/etc/modprobe.d", "/usr/lib/modprobe.d",
					      "/lib/modprobe.d"};

	for (size_t i = 0; i < ARRAY_LEN(folders) && !ret_path->len; i++) {
		auto_strings struct strings names = {};

		if (root_list(machine->root, folders[i], "*.conf", &names) < 0)
			continue;
		for (size_t k = 0; k < names.n && !ret_path->len; k++) {
			auto_free char *path = mem_printf("%s/%s", folders[i], names.items[k]);
			auto_free char *text = NULL;
			char *rest;

			if (root_read(machine->root, path, &text) < 0)
				continue;
			rest = text;
			for (char *line; (line = strsep(&rest, "\n"));)
				if (strcmp(line, "blacklist nvidia") == 0 ||
				    strcmp(line, "alias nvidia off") == 0 ||
				    text_starts_with(line, "install nvidia /bin/false"))
					text_printf(ret_path, "%s", ret_path->len ? "" : path);
		}
	}
}

static void not_loaded(const struct machine *machine, struct doctor_result *result)
{
	auto_text struct text blacklist = {};

	if (machine->module_on_disk.n)
		doctor_say(result, DOCTOR_FAIL, "module %s is on disk for kernel %s and not loaded",
			   VERSION_TEXT(&machine->module_on_disk), machine->release);
	else
		doctor_say(result, DOCTOR_FAIL, "the module \"nvidia\" is not loaded");
	find_blacklist(machine, &blacklist);
	if (machine->secure_boot && (!blacklist.len || log_has(machine, "Key was rejected") ||
				     log_has(machine, "unsigned module"))) {
		refused_by_secure_boot(result);
		return;
	}
	if (blacklist.len) {
		doctor_say(result, DOCTOR_FAIL, "%s keeps it from being loaded", blacklist.data);
		doctor_because(result, "the module is blacklisted: by hand, or by `prime-select "
				       "intel`, which switches the GPU off");
		doctor_fix(result, "sudo prime-select on-demand   # where there is prime-select");
		doctor_fix(result, "sudo rm %s   # where there is none", blacklist.data);
		distro_fix_initramfs(machine, result);
		doctor_fix(result, "sudo reboot");
		return;
	}
	doctor_because(result, "nothing loaded the driver's module");
	doctor_fix(result, "sudo modprobe nvidia");
	doctor_fix(result, "# when that fails, why: sudo dmesg | grep -i -e nvrm -e nvidia | tail");
}

/* It is loaded, and has left a GPU alone. The kernel's log says why. */
static void not_taken(const struct machine *machine, const struct machine_pci *pci,
		      struct doctor_result *result)
{
	doctor_say(result, DOCTOR_FAIL, "%s has no driver, though the module %s is loaded",
		   pci->address, VERSION_TEXT(&machine->module_loaded));
	if (log_has(machine, "is not supported by open") ||
	    log_has(machine, "not supported by the open")) {
		doctor_because(result, "the open kernel modules drive Turing (RTX 20) and newer; "
				       "this GPU is older");
		doctor_fix(result, "# install the proprietary modules of the same driver (580 is "
				   "the last for Maxwell, Pascal and Volta)");
	} else if (log_has(machine, "requires use of the NVIDIA open") ||
		   log_has(machine, "requires the NVIDIA open")) {
		doctor_because(result, "this GPU (Blackwell) needs the open kernel modules");
		doctor_fix(result, "# install the open modules of the same driver: "
				   "nvidia-driver-NNN-open");
	} else if (log_has(machine, "Legacy drivers")) {
		doctor_because(result, "this driver no longer supports the GPU; the kernel's log "
				       "names the legacy driver that does");
		doctor_fix(result, "sudo dmesg | grep -A4 'Legacy'");
	} else if (log_has(machine, "RmInitAdapter failed")) {
		doctor_because(result, "the driver could not initialise the GPU (RmInitAdapter "
				       "failed): power, seat, or the GPU itself");
		doctor_fix(result, "# power the machine off fully; look at seat and power cables");
	} else {
		doctor_because(result,
			       "the driver did not take the GPU; the kernel's log says why");
		doctor_fix(result, "sudo dmesg | grep -i nvrm | tail -20");
	}
}

static void look_module(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;

	if (n_own(machine) == 0 || machine->jetson || is_driven_by(machine, "nouveau"))
		return;
	if (!is_loaded(machine) && !machine->modules_known) {
		doctor_say(result, DOCTOR_UNKNOWN, "/proc/modules cannot be read");
		return;
	}
	if (!is_loaded(machine)) {
		if (machine->module_on_disk_known && machine->module_on_disk.n == 0)
			no_module_for_kernel(machine, result);
		else
			not_loaded(machine, result);
		return;
	}
	doctor_say(result, DOCTOR_OK, "module %s (%s) is loaded",
		   VERSION_TEXT(&machine->module_loaded),
		   machine->module_open ? "open" : "proprietary");
	for (size_t i = 0; i < machine->n_pci; i++) {
		unsigned last;

		if (!*machine->pci[i].driver && !checks_dropped(doctor, &machine->pci[i], &last))
			not_taken(machine, &machine->pci[i], result);
	}
}

/* --- driver-version --- */

static void look_version(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const struct version *least = &doctor->needs->driver;
	struct version version = driver_version(machine);

	if (version.n == 0 || machine->jetson)
		return;
	if (version_compare(&version, least) >= 0) {
		doctor_say(result, DOCTOR_OK, "driver %s, at least %s is needed",
			   VERSION_TEXT(&version), VERSION_TEXT(least));
		return;
	}
	doctor_say(result, DOCTOR_FAIL, "driver %s, at least %s is needed", VERSION_TEXT(&version),
		   VERSION_TEXT(least));
	doctor_because(result, "the driver is too old for current CUDA 12 programs and containers");
	distro_fix_driver(machine, result);
	doctor_fix(result, "sudo reboot");
}

/* --- driver-library-mismatch --- */

static bool differs(const struct machine *machine, const struct machine_library *library)
{
	return library && library->version.n > 0 && machine->module_loaded.n > 0 &&
	       !version_agrees(&library->version, &machine->module_loaded);
}

static void say_parts(const struct machine *machine, enum doctor_status status,
		      struct doctor_result *result)
{
	doctor_say(result, status, "the kernel's module: %s",
		   VERSION_TEXT(&machine->module_loaded));
	if (machine->module_on_disk.n)
		doctor_say(result, status, "the module on disk: %s",
			   VERSION_TEXT(&machine->module_on_disk));
	for (int cuda = 0; cuda <= 1; cuda++) {
		const struct machine_library *library = machine_default_library(machine, cuda);

		if (library)
			doctor_say(result, status, "%s: %s (%s)",
				   cuda ? "libcuda.so.1" : "libnvidia-ml.so.1",
				   VERSION_TEXT(&library->version), library->path);
	}
}

/* DKMS did not build what the libraries are of; else the new module only waits to be loaded. */
static void mend_mismatch(const struct machine *machine, const struct machine_library *library,
			  struct doctor_result *result)
{
	if (machine->module_on_disk.n && library &&
	    !version_agrees(&machine->module_on_disk, &library->version)) {
		doctor_because(result, "the module of the new driver is not on disk either: a "
				       "reboot alone would not help");
		if (machine->headers_known && !machine->headers_there)
			distro_fix_headers(machine, result);
		doctor_fix(result, "sudo dkms autoinstall -k %s", machine->release);
	}
	doctor_fix(result, "sudo reboot");
	doctor_fix(result, "# or, without one: stop what uses the GPU, then load the new module");
	doctor_fix(result, "sudo lsof /dev/nvidia*");
	doctor_fix(result, "sudo systemctl stop display-manager nvidia-persistenced");
	doctor_fix(result, "sudo rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia && nvidia-smi");
	doctor_fix(result, "# so that it does not come again: sudo apt-mark hold "
			   "'nvidia-driver-*', or \"nvidia-\" and \"libnvidia-\" in "
			   "Unattended-Upgrade::Package-Blacklist");
}

static void look_mismatch(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const struct machine_library *ml = machine_default_library(machine, false);
	const struct machine_library *cuda = machine_default_library(machine, true);
	bool wrong = differs(machine, ml) || differs(machine, cuda) ||
		     machine->gpus->state == GPU_SOURCE_MISMATCH;

	if (wrong) {
		say_parts(machine, DOCTOR_FAIL, result);
		if (machine->gpus->state == GPU_SOURCE_MISMATCH)
			doctor_say(result, DOCTOR_FAIL, "NVML: driver/library version mismatch");
		doctor_because(result,
			       "the driver's libraries were upgraded while its old module was "
			       "loaded. Programs that run on a GPU go on; what starts now fails");
		mend_mismatch(machine, differs(machine, ml) ? ml : cuda, result);
		return;
	}
	if (machine->module_loaded.n == 0 || (!ml && !cuda))
		return;
	say_parts(machine, DOCTOR_OK, result);
	if (machine->module_on_disk.n &&
	    !version_agrees(&machine->module_on_disk, &machine->module_loaded)) {
		doctor_say(result, DOCTOR_WARN, "the next boot loads %s",
			   VERSION_TEXT(&machine->module_on_disk));
		doctor_because(result, "the module on disk is of another version than the "
				       "libraries: after a reboot nothing would start on a GPU");
		doctor_fix(result, "dkms status");
		distro_fix_driver(machine, result);
	}
}

/* --- driver-libraries --- */

static void missing_library(const struct machine *machine, const char *name, const char *what,
			    struct doctor_result *result)
{
	doctor_say(result, DOCTOR_FAIL, "%s is not where the loader looks", name);
	doctor_because(result, "%s", what);
	if (root_exists(machine->root, "/.dockerenv") ||
	    root_exists(machine->root, "/run/.containerenv"))
		doctor_fix(result, "# this is a container: start it with --gpus all and -e "
				   "NVIDIA_DRIVER_CAPABILITIES=compute,utility");
	else
		distro_fix_compute(machine, machine->module_loaded.parts[0], result);
}

/* Several versions of one library, where each would be found. */
static void look_for_second(const struct machine *machine, bool cuda, struct doctor_result *result)
{
	const struct machine_library *first = NULL;

	for (size_t i = 0; i < machine->n_libraries; i++) {
		const struct machine_library *library = &machine->libraries[i];

		if (library->is_cuda != cuda || library->is_compat || library->version.n == 0)
			continue;
		if (!first) {
			first = library;
			continue;
		}
		if (version_agrees(&first->version, &library->version))
			continue;
		doctor_say(result, DOCTOR_WARN, "%s and %s", first->path, library->path);
		doctor_because(result,
			       "two versions of one library of the driver lie side by side: which "
			       "one a program gets is chance (a .run installer beside packages?)");
		doctor_fix(result, "dpkg -S %s %s   # the one of no package is to go", first->path,
			   library->path);
		doctor_fix(result, "sudo ldconfig");
	}
}

static void look_libraries(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const struct machine_library *ml = machine_default_library(machine, false);
	const struct machine_library *cuda = machine_default_library(machine, true);

	if (!is_loaded(machine) || machine->jetson)
		return;
	if (!ml && nvml_answers(machine)) {
		doctor_say(result, DOCTOR_OK,
			   "NVML answers, from elsewhere than the usual folders");
		return;
	}
	if (!ml)
		missing_library(machine, "libnvidia-ml.so.1",
				"the driver's management library is not installed", result);
	if (!cuda)
		missing_library(
		    machine, "libcuda.so.1",
		    "the driver was installed without CUDA: programs see no GPU, though "
		    "nvidia-smi does",
		    result);
	if (ml && cuda)
		doctor_say(result, DOCTOR_OK, "%s, %s", ml->path, cuda->path);
	/* While the module is of another version, an upgrade is half done: the other check tells.
	 */
	if (differs(machine, ml) || differs(machine, cuda))
		return;
	look_for_second(machine, false, result);
	look_for_second(machine, true, result);
}

/* --- device nodes --- */

static const json_t *device_find(const struct machine *machine, const char *path)
{
	const json_t *device;
	size_t i;

	json_array_foreach (machine->devices, i, device)
		if (strcmp(jsonx_get_string(device, "path", ""), path) == 0)
			return device;
	return NULL;
}

static size_t n_driven(const struct machine *machine)
{
	size_t n = 0;

	for (size_t i = 0; i < machine->n_pci; i++)
		n += strcmp(machine->pci[i].driver, "nvidia") == 0;
	return n;
}

static void look_nodes(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const bool makes = root_exists(machine->root, "/usr/bin/nvidia-modprobe");
	size_t n = n_driven(machine), n_nodes = 0, missing = 0;
	static const char *const always[] = {"/dev/nvidiactl", "/dev/nvidia-uvm"};

	if (!machine->devices || !is_loaded(machine) || machine->jetson || n == 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		if (!device_find(machine, always[i]) && ++missing)
			doctor_say(result, makes ? DOCTOR_OK : DOCTOR_FAIL, "%s is not there",
				   always[i]);
	/* Minor numbers need not be 0 to n - 1: a GPU may have gone. */
	for (unsigned minor = 0; minor < GPU_LIST_MAX; minor++) {
		auto_free char *path = mem_printf("/dev/nvidia%u", minor);

		n_nodes += device_find(machine, path) != NULL;
	}
	if (n_nodes < n && ++missing)
		doctor_say(result, makes ? DOCTOR_OK : DOCTOR_FAIL,
			   "%zu GPU%s, %zu of the nodes /dev/nvidia0, 1, ...", n, PLURAL(n),
			   n_nodes);
	if (missing == 0) {
		doctor_say(result, DOCTOR_OK,
			   "the nodes of %zu GPU%s, /dev/nvidiactl, "
			   "/dev/nvidia-uvm",
			   n, PLURAL(n));
		return;
	}
	if (makes) {
		doctor_say(result, DOCTOR_OK, "nvidia-modprobe makes them when they are wanted");
		return;
	}
	doctor_because(result, "the driver's device nodes are missing, and nvidia-modprobe, which "
			       "makes them for users, is not installed");
	doctor_fix(result, "sudo modprobe nvidia-uvm && sudo nvidia-smi");
	doctor_fix(result, "# for good: install nvidia-modprobe, or start nvidia-persistenced at "
			   "boot");
	doctor_fix(result, "sudo systemctl enable --now nvidia-persistenced");
}

static void look_permissions(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const json_t *device;
	size_t i, n = 0;

	if (!machine->devices || !is_loaded(machine))
		return;
	json_array_foreach (machine->devices, i, device) {
		const char *path = jsonx_get_string(device, "path", "");
		const char *mode = jsonx_get_string(device, "mode", "");
		const char *group = jsonx_get_string(device, "group", "");

		/* Capabilities of MIG are root's, modesetting the display's. */
		if (!text_starts_with(path, "/dev/nvidia") || strstr(path, "caps") ||
		    strstr(path, "modeset"))
			continue;
		n++;
		if (jsonx_get_bool(device, "usable", true))
			continue;
		doctor_say(result, DOCTOR_FAIL, "%s: mode %s, %s:%s; not for this user", path, mode,
			   jsonx_get_string(device, "user", "?"), group);
		doctor_because(result, "this user may not open the GPU's device nodes, so programs "
				       "of his see no GPU");
		if (strlen(mode) == 4 && (mode[2] == '6' || mode[2] == '7') && *group &&
		    strcmp(group, "root") != 0)
			doctor_fix(result, "sudo usermod -aG %s $USER   # then log in anew", group);
		else
			doctor_fix(result,
				   "echo 'options nvidia NVreg_DeviceFileMode=0666' | sudo tee "
				   "/etc/modprobe.d/nvidia-nodes.conf   # at the next boot; now: "
				   "sudo chmod 0666 /dev/nvidia[0-9]* /dev/nvidiactl "
				   "/dev/nvidia-uvm");
	}
	if (n > 0 && result->status == DOCTOR_OK)
		doctor_say(result, DOCTOR_OK, "this user may open %zu nodes", n);
}

/* --- driver-answers --- */

static void look_answers(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const struct gpu_list *gpus = machine->gpus;

	switch (gpus->state) {
	case GPU_SOURCE_OK:
		doctor_say(result, DOCTOR_OK, "%zu GPU%s, driver %s", gpus->n, PLURAL(gpus->n),
			   gpus->driver_version);
		break;
	case GPU_SOURCE_NO_GPUS:
		if (n_own(machine) == 0 || is_driven_by(machine, "nouveau"))
			break;
		doctor_say(result, DOCTOR_FAIL, "NVML has no GPU, the PCI bus has %zu",
			   n_own(machine));
		doctor_because(result, "the driver runs and could not bring the GPU up");
		doctor_fix(result, "sudo dmesg | grep -i nvrm | tail -20");
		break;
	case GPU_SOURCE_STALE:
		doctor_say(result, DOCTOR_FAIL, "%s", gpus->text);
		doctor_because(result,
			       "a call into the driver does not come back: every program on "
			       "the GPU will hang");
		doctor_fix(result, "sudo dmesg | grep -i -e nvrm -e xid | tail -20");
		doctor_fix(result, "sudo reboot");
		break;
	case GPU_SOURCE_ERROR:
	case GPU_SOURCE_NO_DRIVER:
		if (!is_loaded(machine))
			break;
		doctor_say(result, DOCTOR_FAIL, "%s", gpus->text);
		doctor_because(result, "the module is loaded, and NVML cannot reach it");
		doctor_fix(result, "sudo dmesg | grep -i nvrm | tail -20");
		doctor_fix(result, "sudo reboot");
		break;
	case GPU_SOURCE_NO_LIBRARY: /* driver-libraries tells */
	case GPU_SOURCE_MISMATCH:   /* driver-library-mismatch tells */
	case GPU_SOURCE_UNKNOWN:
		break;
	}
	if (result->evidence.len == 0)
		doctor_say(result, DOCTOR_SKIPPED, "NVML was not asked, or cannot answer");
}

#define CHECK(name, id_, title_, text_)                   \
	static const struct doctor_check check_##name = { \
	    .id = id_, .group = "driver", .title = title_, .text = text_, .look = look_##name}

CHECK(present, "gpu-present", "NVIDIA devices on the PCI bus",
      "There is no NVIDIA GPU, or it cannot be seen");
CHECK(nouveau, "driver-nouveau", "which driver has the GPUs",
      "The kernel's own driver, nouveau, holds a GPU: no CUDA");
CHECK(module, "driver-module", "the driver's kernel module",
      "It is not there for this kernel (headers missing after a kernel update, DKMS failed, no "
      "driver installed), not loaded, refused by Secure Boot, or does not take the GPU");
CHECK(version, "driver-version", "the driver's version, compared as numbers",
      "Older than what current CUDA 12 programs and containers need");
CHECK(mismatch, "driver-library-mismatch",
      "the loaded module's version against that of libnvidia-ml and libcuda, and of the module "
      "on disk",
      "The driver was upgraded under a loaded module: what runs goes on, what starts fails");
CHECK(libraries, "driver-libraries", "libnvidia-ml.so.1 and libcuda.so.1",
      "Missing, or there in two versions");
CHECK(nodes, "device-nodes", "/dev/nvidia*", "Missing, and nothing makes them");
CHECK(permissions, "device-permissions", "mode and owner of /dev/nvidia*",
      "This user may not open them");
CHECK(answers, "driver-answers", "NVML, asked with a deadline",
      "The driver hangs, or cannot be reached, or has brought no GPU up");

const struct doctor_check *const checks_driver[] = {
    &check_present,   &check_nouveau, &check_module,      &check_version, &check_mismatch,
    &check_libraries, &check_nodes,   &check_permissions, &check_answers, NULL,
};
