/* What CUDA the driver is for, and GPUs that it is too new for: see doctor/compat.h. */
#include "doctor/checks.h"

#include <string.h>

static struct version driver_version(const struct machine *machine)
{
	return machine->module_loaded.n ? machine->module_loaded
					: version_parse(machine->gpus->driver_version);
}

const char *checks_dropped(const struct doctor *doctor, const struct machine_pci *pci,
			   unsigned *ret_last_branch)
{
	struct version driver = driver_version(doctor->machine);
	unsigned capability = compat_chip(doctor->compat, pci->device);

	*ret_last_branch = compat_last_branch(doctor->compat, capability);
	if (*pci->driver || driver.n == 0 || *ret_last_branch == 0 ||
	    driver.parts[0] <= *ret_last_branch)
		return NULL;
	return compat_architecture(doctor->compat, capability);
}

static void say_dropped(const struct doctor *doctor, const struct machine_pci *pci,
			const char *architecture, unsigned last, struct doctor_result *result)
{
	struct version driver = driver_version(doctor->machine);

	doctor_say(result, DOCTOR_FAIL,
		   "%s: device %04x, %s: no driver after branch %u drives it, and %s is loaded",
		   pci->address, pci->device, architecture, last, VERSION_TEXT(&driver));
	doctor_because(result,
		       "the driver is too new for this GPU: its architecture was dropped after "
		       "branch %u",
		       last);
	doctor_fix(result,
		   "# install the driver of branch %u, with proprietary modules; it drives the "
		   "newer GPUs of this machine too, unless one needs open modules (RTX 50): then "
		   "the two cannot share a driver",
		   last);
	doctor_fix(result, "apt-cache search nvidia-driver-%u   # dnf: dnf search akmod-nvidia-%u",
		   last, last);
}

static void look_cuda(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	struct version driver = driver_version(machine);
	struct version cuda = compat_driver_cuda(doctor->compat, &driver);
	int told = machine->gpus->cuda_version;

	if (driver.n == 0 || machine->jetson)
		return;
	if (told > 0)
		doctor_say(result, DOCTOR_OK, "driver %s is for CUDA up to %d.%d",
			   VERSION_TEXT(&driver), told / 1000, told % 1000 / 10);
	else if (cuda.n > 0)
		doctor_say(result, DOCTOR_OK, "driver %s is for CUDA up to %s, by its branch",
			   VERSION_TEXT(&driver), VERSION_TEXT(&cuda));
	for (size_t i = 0; i < machine->gpus->n; i++) {
		const struct gpu *gpu = &machine->gpus->gpus[i];
		unsigned last = compat_last_branch(doctor->compat, gpu->compute_capability);

		if (gpu->compute_capability && last)
			doctor_say(result, DOCTOR_OK,
				   "%s is %s: drivers up to branch %u, no CUDA "
				   "13",
				   gpu->name,
				   compat_architecture(doctor->compat, gpu->compute_capability),
				   last);
	}
	for (size_t i = 0; i < machine->n_pci; i++) {
		unsigned last = 0;
		const char *architecture = checks_dropped(doctor, &machine->pci[i], &last);

		if (architecture)
			say_dropped(doctor, &machine->pci[i], architecture, last, result);
	}
}

static const struct doctor_check check_cuda = {
    .id = "driver-cuda",
    .group = "driver",
    .title = "the highest CUDA of the driver, and GPUs it is too new for",
    .text = "The driver has dropped a GPU's architecture (after 580: Maxwell, Pascal, Volta)",
    .look = look_cuda,
};

const struct doctor_check *const checks_cuda[] = {&check_cuda, NULL};
