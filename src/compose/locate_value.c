/*
 * From a part of a scalar to a value: where the text has come from, and which bytes to change.
 *
 * A scalar's text is cut into pieces: what was written literally, `$$`, and what each variable
 * stands for. A value that lies in one variable's piece comes from that variable; of
 * ${A:-${B:-0}} from the innermost that had the say: a variable that is set, or a default. When the
 * pieces do not add up to the text (somebody made the scalar anew), it is one piece, and only all
 * of it can be changed.
 */
#include "compose/locate_ways.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

struct piece {
	size_t begin, end;         /* of the text */
	size_t raw_begin, raw_end; /* of the template */
	const struct compose_use *use;
};

struct pieces {
	struct piece *items;
	size_t n, room;
	bool fit; /* false: one piece for all of it */
};

static void pieces_finish(struct pieces *pieces)
{
	free(pieces->items);
}
#define auto_pieces CLEANUP(pieces_finish)

struct locate_part locate_part_all(const struct compose_node *scalar)
{
	const char *text = compose_text(scalar);

	return (struct locate_part){
	    .node = scalar, .end = text ? strlen(text) : 0, .source = COMPOSE_LITERAL};
}

const struct compose_node *locate_assigned(struct arena *arena,
					   const struct compose_assignment *assignment)
{
	const struct compose_span *span = &assignment->value_span;
	struct compose_node *node = arena_alloc(arena, sizeof *node);
	size_t lead = assignment->quote ? 1 : 0, len = strlen(assignment->value);

	node->type = COMPOSE_SCALAR;
	node->tagged_string = true;
	node->span = *span;
	node->raw = node->text = assignment->value;
	node->lead = (unsigned)lead;
	node->exact = span->file && span->end - span->begin == len + 2 * lead &&
		      memcmp(span->file->text + span->begin + lead, assignment->value, len) == 0;
	return node;
}

static void add_piece(struct pieces *pieces, size_t len, size_t raw_begin, size_t raw_end,
		      const struct compose_use *use)
{
	size_t begin = pieces->n ? pieces->items[pieces->n - 1].end : 0;

	if (raw_begin == raw_end)
		return;
	ARRAY_GROW(pieces->items, pieces->n, pieces->room);
	pieces->items[pieces->n++] = (struct piece){.begin = begin,
						    .end = begin + len,
						    .raw_begin = raw_begin,
						    .raw_end = raw_end,
						    .use = use};
}

static void add_literal(struct pieces *pieces, const char *raw, size_t begin, size_t end)
{
	size_t from = begin;

	for (size_t i = begin; i + 1 < end; i++) {
		if (raw[i] != '$' || raw[i + 1] != '$')
			continue;
		add_piece(pieces, i - from, from, i, NULL);
		add_piece(pieces, 1, i, i + 2, NULL);
		from = i + 2;
		i++;
	}
	add_piece(pieces, end - from, from, end, NULL);
}

static bool pieces_fit(const struct pieces *pieces, const struct compose_node *node)
{
	size_t len = strlen(node->text);

	for (size_t i = 0; i < pieces->n; i++) {
		const struct piece *piece = &pieces->items[i];
		const char *is = piece->use ? piece->use->value : node->raw + piece->raw_begin;

		if (piece->end > len ||
		    memcmp(node->text + piece->begin, is, piece->end - piece->begin) != 0)
			return false;
	}
	return len == (pieces->n ? pieces->items[pieces->n - 1].end : 0);
}

static void cut(const struct compose_node *node, struct pieces *pieces)
{
	size_t at = 0, len = strlen(node->raw);
	bool ordered = true;

	if (node->n_uses == 0 && strcmp(node->raw, node->text) == 0) {
		add_piece(pieces, len, 0, len, NULL);
		pieces->fit = true;
		return;
	}
	for (size_t i = 0; i < node->n_uses && ordered; i++) {
		const struct compose_use *use = &node->uses[i];

		if (use->nested)
			continue;
		ordered = use->begin >= at && use->end >= use->begin && use->end <= len;
		if (!ordered)
			break;
		add_literal(pieces, node->raw, at, use->begin);
		add_piece(pieces, strlen(use->value), use->begin, use->end, use);
		at = use->end;
	}
	if (ordered)
		add_literal(pieces, node->raw, at, len);
	pieces->fit = ordered && pieces_fit(pieces, node);
	if (pieces->fit)
		return;
	pieces->n = 0;
	add_piece(pieces, strlen(node->text), 0, len, NULL);
}

/* The variable that is all of another's argument. */
static const struct compose_use *inner(const struct compose_node *node,
				       const struct compose_use *use)
{
	if (use->argument_begin == use->argument_end)
		return NULL;
	for (size_t i = 0; i < node->n_uses; i++)
		if (node->uses[i].nested && node->uses[i].begin == use->argument_begin &&
		    node->uses[i].end == use->argument_end)
			return &node->uses[i];
	return NULL;
}

