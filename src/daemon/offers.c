/* Asked of those who do it, with a grant that nobody was given. */
#include "daemon/offers.h"

#include "daemon/guards.h"
#include "run/bound.h"
#include "run/cgroup.h"
#include "util/size.h"

#include <string.h>

#define WATCHED "watched"

static bool counts_all(const char *own, const struct gpu_list *list)
{
	auto_free char *base = own ? cgroup_base(own) : NULL;
	bool all = base && list && list->n > 0 && cgroup_hands_down(own, "dmem");

	for (size_t i = 0; all && i < list->n; i++)
		all = bound_counts_gpu(base, list->gpus[i].pci_bus_id);
	return all;
}

/* "MPS pinned-memory limit (for each process); HAMi-core" */
static void guards_list(const struct offers *offers, json_t *list)
{
	static const struct expand_grant grant = {.n_gpus = 1, .vram_bytes = GIB};
	const struct guards guards = {
	    .root = offers->root, .hami = offers->hami, .uid = offers->uid};
	const char *pipes = getenv("CUDA_MPS_PIPE_DIRECTORY");
	auto_strings struct strings env = {};
	auto_text struct text words = {};
	char *rest = NULL;

	if (pipes)
		strings_take(&env, mem_printf("CUDA_MPS_PIPE_DIRECTORY=%s", pipes));
	guards_add(&guards, &grant, &env, &words);
	for (char *word = words.data ? strtok_r(words.data, ";", &rest) : NULL; word;
	     word = strtok_r(NULL, ";", &rest))
		(void)json_array_append_new(list, json_string(word + strspn(word, " ")));
}

json_t *offers_to_json(const struct offers *offers, const struct gpu_list *list)
{
	json_t *vram = json_array(), *ram = json_array();

	if (counts_all(offers->own, list))
		(void)json_array_append_new(vram, json_string(BOUND_DMEM_WORDS));
	guards_list(offers, vram);
	(void)json_array_append_new(vram, json_string(WATCHED));
	if (offers->own && cgroup_hands_down(offers->own, "memory"))
		(void)json_array_append_new(ram, json_string(BOUND_RAM_WORDS));
	(void)json_array_append_new(ram, json_string(WATCHED));
	return json_pack("{s:o, s:o}", "vram", vram, "ram", ram);
}
