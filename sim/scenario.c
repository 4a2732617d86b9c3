/*
 * See scenario.h. Each key of a GPU is a row of a table: its name and the function that reads it
 * into the GPU; the catalogue entry named by `model` is applied before all others, so that the
 * order of keys does not matter.
 */
#include "sim/scenario.h"

#include "sim/catalogue.h"
#include "util/size.h"
#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define DRIVER_VERSION "550.163.01"
#define CUDA_VERSION   12040
#define LIST_MAX       4096 /* characters of --gpus */

struct sim_state *scenario_create_empty(void)
{
	struct sim_state *image = mem_calloc(1, sizeof *image);

	image->time_scale = 1.0;
	image->process_stride = 24;
	image->cuda_version = CUDA_VERSION;
	(void)snprintf(image->driver_version, sizeof image->driver_version, "%s", DRIVER_VERSION);
	return image;
}

int scenario_parse_int(const struct yamlx *doc, const struct yamlx_node *node, int64_t min,
		       int64_t max, int64_t *ret_value, struct error *err)
{
	double value = 0;
	int r = yamlx_real(doc, node, (double)min, (double)max, &value, err);

	if (r < 0)
		return r;
	if (value != floor(value))
		return yamlx_error(doc, node, -EINVAL, err, "%g is not a whole number", value);
	*ret_value = (int64_t)value;
	return 0;
}

static int copy_string(const struct yamlx *doc, const struct yamlx_node *node, char *to,
		       size_t size, struct error *err)
{
	const char *text = NULL;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	if (strlen(text) >= size)
		return yamlx_error(doc, node, -EINVAL, err, "longer than %zu characters", size - 1);
	(void)snprintf(to, size, "%s", text);
	return 0;
}

/* A UUID that is the same in every run: of what the GPU is and where it stands. */
static void make_uuid(char *to, const char *prefix, const char *of, unsigned index)
{
	uint64_t hash[2] = {0xcbf29ce484222325ULL ^ index, 0x84222325cbf29ce4ULL + index};

	for (int half = 0; half < 2; half++)
		for (const char *p = of;; p++) {
			hash[half] = (hash[half] ^ (uint8_t)*p) * 0x100000001b3ULL;
			if (!*p)
				break;
		}
	(void)snprintf(to, SIM_NAME_MAX, "%s-%08x-%04x-4%03x-a%03x-%012llx", prefix,
		       (unsigned)(hash[0] >> 32), (unsigned)(hash[0] >> 16 & 0xffff),
		       (unsigned)(hash[0] & 0xfff), (unsigned)(hash[1] >> 52),
		       (unsigned long long)(hash[1] & 0xffffffffffffULL));
}

static void gpu_place(struct sim_state *image, struct sim_gpu *gpu)
{
	unsigned index = (unsigned)(gpu - image->gpus);

	gpu->minor = index;
	gpu->pci_bus = 0x01 + 0x10 * index; /* room to stand in between */
	if (gpu->pci_id == 0)
		gpu->pci_id = 0x223310de;
	make_uuid(gpu->uuid, "GPU", gpu->name, index);
}

struct gpu_reader {
	const struct yamlx *doc;
	struct sim_gpu *gpu;
	unsigned index;
};

typedef int (*read_f)(const struct gpu_reader *reader, const struct yamlx_node *node,
		      struct error *err);

static int read_name(const struct gpu_reader *reader, const struct yamlx_node *node,
		     struct error *err)
{
	return copy_string(reader->doc, node, reader->gpu->name, sizeof reader->gpu->name, err);
}

static int read_uuid(const struct gpu_reader *reader, const struct yamlx_node *node,
		     struct error *err)
{
	return copy_string(reader->doc, node, reader->gpu->uuid, sizeof reader->gpu->uuid, err);
}

static int read_serial(const struct gpu_reader *reader, const struct yamlx_node *node,
		       struct error *err)
{
	return copy_string(reader->doc, node, reader->gpu->serial, 30, err);
}

static int read_vram(const struct gpu_reader *reader, const struct yamlx_node *node,
		     struct error *err)
{
	return yamlx_size(reader->doc, node, &reader->gpu->total_bytes, err);
}

static int read_reserved(const struct gpu_reader *reader, const struct yamlx_node *node,
			 struct error *err)
{
	return yamlx_size(reader->doc, node, &reader->gpu->reserved_bytes, err);
}

