/*
 * Where an assignment comes from. One that stands in an env file or in the compose file is said;
 * one that hangs on a default is not, and a default that nothing reaches today is looked at as if
 * it were reached: that is the one that strikes on a fresh checkout.
 */
#include "check/check_priv.h"

#include "compose/interpolate.h"

#include "util/size.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULTS_MAX 2 /* told one by one */

/* Is the default all that decides: no other text round the variable but a CDI kind? */
static bool is_whole(const struct compose_value *value)
{
	const struct compose_node *node = value->node;
	const struct compose_use *use = value->use;

	return use && !use->nested && node->raw && node->raw[use->end] == '\0' &&
	       (use->begin == 0 || node->raw[use->begin - 1] == '=');
}

/* A GPU above its line already, without this service, is told as such: the default is not what is
 * wrong there. */
static bool would_overload(const struct check *check, const struct stack_service *service,
			   size_t gpu)
{
	uint64_t there = check_load_on(check, gpu, service), load = check_load_of(service);
	uint64_t capacity = check_capacity_of(check, gpu);

	return check_capacity_known(check, gpu) && load > 0 && there + load > capacity &&
	       (there <= capacity || load > capacity);
}

/* Why this device, or list, cannot work; NULL: it can, as far as is known. New. */
static char *wrong_because(const struct check *check, const struct stack_service *service,
			   const char *text)
{
	struct check_devices devices;

	if (!check_devices(check, service->gpus, text, &devices))
		return mem_printf("there is no GPU %s, here %s %s", devices.missing,
				  check->stack->list->n == 1 ? "is" : "are",
				  check_gpu_names(check));
	if (!service->vram_known || stack_gpus_asked(service) < devices.n)
		return NULL;
	for (size_t i = 0; i < devices.n; i++) {
		const size_t g = devices.gpus[i];
		const struct gpu *gpu = &check->stack->list->gpus[g];
		const char *why;

		if (gpu_has(gpu, GPU_TOTAL) && stack_least_bytes(service) > gpu->vram.total_bytes)
			return mem_printf("%s needs %s and would be on %s", service->service->name,
					  SIZE_TEXT(stack_least_bytes(service)),
					  check_gpu_name(check, g));
		if (would_overload(check, service, g))
			return mem_printf(
			    "%s would then be promised %s, and %s below its load line is free "
			    "for that",
			    check_gpu_name(check, g),
			    SIZE_TEXT(check_load_on(check, g, service) + check_load_of(service)),
			    SIZE_TEXT(check_capacity_of(check, g)));
		if (!check_may_use(check, service, g, &why))
			return mem_printf("%s would be on %s, and says `%s`",
					  service->service->name, check_gpu_name(check, g), why);
	}
	return NULL;
}

/* What a variable stands for today, in a service that is to have a GPU; sorted by variable, in the
 * order of the services. Thousands may hang on one variable. */
struct check_use {
	const char *variable, *device;
	const struct stack_service *service;
	size_t next; /* the first after it that is of another variable, or stands for another
			device */
};

static int use_compare(const void *a, const void *b)
{
	const struct check_use *one = a, *other = b;
	int order = strcmp(one->variable, other->variable);

	return order ? order : (one->service > other->service) - (one->service < other->service);
}

static size_t uses_collect(const struct stack *stack, struct check_use *uses)
{
	size_t n = 0;

	for (size_t i = 0; i < stack->n; i++) {
		const struct stack_service *service = &stack->services[i];

		for (size_t r = 0; service->wants_gpu && r < service->gpus->n; r++) {
			const struct compose_request *request = &service->gpus->requests[r];

			for (size_t v = 0; request->in_force && v < request->n_values; v++) {
				const struct compose_value *value = &request->values[v];

				if (!value->variable)
					continue;
				if (uses)
					uses[n] = (struct check_use){value->variable, value->device,
								     service, 0};
				n++;
			}
		}
	}
	return n;
}

/* To be freed. */
static struct check_use *uses_create(const struct stack *stack, size_t *ret_n)
{
	size_t n = uses_collect(stack, NULL);
	struct check_use *uses = mem_calloc(n + 1, sizeof *uses);

