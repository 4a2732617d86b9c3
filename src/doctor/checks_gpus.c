/*
 * The GPUs, as NVML describes them: what they are, how they are set, how they are. A GPU of which
 * something is not known is not accused of it. What holds for each GPU is asked in one loop
 * (each_gpu), with MIG instances counted once for the GPU they are cut from.
 */
#include "doctor/checks.h"

#include "util/size.h"

#include <string.h>

#define REASON_HW_SLOWDOWN  0x08ull
#define REASON_SW_THERMAL   0x20ull
#define REASON_HW_THERMAL   0x40ull
#define REASON_POWER_BRAKE  0x80ull
#define BUSY_PERCENT        50 /* from here on a link is expected to be at its full speed */
#define POWER_LOW_PERCENT   95 /* of the default limit */
#define DESKTOP_LARGE_BYTES (2 * GIB)
#define GPU_TEXT_MAX        160
#define GPU_TEXT(gpu)       gpu_text((gpu), (char[GPU_TEXT_MAX]){0})

struct each {
	const struct doctor *doctor;
	struct doctor_result *result;
	const struct gpu *gpu;
	const struct gpu_details *details;
	const struct machine_pci *pci; /* NULL: not found */
	const char *name;
};

/* "GPU 0 (RTX A5500)" */
static const char *gpu_text(const struct gpu *gpu, char buf[GPU_TEXT_MAX])
{
	if (gpu->parent_uuid[0])
		(void)snprintf(buf, GPU_TEXT_MAX, "GPU %u:%u (%.100s)", gpu->index / 1000 - 1,
			       gpu->index % 1000, gpu_short_name(gpu->name));
	else if (gpu->name[0])
		(void)snprintf(buf, GPU_TEXT_MAX, "GPU %u (%.100s)", gpu->index,
			       gpu_short_name(gpu->name));
	else
		(void)snprintf(buf, GPU_TEXT_MAX, "GPU %u (%.40s)", gpu->index,
			       gpu->pci_bus_id[0] ? gpu->pci_bus_id : "nameless");
	return buf;
}

/* NVML's "00000000:4E:00.0" is sysfs's "0000:4e:00.0". */
static const char *sysfs_address(const struct gpu *gpu)
{
	const char *id = gpu->pci_bus_id;

	return strlen(id) > 12 && text_starts_with(id, "0000") ? id + 4 : id;
}

static const struct machine_pci *pci_of(const struct machine *machine, const struct gpu *gpu)
{
	const char *id = sysfs_address(gpu);

	for (size_t i = 0; i < machine->n_pci; i++)
		if (strcasecmp(machine->pci[i].address, id) == 0)
			return &machine->pci[i];
	return NULL;
}

static bool is_seen(const struct gpu *gpu)
{
	return gpu->health != GPU_HEALTH_LOST && gpu->health != GPU_HEALTH_STALE;
}

/* `f` for each GPU that can be talked to; of MIG instances with the first of their GPU. */
static void each_gpu(const struct doctor *doctor, struct doctor_result *result,
		     void (*f)(const struct each *each))
{
	const struct machine *machine = doctor->machine;
	const struct gpu_list *list = machine->gpus;

	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];
		struct gpu_details none = {};
		char name[GPU_TEXT_MAX];
		const struct each each = {
		    .doctor = doctor,
		    .result = result,
		    .gpu = gpu,
		    .details = machine->details ? &machine->details[i] : &none,
		    .pci = pci_of(machine, gpu),
		    .name = gpu_text(gpu, name),
		};

		if (!is_seen(gpu) || (gpu->parent_uuid[0] && i > 0 &&
				      strcmp(list->gpus[i - 1].parent_uuid, gpu->parent_uuid) == 0))
			continue;
		f(&each);
	}
}

static bool knows(const struct each *each, unsigned bits)
{
	return (each->details->valid & bits) == bits;
}

/* --- gpu-lost --- */

static bool is_empty_mig(const struct each *each)
{
	return knows(each, GPU_D_MIG) && each->details->mig_enabled && !each->gpu->parent_uuid[0];
}