static int read_used(const struct gpu_reader *reader, const struct yamlx_node *node,
		     struct error *err)
{
	return yamlx_size(reader->doc, node, &reader->gpu->other_bytes, err);
}

static int read_speed(const struct gpu_reader *reader, const struct yamlx_node *node,
		      struct error *err)
{
	return yamlx_real(reader->doc, node, 0.001, 1000, &reader->gpu->speed, err);
}

static int read_capability(const struct gpu_reader *reader, const struct yamlx_node *node,
			   struct error *err)
{
	if (node->type != YAMLX_SCALAR ||
	    catalogue_parse_capability(node->text, &reader->gpu->cc_major, &reader->gpu->cc_minor) <
		0)
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "a compute capability reads like \"8.6\"");
	return 0;
}

static int read_pci(const struct gpu_reader *reader, const struct yamlx_node *node,
		    struct error *err)
{
	struct sim_gpu *gpu = reader->gpu;
	int end = 0;

	if (node->type != YAMLX_SCALAR ||
	    sscanf(node->text, "%8x:%2x:%2x.0%n", &gpu->pci_domain, &gpu->pci_bus, &gpu->pci_device,
		   &end) != 3 ||
	    node->text[end] != '\0')
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "a PCI address reads like 0000:4E:00.0");
	return 0;
}

static int read_u32(const struct gpu_reader *reader, const struct yamlx_node *node, int64_t max,
		    uint32_t *ret_value, struct error *err)
{
	int64_t value = 0;
	int r = scenario_parse_int(reader->doc, node, 0, max, &value, err);

	if (r == 0)
		*ret_value = (uint32_t)value;
	return r;
}

static int read_cores(const struct gpu_reader *reader, const struct yamlx_node *node,
		      struct error *err)
{
	return read_u32(reader, node, 1000000, &reader->gpu->cores, err);
}

static int read_power_limit(const struct gpu_reader *reader, const struct yamlx_node *node,
			    struct error *err)
{
	int r = read_u32(reader, node, 5000, &reader->gpu->power_limit_mw, err);

	if (r == 0)
		reader->gpu->power_limit_mw *= 1000;
	return r;
}

static int read_utilization(const struct gpu_reader *reader, const struct yamlx_node *node,
			    struct error *err)
{
	return read_u32(reader, node, 100, &reader->gpu->other_percent, err);
}

static int read_temperature(const struct gpu_reader *reader, const struct yamlx_node *node,
			    struct error *err)
{
	int64_t value = 0;
	int r = scenario_parse_int(reader->doc, node, 0, 200, &value, err);

	if (r == 0)
		reader->gpu->temperature_c = (int32_t)value;
	return r;
}

static int read_fan(const struct gpu_reader *reader, const struct yamlx_node *node,
		    struct error *err)
{
	return yamlx_bool(reader->doc, node, &reader->gpu->has_fan, err);
}

static int read_display(const struct gpu_reader *reader, const struct yamlx_node *node,
			struct error *err)
{
	return yamlx_bool(reader->doc, node, &reader->gpu->display, err);
}

static int read_unified(const struct gpu_reader *reader, const struct yamlx_node *node,
			struct error *err)
{
	bool unified = false;
	int r = yamlx_bool(reader->doc, node, &unified, err);

	if (r == 0 && unified)
		reader->gpu->quirks |= SIM_QUIRK_MEMORY_UNSUPPORTED;
	return r;
}

/* One MIG instance: a mapping, or `hole` for a place in the list where none is. */
static int read_mig_instance(const struct gpu_reader *reader, const struct yamlx_node *node,
			     struct sim_mig *mig, unsigned place, struct error *err)
{
	static const char *const keys[] = {"vram", "slices", "uuid", "name", NULL};
	const struct yamlx_node *value;
	int64_t slices = 1;
	int r;

