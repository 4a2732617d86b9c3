/* What run, submit and batch send, from their options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/submission.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

static const struct option_spec specs[] = {
    SUBMISSION_OPTIONS, CONDITIONS_OPTIONS, CONDITIONS_LATER_OPTIONS, {}};

static struct options parse(const char *const *words)
{
	struct options options = {};
	struct error err = {};
	char *argv[32];
	int argc = 0;

	for (; words[argc]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc];
	if (options_parse(specs, OPTIONS_COMMAND, argc, argv, &options, &err) < 0)
		fail_msg("%s", err.text);
	return options;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static struct rows *rows_of(const char *json)
{
	struct error err = {};
	struct rows *rows = NULL;

	if (rows_parse(json, strlen(json), "r.json", ROWS_JSON, &rows, &err) < 0)
		fail_msg("%s", err.text);
	return rows;
}

static struct rows *rows_of_text(const char *text)
{
	struct error err = {};
	struct rows *rows = NULL;

	if (rows_parse(text, strlen(text), "r.txt", ROWS_LINES, &rows, &err) < 0)
		fail_msg("%s", err.text);
	return rows;
}

static json_t *task_of(const struct options *options, const struct rows *rows, size_t i)
{
	struct error err = {};
	json_t *task = NULL;

	if (submission_task(options, rows, i, "/work", &task, &err) < 0)
		fail_msg("%s", err.text);
	return task;
}

static void assert_refused(const struct options *options, const struct rows *rows, const char *said)
{
	struct error err = {};
	json_t *task = NULL;

	assert_int_equal(submission_task(options, rows, 0, "/work", &task, &err), -EINVAL);
	if (!strstr(err.text, said))
		fail_msg("\"%s\" does not say \"%s\"", err.text, said);
}

static void test_one(void **state)
{
	auto_options struct options o =
	    PARSE("--vram", "2.5G", "--ram", "4.5G", "--cpus", "1.5", "-d", "cuda:1", "--",
		  "python3", "-u", "/x/train.py", "{gpu}");
	auto_json json_t *task = task_of(&o, NULL, 0);
	const json_t *request = json_object_get(task, "request");

	assert_int_equal(jsonx_get_u64(request, "vram_bytes", 0), 2560 * MIB);
	assert_int_equal(jsonx_get_u64(request, "ram_bytes", 0), 4608 * MIB);
	assert_true(jsonx_get_real(request, "cpus", 0) == 1.5);
	assert_int_equal(jsonx_get_u64(request, "gpus", 0), 1);
	assert_string_equal(jsonx_get_string(request, "cpu", ""), "never");
	assert_string_equal(jsonx_get_string(request, "pin", ""), "cuda:1");
	assert_string_equal(jsonx_get_string(task, "kind", ""), "train.py");
	assert_string_equal(jsonx_get_string(task, "name", ""), "train.py");
	assert_string_equal(json_string_value(json_array_get(json_object_get(task, "command"), 3)),
			    "{gpu}");
	assert_null(json_object_get(task, "row"));
}

static void check_kind(const struct options *options, const struct rows *rows, size_t i,
		       const char *wanted)
{
	auto_json json_t *task = task_of(options, rows, i);

	assert_string_equal(jsonx_get_string(task, "kind", ""), wanted);
}

/* What decides the memory counts, in whatever spelling and order; what is asked for, inputs and
 * seeds do not. */
