/*
 * The kernel's log and nvidia-smi: every form of every line (tests/cases/doctor/xid.yaml), the real
 * excerpts of log-corpus where it lies beside the checkout, and the table of meanings: complete,
 * and refused with the place where it is wrong.
 */
#include "doctor/xid.h"
#include "util/file.h"
#include "util/yamlx.h"

#include "unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAX ((size_t)1 << 20)

static struct xid_table *table;

static int setup(void **state)
{
	struct error err;
	int r = xid_table_load(NULL, &table, &err);

	(void)state;
	if (r < 0)
		print_message("# %s\n", err.text);
	return r;
}

static int teardown(void **state)
{
	(void)state;
	xid_table_destroy(table);
	return 0;
}

/* --- lines --- */

static void describe(const struct kernel_line *line, struct text *text)
{
	text_add(text, kernel_event_name(line->event));
	if (line->event == KERNEL_XID)
		text_printf(text, " %u", line->xid);
	if (*line->pci)
		text_printf(text, " at %s", line->pci);
	if (line->pid)
		text_printf(text, " of %d", (int)line->pid);
	if (*line->process)
		text_printf(text, " by %s", line->process);
	if (line->event == KERNEL_MISMATCH)
		text_printf(text, " versions %s, %s", line->version[0], line->version[1]);
	text_add(text, "\n");
}

static unsigned check_case(const struct yamlx *doc, const struct yamlx_node *node)
{
	const struct yamlx_node *log = yamlx_get(node, "log"), *lines = yamlx_get(node, "lines");
	auto_kernel_lines struct kernel_lines read = {};
	auto_text struct text got = {}, expected = {};

	if (!log || !lines || lines->type != YAMLX_SEQUENCE)
		fail_msg("%s:%u: log and lines are wanted", doc->name, node->line);
	kernel_lines_read(log->text, &read);
	for (size_t i = 0; i < read.n; i++) {
		describe(&read.items[i], &got);
		assert_non_null(read.items[i].text[0] ? read.items[i].text : NULL);
	}
	for (size_t i = 0; i < lines->n; i++)
		text_printf(&expected, "%s\n", lines->items[i]->text);
	text_add(&got, "");
	text_add(&expected, "");
	if (strcmp(got.data, expected.data) == 0)
		return 0;
	print_message("# %s:%u: expected\n# %s# got\n# %s", doc->name, node->line, expected.data,
		      got.data);
	return 1;
}

