/*
 * rollout/ beside an engine that is a folder of JSON files, and compose programs that are
 * shell scripts: how they are called, what is touched, and what is not.
 */
#include "rollout/command.h"
#include "rollout/rollout.h"

#include "util/file.h"
#include "util/unixsock.h"

#include "folder.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 30000

/* --- the engine --- */

struct world {
	void *dir;
	char *socket;
	int fd;
	pthread_t thread;
	_Atomic(int) ended;
	struct container_engine *engine;
	/* a and b; c depends on both */
	struct compose_service services[3];
	struct compose_dependency depends[2];
	struct compose_file files[4];
	const struct compose_file *main_files[2];
	struct compose_env_file env_files[2];
	struct compose_variable variables[2];
	struct compose_project project;
	struct text told;
};

/* "aa..." of 64. */
static void id_of(char c, char id[65])
{
	memset(id, c, 64);
	id[64] = '\0';
}

static void put(const struct world *world, const char *name, const char *text)
{
	auto_free char *path = mem_printf("%s/%s", (char *)world->dir, name);

	assert_int_equal(file_replace(path, text, strlen(text), 0755, NULL), 0);
}

static void get(const struct world *world, const char *name, struct text *text)
{
	auto_free char *path = mem_printf("%s/%s", (char *)world->dir, name);

	text_clear(text);
	if (file_read(path, 1 << 20, false, text, NULL) < 0)
		text_clear(text);
}