static void test_kinds(void **state)
{
	const struct {
		struct options options;
		const char *kind;
	} cases[] = {
	    {PARSE("--vram", "9G", "whisper", "a.wav", "--model", "large-v3", "--fp16", "False"),
	     "whisper model=large-v3 fp16=False"},
	    {PARSE("--vram", "2G", "/opt/bin/whisper", "--fp16", "b.wav", "--model=large-v3"),
	     "whisper model=large-v3 fp16"},
	    {PARSE("python3", "-m", "whisper", "-m", "small", "x.wav"), "whisper model=small"},
	    {PARSE("python3", "train.py", "--lr", "1e-3", "--seed=7", "data/x.csv"), "train.py"},
	    {PARSE("python3", "train.py", "--batch_size", "8", "--Model-Path", "/m/llama/"),
	     "train.py model=llama batch=8"},
	    {PARSE("python3", "train.py", "--model-path", "/m/llama", "-b", "8"),
	     "train.py model=llama batch=8"},
	    {PARSE("./x", "--batch-size", "{batch_size}", "--", "--model", "no"), "x"},
	    {PARSE("./x", "--model"), "x"},
	    {PARSE("bash", "run.sh", "-c", "x"), "run.sh"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check_kind(&cases[i].options, NULL, 0, cases[i].kind);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		options_finish((struct options *)(uintptr_t)&cases[i].options);
}

static const char *kind_of(const struct options *options, char kind[160])
{
	auto_json json_t *task = task_of(options, NULL, 0);

	(void)snprintf(kind, 160, "%s", jsonx_get_string(task, "kind", ""));
	return kind;
}

/* What starts other programs says nothing of them: its whole command is the kind. */
static void test_kinds_of_scripts(void **state)
{
	auto_options struct options a = PARSE("sh", "-c", "train --model x"),
				    b = PARSE("sh", "-c", "train --model y"),
				    docker = PARSE("docker", "run", "--gpus", "all", "image"),
				    same = PARSE("--vram", "1G", "sh", "-c", "train --model x"),
				    lengthy =
					PARSE("x", "--model",
					      "\303\244\303\244\303\244\303\244\303\244\303\244"
					      "\303\244\303\244\303\244\303\244\303\244\303\244"
					      "x\303\244\303\244\303\244\303\244\303\244\303\244"
					      "\303\244\303\244\303\244\303\244\303\244\303\244");
	char one[160], two[160];

	(void)state;
	assert_string_not_equal(kind_of(&a, one), kind_of(&b, two));
	assert_string_equal(kind_of(&a, one), kind_of(&same, two));
	assert_int_equal(strncmp(one, "sh #", 4), 0);
	assert_int_equal(strncmp(kind_of(&docker, one), "docker #", 8), 0);
	/* Cut between characters, else JSON could not carry it. */
	assert_int_equal(strlen(kind_of(&lengthy, one)), strlen("x model=") + 47);
}

static void test_kinds_of_rows(void **state)
{
	auto_rows struct rows *rows = rows_of("[{\"f\": \"a\", \"m\": \"small\", \"v\": \"1G\"}, "
					      "{\"f\": \"b\", \"m\": \"large\", \"v\": \"2G\"}]");
	auto_options struct options plain = PARSE("--vram", "3G", "w", "--in", "{f}"),
				    model = PARSE("w", "--model", "{m}", "{f}"),
				    vram = PARSE("--vram", "{v}", "w", "{f}"),
				    script = PARSE("sh", "-c", "w {f}");
	auto_json json_t *first = task_of(&script, rows, 0), *second = task_of(&script, rows, 1);

	(void)state;
	check_kind(&plain, rows, 0, "w");
	check_kind(&plain, rows, 1, "w");
	check_kind(&model, rows, 0, "w model=small");
	check_kind(&model, rows, 1, "w model=large");
	check_kind(&vram, rows, 1, "w@2 GiB");
	assert_string_equal(jsonx_get_string(first, "kind", ""),
			    jsonx_get_string(second, "kind", "-"));
}

static void test_unsaid_is_null(void **state)
{
	auto_options struct options o = PARSE("true");
	auto_json json_t *task = task_of(&o, NULL, 0);
	const json_t *request = json_object_get(task, "request");

	assert_true(json_is_null(json_object_get(request, "vram_bytes")));
	assert_true(json_is_null(json_object_get(request, "ram_bytes")));
	assert_true(json_is_null(json_object_get(request, "cpus")));
	assert_null(json_object_get(request, "pin"));
	assert_string_equal(jsonx_get_string(task, "kind", ""), "true");
}

static void test_rows(void **state)
{
	auto_rows struct rows *rows =
	    rows_of("[{\"file\": \"/a/b c.wav\", \"v\": \"0G\", \"dev\": \"cpu\"},"
		    " {\"file\": \"d.wav\", \"v\": \"2G\", \"dev\": \"cuda:0\"}]");
	auto_options struct options o =
	    PARSE("--vram", "{v}", "-d", "{dev}", "--", "x", "--size={v}", "{file}");
	auto_json json_t *first = task_of(&o, rows, 0), *second = task_of(&o, rows, 1);
	const json_t *request = json_object_get(first, "request");

	/* On the CPU nothing is asked of a GPU. */
	assert_string_equal(jsonx_get_string(request, "cpu", ""), "only");
	assert_true(json_is_null(json_object_get(request, "vram_bytes")));
	assert_int_equal(jsonx_get_u64(request, "gpus", 9), 0);
	request = json_object_get(second, "request");
	assert_int_equal(jsonx_get_u64(request, "vram_bytes", 0), 2 * GIB);
	assert_string_equal(jsonx_get_string(request, "pin", ""), "cuda:0");
	/* Sizes and numbers are no names. */
	assert_string_equal(jsonx_get_string(first, "name", ""), "b c.wav");
	assert_int_equal(jsonx_get_u64(second, "row", 0), 2);
	assert_string_not_equal(jsonx_get_string(first, "fingerprint", ""),
				jsonx_get_string(second, "fingerprint", ""));
}

static void test_refused(void **state)
{
	auto_rows struct rows *rows = rows_of("[{\"v\": \"1\"}]");
	auto_rows struct rows *mixed = rows_of("[{\"v\": \"2G\", \"c\": \"only\"}]");
	auto_rows struct rows *odd = rows_of_text("\xff\n");
	auto_options struct options no_unit = PARSE("--vram", "{v}", "x"),
				    unknown = PARSE("--name", "{w}", "x"),
				    both = PARSE("--cpu", "only", "-d", "1", "x"),
				    never = PARSE("--cpu", "never", "-d", "cpu", "x"),
				    two = PARSE("--gpus", "2", "-d", "1", "x"),
				    none = PARSE("--gpus", "2", "--cpu", "only", "x"),
				    full = PARSE("--vram", "{v}", "--cpu", "{c}", "x"),
				    line = PARSE("x", "{line}"),
				    kind = PARSE("--kind", "{line}", "x");

	assert_refused(&no_unit, rows, "r.json:1: row 1: --vram: size \"1\" has no unit");
	assert_refused(&unknown, rows, "--name: r.json:1: row 1: unknown placeholder {w}");
	assert_refused(&no_unit, NULL, "--vram: \"{v}\" is not a size");
	assert_refused(&both, NULL, "--cpu only contradicts --device 1");
	assert_refused(&never, NULL, "--device cpu contradicts --cpu never");
	assert_refused(&two, NULL, "--device names one GPU");
	assert_refused(&none, NULL, "takes no GPU");
	assert_refused(&full, mixed, "r.json:1: row 1: --cpu only takes no GPU, and yet --vram");
	assert_refused(&line, odd, "r.txt:1: row 1: word 2 of the command is not UTF-8");
	assert_refused(&kind, odd, "r.txt:1: row 1: --kind is not UTF-8");
}

static void test_weight_needs_balance(void **state)
{
	auto_options struct options alone = PARSE("--weight-memory", "3", "x"),
				    other = PARSE("--weight-memory", "3", "--policy", "auto", "x"),
				    right =
					PARSE("--weight-memory", "3", "--policy", "balance", "x");
	auto_json json_t *body = NULL;
	struct error err = {};

	assert_int_equal(submission_build(&alone, &body, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--policy balance"));
	assert_int_equal(submission_build(&other, &body, &err), -EINVAL);
	assert_int_equal(submission_build(&right, &body, &err), 0);
}

static void test_explained(void **state)
{
	static const char *const pairs[][2] = {
	    {"request: pin: there is no GPU 'x'", "--device: there is no GPU 'x'"},
	    {"row 7: request: vram_bytes: must be", "row 7: --vram: must be"},
	    {"row 7: request: runs on", "row 7: runs on"},
	    {"name: request: pin: x", "name: request: pin: x"},
	    {"", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct error err = {};

		(void)error_set(&err, -EINVAL, "%s", pairs[i][0]);
		submission_explain(&err);
		assert_string_equal(err.text, pairs[i][1]);
	}
}

static void test_program(void **state)
{
	static const struct {
		const char *command[5];
		const char *wanted;
	} cases[] = {
	    {{"/usr/bin/ffmpeg", "-i", "x"}, "ffmpeg"},
	    {{"python3", "transcribe.py", "a"}, "transcribe.py"},
	    {{"/usr/bin/python3.11", "-u", "/srv/t.py"}, "t.py"},
	    {{"python3", "-m", "whisper", "a"}, "whisper"},
	    {{"bash", "-c", "echo"}, "bash"},
	    {{"bash", "{script}"}, "bash"},
	    {{"python3"}, "python3"},
	    {{"shellcheck", "a"}, "shellcheck"},
	    {{"pythonic", "a"}, "pythonic"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *program =
		    submission_program((char *const *)(uintptr_t)cases[i].command);

		assert_string_equal(program, cases[i].wanted);
	}
}

static void test_fingerprint(void **state)
{
	auto_json json_t *a = json_pack("[s, s]", "ab", "c"), *b = json_pack("[s, s]", "a", "bc");
	auto_free char *one = submission_fingerprint("/w", a),
		       *same = submission_fingerprint("/w", a);
	auto_free char *shifted = submission_fingerprint("/w", b),
		       *elsewhere = submission_fingerprint("/v", a);

	assert_int_equal(strlen(one), 32);
	assert_string_equal(one, same);
	assert_string_not_equal(one, shifted);
	assert_string_not_equal(one, elsewhere);
	/* FNV-1a, 128 bits, over "/w\0ab\0c\0": what is in a store must be found by the next
	 * version. */
	assert_string_equal(one, "6e48bd0e3e6599c95c81d87b6f9c1fd1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one),           cmocka_unit_test(test_unsaid_is_null),
	    cmocka_unit_test(test_kinds),         cmocka_unit_test(test_kinds_of_scripts),
	    cmocka_unit_test(test_kinds_of_rows), cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_refused),       cmocka_unit_test(test_weight_needs_balance),
	    cmocka_unit_test(test_explained),     cmocka_unit_test(test_program),
	    cmocka_unit_test(test_fingerprint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
