/*
 * The steps. What compose programs say about their success is taken with salt (podman-compose's
 * exit status is always 0): a service is up when the engine shows containers of it that were not
 * there before, and they run, and go on running for SETTLE_MS, or are healthy where they can tell.
 * The engine is asked every POLL_MS; nothing else is watched, since events of podman and docker
 * differ and a restart within two looks shows in the container's count of restarts.
 */
#include "rollout/rollout.h"

#include "rollout/command.h"
#include "util/duration.h"
#include "util/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#define PROGRAM_MS   (15 * 60 * 1000) /* an image may have to be fetched */
#define POLL_MS      300
#define SETTLE_MS    1500
#define STOP_SECONDS 10
#define LOG_LINES    10

struct rollout {
	struct container_engine *engine;
	const struct rollout_options *options;
	struct rollout_command command;
	struct rollout_order order;
	/* Of the order, what is not touched as it did not run; when it is put back, halted. */
	const struct compose_service **idle;
	size_t n_idle;
	struct containers before;
	bool nothing_ran;
	unsigned n_stages;
	/* Whose health was asked for, and when, monotonic: check_health(). */
	struct checked {
		char id[65];
		int64_t at_ms;
	} * checked;
	size_t n_checked, room_checked;
};

static void tell(const struct rollout *rollout, const char *fmt, ...) PRINTF(2, 3);
static void tell(const struct rollout *rollout, const char *fmt, ...)
{
	auto_free char *line = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&line, fmt, args) < 0)
		line = NULL;
	va_end(args);
	if (line && rollout->options->progress)
		rollout->options->progress(rollout->options->data, line);
}

static void tell_lines(const struct rollout *rollout, const char *text)
{
	auto_free char *copy = mem_strdup(text ? text : "");
	char *rest = copy;

	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line)
			tell(rollout, "  | %s", line);
}

/* What podman-compose said, without the commands it ran: the environment of the services is in
 * them, passwords and all. */
static void tell_program(const struct rollout *rollout, const char *text)
{
	auto_free char *copy = mem_strdup(text ? text : "");
	char *rest = copy;

	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line && *line != '[' && !text_starts_with(line, "**") &&
		    !strstr(line, " --label "))
			tell(rollout, "  | %s", line);
}

/* The last lines of a text, at most `bytes`: what an error has room for. */
static const char *last_of(const char *text, size_t bytes)
{
	size_t len = text ? strlen(text) : 0;
	const char *from = text, *line;

	if (len <= bytes)
		return text ? text : "";
	from += len - bytes;
	line = strchr(from, '\n');
	return line ? line + 1 : from;
}

static bool is_of(const struct container *c, const struct compose_service *service)
{
	return !c->oneoff && c->service && strcmp(c->service, service->name) == 0;
}

static bool was_there(const struct rollout *rollout, const char *id)
{
	for (size_t i = 0; i < rollout->before.n; i++)
		if (strcmp(rollout->before.items[i].id, id) == 0)
			return true;
	return false;
}

static const struct containers *ran(const struct rollout *rollout)
{
	return rollout->options->ran ? rollout->options->ran : &rollout->before;
}

/* How many containers of it ran. */
static unsigned count_running(const struct rollout *rollout, const struct compose_service *service)
{
	const struct containers *containers = ran(rollout);
	unsigned n = 0;

	for (size_t i = 0; i < containers->n; i++)
		n += is_of(&containers->items[i], service) &&
		     (containers->items[i].running || containers->items[i].restarting);
	return n;
}

static bool is_changed(const struct rollout *rollout, const struct compose_service *service)
{
	for (const char *const *name = rollout->options->changed; *name; name++)
		if (strcmp(*name, service->name) == 0)
			return true;
	return false;
}

/* --- the program --- */

static void on_line(void *data, const char *line)
{
	const struct rollout *rollout = data;

	/* podman-compose says each command it runs, with the environment of the services. */
	if (*line && rollout->command.program != ROLLOUT_PODMAN_COMPOSE)
		tell(rollout, "  %s", line);
}

static void touch(const struct rollout *rollout)
{
	if (rollout->options->ret_touched)
		*rollout->options->ret_touched = true;
}

