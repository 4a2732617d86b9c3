/*
 * A worker's share is one of the GPU's load line less what others use there at the moment and what
 * is kept for services: with a plain 1/N the last of N would wait for ever beside a desktop's 300
 * MiB.
 */
#include "daemon/workers.h"

#include "place/fit.h"
#include "place/saturate.h"

#include <errno.h>

static bool takes_workers(const struct ledger_gpu *gpu, const struct place_request *request)
{
	return gpu->usable && !gpu->closed && fit_rules(gpu, request) == FIT_OK &&
	       (gpu->vram_known || !place_request_is_sized(request));
}

/* Of one of `n`; 0: the GPU does not say what it has. */
static unsigned share_milli(const struct ledger_gpu *gpu, unsigned n)
{
	uint64_t others = saturate_add(gpu->foreign_bytes, ledger_services(gpu));
	uint64_t free_mib = saturate_sub(gpu->load_line_bytes, others) >> 20;
	uint64_t line_mib = gpu->load_line_bytes >> 20;

	return gpu->vram_known && line_mib > 0
		   ? (unsigned)MAX_OF(free_mib * 1000 / line_mib / n, (uint64_t)1)
		   : 0;
}

static const char *const *argv_copy(const char *const *argv)
{
	const char **copy;
	size_t n = 0;

	while (argv[n])
		n++;
	copy = mem_calloc(n + 1, sizeof *copy);
	memcpy(copy, argv, n * sizeof *copy);
	return copy;
}

static int check(const struct submit *submit, struct error *err)
{
	const struct place_request *request = &submit->specs[0].request;

	if (submit->n != 1)
		return error_set(err, -EINVAL,
				 "workers_per_gpu: are copies of one task, and there are %zu",
				 submit->n);
	if (request->cpu == PLACE_CPU_ONLY || request->gpus != 1)
		return error_set(err, -EINVAL,
				 "workers_per_gpu: a worker has one GPU, and this asks for %u",
				 request->gpus);
	if (request->exclusive && submit->workers_per_gpu > 1)
		return error_set(err, -EINVAL,
				 "workers_per_gpu: %u to a GPU cannot have it exclusively",
				 submit->workers_per_gpu);
	return 0;
}

static void add_workers(struct submit *submit, const struct ledger_gpu *gpu)
{
	const struct sched_spec *first = &submit->specs[0];

	for (unsigned i = 0; i < submit->workers_per_gpu; i++) {
		struct sched_spec *spec = &submit->specs[submit->n];

		if (submit->n > 0) {
			*spec = *first;
			spec->argv = argv_copy(first->argv);
		}
		spec->worker_rank = (unsigned)submit->n;
		spec->row = (unsigned)++submit->n;
		spec->request.pin_uuid = gpu->uuid;
	}
}

int workers_expand(struct submit *submit, const struct ledger *ledger, struct error *err)
{
	struct place_request request;
	unsigned *shares;
	size_t n = 0;
	int r = submit->workers_per_gpu > 0 ? check(submit, err) : 0;

	if (r < 0 || submit->workers_per_gpu == 0)
		return r;
	request = submit->specs[0].request;
	for (size_t g = 0; ledger && g < ledger->n_gpus; g++)
		n += takes_workers(&ledger->gpus[g], &request);
	if (n == 0)
		return error_set(err, -ENODEV,
				 "workers_per_gpu: no GPU here takes it now; `plimsoll gpus` shows "
				 "what there is");
	submit->specs =
	    mem_realloc(submit->specs, n * submit->workers_per_gpu + 1, sizeof *submit->specs);
	shares = mem_calloc(n * submit->workers_per_gpu, sizeof *shares);
	submit->n = 0;
	for (size_t g = 0; g < ledger->n_gpus; g++) {
		const struct ledger_gpu *gpu = &ledger->gpus[g];
		size_t from = submit->n;

		if (!takes_workers(gpu, &request))
			continue;
		add_workers(submit, gpu);
		for (size_t i = from; i < submit->n; i++)
			shares[i] = share_milli(gpu, submit->workers_per_gpu);
	}
	for (size_t i = 0; i < submit->n; i++) {
		submit->specs[i].workers = (unsigned)submit->n;
		if (!place_request_is_sized(&request) && submit->workers_per_gpu > 1)
			submit->specs[i].request.fraction_milli = shares[i];
	}
	free(shares);
	return 0;
}