/* Its project's environment, or an included one's, where a commented-out line would set it. */
static const struct compose_assignment *commented(const struct compose_project *project,
						  const char *name)
{
	const struct compose_assignment *found = compose_env_commented(&project->env, name);

	for (size_t i = 0; !found && i < project->n_included_envs; i++)
		found = compose_env_commented(&project->included_envs[i], name);
	return found;
}

static bool is_default(const struct compose_use *use)
{
	return strcmp(use->operator_, ":-") == 0 || strcmp(use->operator_, "-") == 0;
}

/* The bytes of a part of a template; true when they are all of the scalar instead. */
static bool span_of(const struct compose_node *node, size_t begin, size_t end,
		    struct compose_span *ret_span)
{
	if (compose_part_span(node, begin, end, ret_span))
		return false;
	*ret_span = node->span;
	return true;
}

static void set_fallback(const struct compose_node *node, const struct compose_use *use,
			 struct compose_value *value)
{
	for (const struct compose_use *next; is_default(use); use = next) {
		next = inner(node, use);
		if (!next)
			break;
	}
	if (!is_default(use))
		return;
	value->fallback = use->argument ? use->argument : "";
	(void)span_of(node, use->argument_begin, use->argument_end, &value->fallback_span);
}

/* What to change, and which part [begin, end) of the text that is. */
struct change {
	const struct compose_node *node;
	size_t raw_begin, raw_end; /* of its template */
	size_t begin, end;         /* of the value's text */
};

static void set_edit(const struct change *change, const struct locate_part *part,
		     struct compose_value *value)
{
	value->edit_begin = change->begin;
	value->edit_end = change->end;
	value->edit_whole = span_of(change->node, change->raw_begin, change->raw_end, &value->edit);
	if (value->edit_whole && change->node == part->node) {
		value->edit_begin = 0;
		value->edit_end = strlen(part->node->text);
	}
}

/* One variable gives it: [begin, end) of what `piece` stands for. */
static void from_variable(struct locating *locating, const struct locate_part *part,
			  const struct piece *piece, struct compose_value *value)
{
	const struct compose_node *node = part->node;
	const struct compose_use *use = piece->use, *next = use;
	size_t begin = MAX_OF(part->begin, piece->begin), end = MIN_OF(part->end, piece->end);
	struct change change = {.node = node, .begin = piece->begin, .end = piece->end};

	while (next) {
		use = next;
		if (use->source != COMPOSE_SHELL && use->source != COMPOSE_ENV_FILE)
			value->commented =
			    commented(locating->project, use->name) ?: value->commented;
		next = use->argument_used ? inner(node, use) : NULL;
	}
	set_fallback(node, piece->use, value);
	value->use = use;
	value->variable = use->name;
	/* Of a variable that is set nowhere and has no default, too, a line may be meant to set it.
	 */
	value->source =
	    use->source == COMPOSE_ABSENT && value->commented ? COMPOSE_COMMENTED : use->source;
	value->assignment = use->variable ? use->variable->assignment : NULL;
	value->edit_begin = begin;
	value->edit_end = end;
	if (use->argument_used) {
		size_t from = use->argument_begin, len = use->argument_end - from;

		change.raw_begin = from;
		change.raw_end = use->argument_end;
		if (len == piece->end - piece->begin &&
		    memcmp(node->raw + from, node->text + piece->begin, len) == 0) {
			change.raw_begin = from + (begin - piece->begin);
			change.raw_end = from + (end - piece->begin);
			change.begin = begin;
			change.end = end;
		}
		set_edit(&change, part, value);
	} else if (use->source == COMPOSE_ENV_FILE && value->assignment) {
		change.node = locate_assigned(locating->arena, value->assignment);
		change.raw_end = strlen(change.node->raw);
		if (change.node->exact && strcmp(change.node->text, use->value) == 0) {
			change.raw_begin = begin - piece->begin;
			change.raw_end = end - piece->begin;
			change.begin = begin;
			change.end = end;
		}
		set_edit(&change, part, value);
	}
}

/* Several pieces, or literal text: the bytes of the template itself. */
static void from_template(const struct locate_part *part, const struct piece *first,
			  const struct piece *last, struct compose_value *value)
{
	struct change change = {.node = part->node,
				.raw_begin = first->raw_begin,
				.raw_end = last->raw_end,
				.begin = first->begin,
				.end = last->end};
	bool one_to_one = first->end - first->begin == first->raw_end - first->raw_begin &&
			  last->end - last->begin == last->raw_end - last->raw_begin;

	if (!first->use && !last->use && one_to_one) {
		change.raw_begin += part->begin - first->begin;
		change.raw_end -= last->end - part->end;
		change.begin = part->begin;
		change.end = part->end;
	}
	set_edit(&change, part, value);
}

