/* See protocol.h. Encoding of a start request and the reading of every request. */
#include "run/protocol.h"

#include "run/client.h"

#include <errno.h>
#include <string.h>

json_t *protocol_bytes_encode(const char *s)
{
	json_t *json = json_string(s);
	auto_text struct text hex = {};

	if (json)
		return json;
	for (const unsigned char *p = (const unsigned char *)s; *p; p++)
		text_printf(&hex, "%02x", *p);
	return json_pack("{s:s}", "hex", hex.data ? hex.data : "");
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

char *protocol_bytes_decode(const json_t *json)
{
	const char *hex = jsonx_get_string(json, "hex", NULL);
	auto_free char *bytes = NULL;
	size_t len;

	if (json_is_string(json))
		return mem_strdup(json_string_value(json));
	if (!hex || strlen(hex) % 2 != 0)
		return NULL;
	len = strlen(hex) / 2;
	bytes = mem_alloc(len + 1);
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0 || (high == 0 && low == 0))
			return NULL;
		bytes[i] = (char)(high * 16 + low);
	}
	bytes[len] = '\0';
	return TAKE(bytes);
}

static json_t *list_encode(char *const *items)
{
	json_t *list = json_array();

	for (; items && *items; items++)
		(void)json_array_append_new(list, protocol_bytes_encode(*items));
	return list;
}

static int list_decode(const json_t *list, struct strings *ret_strings)
{
	auto_strings struct strings strings = {};
	size_t i;
	const json_t *item;

	if (!json_is_array(list) || json_array_size(list) > PROTOCOL_ARGS_MAX)
		return -EINVAL;
	json_array_foreach (list, i, item) {
		char *bytes = protocol_bytes_decode(item);

		if (!bytes)
			return -EINVAL;
		strings_take(&strings, bytes);
	}
	*ret_strings = strings;
	strings = (struct strings){};
	return 0;
}

bool protocol_is_transient(int code)
{
	static const int codes[] = {EAGAIN, ENOMEM, EMFILE, ENFILE,  EIO,
				    ENOSPC, EDQUOT, EINTR,  ETXTBSY, ESTALE};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i] == code)
			return true;
	return false;
}

/* --- the user and the terminal --- */

static json_t *user_encode(const struct supervisor_user *user)
{
	json_t *json =
	    json_pack("{s:I, s:I}", "uid", (json_int_t)user->uid, "gid", (json_int_t)user->gid);
	json_t *groups = json_array();

	for (size_t i = 0; i < user->n_groups; i++)
		(void)json_array_append_new(groups, json_integer((json_int_t)user->groups[i]));
	(void)json_object_set_new(json, "groups", groups);
	if (user->limits.set != 0)
		(void)json_object_set_new(json, "limits", limits_encode(&user->limits));
	return json;
}

/* An id of a user or group. Not the last one, -1: to setresuid() that means "leave as it is", and
 * would be root. */
static bool id_decode(const json_t *json, unsigned *ret_id)
{
	json_int_t value = json_integer_value(json);

	if (!json_is_integer(json) || value < 0 || value >= UINT32_MAX)
		return false;
	*ret_id = (unsigned)value;
	return true;
}

static int user_decode(const json_t *json, const char *attempt, struct protocol_user *user,
		       struct error *err)
{
	const json_t *groups = json_object_get(json, "groups"), *item;
	size_t i;

	if (!id_decode(json_object_get(json, "uid"), &user->uid) ||
	    !id_decode(json_object_get(json, "gid"), &user->gid))
		return error_set(err, -EINVAL,
				 "start of %s: \"user\" needs a \"uid\" and a \"gid\"", attempt);
	if (groups && (!json_is_array(groups) || json_array_size(groups) > PROTOCOL_GROUPS_MAX))
		return error_set(err, -EINVAL, "start of %s: \"groups\" is no list of at most %d",
				 attempt, PROTOCOL_GROUPS_MAX);
	user->groups = mem_calloc(json_array_size(groups) + 1, sizeof *user->groups);
	json_array_foreach (groups, i, item) {
		if (!id_decode(item, &user->groups[user->n_groups++]))
			return error_set(err, -EINVAL,
					 "start of %s: \"groups\" holds what is no group", attempt);
	}
	if (jsonx_has(json, "limits") &&
	    limits_decode(json_object_get(json, "limits"), &user->limits, err) < 0)
		return error_prefix(err, -EINVAL, "start of %s", attempt);
	return 0;
}

static json_t *bound_encode(const struct bound *bound)
{
	json_t *gpus = json_array();

	for (size_t i = 0; i < bound->n_gpus; i++)
		(void)json_array_append_new(gpus,
					    json_pack("{s:s, s:o}", "pci", bound->gpus[i].pci,
						      "bytes", jsonx_u64(bound->gpus[i].bytes)));
	return json_pack("{s:o, s:o}", "ram_bytes", jsonx_u64(bound->ram_bytes), "gpus", gpus);
}

