/* rollout/: who is made anew in which order, and what the GPUs have to show afterwards. */
#include "rollout/rollout.h"
#include "util/program.h"

#include "util/size.h"
#include "util/timestamp.h"

#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- order --- */

#define DEPENDS_MAX 4

struct world {
	struct compose_project project;
	struct compose_service services[8];
	struct compose_dependency depends[8][DEPENDS_MAX];
};

/* "name: dependency dependency" for each. */
static void world_init(struct world *world, const char *const *lines)
{
	static char name_of_project[] = "p";

	*world = (struct world){.project = {.name = name_of_project, .services = world->services}};
	for (; *lines; lines++) {
		struct compose_service *service = &world->services[world->project.n];
		auto_free char *copy = mem_strdup(*lines);
		char *rest = copy, *name = strsep(&rest, ": ");

		service->name = mem_strdup(name);
		service->active = *name != '-';
		service->depends = world->depends[world->project.n++];
		for (char *word; (word = strsep(&rest, ": "));)
			if (*word)
				service->depends[service->n_depends++].service = mem_strdup(word);
	}
}

static void world_finish(struct world *world)
{
	for (size_t i = 0; i < world->project.n; i++) {
		for (size_t k = 0; k < world->services[i].n_depends; k++)
			free((char *)(uintptr_t)world->depends[i][k].service);
		free((char *)(uintptr_t)world->services[i].name);
	}
}

/* "a b | c": services of a stage, and the next. */
static char *order_text(const struct rollout_order *order)
{
	struct text text = {};

	for (size_t i = 0; i < order->n; i++) {
		if (i > 0)
			text_add(&text, order->stages[i] == order->stages[i - 1] ? " " : " | ");
		text_add(&text, order->services[i]->name);
	}
	return text_take(&text);
}

