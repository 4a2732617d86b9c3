/* The one binary: finds the verb, hands over. */
#include "cli/verbs.h"
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

/* Output that could not be written (a full disk) is a failure, a reader that has seen enough is
 * not. */
static int finish(int code)
{
	if ((fflush(stdout) != 0 || ferror(stdout)) && errno != EPIPE && code == EXIT_DONE)
		return verb_complain(EXIT_CANNOT, "cannot write the output%s%s", errno ? ": " : "",
				     errno ? strerror(errno) : "");
	return code;
}

int main(int argc, char **argv)
{
	auto_text struct text text = {};
	const struct verb *verb;

	(void)setlocale(LC_CTYPE, "");
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		verbs_describe(&text);
		(void)fputs(text.data, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		(void)printf("plimsoll %s\n", PLIMSOLL_VERSION);
		return finish(EXIT_DONE);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return finish(verbs_dispatch(&verb_help, 0, NULL));
	verb = verb_find(argv[1]);
	if (!verb)
		return verb_unknown(argv[1]);
	return finish(verbs_dispatch(verb, argc - 2, argv + 2));
}
