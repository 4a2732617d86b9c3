/* See serve_options.h: one table, so that the verb cannot accept what the daemon does not. */
#include "cli/serve_options.h"

#include <string.h>

const struct option_spec serve_options[] = {
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

struct daemon_options serve_options_read(const struct options *options)
{
	return (struct daemon_options){
	    .background = options_flag(options, "background"),
	    .system = options_flag(options, "system"),
	    .ready_fd = (int)options_int(options, "ready-fd", -1),
	    .interval_ms = (unsigned)options_get(options, "interval")->ms,
	    .log_cap_bytes = options_get(options, "log-cap")->bytes,
	    .stop_grace_ms = options_get(options, "grace")->ms,
	};
}

static bool is_among(const char *name, const char *const *names)
{
	while (names && *names)
		if (strcmp(name, *names++) == 0)
			return true;
	return false;
}

void serve_options_words(const struct options *options, const char *const *without,
			 struct strings *ret_words)
{
	for (const struct option_spec *spec = serve_options; spec->name; spec++) {
		const struct option_value *value = options_get(options, spec->name);

		if (!value->given || is_among(spec->name, without))
			continue;
		if (value->text)
			strings_take(ret_words, mem_printf("--%s=%s", spec->name, value->text));
		else
			strings_take(ret_words, mem_printf("--%s", spec->name));
	}
}