static void ill_gpu(const struct each *each)
{
	const struct gpu *gpu = each->gpu;

	if (gpu->health == GPU_HEALTH_OK || is_empty_mig(each))
		return;
	doctor_say(each->result, DOCTOR_FAIL, "%s: %s", each->name, gpu->health_text);
	if (gpu->health == GPU_HEALTH_NEEDS_RESET) {
		doctor_because(each->result, "the GPU had an error it can only leave by a reset");
		doctor_fix(each->result, "sudo nvidia-smi --gpu-reset -i %s   # nothing may use it",
			   gpu->uuid);
	} else {
		doctor_because(each->result, "the driver gets errors from the GPU");
		doctor_fix(each->result, "sudo dmesg | grep -i -e nvrm -e xid | tail -20");
	}
}

static void look_lost(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const struct gpu_list *list = machine->gpus;
	bool lost = false;

	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];

		if (gpu->health != GPU_HEALTH_LOST)
			continue;
		doctor_say(result, DOCTOR_FAIL, "%s: %s", GPU_TEXT(gpu), gpu->health_text);
		lost = true;
	}
	if (lost) {
		doctor_because(result,
			       "the GPU fell off the PCI bus: power (supply, cables), heat, "
			       "its seat, or the GPU itself");
		doctor_fix(result, "sudo dmesg | grep -i xid | tail");
		doctor_fix(result,
			   "sudo poweroff   # and on again: a warm reboot often does not do");
		doctor_fix(result,
			   "# when it comes again: another slot, another cable, power limit "
			   "lower (sudo nvidia-smi -pl)");
	}
	each_gpu(doctor, result, ill_gpu);
	if (list->state == GPU_SOURCE_OK && result->evidence.len == 0)
		doctor_say(result, DOCTOR_OK, "%zu GPU%s answer%s", list->n, PLURAL(list->n),
			   list->n == 1 ? "s" : "");
}

/* --- gpu-recovery --- */

static void recovery_gpu(const struct each *each)
{
	static const char *const actions[] = {
	    "none",      "GPU reset",       "reboot",
	    "drain P2P", "drain and reset", "recover the IMEX domain"};
	unsigned action = each->details->recovery;

	if (!knows(each, GPU_D_RECOVERY))
		return;
	if (action == 0) {
		doctor_say(each->result, DOCTOR_OK, "%s: none needed", each->name);
		return;
	}
	doctor_say(each->result, DOCTOR_FAIL, "%s asks for: %s", each->name,
		   action < ARRAY_LEN(actions) ? actions[action] : "an action nobody has named");
	doctor_because(each->result, "after an error the driver says what brings the GPU back");
	if (action == 2)
		doctor_fix(each->result, "sudo reboot");
	else
		doctor_fix(each->result,
			   "sudo nvidia-smi --gpu-reset -i %s   # once nothing uses it",
			   each->gpu->uuid);
}

static void look_recovery(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, recovery_gpu);
}

/* --- gpu-compute-capability, gpu-vram --- */

static void look_capability(const struct doctor *doctor, struct doctor_result *result)
{
	const struct gpu_list *list = doctor->machine->gpus;
	const unsigned least = doctor->needs->compute_capability;
	bool any = false, known = false;

	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];
		unsigned capability = gpu->compute_capability;

		if (!gpu_has(gpu, GPU_COMPUTE_CAPABILITY))
			continue;
		known = true;
		any |= capability >= least;
		doctor_say(result, DOCTOR_OK, "%s: %u.%u%s", GPU_TEXT(gpu), capability / 10,
			   capability % 10, capability < least ? ", too old" : "");
	}
	if (!known || any)
		return;
	doctor_say(result, DOCTOR_FAIL, "none has %u.%u", least / 10, least % 10);
	doctor_because(result, "current frameworks have no code for GPUs this old: \"no kernel "
			       "image is available for execution on the device\"");
	doctor_fix(result, "# an older framework (torch with CUDA 11.8 still has 5.0), or another "
			   "GPU");
}

