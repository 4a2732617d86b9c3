/* Any line as a request to the supervisor: it is refused with a text, or whole and in bounds; a
 * start that was taken encodes to a line that is taken again. */
#include "run/client.h"
#include "run/protocol.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct protocol_request *request)
{
	struct supervisor_user user = {
	    .uid = request->user.uid,
	    .gid = request->user.gid,
	    .groups = request->user.groups,
	    .n_groups = request->user.n_groups,
	    .limits = request->user.limits,
	};
	struct supervisor_start start = {
	    .attempt = request->attempt,
	    .argv = request->argv.items,
	    .env = request->env.items,
	    .cwd = request->cwd,
	    .umask = request->umask,
	    .log_path = request->log_path,
	    .log_cap_bytes = request->log_cap_bytes,
	    .nice = request->nice,
	    .log_is_private = request->log_owner == PROTOCOL_LOG_SUPERVISOR,
	    .tty = request->tty,
	    .user = request->has_user ? &user : NULL,
	};
	struct protocol_request second = {};
	auto_free char *line = NULL;

	/* Only one that has grown in the encoding may be too long. */
	if (protocol_start_encode(&start, &line, NULL) < 0)
		return;
	if (protocol_request_parse(line, strlen(line), &second, NULL) < 0 ||
	    second.argv.n != request->argv.n || second.env.n != request->env.n ||
	    second.umask != request->umask || second.nice != request->nice ||
	    strcmp(second.argv.items[0], request->argv.items[0]) != 0 ||
	    strcmp(second.cwd, request->cwd) != 0 || !request->tty != !second.tty ||
	    second.has_user != request->has_user || second.user.uid != request->user.uid ||
	    second.user.gid != request->user.gid ||
	    second.user.n_groups != request->user.n_groups ||
	    memcmp(&second.user.limits, &request->user.limits, sizeof second.user.limits) != 0)
		abort();
	protocol_request_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct protocol_request request = {};
	struct error err = {};

	if (size > PROTOCOL_LINE_MAX)
		return 0;
	if (protocol_request_parse((const char *)data, size, &request, &err) < 0) {
		if (err.code >= 0 || err.text[0] == '\0')
			abort();
		return 0;
	}
	if (request.op == PROTOCOL_SIGNAL && (request.signal < 1 || request.signal > 64))
		abort();
	if (request.op == PROTOCOL_START) {
		if (request.argv.n == 0 || request.umask > 0777 || !request.cwd ||
		    request.user.uid == (uid_t)-1 || request.user.gid == (gid_t)-1 ||
		    (request.tty && request.log_path))
			abort();
		again(&request);
	}
	protocol_request_finish(&request);
	return 0;
}
