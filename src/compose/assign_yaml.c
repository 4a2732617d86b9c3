/*
 * See assign_priv.h. What is written anew looks like what is there: the file's line ends and
 * quotes, its indentation, flow style inside flow style. What is taken over from elsewhere (an
 * anchor's content that becomes a service's own) is written out from its nodes, variables as they
 * were.
 */
#include "compose/assign_print.h"
#include "compose/assign_priv.h"

#include <errno.h>
#include <string.h>

static bool is_flow(const struct compose_node *node)
{
	char first =
	    node->span.begin < node->span.end ? node->span.file->text[node->span.begin] : '\0';

	return first == '{' || first == '[';
}

/* Blanks up to the column of a byte: what the next entry of its map is indented by. */
static void add_indent(struct text *text, const struct compose_file *file, size_t at, size_t more)
{
	unsigned line, column;

	compose_file_position(file, at, &line, &column);
	text_printf(text, "%*s", (int)(column - 1 + more), "");
}

static bool all_digits(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

int assign_yaml_scalar(struct assigning *a, const struct compose_node *scalar, const char *text,
		       struct error *err)
{
	auto_text struct text out = {};

	assign_print_scalar(&out, text,
			    scalar->style == COMPOSE_SINGLE  ? '\''
			    : scalar->style == COMPOSE_PLAIN ? '\0'
							     : '"');
	return assign_edit(a, &scalar->span, out.data, err);
}

int assign_yaml_part(struct assigning *a, const struct compose_node *scalar,
		     const struct compose_span *span, const char *text, struct error *err)
{
	bool whole = span->begin == scalar->span.begin && span->end == scalar->span.end;
	bool inside = span->file == scalar->span.file && span->begin >= scalar->span.begin &&
		      span->end <= scalar->span.end;
	struct compose_span at = scalar->span;
	int r;

	/* Of a number a number is made; "0,1" and "0:1" would be cut or counted without quotes. */
	if (inside && scalar->style == COMPOSE_PLAIN && !all_digits(text) &&
	    (strpbrk(text, ",:") || (whole && assign_print_needs_quotes(text)))) {
		at.end = at.begin;
		r = assign_edit(a, &at, "\"", err);
		at.begin = at.end = scalar->span.end;
		if (r == 0)
			r = assign_edit(a, span, text, err);
		return r < 0 ? r : assign_edit(a, &at, "\"", err);
	}
	return assign_edit(a, span, text, err);
}

/* Only blanks before it on its line. */
static bool begins_line(const struct compose_file *file, size_t at)
{
	while (at > 0 && (file->text[at - 1] == ' ' || file->text[at - 1] == '\t'))
		at--;
	return at == 0 || file->text[at - 1] == '\n';
}

/* The comment behind what ends here, on its line; 0: none. */
static size_t comment_behind(const struct compose_file *file, size_t at)
{
	while (file->text[at] == ' ' || file->text[at] == '\t')
		at++;
	return file->text[at] == '#' ? at : 0;
}

/* What goes with something that begins at `begin`, first on its line, and is taken away: the line,
 * but for a comment behind it, which is somebody's. */
static struct compose_span line_without_comment(const struct compose_file *file, size_t begin,
						size_t end)
{
	struct compose_span span = {file, begin, comment_behind(file, end)};
	const char *newline = strchr(file->text + end, '\n');

	if (span.end > 0)
		return span;
	while (span.begin > 0 && file->text[span.begin - 1] != '\n')
		span.begin--;
	span.end = newline ? (size_t)(newline - file->text) + 1 : file->len;
	return span;
}

/* The `- ` of a list's item that is alone on its line; SIZE_MAX: it is not. */
static size_t dash_of(const struct compose_node *list, const struct compose_node *item)
{
	const struct compose_file *file = list->span.file;
	size_t at = item->span.begin, behind = item->span.end;

	if (item->type != COMPOSE_SCALAR || item->via.file || item->span.file != file ||
	    memchr(file->text + at, '\n', item->span.end - at))
		return SIZE_MAX;
	while (at > 0 && file->text[at - 1] == ' ')
		at--;
	if (at < 2 || file->text[at - 1] != '-' || !begins_line(file, at - 1))
		return SIZE_MAX;
	behind += strspn(file->text + behind, " \t\r");
	return file->text[behind] == '#' || file->text[behind] == '\n' || behind == file->len
		   ? at - 1
		   : SIZE_MAX;
}

static bool is_block_of_lines(const struct compose_node *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (is_flow(list) || dash_of(list, list->items[i]) == SIZE_MAX)
			return false;
	return true;
}

/* Behind the list's last line. */
static int append_ids(struct assigning *a, const struct compose_node *list, const char *const *ids,
		      size_t n, char quote, struct error *err)
{
	const struct compose_file *file = list->span.file;
	size_t at = list->items[list->n - 1]->span.end;
	auto_text struct text out = {};
	struct compose_span span;

	at += strcspn(file->text + at, "\r\n");
	for (size_t i = 0; i < n; i++) {
		text_add(&out, compose_file_newline(file));
		add_indent(&out, file, dash_of(list, list->items[0]), 0);
		text_add(&out, "- ");
		assign_print_scalar(&out, ids[i], quote);
	}
	span = (struct compose_span){file, at, at};
	return n > 0 ? assign_edit(a, &span, out.data, err) : 0;
}

/* One item a line: those that are right stay, the others become what is missing, or go. Comments
 * stay where they are. */
static int edit_lines(struct assigning *a, const struct compose_node *list, const char *const *ids,
		      size_t n, char quote, struct error *err)
{
	auto_free const char **missing = mem_calloc(n + 1, sizeof *missing);
	auto_free bool *stays = mem_calloc(list->n + 1, sizeof *stays);
	size_t n_missing = 0, next = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < list->n && (stays[k] || list->items[k]->n_uses > 0 ||
				       strcmp(list->items[k]->text, ids[i]) != 0))
			k++;
		if (k < list->n)
			stays[k] = true;
		else
			missing[n_missing++] = ids[i];
	}
	for (size_t k = 0; r == 0 && k < list->n; k++) {
		const struct compose_node *item = list->items[k];
		auto_text struct text out = {};
		struct compose_span gone;

		if (stays[k])
			continue;
		if (next < n_missing) {
			assign_print_scalar(&out, missing[next++], quote);
			r = assign_edit(a, &item->span, out.data, err);
			continue;
		}
		gone = line_without_comment(list->span.file, dash_of(list, item), item->span.end);
		r = assign_edit(a, &gone, "", err);
	}
	return r < 0 ? r : append_ids(a, list, missing + next, n_missing - next, quote, err);
}