	(void)uses_collect(stack, uses);
	qsort(uses, n, sizeof *uses, use_compare);
	for (size_t i = n; i-- > 0;)
		uses[i].next = i + 1 < n && strcmp(uses[i].variable, uses[i + 1].variable) == 0 &&
				       strcmp(uses[i].device, uses[i + 1].device) == 0
				   ? uses[i + 1].next
				   : i + 1;
	*ret_n = n;
	return uses;
}

/* Another service for which the variable stands for something else today: setting it would move
 * that one, or this one; NULL: there is none. */
static const char *who_differs(const struct check *check, const struct stack_service *service,
			       const struct compose_value *value)
{
	size_t begin = 0, end = check->n_uses;

	while (begin < end) {
		size_t middle = begin + (end - begin) / 2;

		if (strcmp(check->uses[middle].variable, value->variable) < 0)
			begin = middle + 1;
		else
			end = middle;
	}
	for (size_t i = begin; i < check->n_uses;) {
		const struct check_use *use = &check->uses[i];
		bool same = strcmp(use->device, value->device) == 0;

		if (strcmp(use->variable, value->variable) != 0)
			break;
		if (!same && use->service != service)
			return use->service->service->name;
		i = same ? use->next : i + 1;
	}
	return NULL;
}

/* What the line says if that works, what is in force if that does; else people must choose. New. */
static char *fix_of_line(const struct check *check, const struct stack_service *service,
			 const struct compose_value *value)
{
	const struct compose_assignment *line = value->commented;
	auto_free char *meant = wrong_because(check, service, line->value);
	auto_free char *now = wrong_because(check, service, value->text);
	const char *other = who_differs(check, service, value);

	if (other)
		return mem_printf("a variable of its own for each: %s decides for %s, too, whose "
				  "default is another one",
				  value->variable, other);
	if (!meant && strcmp(line->value, value->text) == 0)
		return mem_printf("write %s=%s here: what is in force, said aloud", line->name,
				  line->value);
	if (!meant)
		return mem_printf("write %s=%s here, or %s=%s to keep what is in force", line->name,
				  line->value, line->name, value->text);
	if (!now)
		return mem_printf("write %s=%s here to keep what is in force; %s would not do: %s",
				  line->name, value->text, line->value, meant);
	return mem_printf("write %s= here with the GPU it is to have; `plimsoll plan` says which",
			  line->name);
}

static void commented_out(struct check *check, const struct stack_service *service,
			  const struct compose_value *value)
{
	const struct compose_assignment *line = value->commented;
	const char *name = service->service->name;
	bool same = strcmp(line->value, value->text) == 0;

	/* With one GPU there is nothing to choose. */
	if (same && check->stack->list->n < 2)
		return;
	check_add(
	    check, CHECK_COMMENTED_OUT,
	    &(struct finding){
		.span = line->span,
		.service = name,
		.message = mem_printf("%s=%s is commented out, so %s gets GPU %s from the default "
				      "at %s%s",
				      line->name, line->value, name, value->text,
				      check_place(check, &value->fallback_span),
				      same ? "" : ": not what this line says"),
		.fix = fix_of_line(check, service, value),
	    });
}

static void from_default(struct check *check, const struct stack_service *service,
			 const struct compose_value *value)
{
	if (check->stack->list->n < 2)
		return;
	check_add(check, CHECK_DEFAULT_IN_FORCE,
		  &(struct finding){
		      .span = value->fallback_span.file ? value->fallback_span : value->node->span,
		      .service = service->service->name,
		      .message = mem_printf("%s is not set, so %s gets GPU %s from the default",
					    value->variable, service->service->name, value->device),
		      .fix = mem_printf("add %s to %s", check_assignment(check, value),
					check_env_name(check)),
		      .value = value,
		  });
}

/* It says how many, and not which. */
static bool is_count(const struct compose_request *request, const struct compose_value *value)
{
	return request->count_span.file && value->node->span.file == request->count_span.file &&
	       value->node->span.begin == request->count_span.begin;
}

