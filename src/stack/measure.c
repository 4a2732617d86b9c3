/*
 * What runs: processes on GPUs are summed by (container, GPU), containers belong to services by
 * their labels. A container none of whose processes is on a GPU is where it was given GPUs.
 *
 * Foreign is counted anew: the ledger, which knows of no services, takes all that is used for
 * foreign; what the services to be planned use is taken out of it, since that moves with them. Of a
 * process whose use the driver does not tell (WSL, some versions) what its service declares counts.
 */
#include "stack/stack_priv.h"

#include <stdio.h>
#include <string.h>

/* Of one container on one GPU. */
struct use {
	bool here, unknown;
	uint64_t bytes;
};

struct measure {
	struct stack *stack;
	const struct stack_facts *facts;
	size_t n_gpus;
	struct use *uses; /* [container * n_gpus + gpu] */
};

static struct stack_service *service_of(const struct measure *m, const struct container *container)
{
	if (!container->service || container->oneoff ||
	    (container->project && strcmp(container->project, m->stack->project->name) != 0))
		return NULL;
	for (size_t i = 0; i < m->stack->n; i++)
		if (strcmp(m->stack->services[i].service->name, container->service) == 0)
			return &m->stack->services[i];
	return NULL;
}

static void sum_processes(struct measure *m)
{
	const struct containers *containers = m->facts->containers;

	for (size_t i = 0; i < m->facts->n_processes; i++) {
		const struct stack_process *process = &m->facts->processes[i];

		if (!process->container[0] || process->gpu >= m->n_gpus)
			continue;
		for (size_t c = 0; c < containers->n; c++) {
			struct use *use = &m->uses[c * m->n_gpus + process->gpu];

			if (strcmp(containers->items[c].id, process->container) != 0)
				continue;
			use->here = true;
			use->unknown |= !process->used_known;
			use->bytes += process->used_known ? process->used_bytes : 0;
		}
	}
}

static void add_today(struct stack_service *service, size_t gpu)
{
	size_t at = service->n_today;

	if (at == PLAN_GPUS_MAX || stack_is_among(service->today, at, gpu))
		return;
	for (; at > 0 && service->today[at - 1] > gpu; at--)
		service->today[at] = service->today[at - 1];
	service->today[at] = gpu;
	service->n_today++;
}

/* "0,GPU-5f,nvidia.com/gpu=1", as the container was given them. */
static void add_given(const struct measure *m, struct stack_service *service,
		      const struct container *container)
{
	const struct gpu_list *list = m->stack->list;
	auto_free char *devices = container->devices ? mem_strdup(container->devices) : NULL;
	char *rest = devices;

	for (size_t g = 0; container->all_devices && g < list->n; g++)
		add_today(service, g);
	for (const char *item; rest && (item = strsep(&rest, ","));) {
		const char *equals = strrchr(item, '=');
		const struct gpu *gpu;

		if (gpu_list_resolve(list, equals ? equals + 1 : item, &gpu, NULL) == 0)
			add_today(service, (size_t)(gpu - list->gpus));
	}
}

static void measure_container(const struct measure *m, size_t c)
{
	const struct container *container = &m->facts->containers->items[c];
	struct stack_service *service = service_of(m, container);
	bool on_gpu = false;

	if (!service || !container->running)
		return;
	service->running = true;
	if (m->facts->ram_used_bytes)
		service->ram_used_bytes += m->facts->ram_used_bytes[c];
	for (size_t g = 0; g < m->n_gpus; g++) {
		const struct use *use = &m->uses[c * m->n_gpus + g];

		if (!use->here)
			continue;
		on_gpu = true;
		add_today(service, g);
		service->used_bytes[g] += use->bytes;
		if (use->unknown)
			continue;
		service->measured = true;
		service->measured_bytes = MAX_OF(service->measured_bytes, use->bytes);
	}
	if (!on_gpu)
		add_given(m, service, container);
}

static void count_foreign(const struct measure *m, size_t g)
{
	const struct ledger_gpu *line = &m->stack->ledger->gpus[g];
	uint64_t explained = 0;

	for (size_t c = 0; m->facts->containers && c < m->facts->containers->n; c++) {
		const struct use *use = &m->uses[c * m->n_gpus + g];
		const struct stack_service *service;

		service = use->here ? service_of(m, &m->facts->containers->items[c]) : NULL;
		if (!service || !service->wants_gpu)
			continue;
		explained += use->bytes;
		if (use->unknown && service->need.has_vram)
			explained += MAX_OF(service->need.vram_bytes, use->bytes) - use->bytes;
	}
	m->stack->foreign_bytes[g] = line->foreign_bytes - MIN_OF(line->foreign_bytes, explained);
}

void stack_measure(struct stack *stack, const struct stack_facts *facts)
{
	const size_t n_containers = facts->containers ? facts->containers->n : 0;
	struct measure m = {.stack = stack, .facts = facts, .n_gpus = stack->list->n};

	m.uses = mem_calloc(n_containers * m.n_gpus + 1, sizeof *m.uses);
	if (facts->containers)
		sum_processes(&m);
	for (size_t c = 0; c < n_containers; c++)
		measure_container(&m, c);
	for (size_t g = 0; g < m.n_gpus; g++)
		count_foreign(&m, g);
	free(m.uses);
}