/* The list as it is written: one after the other, or one in each line. */
static int replace_list(struct assigning *a, const struct compose_target *target,
			const struct compose_node *list, const char *const *ids, size_t n,
			struct error *err)
{
	const struct compose_file *file = list->span.file;
	const struct compose_node *first = list->items[0];
	char quote = first->style == COMPOSE_SINGLE  ? '\''
		     : first->style == COMPOSE_PLAIN ? '\0'
						     : '"';
	auto_text struct text out = {};

	if (!quote)
		quote = assign_print_quote(file);
	if (is_block_of_lines(list))
		return edit_lines(a, list, ids, n, quote, err);
	if (memchr(file->text + list->span.begin, '#', list->span.end - list->span.begin))
		assign_note(a, target, "its list is written anew, without the comments in it");
	if (is_flow(list)) {
		assign_print_ids(&out, ids, n, quote);
		return assign_edit(a, &list->span, out.data, err);
	}
	for (size_t i = 0; i < n; i++) {
		if (i > 0) {
			text_add(&out, compose_file_newline(file));
			add_indent(&out, file, list->span.begin, 0);
		}
		text_add(&out, "- ");
		assign_print_scalar(&out, ids[i], quote);
	}
	return assign_edit(a, &list->span, out.data, err);
}

/* An entry in front of the map's one at `at`. */
static int insert_entry(struct assigning *a, const struct compose_node *map, size_t at,
			const char *entry, struct error *err)
{
	const struct compose_file *file = map->span.file;
	auto_text struct text out = {};
	struct compose_span span = {file, at, at};

	text_add(&out, entry);
	if (is_flow(map)) {
		if (at == map->span.begin)
			span.begin = span.end = at + 1;
		if (map->n > 0)
			text_add(&out, ", ");
	} else {
		text_add(&out, compose_file_newline(file));
		add_indent(&out, file, at, 0);
	}
	return assign_edit(a, &span, out.data, err);
}

