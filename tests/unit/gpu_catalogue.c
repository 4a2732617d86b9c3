/* Speeds of known models, from the data file and from files that are wrong. */
#include "gpu/catalogue.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int load_text(const char *text, struct catalogue **ret_catalogue, struct error *err)
{
	char path[] = "/tmp/plimsoll-test-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
	r = catalogue_load_file(path, ret_catalogue, err);
	(void)unlink(path);
	return r;
}

static void names_have_speeds(void **state)
{
	auto_catalogue struct catalogue *catalogue = NULL;
	double speed = -1;

	(void)state;
	assert_int_equal(load_text("gpus:\n"
				   "  fast: {name: NVIDIA Fast, vram_mib: 1, speed: 1.5}\n"
				   "  slow: {name: NVIDIA Slow, speed: 0.25}\n"
				   "  new: {name: NVIDIA New}\n",
				   &catalogue, NULL),
			 0);
	assert_true(catalogue_speed(catalogue, "NVIDIA Fast", &speed));
	assert_true(speed > 1.49 && speed < 1.51);
	assert_true(catalogue_speed(catalogue, "nvidia slow", &speed));
	assert_true(speed > 0.24 && speed < 0.26);
	speed = -1;
	assert_false(catalogue_speed(catalogue, "NVIDIA New", &speed));
	assert_false(catalogue_speed(catalogue, "NVIDIA Fast 2", &speed));
	assert_false(catalogue_speed(catalogue, "", &speed));
	assert_false(catalogue_speed(NULL, "NVIDIA Fast", &speed));
	assert_true(speed < 0); /* outputs stay untouched */
}

static void wrong_files_are_refused_with_their_place(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
	    {"models: {}\n", "no mapping `gpus`"},
	    {"gpus: [1]\n", "no mapping `gpus`"},
	    {"gpus:\n  a: 3\n", ":2:6: a model is a mapping"},
	    {"gpus:\n  a: {speed: 1}\n", "needs `name`"},
	    {"gpus:\n  a: {name: A, speed: fast}\n", ":2:"},
	    {"gpus:\n  a: {name: A, speed: 0}\n", ":2:"},
	    {"gpus:\n  a: {name: A, speed: 1}\n  b: {name: B, speed: -1}\n", ":3:"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct catalogue *catalogue = NULL;
		struct error err = {};

		assert_true(load_text(rows[i].text, &catalogue, &err) < 0);
		assert_null(catalogue);
		if (!strstr(err.text, rows[i].says))
			fail_msg("%s: says \"%s\"", rows[i].text, err.text);
	}
}

/* The file that is shipped (PLIMSOLL_DATADIR points at it). */
static void shipped_file_knows_the_stories(void **state)
{
	static const char *const models[] = {"NVIDIA GeForce RTX 2080 SUPER", "NVIDIA RTX A5500",
					     "NVIDIA RTX A400", "NVIDIA GeForce RTX 5070 Ti"};
	auto_catalogue struct catalogue *catalogue = NULL;
	struct error err = {};
	double speed[ARRAY_LEN(models)];

	(void)state;
	if (catalogue_load(&catalogue, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ARRAY_LEN(models); i++)
		assert_true(catalogue_speed(catalogue, models[i], &speed[i]));
	assert_true(speed[0] < speed[3]); /* the 8 GB card is the slower one of the batch story */
	assert_true(speed[2] < speed[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_have_speeds),
	    cmocka_unit_test(wrong_files_are_refused_with_their_place),
	    cmocka_unit_test(shipped_file_knows_the_stories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
