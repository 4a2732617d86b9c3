/*
 * Three programs. What they have in common: -f, -p, `up -d --no-deps SERVICE...`. What differs,
 * from their sources and from trying docker-compose 1.29.2 and podman-compose 1.0.3:
 *
 * docker compose, docker-compose: --project-directory and --env-file, which counts several times
 * from 2.17 on, whatever name the program goes by (before, 1.29 too, the last one alone counts).
 * --force-recreate makes anew what is named and nothing else.
 *
 * podman-compose: neither option before 1.1. The folder is the first file's, and values of env
 * files are given in its environment, which wins over .env. --force-recreate takes down what a
 * service depends on, too, so containers are removed here, and `up` makes them. Its exit status is
 * 0 whatever podman said: only the containers tell.
 */
#include "rollout/command.h"

#include "util/paths.h"
#include "util/timestamp.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#define LOOK_MS 10000

const char *const rollout_unset[] = {"DOCKER_CONTEXT", "DOCKER_HOST", NULL};

const char *rollout_program_name(enum rollout_program program)
{
	static const char *const names[] = {"docker compose", "docker-compose", "podman-compose"};

	return names[program];
}

/* `version --short` of the program: "2.24.5", "v2.3.3", "1.29.2". False: it is not there, or cannot
 * say. */
static bool ask_version(enum rollout_program program, struct text *ret_output)
{
	char *plugin[] = {(char[]){"docker"}, (char[]){"compose"}, (char[]){"version"},
			  (char[]){"--short"}, NULL};
	char *alone[] = {(char[]){"docker-compose"}, (char[]){"version"}, (char[]){"--short"},
			 NULL};
	char *podman[] = {(char[]){"podman-compose"}, (char[]){"version"}, (char[]){"--short"},
			  NULL};
	const struct program_options options = {
	    .argv = program == ROLLOUT_DOCKER_PLUGIN    ? plugin
		    : program == ROLLOUT_DOCKER_COMPOSE ? alone
							: podman,
	    .deadline_ms = monotonic_now_ms() + LOOK_MS,
	    .interrupt_fd = -1,
	};
	int status = -1;

	return program_exists(options.argv[0]) &&
	       program_run(&options, ret_output, &status, NULL) == 0 && status == 0;
}

static bool plugin_is_there(void)
{
	auto_text struct text output = {};

	return ask_version(ROLLOUT_DOCKER_PLUGIN, &output);
}

/* Is it this version or a newer one? Into `version` what is to be said of it: "1.29.2". */
static bool is_since(enum rollout_program program, const unsigned long since[3],
		     struct text *version)
{
	auto_text struct text output = {};
	char *rest, *line, *end;

	text_add(version, "of unknown version");
	if (!ask_version(program, &output))
		return false;
	/* Warnings may stand before it. */
	rest = output.data;
	while ((line = strsep(&rest, "\n"))) {
		line += *line == 'v';
		if (*line < '0' || *line > '9')
			continue;
		text_clear(version);
		text_add(version, line);
		for (size_t i = 0; i < 3; i++) {
			unsigned long number = strtoul(line, &end, 10);

			if (number != since[i])
				return number > since[i];
			line = *end == '.' ? end + 1 : end;
		}
		return true;
	}
	return false;
}

static bool takes_env_files(enum rollout_program program, struct text *version)
{
	static const unsigned long since[] = {2, 17, 0};

	return is_since(program, since, version);
}

char *rollout_without_override(struct container_engine *engine, const struct containers *containers)
{
	static const unsigned long docker[] = {2, 24, 4}, podman[] = {1, 6, 0};
	auto_text struct text version = {};
	enum rollout_program program;

	if (!engine || rollout_find_program(engine, containers, &program, NULL) < 0 ||
	    is_since(program, program == ROLLOUT_PODMAN_COMPOSE ? podman : docker, &version))
		return NULL;
	return mem_printf("%s %s", rollout_program_name(program), version.data);
}

static bool is_there(enum rollout_program program)
{
	return program == ROLLOUT_DOCKER_PLUGIN ? plugin_is_there()
						: program_exists(rollout_program_name(program));
}

static const struct container *any_of_compose(const struct containers *containers)
{
	for (size_t i = 0; i < containers->n; i++)
		if (containers->items[i].service && !containers->items[i].oneoff)
			return &containers->items[i];
	return NULL;
}

int rollout_find_program(struct container_engine *engine, const struct containers *containers,
			 enum rollout_program *ret_program, struct error *err)
{
	static const enum rollout_program orders[][3] = {
	    {ROLLOUT_DOCKER_PLUGIN, ROLLOUT_DOCKER_COMPOSE, ROLLOUT_DOCKER_COMPOSE},
	    {ROLLOUT_DOCKER_COMPOSE, ROLLOUT_DOCKER_PLUGIN, ROLLOUT_DOCKER_PLUGIN},
	    {ROLLOUT_PODMAN_COMPOSE, ROLLOUT_PODMAN_COMPOSE, ROLLOUT_PODMAN_COMPOSE},
	    {ROLLOUT_PODMAN_COMPOSE, ROLLOUT_DOCKER_PLUGIN, ROLLOUT_DOCKER_COMPOSE},
	};
	const struct container *c = any_of_compose(containers);
	size_t order;

