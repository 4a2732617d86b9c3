/*
 * The member "request". The wishes of thousands of rows are nearly always the same ones: they are
 * read into one that is kept when there is none like it yet, and shared.
 */
#include "daemon/submit_priv.h"

#include <errno.h>
#include <string.h>

#define CPUS_MAX    4096.0
#define VRAM_MAX    ((uint64_t)1 << 50)
#define STAGGER_MAX 3600.0 /* seconds */

static int read_vram(const json_t *value, struct target *t, struct error *err)
{
	return read_u64(value, VRAM_MAX, &t->spec->request.vram_bytes, err);
}

/* In thousandths: finer shares than those nobody can tell apart. */
static int read_fraction(const json_t *value, struct target *t, struct error *err)
{
	double fraction = json_number_value(value);

	if (!json_is_number(value) || !(fraction >= 0.001) || fraction > 1)
		return error_set(err, -EINVAL, "must be a number from 0.001 to 1");
	t->spec->request.fraction_milli = (unsigned)(fraction * 1000 + 1e-6);
	return 0;
}

static int read_ram(const json_t *value, struct target *t, struct error *err)
{
	return read_u64(value, VRAM_MAX, &t->spec->request.ram_bytes, err);
}

static int read_cpus(const json_t *value, struct target *t, struct error *err)
{
	double cpus = 0;
	int r = read_real(value, CPUS_MAX, &cpus, err);

	if (r == 0)
		t->spec->request.cpu_milli = (unsigned)(cpus * 1000 + 0.5);
	return r;
}

static int read_gpus(const json_t *value, struct target *t, struct error *err)
{
	return read_unsigned(value, PLACE_GPUS_MAX, &t->spec->request.gpus, err);
}

static int read_cpu_mode(const json_t *value, struct target *t, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	return r < 0 ? r : place_cpu_mode_parse(text, &t->spec->request.cpu, err);
}

static int read_exclusive(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->spec->request.exclusive, err);
}

/* Borrowed from the GPU list. */
static int resolve(const json_t *value, const struct target *t, const char **ret_uuid,
		   struct error *err)
{
	const struct gpu *gpu;
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	*ret_uuid = NULL;
	if (r < 0 || !*text)
		return r;
	if (!t->gpus)
		return error_set(err, -ENODEV, "no GPU is known yet, so %s cannot be found", text);
	r = gpu_list_resolve(t->gpus, text, &gpu, err);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	*ret_uuid = gpu->uuid;
	return 0;
}

static int read_pin(const json_t *value, struct target *t, struct error *err)
{
	return resolve(value, t, &t->spec->request.pin_uuid, err);
}

static int read_start_lock(const json_t *value, struct target *t, struct error *err)
{
	return read_bool(value, &t->spec->request.start_lock, err);
}

static int read_stagger(const json_t *value, struct target *t, struct error *err)
{
	double seconds = 0;
	int r = read_real(value, STAGGER_MAX, &seconds, err);

	if (r == 0)
		t->spec->request.stagger_ms = (unsigned)(seconds * 1000 + 0.5);
	return r;
}

/* Wishes: read into submit->wish, kept once the request is read. */

static struct place_wishes *wish(struct target *t)
{
	/* Cleared only for those that have some: it is 5 KiB, and most of 100,000 rows have none.
	 */
	if (!t->submit->has_wish)
		memset(&t->submit->wish, 0, sizeof t->submit->wish);
	t->submit->has_wish = true;
	return &t->submit->wish;
}

static bool wish_names(char (*list)[GPU_UUID_MAX], size_t n, const char *uuid)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], uuid) == 0)
			return true;
	return false;
}

static int read_gpu_list(const json_t *value, struct target *t, char (*list)[GPU_UUID_MAX],
			 size_t *n, struct error *err)
{
	const json_t *item;
	const char *uuid;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > PLACE_WISHES_GPUS_MAX)
		return error_set(err, -EINVAL, "must be an array of at most %d GPUs",
				 PLACE_WISHES_GPUS_MAX);
	*n = 0;
	json_array_foreach (value, i, item) {
		int r = resolve(item, t, &uuid, err);

		if (r == 0 && !uuid)
			r = error_set(err, -EINVAL, "\"\" names no GPU");
		if (r < 0)
			return r;
		if (!wish_names(list, *n, uuid))
			(void)snprintf(list[(*n)++], GPU_UUID_MAX, "%s", uuid);
	}
	return 0;
}

static int read_prefer(const json_t *value, struct target *t, struct error *err)
{
	return read_gpu_list(value, t, wish(t)->prefer, &wish(t)->n_prefer, err);
}

static int read_avoid(const json_t *value, struct target *t, struct error *err)
{
	return read_gpu_list(value, t, wish(t)->avoid, &wish(t)->n_avoid, err);
}

static int read_forbid(const json_t *value, struct target *t, struct error *err)
{
	return read_gpu_list(value, t, wish(t)->forbid, &wish(t)->n_forbid, err);
}

