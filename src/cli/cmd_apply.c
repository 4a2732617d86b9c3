/*
 * plimsoll apply: the plan, as edits of the files, shown as a diff, asked about, written all or
 * none, and read again: what the files then say has to be what was planned, or they are put back.
 * The diff alone goes to standard output, so that it can be kept or given to patch(1); everything
 * else is said on standard error.
 */
#include "cli/apply.h"

#include "cli/planning.h"
#include "cli/term.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- what is found, and the plan --- */

/* Read again, now that nobody of ours writes: another apply has changed the files meanwhile. */
static int read_again(struct apply *apply, struct error *err)
{
	const struct compose_files *files = &apply->before.project->files;

	for (size_t i = 0; i < files->n; i++)
		if (files->items[i]->unwritten)
			return error_set(err, -ESTALE,
					 "another apply has changed the project meanwhile, and %s "
					 "cannot be read twice: run this again",
					 files->items[i]->shown);
	workspace_close(&apply->before);
	return workspace_open(apply->options, &apply->before, err);
}

/* What has to be said again to come to the same plan in the same words: all but how it is to go. */
static void keep_options(const struct options *options, struct strings *ret_words)
{
	static const char *const left_out[] = {"yes", "dry-run", "json", "up", "inventory"};

	for (size_t i = 0; i < options->n; i++) {
		const struct option_value *value = &options->values[i];
		const char *name = options->specs[i].name;
		bool left = !value->given;

		for (size_t k = 0; k < ARRAY_LEN(left_out); k++)
			left = left || strcmp(name, left_out[k]) == 0;
		if (left)
			continue;
		if (!options->specs[i].repeats) {
			strings_take(ret_words, mem_printf("--%s", name));
			if (value->text)
				strings_add(ret_words, value->text);
		}
		for (size_t k = 0; k < value->list.n; k++) {
			strings_take(ret_words, mem_printf("--%s", name));
			strings_add(ret_words, value->list.items[k]);
		}
	}
}

/* The project and the machine, and nobody else's until we are done; who only looks shares it. */
static int open_locked(struct apply *apply, struct error *err)
{
	auto_free char *journal = NULL;
	bool looks = options_flag(apply->options, "dry-run"), stale = false;
	int r = workspace_open(apply->options, &apply->before, err);

	if (r < 0)
		return r;
	journal = apply_journal_path(apply->before.project);
	r = apply_lock_take(apply->before.project, journal, looks, &apply->lock, &stale, err);
	if (r == 0 && stale)
		r = read_again(apply, err);
	if (r == 0)
		r = apply_journal_open(apply->before.project, &apply->journal, err);
	if (r == 0)
		keep_options(apply->options, &apply->journal.own_options);
	if (r == 0 && !looks)
		apply_journal_sweep(&apply->journal, apply->before.project);
	return r;
}

static int solve(struct apply *apply, struct error *err)
{
	return planning_solve(apply->options, &apply->before, &apply->problem, &apply->plan,
			      &apply->view, err);
}

/* The way out that was asked for. EXIT_PROBLEM: not everything fits, and none was. */
static int choose_way(struct apply *apply)
{
	auto_text struct text text = {};
	int code = planning_take_way(apply->options, &apply->view);

	if (code != EXIT_DONE || !apply->view.may_choose)
		return code;
	/* The best one is drawn, as `plan` does. */
	apply->view.way = apply->plan->n_ways > 0 ? 0 : PLANVIEW_NO_WAY;
	planview_render(&apply->view, stderr, term_table_width(stderr), &text);
	(void)fputs(text.data ? text.data : "", stderr);
	return verb_complain(EXIT_PROBLEM, "not everything fits: nothing is written%s",
			     apply->plan->n_ways > 0 ? "; --way-out N takes one of the ways out"
						     : "");
}

/* --- asking --- */