	/* What made the containers goes on; the two for docker know each other's. */
	if (c && c->by_podman_compose)
		order = 2;
	else if (c)
		order = c->compose_version && text_starts_with(c->compose_version, "1.");
	else
		order = container_engine_kind(engine) == CONTAINER_PODMAN ? 3 : 0;
	for (size_t i = 0; i < 3; i++) {
		if (!is_there(orders[order][i]))
			continue;
		*ret_program = orders[order][i];
		return 0;
	}
	if (order == 2)
		return error_set(err, -ENOENT, "%s is not installed, and it runs the project",
				 rollout_program_name(orders[order][0]));
	return error_set(
	    err, -ENOENT, "%s is not installed, and it runs the project (%s would do, too)",
	    rollout_program_name(orders[order][0]), rollout_program_name(orders[order][1]));
}

/* --- how it is called --- */

/* Only the default: `.env` of the project's folder, which every program reads by itself. */
static bool has_own_env_files(const struct compose_project *project)
{
	auto_free char *usual = mem_printf("%s/.env", project->dir);

	for (size_t i = 0; i < project->env.n_files; i++)
		if (strcmp(project->env.files[i].file->path, usual) != 0)
			return true;
	return false;
}

static int add_docker(const struct rollout_options *options, struct rollout_command *command,
		      struct error *err)
{
	const struct compose_project *project = options->project;
	struct strings *argv = &command->argv;
	auto_text struct text version = {};

	strings_add(argv, "--project-directory");
	strings_add(argv, project->dir);
	if (!has_own_env_files(project))
		return 0;
	if (project->env.n_files > 1 && !takes_env_files(command->program, &version))
		return error_set(err, -ENOTSUP,
				 "%s %s takes one --env-file, 2.17 and later several, and the "
				 "project has %zu; put them into one, or roll it out yourself",
				 rollout_program_name(command->program), version.data,
				 project->env.n_files);
	for (size_t i = 0; i < project->env.n_files; i++) {
		strings_add(argv, "--env-file");
		strings_add(argv, project->env.files[i].file->path);
	}
	return 0;
}

static int add_podman(const struct rollout_options *options, struct rollout_command *command,
		      struct error *err)
{
	const struct compose_project *project = options->project;
	auto_free char *folder = paths_folder_of(project->main_files[0]->path);

	if (strcmp(folder, project->dir) != 0)
		return error_set(err, -ENOTSUP,
				 "podman-compose has no --project-directory: it would take %s and "
				 "not %s",
				 folder, project->dir);
	if (!has_own_env_files(project))
		return 0;
	for (size_t i = 0; i < project->env.n; i++) {
		const struct compose_variable *variable = &project->env.variables[i];

		if (variable->source == COMPOSE_ENV_FILE)
			strings_take(&command->set,
				     mem_printf("%s=%s", variable->name, variable->value));
	}
	return 0;
}

static void add_profiles(const struct strings *profiles, struct rollout_command *command)
{
	auto_text struct text text = {};

	for (size_t i = 0; profiles && i < profiles->n; i++)
		text_printf(&text, "%s%s", i > 0 ? "," : "COMPOSE_PROFILES=", profiles->items[i]);
	if (text.len > 0)
		strings_take(&command->set, text_take(&text));
}

int rollout_command_create(enum rollout_program program, const struct container_engine *engine,
			   const struct rollout_options *options,
			   struct rollout_command *ret_command, struct error *err)
{
	auto_rollout_command struct rollout_command command = {.program = program};
	const struct compose_project *project = options->project;
	int r;

	if (project->n_main_files == 0)
		return error_set(err, -ENOTSUP, "project %s has no compose file", project->name);
	strings_add(&command.argv,
		    program == ROLLOUT_DOCKER_PLUGIN ? "docker" : rollout_program_name(program));
	if (program == ROLLOUT_DOCKER_PLUGIN)
		strings_add(&command.argv, "compose");
	strings_add(&command.argv, "-p");
	strings_add(&command.argv, project->name);
	for (size_t i = 0; i < project->n_main_files; i++) {
		if (strcmp(project->main_files[i]->shown, "-") == 0)
			return error_set(err, -ENOTSUP,
					 "a project of standard input cannot be "
					 "rolled out; write it to a file");
		strings_add(&command.argv, "-f");
		strings_add(&command.argv, project->main_files[i]->path);
	}
	strings_take(&command.set,
		     mem_printf("DOCKER_HOST=unix://%s", container_engine_socket(engine)));
	add_profiles(options->profiles, &command);
	r = program == ROLLOUT_PODMAN_COMPOSE ? add_podman(options, &command, err)
					      : add_docker(options, &command, err);
	if (r < 0)
		return r;
	*ret_command = command;
	command = (struct rollout_command){};
	return 0;
}

void rollout_command_finish(struct rollout_command *command)
{
	strings_finish(&command->argv);
	strings_finish(&command->set);
	*command = (struct rollout_command){};
}