/* Run the program with these words behind its own. */
static int program_ask(struct rollout *rollout, const struct strings *words,
		       struct text *ret_output, struct error *err)
{
	auto_strings struct strings argv = {};
	struct program_options program = {
	    .unset = rollout_unset,
	    .set = rollout->command.set.items,
	    .dir = rollout->options->project->dir,
	    .deadline_ms = monotonic_now_ms() + PROGRAM_MS,
	    .interrupt_fd = rollout->options->interrupt_fd,
	    .on_line = on_line,
	    .data = rollout,
	};
	int status = 0, r;

	for (size_t i = 0; i < rollout->command.argv.n; i++)
		strings_add(&argv, rollout->command.argv.items[i]);
	for (size_t i = 0; i < words->n; i++)
		strings_add(&argv, words->items[i]);
	program.argv = argv.items;
	r = program_run(&program, ret_output, &status, err);
	if (r < 0 || status == 0)
		return r;
	if (rollout->command.program == ROLLOUT_PODMAN_COMPOSE) {
		tell_program(rollout, ret_output->data);
		return error_set(err, -EIO, "podman-compose %s failed", words->items[0]);
	}
	return error_set(err, -EIO, "%s %s failed: %s",
			 rollout_program_name(rollout->command.program), words->items[0],
			 last_of(ret_output->data, 600));
}

/* The same, for what touches containers. */
static int program_call(struct rollout *rollout, const struct strings *words,
			struct text *ret_output, struct error *err)
{
	touch(rollout);
	return program_ask(rollout, words, ret_output, err);
}

/* Is this the end? Not when it is put back: what cannot be had back of one service is no reason to
 * leave the others. The first error is the one that is told. */
static bool is_over(const struct rollout *rollout, int r, const struct error *why,
		    struct error *first)
{
	if (r < 0 && first->code == 0) {
		*first = *why;
		first->code = r;
	}
	return r < 0 && !rollout->options->ran;
}

/* --- steps --- */

/* Is it made anew? A dependent that does not run stays so, and when it is put back whatever did not
 * run. */
static bool is_made(const struct rollout *rollout, const struct compose_service *service)
{
	if (count_running(rollout, service) > 0)
		return true;
	return !rollout->options->ran && service->replicas > 0 &&
	       (rollout->nothing_ran || is_changed(rollout, service));
}

static void order_cut(struct rollout *rollout)
{
	size_t n = 0;

	rollout->idle = mem_calloc(rollout->order.n + 1, sizeof(struct compose_service *));
	for (size_t i = 0; i < rollout->order.n; i++) {
		const struct compose_service *service = rollout->order.services[i];

		if (!is_made(rollout, service)) {
			rollout->idle[rollout->n_idle++] = service;
			continue;
		}
		rollout->order.services[n] = service;
		rollout->order.stages[n++] = rollout->order.stages[i];
	}
	rollout->order.n = n;
	rollout->n_stages = n > 0 ? rollout->order.stages[n - 1] + 1 : 0;
}

/* An image that is not here is fetched, or built, before anything is touched: when it cannot be
 * had, everything runs on. */
static int fetch_image(struct rollout *rollout, const struct compose_service *service,
		       struct error *err)
{
	const char *image = service->image;
	const char *verb = compose_get(service->node, "build") ? "build" : "pull";
	auto_strings struct strings words = {};
	auto_text struct text output = {};
	int r;

	/* What the engine cannot tell does not stop us. */
	if (!image || !*image || container_engine_has_image(rollout->engine, image, NULL) != 0)
		return 0;
	strings_add(&words, verb);
	strings_add(&words, service->name);
	tell(rollout, "%s of %s is not here: %s", image, service->name,
	     *verb == 'p' ? "fetching it" : "building it");
	r = program_ask(rollout, &words, &output, err);
	if (r < 0)
		return r == -ECANCELED ? r
				       : error_prefix(err, r, "%s: its image %s is not here",
						      service->name, image);
	if (container_engine_has_image(rollout->engine, image, NULL) != 0)
		return 0;
	tell_program(rollout, output.data);
	return error_set(err, -EIO, "%s: its image %s is not here, and `%s %s %s` did not get it",
			 service->name, image, rollout_program_name(rollout->command.program), verb,
			 service->name);
}