static bool touches(const struct locate_part *part, const struct piece *piece)
{
	if (part->begin == part->end)
		return piece->begin <= part->begin && part->end <= piece->end;
	return piece->begin < part->end && piece->end > part->begin;
}

/* Where a name should begin, after "nvidia.com/gpu=", and a variable gave nothing. */
static bool gives_no_name(const struct locate_part *part, const struct piece *piece)
{
	return piece->use && piece->begin == piece->end && piece->end == part->end &&
	       part->end > part->begin && part->node->text[part->end - 1] == '=';
}

static void read_value(struct locating *locating, const struct locate_part *part,
		       const struct pieces *pieces, struct compose_value *ret_value)
{
	const struct compose_node *node = part->node;
	const struct piece *first = NULL, *last = NULL, *with_use = NULL;
	size_t n_uses = 0;

	*ret_value = (struct compose_value){
	    .text =
		arena_strndup(locating->arena, node->text + part->begin, part->end - part->begin),
	    .source = part->source,
	    .node = node,
	    .begin = part->begin,
	    .end = part->end,
	    .variable = part->variable,
	    .assignment = part->assignment,
	    .edit_begin = part->begin,
	    .edit_end = part->end,
	};
	ret_value->device = ret_value->text;
	for (size_t i = 0; i < pieces->n; i++) {
		if (!touches(part, &pieces->items[i]) && !gives_no_name(part, &pieces->items[i]))
			continue;
		first = first ?: &pieces->items[i];
		last = &pieces->items[i];
		if (last->use && n_uses++ == 0)
			with_use = last;
	}
	if (!pieces->fit && node->n_uses > 0) {
		ret_value->use = &node->uses[0];
		ret_value->variable = ret_value->use->name;
		ret_value->source = ret_value->use->source;
	}
	if (with_use)
		from_variable(locating, part, with_use, ret_value);
	if (n_uses != 1 && first && node->span.file)
		from_template(part, first, last, ret_value);
	else if (!first && node->span.file) /* written as nothing: KEY= */
		set_edit(&(struct change){.node = node}, part, ret_value);
}

void locate_value(struct locating *locating, const struct locate_part *part,
		  struct compose_value *ret_value)
{
	auto_pieces struct pieces pieces = {};

	cut(part->node, &pieces);
	read_value(locating, part, &pieces, ret_value);
}

int locate_single(struct locating *locating, const struct locate_part *part,
		  struct compose_request *request)
{
	if (part->end - part->begin > COMPOSE_VALUE_LENGTH_MAX)
		return -E2BIG;
	request->values = arena_alloc(locating->arena, sizeof *request->values);
	request->n_values = 1;
	locate_value(locating, part, request->values);
	return 0;
}

int locate_values(struct locating *locating, const struct locate_part *part,
		  struct compose_request *request)
{
	const char *text = part->node->text;
	struct compose_value *values;
	auto_pieces struct pieces pieces = {};
	size_t n = request->n_values, most = 1;

	if (part->end - part->begin > COMPOSE_VALUE_LENGTH_MAX)
		return -E2BIG;
	for (size_t i = part->begin; i < part->end; i++)
		most += text[i] == ',';
	if (most + n > COMPOSE_VALUES_MAX)
		return -E2BIG;
	cut(part->node, &pieces);
	values = arena_alloc(locating->arena, (n + most) * sizeof *values);
	if (n > 0)
		memcpy(values, request->values, n * sizeof *values);
	for (size_t begin = part->begin, end; begin <= part->end; begin = end + 1) {
		struct locate_part item = *part;

		for (end = begin; end < part->end && text[end] != ',';)
			end++;
		item.begin = begin;
		item.end = end;
		while (item.begin < item.end && isspace((unsigned char)text[item.begin]))
			item.begin++;
		while (item.end > item.begin && isspace((unsigned char)text[item.end - 1]))
			item.end--;
		/* A part that says nothing at all is one value: it, too, has a source. Beside
		 * others it is one only when a variable was to say it. */
		if (item.begin == item.end && most > 1)
			continue;
		read_value(locating, &item, &pieces, &values[n]);
		n += item.begin < item.end || n == 0 || compose_value_is_unset(&values[n]);
	}
	request->values = values;
	request->n_values = n;
	return 0;
}

void locate_visible(struct compose_request *request)
{
	bool named = false, decided = false;

	/* What a variable was to name and did not is asked for all the same. */
	for (size_t i = 0; i < request->n_values; i++) {
		const char *device = request->values[i].device;

		if (strcmp(device, "void") == 0) {
			request->none = true;
			request->all = false;
			return;
		}
		named |= device[0] != '\0' || compose_value_is_unset(&request->values[i]);
		if (decided || (strcmp(device, "all") != 0 && strcmp(device, "none") != 0))
			continue;
		decided = true;
		request->all = strcmp(device, "all") == 0;
		request->none = !request->all;
	}
	if (!named)
		request->none = true;
}