	if (node->type == YAMLX_SCALAR && strcmp(node->text, "hole") == 0)
		return 0;
	if (node->type != YAMLX_MAPPING || !yamlx_get(node, "vram"))
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "a MIG instance is `hole` or a mapping with vram");
	r = yamlx_check_keys(reader->doc, node, keys, err);
	if (r < 0)
		return r;
	r = yamlx_size(reader->doc, yamlx_get(node, "vram"), &mig->total_bytes, err);
	if (r < 0)
		return r;
	value = yamlx_get(node, "slices");
	if (value && (r = scenario_parse_int(reader->doc, value, 1, 7, &slices, err)) < 0)
		return r;
	mig->there = true;
	mig->slices = (uint32_t)slices;
	mig->gpu_instance = place + 1;
	mig->compute_instance = 0;
	mig->multiprocessors = MAX_OF(reader->gpu->multiprocessors * mig->slices / 7, 1U);
	(void)snprintf(mig->name, sizeof mig->name, "%.64s MIG %ug.%llugb", reader->gpu->name,
		       mig->slices, (unsigned long long)((mig->total_bytes + GIB / 2) / GIB));
	make_uuid(mig->uuid, "MIG", mig->name, reader->index * SIM_MIGS_MAX + place);
	value = yamlx_get(node, "name");
	if (value && (r = copy_string(reader->doc, value, mig->name, sizeof mig->name, err)) < 0)
		return r;
	value = yamlx_get(node, "uuid");
	return value ? copy_string(reader->doc, value, mig->uuid, sizeof mig->uuid, err) : 0;
}

static int read_mig(const struct gpu_reader *reader, const struct yamlx_node *node,
		    struct error *err)
{
	struct sim_gpu *gpu = reader->gpu;
	uint64_t sum = 0;

	if (node->type != YAMLX_SEQUENCE || node->n > SIM_MIGS_MAX)
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "mig is a list of at most %d instances", SIM_MIGS_MAX);
	gpu->mig_mode = true;
	gpu->n_migs = (uint32_t)node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_mig_instance(reader, node->items[i], &gpu->migs[i], i, err);

		if (r < 0)
			return r;
		/* Capped, so that the sum of absurd sizes cannot wrap. */
		sum += MIN_OF(gpu->migs[i].total_bytes, gpu->total_bytes + 1);
	}
	if (sum > gpu->total_bytes)
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "the instances hold more together than the GPU, which has %s",
				   SIZE_TEXT(gpu->total_bytes));
	return 0;
}

static int read_condition(const struct gpu_reader *reader, const struct yamlx_node *node,
			  struct error *err)
{
	return scenario_parse_condition(reader->doc, node, &reader->gpu->condition, err);
}

static int read_quirks(const struct gpu_reader *reader, const struct yamlx_node *node,
		       struct error *err)
{
	return scenario_parse_gpu_quirks(reader->doc, node, reader->gpu, err);
}

static const struct gpu_key {
	const char *name;
	read_f read;
} gpu_keys[] = {
    /* `mig` is last: its instances are cut from what stands above */
    {"name", read_name},
    {"uuid", read_uuid},
    {"serial", read_serial},
    {"vram", read_vram},
    {"reserved", read_reserved},
    {"used", read_used},
    {"speed", read_speed},
    {"compute_capability", read_capability},
    {"pci", read_pci},
    {"cores", read_cores},
    {"power_limit", read_power_limit},
    {"utilization", read_utilization},
    {"temperature", read_temperature},
    {"fan", read_fan},
    {"display", read_display},
    {"unified", read_unified},
    {"condition", read_condition},
    {"quirks", read_quirks},
    {"mig", read_mig},
};

static int check_gpu(const struct yamlx *doc, const struct yamlx_node *node,
		     const struct sim_state *image, const struct sim_gpu *gpu, struct error *err)
{
	const struct sim_gpu *before = gpu > image->gpus ? gpu - 1 : NULL;

	if (gpu->reserved_bytes + gpu->other_bytes > gpu->total_bytes)
		return yamlx_error(
		    doc, node, -EINVAL, err, "reserved and used (%s) exceed vram (%s)",
		    SIZE_TEXT(gpu->reserved_bytes + gpu->other_bytes), SIZE_TEXT(gpu->total_bytes));
	if (before &&
	    (((uint64_t)before->pci_domain << 16 | before->pci_bus << 8 | before->pci_device) >=
	     ((uint64_t)gpu->pci_domain << 16 | gpu->pci_bus << 8 | gpu->pci_device)))
		return yamlx_error(doc, node, -EINVAL, err,
				   "GPUs stand in the order of their PCI addresses, as NVML lists "
				   "them");
	for (const struct sim_gpu *other = image->gpus; other < gpu; other++)
		if (strcmp(other->uuid, gpu->uuid) == 0)
			return yamlx_error(doc, node, -EINVAL, err, "two GPUs with uuid %s",
					   gpu->uuid);
	return 0;
}

