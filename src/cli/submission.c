/* See submission.h. */
#include "cli/submission.h"

#include "cli/kind.h"
#include "cli/summary.h"
#include "cli/template.h"
#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_COLUMNS_MAX 80
#define NAME_BYTES_MAX   200 /* of 256 the daemon takes */

extern char **environ;

const char *const submission_policies[] = {"auto",   "balance",     "best-fit",  "earliest-finish",
					   "spread", "round-robin", "first-fit", NULL};
const char *const submission_cpu_modes[] = {"never", "only", "fallback", "when-idle", NULL};

const char *const submission_on_overrun[] = {"auto", "warn", "stop", NULL};

/* An option's value for one row; `storage` keeps the filled-in text alive. */
struct filled {
	struct option_value value;
	char *storage;
};

static void filled_finish(struct filled *filled)
{
	free(filled->storage);
}
#define auto_filled CLEANUP(filled_finish)

/* Say which row it was, if it was one. */
static int at_row(const struct rows *rows, size_t i, int code, struct error *err)
{
	return rows ? error_prefix(err, code, "%s:%u: row %zu", rows_name(rows), rows_line(rows, i),
				   i + 1)
		    : code;
}

static int fill_option(const struct options *options, const char *name, const struct rows *rows,
		       size_t i, struct filled *ret_filled, struct error *err)
{
	const struct option_value *value = options_get(options, name);
	const struct option_spec *spec = &options->specs[value - options->values];
	auto_filled struct filled filled = {.value = *value};
	int r;

	if (value->given && spec->placeholders && strpbrk(value->text, "{}")) {
		if (rows) {
			r = template_fill(value->text, TEMPLATE_VALUE, rows, i, &filled.storage,
					  err);
			if (r < 0)
				return error_prefix(err, r, "--%s", name);
		}
		r = option_convert(spec, rows ? filled.storage : value->text, &filled.value, err);
		if (r < 0)
			return at_row(rows, i, r, err);
	}
	*ret_filled = filled;
	filled.storage = NULL;
	return 0;
}

/* Ours, as JSON. What is no NAME=VALUE, or not UTF-8 (which JSON cannot carry), is left out: one
 * odd variable must not keep a task from running. */
static json_t *environment_to_json(void)
{
	json_t *array = json_array();

	for (char **entry = environ; entry && *entry; entry++) {
		json_t *json = **entry != '=' && strchr(*entry, '=') ? json_string(*entry) : NULL;

		if (json)
			(void)json_array_append_new(array, json);
	}
	return array;
}

int submission_shared(const struct options *options, json_t **ret_object, struct error *err)
{
	auto_free char *cwd = getcwd(NULL, 0);
	const struct option_value *policy = options_get(options, "policy");
	const struct option_value *weight = options_get(options, "weight-memory");
	mode_t mask = umask(0);
	int r;

	(void)umask(mask);
	if (!cwd)
		return error_sys(err, -errno, "cannot tell the current folder");
	if (weight->given &&
	    (!policy->given || strcmp(submission_policies[policy->choice], "balance") != 0))
		return error_set(err, -EINVAL,
				 "--weight-memory is a part of balance's score and of nothing "
				 "else: add --policy balance");
	*ret_object = json_pack("{s:s, s:o, s:i, s:I, s:s, s:f}", "cwd", cwd, "env",
				environment_to_json(), "umask", (int)mask, "priority",
				(json_int_t)options_int(options, "priority", 0), "policy",
				submission_policies[policy->given ? policy->choice : 0],
				"weight_memory", weight->given ? weight->real : 0.0);
	if (!*ret_object)
		return error_set(err, -EINVAL, "the current folder's name is not UTF-8: %s", cwd);
	r = conditions_add(options, *ret_object, err);
	if (r < 0)
		json_decref(TAKE(*ret_object));
	return r;
}