static void respond(int fd, int status, const char *body)
{
	auto_free char *text = mem_printf("HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status,
					  strlen(body), body);

	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Each container is a line of the file `containers`: id's letter, service, number, running. */
static void add_container(struct text *list, const char *line)
{
	char letter = 0, service[16] = "", id[65];
	int running = 0;

	if (sscanf(line, "%c %15s %d", &letter, service, &running) != 3)
		return;
	id_of(letter, id);
	text_printf(list,
		    "%s{\"Id\": \"%s\", \"Names\": [\"/p_%s_1\"], \"State\": \"%s\", \"Labels\": "
		    "{\"com.docker.compose.project\": \"p\", \"com.docker.compose.service\": "
		    "\"%s\"}}",
		    list->len > 1 ? ", " : "", id, service, running ? "running" : "exited",
		    service);
}

static void one_container(const char *lines, char letter, struct text *json)
{
	auto_free char *copy = mem_strdup(lines);
	char *rest = copy, id[65];

	id_of(letter, id);
	for (char *line; (line = strsep(&rest, "\n"));) {
		char service[16] = "";
		int running = 0;

		if (*line != letter || sscanf(line + 1, " %15s %d", service, &running) != 2)
			continue;
		text_printf(json,
			    "{\"Id\": \"%s\", \"Name\": \"/p_%s_1\", \"State\": {\"Running\": %s, "
			    "\"ExitCode\": 7}, \"Config\": {\"Labels\": "
			    "{\"com.docker.compose.project\": \"p\", "
			    "\"com.docker.compose.service\": \"%s\"}}}",
			    id, service, running ? "true" : "false", service);
	}
}

static void engine_answer(const struct world *world, int fd, const char *request)
{
	auto_text struct text lines = {}, json = {};
	const char *of = strstr(request, "/containers/");

	get(world, "containers", &lines);
	if (strncmp(request, "GET /version ", 13) == 0) {
		respond(fd, 200, "{\"Version\": \"20.10.24\", \"ApiVersion\": \"1.41\"}");
	} else if (strncmp(request, "GET /containers/json?", 21) == 0) {
		auto_free char *copy = mem_strdup(lines.data ? lines.data : "");
		char *rest = copy;

		text_add(&json, "[");
		for (char *line; (line = strsep(&rest, "\n"));)
			add_container(&json, line);
		text_add(&json, "]");
		respond(fd, 200, json.data);
	} else if (of && strncmp(request, "GET ", 4) == 0 && strstr(request, "/json")) {
		one_container(lines.data ? lines.data : "", of[12], &json);
		respond(fd, json.len > 0 ? 200 : 404, json.len > 0 ? json.data : "{}");
	} else if (of && strncmp(request, "POST ", 5) == 0) {
		auto_free char *call = mem_printf("stopped-%c", of[12]);

		put(world, call, "");
		respond(fd, 204, "");
	} else {
		respond(fd, strstr(request, "/logs?") ? 200 : 404, "");
	}
}

static void *serve(void *arg)
{
	struct world *world = arg;
	struct pollfd ready = {.fd = world->fd, .events = POLLIN};

	while (!world->ended) {
		int fd = poll(&ready, 1, 50) > 0 ? accept(world->fd, NULL, NULL) : -1;
		char request[4096];
		ssize_t n;

		while (fd >= 0 && (n = recv(fd, request, sizeof request - 1, 0)) > 0) {
			request[n] = '\0';
			engine_answer(world, fd, request);
		}
		(void)fd_close(fd);
	}
	return NULL;
}

/* --- the project --- */

static void hear(void *data, const char *line)
{
	text_printf(data, "%s\n", line);
}

static void project_make(struct world *world)
{
	static const char *const names[] = {"a", "b", "c"};
	static const char *const files[] = {"compose.yaml", "more.yaml", "one.env", "two.env"};

	world->depends[0].service = "a";
	world->depends[1].service = "b";
	for (size_t i = 0; i < 3; i++)
		world->services[i] =
		    (struct compose_service){.name = names[i], .active = true, .replicas = 1};
	world->services[2].depends = world->depends;
	world->services[2].n_depends = 2;
	for (size_t i = 0; i < 4; i++)
		world->files[i] = (struct compose_file){
		    .path = mem_printf("%s/%s", (char *)world->dir, files[i]),
		    .shown = mem_strdup(files[i]),
		};
	for (size_t i = 0; i < 2; i++) {
		world->main_files[i] = &world->files[i];
		world->env_files[i].file = &world->files[i + 2];
	}
	world->variables[0] =
	    (struct compose_variable){.name = "A", .value = "1", .source = COMPOSE_ENV_FILE};
	world->variables[1] =
	    (struct compose_variable){.name = "B", .value = "2", .source = COMPOSE_SHELL};
	world->project = (struct compose_project){
	    .main_files = world->main_files,
	    .n_main_files = 1,
	    .name = mem_strdup("p"),
	    .dir = mem_strdup(world->dir),
	    .services = world->services,
	    .n = 3,
	};
}

static int setup(void **state)
{
	struct world *world = mem_calloc(1, sizeof *world);
	auto_free char *bin = NULL;

	assert_int_equal(folder_create(&world->dir), 0);
	world->socket = mem_printf("%s/e.sock", (char *)world->dir);
	bin = mem_printf("%s/bin", (char *)world->dir);
	assert_int_equal(mkdir(bin, 0755), 0);
	assert_int_equal(unixsock_listen(world->socket, 8, &world->fd, NULL), 0);
	assert_int_equal(pthread_create(&world->thread, NULL, serve, world), 0);
	assert_int_equal(container_engine_open(world->socket, PATIENCE_MS, &world->engine, NULL),
			 0);
	project_make(world);
	/* No compose program of this machine is seen. */
	(void)setenv("PATH", bin, 1);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	world->ended = 1;
	container_engine_close(world->engine);
	(void)pthread_join(world->thread, NULL);
	(void)fd_close(world->fd);
	(void)folder_destroy(&world->dir);
	for (size_t i = 0; i < 4; i++) {
		free(world->files[i].path);
		free(world->files[i].shown);
	}
	free(world->project.name);
	free(world->project.dir);
	text_finish(&world->told);
	free(world->socket);
	free(world);
	return 0;
}

/* A program that says its version, notes how it is called, and then does this. */
static void program(const struct world *world, const char *name, const char *version,
		    const char *script)
{
	auto_free char *file = mem_printf("bin/%s", name);
	auto_free char *text = mem_printf("#!/bin/sh\ncd %s\nPATH=/usr/bin:/bin\n"
					  "case \"$*\" in *version*) echo 'warning: old'; "
					  "echo '%s'; exit 0 ;; esac\n"
					  "echo \"$0 $*\" | sed 's,^.*/bin/,,' >>calls\n%s\n",
					  (char *)world->dir, version, script);

	put(world, file, text);
}

/* --- how programs are called --- */

/* Its words, "@" for the world's folder. */
static int command_text(struct world *world, enum rollout_program which,
			const struct strings *profiles, struct text *ret_text, struct error *err)
{
	const struct rollout_options options = {.project = &world->project, .profiles = profiles};
	auto_rollout_command struct rollout_command command = {};
	auto_text struct text text = {};
	int r = rollout_command_create(which, world->engine, &options, &command, err);

	for (size_t i = 0; i < command.argv.n; i++)
		text_printf(&text, "%s ", command.argv.items[i]);
	for (size_t i = 0; i < command.set.n; i++)
		text_printf(&text, "%s ", command.set.items[i]);
	text_clear(ret_text);
	for (const char *at = text.data; at && *at;) {
		size_t len = strlen(world->dir);
		bool is_dir = strncmp(at, world->dir, len) == 0;

		text_add_bytes(ret_text, is_dir ? "@" : at, 1);
		at += is_dir ? len : 1;
	}
	return r;
}

static void check_command(struct world *world, enum rollout_program which, const char *expected)
{
	auto_text struct text text = {};
	struct error err = {};
	int r = command_text(world, which, NULL, &text, &err);

	if (r < 0 || strcmp(text.data, expected) != 0)
		fail_msg("%d %s: %s, not %s", r, err.text, text.data ? text.data : "", expected);
}

static void the_usual_command(void **state)
{
	struct world *world = *state;
	auto_strings struct strings profiles = {};
	auto_text struct text text = {};
	struct error err = {};

	check_command(world, ROLLOUT_DOCKER_PLUGIN,
		      "docker compose -p p -f @/compose.yaml --project-directory @ "
		      "DOCKER_HOST=unix://@/e.sock ");
	world->project.n_main_files = 2;
	check_command(world, ROLLOUT_DOCKER_COMPOSE,
		      "docker-compose -p p -f @/compose.yaml -f @/more.yaml --project-directory @ "
		      "DOCKER_HOST=unix://@/e.sock ");
	check_command(world, ROLLOUT_PODMAN_COMPOSE,
		      "podman-compose -p p -f @/compose.yaml -f @/more.yaml "
		      "DOCKER_HOST=unix://@/e.sock ");
	strings_add(&profiles, "gpu");
	strings_add(&profiles, "web");
	world->project.n_main_files = 1;
	assert_int_equal(command_text(world, ROLLOUT_DOCKER_COMPOSE, &profiles, &text, &err), 0);
	assert_non_null(strstr(text.data, " COMPOSE_PROFILES=gpu,web "));
}

static void a_folder_of_its_own(void **state)
{
	struct world *world = *state;
	auto_text struct text text = {};
	struct error err = {};

	free(world->project.dir);
	world->project.dir = mem_strdup("/srv/shop");
	check_command(world, ROLLOUT_DOCKER_COMPOSE,
		      "docker-compose -p p -f @/compose.yaml --project-directory /srv/shop "
		      "DOCKER_HOST=unix://@/e.sock ");
	assert_int_equal(command_text(world, ROLLOUT_PODMAN_COMPOSE, NULL, &text, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "no --project-directory"));
}

static void standard_input_is_no_file(void **state)
{
	struct world *world = *state;
	auto_text struct text text = {};
	struct error err = {};

	free(world->files[0].shown);
	world->files[0].shown = mem_strdup("-");
	assert_int_equal(command_text(world, ROLLOUT_DOCKER_PLUGIN, NULL, &text, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "write it to a file"));
}

/* What counts is the program that will be called, and not whether there is another one. */
static void env_files_and_versions(void **state)
{
	static const struct {
		enum rollout_program which;
		const char *version;
		bool takes;
	} cases[] = {
	    {ROLLOUT_DOCKER_COMPOSE, "1.29.2", false}, {ROLLOUT_DOCKER_COMPOSE, "v2.24.5", true},
	    {ROLLOUT_DOCKER_COMPOSE, "2.16.0", false}, {ROLLOUT_DOCKER_COMPOSE, "3.0", true},
	    {ROLLOUT_DOCKER_COMPOSE, "dev", false},    {ROLLOUT_DOCKER_PLUGIN, "2.17.0", true},
	    {ROLLOUT_DOCKER_PLUGIN, "v2.3.3", false},
	};
	struct world *world = *state;

	world->project.env = (struct compose_env){
	    .files = world->env_files, .n_files = 1, .variables = world->variables, .n = 2};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool plugin = cases[i].which == ROLLOUT_DOCKER_PLUGIN;
		auto_text struct text text = {};
		struct error err = {};
		int r;

		/* The other one would say the opposite. */
		program(world, "docker",
			plugin           ? cases[i].version
			: cases[i].takes ? "1.0"
					 : "9.0",
			"");
		program(world, "docker-compose",
			!plugin          ? cases[i].version
			: cases[i].takes ? "1.0"
					 : "9.0",
			"");
		world->project.env.n_files = 1;
		assert_int_equal(command_text(world, cases[i].which, NULL, &text, &err), 0);
		assert_non_null(strstr(text.data, " --env-file @/one.env DOCKER_HOST"));
		world->project.env.n_files = 2;
		r = command_text(world, cases[i].which, NULL, &text, &err);
		if (r != (cases[i].takes ? 0 : -ENOTSUP))
			fail_msg("%s: %d %s", cases[i].version, r, err.text);
		if (cases[i].takes)
			assert_non_null(
			    strstr(text.data, " --env-file @/one.env --env-file @/two.env "));
		else
			assert_non_null(strstr(err.text, "takes one --env-file"));
	}
	check_command(world, ROLLOUT_PODMAN_COMPOSE,
		      "podman-compose -p p -f @/compose.yaml DOCKER_HOST=unix://@/e.sock A=1 ");
}