static void test_cases(void **state)
{
	auto_free char *path =
	    mem_printf("%s/tests/cases/doctor/xid.yaml", getenv("PLIMSOLL_SOURCE"));
	auto_yamlx struct yamlx *doc = NULL;
	unsigned wrong = 0;
	struct error err;

	(void)state;
	if (yamlx_load(path, &doc, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(doc->root->n >= 30);
	for (size_t i = 0; i < doc->root->n; i++)
		wrong += check_case(doc, doc->root->items[i]);
	assert_int_equal(wrong, 0);
}

/* Of a log that says the same thousands of times the last lines are kept. */
static void test_the_last_are_kept(void **state)
{
	auto_kernel_lines struct kernel_lines lines = {};
	auto_text struct text log = {};

	(void)state;
	for (unsigned i = 1; i <= 2000; i++)
		text_printf(&log, "NVRM: Xid (PCI:0000:01:00): %u, x\n", i);
	kernel_lines_read(log.data, &lines);
	assert_int_equal(lines.n, KERNEL_LINES_MAX);
	for (size_t i = 0; i < lines.n; i++)
		assert_int_equal(lines.items[i].xid, 2000 - KERNEL_LINES_MAX + 1 + i);
}

static void test_recovery(void **state)
{
	static const struct {
		const char *text;
		bool is;
		unsigned action;
	} rows[] = {
	    {"154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", true,
	     2},
	    {"154, GPU recovery action changed from 0x2 (OS Reboot) to 0x0 (None)", true, 0},
	    {"154, something else", false, 0},
	    {"79, changed from 0x0 (None) to 0x2 (OS Reboot)", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *log = mem_printf("NVRM: Xid (PCI:0000:01:00): %s", rows[i].text);
		auto_kernel_lines struct kernel_lines lines = {};
		unsigned action = 0;

		kernel_lines_read(log, &lines);
		assert_int_equal(lines.n, 1);
		assert_int_equal(kernel_line_recovery(&lines.items[0], &action), rows[i].is);
		assert_int_equal(action, rows[i].action);
	}
}

/* --- the real logs --- */

/* Calls `f` for each row of an index: the text of its file, and what is expected of it. */
static void each_of_corpus(const char *folder, unsigned at_least,
			   void (*f)(const char *path, const char *text, const char *expected))
{
	auto_free char *beside =
	    mem_printf("%s/../shared/log-corpus/%s", getenv("PLIMSOLL_SOURCE"), folder);
	auto_free char *index_path = mem_printf("%s/index.tsv", beside);
	auto_text struct text index = {};
	unsigned n = 0;
	struct error err;
	char *line, *rest;

	if (access(beside, F_OK) < 0) {
		print_message("# SKIP: no log-corpus beside the checkout\n");
		skip();
	}
	if (file_read(index_path, LOG_MAX, false, &index, &err) < 0)
		fail_msg("%s", err.text);
	(void)strtok_r(index.data, "\n", &rest);
	while ((line = strtok_r(NULL, "\n", &rest))) {
		const char *name = strsep(&line, "\t"), *expected = strsep(&line, "\t");
		auto_free char *path = mem_printf("%s/%s", beside, name);
		auto_text struct text text = {};

		assert_non_null(line);
		if (file_read(path, LOG_MAX, false, &text, &err) < 0)
			fail_msg("%s", err.text);
		f(path, text.data, expected);
		n++;
	}
	assert_true(n >= at_least);
}

static bool is_before(const struct kernel_lines *lines, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (lines->items[j].event == KERNEL_XID &&
		    lines->items[j].xid == lines->items[i].xid)
			return true;
	return false;
}

/* "13,109": each Xid once, in the order they came in; "none (RmInitAdapter failed)". Each has a
 * meaning, and says where it was. */
static void check_xids(const char *path, const char *text, const char *expected)
{
	auto_kernel_lines struct kernel_lines lines = {};
	auto_text struct text got = {};
	bool init_failed = false;

	kernel_lines_read(text, &lines);
	for (size_t i = 0; i < lines.n; i++) {
		const struct xid_meaning *meaning = xid_table_of_line(table, &lines.items[i]);

		assert_non_null(meaning);
		assert_true(*meaning->meaning && *meaning->action);
		init_failed |= lines.items[i].event == KERNEL_INIT_FAILED;
		if (lines.items[i].event != KERNEL_XID || is_before(&lines, i))
			continue;
		assert_true(lines.items[i].pci[0] != '\0');
		text_printf(&got, "%s%u", got.len ? "," : "", lines.items[i].xid);
	}
	if (text_starts_with(expected, "none")) {
		assert_true(got.len == 0 && init_failed == !!strstr(expected, "RmInitAdapter"));
		return;
	}
	if (got.len == 0 || strcmp(got.data, expected) != 0)
		fail_msg("%s: %s, not %s", path, got.len ? got.data : "none", expected);
}

static void test_corpus_of_kernels(void **state)
{
	(void)state;
	each_of_corpus("xid", 18, check_xids);
}

static void check_smi(const char *path, const char *text, const char *expected)
{
	static const struct {
		const char *expected, *id;
		enum xid_class class;
	} rows[] = {
	    {"driver/library version mismatch", "mismatch", XID_DRIVER},
	    {"couldn't communicate with the driver", "no-driver", XID_DRIVER},
	    {"insufficient permissions", "no-permission", XID_DRIVER},
	    {"ERR! fields", "err-fields", XID_HARDWARE},
	    {"GPU is lost", "lost", XID_HARDWARE},
	};
	const struct smi_meaning *meaning = smi_meaning(table, text);

	if (!meaning)
		fail_msg("%s: nothing was seen", path);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcmp(rows[i].expected, expected) != 0)
			continue;
		assert_string_equal(meaning->id, rows[i].id);
		assert_int_equal(meaning->class, rows[i].class);
		assert_true(*meaning->meaning && *meaning->action);
		return;
	}
	fail_msg("%s: no row for \"%s\"", path, expected);
}

static void test_corpus_of_smi(void **state)
{
	(void)state;
	each_of_corpus("smi", 6, check_smi);
}

static void test_smi(void **state)
{
	static const struct {
		const char *output, *id;
	} rows[] = {
	    {"Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n",
	     "handle"},
	    {"Failed to initialize NVML: Unknown Error", "cgroup"},
	    {"No devices were found\n", "no-devices"},
	    {"NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", "no-library"},
	    {"nvml error: DRIVER/LIBRARY version mismatch: unknown", "mismatch"},
	    {"Unable to determine the device handle for GPU0\n: Unknown Error\n", NULL},
	    {"| 30%   41C    P8    24W / 230W |    629MiB / 24564MiB |      3%      Default |",
	     NULL},
	    {"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct smi_meaning *meaning = smi_meaning(table, rows[i].output);

		if (!meaning || !rows[i].id)
			assert_true(!meaning && !rows[i].id);
		else
			assert_string_equal(meaning->id, rows[i].id);
	}
}

/* --- the table --- */

/* What monitoring pages for, and what it leaves alone (facts: [SMI chart]). */
static void test_sets(void **state)
{
	static const unsigned page[] = {48, 62, 64, 74, 79, 95, 119, 120, 140, 143, 158, 167, 154};
	static const unsigned application[] = {8, 13, 31, 32, 43, 68, 69, 137};
	static const unsigned information[] = {44, 63, 92, 93, 121};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(page); i++) {
		const struct xid_meaning *meaning = xid_table_find(table, page[i]);

		assert_true(meaning && meaning->xid == page[i] && meaning->page);
		assert_true(meaning->class == XID_HARDWARE || meaning->class == XID_DRIVER);
	}
	for (size_t i = 0; i < ARRAY_LEN(application); i++)
		assert_true(xid_table_find(table, application[i]) &&
			    xid_table_find(table, application[i])->class == XID_APPLICATION);
	for (size_t i = 0; i < ARRAY_LEN(information); i++)
		assert_true(xid_table_find(table, information[i]) &&
			    xid_table_find(table, information[i])->class == XID_INFORMATION);
	for (unsigned xid = 1; xid < 1000; xid++) {
		const struct xid_meaning *meaning = xid_table_find(table, xid);

		if (meaning && meaning->page)
			assert_true(meaning->class == XID_HARDWARE || meaning->class == XID_DRIVER);
	}
	assert_null(xid_table_find(table, 0));
	assert_null(xid_table_find(table, 9999));
	assert_int_equal(xid_table_find(table, 45)->class, XID_CONSEQUENCE);
}

static void assert_refused(const char *text, const char *words)
{
	char path[] = "/tmp/plimsoll-xid-XXXXXX";
	int fd = mkstemp(path);
	struct xid_table *other = NULL;
	struct error err = {};
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)fd_close(fd);
	r = xid_table_load(path, &other, &err);
	(void)unlink(path);
	assert_int_equal(r, -EINVAL);
	assert_null(other);
	if (!strstr(err.text, words))
		fail_msg("%s: not %s", err.text, words);
}