static int step_fetch(struct rollout *rollout, struct error *err)
{
	int r = 0;

	/* What is put back was there, or `up` tries what can be tried. */
	for (size_t i = 0; r == 0 && !rollout->options->ran && i < rollout->order.n; i++)
		r = fetch_image(rollout, rollout->order.services[i], err);
	return r;
}

static int halt(struct rollout *rollout, const struct container *c, struct error *err)
{
	int r;

	tell(rollout, "stopping %s, which did not run before", c->name);
	touch(rollout);
	r = container_engine_stop(rollout->engine, c->id, STOP_SECONDS, err);
	return r < 0 ? error_prefix(err, r, "stopping %s", c->name) : 0;
}

static int step_halt(struct rollout *rollout, struct error *err)
{
	struct error first = {};

	if (!rollout->options->ran)
		return 0;
	/* What depends on others goes first. */
	for (size_t i = rollout->n_idle; i-- > 0;)
		for (size_t k = 0; k < rollout->before.n; k++) {
			const struct container *c = &rollout->before.items[k];
			struct error one = {};

			if (is_of(c, rollout->idle[i]) && (c->running || c->restarting))
				(void)is_over(rollout, halt(rollout, c, &one), &one, &first);
		}
	return first.code < 0 ? error_set(err, first.code, "%s", first.text) : 0;
}

static int step_stop(struct rollout *rollout, struct error *err)
{
	auto_strings struct strings words = {};
	auto_text struct text output = {}, names = {};

	if (rollout->command.program == ROLLOUT_PODMAN_COMPOSE)
		return 0; /* they are removed */
	strings_add(&words, "stop");
	for (size_t i = 0; i < rollout->order.n; i++) {
		const struct compose_service *service = rollout->order.services[i];

		if (!is_changed(rollout, service) || count_running(rollout, service) == 0)
			continue;
		text_printf(&names, "%s%s", names.len > 0 ? ", " : "", service->name);
		strings_add(&words, service->name);
	}
	/* One alone cannot be in another's way. */
	if (words.n <= 2)
		return 0;
	tell(rollout, "stopping %s: nobody is to wait for VRAM another leaves", names.data);
	return program_call(rollout, &words, &output, err);
}

static int take_away(struct rollout *rollout, const struct container *c, struct error *err)
{
	int r;

	tell(rollout, "removing %s (%s)", c->name, c->service);
	touch(rollout);
	r = container_engine_remove(rollout->engine, c->id, STOP_SECONDS, err);
	return r < 0 ? error_prefix(err, r, "removing %s", c->name) : 0;
}

static int step_remove(struct rollout *rollout, struct error *err)
{
	struct error first = {};

	if (rollout->command.program != ROLLOUT_PODMAN_COMPOSE)
		return 0;
	/* What depends on others goes first: podman keeps what something else requires. */
	for (size_t i = rollout->order.n; i-- > 0;) {
		for (size_t k = 0; k < rollout->before.n; k++) {
			const struct container *c = &rollout->before.items[k];
			struct error one = {};

			if (!is_of(c, rollout->order.services[i]))
				continue;
			if (is_over(rollout, take_away(rollout, c, &one), &one, &first))
				return error_set(err, first.code, "%s", first.text);
		}
	}
	return first.code < 0 ? error_set(err, first.code, "%s", first.text) : 0;
}

/* --- waiting --- */

/* A pause somebody may end; -ECANCELED then. */
static int pause_for(const struct rollout *rollout, int64_t ms, const char *what, struct error *err)
{
	struct pollfd fd = {.fd = rollout->options->interrupt_fd, .events = POLLIN};

	if (poll(&fd, 1, (int)ms) > 0)
		return error_set(err, -ECANCELED, "interrupted while waiting for %s", what);
	return 0;
}

static int failed(const struct rollout *rollout, const struct compose_service *service,
		  const struct container *c, const char *what, struct error *err)
{
	auto_text struct text logs = {};

	if (container_engine_logs(rollout->engine, c->id, LOG_LINES, &logs, NULL) == 0)
		tell_lines(rollout, logs.data);
	return error_set(err, -EIO, "%s: its container %s %s%s%s", service->name, c->name, what,
			 logs.len > 0 ? "; its last words: " : "", last_of(logs.data, 500));
}

