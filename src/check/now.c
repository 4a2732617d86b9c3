/*
 * GPUs as they are measured now, whatever the files say: one that holds more than its load line,
 * what holds it, and the GPU that does nothing meanwhile. Sums of what is declared cannot see that:
 * each service may use a CUDA context more than it says, which is no fault of any of them.
 */
#include "check/check_priv.h"

#include "util/size.h"

#include <string.h>

#define NAMES_MAX 4  /* of those who use it; the rest is "others" */
#define IDLE      10 /* percent of a GPU that a desktop or a context or two may hold */

static unsigned percent_of(const struct gpu *gpu)
{
	return (unsigned)((double)gpu->vram.used_bytes * 100 / (double)gpu->vram.total_bytes + 0.5);
}

static bool is_measured(const struct check *check, size_t gpu)
{
	const struct gpu *g = &check->stack->list->gpus[gpu];

	return gpu_is_usable(g) && gpu_has(g, GPU_TOTAL) && gpu_has(g, GPU_USED) &&
	       g->vram.total_bytes > 0;
}

static bool uses(const struct stack_service *service, size_t gpu)
{
	return service->used_bytes[gpu] > 0;
}

/* The one that uses most of it, after those already told (NULL: all are); SIZE_MAX: none. */
static size_t most_of(const struct check *check, size_t gpu, const bool *told)
{
	const struct stack_service *services = check->stack->services;
	size_t most = SIZE_MAX;

	for (size_t i = 0; i < check->stack->n; i++)
		if ((!told || !told[i]) && uses(&services[i], gpu) &&
		    (most == SIZE_MAX ||
		     services[i].used_bytes[gpu] > services[most].used_bytes[gpu]))
			most = i;
	return most;
}

/* "ai-llm 19.3 GiB, ai-florence 1.66 GiB, others 1 GiB". */
static void add_users(const struct check *check, size_t gpu, struct text *text)
{
	const struct stack *stack = check->stack;
	auto_free bool *told = mem_calloc(stack->n + 1, sizeof *told);
	uint64_t rest = stack->list->gpus[gpu].vram.used_bytes;
	size_t most, n = 0;

	for (; n < NAMES_MAX && (most = most_of(check, gpu, told)) != SIZE_MAX; n++) {
		const struct stack_service *service = &stack->services[most];

		told[most] = true;
		rest -= MIN_OF(rest, service->used_bytes[gpu]);
		text_printf(text, "%s%s %s", n ? ", " : "", service->service->name,
			    SIZE_TEXT(service->used_bytes[gpu]));
	}
	if (rest >= MIB)
		text_printf(text, "%sothers %s", n ? ", " : "", SIZE_TEXT(rest));
}

/* What its services say they need there, where that is less than they use: nobody need have said
 * too little by himself. */
static void add_said(const struct check *check, size_t gpu, struct text *text)
{
	uint64_t said = 0, used = 0;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!uses(service, gpu))
			continue;
		if (!service->need.has_vram)
			return;
		said += service->need.vram_bytes * service->service->replicas;
		used += service->used_bytes[gpu];
	}
	if (used > said + MIB)
		text_printf(text, "; x-plimsoll says %s for these services together",
			    SIZE_TEXT(said));
}

/* The one with most memory that next to nothing uses; SIZE_MAX: none. */
static size_t idle_gpu(const struct check *check, size_t but)
{
	const struct gpu *gpus = check->stack->list->gpus;
	size_t idle = SIZE_MAX;

	for (size_t g = 0; g < check->stack->list->n; g++)
		if (g != but && is_measured(check, g) && percent_of(&gpus[g]) < IDLE &&
		    (idle == SIZE_MAX || gpus[g].vram.total_bytes > gpus[idle].vram.total_bytes))
			idle = g;
	return idle;
}

/* Those that the files have put elsewhere already: they only have to be made anew. New, or NULL. */
static char *fix_by_rolling_out(const struct check *check, size_t gpu)
{
	auto_text struct text names = {};
	size_t n = 0;

	for (size_t i = 0; i < check->stack->n; i++) {
		const struct stack_service *service = &check->stack->services[i];

		if (!uses(service, gpu) || !service->wants_gpu || !service->assigned_known ||
		    stack_is_among(service->assigned, service->n_assigned, gpu))
			continue;
		text_printf(&names, " %s", service->service->name);
		n++;
	}
	if (n == 0)
		return NULL;
	return mem_printf("`docker compose up -d%s` (or podman-compose): the files have %s "
			  "elsewhere already",
			  names.data, n == 1 ? "it" : "them");
}