/* New. */
static char *fix_of_unset(const struct check *check, const struct stack_service *service,
			  const struct compose_request *request, const struct compose_value *value)
{
	const struct compose_assignment *line = value->commented;
	const char *device = check_some_device(check, service);
	auto_free char *wrong = line ? wrong_because(check, service, line->value) : NULL;

	if (is_count(request, value))
		return mem_printf("say device_ids: ['%s'] instead of count, or whichever GPU is "
				  "meant",
				  device);
	if (!line)
		return mem_printf("add %s=%s to %s, or whichever GPU is meant", value->variable,
				  device, check_env_name(check));
	if (!wrong)
		return mem_printf("write %s=%s in %s, where it is commented out", line->name,
				  line->value, check_place(check, &line->span));
	return mem_printf("write %s= in %s with the GPU it is to have; %s, which is commented out "
			  "there, would not do: %s",
			  line->name, check_place(check, &line->span), line->value, wrong);
}

static void not_set(struct check *check, const struct stack_service *service,
		    const struct compose_request *request, const struct compose_value *value)
{
	const struct compose_assignment *line = value->commented;
	const char *name = service->service->name;

	check_add(check, CHECK_VARIABLE_NOT_SET,
		  &(struct finding){
		      .span = value->node->span,
		      .service = name,
		      .message = mem_printf("%s is set nowhere and has no default: %s is assigned "
					    "to no GPU that there is",
					    value->variable, name),
		      .fix = fix_of_unset(check, service, request, value),
		  });
	if (line)
		check_add(check, CHECK_COMMENTED_OUT,
			  &(struct finding){
			      .span = line->span,
			      .service = name,
			      .message = mem_printf("%s=%s is commented out, and there is no "
						    "default, so %s gets no GPU",
						    line->name, line->value, name),
			      .fix = fix_of_unset(check, service, request, value),
			  });
}

/* What the default would have to be for what is in force: all that the variable stands for. */
static const char *in_force(const struct compose_value *value)
{
	return value->use && value->use->value[0] ? value->use->value : value->text;
}

static void hidden_default(struct check *check, const struct stack_service *service,
			   const struct compose_value *value)
{
	struct check_devices devices;
	auto_free char *why = NULL;

	if (!value->fallback || !value->fallback[0] || !value->fallback_span.file ||
	    strcmp(value->fallback, value->text) == 0 || !is_whole(value))
		return;
	if (check_devices(check, service->gpus, value->fallback, &devices) &&
	    service->assigned_known &&
	    stack_same_gpus(devices.gpus, devices.n, service->assigned, service->n_assigned))
		return;
	why = wrong_because(check, service, value->fallback);
	if (!why)
		return;
	check_add(check, CHECK_WRONG_DEFAULT,
		  &(struct finding){
		      .span = value->fallback_span,
		      .service = service->service->name,
		      .message = mem_printf("without %s=%s from %s the default %s would be in "
					    "force: %s",
					    value->variable, value->text,
					    value->assignment
						? check_place(check, &value->assignment->span)
						: "the shell",
					    value->fallback, why),
		      .fix = mem_printf("write %s instead of %s as the default, or `plimsoll "
					"apply`",
					in_force(value), value->fallback),
		  });
}

static void look_at(struct check *check, const struct stack_service *service,
		    const struct compose_request *request, const struct compose_value *value)
{
	if (compose_value_is_unset(value) ||
	    (value->source == COMPOSE_ABSENT && value->variable && value->text[0] == '\0')) {
		not_set(check, service, request, value);
		return;
	}
	if (!request->in_force)
		return;
	if (value->source == COMPOSE_ENV_FILE || value->source == COMPOSE_SHELL)
		hidden_default(check, service, value);
	/* What a count that hangs on a default means is told as a count. */
	if (request->has_count || request->all || !value->text[0])
		return;
	if (value->source == COMPOSE_COMMENTED && value->commented)
		commented_out(check, service, value);
	else if (value->source == COMPOSE_DEFAULT)
		from_default(check, service, value);
}

static bool is_number(const struct compose_value *value)
{
	size_t digits = strspn(value->device, "0123456789");

	return digits > 0 && value->device[digits] == '\0';
}