/* Was the entry's value reached the same way as its map, and not through a merge key of its own? */
static bool is_own(const struct compose_node *map, const struct compose_entry *entry)
{
	return entry->value->via.file == map->via.file &&
	       entry->value->via.begin == map->via.begin &&
	       entry->value->span.file == map->span.file;
}

int assign_yaml_ids(struct assigning *a, const struct compose_target *target,
		    const struct compose_request *request, const char *const *ids, size_t n,
		    struct error *err)
{
	const struct compose_node *map = request->node;
	const struct compose_entry *list = compose_entry(map, "device_ids");
	const struct compose_entry *count = compose_entry(map, "count");
	const struct compose_entry *before = compose_entry(map, "capabilities");
	auto_text struct text out = {};
	struct compose_span span;

	if (list && list->value->type == COMPOSE_LIST && list->value->n > 0)
		return replace_list(a, target, list->value, ids, n, err);
	if (list || !map->span.file)
		return assign_fail(target, &request->span, err,
				   "device_ids cannot be written here: %s",
				   request->problem ?: "there is an empty one");
	text_add(&out, "device_ids: ");
	assign_print_ids(&out, ids, n, assign_print_quote(map->span.file));
	if (!count)
		return insert_entry(a, map,
				    before && is_own(map, before) ? before->key_span.begin
								  : map->span.begin,
				    out.data, err);
	span = locate_entry_span(count);
	if (count->value->span.begin == map->span.begin) {
		/* `gpus: all`, which is read as a list of one request. */
		auto_text struct text list_of_one = {};

		text_printf(&list_of_one, "[{%s}]", out.data);
		return assign_edit(a, &map->span, list_of_one.data, err);
	}
	if (!is_own(map, count))
		return assign_fail(target, &request->span, err,
				   "`count` comes from an anchor; write device_ids there");
	return assign_edit(a, &span, out.data, err);
}

/* The bytes that an entry of a map takes with it: its line, or up to the next one, or, when it is
 * the last, from the one before. */
static struct compose_span entry_extent(const struct compose_node *map, size_t i)
{
	const struct compose_file *file = map->span.file;
	struct compose_span span = locate_entry_span(&map->entries[i]);
	size_t next = map->span.end, before = map->span.begin;

	for (size_t k = 0; k < map->n; k++) {
		struct compose_span other = locate_entry_span(&map->entries[k]);

		if (k == i || !is_own(map, &map->entries[k]))
			continue;
		if (other.begin > span.begin)
			next = MIN_OF(next, other.begin);
		else
			before = MAX_OF(before, other.end);
	}
	if (!is_flow(map) && begins_line(file, span.begin)) {
		span = line_without_comment(file, span.begin, span.end);
	} else if (next < map->span.end) {
		span.end = next;
	} else {
		span.begin = before;
	}
	return span;
}

int assign_yaml_drop_count(struct assigning *a, const struct compose_target *target,
			   const struct compose_request *request, struct error *err)
{
	const struct compose_node *map = request->node;
	struct compose_span span;

	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->entries[i].key, "count") != 0)
			continue;
		if (!is_own(map, &map->entries[i]) ||
		    map->entries[i].key_span.file != map->span.file)
			return assign_fail(target, &request->count_span, err,
					   "compose takes `count` or `device_ids`, not both: take "
					   "`count` away where it comes from");
		span = entry_extent(map, i);
		assign_note(a, target, "device_ids alone, without `count`: compose refuses both");
		return assign_edit(a, &span, "", err);
	}
	return 0;
}

/* The service as one file has it, and its document's own name for it. */
static const struct compose_node *written_service(const struct assigning *a,
						  const struct compose_service *service)
{
	for (size_t i = 0; i < a->project->n_documents; i++) {
		const struct compose_entry *entry =
		    compose_entry(compose_get(a->project->documents[i], "services"), service->name);

		if (entry && entry->key_span.file == service->span.file &&
		    entry->key_span.begin == service->span.begin)
			return entry->value->type == COMPOSE_MAP && !entry->value->via.file
				   ? entry->value
				   : NULL;
	}
	return NULL;
}