static void look_vram(const struct doctor *doctor, struct doctor_result *result)
{
	const struct gpu_list *list = doctor->machine->gpus;
	const uint64_t least = doctor->model_vram_bytes
				   ? doctor->model_vram_bytes
				   : doctor->needs->of[doctor->purpose].vram_bytes;
	const bool named = doctor->model_vram_bytes || doctor->purpose != DOCTOR_FOR_ANY;
	bool any = false, known = false;

	for (size_t i = 0; i < list->n; i++) {
		const struct gpu *gpu = &list->gpus[i];
		bool enough;

		if (!gpu_has(gpu, GPU_TOTAL))
			continue;
		known = true;
		enough = doctor->model_vram_bytes ? gpu->vram.total_bytes >= least
						  : needs_is_enough(gpu->vram.total_bytes, least);
		any |= enough;
		doctor_say(result, DOCTOR_OK, "%s: %s%s", GPU_TEXT(gpu),
			   SIZE_TEXT(gpu->vram.total_bytes), enough ? "" : ", too small");
	}
	if (!known || any || least == 0)
		return;
	doctor_say(result, named ? DOCTOR_FAIL : DOCTOR_WARN, "none has %s", SIZE_TEXT(least));
	doctor_because(result, "%s needs %s of VRAM on one GPU",
		       doctor->model_vram_bytes            ? "the model"
		       : doctor->purpose == DOCTOR_FOR_ANY ? "GPU work"
							   : doctor_purpose_name(doctor->purpose),
		       SIZE_TEXT(least));
	doctor_fix(result,
		   "# a smaller model or a quantised one, a smaller batch, or a larger GPU");
}

/* --- gpu-persistence --- */

static void persistence_gpu(const struct each *each)
{
	if (!knows(each, GPU_D_PERSISTENCE))
		return;
	if (each->details->persistence) {
		doctor_say(each->result, DOCTOR_OK, "%s: on", each->name);
		return;
	}
	/* A display keeps the GPU up as well. */
	if (knows(each, GPU_D_DISPLAY) && each->details->display_active) {
		doctor_say(each->result, DOCTOR_OK, "%s: off; the display keeps it up", each->name);
		return;
	}
	doctor_say(each->result, DOCTOR_WARN, "%s: off", each->name);
	doctor_because(each->result,
		       "the driver takes the GPU down whenever its last program ends: each start "
		       "costs seconds, and limits that were set are lost");
	doctor_fix(each->result, "sudo systemctl enable --now nvidia-persistenced");
	doctor_fix(each->result, "# where there is no such service: sudo nvidia-smi -pm 1");
}

static void look_persistence(const struct doctor *doctor, struct doctor_result *result)
{
	if (machine_is_laptop(doctor->machine))
		doctor_say(result, DOCTOR_SKIPPED, "a laptop: the GPU is to sleep");
	else if (!doctor->machine->wsl && !doctor->machine->jetson)
		each_gpu(doctor, result, persistence_gpu);
}

/* --- gpu-ecc --- */

static void ecc_gpu(const struct each *each)
{
	const struct gpu_details *d = each->details;
	struct doctor_result *result = each->result;

	if (knows(each, GPU_D_ECC))
		doctor_say(result, DOCTOR_OK, "%s: ECC %s", each->name,
			   d->ecc_enabled ? "on" : "off");
	if (knows(each, GPU_D_ECC_ERRORS) && d->ecc_uncorrected > 0) {
		doctor_say(result, DOCTOR_FAIL,
			   "%s: %llu uncorrectable errors since the last reset", each->name,
			   (unsigned long long)d->ecc_uncorrected);
		doctor_because(result, "memory of the GPU gave wrong data: programs were ended, "
				       "results since then are suspect");
		doctor_fix(result, "sudo nvidia-smi --gpu-reset -i %s   # once nothing uses it",
			   each->gpu->uuid);
		doctor_fix(result, "nvidia-smi -q -d ECC,ROW_REMAPPER");
	}
	if (!knows(each, GPU_D_REMAP))
		return;
	if (d->remap_failed) {
		doctor_say(result, DOCTOR_FAIL, "%s: remapping rows of memory failed", each->name);
		doctor_because(result, "there is no spare row left for what is broken");
		doctor_fix(result, "# take it out of use and have it replaced (RMA)");
	} else if (d->remap_pending) {
		doctor_say(result, DOCTOR_WARN, "%s: a row of memory is to be remapped",
			   each->name);
		doctor_because(result, "broken rows are replaced at the next reset");
		doctor_fix(result, "sudo nvidia-smi --gpu-reset -i %s   # once nothing uses it",
			   each->gpu->uuid);
	} else {
		doctor_say(result, DOCTOR_OK,
			   "%s: %u rows remapped for correctable errors, %u for "
			   "uncorrectable ones",
			   each->name, d->remapped_correctable, d->remapped_uncorrectable);
	}
}

