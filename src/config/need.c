/*
 * See need.h. One table of keys: name, reader, how it is taken over by a merge. What is not in it
 * is refused by its place. `vram`, `models` and `shared` are one thing said in two ways, so they
 * are one bit of `given`: whoever says one of them later replaces all three.
 */
#include "config/need.h"

#include "gpu/gpu.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#define LIST_MAX     64
#define NAME_LEN_MAX 128
#define PRIORITY_MAX 1000
#define GPUS_MAX     64

enum given_FLAGS {
	GIVEN_VRAM = 1u << 0,
	GIVEN_RAM = 1u << 1,
	GIVEN_GPUS = 1u << 2,
	GIVEN_CPU = 1u << 3,
	GIVEN_KEEP = 1u << 4,
	GIVEN_ON_DEMAND = 1u << 5,
	GIVEN_PRIORITY = 1u << 6,
	GIVEN_GPU = 1u << 7,
	GIVEN_PREFER = 1u << 8,
	GIVEN_AVOID = 1u << 9,
	GIVEN_FORBID = 1u << 10,
	GIVEN_COMPUTE = 1u << 11,
	GIVEN_NOT_WITH = 1u << 12,
	GIVEN_EXCLUSIVE = 1u << 13,
	GIVEN_REPLICAS = 1u << 14,
};

struct key {
	const char *name;
	unsigned given;
	size_t offset; /* of what the reader fills, in struct need */
	int (*read)(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		    struct error *err);
};

static bool is_null(const struct yamlx_node *node)
{
	return node->type == YAMLX_SCALAR && node->plain && yamlx_is_null_word(node->text);
}

static int read_name(const struct yamlx *doc, const struct yamlx_node *node, const char **ret_name,
		     struct error *err)
{
	int r = yamlx_string(doc, node, ret_name, err);

	if (r < 0)
		return r;
	if (!**ret_name || strlen(*ret_name) > NAME_LEN_MAX)
		return yamlx_error(doc, node, -EINVAL, err,
				   "a name of 1 to %d characters is wanted", NAME_LEN_MAX);
	return 0;
}

static int read_bytes(const struct yamlx *doc, const struct yamlx_node *node, uint64_t *ret_bytes,
		      struct error *err)
{
	uint64_t bytes = 0;
	int r = yamlx_size(doc, node, &bytes, err);

	if (r == 0 && bytes > GPU_BYTES_MAX)
		r = yamlx_error(doc, node, -EINVAL, err, "nothing has that much; at most 256T");
	if (r == 0)
		*ret_bytes = bytes;
	return r;
}

/* Zero would read as "known to need nothing". */
static int read_size(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		     struct error *err)
{
	uint64_t bytes = 0;
	int r = read_bytes(doc, node, &bytes, err);

	if (r == 0 && bytes == 0)
		r = yamlx_error(doc, node, -EINVAL, err,
				"must be more than 0; leave it out when it is not known");
	if (r == 0)
		*(uint64_t *)at = bytes;
	return r;
}

static int read_bool(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		     struct error *err)
{
	return yamlx_bool(doc, node, at, err);
}

static int read_whole(const struct yamlx *doc, const struct yamlx_node *node, int min, int max,
		      int *ret_value, struct error *err)
{
	double value = 0;
	int r = yamlx_real(doc, node, min, max, &value, err);

	if (r == 0 && value != floor(value))
		r = yamlx_error(doc, node, -EINVAL, err, "must be a whole number");
	if (r == 0)
		*ret_value = (int)value;
	return r;
}

static int read_priority(const struct yamlx *doc, const struct yamlx_node *node, void *at,
			 struct error *err)
{
	return read_whole(doc, node, -PRIORITY_MAX, PRIORITY_MAX, at, err);
}

static int read_gpus(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		     struct error *err)
{
	int value = 0;
	int r = read_whole(doc, node, 1, GPUS_MAX, &value, err);

	if (r == 0)
		*(unsigned *)at = (unsigned)value;
	return r;
}