/* What of it cannot be read is no bound: a task is not refused for want of one. */
static void bound_decode(const json_t *json, struct bound *bound)
{
	const json_t *gpu;
	size_t i;

	bound->ram_bytes = jsonx_get_u64(json, "ram_bytes", 0);
	json_array_foreach (json_object_get(json, "gpus"), i, gpu) {
		uint64_t bytes = jsonx_get_u64(gpu, "bytes", 0);

		if (bound->n_gpus == BOUND_GPUS_MAX || bytes == 0)
			continue;
		(void)snprintf(bound->gpus[bound->n_gpus].pci, BOUND_PCI_MAX, "%s",
			       jsonx_get_string(gpu, "pci", ""));
		bound->gpus[bound->n_gpus++].bytes = bytes;
	}
}

static bool is_tty_path(const char *path)
{
	return text_starts_with(path, "/dev/") && strlen(path) < 128 && !strstr(path, "..");
}

static int start_check(const struct supervisor_start *start, struct error *err)
{
	if (!start->attempt || !start->attempt[0] || !start->argv || !start->argv[0] || !start->cwd)
		return error_set(err, -EINVAL,
				 "a start needs an attempt id, a command and a folder");
	if (strlen(start->attempt) > PROTOCOL_ATTEMPT_MAX)
		return error_set(err, -EINVAL, "an attempt id has at most %d bytes",
				 PROTOCOL_ATTEMPT_MAX);
	if (start->nice < -20 || start->nice > 19)
		return error_set(err, -EINVAL, "nice %d is not in -20 to 19", start->nice);
	if (start->log_path && start->log_path[0] != '/')
		return error_set(err, -EINVAL, "log path %s is not absolute", start->log_path);
	if (start->tty && !is_tty_path(start->tty))
		return error_set(err, -EINVAL, "%s is no terminal: it is not below /dev",
				 start->tty);
	if (start->tty && start->log_path)
		return error_set(err, -EINVAL, "a task at a terminal has no log");
	if (start->user && (start->user->uid == (uid_t)-1 || start->user->gid == (gid_t)-1))
		return error_set(err, -EINVAL, "the user or the group of the task is not known");
	if (start->user && start->user->n_groups > PROTOCOL_GROUPS_MAX)
		return error_set(err, -E2BIG, "a user has at most %d groups", PROTOCOL_GROUPS_MAX);
	return 0;
}

int protocol_start_encode(const struct supervisor_start *start, char **ret_line, struct error *err)
{
	auto_json json_t *json = NULL;
	auto_free char *line = NULL;
	int r = start_check(start, err);

	if (r < 0)
		return r;
	json = json_pack("{s:s, s:s, s:o, s:o, s:o, s:i, s:I, s:i}", "op", "start", "attempt",
			 start->attempt, "argv", list_encode(start->argv), "env",
			 list_encode(start->env), "cwd", protocol_bytes_encode(start->cwd), "umask",
			 (int)start->umask, "log_cap_bytes", (json_int_t)start->log_cap_bytes,
			 "nice", start->nice);
	if (!json)
		return error_set(err, -EINVAL, "attempt id %s is not UTF-8", start->attempt);
	if (start->log_path)
		(void)json_object_set_new(json, "log", protocol_bytes_encode(start->log_path));
	if (start->log_path && start->log_is_private)
		(void)json_object_set_new(json, "log_owner", json_string("supervisor"));
	if (start->tty)
		(void)json_object_set_new(json, "tty", json_string(start->tty));
	if (start->user)
		(void)json_object_set_new(json, "user", user_encode(start->user));
	if (start->bound && (start->bound->ram_bytes > 0 || start->bound->n_gpus > 0))
		(void)json_object_set_new(json, "bound", bound_encode(start->bound));
	line = jsonx_dump(json);
	if (strlen(line) + 1 > PROTOCOL_LINE_MAX)
		return error_set(
		    err, -E2BIG,
		    "the command and its environment take %zu KiB, more than the %zu KiB "
		    "a task may have",
		    strlen(line) >> 10, PROTOCOL_LINE_MAX >> 10);
	*ret_line = TAKE(line);
	return 0;
}

/* Where its output goes. */
static int output_decode(const json_t *json, struct protocol_request *request, struct error *err)
{
	const char *owner = jsonx_get_string(json, "log_owner", "user");
	const char *tty = jsonx_get_string(json, "tty", NULL);

	if (jsonx_has(json, "log")) {
		request->log_path = protocol_bytes_decode(json_object_get(json, "log"));
		if (!request->log_path || request->log_path[0] != '/')
			return error_set(err, -EINVAL, "start of %s: \"log\" is no absolute path",
					 request->attempt);
	}
	if (strcmp(owner, "supervisor") == 0)
		request->log_owner = PROTOCOL_LOG_SUPERVISOR;
	else if (strcmp(owner, "user") != 0)
		return error_set(err, -EINVAL,
				 "start of %s: \"log_owner\" is neither user nor supervisor",
				 request->attempt);
	if (!jsonx_has(json, "tty"))
		return 0;
	if (!tty || !is_tty_path(tty))
		return error_set(err, -EINVAL, "start of %s: \"tty\" is no path below /dev",
				 request->attempt);
	if (request->log_path)
		return error_set(err, -EINVAL,
				 "start of %s: \"log\" and \"tty\" exclude each other",
				 request->attempt);
	request->tty = mem_strdup(tty);
	return 0;
}