static void look_ecc(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, ecc_gpu);
}

/* --- gpu-throttle --- */

static void throttle_gpu(const struct each *each)
{
	static const struct {
		uint64_t bit;
		const char *seen, *cause, *fix;
	} rows[] = {
	    {REASON_HW_THERMAL, "the hardware's heat limit",
	     "the GPU is too hot: dust, a fan that stands, warm air in the case",
	     "# clean it, look at fans and the way of the air; until then a lower power limit: "
	     "sudo "
	     "nvidia-smi -pl"},
	    {REASON_POWER_BRAKE, "the power brake of the supply",
	     "the power supply or its cable tells the GPU to slow down",
	     "# a cable of its own for each plug of the GPU; enough watts in the supply"},
	    {REASON_SW_THERMAL, "the driver's heat limit",
	     "GPU or its memory is near the limit, and the driver lowers the clocks",
	     "# clean it, look at fans and the way of the air; until then a lower power limit: "
	     "sudo "
	     "nvidia-smi -pl"},
	};
	uint64_t reasons = each->details->clock_reasons;
	bool slowed = false;

	if (!knows(each, GPU_D_CLOCK_REASONS))
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!(reasons & rows[i].bit))
			continue;
		slowed = true;
		if (gpu_has(each->gpu, GPU_TEMPERATURE))
			doctor_say(each->result, DOCTOR_WARN, "%s is slowed by %s, at %d degrees",
				   each->name, rows[i].seen, each->gpu->temperature_celsius);
		else
			doctor_say(each->result, DOCTOR_WARN, "%s is slowed by %s", each->name,
				   rows[i].seen);
		doctor_because(each->result, "%s", rows[i].cause);
		doctor_fix(each->result, "%s", rows[i].fix);
	}
	if (!slowed && (reasons & REASON_HW_SLOWDOWN)) {
		doctor_say(each->result, DOCTOR_WARN, "%s: the hardware halved its clocks",
			   each->name);
		doctor_because(each->result, "heat, the power brake, or a power cable");
		doctor_fix(each->result, "nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER");
		slowed = true;
	}
	if (!slowed)
		doctor_say(each->result, DOCTOR_OK, "%s: not slowed", each->name);
}

static void look_throttle(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, throttle_gpu);
}

/* --- gpu-pcie --- */

/* Few lanes stay few; the generation drops when a GPU has nothing to do, and that is no fault. */
static void pcie_gpu(const struct each *each)
{
	const struct gpu_details *d = each->details;
	const struct gpu *gpu = each->gpu;
	unsigned card = each->pci ? each->pci->link_width_max : 0;
	bool busy = gpu_has(gpu, GPU_UTILIZATION) && gpu->utilization_percent >= BUSY_PERCENT;

	if (!knows(each, GPU_D_PCIE | GPU_D_PCIE_MAX) || d->pcie_width == 0)
		return;
	if (d->pcie_width < d->pcie_width_max) {
		doctor_say(each->result, DOCTOR_WARN, "%s: %u lanes of %u", each->name,
			   d->pcie_width, d->pcie_width_max);
		doctor_because(each->result, "some lanes of the PCIe slot do not work: the card "
					     "sits badly, a riser cable, dirt on the contacts");
		doctor_fix(each->result, "# power off, take the card out and put it in again; "
					 "without a riser; in another slot");
		doctor_fix(each->result, "sudo lspci -vv -s %s | grep LnkSta", sysfs_address(gpu));
	} else if (card >= 4 * d->pcie_width) {
		doctor_say(each->result, DOCTOR_WARN, "%s: a slot of %u lanes for a card of %u",
			   each->name, d->pcie_width, card);
		doctor_because(each->result, "the slot has few lanes: loading data and models is "
					     "slow");
		doctor_fix(each->result, "# put the card into the slot nearest the CPU");
	} else if (busy && d->pcie_generation < d->pcie_generation_max) {
		doctor_say(each->result, DOCTOR_WARN, "%s: PCIe generation %u of %u while it works",
			   each->name, d->pcie_generation, d->pcie_generation_max);
		doctor_because(each->result, "the link does not reach its speed: a riser cable, or "
					     "the firmware's setup of the slot");
		doctor_fix(each->result, "# set the slot to \"Auto\" or its generation in the "
					 "firmware's setup; try without a riser");
	} else {
		doctor_say(each->result, DOCTOR_OK, "%s: %u lanes, generation %u of %u", each->name,
			   d->pcie_width, d->pcie_generation, d->pcie_generation_max);
	}
}

