/* See bound.h. A file that is not there is a controller that is not handed down. */
#include "run/bound.h"

#include "util/cleanup.h"
#include "util/file.h"
#include "util/size.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DMEM_MAX   ((size_t)64 << 10)
#define RAM_MARGIN (256 * MIB)

static bool cgroup_write(const char *path, const char *name, const char *text)
{
	auto_free char *file = mem_printf("%s/%s", path, name);
	auto_close int fd = open(file, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && fd_write_all(fd, text, strlen(text)) == 0;
}

static bool number_write(const char *path, const char *name, uint64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof text, "%" PRIu64, value);
	return cgroup_write(path, name, text);
}

uint64_t bound_ram_max(uint64_t granted_bytes)
{
	uint64_t max = granted_bytes + MAX_OF(granted_bytes / 10, RAM_MARGIN);

	return max < granted_bytes ? UINT64_MAX : max;
}

bool bound_has_swap(const char *meminfo)
{
	const char *line = strstr(meminfo, "SwapTotal:");
	uint64_t kib = 0;

	return line && sscanf(line, "SwapTotal: %" SCNu64, &kib) == 1 && kib > 0;
}

struct pci {
	unsigned domain, bus, device, function;
};

/* "0000:65:00.0" and NVML's "00000000:65:00.0" are the same; nothing may follow. */
static bool pci_parse(const char *text, size_t len, struct pci *ret_pci)
{
	char word[BOUND_PCI_MAX];
	int end = -1;

	if (len >= sizeof word)
		return false;
	memcpy(word, text, len);
	word[len] = '\0';
	return isxdigit((unsigned char)word[0]) &&
	       sscanf(word, "%8x:%2x:%2x.%1x%n", &ret_pci->domain, &ret_pci->bus, &ret_pci->device,
		      &ret_pci->function, &end) == 4 &&
	       end == (int)len;
}

/* One of the parts of "drm/0000:65:00.0/vram" names the GPU, the last one its own memory: a region
 * of the host's that it maps (gtt) is none. */
static bool region_is_of(const char *region, size_t len, const struct pci *pci)
{
	const char *end = region + len, *last = region;
	struct pci found;
	bool named = false;

	for (const char *part = region; part < end;) {
		size_t n = strcspn(part, "/ \n");

		if (part + n > end)
			n = (size_t)(end - part);
		if (pci_parse(part, n, &found))
			named |= memcmp(&found, pci, sizeof found) == 0;
		last = part;
		part += n + 1;
	}
	return named && (text_starts_with(last, "vram") || text_starts_with(last, "vidmem"));
}

char *bound_region(const char *dmem_text, const char *pci)
{
	struct pci wanted;

	if (!pci_parse(pci, strlen(pci), &wanted))
		return NULL;
	for (const char *line = dmem_text; *line;) {
		size_t len = strcspn(line, " \n");

		if (region_is_of(line, len, &wanted))
			return mem_strndup(line, len);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	return NULL;
}

/* Each file of dmem names all regions there are; dmem.capacity itself is in the root only. */
static bool dmem_apply(const char *path, const struct bound *bound)
{
	auto_free char *file = mem_printf("%s/dmem.max", path);
	auto_text struct text regions = {};
	size_t set = 0;

	if (bound->n_gpus == 0 || file_read(file, DMEM_MAX, false, &regions, NULL) < 0 ||
	    !regions.data)
		return false;
	for (size_t i = 0; i < bound->n_gpus; i++) {
		auto_free char *region = bound_region(regions.data, bound->gpus[i].pci);
		auto_free char *line =
		    region ? mem_printf("%s %" PRIu64, region, bound->gpus[i].bytes) : NULL;

		set += line && cgroup_write(path, "dmem.max", line);
	}
	return set == bound->n_gpus;
}

bool bound_counts_gpu(const char *path, const char *pci)
{
	auto_free char *file = mem_printf("%s/dmem.max", path), *region = NULL;
	auto_text struct text regions = {};

	if (file_read(file, DMEM_MAX, false, &regions, NULL) < 0 || !regions.data)
		return false;
	region = bound_region(regions.data, pci);
	return region != NULL;
}

static bool memory_apply(const char *path, const struct bound *bound, bool has_swap)
{
	if (bound->ram_bytes == 0 ||
	    !number_write(path, "memory.max", bound_ram_max(bound->ram_bytes)))
		return false;
	(void)cgroup_write(path, "memory.oom.group", "1");
	return !has_swap || number_write(path, "memory.high", bound->ram_bytes);
}

void bound_apply(const char *path, const struct bound *bound, bool has_swap, struct text *words)
{
	if (dmem_apply(path, bound))
		text_add(words, BOUND_DMEM_WORDS);
	if (memory_apply(path, bound, has_swap))
		text_printf(words, "%sRAM: " BOUND_RAM_WORDS, words->len > 0 ? "; " : "");
}