/* After the line in which a map in block style ends: lines of this indentation. */
static int append_lines(struct assigning *a, const struct compose_node *map, const char *lines,
			struct error *err)
{
	const struct compose_file *file = map->span.file;
	const char *end = strchr(file->text + map->span.end, '\n');
	struct compose_span span = {file, file->len, file->len};
	auto_text struct text out = {};

	if (end)
		span.begin = span.end = (size_t)(end - file->text) + 1;
	else
		text_add(&out, compose_file_newline(file));
	text_add(&out, lines);
	if (end)
		text_add(&out, compose_file_newline(file));
	return assign_edit(a, &span, out.data, err);
}

/* One more variable in an `environment` that is there, whichever form it has. */
static int add_setting(struct assigning *a, const struct compose_node *environment,
		       const char *name, const char *value, struct error *err)
{
	char quote = assign_print_quote(environment->span.file);
	auto_text struct text entry = {}, item = {};

	if (environment->type == COMPOSE_MAP) {
		text_printf(&entry, "%s: ", name);
		assign_print_scalar(&entry, value, quote);
		return insert_entry(a, environment, environment->span.begin, entry.data, err);
	}
	text_printf(&item, "%s=%s", name, value);
	if (!is_flow(environment))
		text_add(&entry, "- ");
	assign_print_scalar(&entry, item.data,
			    strpbrk(value, ",:") || is_flow(environment) ? quote : '\0');
	return insert_entry(a, environment, environment->span.begin, entry.data, err);
}

/* The request with these ids and no count, as a new node. */
static struct compose_node *request_with(struct assigning *a, const struct compose_request *request,
					 const char *const *ids, size_t n)
{
	struct compose_node *map = compose_node_map(a->arena, NULL);
	struct compose_node *list = compose_node_list(a->arena, NULL);
	const struct compose_node *from = request->node;
	const struct compose_node *count = compose_get(from, "count");
	/* `gpus: all` is no map in the file. */
	bool is_word = count && count->span.begin == from->span.begin;

	for (size_t i = 0; i < n; i++) {
		struct compose_node *id = compose_node_scalar(a->arena, NULL, ids[i]);

		id->style = COMPOSE_DOUBLE;
		id->tagged_string = true;
		compose_list_add(a->arena, list, id);
	}
	for (size_t i = 0; i < from->n && !is_word; i++) {
		const struct compose_entry *entry = &from->entries[i];
		bool says_which =
		    strcmp(entry->key, "count") == 0 || strcmp(entry->key, "device_ids") == 0;

		compose_map_put(a->arena, map, says_which ? "device_ids" : entry->key, NULL,
				says_which ? list : entry->value);
	}
	compose_map_put(a->arena, map, "device_ids", NULL, list);
	return map;
}

static const char *const *path_of(const struct compose_request *request)
{
	static const char *const reservation[] = {"deploy", "resources", "reservations", "devices",
						  NULL};
	static const char *const gpus[] = {"gpus", NULL};

	return request->how == COMPOSE_GPUS ? gpus : reservation;
}

/* A copy of what stands at the path, with the list at its end replaced. */
static struct compose_node *copy_with(struct assigning *a, const struct compose_node *node,
				      const char *const *path, struct compose_node *list)
{
	struct compose_node *copy;

	if (!*path)
		return list;
	copy = node && node->type == COMPOSE_MAP ? compose_node_copy(a->arena, node)
						 : compose_node_map(a->arena, NULL);
	compose_map_put(a->arena, copy, *path, NULL,
			copy_with(a, compose_get(node, *path), path + 1, list));
	return copy;
}

/* `key: {}`, [], null or nothing at all becomes the value, in its place. */
static int fill_entry(struct assigning *a, const struct compose_target *target,
		      const struct compose_node *map, const struct compose_entry *entry,
		      const struct compose_node *value, struct error *err)
{
	const struct compose_file *file = map->span.file;
	struct compose_span place = {file, entry->key_span.end, entry->value->span.end};
	auto_text struct text out = {};
	unsigned line, column;

	place.begin += strcspn(file->text + place.begin, ":") + 1;
	/* An anchor's name is others' to use, a tag has its own meaning. */
	if (entry->value->span.file != file || place.begin > place.end ||
	    strspn(file->text + place.begin, " \t\r\n{}[]~nulNUL") < place.end - place.begin)
		return assign_fail(target, &entry->key_span, err,
				   "\"%s\" is empty here, and cannot be filled in its place: take "
				   "it away",
				   entry->key);
	compose_file_position(file, entry->key_span.begin, &line, &column);
	if (is_flow(map) || value->type == COMPOSE_LIST) {
		text_add(&out, " ");
		assign_print_node(&out, value);
	} else {
		assign_print_block(&out, value, (int)column - 1 + ASSIGN_STEP,
				   compose_file_newline(file));
	}
	return assign_edit(a, &place, out.data, err);
}