/* Once for the project: it is one decision. */
static void by_index(struct check *check)
{
	const struct gpu_list *list = check->stack->list;
	const struct stack_service *first = NULL;
	auto_text struct text uuids = {};
	unsigned n = 0;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];
		const struct compose_value *value = check_value(service);

		if (!service->wants_gpu || !service->assigned_known || !value ||
		    service->gpus->decides->has_count || service->gpus->decides->all ||
		    !is_number(value))
			continue;
		first = first ? first : service;
		n++;
	}
	if (!first || list->n < 2)
		return;
	for (size_t i = 0; i < list->n && i < 8; i++)
		text_printf(&uuids, "%s%u is %s", i ? ", " : "", list->gpus[i].index,
			    list->gpus[i].uuid);
	check_add(check, CHECK_INDEX_NOT_UUID,
		  &(struct finding){
		      .span = compose_request_place(first->gpus->decides),
		      .message = mem_printf("%u service%s GPUs by index, which can change with a "
					    "reboot or a card",
					    n, n == 1 ? " names" : "s name"),
		      .fix = mem_printf("`plimsoll apply --ids uuid` writes UUIDs instead (now %s)",
					uuids.data),
		  });
}

/* "GPU_LLM=0", which would say what a default says. */
struct line {
	const char *variable, *text;
	size_t at; /* which of the findings */
	bool kept;
};

static int by_variable(const void *a, const void *b)
{
	const struct line *one = a, *other = b;
	int r = strcmp(one->variable, other->variable);

	return r != 0 ? r : one->at < other->at ? -1 : one->at > other->at;
}

static int by_finding(const void *a, const void *b)
{
	const struct line *one = a, *other = b;

	return one->at < other->at ? -1 : one->at > other->at;
}

/* Each once, in the order of the findings. Not of one variable with two defaults: an assignment
 * would change one of the services. */
static void add_lines(struct line *all, size_t n, struct strings *lines)
{
	size_t end;

	qsort(all, n, sizeof *all, by_variable);
	for (size_t i = 0; i < n; i = end) {
		all[i].kept = true;
		for (end = i + 1; end < n && strcmp(all[end].variable, all[i].variable) == 0; end++)
			all[i].kept &= strcmp(all[end].text, all[i].text) == 0;
	}
	qsort(all, n, sizeof *all, by_finding);
	for (size_t i = 0; i < n; i++)
		if (all[i].kept)
			strings_add(lines, all[i].text);
}

/* New. */
static char *fix_of_defaults(const struct check *check, const struct strings *lines)
{
	auto_text struct text text = {};

	for (size_t i = 0; i < lines->n; i++)
		text_printf(&text, " %s", lines->items[i]);
	if (lines->n == 0)
		return mem_strdup("a variable of its own for each");
	return mem_printf("add to %s, a line each:%s", check_env_name(check), text.data);
}

void check_fold(struct check *check)
{
	struct findings *findings = check->findings;
	const char *code = check_rules[CHECK_DEFAULT_IN_FORCE].code;
	auto_strings struct strings lines = {};
	auto_text struct text told = {};
	auto_free struct line *all = mem_calloc(findings->n + 1, sizeof *all);
	struct finding *first = NULL;
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < findings->n; i++) {
		struct finding *finding = &findings->items[i];

		if (finding->code != code)
			continue;
		first = first ? first : finding;
		text_printf(&told, "%s%s GPU %s", told.len ? ", " : "", finding->service,
			    finding->value->device);
		all[n] = (struct line){.variable = finding->value->variable,
				       .text = check_assignment(check, finding->value),
				       .at = n};
		n++;
	}
	if (n <= DEFAULTS_MAX)
		return;
	add_lines(all, n, &lines);
	for (size_t i = 0; i < findings->n; i++) {
		struct finding *finding = &findings->items[i];

		if (finding->code == code) {
			free(finding->message);
			free(finding->fix);
		}
		if (finding->code != code || finding == first)
			findings->items[kept++] = *finding;
	}
	findings->n = kept;
	first->service = NULL;
	first->value = NULL;
	first->message = mem_printf("%zu services get their GPU from a default, since nothing sets "
				    "their variables: %s",
				    n, told.data);
	first->fix = fix_of_defaults(check, &lines);
}

void check_sources(struct check *check)
{
	auto_free struct check_use *uses = uses_create(check->stack, &check->n_uses);

	check->uses = uses;
	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		for (size_t r = 0; service->service->active && r < service->gpus->n; r++) {
			const struct compose_request *request = &service->gpus->requests[r];

			for (size_t v = 0; request->is_nvidia && v < request->n_values; v++)
				look_at(check, service, request, &request->values[v]);
		}
	}
	by_index(check);
	check->uses = NULL;
	check->n_uses = 0;
}
