/*
 * After the files are written: containers, GPUs, and the way back. Signals are blocked and read
 * from a descriptor meanwhile: Ctrl-C ends the step under way, and what was changed is put back as
 * after any other failure; then nothing stops it but SIGKILL, after which the journal tells.
 */
#include "cli/apply.h"

#include "rollout/rollout.h"
#include "util/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define HEALTH_MS (2 * 60 * 1000)
/* For how long it has to be wrong: a process that has just ended may be on the GPU a moment longer
 * than its container. */
#define WRONG_MS 5000
/* How long a service may take to show up on its GPU; then what it was given has to do. */
#define EMPTY_MS 10000
#define LOOK_MS  250

/* --- what is to be made anew --- */

static bool is_named(const struct strings *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->items[i], name) == 0)
			return true;
	return false;
}

/* Did anything of the project run when we came? */
static bool something_ran(const struct apply *apply)
{
	for (size_t i = 0; i < apply->before.containers.n; i++)
		if (apply->before.containers.items[i].running ||
		    apply->before.containers.items[i].restarting)
			return true;
	return false;
}

static bool is_elsewhere(const struct stack_service *service, const struct plan_place *place)
{
	if (place->n == 0)
		return false;
	return !service->assigned_known ||
	       !stack_same_gpus(service->assigned, service->n_assigned, place->gpus, place->n) ||
	       (service->running &&
		!stack_same_gpus(service->today, service->n_today, place->gpus, place->n));
}

void apply_find_changed(struct apply *apply)
{
	const struct plan_place *places = apply->taken.plan.places;
	bool any = something_ran(apply);

	for (size_t i = 0; i < apply->problem.problem.n_services; i++) {
		const struct stack_service *service =
		    &apply->before.stack->services[apply->problem.services[i]];
		const char *name = service->service->name;

		/* What somebody has stopped stays so, unless an apply that was killed has. */
		if (is_named(&apply->journal.services, name) ||
		    (is_elsewhere(service, &places[i]) && (service->running || !any)))
			strings_add(&apply->changed, name);
	}
	/* Dependents that a killed apply had taken away. */
	for (size_t i = 0; i < apply->before.project->n; i++) {
		const struct compose_service *service = &apply->before.project->services[i];

		if (service->active && is_named(&apply->journal.services, service->name) &&
		    !is_named(&apply->changed, service->name))
			strings_add(&apply->changed, service->name);
	}
}

bool apply_has_to_roll_out(const struct apply *apply)
{
	const struct compose_project *project = apply->before.project;

	if (apply->changed.n > 0)
		return true;
	for (size_t i = 0; i < project->n; i++)
		if (project->services[i].active && project->services[i].replicas > 0)
			return !something_ran(apply);
	return false;
}

/* --- what was written --- */

static const struct stack_service *find_service(const struct stack *stack, const char *name)
{
	for (size_t i = 0; i < stack->n; i++)
		if (strcmp(stack->services[i].service->name, name) == 0)
			return &stack->services[i];
	return NULL;
}

/* NULL: nothing is planned for it. */
static const struct plan_place *place_of(const struct apply *apply, size_t service)
{
	for (size_t i = 0; i < apply->problem.problem.n_services; i++)
		if (apply->problem.services[i] == service)
			return &apply->taken.plan.places[i];
	return NULL;
}

static bool is_unmoved(const struct stack_service *was, const struct stack_service *is)
{
	return is->assigned_known == was->assigned_known &&
	       stack_same_gpus(is->assigned, is->n_assigned, was->assigned, was->n_assigned);
}

/* What the files say of it now, and the line that does: "on GPU 2, as V=2 in .env:3 says". */
static void assigned_text(const struct stack *stack, const struct stack_service *service,
			  struct text *text)
{
	const struct compose_request *request = service->gpus->decides;
	const struct compose_value *value = request && request->n_values ? request->values : NULL;
	struct compose_span place = {};
	unsigned line, column;

	text_add(text, service->assigned_known ? "on GPU " : "nowhere known");
	if (service->assigned_known)
		stack_add_gpus(stack, service->assigned, service->n_assigned, ", ", text);
	if (request)
		place = value && value->assignment ? value->assignment->span
						   : compose_request_place(request);
	if (!place.file)
		return;
	compose_file_position(place.file, place.begin, &line, &column);
	text_add(text, ", as ");
	if (value && value->variable)
		text_printf(text, "%s=%s in ", value->variable, value->text);
	text_printf(text, "%s:%u says", place.file->shown, line);
}

