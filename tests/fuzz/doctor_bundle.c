/* Any text as a bundle: refused with a text, or a tree that can be walked, and whose report can be
 * walked too. */
#include "doctor/root.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEPTH_MAX 4
#define NAMES_MAX 32

/* Everything that is there, links too, some way down. */
static void walk(struct root *root, const char *path, unsigned depth)
{
	auto_strings struct strings names = {};
	auto_free char *text = NULL, *target = NULL;

	if (root_link(root, path, &target) == 0 && !*target)
		abort();
	if (root_read(root, path, &text) == 0 && !root_exists(root, path))
		abort();
	if (depth == DEPTH_MAX || root_list(root, path, "*", &names) < 0)
		return;
	for (size_t i = 0; i < names.n && i < NAMES_MAX; i++) {
		auto_free char *below = mem_printf("%s/%s", path, names.items[i]);

		walk(root, below, depth + 1);
	}
}

static void report(const char *text, size_t len, struct text *ret_report)
{
	auto_root struct root *root = NULL;

	if (root_open_bundle(text, len, "again", &root, NULL) < 0)
		return;
	walk(root, "", 0);
	root_bundle(root, "head\n", ret_report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_root struct root *root = NULL;
	auto_text struct text first = {}, second = {};
	struct error err = {};

	if (root_open_bundle((const char *)data, size, "f", &root, &err) < 0) {
		if (!err.text[0] || root)
			abort();
		return 0;
	}
	report((const char *)data, size, &first);
	report(first.data, first.len, &second);
	return 0;
}
