/*
 * Placeholders are read by one function, which writes the result or, without a grant, only checks.
 *
 * The variables a task sees are computed into a list that is laid over the user's: ours win over
 * what was inherited (a CUDA_VISIBLE_DEVICES of the submitting shell must not send the task to
 * another GPU), save the frameworks' knobs, where the user's word wins.
 */
#include "daemon/expand.h"

#include "util/size.h"

#include <errno.h>
#include <string.h>

static void add_gpu_list(struct text *out, const struct expand_grant *grant, bool uuids)
{
	for (size_t i = 0; i < grant->n_gpus; i++) {
		if (i > 0)
			text_add(out, ",");
		if (uuids)
			text_add(out, grant->gpus[i].uuid);
		else
			text_printf(out, "%u", grant->gpus[i].index);
	}
}

static void put_device(struct text *out, const struct expand_grant *grant)
{
	/* The task sees its GPUs as number 0 and up, whatever they are outside. */
	text_add(out, grant->n_gpus > 0 ? "cuda:0" : "cpu");
}

static void put_gpu(struct text *out, const struct expand_grant *grant)
{
	add_gpu_list(out, grant, false);
}

static void put_uuid(struct text *out, const struct expand_grant *grant)
{
	add_gpu_list(out, grant, true);
}

static void put_vram_mib(struct text *out, const struct expand_grant *grant)
{
	text_printf(out, "%llu", (unsigned long long)(grant->vram_bytes / MIB));
}

static void put_batch_size(struct text *out, const struct expand_grant *grant)
{
	text_printf(out, "%u", grant->batch_size);
}

static void put_rank(struct text *out, const struct expand_grant *grant)
{
	text_printf(out, "%u", grant->rank);
}

static void put_workers(struct text *out, const struct expand_grant *grant)
{
	text_printf(out, "%u", MAX_OF(grant->workers, 1U));
}

static const struct placeholder {
	const char *name;
	void (*put)(struct text *out, const struct expand_grant *grant);
} PLACEHOLDERS[] = {
    {"device", put_device},
    {"gpu", put_gpu},
    {"uuid", put_uuid},
    {"vram_mib", put_vram_mib},
    {"batch_size", put_batch_size},
    {"rank", put_rank},
    {"workers", put_workers},
};
#define BATCH_SIZE 4 /* its place in it */

static int unknown_placeholder(const char *name, size_t len, struct error *err)
{
	return error_set(
	    err, -EINVAL,
	    "unknown placeholder {%.*s} (known here: {device} {gpu} {uuid} {vram_mib} {batch_size} "
	    "{rank} {workers}; a brace itself is written {{ or }})",
	    (int)MIN_OF(len, (size_t)64), name);
}

static int no_batch_size(struct error *err)
{
	return error_set(err, -EINVAL,
			 "no batch size is known for this command: say --batch-size, or write a "
			 "number in place of {batch_size}");
}

/* `grant` NULL: only check. */
static int expand(const char *text, const struct expand_grant *grant, bool has_batch_size,
		  struct text *out, struct error *err)
{
	while (*text) {
		size_t plain = strcspn(text, "{}"), len, i;

		if (out)
			text_add_bytes(out, text, plain);
		text += plain;
		if (!*text)
			break;
		if (text[1] == text[0]) {
			if (out)
				text_add_bytes(out, text, 1);
			text += 2;
			continue;
		}
		len = strcspn(text + 1, "{}");
		if (*text == '}' || text[1 + len] != '}')
			return error_set(err, -EINVAL,
					 "\"%c\" without its partner in \"%.100s\" (write %c%c for "
					 "the character itself)",
					 *text, text, *text, *text);
		for (i = 0; i < ARRAY_LEN(PLACEHOLDERS); i++)
			if (strlen(PLACEHOLDERS[i].name) == len &&
			    memcmp(PLACEHOLDERS[i].name, text + 1, len) == 0)
				break;
		if (i == ARRAY_LEN(PLACEHOLDERS))
			return unknown_placeholder(text + 1, len, err);
		if (i == BATCH_SIZE && (grant ? grant->batch_size == 0 : !has_batch_size))
			return no_batch_size(err);
		if (out)
			PLACEHOLDERS[i].put(out, grant);
		text += len + 2;
	}
	return 0;
}

