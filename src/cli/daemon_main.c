/*
 * plimsoll-daemon: what `plimsoll serve` becomes. A program of its own because it stays: it loads
 * none of what the verbs need, the HTTP client with its three TLS libraries before all, and that is
 * a third of its memory.
 */
#include "cli/serve_options.h"
#include "cli/verbs.h"

#include <string.h>

int main(int argc, char **argv)
{
	auto_options struct options options = {};
	struct daemon_options daemon_options;
	struct error err = {};

	if (argc < 2 || strcmp(argv[1], "serve") != 0)
		return verb_complain(EXIT_USAGE, "plimsoll-daemon is started by `plimsoll serve`");
	if (options_parse(serve_options, OPTIONS_OPERANDS, argc - 2, argv + 2, &options, &err) < 0)
		return verb_complain(EXIT_USAGE, "serve: %s", err.text);
	daemon_options = serve_options_read(&options);
	return daemon_run(&daemon_options, &err) < 0 ? verb_complain(EXIT_CANNOT, "%s", err.text)
						     : EXIT_DONE;
}