static void who_reads_override(void **state)
{
	struct world *world = *state;
	struct container one = {.service = (char[]){"a"}};
	const struct containers containers = {.items = &one, .n = 1};
	static const struct {
		const char *name, *version;
		bool reads;
	} cases[] = {
	    {"docker-compose", "1.29.2", false}, {"docker-compose", "2.24.3", false},
	    {"docker-compose", "v2.24.4", true}, {"docker-compose", "2.40.0-desktop.1", true},
	    {"podman-compose", "1.0.3", false},  {"podman-compose", "1.6.0", true},
	};

	assert_null(rollout_without_override(world->engine, &containers)); /* none is there */
	assert_null(rollout_without_override(NULL, &containers));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *expected = mem_printf("%s %s", cases[i].name, cases[i].version);
		auto_free char *told = NULL;

		program(world, cases[i].name, cases[i].version, "");
		one.by_podman_compose = *cases[i].name == 'p';
		told = rollout_without_override(world->engine, &containers);
		if (cases[i].reads ? told != NULL : !told || strcmp(told, expected) != 0)
			fail_msg("%s: %s", expected, told ? told : "it reads it");
	}
}

/* --- what is touched --- */

static int roll(struct world *world, const char *const *changed, const struct containers *ran,
		bool *ret_touched, struct error *err)
{
	const struct rollout_options options = {
	    .project = &world->project,
	    .changed = changed,
	    .ran = ran,
	    .health_timeout_ms = PATIENCE_MS,
	    .interrupt_fd = -1,
	    .ret_touched = ret_touched,
	    .progress = hear,
	    .data = &world->told,
	};

	*ret_touched = false;
	return rollout_up(world->engine, &options, err);
}

