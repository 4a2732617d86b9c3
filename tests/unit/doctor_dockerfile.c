/* FROM lines as BuildKit reads them, and what an image's name tells. */
#include "doctor/dockerfile.h"
#include "doctor/images.h"

#include "unit.h"

#include <errno.h>
#include <string.h>

/* "LINE image" of each, joined by ", "; of one without a value "?". */
static void assert_images(const char *text, char *const *args, const char *expected)
{
	auto_dockerfile struct dockerfile file = {};
	auto_text struct text joined = {};
	struct error err = {};

	if (dockerfile_parse(text, strlen(text), "D", args, &file, &err) < 0)
		fail_msg("%s", error_text(&err));
	for (size_t i = 0; i < file.n; i++)
		text_printf(&joined, "%s%u %s", i ? ", " : "", file.items[i].line,
			    *file.items[i].image ? file.items[i].image : "?");
	assert_string_equal(joined.data ? joined.data : "", expected);
}

static void finds_images(void **state)
{
	static char given[] = "A=given";
	static char *const args[] = {given, NULL};
	static const struct {
		const char *text;
		char *const *args;
		const char *images;
	} rows[] = {
	    {"", NULL, ""},
	    {"FROM a:1", NULL, "1 a:1"},
	    {"\n# FROM x\n  from\ta:1 as b\nFROM B\nFROM c", NULL, "3 a:1, 5 c"},
	    {"FROM scratch\n", NULL, ""},
	    {"FROM --platform=$BUILDPLATFORM a\n", NULL, "1 a"},
	    {"ARG A=1\nFROM x:${A}\nFROM x:$A-y\n", NULL, "2 x:1, 3 x:1-y"},
	    {"ARG A=1\nFROM x:${A}\n", args, "2 x:given"},
	    {"ARG A\nFROM x:${A}\n", args, "2 x:given"},
	    {"ARG A\nFROM x:${A}\n", NULL, "2 ?"},
	    {"FROM x:${A:-d}\nFROM x:${A:+d}y\nFROM x:${A-e}\n", NULL, "1 x:d, 2 x:y, 3 x:e"},
	    {"ARG A=1\nFROM x:${A:+d}\n", NULL, "2 x:d"},
	    {"ARG A=1 B=\"2\" C='3'\nFROM x:$A$B$C\n", NULL, "2 x:123"},
	    {"ARG A=1\nARG B=${A}2\nFROM x:$B\n", NULL, "3 x:12"},
	    {"FROM a\nARG A=1\nFROM x:$A\n", NULL, "1 a, 3 ?"},
	    {"FROM \\\n  # why\n\n  a:1 \\\n  AS b\nFROM c\n", NULL, "1 a:1, 6 c"},
	    {"# escape=`\nFROM `\n a\nRUN x \\\nFROM b\n", NULL, "2 a, 5 b"},
	    {"FROM a\nRUN <<E\nFROM no\nE\nFROM b\n", NULL, "1 a, 5 b"},
	    {"FROM a\nRUN cat <<-'E' <<F\nFROM no\n\tE\nFROM no\nF\nFROM b\n", NULL, "1 a, 7 b"},
	    {"FROM a\nRUN cat <<<E\nFROM b\n", NULL, "1 a, 3 b"},
	    {"FROM a\r\nFROM b\r\n", NULL, "1 a, 2 b"},
	    {"FROM a\nRUN echo \\\n FROM b\n", NULL, "1 a"},
	    {"FROMAGE a\n", NULL, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_images(rows[i].text, rows[i].args, rows[i].images);
}

static void platforms_are_kept(void **state)
{
	static const char text[] = "FROM --platform=linux/arm64 a\nFROM b\n";
	auto_dockerfile struct dockerfile file = {};

	assert_int_equal(dockerfile_parse(text, strlen(text), "D", NULL, &file, NULL), 0);
	assert_int_equal(file.n, 2);
	assert_string_equal(file.items[0].platform, "linux/arm64");
	assert_null(file.items[1].platform);
}

static void refuses_with_a_place(void **state)
{
	auto_text struct text many = {};
	struct dockerfile file = {};
	struct error err = {};

	assert_int_equal(dockerfile_parse("\nFROM\n", 6, "D", NULL, &file, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "D:2"));
	assert_int_equal(dockerfile_parse("a\0b", 3, "D", NULL, &file, &err), -EBADMSG);
	for (unsigned i = 0; i < DOCKERFILE_FROM_MAX; i++)
		text_add(&many, "FROM a\n");
	assert_int_equal(dockerfile_parse(many.data, many.len, "D", NULL, &file, &err), 0);
	dockerfile_finish(&file);
	text_add(&many, "FROM a\n");
	assert_int_equal(dockerfile_parse(many.data, many.len, "D", NULL, &file, &err), -E2BIG);
	assert_int_equal(file.n, 0);
}

static void names_tell_what_is_in_them(void **state)
{
	static const struct {
		const char *image;
		enum image_family family;
		const char *cuda, *torch, *os;
	} rows[] = {
	    {"nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04", IMAGE_CUDA, "12.4.1", "unknown",
	     "ubuntu22.04"},
	    {"nvcr.io/nvidia/cuda:11.8.0-base-ubi8", IMAGE_CUDA, "11.8.0", "unknown", "ubi8"},
	    {"nvidia/cuda", IMAGE_CUDA, "unknown", "unknown", ""},
	    {"pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime", IMAGE_PYTORCH, "12.4", "2.6.0", ""},
	    {"nvcr.io/nvidia/pytorch:24.05-py3", IMAGE_NGC, "unknown", "unknown", ""},
	    {"host:5000/a/b:1-cu118", IMAGE_OTHER, "11.8", "unknown", ""},
	    {"host:5000/a/cu124", IMAGE_OTHER, "unknown", "unknown", ""},
	    {"a:x_cuda-12.1", IMAGE_OTHER, "12.1", "unknown", ""},
	    {"a:focus123-cu12", IMAGE_OTHER, "unknown", "unknown", ""},
	    {"a:cu1234", IMAGE_OTHER, "unknown", "unknown", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct image_name name = images_name(rows[i].image);

		assert_int_equal(name.family, rows[i].family);
		assert_string_equal(VERSION_TEXT(&name.cuda), rows[i].cuda);
		assert_string_equal(VERSION_TEXT(&name.torch), rows[i].torch);
		assert_string_equal(name.os, rows[i].os);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_images),
	    cmocka_unit_test(platforms_are_kept),
	    cmocka_unit_test(refuses_with_a_place),
	    cmocka_unit_test(names_tell_what_is_in_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
