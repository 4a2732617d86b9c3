/*
 * What GPU work needs beside the GPU: memory, disk, shared memory, the processor's clock, limits.
 * Too little of it slows work down or ends it; nothing here keeps all GPU work from running but a
 * full disk, so that alone is a fail.
 */
#include "doctor/checks.h"

#include "util/limits.h"
#include "util/size.h"

#include <string.h>

#define SWAP_FULL_PERCENT  90 /* used */
#define MEMORY_LOW_PERCENT 5  /* available */
#define DISK_FULL_BYTES    (512 * MIB)
#define DISK_LOW_BYTES     (5 * GIB)
#define DISK_SMALL_BYTES   (2 * GIB)
#define DISK_DRIFT_BYTES   (64 * MIB) /* written between two looks */
#define DISK_LOW_PERCENT   5          /* free; both count */
#define SHM_LITTLE_BYTES   (64 * MIB)
#define NOFILE_LITTLE      4096 /* a DataLoader worker holds a descriptor for each tensor it sends */
#define SHM_FOLDER         "/dev/shm"
#define CPUS_MAX           4096

static const struct need_of *need_of(const struct doctor *doctor)
{
	return &doctor->needs->of[doctor->purpose];
}

/* --- host-memory, host-swap --- */

static void look_memory(const struct doctor *doctor, struct doctor_result *result)
{
	const uint64_t has = doctor->machine->ram_total_bytes, least = need_of(doctor)->ram_bytes;

	if (!has) {
		doctor_say(result, DOCTOR_UNKNOWN, "/proc/meminfo cannot be read");
		return;
	}
	if (!least || needs_is_enough(has, least)) {
		doctor_say(result, DOCTOR_OK, "%s of memory%s", SIZE_TEXT(has),
			   doctor->machine->jetson ? ", shared with the GPU" : "");
		return;
	}
	doctor_say(result, DOCTOR_WARN, "%s of memory; %s wants %s", SIZE_TEXT(has),
		   doctor_purpose_name(doctor->purpose), SIZE_TEXT(least));
	doctor_because(result, "models are loaded and data is prepared in main memory: with too "
			       "little of it the kernel swaps, or ends the task");
	doctor_fix(result, "# more memory; until then fewer and smaller workers (num_workers), "
			   "and models loaded by mmap (safetensors)");
}