int apply_check_written(struct apply *apply, struct error *err)
{
	const struct stack *before = apply->before.stack;

	/* Services cannot come or go by an edit of ours. */
	if (apply->after.stack->n != before->n)
		return error_set(err, -EBADE, "read again, the project has %zu services, not %zu",
				 apply->after.stack->n, before->n);
	for (size_t i = 0; i < before->n; i++) {
		const struct stack_service *was = &before->services[i];
		const char *name = was->service->name;
		const struct stack_service *is = find_service(apply->after.stack, name);
		const struct plan_place *place = place_of(apply, i);
		auto_text struct text says = {};

		if (!is)
			return error_set(err, -EBADE, "read again, the project has lost %s", name);
		if (place && place->n > 0 &&
		    (!is->assigned_known ||
		     !stack_same_gpus(is->assigned, is->n_assigned, place->gpus, place->n))) {
			assigned_text(apply->after.stack, is, &says);
			return error_set(err, -EBADE,
					 "read again, the files do not put %s where it was planned "
					 "but %s; write it by hand, and report it: that is a "
					 "mistake of plimsoll's",
					 name, says.data);
		}
		if ((place && place->n > 0) || is_unmoved(was, is))
			continue;
		/* What is off may go along. */
		if (is->service->active || !is_named(&apply->along, name))
			return error_set(err, -EBADE,
					 "read again, the files put %s elsewhere, too, which was "
					 "not planned",
					 name);
	}
	return 0;
}

/* --- looking at the GPUs --- */

static void on_progress(void *data, const char *line)
{
	(void)data;
	apply_tell("%s", line);
}

/* The planned services that are to run; the caller frees. */
static struct rollout_place *places_to_verify(const struct apply *apply, size_t *ret_n)
{
	const struct plan_problem *problem = &apply->problem.problem;
	const struct plan_place *places = apply->taken.plan.places;
	struct rollout_place *out = mem_calloc(problem->n_services + 1, sizeof *out);
	size_t n = 0;

	for (size_t i = 0; i < problem->n_services; i++) {
		const char *name = problem->services[i].name;
		const struct stack_service *service = find_service(apply->after.stack, name);

		/* What is to go to the CPU is for its owner to bring there. */
		if (places[i].n == 0 ||
		    ((!service || !service->running) && !is_named(&apply->changed, name)))
			continue;
		out[n++] = (struct rollout_place){
		    .service = name,
		    .gpus = places[i].gpus,
		    .n = places[i].n,
		    .may_wait = planview_bytes(&apply->taken, i) == 0,
		};
	}
	*ret_n = n;
	return out;
}

/* Once. 0, or what rollout_verify() says. */
static int look(struct apply *apply, struct error *err)
{
	auto_free struct rollout_place *places = NULL;
	size_t n = 0;
	int r = workspace_refresh(&apply->after, err);

	if (r < 0)
		return r;
	if (!apply->after.containers_known)
		return error_set(err, -EIO, "the container engine does not answer any more");
	places = places_to_verify(apply, &n);
	return rollout_verify(apply->after.stack, apply->before.stack, places, n, err);
}

static int verify(struct apply *apply, struct error *err)
{
	struct pollfd interrupt = {.fd = apply->interrupt_fd, .events = POLLIN};
	const int64_t began_ms = monotonic_now_ms();
	int64_t wrong_ms = 0; /* since when it is; 0: it is not */

	for (;;) {
		struct error why = {};
		int r = look(apply, &why);
		int64_t now_ms = monotonic_now_ms();

		if (r == 0) {
			apply_tell("verified: every service is on the GPU it was planned for, no "
				   "GPU is above its load line");
			return 0;
		}
		if (r == -EAGAIN && now_ms - began_ms >= EMPTY_MS) {
			apply_tell("%s; its containers were given the right ones", why.text);
			return 0;
		}
		/* One odd look, or an engine that is slow once, says nothing yet. */
		if (r == -EAGAIN)
			wrong_ms = 0;
		else if (wrong_ms == 0)
			wrong_ms = now_ms;
		else if (now_ms - wrong_ms >= WRONG_MS)
			return error_set(err, r, "%s", why.text);
		if (poll(&interrupt, 1, LOOK_MS) > 0)
			return error_set(err, -ECANCELED, "interrupted while looking at the GPUs");
	}
}

/* --- there and back --- */

static struct rollout_options rollout_options_of(const struct apply *apply,
						 struct compose_project *project, int interrupt_fd)
{
	static const char *const none[] = {NULL};
	const struct option_value *timeout = options_get(apply->options, "health-timeout");

	return (struct rollout_options){
	    .project = project,
	    .changed = apply->changed.n > 0 ? (const char *const *)apply->changed.items : none,
	    .profiles = options_list(apply->options, "profile"),
	    .health_timeout_ms = timeout->given ? timeout->ms : HEALTH_MS,
	    .interrupt_fd = interrupt_fd,
	    .progress = on_progress,
	};
}

int apply_check_up(struct apply *apply, struct error *err)
{
	const struct rollout_options options = rollout_options_of(apply, apply->before.project, -1);
	int r = rollout_foresee(&options, &apply->before.containers, &apply->made, err);

	return r < 0 ? r : rollout_check(apply->before.engine, &options, err);
}

