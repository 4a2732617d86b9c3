/*
 * See interpolate.h. compose-go finds references with one regular expression whose `.*` runs to the
 * last `}` of the line, cuts what it found at the first brace that balances, and starts anew on the
 * rest. Taken word for word that is quadratic. Here a text is gone through once per level of
 * nesting: the last `}` of a line is looked for once, and a rest is not started anew but gone on
 * with, which finds the same, since it ends with that very brace. Only the template an error names
 * is the rest's, so that is remembered.
 *
 * An argument is a stretch of the same text, gone through by recursion: offsets need no
 * translation. One that is not used is gone through "idle": nothing is put out, nothing is an
 * error, its variables are noted.
 *
 * Nothing a variable holds is substituted again, so a result is at most as many values long as the
 * text has references; the limits of interpolate.h bound what that can come to.
 */
#include "compose/interpolate.h"

#include "util/text.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define NAME_QUOTED_MAX 700 /* bytes of a template an error quotes: it keeps room for the path */

enum fault { FAULT_INVALID, FAULT_MISSING, FAULT_LIMIT };

struct walk {
	const struct compose_lookup *lookup;
	struct arena *arena;
	const char *text;
	struct text out;
	bool wants_uses;
	struct compose_uses uses; /* on the heap while it grows */
	/* Of the first failure. */
	enum fault fault;
	size_t fault_at;
	const char *fault_text;
};

/* A part of the text that is substituted as a template of its own. */
struct stretch {
	size_t begin, end;
	unsigned depth;
	bool idle;
};

/* One ${NAME op argument} or $NAME. */
struct reference {
	size_t begin, end;
	size_t name_begin, name_end;
	const char *operator_;
	size_t argument_begin, argument_end;
	size_t greedy_end; /* of what the regular expression matches; `end` and a rest */
};

static int walk_stretch(struct walk *walk, const struct stretch *stretch);

static int fail_limit(struct walk *walk, size_t at, const char *what)
{
	walk->fault = FAULT_LIMIT;
	walk->fault_at = at;
	walk->fault_text = what;
	return -E2BIG;
}

/* A copy in the arena, or NULL when it has taken all it may. */
static const char *keep(struct walk *walk, const char *text, size_t len)
{
	if (walk->arena->used + len > COMPOSE_MEMORY_MAX)
		return NULL;
	return arena_strndup(walk->arena, text, len);
}

static int put_out(struct walk *walk, size_t at, const char *text, size_t len)
{
	if (walk->out.len + len > COMPOSE_TEXT_MAX)
		return fail_limit(walk, at, "the value grows beyond 4 MiB by its variables");
	text_add_bytes(&walk->out, text, len);
	return 0;
}

/* The bytes of the letter of a name that begins at `s`, 0 for none. Case folding in Go's regular
 * expressions takes the long s and the Kelvin sign for letters of [a-z], so compose does. */
static size_t letter_length(const char *s, size_t len)
{
	if (len == 0)
		return 0;
	if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_')
		return 1;
	if (len >= 2 && memcmp(s, "\xc5\xbf", 2) == 0)
		return 2;
	return len >= 3 && memcmp(s, "\xe2\x84\xaa", 3) == 0 ? 3 : 0;
}

static size_t name_end(const char *text, size_t at, size_t end)
{
	size_t step = letter_length(text + at, end - at);

	for (; step > 0; step = at < end && text[at] >= '0' && text[at] <= '9'
				    ? 1
				    : letter_length(text + at, end - at))
		at += step;
	return at;
}

/* The operator at `at`, "" for none. */
static const char *operator_at(const char *text, size_t at, size_t end)
{
	static const char *const operators[] = {":-", "-", ":?", "?", ":+", "+"};

	for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
		size_t len = strlen(operators[i]);

		if (end - at >= len && memcmp(text + at, operators[i], len) == 0)
			return operators[i];
	}
	return "";
}

/* Where the first brace that balances ends; `end` when none does. The character after each `{` is
 * skipped, as compose-go does. */
static size_t balanced_end(const char *text, size_t at, size_t end)
{
	size_t open = 0;

	for (; at < end; at++) {
		if (text[at] == '}' && open > 0 && --open == 0)
			return at + 1;
		if (text[at] == '{') {
			open++;
			at++;
		}
	}
	return end;
}

/* Read the reference whose `${` is at `at`. `last`: of the line's last `}`; `end` for none. */
static bool read_braced(const char *text, size_t at, size_t last, size_t end,
			struct reference *ret_reference)
{
	struct reference ref = {.begin = at, .name_begin = at + 2, .operator_ = ""};
	size_t after = ref.name_end = name_end(text, at + 2, end);