static int read_cpu(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		    struct error *err)
{
	const char *text;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	if (strcmp(text, "never") != 0 && strcmp(text, "fallback") != 0)
		return yamlx_error(doc, node, -EINVAL, err,
				   "cpu \"%.64s\" is neither never nor fallback", text);
	*(bool *)at = strcmp(text, "fallback") == 0;
	return 0;
}

static int read_replicas(const struct yamlx *doc, const struct yamlx_node *node, void *at,
			 struct error *err)
{
	const char *text;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	if (strcmp(text, "spread") != 0 && strcmp(text, "together") != 0)
		return yamlx_error(doc, node, -EINVAL, err,
				   "replicas \"%.64s\" are neither spread nor together (how many "
				   "there are is for the service to say)",
				   text);
	*(bool *)at = strcmp(text, "together") == 0;
	return 0;
}

static int read_gpu(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		    struct error *err)
{
	const char *text;
	int r = read_name(doc, node, &text, err);

	if (r < 0)
		return r;
	free(*(char **)at);
	*(char **)at = mem_strdup(text);
	return 0;
}

static void strings_replace(struct strings *list, const struct strings *by)
{
	strings_finish(list);
	*list = (struct strings){};
	for (size_t i = 0; i < by->n; i++)
		strings_add(list, by->items[i]);
}

/* A list, or a single one. */
static int read_list(const struct yamlx *doc, const struct yamlx_node *node, void *at,
		     struct error *err)
{
	auto_strings struct strings list = {};
	size_t n = node->type == YAMLX_SEQUENCE ? node->n : 1;

	if (n > LIST_MAX)
		return yamlx_error(doc, node, -E2BIG, err, "has more than %d entries", LIST_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *text;
		int r = read_name(doc, node->type == YAMLX_SEQUENCE ? node->items[i] : node, &text,
				  err);

		if (r < 0)
			return r;
		strings_add(&list, text);
	}
	strings_replace(at, &list);
	return 0;
}

/* "8.6", "8": digit by digit, so that 8.10 is no 8.1. */
static int read_compute(const struct yamlx *doc, const struct yamlx_node *node, void *at,
			struct error *err)
{
	const char *text, *p;
	unsigned major = 0, minor = 0;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	for (p = text; isdigit((unsigned char)*p) && p - text < 2; p++)
		major = major * 10 + (unsigned)(*p - '0');
	if (p > text && p[0] == '.' && isdigit((unsigned char)p[1])) {
		minor = (unsigned)(p[1] - '0');
		p += 2;
	}
	if (p == text || *p || major == 0)
		return yamlx_error(doc, node, -EINVAL, err,
				   "\"%.64s\" is no compute capability; write for example 8.6",
				   text);
	*(unsigned *)at = major * 10 + minor;
	return 0;
}

/* What a service's VRAM is made of. */

static int read_model(const struct yamlx *doc, const struct yamlx_node *node,
		      struct need_model *model, struct error *err)
{
	static const char *const known[] = {"vram", "on-demand", NULL};
	const struct yamlx_node *value;
	int r;

	if (node->type == YAMLX_SCALAR)
		return read_size(doc, node, &model->vram_bytes, err);
	r = yamlx_check_keys(doc, node, known, err);
	if (r < 0)
		return r;
	value = yamlx_get(node, "vram");
	if (!value)
		return yamlx_error(doc, node, -EINVAL, err, "a model has a `vram`");
	r = read_size(doc, value, &model->vram_bytes, err);
	if (r == 0 && (value = yamlx_get(node, "on-demand")))
		r = yamlx_bool(doc, value, &model->on_demand, err);
	return r;
}

