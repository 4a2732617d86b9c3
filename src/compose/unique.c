/* See unique.h. Keys are gathered in a map, which keeps the place of the first and finds by hash.
 */
#include "compose/unique.h"

#include <ctype.h>
#include <string.h>

#define COMPARED_MAX 16 /* items of a list that goes without a map */

static struct compose_slice slice(const char *text)
{
	return (struct compose_slice){text, text ? strlen(text) : 0};
}

static const char *member(const struct compose_node *map, const char *key)
{
	return compose_text(compose_get(map, key));
}

struct compose_slice compose_key_setting(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item);

	(void)arena;
	if (item->type == COMPOSE_MAP && item->n == 1)
		return slice(item->entries[0].key);
	return (struct compose_slice){text, text ? strcspn(text, "=") : 0};
}

struct compose_slice compose_key_text(struct arena *arena, const struct compose_node *item)
{
	(void)arena;
	return slice(compose_text(item));
}

struct compose_slice compose_key_env_file(struct arena *arena, const struct compose_node *item)
{
	(void)arena;
	return slice(item->type == COMPOSE_MAP ? member(item, "path") : compose_text(item));
}

/* "[SOURCE:]TARGET[:OPTIONS]"; a letter before the first colon is a drive of Windows. */
static struct compose_slice volume_target(const char *spec)
{
	const char *section = spec;

	for (unsigned n = 0;; n++) {
		size_t len = strcspn(section, ":");

		if (len == 1 && isalpha((unsigned char)*section) && section[1] == ':')
			len += 1 + strcspn(section + 2, ":");
		if (n == 1 || section[len] == '\0')
			return (struct compose_slice){section, len};
		section += len + 1;
	}
}

struct compose_slice compose_key_volume(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item);
	struct compose_slice target = text ? volume_target(text) : slice(member(item, "target"));

	(void)arena;
	while (target.len > 1 && target.text[target.len - 1] == '/')
		target.len--;
	return target;
}

struct compose_slice compose_key_device(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item), *colon;

	(void)arena;
	if (!text)
		return slice(member(item, "target"));
	colon = strchr(text, ':');
	return colon ? (struct compose_slice){colon + 1, strcspn(colon + 1, ":")} : slice(text);
}

static struct compose_slice mount(struct arena *arena, const struct compose_node *item,
				  const char *folder)
{
	const char *source = compose_text(item), *target = NULL;

	if (item->type == COMPOSE_MAP) {
		target = member(item, "target");
		source = member(item, "source");
	}
	if (!target && source)
		target = arena_printf(arena, "%s/%s", folder, source);
	return slice(target);
}

struct compose_slice compose_key_config(struct arena *arena, const struct compose_node *item)
{
	return mount(arena, item, "");
}

struct compose_slice compose_key_secret(struct arena *arena, const struct compose_node *item)
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

struct compose_slice compose_key_port(struct arena *arena, const struct compose_node *item)
{
	const char *text = compose_text(item), *address, *published, *protocol;

	if (text)
		return slice(short_port(arena, text));
	if (!member(item, "target"))
		return slice(NULL);
	address = member(item, "host_ip");
	published = member(item, "published");
	protocol = member(item, "protocol");
	return slice(arena_printf(arena, "%s:%s:%s/%s", address ? address : "0.0.0.0",
				  published ? published : "", member(item, "target"),
				  protocol ? protocol : "tcp"));
}

static bool same(struct compose_slice one, struct compose_slice other)
{
	return one.text && other.text && one.len == other.len &&
	       memcmp(one.text, other.text, one.len) == 0;
}

static struct compose_node *unique_short(struct arena *arena, struct compose_node *list,
					 compose_key_f *key)
{
	struct compose_node *unique, *items[COMPARED_MAX];
	struct compose_slice keys[COMPARED_MAX];
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		size_t at = 0;

		keys[n] = key(arena, list->items[i]);
		while (at < n && !same(keys[at], keys[n]))
			at++;
		items[at] = list->items[i];
		n += at == n;
	}
	if (n == list->n)
		return list;
	unique = compose_node_list(arena, list);
	for (size_t i = 0; i < n; i++)
		compose_list_add(arena, unique, items[i]);
	return unique;
}

struct compose_node *compose_unique(struct arena *arena, struct compose_node *list,
				    compose_key_f *key)
{
	struct compose_node *found, *unique;

	if (list->n <= COMPARED_MAX)
		return unique_short(arena, list, key);
	found = compose_node_map(arena, list);
	for (size_t i = 0; i < list->n; i++) {
		struct compose_slice name = key(arena, list->items[i]);

		/* No key of an item begins with a newline. */
		compose_map_put(arena, found,
				name.text ? arena_strndup(arena, name.text, name.len)
					  : arena_printf(arena, "\n%zu", i),
				NULL, list->items[i]);
	}
	if (found->n == list->n)
		return list;
	unique = compose_node_list(arena, list);
	for (size_t i = 0; i < found->n; i++)
		compose_list_add(arena, unique, found->entries[i].value);
	return unique;
}
