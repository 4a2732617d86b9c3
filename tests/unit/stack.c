/* stack/: what is declared, what is measured, what is foreign, and the planner's problem
 * that comes of it. Projects are text, machines are made by hand. */
#include "stack/stack.h"
#include "config/config.h"
#include "util/size.h"

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define A5500 "NVIDIA RTX A5500"
#define A400  "NVIDIA RTX A400"

/* A project on a machine, with all that a stack is made from. */
struct world {
	struct compose_project *project;
	struct gpu_list *list;
	struct ledger *ledger;
	struct config *config;
	struct container containers[8];
	size_t n_containers;
	bool containers_known;
	struct stack_process processes[16];
	size_t n_processes;
	struct stack *stack;
};

static void add_gpu(struct world *w, const char *name, uint64_t total, uint64_t used)
{
	struct gpu *gpu = gpu_list_append(w->list);

	gpu->index = (unsigned)w->list->n - 1;
	(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%c%c%c%c", 'a' + (char)gpu->index,
		       'a' + (char)gpu->index, 'a' + (char)gpu->index, 'a' + (char)gpu->index);
	(void)snprintf(gpu->name, sizeof gpu->name, "%s", name);
	gpu->valid = GPU_TOTAL | GPU_USED | GPU_FREE | GPU_PROCESSES | GPU_COMPUTE_CAPABILITY;
	gpu->compute_capability = gpu->index == 0 ? 86 : 75;
	gpu->vram.total_bytes = total;
	gpu->vram.used_bytes = used;
	gpu->vram.free_bytes = total - used;
}

static void add_container(struct world *w, const char *id, const char *service, const char *devices)
{
	struct container *c = &w->containers[w->n_containers++];

	*c = (struct container){.running = true, .number = 1};
	(void)snprintf(c->id, sizeof c->id, "%s", id);
	c->project = mem_strdup("x");
	c->service = mem_strdup(service);
	c->devices = devices ? mem_strdup(devices) : NULL;
	w->containers_known = true;
}

static void add_process(struct world *w, size_t gpu, const char *container, uint64_t mib)
{
	struct stack_process *p = &w->processes[w->n_processes++];

	*p = (struct stack_process){
	    .gpu = gpu, .pid = 100, .used_known = mib > 0, .used_bytes = mib * MIB};
	(void)snprintf(p->container, sizeof p->container, "%s", container);
}

static void load(struct world *w, const char *text, const char *override)
{
	const struct compose_memory_file memory[] = {
	    {"/p/compose.yaml", text, strlen(text)},
	    {"/p/compose.override.yaml", override ? override : "", override ? strlen(override) : 0},
	};
	char *const shell[] = {(char[]){"SIZE=3G"}, NULL};
	const struct compose_options options = {.dir = "/p",
						.project_name = "x",
						.shell = shell,
						.memory = memory,
						.n_memory = override ? 2 : 1};
	struct error err = {};

	if (compose_project_load(&options, &w->project, &err) < 0)
		fail_msg("%s", err.text);
}

static int try_stack(struct world *w, struct error *err)
{
	struct containers containers = {w->containers, w->n_containers};
	const char *names[8];
	struct need needs[8];
	struct stack_facts facts = {
	    .project = w->project,
	    .list = w->list,
	    .containers = w->containers_known ? &containers : NULL,
	    .processes = w->processes,
	    .n_processes = w->n_processes,
	    .needs = needs,
	    .need_names = names,
	};

	w->ledger = ledger_create(w->list, NULL, 0, &(struct ledger_host){}, NULL);
	facts.ledger = w->ledger;
	for (size_t i = 0; w->config && i < w->config->n_services; i++) {
		names[i] = w->config->services[i].name;
		needs[i] = w->config->services[i].need;
		facts.n_needs++;
	}
	return stack_create(&facts, &w->stack, err);
}

static void make_stack(struct world *w)
{
	struct error err = {};

	if (try_stack(w, &err) < 0)
		fail_msg("%s", err.text);
}

static void world_open(struct world *w, const char *text)
{
	*w = (struct world){.list = gpu_list_create()};
	w->list->state = GPU_SOURCE_OK;
	add_gpu(w, A5500, 24 * GIB, 10 * GIB);
	add_gpu(w, A400, 4 * GIB, GIB);
	load(w, text, NULL);
}