static void gpu_services_come_first_then_their_dependents(void **state)
{
	static const struct {
		const char *services[8];
		const char *changed[4];
		const char *order;
	} cases[] = {
	    /* the story's own: the AI services, then the backend, then what uses it */
	    {{"postgres", "backend: ai-llm ai-clip postgres", "frontend: backend", "ai-llm",
	      "ai-clip", NULL},
	     {"ai-llm", "ai-clip", NULL},
	     "ai-llm ai-clip | backend | frontend"},
	    {{"a", "b: a", "c: b", NULL}, {"c", "a", NULL}, "a | b | c"},
	    {{"a", "b: a", NULL}, {"b", NULL}, "b"},
	    /* a dependent that is ready sooner still waits for the changed ones */
	    {{"web: a", "a", "b: a", NULL}, {"a", "b", NULL}, "a | b | web"},
	    {{"a", "-off: a", NULL}, {"a", NULL}, "a"},
	    {{"a: gone", NULL}, {"a", NULL}, "a"},
	    {{"a: a", NULL}, {"a", NULL}, NULL},
	    {{"a: b", "b: a", NULL}, {"a", NULL}, NULL},
	    {{"a", NULL}, {NULL}, ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_rollout_order struct rollout_order order = {};
		auto_free char *text = NULL;
		struct world world;
		struct error err = {};
		int r;

		world_init(&world, cases[i].services);
		r = rollout_order(&world.project, cases[i].changed, &order, &err);
		assert_int_equal(r, cases[i].order ? 0 : -ELOOP);
		if (r == 0) {
			text = order_text(&order);
			assert_string_equal(text, cases[i].order);
		}
		world_finish(&world);
	}
}

static void a_service_that_is_not_there(void **state)
{
	static const char *const services[] = {"a", NULL}, *const changed[] = {"b", NULL};
	struct rollout_order order;
	struct world world;
	struct error err = {};

	world_init(&world, services);
	assert_int_equal(rollout_order(&world.project, changed, &order, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no service b"));
	world_finish(&world);
}

static void a_circle_is_named_with_its_place(void **state)
{
	static const char *const services[] = {"z: a", "a: b", "b: c x", "c: b", "x", NULL};
	static const char *const changed[] = {"a", "b", "x", NULL};
	static char shown[] = "c.yaml", text[] = "a\nb: c\n";
	size_t lines[] = {0, 2};
	struct compose_file file = {
	    .shown = shown, .text = text, .len = strlen(text), .lines = lines, .n_lines = 2};
	struct rollout_order order;
	struct world world;
	struct error err = {};

	world_init(&world, services);
	for (size_t i = 0; i < world.project.n; i++)
		world.services[i].span = (struct compose_span){&file, 2, 3};
	assert_int_equal(rollout_order(&world.project, changed, &order, &err), -ELOOP);
	if (!strstr(err.text, "c.yaml:2:1: services depend on each other in a circle: ") ||
	    (!strstr(err.text, ": b on c on b") && !strstr(err.text, ": c on b on c")))
		fail_msg("%s", err.text);
	world_finish(&world);
}

/* --- what the GPUs show --- */

struct scene {
	struct gpu gpus[2];
	struct gpu_list list;
	struct ledger_gpu lines[2];
	struct ledger ledger;
	struct compose_service names[2];
	struct stack_service services[2];
	struct stack stack;
};

static void scene_init(struct scene *scene)
{
	*scene = (struct scene){
	    .list = {.gpus = scene->gpus, .n = 2},
	    .ledger = {.gpus = scene->lines, .n_gpus = 2},
	    .names = {{.name = "a"}, {.name = "b"}},
	    .stack = {.list = &scene->list,
		      .ledger = &scene->ledger,
		      .services = scene->services,
		      .n = 2},
	};
	for (unsigned i = 0; i < 2; i++) {
		scene->gpus[i].index = i;
		scene->gpus[i].valid = GPU_USED | GPU_TOTAL;
		scene->gpus[i].vram.used_bytes = 2 * GIB;
		scene->lines[i].vram_known = true;
		scene->lines[i].load_line_bytes = 4 * GIB;
		scene->services[i].service = &scene->names[i];
		scene->services[i].running = scene->services[i].measured = true;
		scene->services[i].today[0] = i;
		scene->services[i].n_today = 1;
	}
}

static void the_gpus_are_looked_at(void **state)
{
	static const size_t zero[] = {0}, one[] = {1}, both[] = {0, 1};
	const struct rollout_place planned[] = {{"a", zero, 1}, {"b", one, 1}};
	const struct rollout_place swapped[] = {{"a", one, 1}, {"b", zero, 1}};
	const struct rollout_place wide[] = {{"a", both, 2}}, none[] = {{"a", NULL, 0}};
	struct error err = {};
	struct scene scene;

	scene_init(&scene);
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 2, &err), 0);
	assert_int_equal(rollout_verify(&scene.stack, NULL, NULL, 0, &err), 0);
	assert_int_equal(rollout_verify(&scene.stack, NULL, swapped, 2, &err), -ENXIO);
	assert_string_equal(err.text, "a is on GPU 0, planned is GPU 1");
	assert_int_equal(rollout_verify(&scene.stack, NULL, none, 1, &err), -ENXIO);
	assert_string_equal(err.text, "a is on GPU 0, planned is no GPU");
	assert_int_equal(rollout_verify(&scene.stack, NULL, wide, 1, &err), -EAGAIN);
	assert_string_equal(err.text, "a has nothing on GPUs 0, 1 yet");
	/* by what it was given only */
	scene.services[0].measured = false;
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 2, &err), -EAGAIN);
	/* somebody else's wrong place tells more than waiting does */
	scene.services[1].today[0] = 0;
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 2, &err), -ENXIO);
	scene.services[1].running = false;
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 2, &err), -ESRCH);
	assert_string_equal(err.text, "b does not run");
}

static void no_gpu_is_above_its_load_line(void **state)
{
	static const size_t zero[] = {0}, one[] = {1};
	const struct rollout_place planned[] = {{"a", zero, 1}};
	const struct rollout_place both[] = {{"a", zero, 1}, {"b", one, 1}};
	struct error err = {};
	struct scene scene, before;

	scene_init(&scene);
	scene.gpus[1].vram.used_bytes = 5 * GIB;
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 1, &err), -ENOSPC);
	assert_string_equal(err.text, "GPU 1 holds 5 GiB, its load line is 4 GiB");
	/* others had it above before we came: nothing that is planned here is to blame */
	scene_init(&before);
	assert_int_equal(rollout_verify(&scene.stack, &before.stack, planned, 1, &err), -ENOSPC);
	before.gpus[1].vram.used_bytes = 6 * GIB;
	assert_int_equal(rollout_verify(&scene.stack, &before.stack, planned, 1, &err), 0);
	assert_int_equal(rollout_verify(&scene.stack, &before.stack, both, 2, &err), -ENOSPC);
	scene.gpus[1].valid = GPU_TOTAL; /* unknown is not above */
	assert_int_equal(rollout_verify(&scene.stack, NULL, planned, 1, &err), 0);
}