static int parse_gpu(const struct yamlx *doc, const struct yamlx_node *node,
		     const struct yamlx *catalogue, struct sim_state *image, struct error *err)
{
	const char *names[ARRAY_LEN(gpu_keys) + 2] = {"model"};
	struct sim_gpu *gpu = &image->gpus[image->n_gpus];
	struct gpu_reader reader = {.doc = doc, .gpu = gpu, .index = image->n_gpus};
	const struct yamlx_node *model;
	struct error cause = {};
	int r;

	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err,
				   "a GPU is a mapping: `model: rtx-a5500` or name and vram");
	for (size_t i = 0; i < ARRAY_LEN(gpu_keys); i++)
		names[i + 1] = gpu_keys[i].name;
	r = yamlx_check_keys(doc, node, names, err);
	if (r < 0)
		return r;
	model = yamlx_get(node, "model");
	if (model && model->type == YAMLX_SCALAR) {
		r = catalogue_fill(catalogue, model->text, gpu, &cause);
		if (r < 0)
			return yamlx_error(doc, model, -EINVAL, err, "%s", cause.text);
	} else if (!yamlx_get(node, "vram") || !yamlx_get(node, "name")) {
		return yamlx_error(doc, node, -EINVAL, err,
				   "a GPU needs `model` of the catalogue, or `name` and `vram`");
	} else {
		catalogue_fill_generic("", gpu);
		gpu->reserved_bytes = 0;
	}
	gpu_place(image, gpu);
	for (size_t i = 0; i < ARRAY_LEN(gpu_keys); i++) {
		const struct yamlx_node *value = yamlx_get(node, gpu_keys[i].name);

		if (value && (r = gpu_keys[i].read(&reader, value, err)) < 0)
			return r;
		if (i == 0 && !model) /* an unnamed model: the name makes the UUID */
			make_uuid(gpu->uuid, "GPU", gpu->name, reader.index);
	}
	r = check_gpu(doc, node, image, gpu, err);
	if (r == 0)
		image->n_gpus++;
	return r;
}

