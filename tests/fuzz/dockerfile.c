/* Any text as a Dockerfile: read or refused with a place; each image has a line of the text, and
 * its name can be taken apart. */
#include "doctor/dockerfile.h"
#include "doctor/images.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char cuda[] = "CUDA=12.4.1", empty[] = "EMPTY=";
	static char *const args[] = {cuda, empty, NULL};
	auto_dockerfile struct dockerfile file = {};
	struct error err = {};
	unsigned lines = 1, before = 0;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	if (dockerfile_parse((const char *)data, size, "Dockerfile", args, &file, &err) < 0) {
		if (!err.text[0] || file.n > 0)
			abort();
		return 0;
	}
	for (size_t i = 0; i < file.n; i++) {
		struct image_name name = images_name(file.items[i].image);

		if (file.items[i].line <= before || file.items[i].line > lines ||
		    strlen(file.items[i].image) > DOCKERFILE_REF_MAX || name.cuda.n > VERSION_PARTS)
			abort();
		before = file.items[i].line;
	}
	return 0;
}