int expand_argument(const char *text, const struct expand_grant *grant, char **ret_text,
		    struct error *err)
{
	auto_text struct text out = {};
	int r = expand(text, grant, false, &out, err);

	if (r < 0)
		return r;
	*ret_text = text_take(&out);
	return 0;
}

int expand_check(const char *text, bool has_batch_size, struct error *err)
{
	return expand(text, NULL, has_batch_size, NULL, err);
}

/*
 * The frameworks' own knobs, set only where the user has not.
 *
 *	XLA_PYTHON_CLIENT_PREALLOCATE	JAX takes 75 % of the GPU at its first call otherwise
 *					(docs.jax.dev, "GPU memory allocation")
 *	XLA_PYTHON_CLIENT_MEM_FRACTION	how far its pool may grow, of the GPU's total
 *	TF_FORCE_GPU_ALLOW_GROWTH	TensorFlow takes all of it otherwise
 *					(tensorflow.org/guide/gpu, "Limiting GPU memory growth")
 *
 * PyTorch's allocator stops at a key it does not know, and per_process_memory_fraction is known
 * neither to the versions before PYTORCH_ALLOC_CONF (2.9) nor to the first that read it
 * (pytorch PR#161035, CUDAAllocatorConfig::getKeys()): it is set only where plimsoll.yaml says that
 * all PyTorch there is new enough (`limits: torch`), and under the new name, which older ones do
 * not read.
 */
static const char *const KNOBS[] = {
    "XLA_PYTHON_CLIENT_PREALLOCATE=false",
    "TF_FORCE_GPU_ALLOW_GROWTH=true",
};

/* What a task learns of its grant. All of it is taken out of the user's environment first: a task
 * submitted from within a task must not see the outer one's. */
static const char *const OURS[] = {
    "CUDA_VISIBLE_DEVICES=",   "CUDA_DEVICE_ORDER=",   "NVIDIA_VISIBLE_DEVICES=",
    "PLIMSOLL_TASK_ID=",       "PLIMSOLL_ATTEMPT=",    "PLIMSOLL_DEVICE=",
    "PLIMSOLL_GPU_INDEX=",     "PLIMSOLL_GPU_UUID=",   "PLIMSOLL_VRAM_LIMIT_BYTES=",
    "PLIMSOLL_VRAM_FRACTION=", "PLIMSOLL_BATCH_SIZE=", "PLIMSOLL_WORKERS=",
    "PLIMSOLL_WORKER_RANK=",
};