/* Somebody waits for its end, not for its running. */
static bool is_to_end(const struct rollout *rollout, const struct compose_service *service)
{
	const struct compose_project *project = rollout->options->project;

	for (size_t i = 0; i < project->n; i++)
		for (size_t k = 0; k < project->services[i].n_depends; k++) {
			const struct compose_dependency *d = &project->services[i].depends[k];

			if (d->condition == COMPOSE_COMPLETED &&
			    strcmp(d->service, service->name) == 0)
				return true;
		}
	return false;
}

/* How one container is: 1 up, 0 not yet, negative: it failed. */
static int look_at(const struct rollout *rollout, const struct compose_service *service,
		   const struct container *c, bool settled, struct error *err)
{
	bool to_end = is_to_end(rollout, service);
	auto_free char *what = NULL;

	if (c->restarting || c->restarts > 0)
		what = mem_printf("ends and is started again (exit status %d)", c->exit_code);
	else if (!c->running && !(to_end && c->exit_code == 0))
		what = mem_printf("ended with exit status %d", c->exit_code);
	else if (c->has_health && c->health == CONTAINER_UNHEALTHY)
		what = mem_strdup("is unhealthy");
	if (what)
		return failed(rollout, service, c, what, err);
	if (to_end)
		return !c->running;
	return c->has_health ? c->health == CONTAINER_HEALTHY : settled;
}

/* At the pace of its own interval: more often would use up its retries. */
static void check_health(struct rollout *rollout, const struct container *c)
{
	struct checked *checked = NULL;

	for (size_t i = 0; i < rollout->n_checked && !checked; i++)
		if (strcmp(rollout->checked[i].id, c->id) == 0)
			checked = &rollout->checked[i];
	if (checked && monotonic_now_ms() - checked->at_ms < c->health_interval_ms)
		return;
	if (!checked) {
		ARRAY_GROW(rollout->checked, rollout->n_checked, rollout->room_checked);
		checked = &rollout->checked[rollout->n_checked++];
		memcpy(checked->id, c->id, sizeof checked->id);
	}
	checked->at_ms = monotonic_now_ms();
	container_engine_check_health(rollout->engine, c->id);
}

/* The new containers of a service. 1: all are up; 0: not yet. */
static int look_at_service(struct rollout *rollout, const struct compose_service *service,
			   const struct containers *now, bool settled, struct error *err)
{
	unsigned n = 0, up = 0;

	for (size_t i = 0; i < now->n; i++) {
		const struct container *c = &now->items[i];
		int r;

		if (!is_of(c, service) || was_there(rollout, c->id))
			continue;
		r = look_at(rollout, service, c, settled, err);
		if (r < 0)
			return r;
		n++;
		up += r > 0;
		if (c->has_health && c->health == CONTAINER_STARTING)
			check_health(rollout, c);
	}
	if (n == 0)
		return error_set(err, -EIO, "%s: no container of it was made", service->name);
	return n == up;
}

struct stage_state {
	unsigned stage;
	int64_t began_ms;
	const struct text *output; /* the program's */
	struct text missing;       /* who is not up yet */
};

/* 1: the stage is up. */
static int look_at_stage(struct rollout *rollout, struct stage_state *state, struct error *err)
{
	auto_containers struct containers now = {};
	int64_t settle_ms = MIN_OF(SETTLE_MS, rollout->options->health_timeout_ms / 2);
	bool settled = monotonic_now_ms() - state->began_ms >= settle_ms;
	int r = container_engine_list(rollout->engine, rollout->options->project->name, &now, err);

	text_clear(&state->missing);
	for (size_t i = 0; r >= 0 && i < rollout->order.n; i++) {
		if (rollout->order.stages[i] != state->stage)
			continue;
		r = look_at_service(rollout, rollout->order.services[i], &now, settled, err);
		if (r == 0)
			text_printf(&state->missing, "%s%s", state->missing.len > 0 ? ", " : "",
				    rollout->order.services[i]->name);
	}
	if (r < 0)
		return r;
	return state->missing.len == 0;
}