static int read_models(const struct yamlx *doc, const struct yamlx_node *node, struct need *need,
		       struct error *err)
{
	if (node->type != YAMLX_MAPPING || node->n == 0 || node->n > NEED_MODELS_MAX)
		return yamlx_error(doc, node, -EINVAL, err,
				   "`models` is a mapping of 1 to %d names and sizes (clip: 1.2G)",
				   NEED_MODELS_MAX);
	need->models = mem_calloc(node->n, sizeof *need->models);
	for (size_t i = 0; i < node->n; i++) {
		struct need_model *model = &need->models[i];
		const char *name;
		int r = read_name(doc, node->keys[i], &name, err);

		if (r < 0)
			return r;
		model->name = mem_strdup(name);
		need->n_models++;
		r = read_model(doc, node->items[i], model, err);
		if (r < 0)
			return r;
		if (!model->on_demand)
			need->vram_bytes += model->vram_bytes;
	}
	return 0;
}

/* Those on demand, too. */
static uint64_t bytes_of_all(const struct need *need)
{
	uint64_t sum = need->shared_bytes;

	for (size_t i = 0; i < need->n_models; i++)
		sum += need->models[i].vram_bytes;
	return sum;
}

static int read_vram(const struct yamlx *doc, const struct yamlx_node *mapping, struct need *need,
		     struct error *err)
{
	const struct yamlx_node *vram = yamlx_get(mapping, "vram");
	const struct yamlx_node *models = yamlx_get(mapping, "models");
	const struct yamlx_node *shared = yamlx_get(mapping, "shared");
	int r = 0;

	if (vram && models)
		return yamlx_error(doc, models, -EINVAL, err,
				   "either `vram` or `models`, whose sizes are summed, not both");
	if (shared && !models)
		return yamlx_error(doc, shared, -EINVAL, err,
				   "`shared` is what `models` have in common; there are none");
	if (vram)
		r = read_size(doc, vram, &need->vram_bytes, err);
	if (r == 0 && models)
		r = read_models(doc, models, need, err);
	if (r == 0 && shared)
		r = read_bytes(doc, shared, &need->shared_bytes, err);
	if (r == 0 && models && bytes_of_all(need) > GPU_BYTES_MAX)
		r = yamlx_error(doc, models, -EINVAL, err,
				"no GPU has that much for all of them; at most 256T");
	if (r == 0 && (vram || models)) {
		need->vram_bytes += need->shared_bytes;
		need->has_vram = true;
		need->given |= GIVEN_VRAM;
	}
	return r;
}

static const struct key keys[] = {
    {"ram", GIVEN_RAM, offsetof(struct need, ram_bytes), read_size},
    {"gpus", GIVEN_GPUS, offsetof(struct need, gpus), read_gpus},
    {"cpu", GIVEN_CPU, offsetof(struct need, cpu_fallback), read_cpu},
    {"keep", GIVEN_KEEP, offsetof(struct need, keep), read_bool},
    {"on-demand", GIVEN_ON_DEMAND, offsetof(struct need, on_demand), read_bool},
    {"priority", GIVEN_PRIORITY, offsetof(struct need, priority), read_priority},
    {"gpu", GIVEN_GPU, offsetof(struct need, gpu), read_gpu},
    {"prefer", GIVEN_PREFER, offsetof(struct need, prefer), read_list},
    {"avoid", GIVEN_AVOID, offsetof(struct need, avoid), read_list},
    {"forbid", GIVEN_FORBID, offsetof(struct need, forbid), read_list},
    {"min-compute-capability", GIVEN_COMPUTE, offsetof(struct need, compute_min), read_compute},
    {"not-with", GIVEN_NOT_WITH, offsetof(struct need, not_with), read_list},
    {"exclusive", GIVEN_EXCLUSIVE, offsetof(struct need, exclusive), read_bool},
    {"replicas", GIVEN_REPLICAS, offsetof(struct need, together), read_replicas},
};