static bool was_stopped(const struct world *world, char letter)
{
	auto_free char *path = mem_printf("%s/stopped-%c", (char *)world->dir, letter);

	return access(path, F_OK) == 0;
}

static void calls_are(const struct world *world, const char *expected)
{
	auto_text struct text calls = {};

	get(world, "calls", &calls);
	assert_string_equal(calls.data ? calls.data : "", expected);
}

/* What the calls begin with. */
static char *call(const struct world *world, const char *words)
{
	return mem_printf("docker-compose -p p -f %s/compose.yaml --project-directory %s %s\n",
			  (char *)world->dir, (char *)world->dir, words);
}

static const char *const a_and_b[] = {"a", "b", NULL};

static void nothing_is_touched_without_a_program(void **state)
{
	struct world *world = *state;
	const struct rollout_options options = {
	    .project = &world->project, .changed = a_and_b, .interrupt_fd = -1};
	struct error err = {};
	bool touched = true;

	put(world, "containers", "1 a 1\n2 b 1\n");
	assert_int_equal(roll(world, a_and_b, NULL, &touched, &err), -ENOENT);
	assert_false(touched);
	assert_int_equal(rollout_check(world->engine, &options, &err), -ENOENT);
	program(world, "docker-compose", "1.29.2", "exit 1");
	assert_int_equal(rollout_check(world->engine, &options, &err), 0);
	calls_are(world, "");
	/* It fails before it does anything; or in the middle of it. */
	assert_int_equal(roll(world, a_and_b, NULL, &touched, &err), -EIO);
	assert_false(touched);
	program(world, "docker-compose", "1.29.2", "echo '1 a 1' >containers; exit 1");
	assert_int_equal(roll(world, a_and_b, NULL, &touched, &err), -EIO);
	assert_true(touched);
}