static int stage_wait(struct rollout *rollout, unsigned stage, const struct text *output,
		      struct error *err)
{
	struct stage_state state = {.stage = stage, .began_ms = monotonic_now_ms()};
	int64_t deadline_ms = state.began_ms + rollout->options->health_timeout_ms;
	int r;

	do {
		r = look_at_stage(rollout, &state, err);
		if (r == 0 && monotonic_now_ms() >= deadline_ms)
			r = error_set(err, -ETIMEDOUT, "%s: not up and healthy within %s",
				      state.missing.data,
				      DURATION_TEXT(rollout->options->health_timeout_ms));
		else if (r == 0)
			r = pause_for(rollout, POLL_MS, state.missing.data, err);
		else if (r > 0)
			break;
	} while (r == 0);
	/* The reason may be what the program said. */
	if (r < 0 && r != -ECANCELED && rollout->command.program == ROLLOUT_PODMAN_COMPOSE)
		tell_program(rollout, output->data);
	text_finish(&state.missing);
	return MIN_OF(r, 0);
}

/* As many replicas as there were: somebody may have scaled it by hand. */
static void add_scale(const struct rollout *rollout, const struct compose_service *service,
		      struct strings *words)
{
	unsigned n = count_running(rollout, service);

	if (rollout->command.program == ROLLOUT_PODMAN_COMPOSE || n == 0 || n == service->replicas)
		return;
	strings_add(words, "--scale");
	strings_take(words, mem_printf("%s=%u", service->name, n));
}

/* `up` for the services of a stage; `only` not NULL: for that one of them. */
static int call_up(struct rollout *rollout, unsigned stage, const struct compose_service *only,
		   struct text *ret_output, struct error *err)
{
	const struct rollout_order *order = &rollout->order;
	auto_strings struct strings words = {};

	strings_add(&words, "up");
	strings_add(&words, "-d");
	strings_add(&words, "--no-deps");
	if (rollout->command.program != ROLLOUT_PODMAN_COMPOSE)
		strings_add(&words, "--force-recreate");
	for (size_t i = 0; i < order->n; i++)
		if (order->stages[i] == stage && (!only || order->services[i] == only))
			add_scale(rollout, order->services[i], &words);
	for (size_t i = 0; i < order->n; i++)
		if (order->stages[i] == stage && (!only || order->services[i] == only))
			strings_add(&words, order->services[i]->name);
	return program_call(rollout, &words, ret_output, err);
}

/* When it is put back each for itself: one that cannot be made takes no other with it. */
static int call_up_each(struct rollout *rollout, unsigned stage, struct text *ret_output,
			struct error *err)
{
	struct error first = {};

	for (size_t i = 0; i < rollout->order.n; i++) {
		auto_text struct text output = {};
		struct error one = {};
		int r;

		if (rollout->order.stages[i] != stage)
			continue;
		r = call_up(rollout, stage, rollout->order.services[i], &output, &one);
		text_printf(ret_output, "%s", output.data ? output.data : "");
		(void)is_over(rollout, r, &one, &first);
	}
	return first.code < 0 ? error_set(err, first.code, "%s", first.text) : 0;
}

static int stage_up(struct rollout *rollout, unsigned stage, struct error *err)
{
	auto_text struct text output = {}, names = {};
	int r;

	for (size_t i = 0; i < rollout->order.n; i++)
		if (rollout->order.stages[i] == stage)
			text_printf(&names, "%s%s", names.len > 0 ? ", " : "",
				    rollout->order.services[i]->name);
	if (names.len == 0)
		return 0;
	tell(rollout, "making anew: %s", names.data);
	r = rollout->options->ran ? call_up_each(rollout, stage, &output, err)
				  : call_up(rollout, stage, NULL, &output, err);
	if (r == 0)
		r = stage_wait(rollout, stage, &output, err);
	if (r == 0)
		tell(rollout, "up: %s", names.data);
	return r;
}

static int step_up(struct rollout *rollout, struct error *err)
{
	struct error first = {};

	for (unsigned stage = 0; stage < rollout->n_stages; stage++) {
		struct error one = {};

		if (is_over(rollout, stage_up(rollout, stage, &one), &one, &first))
			break;
	}
	return first.code < 0 ? error_set(err, first.code, "%s", first.text) : 0;
}

