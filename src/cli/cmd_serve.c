/* plimsoll serve: the daemon itself. The other verbs start it with --background when it is needed.
 */
#include "api/client.h"
#include "cli/verbs.h"
#include "daemon/serve.h"

#include <errno.h>

static int stop(void)
{
	auto_api_client struct api_client *client = NULL;
	struct error err = {};
	int r = api_client_create(NULL, &client, &err);

	if (r == 0)
		r = api_client_call(client, "POST", "/v1/shutdown", NULL, NULL, &err);
	if (r == -ECONNREFUSED)
		return verb_complain(EXIT_PROBLEM, "no daemon runs");
	return r < 0 ? verb_fail(&err) : EXIT_DONE;
}

/* Asked for by hand: the way other verbs start it, which waits until it answers. */
static int start_in_background(const struct options *options)
{
	static const char *const settings[] = {"interval", "log-cap", "grace"};
	auto_api_client struct api_client *client = NULL;
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
	r = api_client_create(
	    &(struct api_client_options){.auto_start = true, .arguments = arguments}, &client,
	    &err);
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
	    .ready_fd = (int)options_int(options, "ready-fd", -1),
	    .interval_ms = (unsigned)options_get(options, "interval")->ms,
	    .log_cap_bytes = options_get(options, "log-cap")->bytes,
	    .stop_grace_ms = options_get(options, "grace")->ms,
	};

	if (options_flag(options, "stop") && daemon_options.background)
		return verb_complain(EXIT_USAGE, "serve: --stop contradicts --background");
	if (options_flag(options, "stop"))
		return stop();
	if (daemon_options.background && daemon_options.ready_fd < 0)
		return start_in_background(options);
	return daemon_run(&daemon_options, &err) < 0 ? verb_complain(EXIT_CANNOT, "%s", err.text)
						     : EXIT_DONE;
}

static const struct option_spec serve_options[] = {
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
    .usage = "[--background | --stop] [--interval TIME] [--log-cap SIZE] [--grace TIME]",
    .description =
	"Runs in the foreground until SIGTERM or Ctrl-C; tasks run on without it. There is no "
	"need\n"
	"to start it: a verb that needs it does, and logs to daemon.log in the state folder.\n",
    .examples = "  plimsoll serve\n"
		"  plimsoll serve --stop\n",
    .style = OPTIONS_OPERANDS,
    .options = serve_options,
    .run = run,
};