static void images_are_fetched_first(void **state)
{
	struct world *world = *state;
	auto_free char *pull = call(world, "pull a");
	struct error err = {};
	bool touched;

	world->services[0].image = "x:9";
	put(world, "containers", "1 a 1\n2 b 1\n");
	program(world, "docker-compose", "1.29.2", "echo 'no such host'; exit 1");
	assert_int_equal(roll(world, a_and_b, NULL, &touched, &err), -EIO);
	assert_false(touched);
	calls_are(world, pull);
	assert_non_null(strstr(err.text, "a: its image x:9 is not here"));
	assert_non_null(strstr(err.text, "no such host"));
	/* It says that it did, and did not. */
	program(world, "docker-compose", "1.29.2", "exit 0");
	assert_int_equal(roll(world, a_and_b, NULL, &touched, &err), -EIO);
	assert_false(touched);
	assert_non_null(strstr(err.text, "`docker-compose pull a` did not get it"));
}

/* What cannot be had back of one is no reason to leave the other. */
static void put_back_tries_every_service(void **state)
{
	struct world *world = *state;
	auto_containers struct containers before = {};
	auto_free char *a = call(world, "up -d --no-deps --force-recreate a");
	auto_free char *b = call(world, "up -d --no-deps --force-recreate b");
	auto_free char *c = call(world, "up -d --no-deps --force-recreate c");
	auto_free char *stop = call(world, "stop a b");
	auto_free char *expected = mem_printf("%s%s%s%s", stop, a, b, c);
	struct error err = {};
	bool touched;

	put(world, "containers", "1 a 1\n2 b 1\n3 c 1\n");
	assert_int_equal(container_engine_list(world->engine, "p", &before, &err), 0);
	program(world, "docker-compose", "1.29.2",
		"case \"$*\" in *recreate\\ a) echo 'a cannot'; exit 1 ;; esac");
	assert_int_equal(roll(world, a_and_b, &before, &touched, &err), -EIO);
	calls_are(world, expected);
	assert_non_null(strstr(err.text, "a cannot"));
}

