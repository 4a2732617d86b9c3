/* plimsoll serve: the daemon itself. The other verbs start it with --background when it is needed.
 */
#include "api/client.h"
#include "cli/verbs.h"
#include "daemon/serve.h"
#include "util/paths.h"

#include <errno.h>
#include <stdlib.h>

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

static int stop(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_place struct place place = place_of(options);
	struct error err = {};
	int r = api_client_create(&(struct api_client_options){.socket_path = place.socket_path,
							       .root_only = place.is_system},
				  &client, &err);

	if (r == 0)
		r = api_client_call(client, "POST", "/v1/shutdown", NULL, NULL, &err);
	if (r == -ECONNREFUSED)
		return verb_complain(EXIT_PROBLEM, "no daemon runs%s",
				     place.is_system ? " for the whole machine" : "");
	return r < 0 ? verb_fail(&err) : EXIT_DONE;
}

/* Asked for by hand: the way other verbs start it, which waits until it answers. */
static int start_in_background(const struct options *options)
{
	static const char *const settings[] = {"interval", "log-cap", "grace"};
	auto_api_client struct api_client *client = NULL;
	auto_place struct place place = place_of(options);
	const char *arguments[API_START_ARGUMENTS + 1] = {};
	struct text words[ARRAY_LEN(settings)] = {};
	struct error err = {};
	size_t n = 0;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (options_flag(options, settings[i])) {
			text_printf(&words[n], "--%s=%s", settings[i],
				    options_text(options, settings[i], ""));
			arguments[n] = words[n].data;
			n++;
		}
	if (place.is_system)
		arguments[n] = "--system";
	r = api_client_create(&(struct api_client_options){.auto_start = true,
							   .root_only = place.is_system,
							   .socket_path = place.socket_path,
							   .runtime_dir = place.runtime_dir,
							   .state_dir = place.state_dir,
							   .arguments = arguments},
			      &client, &err);
	for (size_t i = 0; i < n; i++)
		text_finish(&words[i]);
	if (r < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	return EXIT_DONE;
}

static int run(const struct options *options)
{
	struct error err = {};
	struct daemon_options daemon_options = {
	    .background = options_flag(options, "background"),
	    .system = options_flag(options, "system"),
	    .ready_fd = (int)options_int(options, "ready-fd", -1),
	    .interval_ms = (unsigned)options_get(options, "interval")->ms,
	    .log_cap_bytes = options_get(options, "log-cap")->bytes,
	    .stop_grace_ms = options_get(options, "grace")->ms,
	};

	if (options_flag(options, "stop") && daemon_options.background)
		return verb_complain(EXIT_USAGE, "serve: --stop contradicts --background");
	if (options_flag(options, "stop"))
		return stop(options);
	if (daemon_options.background && daemon_options.ready_fd < 0)
		return start_in_background(options);
	return daemon_run(&daemon_options, &err) < 0 ? verb_complain(EXIT_CANNOT, "%s", err.text)
						     : EXIT_DONE;
}

static const struct option_spec serve_options[] = {
    {"system", 0, OPTION_FLAG,
     .help = "for the whole machine: every user may send tasks, each runs as its sender (root)"},
    {"stop", 0, OPTION_FLAG,
     .help = "end the daemon that runs; tasks run on, a new one takes over"},
    {"interval", 0, OPTION_DURATION, "TIME", .help = "between looks at the GPUs (default 1s)"},
    {"log-cap", 0, OPTION_SIZE, "SIZE",
     .help = "of one attempt's log; above it the middle is cut out (default 64M)"},
    {"grace", 0, OPTION_DURATION, "TIME",
     .help = "a canceled task has from SIGTERM to SIGKILL (default 10s)"},
    {"background", 0, OPTION_FLAG, .help = "start it, wait until it answers, leave it running"},
    {"ready-fd", 0, OPTION_INT, "FD", .help = "where to say \"ready\"", .min = 3, .max = 65535},
    {},
};

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