	if (after == ref.name_begin || after == end)
		return false;
	if (text[after] == '}') {
		ref.end = ref.greedy_end = after + 1;
		*ret_reference = ref;
		return true;
	}
	ref.operator_ = operator_at(text, after, end);
	ref.argument_begin = after + strlen(ref.operator_);
	if (!*ref.operator_ || last == end || last < ref.argument_begin)
		return false;
	ref.greedy_end = last + 1;
	ref.end = balanced_end(text, at, ref.greedy_end);
	ref.argument_end = ref.end - 1;
	*ret_reference = ref;
	return true;
}

static enum compose_source use_source(const struct walk *walk, const char *name,
				      const struct compose_variable *variable, bool by_default)
{
	if (by_default && variable)
		return COMPOSE_DEFAULT;
	if (by_default)
		return walk->lookup->commented && walk->lookup->commented(walk->lookup->data, name)
			   ? COMPOSE_COMMENTED
			   : COMPOSE_DEFAULT;
	return variable ? variable->source : COMPOSE_ABSENT;
}

/* Note that a reference was looked at; its index, or SIZE_MAX when nobody wants to know. */
static size_t note_use(struct walk *walk, const struct reference *ref, const struct stretch *in,
		       const struct compose_use *as)
{
	struct compose_use *use;

	if (!walk->wants_uses)
		return SIZE_MAX;
	ARRAY_GROW(walk->uses.items, walk->uses.n, walk->uses.room);
	use = &walk->uses.items[walk->uses.n];
	*use = *as;
	use->begin = ref->begin;
	use->end = ref->end;
	use->operator_ = ref->operator_;
	use->argument_begin = ref->argument_begin;
	use->argument_end = ref->argument_end;
	use->nested = in->depth > 0;
	use->unused = in->idle;
	return walk->uses.n++;
}

/* The argument: put out when it is used, else only gone through. Both are kept for the use. */
static int walk_argument(struct walk *walk, const struct reference *ref, const struct stretch *in,
			 bool used, const char **ret_argument)
{
	struct stretch argument = {.begin = ref->argument_begin,
				   .end = ref->argument_end,
				   .depth = in->depth + 1,
				   .idle = in->idle || !used};
	const char *from = walk->text + argument.begin;
	size_t start = walk->out.len, len = argument.end - argument.begin;
	int r;

	if (argument.depth > COMPOSE_NESTING_MAX)
		return in->idle ? 0
				: fail_limit(walk, ref->begin,
					     "more than 32 variables inside each other");
	if (!argument.idle || walk->wants_uses) {
		r = walk_stretch(walk, &argument);
		if (r < 0)
			return r;
	}
	if (!walk->wants_uses && argument.idle)
		return 0;
	if (!argument.idle) {
		from = walk->out.len > start ? walk->out.data + start : "";
		len = walk->out.len - start;
	}
	*ret_argument = keep(walk, from, len);
	if (!*ret_argument)
		return fail_limit(walk, ref->begin, "the project's values grow beyond 64 MiB");
	return 0;
}

static int fail_missing(struct walk *walk, size_t at, const char *name, const char *reason)
{
	walk->fault = FAULT_MISSING;
	walk->fault_at = at;
	walk->fault_text = arena_printf(walk->arena, "required variable %s is missing a value%s%s",
					name, *reason ? ": " : "", reason);
	return -EINVAL;
}

/* Whether the argument is what stands there (of `?`: is said). */
static bool argument_applies(const char *op, const struct compose_variable *variable)
{
	bool has = variable && (*op != ':' || *variable->value);

	if (!*op)
		return false;
	return strchr(op, '+') ? has : !has;
}

static int walk_reference(struct walk *walk, const struct reference *ref, const struct stretch *in)
{
	const char *op = ref->operator_, *argument = "", *value = "";
	bool is_default = *op && !strchr(op, '?') && !strchr(op, '+'), used;
	struct compose_use as = {.value = "", .argument = ""};
	size_t index;
	int r;

	as.name = keep(walk, walk->text + ref->name_begin, ref->name_end - ref->name_begin);
	if (!as.name)
		return fail_limit(walk, ref->begin, "the project's values grow beyond 64 MiB");
	as.variable = walk->lookup->get(walk->lookup->data, as.name);
	used = argument_applies(op, as.variable);
	as.source = use_source(walk, as.name, as.variable, used && is_default);
	if (walk->wants_uses && walk->uses.n == COMPOSE_USES_MAX)
		return fail_limit(walk, ref->begin, "more than 10000 variables in one value");
	index = note_use(walk, ref, in, &as);
	if (*op) {
		r = walk_argument(walk, ref, in, used, &argument);
		if (r < 0)
			return r;
	}
	if (used && strchr(op, '?') && !in->idle)
		return fail_missing(walk, ref->begin, as.name, argument);
	if (used)
		value = argument;
	else if (as.variable && !strchr(op, '+'))
		value = as.variable->value;
	if (index != SIZE_MAX) {
		walk->uses.items[index].argument = argument;
		walk->uses.items[index].argument_used = used && !in->idle;
		walk->uses.items[index].value = in->idle ? "" : value;
	}
	return used || in->idle ? 0 : put_out(walk, ref->begin, value, strlen(value));
}