static void look_pcie(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, pcie_gpu);
}

/* --- gpu-power-limit --- */

static void power_gpu(const struct each *each)
{
	unsigned limit = each->gpu->power_limit_milliwatts;
	unsigned usual = each->details->power_default_milliwatts;

	if (!knows(each, GPU_D_POWER_DEFAULT) || !gpu_has(each->gpu, GPU_POWER_LIMIT) || usual == 0)
		return;
	if (limit >= usual / 100 * POWER_LOW_PERCENT) {
		doctor_say(each->result, DOCTOR_OK, "%s: %u W, by default %u W", each->name,
			   limit / 1000, usual / 1000);
		return;
	}
	doctor_say(each->result, DOCTOR_WARN, "%s: limited to %u W, by default %u W", each->name,
		   limit / 1000, usual / 1000);
	doctor_because(each->result, "somebody lowered the power limit: slower than the GPU can, "
				     "which may be meant (heat, noise, the supply)");
	doctor_fix(each->result, "sudo nvidia-smi -i %s -pl %u", each->gpu->uuid, usual / 1000);
}

static void look_power(const struct doctor *doctor, struct doctor_result *result)
{
	if (!machine_is_laptop(doctor->machine))
		each_gpu(doctor, result, power_gpu);
}

/* --- gpu-mig --- */

static void mig_gpu(const struct each *each)
{
	const struct gpu_details *d = each->details;

	if (!knows(each, GPU_D_MIG))
		return;
	if (d->mig_enabled != d->mig_pending) {
		doctor_say(each->result, DOCTOR_WARN, "%s: MIG is %s, and %s after the next reset",
			   each->name, d->mig_enabled ? "on" : "off",
			   d->mig_pending ? "on" : "off");
		doctor_because(each->result, "MIG was switched and the GPU was not reset since");
		doctor_fix(each->result,
			   "sudo nvidia-smi --gpu-reset -i %s   # once nothing uses it",
			   each->gpu->parent_uuid[0] ? each->gpu->parent_uuid : each->gpu->uuid);
	} else if (d->mig_enabled && !each->gpu->parent_uuid[0]) {
		doctor_say(each->result, DOCTOR_FAIL, "%s: MIG is on, and there is no instance",
			   each->name);
		doctor_because(each->result,
			       "with MIG on only instances run programs, and none was "
			       "made: they do not outlive a reboot");
		doctor_fix(each->result, "sudo nvidia-smi mig -lgip   # which there may be");
		doctor_fix(each->result, "sudo nvidia-smi mig -i %u -cgi 9,9 -C", each->gpu->index);
		doctor_fix(each->result, "# or without MIG: sudo nvidia-smi -i %u -mig 0",
			   each->gpu->index);
	} else {
		doctor_say(each->result, DOCTOR_OK, "%s: MIG %s", each->name,
			   d->mig_enabled ? "on" : "off");
	}
}

static void look_mig(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, mig_gpu);
}

/* --- gpu-compute-mode --- */