static int start_decode(const json_t *json, struct protocol_request *request, struct error *err)
{
	const json_t *cwd = json_object_get(json, "cwd");
	const char *attempt = request->attempt;
	int r;

	if (list_decode(json_object_get(json, "argv"), &request->argv) < 0 || request->argv.n == 0)
		return error_set(err, -EINVAL, "start of %s: \"argv\" is no list of arguments",
				 attempt);
	if (jsonx_has(json, "env") && list_decode(json_object_get(json, "env"), &request->env) < 0)
		return error_set(err, -EINVAL, "start of %s: \"env\" is no list of KEY=VALUE",
				 attempt);
	request->cwd = cwd ? protocol_bytes_decode(cwd) : mem_strdup("/");
	if (!request->cwd)
		return error_set(err, -EINVAL, "start of %s: \"cwd\" is no path", attempt);
	r = output_decode(json, request, err);
	if (r < 0)
		return r;
	request->has_user = jsonx_has(json, "user");
	if (request->has_user) {
		r = user_decode(json_object_get(json, "user"), attempt, &request->user, err);
		if (r < 0)
			return r;
	}
	bound_decode(json_object_get(json, "bound"), &request->bound);
	request->umask = (mode_t)jsonx_get_u64(json, "umask", 022) & 0777;
	request->log_cap_bytes = jsonx_get_u64(json, "log_cap_bytes", 0);
	request->nice = (int)jsonx_get_i64(json, "nice", 0);
	if (request->nice < -20 || request->nice > 19)
		return error_set(err, -EINVAL, "start of %s: \"nice\" is not in -20 to 19",
				 attempt);
	return 0;
}

static const struct {
	const char *name;
	bool needs_attempt;
} ops[] = {
    [PROTOCOL_HELLO] = {"hello", false},  [PROTOCOL_START] = {"start", true},
    [PROTOCOL_SIGNAL] = {"signal", true}, [PROTOCOL_ACK] = {"ack", true},
    [PROTOCOL_LIST] = {"list", false},    [PROTOCOL_QUIT] = {"quit", false},
};

static int op_find(const char *name, enum protocol_op *ret_op)
{
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (strcmp(ops[i].name, name) == 0) {
			*ret_op = (enum protocol_op)i;
			return 0;
		}
	}
	return -ENOENT;
}

int protocol_request_parse(const char *line, size_t len, struct protocol_request *ret_request,
			   struct error *err)
{
	CLEANUP(protocol_request_finish) struct protocol_request request = {};
	auto_json json_t *json = NULL;
	const char *name, *attempt;
	int r = jsonx_parse(line, len, "request", &json, err);

	if (r < 0)
		return r;
	name = jsonx_get_string(json, "op", NULL);
	if (!name)
		return error_set(err, -EINVAL, "a request is an object with an \"op\"");
	if (op_find(name, &request.op) < 0)
		return error_set(err, -EINVAL, "unknown op \"%.64s\"", name);
	attempt = jsonx_get_string(json, "attempt", NULL);
	if (ops[request.op].needs_attempt) {
		if (!attempt || !attempt[0] || strlen(attempt) > PROTOCOL_ATTEMPT_MAX)
			return error_set(err, -EINVAL,
					 "op \"%s\" needs an \"attempt\" of 1 to %d bytes", name,
					 PROTOCOL_ATTEMPT_MAX);
		request.attempt = mem_strdup(attempt);
	}
	request.wants_usage = jsonx_get_bool(json, "usage", false);
	if (request.op == PROTOCOL_SIGNAL) {
		request.signal = (int)jsonx_get_i64(json, "signal", 0);
		if (request.signal < 1 || request.signal > 64)
			return error_set(err, -EINVAL, "signal of %s: \"signal\" is not in 1 to 64",
					 attempt);
	}
	if (request.op == PROTOCOL_START) {
		r = start_decode(json, &request, err);
		if (r < 0)
			return r;
	}
	*ret_request = request;
	request = (struct protocol_request){};
	return 0;
}

void protocol_request_finish(struct protocol_request *request)
{
	free(request->attempt);
	free(request->cwd);
	free(request->log_path);
	free(request->tty);
	free(request->user.groups);
	strings_finish(&request->argv);
	strings_finish(&request->env);
	*request = (struct protocol_request){};
}