/* EXIT_DONE: go on. */
static int ask(const struct apply *apply)
{
	auto_free char *line = NULL;
	size_t room = 0;

	bool rolls_out = options_flag(apply->options, "up") && apply_has_to_roll_out(apply);

	if (options_flag(apply->options, "yes") || (apply->edits.n == 0 && !rolls_out))
		return EXIT_DONE;
	if (!isatty(STDIN_FILENO))
		return verb_complain(EXIT_USAGE,
				     "nothing is written: nobody can be asked here; "
				     "--yes writes without asking, --dry-run only shows");
	(void)fputs(!rolls_out           ? "Write this? [y/N] "
		    : apply->edits.n > 0 ? "Write this and make them anew? [y/N] "
					 : "Make them anew? [y/N] ",
		    stderr);
	(void)fflush(stderr);
	if (getline(&line, &room, stdin) > 0 && (*line == 'y' || *line == 'Y'))
		return EXIT_DONE;
	return verb_complain(EXIT_PROBLEM, "nothing is written");
}

/* --- the verb --- */

static json_t *files_json(const struct apply *apply)
{
	json_t *files = json_array();
	const struct compose_file *file;

	for (size_t i = 0; (file = compose_edits_file(&apply->edits, i)); i++)
		(void)json_array_append_new(
		    files, json_pack("{s:o, s:o}", "file", jsonx_string_if(file->shown), "backup",
				     jsonx_string_if(compose_backup_name(apply->backup, i))));
	return files;
}

/* By name, as --json and the journal have them. */
static void made_names(const struct apply *apply, struct strings *ret_names)
{
	for (size_t i = 0; i < apply->made.n; i++)
		strings_add(ret_names, apply->made.services[i]->name);
}

static void print_json(const struct apply *apply)
{
	auto_json json_t *json = json_object();
	auto_strings struct strings made = {};

	made_names(apply, &made);
	(void)json_object_set_new(json, "plan", planview_json(&apply->view));
	(void)json_object_set_new(json, "changed", json_boolean(apply->edits.n > 0));
	(void)json_object_set_new(json, "written",
				  json_boolean(apply->backup != NULL && !apply->files_back));
	(void)json_object_set_new(json, "files", files_json(apply));
	(void)json_object_set_new(json, "diff",
				  json_string(apply->diff.data ? apply->diff.data : ""));
	(void)json_object_set_new(json, "notes", jsonx_strv(apply->notes.items));
	(void)json_object_set_new(json, "recreated", jsonx_strv(made.items));
	(void)json_object_set_new(json, "rollout", jsonx_string_if(apply->rollout));
	(void)json_object_set_new(json, "failure", jsonx_string_if(apply->failure));
	term_print_json(stdout, json);
}

static int roll_out(struct apply *apply)
{
	auto_strings struct strings made = {};
	struct error err = {};
	int r = 0;

	/* Also without an edit: a kill in the middle of it is to be told of. Dependents, too: they
	 * may be gone by then, and nothing else would tell that they ran. */
	made_names(apply, &made);
	if (made.n > 0)
		r = apply_journal_write(&apply->journal, &apply->edits, &made, apply->backup, &err);
	return r < 0 ? verb_complain(EXIT_CANNOT, "%s", error_text(&err)) : apply_up(apply);
}

