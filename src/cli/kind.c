/*
 * One table says which options count and under which name; the same option in another spelling, or
 * at another place, makes the same kind.
 */
#include "cli/kind.h"

#include "cli/submission.h"
#include "util/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define KIND_BYTES_MAX  120 /* of 127 that are told apart */
#define VALUE_BYTES_MAX 48

struct shape {
	const char *label;
	const char *const *options; /* as in option_name(); ended by NULL */
	bool is_switch;             /* takes no value, or True and False */
};

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct shape shapes[] = {
    {"model",
     NAMES("model", "m", "model-name", "model-id", "model-path", "model-size", "model-type",
	   "model-name-or-path", "pretrained-model-name-or-path", "pretrained", "arch",
	   "architecture", "backbone", "variant", "checkpoint", "ckpt", "ckpt-path", "weights")},
    {"batch", NAMES("batch", "batch-size", "bs", "b", "batchsize", "train-batch-size",
		    "per-device-train-batch-size", "micro-batch-size", "max-num-seqs")},
    {"type", NAMES("precision", "dtype", "torch-dtype", "compute-type", "quantization", "quantize",
		   "bits", "mixed-precision")},
    {"fp16", NAMES("fp16", "half"), .is_switch = true},
    {"bf16", NAMES("bf16"), .is_switch = true},
    {"8bit", NAMES("load-in-8bit", "int8"), .is_switch = true},
    {"4bit", NAMES("load-in-4bit", "int4"), .is_switch = true},
    {"size", NAMES("resolution", "image-size", "img-size", "imgsz", "tile-size")},
    {"width", NAMES("width")},
    {"height", NAMES("height")},
    {"frames", NAMES("num-frames", "frames")},
    {"length", NAMES("max-model-len", "max-seq-len", "max-seq-length", "max-length", "seq-len",
		     "context-length", "ctx-size")},
    {"layers", NAMES("n-gpu-layers", "ngl", "gpu-layers", "num-gpu-layers")},
    {"beams", NAMES("beam-size", "num-beams")},
    {"vram", NAMES("vram", "gpu-memory", "gpu-memory-utilization", "max-memory")},
};

/* Start other programs, by words of their own that only they understand. */
static const char *const starters[] = {
    "accelerate", "apptainer", "conda",   "deepspeed", "docker",  "env",    "make",
    "nice",       "nohup",     "numactl", "pipenv",    "podman",  "poetry", "singularity",
    "srun",       "stdbuf",    "taskset", "time",      "timeout", "uv",     "xargs",
};

/* "--Batch_Size=8" is batch-size; false: it is no option. */
static bool option_name(const char *word, char name[VALUE_BYTES_MAX])
{
	size_t dashes = strspn(word, "-"), len = strcspn(word + dashes, "=");

	if (dashes == 0 || dashes > 2 || len == 0 || len >= VALUE_BYTES_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = word[dashes + i];

		name[i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
	}
	name[len] = '\0';
	return true;
}

/* At most `max` bytes, not in the middle of a character. */
static size_t cut_length(const char *s, size_t max)
{
	size_t len = strnlen(s, max);

	while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static bool is_of_shape(const struct shape *shape, const char *name)
{
	for (const char *const *option = shape->options; *option; option++)
		if (strcmp(*option, name) == 0)
			return true;
	return false;
}

/* The value of the option at word `i`; NULL when it has none that is known here. */
static const char *value_at(const struct shape *shape, const json_t *command, size_t i)
{
	static const char *const truths[] = {"true", "True", "false", "False", "0", "1"};
	const char *equals = strchr(json_string_value(json_array_get(command, i)), '=');
	const char *next = json_string_value(json_array_get(command, i + 1));

	if (equals)
		return equals + 1;
	if (!shape->is_switch)
		return next;
	for (size_t k = 0; next && k < ARRAY_LEN(truths); k++)
		if (strcmp(next, truths[k]) == 0)
			return next;
	return "";
}

/* The last one given counts, as it does for most programs. */
static void shape_add(const struct shape *shape, const json_t *command, size_t first,
		      struct text *kind)
{
	const char *value = NULL, *slash;
	size_t len;

	for (size_t i = first; i < json_array_size(command); i++) {
		const char *word = json_string_value(json_array_get(command, i));
		char name[VALUE_BYTES_MAX];

		if (strcmp(word, "--") == 0)
			break;
		if (option_name(word, name) && is_of_shape(shape, name))
			value = value_at(shape, command, i);
	}
	/* What is filled in at the start is not known yet. */
	if (!value || strpbrk(value, "{}"))
		return;
	/* A model's folder may be anywhere. */
	len = strlen(value);
	while (len > 1 && value[len - 1] == '/')
		len--;
	slash = memrchr(value, '/', len > 0 ? len - 1 : 0);
	if (slash) {
		len -= (size_t)(slash + 1 - value);
		value = slash + 1;
	}
	text_printf(kind, " %s%s%.*s", shape->label, *value ? "=" : "",
		    (int)cut_length(value, MIN_OF(len, (size_t)VALUE_BYTES_MAX)), value);
}

static bool is_starter(const char *program)
{
	for (size_t i = 0; i < ARRAY_LEN(starters); i++)
		if (strcmp(starters[i], program) == 0)
			return true;
	return false;
}

/* Eight hex digits for the words as they stand. */
static void text_add_hash(char *const *words, struct text *kind)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *words; words++)
		for (const char *c = *words;; c++) {
			hash = (hash ^ (unsigned char)*c) * 16777619u;
			if (!*c)
				break;
		}
	text_printf(kind, " #%08x", hash);
}

/* Where the program's own words begin: after its name, or its script's or module's. 0: they are a
 * script themselves. */
static size_t own_words(char *const *words, const char *program)
{
	const char *slash = strrchr(words[0], '/');

	if (strcmp(slash && slash[1] ? slash + 1 : words[0], program) == 0) {
		for (size_t i = 1; words[i] && submission_is_interpreter(program); i++)
			if (strcmp(words[i], "-c") == 0 || strcmp(words[i], "-e") == 0)
				return 0;
		return 1;
	}
	for (size_t i = 1; words[i]; i++)
		if (text_ends_with(words[i], program))
			return i + 1;
	return 1;
}

char *kind_derive(char *const *words, const json_t *command)
{
	auto_free char *program = submission_program(words);
	size_t first = own_words(words, program);
	struct text kind = {};

	text_add(&kind, program);
	if (first == 0 || is_starter(program))
		text_add_hash(words, &kind);
	else
		for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
			shape_add(&shapes[i], command, first, &kind);
	kind.data[cut_length(kind.data, KIND_BYTES_MAX)] = '\0';
	return text_take(&kind);
}