static int put_back_files(struct apply *apply, struct error *err)
{
	int r = apply->backup ? compose_backup_restore(apply->backup, err) : 0;

	if (r < 0)
		return error_prefix(err, r, "the files could not all be put back");
	apply->files_back = true;
	if (apply->backup)
		apply_tell("put back: the files are as they were");
	return 0;
}

static int put_back_containers(struct apply *apply, struct error *err)
{
	auto_workspace struct workspace again = {};
	struct rollout_options options;
	int r;

	/* With nothing written, the files say what they said: containers elsewhere than there stood
	 * before cannot be had back. */
	r = workspace_open(apply->options, &again, err);
	if (r == 0 && !again.engine)
		r = error_set(err, -EIO, "the container engine does not answer any more");
	if (r == 0) {
		options = rollout_options_of(apply, again.project, -1);
		options.ran = &apply->before.containers;
		/* However little patience there was for the new ones. */
		options.health_timeout_ms = MAX_OF(options.health_timeout_ms, HEALTH_MS);
		r = rollout_up(again.engine, &options, err);
	}
	if (r < 0)
		return error_prefix(err, r, "containers could not all be made anew with them");
	apply_tell(something_ran(apply)
		       ? "put back: the containers are made anew with the files as they were"
		       : "put back: nothing of the project ran before, and nothing does now");
	return 0;
}

/* Where what was there before is, and who makes it whole. */
static int complain_half_done(const struct apply *apply, const struct error *err)
{
	auto_text struct text backups = {}, command = {};
	const char *name;

	apply_journal_command(&apply->journal.own_options, true, &command);
	for (size_t i = 0; compose_edits_file(&apply->edits, i); i++)
		if ((name = compose_backup_name(apply->backup, i)))
			text_printf(&backups, "%s%s", backups.len > 0 ? ", " : "", name);
	return verb_complain(
	    EXIT_CANNOT,
	    "%s\nthe files %s%s%s%s\nhow things are now: `plimsoll check` and `plimsoll gpus` "
	    "tell. "
	    "When the cause is mended, `%s` makes anew what is missing; to forget it, remove %s",
	    error_text(err), apply->files_back ? "are as they were before" : "are half written",
	    backups.len > 0 ? " (that is also in " : "", backups.len > 0 ? backups.data : "",
	    backups.len > 0 ? ")" : "", command.data, apply->journal.path);
}

/* `touched`: containers may have been. */
static int put_back(struct apply *apply, const struct error *why, bool touched)
{
	struct error err = {};
	int r;

	apply_tell("%s: %s", why->code == -ECANCELED ? "stopped" : "it failed", error_text(why));
	apply->failure = mem_strdup(error_text(why));
	r = put_back_files(apply, &err);
	if (r == 0 && touched)
		r = put_back_containers(apply, &err);
	apply->rollout = r < 0 ? "failed" : "put-back";
	if (r < 0)
		return complain_half_done(apply, &err);
	apply_journal_restore(&apply->journal);
	return verb_complain(why->code == -ECANCELED ? EXIT_LEFT : EXIT_CANNOT,
			     "apply: %s; everything is as it was before", error_text(why));
}

static void signals_of_an_end(sigset_t *ret_set)
{
	(void)sigemptyset(ret_set);
	(void)sigaddset(ret_set, SIGINT);
	(void)sigaddset(ret_set, SIGTERM);
	(void)sigaddset(ret_set, SIGHUP);
}

void apply_signals_catch(struct apply *apply)
{
	sigset_t ends;

	signals_of_an_end(&ends);
	(void)sigprocmask(SIG_BLOCK, &ends, NULL);
	apply->interrupt_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

void apply_signals_release(struct apply *apply)
{
	struct signalfd_siginfo info;
	sigset_t ends;

	/* What came meanwhile has been answered. */
	while (read(apply->interrupt_fd, &info, sizeof info) > 0)
		;
	apply->interrupt_fd = fd_close(apply->interrupt_fd);
	signals_of_an_end(&ends);
	(void)sigprocmask(SIG_UNBLOCK, &ends, NULL);
}

int apply_up(struct apply *apply)
{
	struct rollout_options options;
	struct error err = {};
	bool touched = false;
	int r;

	if (!apply_has_to_roll_out(apply)) {
		apply_tell("every service that runs is where it was planned: nothing to roll out");
		apply->rollout = "none";
		apply_journal_remove(&apply->journal);
		return EXIT_DONE;
	}
	options = rollout_options_of(apply, apply->after.project, apply->interrupt_fd);
	options.ret_touched = &touched;
	r = rollout_up(apply->after.engine, &options, &err);
	if (r == 0)
		r = verify(apply, &err);
	if (r < 0) {
		err.code = r;
		return put_back(apply, &err, touched);
	}
	apply->rollout = "done";
	apply_journal_remove(&apply->journal);
	return EXIT_DONE;
}