static int write_and_roll_out(struct apply *apply)
{
	bool up = options_flag(apply->options, "up");
	struct error err = {};

	if ((apply->edits.n > 0 || up) && apply_write(apply, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	if (up)
		return roll_out(apply);
	/* Containers may still be what an earlier one left: that stays said. Else what stood
	 * half-done is done now. */
	if (apply->journal.services.n == 0)
		apply_journal_remove(&apply->journal);
	if (apply->edits.n > 0 && apply->before.containers.n > 0 && !apply->before.is_elsewhere)
		apply_tell("running containers are as they were; `plimsoll apply --up` rolls it "
			   "out");
	return EXIT_DONE;
}

static int do_it(struct apply *apply)
{
	int code = ask(apply);

	if (code != EXIT_DONE)
		return code;
	if (options_flag(apply->options, "up"))
		apply_signals_catch(apply);
	code = write_and_roll_out(apply);
	if (apply->interrupt_fd >= 0)
		apply_signals_release(apply);
	if (code == EXIT_DONE)
		apply_tell_daemon(apply);
	return code;
}

static int check_usage(const struct options *options)
{
	if (options_flag(options, "up") && options_text(options, "inventory", NULL))
		return verb_complain(EXIT_USAGE, "--up is for this machine, --inventory for "
						 "another one");
	if (options_get(options, "health-timeout")->given && !options_flag(options, "up"))
		return verb_complain(EXIT_USAGE, "--health-timeout goes with --up");
	return EXIT_DONE;
}

/* What the roll-out will come to, and whether it can be done at all, before anything is written. */
static int see_roll_out(struct apply *apply)
{
	bool dry = options_flag(apply->options, "dry-run");
	struct error err = {};

	apply_find_changed(apply);
	if (apply_has_to_roll_out(apply) && apply_check_up(apply, &err) < 0)
		return verb_complain(EXIT_CANNOT, "it cannot be rolled out: %s; nothing is written",
				     error_text(&err));
	if (dry || apply_has_to_roll_out(apply))
		apply_tell_recreated(apply, dry ? "would" : "will");
	return EXIT_DONE;
}

/* A plan that takes the project's own processes for others' is not one to write. */
static int see_engine(const struct apply *apply)
{
	auto_free char *mistakes = workspace_mistakes_own(&apply->before);

	if (!mistakes || options_flag(apply->options, "no-engine"))
		return EXIT_DONE;
	if (!options_flag(apply->options, "dry-run"))
		return verb_complain(EXIT_CANNOT,
				     "%s\nnothing is written; --no-engine writes it all the same, "
				     "where none of these processes is the project's",
				     mistakes);
	apply_tell("%s", mistakes);
	return EXIT_DONE;
}

static int apply_run(struct apply *apply)
{
	bool up = options_flag(apply->options, "up");
	auto_text struct text told = {};
	struct error err = {};
	int code;

	if (open_locked(apply, &err) < 0 || solve(apply, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	if (apply->journal.found) {
		apply_journal_describe(&apply->journal, &told);
		apply_tell("%s", told.data);
	}
	code = see_engine(apply);
	if (code == EXIT_DONE)
		code = choose_way(apply);
	if (code != EXIT_DONE)
		return code;
	planview_take(&apply->view, &apply->taken);
	code = apply_refuse_replicas(apply);
	if (code != EXIT_DONE)
		return code;
	if (up && !apply->before.containers_known)
		return verb_complain(EXIT_CANNOT,
				     "--up needs a container engine, and none answers");
	if (apply_work_out(apply, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	if (apply->edits.n == 0)
		apply_tell("nothing to do: %s",
			   apply->problem.problem.n_services > 0
			       ? "the files say so already"
			       : "no service asks for a GPU and says how much VRAM it needs");
	if (!options_flag(apply->options, "json"))
		apply_show_diff(apply);
	if (up)
		code = see_roll_out(apply);
	if (code != EXIT_DONE || options_flag(apply->options, "dry-run"))
		return code;
	if (compose_edits_check_writable(&apply->edits, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	return do_it(apply);
}

static int run(const struct options *options)
{
	struct apply apply = {.options = options, .interrupt_fd = -1, .lock = APPLY_LOCK_NONE};
	int code = check_usage(options);

	if (code != EXIT_DONE)
		return code;
	code = apply_run(&apply);
	if (options_flag(options, "json") && apply.plan)
		print_json(&apply);
	workspace_close(&apply.after);
	compose_backup_destroy(apply.backup);
	compose_edits_finish(&apply.edits);
	apply_journal_finish(&apply.journal);
	apply_lock_release(&apply.lock);
	strings_finish(&apply.notes);
	strings_finish(&apply.along);
	strings_finish(&apply.changed);
	rollout_order_finish(&apply.made);
	text_finish(&apply.diff);
	free(apply.failure);
	planview_taken_finish(&apply.taken);
	plan_destroy(apply.plan);
	stack_problem_finish(&apply.problem);
	workspace_close(&apply.before);
	return code;
}

static const char *const ids[] = {"index", "uuid", NULL};

static const struct option_spec apply_options[] = {
    WORKSPACE_OPTIONS,
    PLANNING_OPTIONS,
    {.name = "ids",
     .kind = OPTION_CHOICE,
     .value = "HOW",
     .choices = ids,
     .help = "index (as the files have them; the default), or uuid, which survives a change of "
	     "cards"},
    {.name = "yes", .letter = 'y', .kind = OPTION_FLAG, .help = "write without asking"},
    {.name = "dry-run", .kind = OPTION_FLAG, .help = "only show the diff"},
    {.name = "up",
     .kind = OPTION_FLAG,
     .help = "make the containers anew that this moves, and verify it on the GPUs"},
    {.name = "health-timeout",
     .kind = OPTION_DURATION,
     .value = "TIME",
     .help = "how long containers may take to be up and healthy (2m)"},
    {.name = "no-engine",
     .kind = OPTION_FLAG,
     .help =
	 "write also when the container engine does not tell which processes are the project's"},
    {.name = "json", .kind = OPTION_FLAG, .help = "print what was done as JSON"},
    {},
};

const struct verb verb_apply = {
    .name = "apply",
    .summary = "write the plan into .env and the compose files, and roll it out",
    .usage = "[-f FILE...] [--objective WHAT] [--way-out N] [--ids HOW] [--yes | --dry-run] [--up]",
    .description =
	"Works out the plan and writes it down, with the smallest edits that make it explicit:\n"
	"values in .env (a commented-out line is uncommented where it stands), a default in the\n"
	"compose file that a service could not run on, literals. Everything else stays byte for\n"
	"byte as it was. A unified diff is shown first, then it asks. All files are written or\n"
	"none, none that somebody changed meanwhile; what was there before stays beside each as\n"
	"FILE.plimsoll-TIME (keep these out of version control and images: they hold what .env\n"
	"held). A second run finds nothing to do. The diff shows lines of .env, and\n"
	"what secrets are in them: think of the log it goes to.\n"
	"\n"
	"One apply of a project at a time: another one waits a moment, and then says which "
	"process\n"
	"it is that works on it. A file that is read-only or has several names (hard links) is "
	"not\n"
	"replaced.\n"
	"\n"
	"--up then makes anew the containers that move, GPU services first in the order of\n"
	"depends_on and after them what depends on them, through docker compose, docker-compose "
	"or\n"
	"podman-compose, whichever runs the project; waits until they run and are healthy; and\n"
	"looks on the GPUs whether each service is where it was planned, and no GPU above its\n"
	"load line. When any of that fails, or at Ctrl-C, files and containers are put back.\n"
	"After a kill the next apply --up tells what stands half-done, and finishes it. Images "
	"that\n"
	"are not here are fetched before anything is touched.\n"
	"\n"
	"The diff goes to standard output, all else to standard error. Status 1: not everything\n"
	"fits, or the answer was no; 2: an option is wrong; 3: a file or the project cannot be "
	"read\n"
	"or it could not be done, and everything is as it was unless it says otherwise.\n",
    .examples = "  plimsoll apply --dry-run\n"
		"  plimsoll apply --up\n"
		"  plimsoll apply --way-out 1 --yes --ids uuid\n"
		"  plimsoll apply --dry-run --inventory gpus.json > plan.patch\n",
    .style = OPTIONS_OPERANDS,
    .options = apply_options,
    .run = run,
};
