/*
 * See stack.h. Declared needs come first (need.c), then what runs (measure.c), then
 * what both together say: the VRAM to plan with, and where they disagree. The planner's problem is
 * made in problem.c.
 */
#include "stack/stack_priv.h"

#include "util/size.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

const char *stack_where(const struct stack_service *service, struct text *text)
{
	const struct compose_span *span = &service->service->span;
	unsigned line = 0, column = 0;

	text_clear(text);
	if (service->need.where) {
		text_add(text, service->need.where);
	} else if (span->file) {
		compose_file_position(span->file, span->begin, &line, &column);
		text_printf(text, "%s:%u:%u", span->file->shown, line, column);
	} else {
		text_add(text, "compose");
	}
	return text->data;
}

static void warn(struct stack *stack, const struct stack_service *service, const char *fmt, ...)
    PRINTF(3, 4);

static void warn(struct stack *stack, const struct stack_service *service, const char *fmt, ...)
{
	auto_text struct text where = {};
	char words[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	strings_take(&stack->warnings, mem_printf("%s: %s: %s", stack_where(service, &where),
						  service->service->name, words));
}

/* GPUs of the list. */

bool stack_is_among(const size_t *gpus, size_t n, size_t gpu)
{
	for (size_t i = 0; i < n; i++)
		if (gpus[i] == gpu)
			return true;
	return false;
}

bool stack_same_gpus(const size_t *a, size_t n_a, const size_t *b, size_t n_b)
{
	for (size_t i = 0; i < n_a; i++)
		if (!stack_is_among(b, n_b, a[i]))
			return false;
	return n_a == n_b;
}

void stack_add_gpus(const struct stack *stack, const size_t *gpus, size_t n, const char *between,
		    struct text *text)
{
	for (size_t i = 0; i < n; i++)
		text_printf(text, "%s%u", i > 0 ? between : "", stack->list->gpus[gpus[i]].index);
}

void stack_add_gpu_words(const struct stack *stack, const size_t *gpus, size_t n, struct text *text)
{
	text_add(text, n == 0 ? "no GPU" : n == 1 ? "GPU " : "GPUs ");
	stack_add_gpus(stack, gpus, n, ", ", text);
}

/* Which GPUs a person means. */

static bool same_letter(char a, char b)
{
	if (a == '-' || a == '_')
		a = ' ';
	if (b == '-' || b == '_')
		b = ' ';
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Part of a model's name; `whole`: of whole words, so that "A400" is no A4000. */
static bool is_part(const char *name, const char *part, bool whole)
{
	const size_t len = strlen(part);

	for (const char *at = name; *part && *at; at++) {
		size_t i = 0;

		while (i < len && at[i] && same_letter(at[i], part[i]))
			i++;
		if (i < len)
			continue;
		if (!whole || ((at == name || !isalnum((unsigned char)at[-1])) &&
			       !isalnum((unsigned char)at[len])))
			return true;
	}
	return false;
}

size_t stack_match_gpus(const struct gpu_list *list, const char *said, bool *ret_which)
{
	const int least = said[strspn(said, "0123456789")] == '\0';
	const struct gpu *gpu;
	size_t n = 0;

	memset(ret_which, 0, list->n * sizeof *ret_which);
	if (gpu_list_resolve(list, said, &gpu, NULL) == 0) {
		ret_which[gpu - list->gpus] = true;
		return 1;
	}
	/* "5" is an index that is not there, and no A5500; "4090" is a whole word. */
	for (int whole = 1; whole >= least && n == 0; whole--)
		for (size_t g = 0; g < list->n; g++)
			if (is_part(list->gpus[g].name, said, whole)) {
				ret_which[g] = true;
				n++;
			}
	return n;
}

static void warn_unknown_names(struct stack *stack, const struct stack_service *service)
{
	const struct {
		const char *key;
		const struct strings *said;
	} lists[] = {
	    {"prefer", &service->need.prefer},
	    {"avoid", &service->need.avoid},
	    {"forbid", &service->need.forbid},
	};
	bool which[GPU_LIST_MAX];

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (size_t k = 0; k < lists[i].said->n; k++)
			if (stack_match_gpus(stack->list, lists[i].said->items[k], which) == 0)
				warn(stack, service, "`%s` names GPU \"%.64s\", which is not there",
				     lists[i].key, lists[i].said->items[k]);
	for (size_t k = 0; k < service->need.not_with.n; k++) {
		const char *other = service->need.not_with.items[k];

		if (strcmp(other, service->service->name) == 0)
			warn(stack, service,
			     "`not-with` names the service itself, which says nothing; "
			     "`replicas: spread` keeps its replicas apart");
		else if (!compose_project_find(stack->project, other))
			warn(stack, service,
			     "`not-with` names \"%.64s\", and no service is called so", other);
	}
}

/* What is declared and what is measured. */

static uint64_t most_declared(const struct need *need)
{
	uint64_t bytes = need->vram_bytes;

	for (size_t i = 0; i < need->n_models; i++)
		if (need->models[i].on_demand)
			bytes += need->models[i].vram_bytes;
	return bytes;
}

enum stack_verdict stack_compare(const struct stack_service *service)
{
	if (!service->need.has_vram || !service->measured)
		return STACK_AGREES;
	/* What CUDA itself keeps, a few hundred MiB a process, is seldom in what people declare. */
	if (service->measured_bytes >
	    most_declared(&service->need) + most_declared(&service->need) / 10 + 256 * MIB)
		return STACK_USES_MORE;
	/* Half as much again, and a context, are no news: a service grows with its load. */
	if (!service->need.on_demand &&
	    service->need.vram_bytes > service->measured_bytes * 3 / 2 + 256 * MIB)
		return STACK_USES_LESS;
	return STACK_AGREES;
}

static void compare(struct stack *stack, const struct stack_service *service)
{
	switch (stack_compare(service)) {
	case STACK_AGREES:
		break;
	case STACK_USES_MORE:
		warn(stack, service, "uses %s, more than the %s it is said to need",
		     SIZE_TEXT(service->measured_bytes), SIZE_TEXT(most_declared(&service->need)));
		break;
	case STACK_USES_LESS:
		warn(stack, service, "uses %s, far less than the %s it is said to need",
		     SIZE_TEXT(service->measured_bytes), SIZE_TEXT(service->need.vram_bytes));
		break;
	}
}

/* CUDA_VISIBLE_DEVICES of "" or "-1": it computes on the CPU, whatever it is given. What CUDA does
 * not know ("all") is a mistake and no wish. */
static bool is_hidden(const struct compose_gpus *gpus)
{
	return gpus->filter && gpus->filter->none && !gpus->filter->problem;
}

static void choose_vram(struct stack *stack, struct stack_service *service)
{
	service->vram_known = service->need.has_vram || service->measured;
	service->vram_bytes =
	    service->need.has_vram ? service->need.vram_bytes : service->measured_bytes;
	if (!service->service->active)
		return;
	if (!service->wants_gpu && service->need.has_vram && !service->gpus->decides)
		warn(stack, service,
		     "says how much VRAM it needs, and asks for no GPU in the compose file");
	if (service->gpus->decides && !service->gpus->decides->none && is_hidden(service->gpus))
		warn(stack, service,
		     "CUDA_VISIBLE_DEVICES hides every GPU from it: it is planned on none, though "
		     "it asks for one");
	warn_unknown_names(stack, service);
	compare(stack, service);
}

/* Where the files put it. A GPU that is not there, or a request that compose itself refuses, is
 * check's to tell; here it is only not known. */
static void read_assignment(struct stack *stack, struct stack_service *service)
{
	struct error why = {};
	int r;

	if (!service->gpus->decides || service->gpus->decides->none) {
		service->assigned_known = true;
		return;
	}
	r = compose_resolve(service->gpus, stack->list, service->assigned, PLAN_GPUS_MAX,
			    &service->n_assigned, &service->missing, &why);
	service->assigned_known = r >= 0;
	if (r < 0)
		service->n_assigned = 0;
	if (r < 0 && service->service->active)
		strings_add(&stack->warnings, error_text(&why));
}

static int read_service(struct stack *stack, const struct stack_facts *facts, size_t i,
			struct error *err)
{
	const struct compose_request *decides = stack->gpus[i].decides;
	struct stack_service *service = &stack->services[i];

	service->service = &stack->project->services[i];
	service->gpus = &stack->gpus[i];
	service->wants_gpu = service->service->active && service->service->replicas > 0 &&
			     decides && !decides->none && decides->is_nvidia &&
			     !is_hidden(service->gpus);
	read_assignment(stack, service);
	return stack_read_need(facts, service->service, &service->need, err);
}

int stack_create(const struct stack_facts *facts, struct stack **ret_stack, struct error *err)
{
	auto_stack struct stack *stack = mem_calloc(1, sizeof *stack);
	int r;

	if (facts->list->n > PLAN_GPUS_MAX)
		return error_set(err, -E2BIG, "there are %zu GPUs; at most %d can be planned for",
				 facts->list->n, PLAN_GPUS_MAX);
	stack->project = facts->project;
	stack->list = facts->list;
	stack->ledger = facts->ledger;
	stack->host = facts->host;
	stack->ram_used_known = facts->ram_used_bytes != NULL;
	r = compose_locate(facts->project, &stack->gpus, err);
	if (r < 0)
		return r;
	stack->n = facts->project->n;
	stack->services = mem_calloc(stack->n + 1, sizeof *stack->services);
	stack->foreign_bytes = mem_calloc(facts->list->n + 1, sizeof *stack->foreign_bytes);
	for (size_t i = 0; i < stack->n; i++) {
		r = read_service(stack, facts, i, err);
		if (r < 0)
			return r;
	}
	stack_measure(stack, facts);
	for (size_t i = 0; i < stack->n; i++)
		choose_vram(stack, &stack->services[i]);
	*ret_stack = TAKE(stack);
	return 0;
}

void stack_destroy(struct stack *stack)
{
	if (!stack)
		return;
	for (size_t i = 0; stack->services && i < stack->n; i++)
		need_finish(&stack->services[i].need);
	strings_finish(&stack->warnings);
	free(stack->foreign_bytes);
	free(stack->services);
	free(stack);
}
