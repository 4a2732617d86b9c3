/*
 * See assign_priv.h. A value has a seat: what has to be written for it to be another one.
 *
 *	an assignment of an env file	its value there
 *	a variable that is not set	a line in .env: the commented-out one, the empty one, or a
 *					new one
 *	a literal, an argument		its bytes in the compose file
 *	the shell			none that a file could change
 *
 * When the variable also decides for a service that is to be elsewhere, or for other things than
 * GPUs (a port, a name), this service stops using it: the value is written in its place.
 */
#include "compose/assign_priv.h"

#include <errno.h>
#include <string.h>

/* A variable that is not set can be set where it is meant for this alone: of ${A:-${ALL:-0}} it is
 * A, unless a line of an env file is there for the other one. */
static const char *variable_to_set(const struct compose_node *node,
				   const struct compose_value *value)
{
	if (!value->variable || value->assignment)
		return value->variable;
	if (value->commented)
		return value->commented->name;
	if (!value->use || value->source == COMPOSE_SHELL || value->source == COMPOSE_ENV_FILE)
		return value->variable;
	return assign_outermost(node, value->use)->name;
}

void assign_region_find(struct assigning *a, const struct compose_target *target,
			const struct compose_request *request, const struct compose_value *first,
			const struct compose_value *last, struct assign_region *ret_region)
{
	struct assign_set wanted = assign_wanted(a, target);
	struct locating locating = {
	    .project = a->project, .arena = a->arena, .service = target->gpus->service};

	*ret_region = (struct assign_region){
	    .target = target,
	    .request = request,
	    .part = {.node = first->node, .begin = first->begin, .end = last->end},
	};
	if (!first->use) {
		ret_region->part.variable = first->variable;
		ret_region->part.source = first->source;
		ret_region->part.assignment = first->assignment;
	}
	locate_value(&locating, &ret_region->part, &ret_region->value);
	ret_region->why = assign_why(a, target, &wanted);
	ret_region->variable = variable_to_set(first->node, &ret_region->value);
}

/* Where in the text begins what a use stands for: what is before it, `$$` once, and other uses. */
static size_t use_begin(const struct compose_node *node, const struct compose_use *use)
{
	size_t at = 0, begin = 0;

	for (size_t i = 0; i <= node->n_uses; i++) {
		const struct compose_use *other = i < node->n_uses ? &node->uses[i] : use;

		if (other->nested && other != use)
			continue;
		for (; at < other->begin; at++, begin++)
			at += node->raw[at] == '$' && node->raw[at + 1] == '$';
		if (other == use)
			return begin;
		begin += strlen(other->value);
		at = other->end;
	}
	return begin;
}

/* The scalar's text in [begin, end) with the region in it replaced; what of the region is outside
 * has to be in the new text, too. NULL: it is not. */
static const char *spliced(struct assigning *a, const struct assign_region *region, size_t begin,
			   size_t end, const char *text)
{
	const struct locate_part *part = &region->part;
	const char *old = part->node->text;
	size_t from = MAX_OF(part->begin, begin), to = MIN_OF(part->end, end);
	size_t before = from - part->begin, after = part->end - MIN_OF(to, part->end);
	size_t len = strlen(text);

	if (from > to || before + after > len || memcmp(text, old + part->begin, before) != 0 ||
	    memcmp(text + len - after, old + to, after) != 0)
		return NULL;
	return arena_printf(a->arena, "%.*s%.*s%.*s", (int)(from - begin), old + begin,
			    (int)(len - before - after), text + before, (int)(end - to), old + to);
}

static int cannot_splice(const struct assign_region *region, const char *text, struct error *err)
{
	return assign_fail(
	    region->target, &region->part.node->span, err,
	    "\"%s\" comes from several places at once, \"%s\" cannot: write it there",
	    region->value.text, text);
}

/* `$` of text that goes into a template is doubled. */
static const char *template_of(struct assigning *a, const char *text)
{
	auto_text struct text out = {};

	for (; *text; text++)
		text_add(&out, *text == '$' ? "$$" : (char[]){*text, '\0'});
	return arena_strdup(a->arena, out.data ?: "");
}

static bool same_span(const struct compose_span *one, const struct compose_span *other)
{
	return one->file && one->file == other->file && one->begin == other->begin &&
	       one->end == other->end;
}

static size_t target_index(const struct assigning *a, const struct compose_gpus *gpus)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->targets[i].gpus->service == gpus->service)
			return i;
	return a->n;
}

static bool stays(const struct assigning *a, const struct compose_gpus *gpus,
		  const struct assign_set *final)
{
	struct compose_gpus now = *gpus;
	struct assigning here = *a;
	struct assign_set set;

	here.n = 0;
	return assign_final(&here, &now, &set) && assign_sets_equal(&set, final);
}