static void it_is_foreseen(void **state)
{
	struct world *world = *state;
	static const char *const changed[] = {"a", NULL}, *const none[] = {NULL};
	struct rollout_options options = {.project = &world->project, .changed = changed};
	auto_containers struct containers now = {};
	auto_rollout_order struct rollout_order order = {}, all = {};
	struct error err = {};

	put(world, "containers", "1 a 1\n2 b 1\n3 c 1\n");
	assert_int_equal(container_engine_list(world->engine, "p", &now, &err), 0);
	assert_int_equal(rollout_foresee(&options, &now, &order, &err), 0);
	assert_int_equal(order.n, 2);
	assert_string_equal(order.services[0]->name, "a");
	assert_string_equal(order.services[1]->name, "c");
	/* Nothing runs: all of it, but what is to have no container. */
	for (size_t i = 0; i < now.n; i++)
		now.items[i].running = false;
	options.changed = none;
	world->services[1].replicas = 0;
	assert_int_equal(rollout_foresee(&options, &now, &all, &err), 0);
	assert_int_equal(all.n, 2);
}

static void what_did_not_run_is_left(void **state)
{
	struct world *world = *state;
	static const char *const changed[] = {"a", NULL};
	auto_free char *expected = call(world, "up -d --no-deps --force-recreate a");
	struct error err = {};
	bool touched;

	/* c depends on a, and does not run. */
	put(world, "containers", "1 a 1\n2 b 1\n3 c 0\n");
	program(world, "docker-compose", "1.29.2", "printf '4 a 1\\n2 b 1\\n3 c 0\\n' >containers");
	assert_int_equal(roll(world, changed, NULL, &touched, &err), 0);
	calls_are(world, expected);
}

static void put_back_stops_what_did_not_run(void **state)
{
	struct world *world = *state;
	auto_containers struct containers before = {};
	auto_free char *expected = call(world, "up -d --no-deps --force-recreate a");
	struct error err = {};
	bool touched;

	put(world, "containers", "1 a 1\n2 b 0\n");
	assert_int_equal(container_engine_list(world->engine, "p", &before, &err), 0);
	/* both were brought up, and c was with them */
	put(world, "containers", "4 a 1\n5 b 1\n6 c 1\n");
	program(world, "docker-compose", "1.29.2", "printf '7 a 1\\n5 b 0\\n6 c 0\\n' >containers");
	assert_int_equal(roll(world, a_and_b, &before, &touched, &err), 0);
	assert_true(touched);
	assert_true(was_stopped(world, '5') && was_stopped(world, '6'));
	assert_false(was_stopped(world, '4'));
	calls_are(world, expected);
	assert_non_null(strstr(world->told.data, "stopping p_b_1, which did not run before"));
}

static void put_back_when_nothing_ran(void **state)
{
	struct world *world = *state;
	const struct containers before = {};
	struct error err = {};
	bool touched;

	put(world, "containers", "4 a 1\n5 b 0\n6 c 1\n");
	program(world, "docker-compose", "1.29.2", "exit 1");
	assert_int_equal(roll(world, a_and_b, &before, &touched, &err), 0);
	assert_true(was_stopped(world, '4') && was_stopped(world, '6'));
	assert_false(was_stopped(world, '5'));
	calls_are(world, "");
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    world_test(the_usual_command),
	    world_test(a_folder_of_its_own),
	    world_test(standard_input_is_no_file),
	    world_test(env_files_and_versions),
	    world_test(who_reads_override),
	    world_test(nothing_is_touched_without_a_program),
	    world_test(images_are_fetched_first),
	    world_test(put_back_tries_every_service),
	    world_test(it_is_foreseen),
	    world_test(what_did_not_run_is_left),
	    world_test(put_back_stops_what_did_not_run),
	    world_test(put_back_when_nothing_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