static void world_close(struct world *w)
{
	stack_destroy(w->stack);
	ledger_destroy(w->ledger);
	config_destroy(w->config);
	gpu_list_destroy(w->list);
	compose_project_destroy(w->project);
	for (size_t i = 0; i < w->n_containers; i++) {
		free(w->containers[i].project);
		free(w->containers[i].service);
		free(w->containers[i].devices);
	}
}

static const struct stack_service *find(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->stack->n; i++)
		if (strcmp(w->stack->services[i].service->name, name) == 0)
			return &w->stack->services[i];
	fail_msg("no service %s", name);
	return NULL;
}

static bool warned(const struct world *w, const char *words)
{
	for (size_t i = 0; i < w->stack->warnings.n; i++)
		if (strstr(w->stack->warnings.items[i], words))
			return true;
	return false;
}

#define GPU_LINES(ids)                                                                    \
	"    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: " \
	"[" ids "], capabilities: [gpu]}]}}}\n"

static const char two[] = "services:\n"
			  "  a:\n    image: i\n" GPU_LINES(
			      "'0'") "    x-plimsoll: {vram: '${SIZE:-6G}'}\n"
				     "  b:\n    image: i\n" GPU_LINES("'1'") "  c:\n    image: i\n";

static void what_is_declared(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, two);
	make_stack(&w);
	assert_int_equal(w.stack->n, 3);
	assert_true(find(&w, "a")->wants_gpu && find(&w, "b")->wants_gpu);
	assert_false(find(&w, "c")->wants_gpu);
	/* After interpolation. */
	assert_int_equal(find(&w, "a")->vram_bytes, 3 * GIB);
	assert_false(find(&w, "b")->vram_known);
	assert_int_equal(find(&w, "b")->n_assigned, 1);
	assert_int_equal(find(&w, "b")->assigned[0], 1);
	assert_false(find(&w, "a")->running);
	world_close(&w);
}

static void the_configuration_comes_before_the_compose_file(void **state)
{
	static const char text[] = "services: {a: {vram: 5G}, b: {models: {m: 1G}, keep: true}}";
	struct world w;
	struct error err = {};

	(void)state;
	world_open(&w, two);
	assert_int_equal(config_parse(text, strlen(text), "p.yaml", &w.config, &err), 0);
	make_stack(&w);
	assert_int_equal(find(&w, "a")->vram_bytes, 5 * GIB);
	assert_int_equal(find(&w, "b")->vram_bytes, GIB);
	assert_true(find(&w, "b")->need.keep);
	world_close(&w);
}

/* Whatever was merged: the place is that of the file it was written in. */
static void what_is_wrong_is_told_where_it_stands(void **state)
{
	struct world w = {.list = gpu_list_create()};
	struct error err = {};

	(void)state;
	add_gpu(&w, A5500, 24 * GIB, 0);
	load(&w, two, "services:\n  a:\n    x-plimsoll:\n      priority: high\n");
	assert_int_equal(try_stack(&w, &err), -EINVAL);
	assert_non_null(strstr(err.text, "compose.override.yaml:4:17: \"high\" is not a number"));
	world_close(&w);
	w = (struct world){.list = gpu_list_create()};
	add_gpu(&w, A5500, 24 * GIB, 0);
	load(&w, two, "services:\n  a:\n    x-plimsoll:\n      models: {m: 1G}\n");
	assert_true(try_stack(&w, &err) < 0);
	assert_non_null(strstr(err.text, "override.yaml:4:15: either `vram` or `models`"));
	world_close(&w);
}

static void an_anchor_is_read_like_the_rest(void **state)
{
	struct world w = {.list = gpu_list_create()};

	(void)state;
	add_gpu(&w, A5500, 24 * GIB, 0);
	load(&w,
	     "x-n: &n {vram: 2G, priority: 3}\n"
	     "services:\n  a:\n    image: i\n    x-plimsoll: {<<: *n, priority: 4}\n"
	     "  b:\n    image: i\n    x-plimsoll:\n",
	     NULL);
	make_stack(&w);
	assert_int_equal(find(&w, "a")->need.vram_bytes, 2 * GIB);
	assert_int_equal(find(&w, "a")->need.priority, 4);
	assert_false(find(&w, "b")->need.has_vram);
	assert_true(warned(&w, "a: says how much VRAM it needs, and asks for no GPU"));
	world_close(&w);
}