const struct compose_gpus *assign_keeper(struct assigning *a, const struct assign_region *region,
					 const char *whole, bool settled)
{
	struct assign_set wanted = assign_wanted(a, region->target);
	const struct compose_gpus *found = NULL;

	for (size_t i = 0; i < a->project->n && !found; i++) {
		const struct compose_gpus *other = &a->all[i];
		struct assign_set final;
		bool known, stay;

		if (other->service == region->target->gpus->service ||
		    assign_hanging(a, other, region, whole) != ASSIGN_PARTS)
			continue;
		known = assign_final(a, other, &final);
		stay = known && stays(a, other, &final);
		/* It comes here, and sees then what has become of the variable. */
		if (known && !stay && assign_sets_equal(&final, &wanted))
			continue;
		if (!other->service->active) {
			assign_goes_along(a, region->target, other, region->variable);
			continue;
		}
		if (settled || !known || stay ||
		    target_index(a, other) < (size_t)(region->target - a->targets))
			found = other;
	}
	return found;
}

/* Write the text in the place of the variable, which somebody keeps ("llm", "`ports` of web"). */
static int leave_variable(struct assigning *a, const struct assign_region *region,
			  const char *whole, const char *other, struct error *err)
{
	const struct compose_node *node = region->part.node;
	const struct compose_use *use = region->value.use;
	struct compose_span span;

	if (strcmp(other, region->target->gpus->service->name) == 0)
		assign_note(a, region->target,
			    "%s in the place of %s, which says another of its GPUs", whole,
			    region->variable);
	else if (assign_hold_against(a, region, whole, true))
		assign_note(a, region->target,
			    "%s in the place of %s, which becomes another one for %s", whole,
			    region->variable, other);
	else
		assign_note(a, region->target, "%s in the place of %s, which keeps %s where it is",
			    whole, region->variable, other);
	assign_left_region(a, region);
	if (!use) {
		int r =
		    assign_yaml_environment(a, region->target, region->request->key, whole, err);

		return r == -EXDEV
			   ? assign_fail(region->target, &node->span, err,
					 "%s has its value from a variable that \"%s\" has, "
					 "too: write %s=%s in its environment",
					 region->request->key, other, region->request->key, whole)
			   : r;
	}
	use = assign_outermost(node, use);
	if (!compose_part_span(node, use->begin, use->end, &span)) {
		size_t begin = use_begin(node, use), end = begin + strlen(use->value);

		return assign_yaml_scalar(a, node,
					  arena_printf(a->arena, "%.*s%s%s", (int)begin, node->text,
						       whole, node->text + end),
					  err);
	}
	return assign_yaml_part(a, node, &span, whole, err);
}

/* Why the service would not run on what the default says; NULL: it would. */
static const char *default_is_wrong(struct assigning *a, const struct assign_region *region)
{
	const char *text = region->value.fallback;
	struct assign_set wanted = assign_wanted(a, region->target);
	auto_free char *copy = mem_strdup(text);
	char *rest = copy;

	if (strchr(text, '$'))
		return NULL;
	for (char *item; (item = strsep(&rest, ", "));) {
		const char *equals = strchr(item, '=');
		struct assign_set set;

		if (!*item || strcmp(item, "all") == 0 || strcmp(item, "none") == 0 ||
		    strcmp(item, "void") == 0)
			continue;
		if (!assign_meant(a, equals ? equals + 1 : item, &set))
			return "no such GPU is there";
		for (size_t i = 0; i < a->list->n; i++) {
			const struct gpu *gpu = &a->list->gpus[i];
			uint64_t room = a->options->room_bytes    ? a->options->room_bytes[i]
					: gpu_has(gpu, GPU_TOTAL) ? gpu->vram.total_bytes
								  : UINT64_MAX;

			if (set.in[i] && region->target->allowed && !region->target->allowed[i])
				return "it may not use that GPU";
			/* The room of where it is planned is what is left beside it. */
			if (!set.in[i] || wanted.in[i] || region->target->vram_bytes <= room)
				continue;
			return gpu_has(gpu, GPU_TOTAL) &&
				       region->target->vram_bytes > gpu->vram.total_bytes
				   ? "it is larger than that GPU"
				   : "it has no room there beside the others";
		}
	}
	return NULL;
}

static int correct_default(struct assigning *a, const struct assign_region *region,
			   const char *whole, struct error *err)
{
	const struct compose_value *value = &region->value;
	const char *why;
	unsigned line, column;

	if (!value->fallback || !value->fallback_span.file || strcmp(value->fallback, whole) == 0 ||
	    same_span(&value->fallback_span, &region->part.node->span))
		return 0;
	why = default_is_wrong(a, region);
	if (!why)
		return 0;
	compose_file_position(value->fallback_span.file, value->fallback_span.begin, &line,
			      &column);
	assign_note(a, region->target, "the default of %s is %s instead of %s (%s:%u): %s",
		    value->variable, whole, value->fallback, value->fallback_span.file->shown, line,
		    why);
	return assign_yaml_part(a, region->part.node, &value->fallback_span, whole, err);
}