static int read_models(const json_t *value, struct target *t, struct error *err)
{
	struct place_wishes *w = wish(t);
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || json_array_size(value) > PLACE_WISHES_MODELS_MAX)
		return error_set(err, -EINVAL, "must be an array of at most %d texts",
				 PLACE_WISHES_MODELS_MAX);
	w->n_models = 0;
	json_array_foreach (value, i, item) {
		const char *text;
		int r = read_string(item, GPU_NAME_MAX - 1, &text, err);

		if (r == 0 && !*text)
			r = error_set(err, -EINVAL, "\"\" is part of every GPU model's name");
		if (r < 0)
			return r;
		(void)snprintf(w->models[w->n_models++], GPU_NAME_MAX, "%s", text);
	}
	return 0;
}

static int read_compute(const json_t *value, unsigned *ret_compute, struct error *err)
{
	const char *text;
	int r = read_string(value, SUBMIT_NAME_MAX, &text, err);

	if (r < 0)
		return r;
	*ret_compute = wishes_compute_parse(text);
	if (*ret_compute == 0)
		return error_set(err, -EINVAL,
				 "must be a compute capability such as \"8.0\", not \"%.32s\"",
				 text);
	return 0;
}

static int read_compute_min(const json_t *value, struct target *t, struct error *err)
{
	return read_compute(value, &wish(t)->compute_min, err);
}

static int read_compute_max(const json_t *value, struct target *t, struct error *err)
{
	return read_compute(value, &wish(t)->compute_max, err);
}

/* One that is preferred and forbidden was not meant so. `key` is the other list; the GPU is named
 * as it was there. */
static int check_not_preferred(const json_t *value, const char *key, struct target *t,
			       struct error *err)
{
	struct place_wishes *w = &t->submit->wish;
	const char *uuid = NULL;
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(value, key), i, item)
		if (resolve(item, t, &uuid, NULL) == 0 && uuid &&
		    wish_names(w->prefer, w->n_prefer, uuid))
			return error_set(err, -EINVAL, "%s: GPU %s is to be preferred, too", key,
					 json_string_value(item));
	return 0;
}

static int wish_check(const json_t *value, struct target *t, struct error *err)
{
	const struct place_wishes *w = &t->submit->wish;
	int r = check_not_preferred(value, "forbid", t, err);

	if (r == 0)
		r = check_not_preferred(value, "avoid", t, err);
	if (r < 0)
		return r;
	if (w->compute_max > 0 && w->compute_min > w->compute_max)
		return error_set(err, -EINVAL,
				 "compute_capability_min: %u.%u is above the max of %u.%u",
				 w->compute_min / 10, w->compute_min % 10, w->compute_max / 10,
				 w->compute_max % 10);
	return 0;
}

int read_request(const json_t *value, struct target *t, struct error *err)
{
	static const struct member members[] = {
	    {"vram_bytes", read_vram},
	    {"fraction", read_fraction},
	    {"ram_bytes", read_ram},
	    {"cpus", read_cpus},
	    {"gpus", read_gpus},
	    {"cpu", read_cpu_mode},
	    {"exclusive", read_exclusive},
	    {"pin", read_pin},
	    {"prefer", read_prefer},
	    {"avoid", read_avoid},
	    {"forbid", read_forbid},
	    {"models", read_models},
	    {"compute_capability_min", read_compute_min},
	    {"compute_capability_max", read_compute_max},
	    {"start_lock", read_start_lock},
	    {"stagger_seconds", read_stagger},
	    {},
	};
	struct submit *submit = t->submit;
	int r;

	submit->has_wish = false;
	r = read_members(value, members, t, err);
	if (r < 0 || !submit->has_wish)
		return r;
	r = wish_check(value, t, err);
	if (r < 0)
		return r;
	if (submit->wishes.n == SUBMIT_WISHES_MAX)
		return error_set(err, -EINVAL, "more than %d different wishes in one batch",
				 SUBMIT_WISHES_MAX);
	t->spec->request.wishes = wishes_list_keep(&submit->wishes, &submit->wish);
	return 0;
}

int request_settle(struct place_request *request, struct error *err)
{
	if (request->vram_bytes > 0 && request->fraction_milli > 0)
		return error_set(err, -EINVAL,
				 "request: asks for a size of VRAM and for a fraction of the "
				 "GPU's; one of them is enough");
	if (request->cpu == PLACE_CPU_ONLY) {
		if (place_request_is_sized(request) || request->pin_uuid)
			return error_set(err, -EINVAL,
					 "request: runs on the CPU only, and yet asks for VRAM or "
					 "a GPU");
		if (request->wishes || request->start_lock || request->stagger_ms > 0)
			return error_set(err, -EINVAL,
					 "request: runs on the CPU only, and yet has wishes about "
					 "GPUs");
		request->gpus = 0;
	} else if (request->gpus == 0) {
		return error_set(err, -EINVAL,
				 "request: gpus: 0 goes with cpu \"only\" and nothing else");
	}
	if (request->pin_uuid && request->gpus > 1)
		return error_set(err, -EINVAL, "request: a pin names one GPU, %u are asked for",
				 request->gpus);
	return 0;
}
