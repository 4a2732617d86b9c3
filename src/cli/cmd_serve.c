/* plimsoll serve: the daemon itself. The other verbs start it with --background when it is needed.
 */
#include "api/client.h"
#include "cli/serve_options.h"
#include "cli/verbs.h"
#include "util/duration.h"
#include "util/jsonx.h"
#include "util/paths.h"
#include "util/pidref.h"
#include "util/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_MAX_MS  10000
#define STOP_LOOK_MS 10

/* Where the daemon meant lies: the machine's, or the user's own (all NULL). */
struct place {
	char *socket_path, *runtime_dir, *state_dir;
	bool is_system;
};

static struct place place_of(const struct options *options)
{
	struct place place = {.is_system = options_flag(options, "system")};

	if (!place.is_system)
		return place;
	place.runtime_dir = paths_system_runtime_dir();
	place.state_dir = paths_system_state_dir();
	place.socket_path = mem_printf("%s/%s", place.runtime_dir, API_SOCKET);
	return place;
}

static void place_finish(struct place *place)
{
	free(place->socket_path);
	free(place->runtime_dir);
	free(place->state_dir);
}
#define auto_place CLEANUP(place_finish)

/* It answers before it ends; a daemon started meanwhile would find its lock still taken. */
static int wait_for_end(pid_t pid, uint64_t start_time)
{
	int64_t deadline = monotonic_now_ms() + STOP_MAX_MS;

	while (pid > 0 && pid_is_alive(pid, start_time)) {
		if (monotonic_now_ms() > deadline)
			return verb_complain(EXIT_CANNOT, "the daemon (pid %d) has not ended in %s",
					     (int)pid, DURATION_TEXT(STOP_MAX_MS));
		(void)poll(NULL, 0, STOP_LOOK_MS);
	}
	return EXIT_DONE;
}

static int stop(const struct options *options)
{
	auto_json json_t *status = NULL;
	uint64_t start_time = 0;
	pid_t pid = 0;
	auto_api_client struct api_client *client = NULL;
	auto_place struct place place = place_of(options);
	struct error err = {};
	int r = api_client_create(&(struct api_client_options){.socket_path = place.socket_path,
							       .root_only = place.is_system},
				  &client, &err);

	if (r == 0)
		r = api_client_call(client, "GET", "/v1/status", NULL, &status, &err);
	if (r == 0)
		pid = (pid_t)jsonx_get_u64(status, "pid", 0);
	if (pid > 0 && pid_start_time(pid, &start_time) < 0)
		pid = 0; /* not to be seen from here */
	if (r == 0)
		r = api_client_call(client, "POST", "/v1/shutdown", NULL, NULL, &err);
	if (r == -ECONNREFUSED)
		return verb_complain(EXIT_PROBLEM, "no daemon runs%s",
				     place.is_system ? " for the whole machine" : "");
	return r < 0 ? verb_fail(&err) : wait_for_end(pid, start_time);
}

/* Asked for by hand: the way other verbs start it, which waits until it answers. */
static int start_in_background(const struct options *options)
{
	static const char *const without[] = {"background", NULL};
	auto_api_client struct api_client *client = NULL;
	auto_place struct place place = place_of(options);
	auto_strings struct strings words = {};
	struct error err = {};
	int r;

	serve_options_words(options, without, &words);
	r = api_client_create(
	    &(struct api_client_options){.auto_start = true,
					 .root_only = place.is_system,
					 .socket_path = place.socket_path,
					 .runtime_dir = place.runtime_dir,
					 .state_dir = place.state_dir,
					 .arguments = (const char *const *)words.items},
	    &client, &err);
	if (r < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	return EXIT_DONE;
}

/* This process becomes the daemon. */
static int become_daemon(const struct options *options)
{
	auto_strings struct strings words = {};
	auto_free char *program = NULL;
	struct error err = {};

	if (paths_find_helper("plimsoll-daemon", &program, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	strings_add(&words, "plimsoll");
	strings_add(&words, "serve");
	serve_options_words(options, NULL, &words);
	(void)execv(program, words.items);
	return verb_complain(EXIT_CANNOT, "cannot run %s: %s", program, strerror(errno));
}

static int run(const struct options *options)
{
	bool background = options_flag(options, "background");

	if (options_flag(options, "stop") && background)
		return verb_complain(EXIT_USAGE, "serve: --stop contradicts --background");
	if (options_flag(options, "stop"))
		return stop(options);
	if (background && !options_flag(options, "ready-fd"))
		return start_in_background(options);
	return become_daemon(options);
}

const struct verb verb_serve = {
    .name = "serve",
    .summary = "the daemon: queue, scheduler, API",
    .usage = "[--system] [--background | --stop] [--interval TIME] [--log-cap SIZE] [--grace TIME]",
    .description =
	"Runs in the foreground until SIGTERM or Ctrl-C; tasks run on without it. There is no "
	"need\n"
	"to start it: a verb that needs it does, and logs to daemon.log in the state folder.\n"
	"\n"
	"With --system it is the daemon of all users, run by root: its socket is\n"
	"/run/plimsoll/api.sock, its state /var/lib/plimsoll (PLIMSOLL_SYSTEM_RUNTIME_DIR and\n"
	"PLIMSOLL_SYSTEM_STATE_DIR name others). A task runs as the user who sent it, with his\n"
	"groups and limits. Users see each other's tasks, but of those only name, state, size and\n"
	"GPU, and touch only their own. The other verbs use it when the user has no daemon of his\n"
	"own running; PLIMSOLL_SYSTEM=1 in the environment asks for it, PLIMSOLL_SYSTEM=0 for one\n"
	"of one's own.\n",
    .examples = "  plimsoll serve\n"
		"  plimsoll serve --stop\n"
		"  systemctl enable --now plimsoll   # the machine's, at every boot\n"
		"  plimsoll serve --system --background   # the same without systemd\n",
    .style = OPTIONS_OPERANDS,
    .options = serve_options,
    .run = run,
};
