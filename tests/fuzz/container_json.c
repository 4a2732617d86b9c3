/* Any bytes as the answers of a container engine: what is taken from them has an id of hex digits
 * and no control characters, and asks for no more than was said. */
#include "container/json.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s)
{
	for (; s && *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			abort();
}

static void check_container(const struct container *c)
{
	size_t len = strlen(c->id);

	if (len < 12 || len > 64 || strspn(c->id, "0123456789abcdef") != len || !c->name)
		abort();
	check_text(c->name);
	check_text(c->project);
	check_text(c->service);
	check_text(c->devices);
	if (c->number == 0 || c->pid < 0 || c->restarts < 0 || (c->devices && !*c->devices))
		abort();
}

static void check_inspect(const json_t *json, enum container_engine_kind kind)
{
	struct container c = {};
	struct error err = {};
	int r = container_parse_inspect(json, kind, &c, &err);

	if (r < 0 && !err.text[0])
		abort();
	if (r == 0)
		check_container(&c);
	container_finish(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_containers struct containers list = {};
	auto_text struct text logs = {};
	auto_json json_t *json = NULL;
	struct container_engine_about about = {};
	struct error err = {};
	char message[64];

	container_parse_logs((const char *)data, size, &logs);
	if (logs.len > size)
		abort();
	container_parse_error((const char *)data, size, message, sizeof message);
	check_text(message);
	if (jsonx_parse((const char *)data, size, "answer", &json, NULL) < 0)
		return 0;
	if (container_parse_version(json, &about, &err) < 0 && !err.text[0])
		abort();
	if (container_parse_list(json, &list, &err) < 0 && !err.text[0])
		abort();
	for (size_t i = 0; i < list.n; i++)
		check_container(&list.items[i]);
	check_inspect(json, CONTAINER_DOCKER);
	check_inspect(json, CONTAINER_PODMAN);
	return 0;
}