/* 10 GiB are used on GPU 0: 3 by a, 1 by a process that is not a service's. */
static void what_is_measured_is_not_foreign(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, two);
	add_container(&w, "aaa", "a", "0");
	add_container(&w, "aab", "a", "0");
	add_container(&w, "bbb", "b", "1");
	add_container(&w, "ccc", "c", NULL);
	add_process(&w, 0, "aaa", 1024);
	add_process(&w, 0, "aaa", 1024);
	add_process(&w, 0, "aab", 1024);
	add_process(&w, 0, "ccc", 512);
	add_process(&w, 0, "", 1024);
	make_stack(&w);
	/* Of its containers the one that uses most. */
	assert_true(find(&w, "a")->measured);
	assert_int_equal(find(&w, "a")->measured_bytes, 2 * GIB);
	assert_int_equal(find(&w, "a")->used_bytes[0], 3 * GIB);
	assert_int_equal(find(&w, "a")->n_today, 1);
	/* None of its processes is on a GPU: it is where it was given one. */
	assert_true(find(&w, "b")->running);
	assert_false(find(&w, "b")->measured);
	assert_int_equal(find(&w, "b")->n_today, 1);
	assert_int_equal(find(&w, "b")->today[0], 1);
	/* c asks for none, so it is not planned, and what it uses stays. */
	assert_int_equal(w.stack->foreign_bytes[0], 7 * GIB);
	assert_int_equal(w.stack->foreign_bytes[1], GIB);
	world_close(&w);
}

/* Where the driver does not tell what a process uses, what its service says counts. */
static void a_process_of_unknown_use(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, two);
	add_container(&w, "aaa", "a", NULL);
	add_container(&w, "old", "a", NULL);
	w.containers[1].running = false;
	add_container(&w, "run", "b", NULL);
	w.containers[2].oneoff = true;
	add_process(&w, 0, "aaa", 0);
	add_process(&w, 1, "run", 512);
	make_stack(&w);
	assert_false(find(&w, "a")->measured);
	assert_int_equal(find(&w, "a")->vram_bytes, 3 * GIB);
	assert_int_equal(w.stack->foreign_bytes[0], 7 * GIB);
	/* One of `compose run` is none of the service. */
	assert_false(find(&w, "b")->running);
	assert_int_equal(w.stack->foreign_bytes[1], GIB);
	world_close(&w);
}

static void what_is_given_is_read_in_every_form(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, two);
	add_container(&w, "aaa", "a", "nvidia.com/gpu=1,GPU-aaaa,none-such");
	add_container(&w, "bbb", "b", NULL);
	w.containers[1].all_devices = true;
	make_stack(&w);
	assert_int_equal(find(&w, "a")->n_today, 2);
	assert_int_equal(find(&w, "a")->today[0], 0);
	assert_int_equal(find(&w, "a")->today[1], 1);
	assert_int_equal(find(&w, "b")->n_today, 2);
	world_close(&w);
}