/* `key: value` in a map that is the service's own. */
static int write_entry(struct assigning *a, const struct compose_node *map, const char *key,
		       const struct compose_node *value, struct error *err)
{
	const struct compose_entry *entry = compose_entry(map, key);
	auto_text struct text out = {};
	unsigned line, column;

	if (entry && entry->value->via.file == map->span.file &&
	    entry->value->via.begin >= entry->key_span.end &&
	    entry->key_span.begin >= map->span.begin && entry->value->via.end <= map->span.end) {
		/* `key: *alias`: what it stands for, in its place. */
		assign_print_node(&out, value);
		return assign_edit(a, &entry->value->via, out.data, err);
	}
	if (is_flow(map)) {
		text_printf(&out, "%s: ", key);
		assign_print_node(&out, value);
		return insert_entry(a, map, map->span.begin, out.data, err);
	}
	compose_file_position(map->span.file, map->span.begin, &line, &column);
	text_printf(&out, "%*s%s:", (int)column - 1, "", key);
	assign_print_block(&out, value, (int)column - 1 + ASSIGN_STEP,
			   compose_file_newline(map->span.file));
	return append_lines(a, map, out.data, err);
}

/* Item of a list of variables: is it this one's? */
static bool is_setting(const struct compose_node *item, const char *name)
{
	const char *text = compose_text(item);
	size_t len = strlen(name);

	return text && strncmp(text, name, len) == 0 && (text[len] == '=' || !text[len]);
}

/* In its own words: what a merge key brings gives way to an entry. */
static bool has_setting(const struct compose_node *environment, const char *name)
{
	const struct compose_node *value = compose_get(environment, name);

	if (environment->type == COMPOSE_MAP)
		return value && !value->via.file;
	for (size_t i = 0; i < environment->n; i++)
		if (is_setting(environment->items[i], name))
			return true;
	return false;
}

/* A copy in which the variable has this value. */
static struct compose_node *environment_with(struct assigning *a,
					     const struct compose_node *environment,
					     const char *name, const char *value)
{
	bool is_list = environment->type == COMPOSE_LIST;
	struct compose_node *copy, *scalar;

	scalar = compose_node_scalar(a->arena, NULL,
				     is_list ? arena_printf(a->arena, "%s=%s", name, value)
					     : arena_strdup(a->arena, value));
	scalar->style = COMPOSE_DOUBLE;
	if (!is_list) {
		copy = environment->type == COMPOSE_MAP ? compose_node_copy(a->arena, environment)
							: compose_node_map(a->arena, NULL);
		compose_map_put(a->arena, copy, name, NULL, scalar);
		return copy;
	}
	copy = compose_node_list(a->arena, NULL);
	for (size_t i = 0; i < environment->n; i++)
		if (!is_setting(environment->items[i], name))
			compose_list_add(a->arena, copy, environment->items[i]);
	compose_list_add(a->arena, copy, scalar);
	return copy;
}

int assign_yaml_environment(struct assigning *a, const struct compose_target *target,
			    const char *name, const char *value, struct error *err)
{
	const struct compose_node *service = written_service(a, target->gpus->service);
	const struct compose_node *environment = compose_get(service, "environment");
	struct compose_span place = target->gpus->service->span;
	auto_text struct text lines = {};

	if (!service)
		return assign_fail(target, &place, err,
				   "it is not written out here, %s=%s cannot be added", name,
				   value);
	if (environment && !environment->via.file && environment->n == 0)
		return fill_entry(a, target, service, compose_entry(service, "environment"),
				  environment_with(a, environment, name, value), err);
	if (environment && environment->via.file)
		return write_entry(a, service, "environment",
				   environment_with(a, environment, name, value), err);
	if (environment && has_setting(environment, name))
		return -EXDEV;
	if (environment)
		return add_setting(a, environment, name, value, err);
	if (is_flow(service)) {
		text_printf(&lines, "environment: {%s: ", name);
		assign_print_scalar(&lines, value, assign_print_quote(place.file));
		text_add(&lines, "}");
		return insert_entry(a, service, service->span.begin, lines.data, err);
	}
	add_indent(&lines, place.file, service->span.begin, 0);
	text_printf(&lines, "environment:%s", compose_file_newline(place.file));
	add_indent(&lines, place.file, service->span.begin, ASSIGN_STEP);
	text_printf(&lines, "%s: ", name);
	assign_print_scalar(&lines, value, assign_print_quote(place.file));
	return append_lines(a, service, lines.data, err);
}