static void test_a_wrong_table_is_refused(void **state)
{
	static const char row[] =
	    "class: driver, page: true, way: none, meaning: m, action: a, source: s, "
	    "date: 2026-11";
	static const struct {
		const char *before, *after, *words;
	} rows[] = {
	    {"version: 1\nxids:\n  - {xid: 0, ", "}\n", ":3:11: `xid` is a number"},
	    {"version: 1\nxids:\n  - {xid: 1, more: 1, ", "}\n", ":3:14: unknown key \"more\""},
	    {"version: 1\nxids:\n  - {", "}\n", ":3:5: \"xid\" is missing"},
	    {"version: 1\nxids: []\nevents:\n  - {event: fire, ", "}\n", ":4:13: `event` is"},
	    {"version: 2\nxids:\n  - {xid: 1, ", "}\n", ":1:10: `version: 1`"},
	    {"version: 1\nxids:\n  - {xid: 1, ", "}\nsmi: []\n", "`events` is a list"},
	    {"version: 1\nxids:\n  - {xid: 1, ", "}\nevents: []\nsmi: []\n",
	     "\"mismatch\" is missing"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *text = mem_printf("%s%s%s", rows[i].before, row, rows[i].after);

		assert_refused(text, rows[i].words);
	}
	assert_refused("version: 1\nxids:\n  - {xid: 1, class: x, page: true, meaning: m, action: "
		       "a, way: none, source: s, date: d}\n",
		       "`class` is application");
	assert_refused("version: 1\nxids:\n  - {xid: 1, class: driver, way: up, page: true, "
		       "meaning: m, action: a, source: s, date: d}\n",
		       ":3:34: `way` is none, reset");
	assert_refused("version: 1\nxids: []\nevents: []\nsmi:\n  - {id: a, text: \"E*\", class: "
		       "driver, meaning: m, action: a, source: s, date: d}\n",
		       ":5:19: `text` begins");
	assert_refused("[]\n", "a mapping is expected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cases),         cmocka_unit_test(test_the_last_are_kept),
	    cmocka_unit_test(test_recovery),      cmocka_unit_test(test_corpus_of_kernels),
	    cmocka_unit_test(test_corpus_of_smi), cmocka_unit_test(test_smi),
	    cmocka_unit_test(test_sets),          cmocka_unit_test(test_a_wrong_table_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