/* Everything, when nothing of the project runs; else what changed and what depends on it. */
static int order_find(struct rollout *rollout, struct error *err)
{
	const struct compose_project *project = rollout->options->project;
	auto_free const char **all = mem_calloc(project->n + 1, sizeof *all);
	size_t n = 0;
	int r;

	rollout->nothing_ran = true;
	for (size_t i = 0; i < ran(rollout)->n; i++)
		if (ran(rollout)->items[i].running || ran(rollout)->items[i].restarting)
			rollout->nothing_ran = false;
	for (size_t i = 0; i < project->n; i++)
		if (project->services[i].active)
			all[n++] = project->services[i].name;
	r = rollout_order(project, rollout->nothing_ran ? all : rollout->options->changed,
			  &rollout->order, err);
	if (r == 0)
		order_cut(rollout);
	return r;
}

static int prepare(struct rollout *rollout, struct error *err)
{
	const struct rollout_options *options = rollout->options;
	enum rollout_program program;
	int r =
	    container_engine_list(rollout->engine, options->project->name, &rollout->before, err);

	if (r == 0)
		r = rollout_find_program(rollout->engine, &rollout->before, &program, err);
	if (r == 0)
		r = rollout_command_create(program, rollout->engine, options, &rollout->command,
					   err);
	return r < 0 ? r : order_find(rollout, err);
}

static void rollout_finish(struct rollout *rollout)
{
	rollout_command_finish(&rollout->command);
	rollout_order_finish(&rollout->order);
	containers_finish(&rollout->before);
	free(rollout->idle);
	free(rollout->checked);
}

int rollout_check(struct container_engine *engine, const struct rollout_options *options,
		  struct error *err)
{
	struct rollout rollout = {.engine = engine, .options = options};
	int r = prepare(&rollout, err);

	rollout_finish(&rollout);
	return r;
}

int rollout_foresee(const struct rollout_options *options, const struct containers *now,
		    struct rollout_order *ret_order, struct error *err)
{
	/* Borrowed: nothing of it is changed or freed. */
	struct rollout rollout = {.options = options, .before = *now};
	int r = order_find(&rollout, err);

	if (r == 0) {
		*ret_order = rollout.order;
		rollout.order = (struct rollout_order){};
	}
	rollout.before = (struct containers){};
	rollout_finish(&rollout);
	return r;
}

static const struct container *find_id(const struct containers *containers, const char *id)
{
	for (size_t i = 0; i < containers->n; i++)
		if (strcmp(containers->items[i].id, id) == 0)
			return &containers->items[i];
	return NULL;
}

/* Do all containers run, or not, that did, with the same first process? */
static bool is_untouched(struct rollout *rollout)
{
	auto_containers struct containers now = {};

	if (container_engine_list(rollout->engine, rollout->options->project->name, &now, NULL) <
		0 ||
	    now.n != rollout->before.n)
		return false;
	for (size_t i = 0; i < now.n; i++) {
		const struct container *is = &now.items[i];
		const struct container *was = find_id(&rollout->before, is->id);

		if (!was || is->running != was->running || is->pid != was->pid)
			return false;
	}
	return true;
}

int rollout_up(struct container_engine *engine, const struct rollout_options *options,
	       struct error *err)
{
	static int (*const steps[])(struct rollout *, struct error *) = {
	    step_fetch, step_halt, step_stop, step_remove, step_up,
	};
	struct rollout rollout = {.engine = engine, .options = options};
	struct error first = {};
	int r = prepare(&rollout, err);

	for (size_t i = 0; i < ARRAY_LEN(steps) && r == 0; i++) {
		struct error one = {};

		if (is_over(&rollout, steps[i](&rollout, &one), &one, &first))
			break;
	}
	if (first.code < 0)
		r = error_set(err, first.code, "%s", first.text);
	/* The program may have failed before it did anything. */
	if (r < 0 && options->ret_touched && *options->ret_touched && is_untouched(&rollout))
		*options->ret_touched = false;
	rollout_finish(&rollout);
	return r;
}