static bool is_alias_in(const struct compose_node *node, const struct compose_node *within)
{
	return node->via.file && node->via.file == within->span.file &&
	       node->via.begin >= within->span.begin && node->via.end <= within->span.end &&
	       /* Not the merge key, whose bytes stand for more than this. */
	       node->via.begin < node->via.end && within->span.file->text[node->via.begin] == '*';
}

/* The list of requests is its own; what stands in it may be an alias: `- *request`, or
 * `device_ids: *ids`. -EXDEV: it is none. */
static int own_items(struct assigning *a, const struct compose_node *service,
		     const struct compose_request *request, const char *const *ids, size_t n,
		     struct error *err)
{
	const struct compose_node *map = request->node;
	const struct compose_entry *entry = compose_entry(map, "device_ids");
	auto_text struct text out = {};

	if (is_alias_in(map, service)) {
		assign_print_node(&out, request_with(a, request, ids, n));
		return assign_edit(a, &map->via, out.data, err);
	}
	if (!entry || !is_alias_in(entry->value, service) || !is_alias_in(entry->value, map))
		return -EXDEV;
	assign_print_ids(&out, ids, n, assign_print_quote(map->span.file));
	return assign_edit(a, &entry->value->via, out.data, err);
}

/* Before !override lists of what is extended were only ever added to. */
static int cannot_replace(struct assigning *a, const struct compose_target *target,
			  struct compose_node *list, const char *const *path, struct error *err)
{
	struct compose_node *map = compose_node_map(a->arena, NULL);
	auto_text struct text yaml = {};

	compose_map_put(a->arena, map, path[0], NULL, copy_with(a, NULL, path + 1, list));
	assign_print_node(&yaml, map);
	return assign_fail(target, &target->gpus->service->span, err,
			   "it has its GPUs from what it extends, and %s can only add to a list, "
			   "not replace it (`!override`, since Docker Compose 2.24.4). Take the "
			   "request out of what it extends, and write into \"%s\" itself: %s",
			   a->options->no_override, target->gpus->service->name, yaml.data);
}

static void note_override(struct assigning *a, const struct compose_target *target)
{
	assign_note(a, target,
		    "`!override` needs Docker Compose 2.24.4 or newer, or podman-compose "
		    "1.6; older ones cannot read the file");
	if (a->options->ret_override)
		*a->options->ret_override = true;
}

int assign_yaml_own(struct assigning *a, const struct compose_target *target,
		    const struct compose_request *request, const char *const *ids, size_t n,
		    struct error *err)
{
	const struct compose_node *map = written_service(a, target->gpus->service);
	const char *const *path = path_of(request);
	struct compose_node *list = compose_node_list(a->arena, NULL);
	const struct compose_entry *entry;

	if (!map)
		return assign_fail(target, &target->gpus->service->span, err,
				   "it is an alias of another service: give it a device request of "
				   "its own");
	compose_list_add(a->arena, list, request_with(a, request, ids, n));
	for (;; map = entry->value, path++) {
		entry = compose_entry(map, *path);
		if (!entry) {
			/* From elsewhere (extends, another file), and it would be added to. */
			if (a->options->no_override)
				return cannot_replace(a, target, list, path_of(request), err);
			note_override(a, target);
			list->mark = COMPOSE_OVERRIDE;
			return write_entry(a, map, *path, copy_with(a, NULL, path + 1, list), err);
		}
		if (entry->value->via.file)
			return write_entry(a, map, *path,
					   copy_with(a, entry->value, path + 1, list), err);
		if (!path[1] || entry->value->type != COMPOSE_MAP)
			return own_items(a, map, request, ids, n, err);
	}
}
