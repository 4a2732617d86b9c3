/* util/size: what is a size, what is not, what people are told, how sizes print. */
#include "util/size.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

static void accepts_what_people_write(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
	    {"6G", 6 * GIB},
	    {"6GB", 6 * GIB},
	    {"6GiB", 6 * GIB},
	    {"6g", 6 * GIB},
	    {"6gib", 6 * GIB},
	    {"1536M", 1536 * MIB},
	    {"1536 MiB", 1536 * MIB},
	    {"2.5G", 2560 * MIB},
	    {"0.5G", 512 * MIB},
	    {"0G", 0},
	    {"1K", 1024},
	    {"1T", 1024 * GIB},
	    {"23.57G", UINT64_C(25308094791)},
	    {"8.84GiB", UINT64_C(9491877724)},
	    {"0.000000001G", 1},
	    {"0.0000000001G", 0},
	    {"8191.99999999999G", UINT64_C(8796093022206)},
	    {"8388607T", UINT64_C(8388607) << 40},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		uint64_t bytes = 77;

		if (size_parse(cases[i].text, &bytes, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		if (bytes != cases[i].bytes)
			fail_msg("%s: %llu bytes", cases[i].text, (unsigned long long)bytes);
	}
}

static void refuses_the_rest_and_says_what_to_write(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
	    {"6", "has no unit; write 6M or 6G"},
	    {"2.5", "has no unit; write 2.5M or 2.5G"},
	    {"", "is not a size; write for example 2.5G or 512M"},
	    {"G", "is not a size"},
	    {"-1G", "is not a size"},
	    {"+1G", "is not a size"},
	    {" 1G", "is not a size"},
	    {".5G", "is not a size"},
	    {"0x10M", "unknown unit \"x10M\""},
	    {"1e3M", "unknown unit"},
	    {"6P", "unknown unit \"P\"; K, M, G or T is meant"},
	    {"6B", "unknown unit"},
	    {"6Gi", "unknown unit"},
	    {"6GBs", "unknown unit"},
	    {"6G ", "unknown unit"},
	    {"6,5G", "unknown unit"},
	    {"8388608T", "too large"},
	    {"99999999999999999999999G", "too large"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err = {};
		uint64_t bytes = 77;

		assert_int_equal(size_parse(cases[i].text, &bytes, &err), -EINVAL);
		assert_int_equal(err.code, -EINVAL);
		if (!strstr(err.text, cases[i].told))
			fail_msg("\"%s\" is told: %s", cases[i].text, err.text);
		assert_int_equal(bytes, 77); /* outputs stay untouched on failure */
		assert_int_equal(size_parse(cases[i].text, &bytes, NULL), -EINVAL);
	}
}

static void cuts_long_input_in_messages(void **state)
{
	char text[5000];
	struct error err = {};
	uint64_t bytes;

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(size_parse(text, &bytes, &err), -EINVAL);
	assert_true(strlen(err.text) < 200);
}

static void prints_for_people(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
	    {0, "0 MiB"},
	    {1, "1 B"},
	    {1023, "1023 B"},
	    {KIB, "1 KiB"},
	    {1536, "2 KiB"},
	    {MIB, "1 MiB"},
	    {512 * MIB, "512 MiB"},
	    {GIB, "1 GiB"},
	    {GIB + GIB / 2, "1.5 GiB"},
	    {100 * GIB, "100 GiB"},
	    {UINT64_C(25308094791), "23.57 GiB"},
	    {UINT64_C(12777943040), "11.9 GiB"},
	    {INT64_MAX, "8589934592 GiB"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(SIZE_TEXT(cases[i].bytes), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accepts_what_people_write),
	    cmocka_unit_test(refuses_the_rest_and_says_what_to_write),
	    cmocka_unit_test(cuts_long_input_in_messages),
	    cmocka_unit_test(prints_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