static void declared_beside_measured(void **state)
{
	static const struct {
		uint64_t mib;
		enum stack_verdict verdict;
		const char *words;
	} cases[] = {
	    {3636, STACK_USES_MORE, "uses 3.55 GiB, more than the 3 GiB it is said to need"},
	    {3635, STACK_AGREES, NULL}, /* a tenth more, and 256 MiB: 3635.2 */
	    {1878, STACK_AGREES, NULL}, /* 1.5 times it and 256 MiB: 3073 */
	    {1877, STACK_USES_LESS, "far less than the 3 GiB it is said to need"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world w;

		world_open(&w, two);
		add_container(&w, "aaa", "a", NULL);
		add_process(&w, 0, "aaa", cases[i].mib);
		make_stack(&w);
		assert_int_equal(stack_compare(find(&w, "a")), cases[i].verdict);
		assert_int_equal(w.stack->warnings.n, cases[i].words ? 1 : 0);
		assert_true(!cases[i].words || warned(&w, cases[i].words));
		world_close(&w);
	}
}

static void what_loads_on_demand_may_use_more(void **state)
{
	static const char text[] = "services:\n  a:\n    image: i\n" GPU_LINES(
	    "'0'") "    x-plimsoll: {models: {m: 1G, n: {vram: 2G, on-demand: true}}}\n";
	struct world w;

	(void)state;
	world_open(&w, text);
	add_container(&w, "aaa", "a", NULL);
	add_process(&w, 0, "aaa", 3072);
	make_stack(&w);
	assert_int_equal(find(&w, "a")->vram_bytes, GIB);
	assert_int_equal(stack_compare(find(&w, "a")), STACK_AGREES);
	world_close(&w);
}

static size_t match(const struct gpu_list *list, const char *said, unsigned *ret_bits)
{
	bool which[PLAN_GPUS_MAX];
	size_t n = stack_match_gpus(list, said, which);

	*ret_bits = 0;
	for (size_t g = 0; g < list->n; g++)
		*ret_bits |= which[g] ? 1u << g : 0;
	return n;
}

static void gpus_as_people_name_them(void **state)
{
	static const struct {
		const char *said;
		unsigned bits;
	} cases[] = {
	    {"0", 1},     {"cuda:1", 2},   {"GPU-bbbb", 2}, {"GPU-b", 2},     {"a400", 2},
	    {"A4000", 4}, {"rtx-a400", 2}, {"A55", 1},      {"rtx", 7},       {"7", 0},
	    {"5", 0},     {"400", 0},      {"GPU-", 0},     {"rtx a6000", 0}, {"", 0},
	};
	struct world w;

	(void)state;
	world_open(&w, two);
	add_gpu(&w, "NVIDIA RTX A4000", 16 * GIB, 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned bits;
		size_t n = match(w.list, cases[i].said, &bits);

		if (bits != cases[i].bits || n != (size_t)__builtin_popcount(bits))
			fail_msg("\"%s\" is %x (%zu)", cases[i].said, bits, n);
	}
	world_close(&w);
}

static const char many[] =
    "services:\n"
    "  a:\n    image: i\n" GPU_LINES(
	"'0'") "    x-plimsoll: {models: {m: 1G, n: {vram: 2G, on-demand: true}, o: 3G}, shared: "
	       "500M,\n"
	       "      prefer: [a5500, 1], avoid: 1, not-with: [b, no-vram, ghost], priority: 7, "
	       "keep: true}\n"
	       "  no-vram:\n    image: i\n" GPU_LINES("'0'") "  b:\n    image: i\n" GPU_LINES(
		   "'0', '1'") "    x-plimsoll: {vram: 1G, forbid: a5500}\n"
			       "  all:\n    image: i\n    gpus: all\n"
			       "    x-plimsoll: {vram: 1G, min-compute-capability: 8.0, cpu: "
			       "fallback}\n"
			       "  three:\n    image: i\n    gpus: all\n    scale: 2\n"
			       "    x-plimsoll: {vram: 1G, gpus: 3, gpu: a400, exclusive: true}\n"
			       "  off:\n    image: i\n    gpus: all\n    scale: 0\n    x-plimsoll: "
			       "{vram: 1G}\n"
			       "  profile:\n    image: i\n    gpus: all\n    profiles: [p]\n    "
			       "x-plimsoll: {vram: 1G}\n";

static void check_first(const struct plan_service *a)
{
	assert_string_equal(a->name, "a");
	assert_int_equal(a->vram_bytes, 4 * GIB + 500 * MIB);
	assert_int_equal(a->n_models, 2);
	assert_string_equal(a->models[1].name, "o");
	assert_int_equal(a->models[1].bytes, 3 * GIB);
	assert_int_equal(a->shared_bytes, 500 * MIB);
	assert_true(a->keep && a->priority == 7);
	assert_int_equal(a->preference[0], 2);
	assert_int_equal(a->preference[1], -1);
	assert_int_equal(a->n_not_with, 1);
	assert_int_equal(a->not_with[0], 1);
	/* It does not run: its files say where it is. */
	assert_int_equal(a->n_today, 1);
	assert_int_equal(a->today[0], 0);
	assert_true(a->allowed[0] && a->allowed[1]);
}

static void the_problem_of_the_planner(void **state)
{
	const struct plan_service *s;
	struct stack_problem problem;
	struct error err = {};
	struct world w;

	(void)state;
	world_open(&w, many);
	make_stack(&w);
	assert_true(warned(&w, "`not-with` names \"ghost\""));
	assert_int_equal(stack_problem(w.stack, PLAN_PACK, &problem, &err), 0);
	assert_int_equal(problem.problem.objective, PLAN_PACK);
	assert_int_equal(problem.problem.n_gpus, 2);
	assert_int_equal(problem.problem.gpus[0].foreign_bytes, 10 * GIB);
	assert_true(problem.problem.gpus[0].usable);
	assert_int_equal(problem.problem.n_services, 4);
	assert_int_equal(problem.left_out.n, 1);
	assert_non_null(strstr(problem.left_out.items[0], "no-vram: no VRAM known"));
	s = problem.problem.services;
	check_first(&s[0]);
	assert_string_equal(s[1].name, "b");
	assert_int_equal(problem.services[1], 2);
	assert_int_equal(s[1].gpus, 2);
	assert_false(s[1].allowed[0]);
	assert_true(s[1].allowed[1]);
	/* "all" is one, and no place to move from. */
	assert_int_equal(s[2].gpus, 1);
	assert_int_equal(s[2].n_today, 0);
	assert_true(s[2].cpu_fallback && s[2].allowed[0] && !s[2].allowed[1]);
	assert_int_equal(s[3].gpus, 3);
	assert_int_equal(s[3].replicas, 2);
	assert_true(s[3].exclusive && !s[3].allowed[0] && s[3].allowed[1]);
	stack_problem_finish(&problem);
	world_close(&w);
}

static void a_pin_to_what_is_not_there(void **state)
{
	static const char text[] = "services:\n  a:\n    image: i\n" GPU_LINES(
	    "'5'") "    x-plimsoll: {vram: 1G, gpu: 5, prefer: h100}\n";
	struct stack_problem problem;
	struct error err = {};
	struct world w;

	(void)state;
	world_open(&w, text);
	make_stack(&w);
	assert_true(find(&w, "a")->wants_gpu);
	assert_false(find(&w, "a")->assigned_known);
	assert_non_null(find(&w, "a")->missing);
	assert_true(warned(&w, "`prefer` names GPU \"h100\", which is not there"));
	assert_int_equal(stack_problem(w.stack, PLAN_BALANCE, &problem, &err), -ENODEV);
	assert_non_null(strstr(err.text, "compose.yaml:5:17: a is for GPU \"5\" only"));
	world_close(&w);
}

/* The idiom for "on the CPU" is a wish, and no GPU to be found for it. */
static void who_hides_its_gpus_wants_none(void **state)
{
	struct world w;

	(void)state;
	world_open(&w,
		   "services:\n"
		   "  minus: {image: a, gpus: all, environment: {CUDA_VISIBLE_DEVICES: \"-1\"}}\n"
		   "  empty: {image: a, gpus: all, environment: {CUDA_VISIBLE_DEVICES: \"\"}}\n"
		   "  comma: {image: a, gpus: all, environment: {CUDA_VISIBLE_DEVICES: \",\"}}\n"
		   "  some: {image: a, gpus: all, environment: {CUDA_VISIBLE_DEVICES: \"0\"}}\n"
		   "  mistake: {image: a, gpus: all, environment: [CUDA_VISIBLE_DEVICES=all]}\n");
	make_stack(&w);
	assert_false(find(&w, "minus")->wants_gpu);
	assert_false(find(&w, "empty")->wants_gpu);
	assert_false(find(&w, "comma")->wants_gpu);
	assert_true(find(&w, "some")->wants_gpu);
	assert_true(find(&w, "mistake")->wants_gpu);
	assert_true(warned(&w, "minus: CUDA_VISIBLE_DEVICES hides every GPU from it"));
	assert_false(warned(&w, "some: CUDA_VISIBLE_DEVICES hides"));
	world_close(&w);
}

/* One that spreads has what its files name for all replicas; together they are one that is larger.
 */
static void replicas_spread_or_stay_together(void **state)
{
	static const char text[] =
	    "services:\n"
	    "  a: {image: i, gpus: [{device_ids: ['0', '1']}], deploy: {replicas: 2},\n"
	    "      x-plimsoll: {vram: 1G, not-with: [a]}}\n"
	    "  b: {image: i, gpus: [{device_ids: ['0']}], deploy: {replicas: 3},\n"
	    "      x-plimsoll: {models: {x: 1G, y: {vram: 2G, on-demand: true}}, shared: 1G,\n"
	    "                   replicas: together}}\n";
	const struct plan_service *s;
	struct stack_problem problem;
	struct error err = {};
	struct world w;

	(void)state;
	world_open(&w, text);
	make_stack(&w);
	assert_true(warned(&w, "compose.yaml:3:19: a: `not-with` names the service itself"));
	assert_int_equal(stack_problem(w.stack, PLAN_BALANCE, &problem, &err), 0);
	s = problem.problem.services;
	assert_int_equal(s[0].gpus, 1);
	assert_int_equal(s[0].replicas, 2);
	assert_int_equal(s[0].n_today, 2);
	assert_int_equal(s[1].gpus, 1);
	assert_int_equal(s[1].replicas, 1);
	assert_int_equal(s[1].vram_bytes, 6 * GIB);
	assert_int_equal(s[1].shared_bytes, 3 * GIB);
	assert_int_equal(s[1].models[0].bytes, 3 * GIB);
	assert_int_equal(s[1].load_bytes, 9 * GIB);
	stack_problem_finish(&problem);
	world_close(&w);
}

static void lists_of_gpus(void **state)
{
	static const size_t some[] = {0, 2}, turned[] = {2, 0}, others[] = {0, 1};
	struct world w = {.list = gpu_list_create()};
	struct stack stack = {.list = w.list};
	auto_text struct text text = {};

	for (size_t i = 0; i < 3; i++)
		add_gpu(&w, "x", GIB, 0);
	w.list->gpus[2].index = 7;
	assert_true(stack_is_among(some, 2, 2));
	assert_false(stack_is_among(some, 2, 1) || stack_is_among(some, 1, 2));
	assert_true(stack_same_gpus(some, 2, turned, 2) && stack_same_gpus(some, 0, others, 0));
	assert_false(stack_same_gpus(some, 2, others, 2) || stack_same_gpus(some, 1, some, 2) ||
		     stack_same_gpus(some, 2, some, 1));
	stack_add_gpus(&stack, some, 2, ",", &text);
	assert_string_equal(text.data, "0,7");
	text_clear(&text);
	for (size_t n = 0; n <= 2; n++) {
		stack_add_gpu_words(&stack, some, n, &text);
		text_add(&text, "; ");
	}
	assert_string_equal(text.data, "no GPU; GPU 0; GPUs 0, 7; ");
	gpu_list_destroy(w.list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_declared),
	    cmocka_unit_test(the_configuration_comes_before_the_compose_file),
	    cmocka_unit_test(what_is_wrong_is_told_where_it_stands),
	    cmocka_unit_test(an_anchor_is_read_like_the_rest),
	    cmocka_unit_test(what_is_measured_is_not_foreign),
	    cmocka_unit_test(a_process_of_unknown_use),
	    cmocka_unit_test(what_is_given_is_read_in_every_form),
	    cmocka_unit_test(declared_beside_measured),
	    cmocka_unit_test(what_loads_on_demand_may_use_more),
	    cmocka_unit_test(gpus_as_people_name_them),
	    cmocka_unit_test(the_problem_of_the_planner),
	    cmocka_unit_test(who_hides_its_gpus_wants_none),
	    cmocka_unit_test(a_pin_to_what_is_not_there),
	    cmocka_unit_test(replicas_spread_or_stay_together),
	    cmocka_unit_test(lists_of_gpus),
	};

	return cmocka_run_group_tests_name("stack", tests, NULL, NULL);
}
