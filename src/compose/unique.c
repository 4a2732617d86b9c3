/* See unique.h. Keys are gathered in a map, which keeps the place of the first and finds by hash.
 */
#include "compose/unique.h"

#include <ctype.h>
#include <string.h>

static const char *member(const struct compose_node *map, const char *key)
{
	return compose_text(compose_get(map, key));
}

const char *compose_key_setting(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item);

	if (item->type == COMPOSE_MAP && item->n == 1)
		return item->entries[0].key;
	return text ? arena_strndup(arena, text, strcspn(text, "=")) : NULL;
}

const char *compose_key_text(struct arena *arena, const struct compose_node *item)
{
	(void)arena;
	return compose_text(item);
}

const char *compose_key_env_file(struct arena *arena, const struct compose_node *item)
{
	(void)arena;
	return item->type == COMPOSE_MAP ? member(item, "path") : compose_text(item);
}

/* "[SOURCE:]TARGET[:OPTIONS]"; a letter before the first colon is a drive of Windows. */
static const char *volume_target(const char *spec, size_t *ret_len)
{
	const char *section = spec;

	for (unsigned n = 0;; n++) {
		size_t len = strcspn(section, ":");

		if (len == 1 && isalpha((unsigned char)*section) && section[1] == ':')
			len += 1 + strcspn(section + 2, ":");
		if (n == 1 || section[len] == '\0') {
			*ret_len = len;
			return section;
		}
		section += len + 1;
	}
}

const char *compose_key_volume(struct arena *arena, const struct compose_node *item)
{
	auto_free char *clean = NULL, *copy = NULL;
	const char *target = item->type == COMPOSE_MAP ? member(item, "target") : NULL;
	const char *text = compose_text(item);
	size_t len;

	if (text) {
		target = volume_target(text, &len);
		copy = mem_strndup(target, len);
		target = copy;
	}
	if (!target)
		return NULL;
	clean = compose_path_join("/", target);
	return arena_strdup(arena, clean);
}

const char *compose_key_device(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item), *colon;

	if (!text)
		return item->type == COMPOSE_MAP ? member(item, "target") : NULL;
	colon = strchr(text, ':');
	return colon ? arena_strndup(arena, colon + 1, strcspn(colon + 1, ":")) : text;
}

static const char *mount(struct arena *arena, const struct compose_node *item, const char *folder)
{
	const char *source = compose_text(item), *target = NULL;

	if (item->type == COMPOSE_MAP) {
		target = member(item, "target");
		source = member(item, "source");
	}
	if (target)
		return target;
	return source ? arena_printf(arena, "%s/%s", folder, source) : NULL;
}

const char *compose_key_config(struct arena *arena, const struct compose_node *item)
{
	return mount(arena, item, "");
}

const char *compose_key_secret(struct arena *arena, const struct compose_node *item)
{
	return mount(arena, item, "/run/secrets");
}

/* "[[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]". Ranges are taken as they are written. */
static const char *short_port(struct arena *arena, const char *text)
{
	char *spec = arena_strdup(arena, text), *target, *published = NULL;
	const char *address = "0.0.0.0", *protocol = "tcp";
	char *slash = strrchr(spec, '/');

	if (slash) {
		*slash = '\0';
		protocol = slash + 1;
	}
	target = strrchr(spec, ':');
	if (target) {
		*target++ = '\0';
		published = strrchr(spec, ':');
		if (published && published > spec) {
			*published++ = '\0';
			address = spec;
		} else {
			published = spec;
		}
	} else {
		target = spec;
	}
	return arena_printf(arena, "%s:%s:%s/%s", address, published ? published : "", target,
			    protocol);
}

const char *compose_key_port(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item), *address, *published, *protocol;

	if (text)
		return short_port(arena, text);
	if (!member(item, "target"))
		return NULL;
	address = member(item, "host_ip");
	published = member(item, "published");
	protocol = member(item, "protocol");
	return arena_printf(arena, "%s:%s:%s/%s", address ? address : "0.0.0.0",
			    published ? published : "", member(item, "target"),
			    protocol ? protocol : "tcp");
}

struct compose_node *compose_unique(struct arena *arena, struct compose_node *list,
				    compose_key_f *key)
{
	struct compose_node *found = compose_node_map(arena, list), *unique;

	for (size_t i = 0; i < list->n; i++) {
		const char *name = key(arena, list->items[i]);

		/* No key holds a newline and a number but the ones made here. */
		if (!name)
			name = arena_printf(arena, "\n%zu", i);
		compose_map_put(arena, found, name, NULL, list->items[i]);
	}
	if (found->n == list->n)
		return list;
	unique = compose_node_list(arena, list);
	for (size_t i = 0; i < found->n; i++)
		compose_list_add(arena, unique, found->entries[i].value);
	return unique;
}