/* The quotes and escapes of Go's %#v, of the beginning of a long one. */
static void quote(struct text *out, const char *text, size_t len)
{
	text_add(out, "\"");
	for (size_t i = 0; i < len && out->len < NAME_QUOTED_MAX; i++) {
		static const char letters[] = "abtnvfr";
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			text_printf(out, "\\%c", c);
		else if (c >= '\a' && c <= '\r')
			text_printf(out, "\\%c", letters[c - '\a']);
		else if (c < ' ' || c == 0x7f)
			text_printf(out, "\\x%02x", c);
		else
			text_add_bytes(out, text + i, 1);
	}
	text_add(out, "\"");
}

static int fail_invalid(struct walk *walk, size_t at, size_t begin, size_t end)
{
	auto_text struct text message = {};

	text_add(&message, "Invalid template: ");
	quote(&message, walk->text + begin, end - begin);
	walk->fault = FAULT_INVALID;
	walk->fault_at = at;
	walk->fault_text = arena_strdup(walk->arena, message.data);
	return -EINVAL;
}

/* Where the `}` is that ends the line of `at`, and where the line ends; looked for once a line. */
struct line {
	size_t end, last;
};

static void find_line(const char *text, size_t at, size_t end, struct line *line)
{
	const char *newline, *brace;

	if (at < line->end)
		return;
	newline = memchr(text + at, '\n', end - at);
	line->end = newline ? (size_t)(newline - text) : end;
	brace = memrchr(text + at, '}', line->end - at);
	line->last = brace ? (size_t)(brace - text) : end;
}

static int walk_stretch(struct walk *walk, const struct stretch *stretch)
{
	const char *text = walk->text;
	size_t at = stretch->begin, end = stretch->end;
	size_t rest_begin = at, rest_end = at; /* of the last greedy match that was cut */
	struct line line = {.end = at};
	int r = 0;

	while (r == 0 && at < end) {
		const char *found = memchr(text + at, '$', end - at);
		size_t dollar = found ? (size_t)(found - text) : end, after = dollar + 1;
		bool in_rest = dollar < rest_end;
		struct reference ref;

		if (!stretch->idle)
			r = put_out(walk, at, text + at, dollar - at);
		at = dollar;
		if (r < 0 || at == end)
			break;
		ref = (struct reference){.begin = at,
					 .name_begin = after,
					 .operator_ = "",
					 .name_end = name_end(text, after, end)};
		if (after < end && text[after] == '{') {
			find_line(text, at, end, &line);
			if (!read_braced(text, at, line.last, end, &ref))
				return stretch->idle
					   ? 0
					   : fail_invalid(walk, at,
							  in_rest ? rest_begin : stretch->begin,
							  in_rest ? rest_end : end);
			if (ref.end < ref.greedy_end) {
				rest_begin = ref.end;
				rest_end = ref.greedy_end;
			}
		} else if (ref.name_end > after) {
			ref.end = ref.name_end;
		} else {
			/* `$$` is a dollar; before anything else it is one, too. */
			bool doubled = after < end && text[after] == '$';

			at = doubled ? after + 1 : after;
			if (!stretch->idle)
				r = put_out(walk, dollar, "$", 1);
			continue;
		}
		r = walk_reference(walk, &ref, stretch);
		at = ref.end;
	}
	return r;
}

/* As compose_substitute(), the failure told in `walk`. */
static int substitute(struct walk *walk, const char **ret_text, struct compose_uses *ret_uses)
{
	struct stretch all = {.end = strlen(walk->text)};
	const char *result = walk->text;
	struct compose_uses kept = {};
	size_t size;
	int r = 0;

	if (memchr(walk->text, '$', all.end)) {
		r = walk_stretch(walk, &all);
		result =
		    r == 0 ? keep(walk, walk->out.len ? walk->out.data : "", walk->out.len) : NULL;
	}
	size = walk->uses.n * sizeof *walk->uses.items;
	if (r == 0 && (!result || walk->arena->used + size > COMPOSE_MEMORY_MAX))
		r = fail_limit(walk, 0, "the project's values grow beyond 64 MiB");
	if (r == 0 && walk->uses.n > 0) {
		kept.n = kept.room = walk->uses.n;
		kept.items = arena_alloc(walk->arena, size);
		memcpy(kept.items, walk->uses.items, size);
	}
	text_finish(&walk->out);
	free(walk->uses.items);
	if (r < 0)
		return r;
	*ret_text = result;
	if (ret_uses)
		*ret_uses = kept;
	return 0;
}