static int need_read(const struct yamlx *doc, const struct yamlx_node *mapping, struct need *need,
		     struct error *err)
{
	const char *known[ARRAY_LEN(keys) + 4] = {"vram", "models", "shared"};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		known[i + 3] = keys[i].name;
	r = yamlx_check_keys(doc, mapping, known, err);
	if (r == 0)
		r = read_vram(doc, mapping, need, err);
	for (size_t i = 0; i < ARRAY_LEN(keys) && r == 0; i++) {
		const struct yamlx_node *node = yamlx_get(mapping, keys[i].name);

		if (!node)
			continue;
		r = keys[i].read(doc, node, (char *)need + keys[i].offset, err);
		if (r == 0)
			need->given |= keys[i].given;
	}
	need->has_ram = need->given & GIVEN_RAM;
	return r;
}

int need_parse(const struct yamlx *doc, const struct yamlx_node *mapping, struct need *ret_need,
	       struct error *err)
{
	struct need need = {};
	int r = 0;

	if (!is_null(mapping))
		r = need_read(doc, mapping, &need, err);
	if (r < 0) {
		need_finish(&need);
		return r;
	}
	if (need.given)
		need.where = mem_printf("%s:%u:%u", mapping->file ? mapping->file : doc->name,
					mapping->line, mapping->column);
	*ret_need = need;
	return 0;
}

/* Merging. */

static void models_free(struct need *need)
{
	for (size_t i = 0; i < need->n_models; i++)
		free(need->models[i].name);
	free(need->models);
	need->models = NULL;
	need->n_models = 0;
}

static void merge_vram(struct need *need, const struct need *more)
{
	models_free(need);
	need->has_vram = more->has_vram;
	need->vram_bytes = more->vram_bytes;
	need->shared_bytes = more->shared_bytes;
	if (more->n_models > 0)
		need->models = mem_calloc(more->n_models, sizeof *need->models);
	for (size_t i = 0; i < more->n_models; i++) {
		need->models[i] = more->models[i];
		need->models[i].name = mem_strdup(more->models[i].name);
	}
	need->n_models = more->n_models;
}

static void merge_plain(struct need *need, const struct need *more)
{
	if (more->given & GIVEN_RAM) {
		need->has_ram = true;
		need->ram_bytes = more->ram_bytes;
	}
	if (more->given & GIVEN_GPUS)
		need->gpus = more->gpus;
	if (more->given & GIVEN_CPU)
		need->cpu_fallback = more->cpu_fallback;
	if (more->given & GIVEN_KEEP)
		need->keep = more->keep;
	if (more->given & GIVEN_ON_DEMAND)
		need->on_demand = more->on_demand;
	if (more->given & GIVEN_EXCLUSIVE)
		need->exclusive = more->exclusive;
	if (more->given & GIVEN_REPLICAS)
		need->together = more->together;
	if (more->given & GIVEN_PRIORITY)
		need->priority = more->priority;
	if (more->given & GIVEN_COMPUTE)
		need->compute_min = more->compute_min;
}

void need_merge(struct need *need, const struct need *more)
{
	const struct {
		unsigned given;
		struct strings *to;
		const struct strings *from;
	} lists[] = {
	    {GIVEN_PREFER, &need->prefer, &more->prefer},
	    {GIVEN_AVOID, &need->avoid, &more->avoid},
	    {GIVEN_FORBID, &need->forbid, &more->forbid},
	    {GIVEN_NOT_WITH, &need->not_with, &more->not_with},
	};

	if (more->given & GIVEN_VRAM)
		merge_vram(need, more);
	merge_plain(need, more);
	if (more->given & GIVEN_GPU) {
		free(need->gpu);
		need->gpu = more->gpu ? mem_strdup(more->gpu) : NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (more->given & lists[i].given)
			strings_replace(lists[i].to, lists[i].from);
	if (!need->where && more->where)
		need->where = mem_strdup(more->where);
	need->given |= more->given;
}

void need_finish(struct need *need)
{
	models_free(need);
	strings_finish(&need->prefer);
	strings_finish(&need->avoid);
	strings_finish(&need->forbid);
	strings_finish(&need->not_with);
	free(need->gpu);
	free(need->where);
	*need = (struct need){};
}