/* Could it go to the idle GPU, beside what is assigned there? */
static bool can_move(const struct check *check, const struct stack_service *service, size_t gpu,
		     size_t idle)
{
	uint64_t bytes = MAX_OF(service->vram_bytes, service->measured_bytes);

	return uses(service, gpu) && check_counts(service) && service->n_assigned == 1 &&
	       service->service->replicas == 1 && check_may_use(check, service, idle, NULL) &&
	       check_load_on(check, idle, service) + bytes <= check_capacity_of(check, idle);
}

/* The smallest that is enough, else the largest, that the idle GPU takes. New. */
static char *fix_by_moving(const struct check *check, size_t gpu, size_t idle)
{
	const struct stack *stack = check->stack;
	const uint64_t excess =
	    stack->list->gpus[gpu].vram.used_bytes - stack->ledger->gpus[gpu].load_line_bytes;
	const struct stack_service *best = NULL;
	const char *device;

	for (size_t i = 0; i < stack->n && idle != SIZE_MAX; i++) {
		const struct stack_service *service = &stack->services[i];
		uint64_t used = service->used_bytes[gpu], other = best ? best->used_bytes[gpu] : 0;

		if (can_move(check, service, gpu, idle) &&
		    (!best || (other >= excess ? used >= excess && used < other : used > other)))
			best = service;
	}
	if (!best)
		return mem_strdup("`plimsoll plan` says what can leave it");
	device = check_device(check, idle, check_value(best));
	return mem_printf("%s: %s (%s) has room on GPU %u; `plimsoll plan` says what is best",
			  check_how_to_say(check, best->gpus->decides, check_value(best), device),
			  best->service->name, SIZE_TEXT(best->used_bytes[gpu]),
			  stack->list->gpus[idle].index);
}

/* The service that uses most of it, else the first that is assigned to it; NULL: it is no business
 * of this project. */
static const struct stack_service *whose(const struct check *check, size_t gpu)
{
	const struct stack *stack = check->stack;
	const size_t most = most_of(check, gpu, NULL);

	if (most != SIZE_MAX)
		return &stack->services[most];
	for (size_t i = 0; i < stack->n; i++)
		if (stack->services[i].wants_gpu &&
		    stack_is_among(stack->services[i].assigned, stack->services[i].n_assigned, gpu))
			return &stack->services[i];
	return NULL;
}

static void over_line(struct check *check, size_t gpu)
{
	const struct stack *stack = check->stack;
	const struct gpu *g = &stack->list->gpus[gpu];
	const struct ledger_gpu *line = &stack->ledger->gpus[gpu];
	const struct stack_service *service = whose(check, gpu);
	const size_t idle = idle_gpu(check, gpu);
	auto_text struct text text = {};
	struct finding finding = {};

	if (!service || !line->vram_known || g->vram.used_bytes <= line->load_line_bytes)
		return;
	text_printf(&text, "%s holds %s now, %u %%, and its load line is at %s (",
		    check_gpu_name(check, gpu), SIZE_TEXT(g->vram.used_bytes), percent_of(g),
		    SIZE_TEXT(line->load_line_bytes));
	add_users(check, gpu, &text);
	text_add(&text, ")");
	if (idle != SIZE_MAX)
		text_printf(&text, ", while %s idles at %u %%", check_gpu_name(check, idle),
			    percent_of(&stack->list->gpus[idle]));
	add_said(check, gpu, &text);
	finding.message = text_take(&text);
	finding.fix = fix_by_rolling_out(check, gpu);
	if (!finding.fix)
		finding.fix = fix_by_moving(check, gpu, idle);
	finding.service = service->service->name;
	if (service->gpus->decides)
		finding.span = compose_request_place(service->gpus->decides);
	check_add(check, CHECK_OVER_LOAD_LINE_NOW, &finding);
}

void check_now(struct check *check)
{
	for (size_t g = 0; g < check->stack->list->n; g++)
		if (is_measured(check, g))
			over_line(check, g);
}