int compose_substitute(const struct compose_lookup *lookup, struct arena *arena, const char *text,
		       const char **ret_text, struct compose_uses *ret_uses, struct error *err)
{
	struct walk walk = {.lookup = lookup, .arena = arena, .text = text, .wants_uses = ret_uses};
	int r = substitute(&walk, ret_text, ret_uses);

	return r < 0 ? error_set(err, r, "%s", walk.fault_text) : 0;
}

static const struct compose_variable *get_from_env(const void *data, const char *name)
{
	return compose_env_get(data, name);
}

static const struct compose_assignment *get_commented(const void *data, const char *name)
{
	return compose_env_commented(data, name);
}

int compose_interpolate(const struct compose_env *env, struct arena *arena, const char *text,
			const char **ret_text, struct compose_uses *ret_uses, struct error *err)
{
	struct compose_lookup lookup = {get_from_env, get_commented, env};

	return compose_substitute(&lookup, arena, text, ret_text, ret_uses, err);
}

/* The way from the root to a node, for messages. */
struct step {
	const struct step *up;
	const char *key;
};

static void print_path(const struct step *step, struct text *out)
{
	if (!step)
		return;
	print_path(step->up, out);
	text_printf(out, "%s%s", step->up ? "." : "", step->key);
}

static int fail_scalar(const struct walk *walk, const struct compose_node *node,
		       const struct step *step, int code, struct error *err)
{
	auto_text struct text path = {};
	struct compose_span at;

	print_path(step, &path);
	text_add(&path, "");
	if (!compose_part_span(node, walk->fault_at, walk->fault_at, &at))
		at = node->span;
	if (walk->fault == FAULT_INVALID)
		return compose_error(
		    &at, code, err,
		    "invalid interpolation format for %s. You may need to escape any $ "
		    "with another $. %s",
		    path.data, walk->fault_text);
	return compose_error(&at, code, err, "error while interpolating %s: %s", path.data,
			     walk->fault_text);
}

static int interpolate_scalar(const struct compose_lookup *lookup, struct arena *arena,
			      struct compose_node *node, const struct step *step, struct error *err)
{
	struct walk walk = {
	    .lookup = lookup, .arena = arena, .text = node->raw, .wants_uses = true};
	struct compose_uses uses;
	int r;

	/* Reached through an alias, it has been done already. */
	if (!node->raw || node->text != node->raw)
		return 0;
	r = substitute(&walk, &node->text, &uses);
	if (r < 0)
		return fail_scalar(&walk, node, step, r, err);
	node->uses = uses.items;
	node->n_uses = uses.n;
	return 0;
}

/* Levels and nodes are bounded by compose_parse(). */
static int interpolate_below(const struct compose_lookup *lookup, struct arena *arena,
			     struct compose_node *node, const struct step *up, struct error *err)
{
	int r = 0;

	if (node->type == COMPOSE_SCALAR)
		return interpolate_scalar(lookup, arena, node, up, err);
	for (size_t i = 0; r == 0 && node->type == COMPOSE_MAP && i < node->n; i++) {
		struct step step = {up, node->entries[i].key};

		r = interpolate_below(lookup, arena, node->entries[i].value, &step, err);
	}
	for (size_t i = 0; r == 0 && node->type == COMPOSE_LIST && i < node->n; i++) {
		struct step step = {up, "[]"};

		r = interpolate_below(lookup, arena, node->items[i], &step, err);
	}
	return r;
}

int compose_interpolate_tree(const struct compose_env *env, struct arena *arena,
			     struct compose_node *node, struct error *err)
{
	struct compose_lookup lookup = {get_from_env, get_commented, env};

	return interpolate_below(&lookup, arena, node, NULL, err);
}

bool compose_part_span(const struct compose_node *scalar, size_t begin, size_t end,
		       struct compose_span *ret_span)
{
	*ret_span = scalar->span;
	if (!scalar->exact)
		return false;
	ret_span->begin = scalar->span.begin + scalar->lead + begin;
	ret_span->end = scalar->span.begin + scalar->lead + end;
	return true;
}