static void mode_gpu(const struct each *each)
{
	unsigned mode = each->details->compute_mode;

	if (!knows(each, GPU_D_COMPUTE_MODE))
		return;
	if (mode == 0) {
		doctor_say(each->result, DOCTOR_OK, "%s: default", each->name);
		return;
	}
	if (mode == 2) {
		doctor_say(each->result, DOCTOR_FAIL, "%s: prohibited", each->name);
		doctor_because(each->result, "its compute mode lets no CUDA program run on it");
	} else {
		doctor_say(each->result, DOCTOR_WARN, "%s: exclusive", each->name);
		doctor_because(each->result,
			       "its compute mode lets one program at a time run on "
			       "it: the next ones fail (which is meant where MPS runs)");
	}
	doctor_fix(each->result, "sudo nvidia-smi -i %s -c DEFAULT", each->gpu->uuid);
}

static void look_mode(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, mode_gpu);
}

/* --- gpu-display --- */

static void display_gpu(const struct each *each)
{
	const struct gpu *gpu = each->gpu;
	uint64_t desktop = 0;

	if (!knows(each, GPU_D_DISPLAY) || !each->details->display_active)
		return;
	for (size_t i = 0; i < gpu->n_processes; i++)
		if (gpu->processes[i].graphics && gpu->processes[i].used_known)
			desktop += gpu->processes[i].used_bytes;
	if (desktop < DESKTOP_LARGE_BYTES) {
		doctor_say(each->result, DOCTOR_OK, "%s has the display, which takes %s of VRAM",
			   each->name, SIZE_TEXT(desktop));
		return;
	}
	doctor_say(each->result, DOCTOR_WARN, "%s has the display, which takes %s of VRAM",
		   each->name, SIZE_TEXT(desktop));
	doctor_because(each->result, "the desktop takes VRAM that models could use");
	doctor_fix(each->result, "# put the screen on another GPU (the CPU's own), close browsers, "
				 "or");
	doctor_fix(each->result, "sudo systemctl isolate multi-user.target   # ends the desktop");
}

static void look_display(const struct doctor *doctor, struct doctor_result *result)
{
	each_gpu(doctor, result, display_gpu);
}

#define CHECK(name, id_, title_, text_)                   \
	static const struct doctor_check check_##name = { \
	    .id = id_, .group = "gpus", .title = title_, .text = text_, .look = look_##name}

CHECK(lost, "gpu-lost", "each GPU answers", "It fell off the bus, needs a reset, or gives errors");
CHECK(recovery, "gpu-recovery", "the recovery action the driver asks for (R555 and newer)",
      "After an error a GPU waits for a reset or the machine for a reboot");
CHECK(capability, "gpu-compute-capability", "the compute capability", "None is 6.0 or newer");
CHECK(vram, "gpu-vram", "VRAM against what is needed (`--for`): 4 GB, 8 GB for training",
      "No GPU has that much");
CHECK(persistence, "gpu-persistence", "persistence mode of GPUs without a display",
      "Off: the GPU is taken down after each program, and starts take seconds");
CHECK(ecc, "gpu-ecc", "uncorrectable memory errors, row remapping",
      "Memory of the GPU is broken, or waits for a reset to be mended");
CHECK(throttle, "gpu-throttle", "why clocks are lowered now", "Heat or power slow the GPU down");
CHECK(pcie, "gpu-pcie", "lanes of the PCIe link, its generation under load",
      "A link narrower or slower than GPU and slot can");
CHECK(power, "gpu-power-limit", "the power limit against the GPU's default", "Somebody lowered it");
CHECK(mig, "gpu-mig", "MIG mode and instances",
      "On without an instance, or switched without a reset");
CHECK(mode, "gpu-compute-mode", "the compute mode",
      "Prohibited: nothing runs; exclusive: one program at a time");
CHECK(display, "gpu-display", "the display, and what the desktop takes of VRAM",
      "It takes more than 2 GiB");

const struct doctor_check *const checks_gpus[] = {
    &check_lost,
    &check_recovery,
    &check_capability,
    &check_vram,
    &check_persistence,
    &check_ecc,
    &check_throttle,
    &check_pcie,
    &check_power,
    &check_mig,
    &check_mode,
    &check_display,
    NULL,
};