/* "MemAvailable:  1234 kB" in bytes; false: no such line. */
static bool meminfo(const char *text, const char *key, uint64_t *ret_bytes)
{
	const size_t len = strlen(key);

	for (const char *line = text; line && *line;) {
		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			*ret_bytes = strtoull(line + len + 1, NULL, 10) * KIB;
			return true;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

static void without_swap(const struct doctor *doctor, struct doctor_result *result)
{
	const uint64_t has = doctor->machine->ram_total_bytes;

	if (doctor->purpose == DOCTOR_FOR_NONE ||
	    needs_is_enough(has, doctor->needs->of[DOCTOR_FOR_TRAINING].ram_bytes)) {
		doctor_say(result, DOCTOR_OK, "no swap, %s of memory", SIZE_TEXT(has));
		return;
	}
	doctor_say(result, DOCTOR_WARN, "no swap, and %s of memory", SIZE_TEXT(has));
	doctor_because(result, "a short peak, as when a model is loaded, has nowhere to go: the "
			       "kernel ends the largest program");
	doctor_fix(result, "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile");
	doctor_fix(result, "sudo mkswap /swapfile && sudo swapon /swapfile");
	doctor_fix(result, "echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab");
}

static void look_swap(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	const uint64_t total = machine->swap_total_bytes;
	auto_free char *text = NULL;
	uint64_t swap_free = 0, available = 0;

	if (!machine->ram_total_bytes) {
		doctor_say(result, DOCTOR_UNKNOWN, "/proc/meminfo cannot be read");
		return;
	}
	if (!total) {
		without_swap(doctor, result);
		return;
	}
	if (root_read(machine->root, "/proc/meminfo", &text) < 0 ||
	    !meminfo(text, "SwapFree", &swap_free) || !meminfo(text, "MemAvailable", &available) ||
	    swap_free > total) {
		doctor_say(result, DOCTOR_OK, "%s of swap", SIZE_TEXT(total));
		return;
	}
	if (total - swap_free < total / 100 * SWAP_FULL_PERCENT ||
	    available >= machine->ram_total_bytes / 100 * MEMORY_LOW_PERCENT) {
		doctor_say(result, DOCTOR_OK, "%s of swap, %s used", SIZE_TEXT(total),
			   SIZE_TEXT(total - swap_free));
		return;
	}
	doctor_say(result, DOCTOR_WARN, "%s of %s of swap are used, and %s of memory are left",
		   SIZE_TEXT(total - swap_free), SIZE_TEXT(total), SIZE_TEXT(available));
	doctor_because(result, "memory is used up: programs wait for the disk, and the kernel is "
			       "about to end one");
	doctor_fix(result, "ps -eo pid,user,rss,comm --sort=-rss | head");
	doctor_fix(result, "# end what is not needed, or give it a limit (docker run --memory)");
}

/* --- host-disk, host-shm --- */

static void nearly_full(const char *path, uint64_t total, uint64_t room,
			struct doctor_result *result)
{
	const bool full = room < DISK_FULL_BYTES;

	doctor_say(result, full ? DOCTOR_FAIL : DOCTOR_WARN, "%s: %s of %s free", path,
		   SIZE_TEXT(room), SIZE_TEXT(total));
	doctor_because(result, "%s",
		       full ? "nothing more can be written: images, models, checkpoints and "
			      "logs fail"
			    : "the next image or model may not fit");
	doctor_fix(result, "sudo du -xh --max-depth=2 %s | sort -h | tail", path);
	doctor_fix(result, "docker system df && docker image prune");
	doctor_fix(result, "du -sh ~/.cache/huggingface ~/.cache/pip ~/.ollama 2>/dev/null");
	doctor_fix(result, "sudo journalctl --vacuum-size=200M");
}

static void look_disk(const struct doctor *doctor, struct doctor_result *result)
{
	const uint64_t least = need_of(doctor)->disk_free_bytes;
	const json_t *disk;
	uint64_t most = 0, before_total = 0, before_free = 0;
	size_t at;

	json_array_foreach (doctor->machine->disks, at, disk) {
		const char *path = jsonx_get_string(disk, "path", "?");
		const uint64_t total = jsonx_get_u64(disk, "total_bytes", 0),
			       room = jsonx_get_u64(disk, "free_bytes", 0);

		/* Not where models go: the root of an image (always full), or the same disk again
		 * by another path, a moment later. */
		if (strcmp(path, SHM_FOLDER) == 0 || total < DISK_SMALL_BYTES ||
		    (total == before_total &&
		     before_free - room + DISK_DRIFT_BYTES < 2 * DISK_DRIFT_BYTES))
			continue;
		before_total = total;
		before_free = room;
		most = MAX_OF(most, room);
		if (room < DISK_FULL_BYTES ||
		    (room < DISK_LOW_BYTES && room < total / 100 * DISK_LOW_PERCENT))
			nearly_full(path, total, room, result);
		else
			doctor_say(result, DOCTOR_OK, "%s: %s of %s free", path, SIZE_TEXT(room),
				   SIZE_TEXT(total));
	}
	if (!before_total) {
		doctor_say(result, DOCTOR_UNKNOWN, "nobody asked for the disks");
		return;
	}
	if (most >= least || result->status > DOCTOR_OK)
		return;
	doctor_say(result, DOCTOR_WARN, "%s wants %s free on one of them",
		   doctor_purpose_name(doctor->purpose), SIZE_TEXT(least));
	doctor_because(result, "images, models and checkpoints of that purpose may not fit");
	doctor_fix(result, "docker system df && docker image prune");
	doctor_fix(result, "# or put them on another disk: HF_HOME, data-root in "
			   "/etc/docker/daemon.json");
}

static void look_shm(const struct doctor *doctor, struct doctor_result *result)
{
	const uint64_t wanted = need_of(doctor)->shm_bytes;
	const uint64_t least = wanted ? wanted : SHM_LITTLE_BYTES;
	const json_t *disk;
	size_t at;

	json_array_foreach (doctor->machine->disks, at, disk) {
		const uint64_t total = jsonx_get_u64(disk, "total_bytes", 0);

		if (strcmp(jsonx_get_string(disk, "path", ""), SHM_FOLDER) != 0)
			continue;
		if (total >= least) {
			doctor_say(result, DOCTOR_OK, SHM_FOLDER " has %s", SIZE_TEXT(total));
			return;
		}
		doctor_say(result, DOCTOR_WARN, SHM_FOLDER " has %s; %s wanted", SIZE_TEXT(total),
			   SIZE_TEXT(least));
		doctor_because(result,
			       "the workers of a DataLoader hand batches over in shared memory: "
			       "with too little they die with \"Bus error\"");
		doctor_fix(result, "sudo mount -o remount,size=50%% " SHM_FOLDER);
		doctor_fix(result, "# for good, in /etc/fstab: tmpfs /dev/shm tmpfs "
				   "defaults,size=50%% 0 0");
		doctor_fix(result, "# in a container: docker run --shm-size=8g, or --ipc=host");
		return;
	}
	doctor_say(result, DOCTOR_UNKNOWN, "nobody asked for the size of " SHM_FOLDER);
}

/* --- host-cpu-governor --- */

static char *read_cpufreq(struct root *root, const char *cpu, const char *name)
{
	auto_free char *path = mem_printf("/sys/devices/system/cpu/%s/cpufreq/%s", cpu, name);
	char *text = NULL;

	return root_read(root, path, &text) == 0 ? text : NULL;
}

/* "powersave" of intel_pstate and amd-pstate-epp is the usual one and clocks up under load, unless
 * the preference is for power; of the other drivers it is the lowest clock, always. */
static bool is_kept_slow(struct root *root, const char *cpu, const char *governor)
{
	auto_free char *driver = read_cpufreq(root, cpu, "scaling_driver");
	auto_free char *preference = read_cpufreq(root, cpu, "energy_performance_preference");

	if (strcmp(governor, "powersave") != 0 || !driver)
		return false;
	if (strcmp(driver, "intel_pstate") == 0 || strcmp(driver, "amd-pstate-epp") == 0)
		return preference && strcmp(preference, "power") == 0;
	return true;
}

static void look_governor(const struct doctor *doctor, struct doctor_result *result)
{
	struct root *root = doctor->machine->root;
	auto_strings struct strings cpus = {};
	auto_free char *first = NULL;
	size_t n = 0, n_slow = 0;

	if (root_list(root, "/sys/devices/system/cpu", "cpu[0-9]*", &cpus) < 0) {
		doctor_say(result, DOCTOR_UNKNOWN, "/sys/devices/system/cpu cannot be read");
		return;
	}
	for (size_t i = 0; i < cpus.n && i < CPUS_MAX; i++) {
		auto_free char *governor = read_cpufreq(root, cpus.items[i], "scaling_governor");

		if (!governor)
			continue;
		n++;
		n_slow += is_kept_slow(root, cpus.items[i], governor);
		if (!first)
			first = TAKE(governor);
	}
	if (n == 0) {
		doctor_say(result, DOCTOR_SKIPPED, "the kernel does not set the CPUs' clocks here");
	} else if (n_slow == 0 || machine_is_laptop(doctor->machine)) {
		doctor_say(result, DOCTOR_OK, "governor %s on %zu CPU%s", first, n, PLURAL(n));
	} else {
		doctor_say(result, DOCTOR_WARN,
			   "%zu of %zu CPUs are kept at a low clock: powersave", n_slow, n);
		doctor_because(result, "the CPUs feed the GPU, and a governor keeps them slow");
		doctor_fix(result, "powerprofilesctl set balanced   # where there is one");
		doctor_fix(result,
			   "sudo cpupower frequency-set -g schedutil   # where there is not");
	}
}

/* --- host-open-files, host-memlock --- */

/* False: not known. */
static bool limit_of(const struct machine *machine, const char *name, uint64_t *ret_soft,
		     uint64_t *ret_hard)
{
	const json_t *pair = json_object_get(json_object_get(machine->user, "limits"), name);
	const json_t *soft = json_array_get(pair, 0), *hard = json_array_get(pair, 1);

	if (!soft || !hard)
		return false;
	*ret_soft = json_is_integer(soft) ? (uint64_t)json_integer_value(soft) : LIMITS_NONE;
	*ret_hard = json_is_integer(hard) ? (uint64_t)json_integer_value(hard) : LIMITS_NONE;
	return true;
}

static const char *user_of(const struct machine *machine)
{
	return jsonx_get_string(machine->user, "name", "USER");
}

static void look_open_files(const struct doctor *doctor, struct doctor_result *result)
{
	uint64_t soft, hard;

	if (!limit_of(doctor->machine, "nofile", &soft, &hard)) {
		doctor_say(result, DOCTOR_UNKNOWN, "the limits of this user are not known");
		return;
	}
	if (hard == LIMITS_NONE) {
		doctor_say(result, DOCTOR_OK, "a program may open any number of files");
		return;
	}
	if (hard >= NOFILE_LITTLE) {
		doctor_say(result, DOCTOR_OK, "a program may open %llu files, when it asks %llu",
			   (unsigned long long)soft, (unsigned long long)hard);
		return;
	}
	doctor_say(result, DOCTOR_WARN, "a program may open %llu files at most",
		   (unsigned long long)hard);
	doctor_because(result, "the workers of a DataLoader hold a descriptor for each tensor they "
			       "hand over: \"Too many open files\"");
	doctor_fix(result,
		   "echo '%s hard nofile 1048576' | sudo tee /etc/security/limits.d/90-gpu.conf",
		   user_of(doctor->machine));
	doctor_fix(result, "# log in anew; in a container: docker run --ulimit nofile=65536");
}

static void look_memlock(const struct doctor *doctor, struct doctor_result *result)
{
	auto_strings struct strings adapters = {};
	uint64_t soft, hard;

	if (root_list(doctor->machine->root, "/sys/class/infiniband", "*", &adapters) < 0 ||
	    adapters.n == 0) {
		doctor_say(result, DOCTOR_SKIPPED,
			   "no RDMA adapter; CUDA's pinned memory has no such limit");
		return;
	}
	if (!limit_of(doctor->machine, "memlock", &soft, &hard)) {
		doctor_say(result, DOCTOR_UNKNOWN, "the limits of this user are not known");
		return;
	}
	if (soft == LIMITS_NONE) {
		doctor_say(result, DOCTOR_OK, "%s: memory may be locked without limit",
			   adapters.items[0]);
		return;
	}
	doctor_say(result, DOCTOR_WARN, "%s is there, and a program may lock %s", adapters.items[0],
		   SIZE_TEXT(soft));
	doctor_because(result, "NCCL registers its buffers with the adapter, which locks them: it "
			       "fails, or falls back to TCP");
	doctor_fix(result,
		   "printf '%s soft memlock unlimited\\n%s hard memlock unlimited\\n' | sudo tee "
		   "/etc/security/limits.d/91-rdma.conf",
		   user_of(doctor->machine), user_of(doctor->machine));
	doctor_fix(result, "# log in anew; in a container: docker run --ulimit memlock=-1");
}

#define CHECK(name_, id_, title_, text_)                                     \
	static const struct doctor_check check_##name_ = {.id = (id_),       \
							  .group = "host",   \
							  .title = (title_), \
							  .text = (text_),   \
							  .look = look_##name_}

CHECK(memory, "host-memory", "main memory against what the purpose needs",
      "Less than 8 GB for inference, 16 GB for training");
CHECK(swap, "host-swap", "swap, and whether memory is used up",
      "None beside little memory, or full with no memory left");
CHECK(disk, "host-disk", "free room where images, models and logs go",
      "A disk is full or nearly so, or none has the room the purpose wants");
CHECK(shm, "host-shm", "the size of /dev/shm", "Too little for the workers of a DataLoader");
CHECK(governor, "host-cpu-governor", "what sets the clocks of the CPUs",
      "They are kept at a low clock on a machine that is no laptop");
CHECK(open_files, "host-open-files", "how many files a program may open", "Fewer than 4096");
CHECK(memlock, "host-memlock", "how much memory a program may lock, beside an RDMA adapter",
      "Limited: NCCL cannot use the adapter");

const struct doctor_check *const checks_host[] = {
    &check_memory,   &check_swap,       &check_disk,    &check_shm,
    &check_governor, &check_open_files, &check_memlock, NULL,
};