/* `python3`, `python3.11`, `bash`: a name of the list, a version may follow. */
bool submission_is_interpreter(const char *base)
{
	static const char *const names[] = {"python",  "pypy",  "bash",    "sh",   "dash",
					    "zsh",     "perl",  "ruby",    "node", "lua",
					    "Rscript", "julia", "torchrun"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (text_starts_with(base, names[i]) &&
		    strspn(base + strlen(names[i]), "0123456789.") ==
			strlen(base + strlen(names[i])))
			return true;
	return false;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

char *submission_program(char *const *command)
{
	const char *base = base_name(command[0]);

	if (!submission_is_interpreter(base))
		return mem_strdup(base);
	for (size_t i = 1; command[i]; i++) {
		if (strcmp(command[i], "-c") == 0 || strcmp(command[i], "-e") == 0)
			break;
		if (strcmp(command[i], "-m") == 0 && command[i + 1])
			return mem_strdup(command[i + 1]);
		/* A script that differs from row to row is not what its kind is. */
		if (command[i][0] != '-')
			return mem_strdup(strchr(command[i], '{') ? base : base_name(command[i]));
	}
	return mem_strdup(base);
}

static void fnv1a(unsigned __int128 *hash, const char *bytes, size_t len)
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;

	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ (unsigned char)bytes[i]) * prime;
}

char *submission_fingerprint(const char *cwd, const json_t *command)
{
	unsigned __int128 hash = (unsigned __int128)0x6c62272e07bb0142ULL << 64 |
				 0x62b821756295c58dULL; /* FNV's offset basis */
	const json_t *word;
	size_t i;

	/* The final zero of each part is hashed too: ("ab", "c") is not ("a", "bc"). */
	fnv1a(&hash, cwd, strlen(cwd) + 1);
	json_array_foreach (command, i, word)
		fnv1a(&hash, json_string_value(word), json_string_length(word) + 1);
	return mem_printf("%016llx%016llx", (unsigned long long)(hash >> 64),
			  (unsigned long long)hash);
}

static int add_command(const struct options *options, const struct rows *rows, size_t i,
		       json_t *command, struct error *err)
{
	for (size_t k = 0; k < options->command.n; k++) {
		const char *word = options->command.items[k];
		auto_free char *text = NULL;
		json_t *json;
		int r;

		if (!rows) {
			text = template_literal(word);
		} else {
			r = template_fill(word, TEMPLATE_COMMAND, rows, i, &text, err);
			if (r < 0)
				return r;
		}
		json = json_string(text);
		if (!json)
			return at_row(
			    rows, i,
			    error_set(err, -EINVAL, "word %zu of the command is not UTF-8", k + 1),
			    err);
		(void)json_array_append_new(command, json);
	}
	return 0;
}

/* "0.5G", "300", "-1.5": says nothing about which row it is. */
static bool is_number(const char *text)
{
	uint64_t bytes;
	char *end;

	(void)strtod(text, &end);
	return *end == '\0' || size_parse(text, &bytes, NULL) == 0;
}