/* The part of the text that the variable stands for. */
static void variable_extent(const struct assign_region *region, size_t *ret_begin, size_t *ret_end)
{
	const struct compose_node *node = region->part.node;

	*ret_begin = 0;
	*ret_end = strlen(node->text);
	if (region->value.use) {
		const struct compose_use *use = assign_outermost(node, region->value.use);

		*ret_begin = use_begin(node, use);
		*ret_end = MIN_OF(*ret_begin + strlen(use->value), *ret_end);
		*ret_begin = MIN_OF(*ret_begin, *ret_end);
	}
}

/* What several variables say together becomes text. */
static int set_all(struct assigning *a, const struct assign_region *region, const char *text,
		   struct error *err)
{
	const struct locate_part *part = &region->part;
	const char *scalar;

	if (part->variable)
		return cannot_splice(region, text, err);
	assign_note(a, region->target, "%s in the place of %s, which comes from several places",
		    text, region->value.text);
	scalar = arena_printf(a->arena, "%.*s%s%s", (int)part->begin, part->node->text, text,
			      part->node->text + part->end);
	assign_left_request(a, NULL, region->request);
	return assign_yaml_scalar(a, part->node, template_of(a, scalar), err);
}

static int set_literal(struct assigning *a, const struct assign_region *region, const char *text,
		       struct error *err)
{
	const struct compose_value *value = &region->value;
	const char *part = spliced(a, region, value->edit_begin, value->edit_end, text);
	unsigned line, column;

	if (strcmp(text, value->text) == 0)
		return 0;
	if (!part)
		return cannot_splice(region, text, err);
	if (!value->edit.file)
		return assign_fail(region->target, &region->part.node->span, err,
				   "\"%s\" cannot be changed where it stands", value->text);
	compose_file_position(value->edit.file, value->edit.begin, &line, &column);
	assign_note(a, region->target, "%s instead of %s at %s:%u", text, value->text,
		    value->edit.file->shown, line);
	if (value->edit_whole)
		return assign_yaml_scalar(a, region->part.node, template_of(a, part), err);
	return assign_yaml_part(a, region->part.node, &value->edit, template_of(a, part), err);
}

int assign_region_set(struct assigning *a, const struct assign_region *region, const char *text,
		      struct error *err)
{
	const struct compose_value *value = &region->value;
	const char *operator_ = value->use ? value->use->operator_ : "";
	bool by_argument = value->use && value->use->argument_used && strchr(operator_, '+');
	const struct compose_gpus *other;
	const char *whole, *keeps;
	size_t begin, end;
	int r;

	if (!value->variable || by_argument)
		return set_literal(a, region, text, err);
	variable_extent(region, &begin, &end);
	whole = spliced(a, region, begin, end, text);
	if (!whole)
		return set_all(a, region, text, err);
	other = assign_hold_against(a, region, whole, false);
	if (!other && !assign_hold_is_set(a, region, whole))
		other = assign_keeper(a, region, whole, false);
	keeps =
	    other ? other->service->name : assign_other_use(a, region->target, region->variable);
	if (keeps)
		return leave_variable(a, region, whole, keeps, err);
	r = correct_default(a, region, whole, err);
	if (r < 0)
		return r;
	if (value->source == COMPOSE_SHELL)
		return assign_fail(region->target, &region->part.node->span, err,
				   "%s=%s comes from the shell, which wins over every file: unset "
				   "%s, or export %s=%s, and run this again",
				   value->variable, value->text, value->variable, value->variable,
				   whole);
	if (strchr(operator_, '+'))
		return assign_fail(region->target, &region->part.node->span, err,
				   "${%s%s...} says nothing while %s is not set: write the GPU in "
				   "its place",
				   value->variable, operator_, value->variable);
	assign_hold_add(a, region, whole, true);
	return assign_env_set(a, region, region->variable, whole, err);
}

int assign_region_keep(struct assigning *a, const struct assign_region *region, struct error *err)
{
	const struct compose_gpus *other;
	size_t begin, end;
	const char *whole;
	int r;

	if (!region->value.variable)
		return 0;
	variable_extent(region, &begin, &end);
	whole = arena_strndup(a->arena, region->part.node->text + begin, end - begin);
	other = assign_hold_against(a, region, whole, true);
	if (other)
		return leave_variable(a, region, whole, other->service->name, err);
	r = correct_default(a, region, whole, err);
	if (r == 0)
		assign_hold_add(a, region, whole, false);
	return r;
}