static bool is_ours(const char *entry)
{
	for (size_t i = 0; i < ARRAY_LEN(OURS); i++)
		if (text_starts_with(entry, OURS[i]))
			return true;
	return false;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool list_has(char *const *list, const char *entry)
{
	for (; list && *list; list++)
		if (same_name(entry, *list))
			return true;
	return false;
}

/* What all of its GPUs have; 0 when it is not known or not the same. One number says a fraction for
 * all of them (torch.cuda.set_per_process_memory_fraction): of GPUs that differ, one that keeps the
 * grant on the larger is too little on the smaller or the other way round, so none is said. */
static uint64_t common_total(const struct expand_grant *grant)
{
	uint64_t total = grant->n_gpus > 0 ? grant->gpus[0].total_bytes : 0;

	for (size_t i = 1; i < grant->n_gpus; i++)
		if (grant->gpus[i].total_bytes != total)
			return 0;
	return total;
}

/* 0: not known. */
static double fraction_of(const struct expand_grant *grant)
{
	uint64_t total = common_total(grant);

	return total > 0 ? MIN_OF(1.0, (double)grant->vram_bytes / (double)total) : 0;
}

/* Of a user who has set any of a framework's knobs that bear on it, none is set. */
static void add_fractions(char *const *base, const struct expand_grant *grant, struct strings *env)
{
	double fraction = fraction_of(grant);

	if (fraction <= 0)
		return;
	if (!list_has(base, "XLA_PYTHON_CLIENT_MEM_FRACTION=") &&
	    !list_has(base, "XLA_PYTHON_CLIENT_PREALLOCATE=") &&
	    !list_has(base, "XLA_CLIENT_MEM_FRACTION="))
		strings_take(env, mem_printf("XLA_PYTHON_CLIENT_MEM_FRACTION=%.4f", fraction));
	if (grant->torch && !list_has(base, "PYTORCH_ALLOC_CONF=") &&
	    !list_has(base, "PYTORCH_CUDA_ALLOC_CONF=") &&
	    !list_has(base, "PYTORCH_HIP_ALLOC_CONF="))
		strings_take(env, mem_printf("PYTORCH_ALLOC_CONF=per_process_memory_fraction:%.4f",
					     fraction));
}

static void add_ours(struct strings *env, const struct expand_grant *grant)
{
	auto_text struct text uuids = {}, index = {};
	double fraction = fraction_of(grant);

	text_add(&uuids, "");
	text_add(&index, "");
	add_gpu_list(&uuids, grant, true);
	add_gpu_list(&index, grant, false);
	strings_take(env, mem_printf("CUDA_VISIBLE_DEVICES=%s", uuids.data));
	strings_add(env, "CUDA_DEVICE_ORDER=PCI_BUS_ID");
	/* "void" is the container runtime's word for: as if it were not there at all. */
	strings_take(
	    env, mem_printf("NVIDIA_VISIBLE_DEVICES=%s", grant->n_gpus > 0 ? uuids.data : "void"));
	strings_take(env, mem_printf("PLIMSOLL_TASK_ID=%llu", (unsigned long long)grant->task));
	strings_take(env, mem_printf("PLIMSOLL_ATTEMPT=%u", grant->attempt));
	strings_take(env, mem_printf("PLIMSOLL_DEVICE=%s", grant->n_gpus > 0 ? "cuda:0" : "cpu"));
	if (grant->batch_size > 0)
		strings_take(env, mem_printf("PLIMSOLL_BATCH_SIZE=%u", grant->batch_size));
	if (grant->workers > 0) {
		strings_take(env, mem_printf("PLIMSOLL_WORKERS=%u", grant->workers));
		strings_take(env, mem_printf("PLIMSOLL_WORKER_RANK=%u", grant->rank));
	}
	if (grant->n_gpus == 0)
		return;
	strings_take(env, mem_printf("PLIMSOLL_GPU_INDEX=%s", index.data));
	strings_take(env, mem_printf("PLIMSOLL_GPU_UUID=%s", uuids.data));
	if (grant->vram_bytes > 0)
		strings_take(env, mem_printf("PLIMSOLL_VRAM_LIMIT_BYTES=%llu",
					     (unsigned long long)grant->vram_bytes));
	if (fraction > 0)
		strings_take(env, mem_printf("PLIMSOLL_VRAM_FRACTION=%.4f", fraction));
}

void expand_environment(char *const *base, const struct expand_grant *grant,
			struct strings *ret_env)
{
	struct strings ours = {};

	add_ours(&ours, grant);
	for (char *const *entry = base; entry && *entry; entry++)
		if (!is_ours(*entry))
			strings_add(ret_env, *entry);
	for (size_t i = 0; i < ARRAY_LEN(KNOBS) && grant->n_gpus > 0; i++)
		if (!list_has(base, KNOBS[i]))
			strings_add(ret_env, KNOBS[i]);
	add_fractions(base, grant, ret_env);
	for (size_t i = 0; i < ours.n; i++)
		strings_add(ret_env, ours.items[i]);
	strings_finish(&ours);
}