static int parse_gpus(const struct yamlx *doc, const struct yamlx_node *node,
		      const struct yamlx *catalogue, struct sim_state *image, struct error *err)
{
	if (node->type != YAMLX_SEQUENCE || node->n > SIM_GPUS_MAX)
		return yamlx_error(doc, node, -EINVAL, err, "gpus is a list of at most %d",
				   SIM_GPUS_MAX);
	for (size_t i = 0; i < node->n; i++) {
		int r = parse_gpu(doc, node->items[i], catalogue, image, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_timeline(const struct yamlx *doc, const struct yamlx_node *node,
			  struct sim_state *image, struct error *err)
{
	if (node->type != YAMLX_SEQUENCE)
		return yamlx_error(doc, node, -EINVAL, err, "timeline is a list of events");
	for (size_t i = 0; i < node->n; i++) {
		struct sim_event event;
		int r = scenario_parse_event(doc, node->items[i], image, 0, &event, err);

		if (r < 0)
			return r;
		if (state_add_event(image, &event) < 0)
			return yamlx_error(doc, node->items[i], -ENOSPC, err, "more than %d events",
					   SIM_EVENTS_MAX);
	}
	return 0;
}

/* "12.6" -> 12060 */
static int parse_cuda(const struct yamlx *doc, const struct yamlx_node *node,
		      struct sim_state *image, struct error *err)
{
	uint32_t major, minor;

	if (node->type != YAMLX_SCALAR ||
	    catalogue_parse_capability(node->text, &major, &minor) < 0)
		return yamlx_error(doc, node, -EINVAL, err, "a CUDA version reads like \"12.6\"");
	image->cuda_version = (int32_t)(major * 1000 + minor * 10);
	return 0;
}

static int parse_versions(const struct yamlx *doc, struct sim_state *image, struct error *err)
{
	const struct yamlx_node *driver = yamlx_get(doc->root, "driver");
	const struct yamlx_node *nvml = yamlx_get(doc->root, "nvml");
	const struct yamlx_node *cuda = yamlx_get(doc->root, "cuda");
	int r = 0;

	if (driver)
		r = copy_string(doc, driver, image->driver_version, sizeof image->driver_version,
				err);
	if (r == 0 && nvml)
		r = copy_string(doc, nvml, image->nvml_version, sizeof image->nvml_version, err);
	if (r == 0 && cuda)
		r = parse_cuda(doc, cuda, image, err);
	return r;
}

int scenario_parse(const struct yamlx *doc, const struct yamlx *catalogue,
		   struct sim_state **ret_image, struct error *err)
{
	static const char *const keys[] = {"driver", "cuda",     "nvml",   "time_scale", "gpus",
					   "links",  "timeline", "quirks", NULL};
	auto_free struct sim_state *image = scenario_create_empty();
	const struct yamlx_node *node;
	int r;

	if (!doc->root || doc->root->type != YAMLX_MAPPING)
		return error_set(err, -EINVAL, "%s: a scenario is a mapping with the key `gpus`",
				 doc->name);
	r = yamlx_check_keys(doc, doc->root, keys, err);
	if (r == 0)
		r = parse_versions(doc, image, err);
	node = yamlx_get(doc->root, "time_scale");
	if (r == 0 && node)
		r = yamlx_real(doc, node, 0.0001, 1000, &image->time_scale, err);
	node = yamlx_get(doc->root, "gpus");
	if (r == 0 && !node)
		r = yamlx_error(doc, doc->root, -EINVAL, err, "`gpus` is missing");
	if (r == 0)
		r = parse_gpus(doc, node, catalogue, image, err);
	node = yamlx_get(doc->root, "links");
	if (r == 0 && node)
		r = scenario_parse_links(doc, node, image, err);
	node = yamlx_get(doc->root, "quirks");
	if (r == 0 && node)
		r = scenario_parse_quirks(doc, node, image, err);
	node = yamlx_get(doc->root, "timeline");
	if (r == 0 && node)
		r = parse_timeline(doc, node, image, err);
	if (r < 0)
		return r;
	*ret_image = TAKE(image);
	return 0;
}

/* "rtx-a5500", "rtx-3090:20G", "big:23.57G:1.0" */
static int parse_gpu_word(char *word, const struct yamlx *catalogue, struct sim_gpu *gpu,
			  struct error *err)
{
	char *vram = strchr(word, ':'), *speed = NULL, *end = NULL;
	const struct yamlx_node *models = yamlx_get(catalogue->root, "gpus");
	int r;

	if (vram) {
		*vram++ = '\0';
		speed = strchr(vram, ':');
		if (speed)
			*speed++ = '\0';
	}
	if (*word == '\0' || strlen(word) >= SIM_NAME_MAX)
		return error_set(err, -EINVAL, "--gpus: a GPU without a name");
	if (!vram || (models && yamlx_get(models, word))) {
		r = catalogue_fill(catalogue, word, gpu, err);
		if (r < 0)
			return error_prefix(err, -EINVAL, "--gpus");
	} else {
		catalogue_fill_generic(word, gpu);
	}
	if (vram) {
		r = size_parse(vram, &gpu->total_bytes, err);
		if (r < 0)
			return error_prefix(err, r, "--gpus: %s", word);
		if (gpu->total_bytes < 256 * MIB)
			return error_set(err, -EINVAL, "--gpus: %s: less than 256 MiB", word);
		gpu->reserved_bytes = 0;
	}
	if (speed) {
		gpu->speed = strtod(speed, &end);
		if (end == speed || *end || !(gpu->speed >= 0.001 && gpu->speed <= 1000))
			return error_set(err, -EINVAL,
					 "--gpus: %s: \"%.32s\" is not a speed from 0.001 to 1000",
					 word, speed);
	}
	return 0;
}

int scenario_parse_gpus(const char *list, const struct yamlx *catalogue,
			struct sim_state **ret_image, struct error *err)
{
	auto_free struct sim_state *image = scenario_create_empty();
	auto_free char *copy = NULL;
	char *rest, *word;

	if (strlen(list) > LIST_MAX)
		return error_set(err, -EINVAL, "--gpus: longer than %d characters", LIST_MAX);
	copy = rest = mem_strdup(list);
	while ((word = strsep(&rest, ","))) {
		struct sim_gpu *gpu = &image->gpus[image->n_gpus];
		int r;

		if (image->n_gpus == SIM_GPUS_MAX)
			return error_set(err, -EINVAL, "--gpus: at most %d GPUs", SIM_GPUS_MAX);
		r = parse_gpu_word(word, catalogue, gpu, err);
		if (r < 0)
			return r;
		gpu_place(image, gpu);
		image->n_gpus++;
	}
	*ret_image = TAKE(image);
	return 0;
}