static void name_cut(struct text *name)
{
	for (char *p = name->data; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	while (text_columns(name->data) > NAME_COLUMNS_MAX || name->len > NAME_BYTES_MAX)
		name->data[--name->len] = '\0';
}

/* What the row is about: the first value of the row in this word of the command that is more than a
 * number, without its folders; false when there is none. */
static bool name_from_word(const char *word, const struct rows *rows, size_t i, struct text *name)
{
	for (const char *begin = word, *end; (begin = strchr(begin, '{')); begin = end) {
		auto_text struct text value = {};
		auto_free char *key = NULL;

		end = strchr(begin, '}');
		if (!end)
			return false;
		key = mem_strndup(begin + 1, (size_t)(end - begin - 1));
		if (rows_is_swept(rows, key) || rows_value(rows, i, key, &value) < 0 ||
		    value.len == 0 || is_number(value.data))
			continue;
		text_add(name, base_name(value.data));
		name_cut(name);
		return true;
	}
	return false;
}

/* What is swept tells the rows apart: "lr=1e-3 seed=0", after what the row of a file is about. */
static char *swept_name(const struct rows *rows, size_t i, struct text *name)
{
	text_add(name, name->len > 0 ? " " : "");
	rows_sweep_label(rows, i, name);
	name_cut(name);
	return text_take(name);
}

static char *default_name(const struct options *options, const struct rows *rows, size_t i)
{
	auto_text struct text name = {}, label = {};
	bool found = false;

	if (!rows)
		return submission_program(options->command.items);
	for (size_t k = 0; !found && k < options->command.n; k++)
		found = name_from_word(options->command.items[k], rows, i, &name);
	rows_sweep_label(rows, i, &label);
	if (label.len > 0)
		return swept_name(rows, i, &name);
	return found ? text_take(&name) : mem_printf("row %zu", i + 1);
}

/* The bytes of the files that this word of the command names through its row. */
static double word_file_bytes(const char *word, const struct rows *rows, size_t i)
{
	double bytes = 0;

	for (const char *begin = word, *end; (begin = strchr(begin, '{')); begin = end) {
		auto_text struct text value = {};
		auto_free char *key = NULL;
		struct stat st;

		end = strchr(begin, '}');
		if (!end)
			break;
		key = mem_strndup(begin + 1, (size_t)(end - begin - 1));
		if (rows_value(rows, i, key, &value) == 0 && value.len > 0 &&
		    stat(value.data, &st) == 0 && S_ISREG(st.st_mode))
			bytes += (double)st.st_size;
	}
	return bytes;
}

/* How long a task takes beside others of its kind follows its input, if anything: a recording of
 * twice the bytes is about twice as long. The daemon learns how much of that is true. */
static int add_work(const struct options *options, const struct rows *rows, size_t i, json_t *task,
		    struct error *err)
{
	auto_filled struct filled given = {};
	double work = 0;
	int r = fill_option(options, "work", rows, i, &given, err);

	if (r < 0)
		return r;
	if (given.value.given)
		work = given.value.real;
	else if (rows)
		for (size_t k = 0; k < options->command.n; k++)
			work += word_file_bytes(options->command.items[k], rows, i);
	if (work > 0)
		(void)json_object_set_new(task, "work", json_real(work));
	return 0;
}

static int add_name(const struct options *options, const struct rows *rows, size_t i, json_t *task,
		    struct error *err)
{
	auto_filled struct filled given = {};
	auto_free char *name = NULL;
	json_t *json;
	int r = fill_option(options, "name", rows, i, &given, err);

	if (r < 0)
		return r;
	if (given.value.given && !*given.value.text)
		return at_row(rows, i, error_set(err, -EINVAL, "--name is empty"), err);
	name = given.value.given ? mem_strdup(given.value.text) : default_name(options, rows, i);
	json = json_string(name);
	if (!json && given.value.given)
		return at_row(rows, i, error_set(err, -EINVAL, "--name is not UTF-8"), err);
	/* Cutting may have halved a character. */
	(void)json_object_set_new(task, "name",
				  json   ? json
				  : rows ? json_sprintf("row %zu", i + 1)
					 : json_string("task"));
	return 0;
}

/* Rows that say different sizes of themselves are not alike. */
static bool has_vram_of_its_row(const struct options *options, const struct rows *rows)
{
	const struct option_value *vram = options_get(options, "vram");

	return rows && vram->given && strchr(vram->text, '{');
}

static int add_kind(const struct options *options, const struct rows *rows, size_t i,
		    uint64_t vram_bytes, json_t *task, struct error *err)
{
	auto_filled struct filled given = {};
	auto_free char *derived = NULL;
	json_t *json;
	int r = fill_option(options, "kind", rows, i, &given, err);

	if (r < 0)
		return r;
	derived = kind_derive(options->command.items, json_object_get(task, "command"));
	json = given.value.given ? json_string(given.value.text)
	       : vram_bytes > 0 && has_vram_of_its_row(options, rows)
		   ? json_sprintf("%s@%s", derived, SIZE_TEXT(vram_bytes))
		   : json_string(derived);
	if (!json)
		return at_row(rows, i, error_set(err, -EINVAL, "--kind is not UTF-8"), err);
	(void)json_object_set_new(task, "kind", json);
	return 0;
}

struct request_values {
	struct filled vram, ram, cpus, device, cpu, fraction;
	double share; /* of each GPU; 0 = it was not said so */
	unsigned gpus;
};

static void request_values_finish(struct request_values *values)
{
	filled_finish(&values->vram);
	filled_finish(&values->ram);
	filled_finish(&values->cpus);
	filled_finish(&values->device);
	filled_finish(&values->cpu);
	filled_finish(&values->fraction);
}

/* cpu only, by --cpu or by -d cpu; what contradicts it is refused rather than ignored. */
static int cpu_mode(const struct options *options, const struct request_values *values,
		    bool *ret_only, struct error *err)
{
	bool on_cpu = values->device.value.given && strcmp(values->device.value.text, "cpu") == 0;
	bool only = values->cpu.value.given && values->cpu.value.choice == 1;

	if (values->device.value.given && !*values->device.value.text)
		return error_set(err, -EINVAL, "--device \"\" names no GPU");
	if (on_cpu && values->cpu.value.given && !only)
		return error_set(err, -EINVAL, "--device cpu contradicts --cpu %s",
				 submission_cpu_modes[values->cpu.value.choice]);
	if (only && values->device.value.given && !on_cpu)
		return error_set(err, -EINVAL, "--cpu only contradicts --device %s",
				 values->device.value.text);
	only = only || on_cpu;
	if (only && values->vram.value.bytes > 0)
		return error_set(err, -EINVAL, "%s takes no GPU, and yet --vram asks for %s of one",
				 on_cpu ? "--device cpu" : "--cpu only",
				 SIZE_TEXT(values->vram.value.bytes));
	if (only && (options_flag(options, "gpus") || options_flag(options, "exclusive") ||
		     values->share > 0))
		return error_set(err, -EINVAL,
				 "--cpu only takes no GPU: leave out --gpus, --fraction and "
				 "--exclusive");
	*ret_only = only;
	return 0;
}

/* --gpus 0.5 is --fraction 0.5 of one GPU. */
static int share(const struct options *options, struct request_values *values, struct error *err)
{
	const struct option_value *gpus = options_get(options, "gpus");
	double wanted = gpus->given ? gpus->real : 1;

	values->share = values->fraction.value.given ? values->fraction.value.real : 0;
	values->gpus = (unsigned)wanted;
	if (gpus->given && wanted < 1) {
		if (!(wanted >= 0.001))
			return error_set(err, -EINVAL,
					 "--gpus: must be from 0.001 to 16, not %s; --cpu only "
					 "takes no GPU",
					 gpus->text);
		if (values->fraction.value.given)
			return error_set(err, -EINVAL,
					 "--gpus %s and --fraction both say what share of a GPU: "
					 "leave out one",
					 gpus->text);
		values->share = wanted;
		values->gpus = 1;
	} else if (wanted != floor(wanted)) {
		return error_set(err, -EINVAL,
				 "--gpus: %s GPUs cannot be had; several are whole ones (--gpus 2 "
				 "--fraction 0.5 is half of each of two)",
				 gpus->text);
	}
	if (values->fraction.value.given && !(values->share >= 0.001))
		return error_set(err, -EINVAL, "--fraction: must be from 0.001 to 1");
	if (values->share > 0 && values->vram.value.bytes > 0)
		return error_set(err, -EINVAL,
				 "--vram asks for a size and %s for a share of the GPU: leave out "
				 "one",
				 values->fraction.value.given ? "--fraction" : "--gpus");
	return 0;
}

static int add_request(const struct options *options, struct request_values *values, json_t *task,
		       struct error *err)
{
	bool only, pinned = values->device.value.given;
	auto_free char *device = pinned ? mem_printf("--device %s", values->device.value.text)
					: mem_strdup("--cpu only");
	json_t *request;
	int r = share(options, values, err);

	if (r == 0)
		r = cpu_mode(options, values, &only, err);
	if (r < 0)
		return r;
	if (!only && pinned && values->gpus > 1)
		return error_set(err, -EINVAL, "--device names one GPU, --gpus asks for %u",
				 values->gpus);
	request = json_pack(
	    "{s:o, s:o, s:o, s:I, s:s, s:b}", "vram_bytes",
	    jsonx_u64_if(values->vram.value.given && !only, values->vram.value.bytes), "ram_bytes",
	    jsonx_u64_if(values->ram.value.given, values->ram.value.bytes), "cpus",
	    jsonx_real_if(values->cpus.value.given, values->cpus.value.real, 3), "gpus",
	    (json_int_t)(only ? 0 : values->gpus), "cpu",
	    only ? "only"
		 : submission_cpu_modes[values->cpu.value.given ? values->cpu.value.choice : 0],
	    "exclusive", options_flag(options, "exclusive"));
	if (pinned && !only)
		(void)json_object_set_new(request, "pin", json_string(values->device.value.text));
	if (values->share > 0)
		(void)json_object_set_new(request, "fraction", json_real(values->share));
	if (options_flag(options, "vram-default") && !only)
		(void)json_object_set_new(task, "vram_default_bytes",
					  jsonx_u64(options_get(options, "vram-default")->bytes));
	(void)json_object_set_new(task, "request", request);
	return conditions_add_wishes(options, only || pinned ? device : "", request, err);
}

static int fill_request(const struct options *options, const struct rows *rows, size_t i,
			struct request_values *values, struct error *err)
{
	const struct {
		const char *name;
		struct filled *value;
	} wanted[] = {
	    {"vram", &values->vram},     {"ram", &values->ram}, {"cpus", &values->cpus},
	    {"device", &values->device}, {"cpu", &values->cpu}, {"fraction", &values->fraction},
	};
	int r = 0;

	for (size_t k = 0; k < ARRAY_LEN(wanted) && r == 0; k++)
		r = fill_option(options, wanted[k].name, rows, i, wanted[k].value, err);
	return r;
}

static int add_on_overrun(const struct options *options, const struct rows *rows, size_t i,
			  json_t *task, struct error *err)
{
	auto_filled struct filled given = {};
	int r = fill_option(options, "on-overrun", rows, i, &given, err);

	if (r == 0 && given.value.given)
		(void)json_object_set_new(task, "on_overrun",
					  json_string(submission_on_overrun[given.value.choice]));
	return r;
}

/* What it does when it runs out of memory, and the batch that is made smaller then. */
static int add_on_oom(const struct options *options, const struct rows *rows, size_t i,
		      json_t *task, struct error *err)
{
	auto_filled struct filled rungs = {}, batch_size = {};
	json_t *json;
	int r = fill_option(options, "on-oom", rows, i, &rungs, err);

	if (r == 0)
		r = fill_option(options, "batch-size", rows, i, &batch_size, err);
	if (r < 0)
		return r;
	if (batch_size.value.given)
		(void)json_object_set_new(task, "batch_size",
					  json_integer((json_int_t)batch_size.value.integer));
	if (!rungs.value.given)
		return 0;
	json = json_string(rungs.value.text);
	if (!json)
		return at_row(rows, i, error_set(err, -EINVAL, "--on-oom is not UTF-8"), err);
	(void)json_object_set_new(task, "on_oom", json);
	return 0;
}

static int add_log(const struct options *options, const struct rows *rows, size_t i,
		   const char *cwd, json_t *task, struct error *err)
{
	auto_filled struct filled given = {};
	json_t *json;
	int r = fill_option(options, "log", rows, i, &given, err);

	if (r < 0 || !given.value.given)
		return r;
	if (!*given.value.text)
		return at_row(rows, i, error_set(err, -EINVAL, "--log is empty"), err);
	json = given.value.text[0] == '/' ? json_string(given.value.text)
					  : json_sprintf("%s/%s", cwd, given.value.text);
	if (!json)
		return at_row(rows, i, error_set(err, -EINVAL, "--log is not UTF-8"), err);
	(void)json_object_set_new(task, "log", json);
	return 0;
}

int submission_task(const struct options *options, const struct rows *rows, size_t i,
		    const char *cwd, json_t **ret_object, struct error *err)
{
	auto_json json_t *task = json_object();
	json_t *command = json_array();
	CLEANUP(request_values_finish) struct request_values values = {};
	int r;

	(void)json_object_set_new(task, "command", command);
	r = add_command(options, rows, i, command, err);
	if (r == 0)
		r = fill_request(options, rows, i, &values, err);
	if (r == 0) {
		r = add_request(options, &values, task, err);
		if (r < 0)
			return at_row(rows, i, r, err);
	}
	if (r == 0)
		r = add_kind(options, rows, i, values.vram.value.bytes, task, err);
	if (r == 0)
		r = add_name(options, rows, i, task, err);
	if (r == 0)
		r = add_work(options, rows, i, task, err);
	if (r == 0)
		r = add_log(options, rows, i, cwd, task, err);
	if (r == 0)
		r = add_on_overrun(options, rows, i, task, err);
	if (r == 0)
		r = add_on_oom(options, rows, i, task, err);
	if (r < 0)
		return r;
	if (rows) {
		auto_free char *fingerprint = submission_fingerprint(cwd, command);

		(void)json_object_set_new(task, "row", json_integer((json_int_t)i + 1));
		(void)json_object_set_new(task, "fingerprint", json_string(fingerprint));
	}
	*ret_object = TAKE(task);
	return 0;
}

static bool put_option(struct error *err, const struct conditions_name *names)
{
	for (; names->member; names++) {
		char *at = strstr(err->text, names->member);
		size_t was = strlen(names->member), is = strlen(names->option);

		/* At the start, or after the row: nowhere else is it the daemon's own. */
		if (!at || (at != err->text && (!text_starts_with(err->text, "row ") ||
						strchr(err->text, ':') + 2 != at)))
			continue;
		if (strlen(err->text) + is - was >= sizeof err->text)
			continue;
		memmove(at + is, at + was, strlen(at + was) + 1);
		memcpy(at, names->option, is);
		return true;
	}
	return false;
}

void submission_explain(struct error *err)
{
	static const struct conditions_name names[] = {
	    {"request: pin: ", "--device: "},
	    {"request: vram_bytes: ", "--vram: "},
	    {"request: ram_bytes: ", "--ram: "},
	    {"request: cpus: ", "--cpus: "},
	    {"request: gpus: ", "--gpus: "},
	    {"request: fraction: ", "--fraction: "},
	    {"workers_per_gpu: ", "--workers-per-gpu: "},
	    {"on_oom: ", "--on-oom: "},
	    {"batch_size: ", "--batch-size: "},
	    {},
	};
	static const struct conditions_name rest[] = {{"request: ", ""}, {}};

	if (!put_option(err, names) && !put_option(err, conditions_names))
		(void)put_option(err, rest);
}

void submission_warn(const json_t *answer)
{
	const json_t *warning;
	size_t i;

	json_array_foreach (json_object_get(answer, "warnings"), i, warning) {
		auto_text struct text line = {};

		summary_add_warning(&line, warning);
		(void)fprintf(stderr, "plimsoll: %s\n", line.data);
	}
}

int submission_build(const struct options *options, json_t **ret_body, struct error *err)
{
	auto_json json_t *body = NULL, *task = NULL;
	int r = submission_shared(options, &body, err);

	if (r == 0)
		r = submission_task(options, NULL, 0, jsonx_get_string(body, "cwd", "/"), &task,
				    err);
	if (r < 0)
		return r;
	(void)json_object_update(body, task);
	*ret_body = TAKE(body);
	return 0;
}

int submission_build_workers(const struct options *options, const char *on_failure,
			     json_t **ret_body, struct error *err)
{
	auto_json json_t *body = NULL;
	json_t *task, *tasks;
	int r = submission_shared(options, &body, err);

	if (r == 0)
		r = submission_task(options, NULL, 0, jsonx_get_string(body, "cwd", "/"), &task,
				    err);
	if (r < 0)
		return r;
	tasks = json_array();
	(void)json_object_set_new(body, "name", json_string(jsonx_get_string(task, "name", "")));
	(void)json_object_set_new(body, "on_failure", json_string(on_failure));
	(void)json_object_set_new(
	    body, "workers_per_gpu",
	    json_integer((json_int_t)options_int(options, "workers-per-gpu", 1)));
	(void)json_array_append_new(tasks, task);
	(void)json_object_set_new(body, "tasks", tasks);
	*ret_body = TAKE(body);
	return 0;
}