/* --- programs --- */

struct heard {
	char lines[8][64];
	size_t n;
};

static void hear(void *data, const char *line)
{
	struct heard *heard = data;

	if (heard->n < 8)
		(void)snprintf(heard->lines[heard->n++], 64, "%s", line);
}

static int shell(const char *script, int64_t ms, int interrupt_fd, struct heard *heard,
		 struct text *output, int *ret_status, struct error *err)
{
	auto_free char *copy = mem_strdup(script);
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, copy, NULL};
	char *set[] = {(char[]){"ADDED=yes"}, (char[]){"HOME=elsewhere"}, NULL};
	static const char *const unset[] = {"REMOVED", NULL};

	(void)setenv("REMOVED", "no", 1);
	return program_run(&(struct program_options){.argv = argv,
						     .set = set,
						     .unset = unset,
						     .dir = "/",
						     .deadline_ms = monotonic_now_ms() + ms,
						     .interrupt_fd = interrupt_fd,
						     .on_line = hear,
						     .data = heard},
			   output, ret_status, err);
}

static void a_program_runs(void **state)
{
	auto_text struct text output = {};
	struct heard heard = {};
	struct error err = {};
	int status = -1;

	assert_int_equal(
	    shell("echo $ADDED $HOME ${REMOVED-gone}; pwd; printf 'e\\033[1mx\\r\\nlast' "
		  ">&2; cat; exit 3",
		  20000, -1, &heard, &output, &status, &err),
	    0);
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_string_equal(output.data, "yes elsewhere gone\n/\ne?[1mx\nlast\n");
	assert_int_equal(heard.n, 4);
	assert_string_equal(heard.lines[3], "last");
	assert_true(program_exists("sh"));
	assert_false(program_exists("no-such-program-here"));
}

static void what_a_program_leaves_behind_is_not_waited_for(void **state)
{
	auto_text struct text output = {};
	struct heard heard = {};
	int64_t began_ms = monotonic_now_ms();
	struct error err = {};
	int status = -1;

	assert_int_equal(
	    shell("setsid sleep 30 & echo $!", 25000, -1, &heard, &output, &status, &err), 0);
	assert_int_equal(status, 0);
	assert_true(monotonic_now_ms() - began_ms < 20000);
	(void)kill((pid_t)atoi(heard.lines[0]), SIGKILL);
}

static void a_program_is_ended(void **state)
{
	auto_text struct text output = {}, other = {};
	struct heard heard = {};
	struct error err = {};
	int status = -1, fds[2];

	/* its children, too: the group is ended */
	assert_int_equal(
	    shell("echo begun; sleep 60 & wait", 300, -1, &heard, &output, &status, &err),
	    -ETIMEDOUT);
	assert_string_equal(output.data, "begun\n");
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(shell("sleep 60", 60000, fds[0], &heard, &other, &status, &err),
			 -ECANCELED);
	(void)fd_close(fds[0]);
	(void)fd_close(fds[1]);
}

static void long_output_keeps_its_end(void **state)
{
	auto_text struct text output = {};
	struct heard heard = {};
	struct error err = {};
	int status = -1;

	assert_int_equal(shell("i=0; while [ $i -lt 9000 ]; do echo line-$i; i=$((i+1)); done",
			       60000, -1, &heard, &output, &status, &err),
			 0);
	assert_true(output.len <= PROGRAM_OUTPUT_MAX);
	assert_true(text_ends_with(output.data, "line-8999\n"));
}

static void no_such_program(void **state)
{
	char *argv[] = {(char[]){"no-such-program-here"}, NULL};
	const struct program_options options = {
	    .argv = argv, .deadline_ms = monotonic_now_ms() + 1000, .interrupt_fd = -1};
	struct error err = {};
	int status;

	assert_int_equal(program_run(&options, NULL, &status, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no-such-program-here"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gpu_services_come_first_then_their_dependents),
	    cmocka_unit_test(a_service_that_is_not_there),
	    cmocka_unit_test(a_circle_is_named_with_its_place),
	    cmocka_unit_test(the_gpus_are_looked_at),
	    cmocka_unit_test(no_gpu_is_above_its_load_line),
	    cmocka_unit_test(a_program_runs),
	    cmocka_unit_test(what_a_program_leaves_behind_is_not_waited_for),
	    cmocka_unit_test(a_program_is_ended),
	    cmocka_unit_test(long_output_keeps_its_end),
	    cmocka_unit_test(no_such_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
