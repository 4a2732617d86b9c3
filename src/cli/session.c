/* See session.h. */
#include "cli/session.h"

#include "util/paths.h"
#include "util/timestamp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RETRY_MS           300
#define SUBMIT_TRIES       5
#define SUBMIT_PATIENCE_MS 20000
#define KEY_BYTES          16

/* The daemon this process talks to. Chosen once: a task's number means another task in another
 * daemon, so a daemon that goes away is waited for, and never exchanged for another. */
static enum choice { CHOICE_NONE, CHOICE_OWN, CHOICE_SYSTEM } choice;

/* $PLIMSOLL_SYSTEM: "1" the machine's and no other, "0" one's own and no other. */
static enum choice choice_asked(void)
{
	const char *text = getenv("PLIMSOLL_SYSTEM");

	if (!text || !*text)
		return CHOICE_NONE;
	return strcmp(text, "0") == 0 ? CHOICE_OWN : CHOICE_SYSTEM;
}

static int open_own(bool auto_start, struct api_client **ret_client, struct error *err)
{
	return api_client_create(&(struct api_client_options){.auto_start = auto_start}, ret_client,
				 err);
}

static int open_system(struct api_client **ret_client, struct error *err)
{
	auto_free char *dir = paths_system_runtime_dir();
	auto_free char *path = mem_printf("%s/%s", dir, API_SOCKET);
	int r = api_client_create(
	    &(struct api_client_options){.socket_path = path, .root_only = true}, ret_client, err);

	if (r == -ECONNREFUSED)
		return error_set(err, r,
				 "no daemon runs for the whole machine (nobody listens on %s): "
				 "start it (systemctl start plimsoll), or unset PLIMSOLL_SYSTEM to "
				 "have one of your own",
				 path);
	return r;
}

/* One's own when it runs, else the machine's when there is one, else one's own, started. */
static int open_any(bool auto_start, struct api_client **ret_client, enum choice *ret_choice,
		    struct error *err)
{
	int r = open_own(false, ret_client, err);

	*ret_choice = CHOICE_OWN;
	if (r != -ECONNREFUSED)
		return r;
	if (open_system(ret_client, NULL) == 0) {
		*ret_choice = CHOICE_SYSTEM;
		return 0;
	}
	return auto_start ? open_own(true, ret_client, err) : r;
}

static int open_chosen(bool auto_start, struct api_client **ret_client, struct error *err)
{
	enum choice wanted = choice != CHOICE_NONE ? choice : choice_asked(), found = wanted;
	int r;

	if (wanted == CHOICE_SYSTEM)
		r = open_system(ret_client, err);
	else if (wanted == CHOICE_OWN)
		r = open_own(auto_start, ret_client, err);
	else
		r = open_any(auto_start, ret_client, &found, err);
	if (r == 0)
		choice = found;
	return r;
}

int session_open(struct api_client **ret_client)
{
	struct error err = {};

	if (open_chosen(true, ret_client, &err) < 0)
		return verb_complain(EXIT_CANNOT, "%s", error_text(&err));
	return EXIT_DONE;
}

int session_join(struct api_client **ret_client, struct error *err)
{
	return open_chosen(false, ret_client, err);
}

static PRINTF(5, 0) int call(struct api_client *client, const char *method, const json_t *body,
			     json_t **ret_json, const char *path, va_list ap, struct error *err)
{
	char full[1024];

	(void)vsnprintf(full, sizeof full, path, ap);
	return api_client_call(client, method, full, body, ret_json, err);
}

int session_call(struct api_client *client, const char *method, const json_t *body,
		 json_t **ret_json, const char *path, ...)
{
	struct error err = {};
	va_list ap;
	int r;

	va_start(ap, path);
	r = call(client, method, body, ret_json, path, ap, &err);
	va_end(ap);
	return r < 0 ? verb_fail(&err) : EXIT_DONE;
}

int session_try(struct api_client *client, const char *method, const json_t *body,
		json_t **ret_json, struct error *err, const char *path, ...)
{
	va_list ap;
	int r;

	va_start(ap, path);
	r = call(client, method, body, ret_json, path, ap, err);
	va_end(ap);
	return r;
}

static int key_make(char key[2 * KEY_BYTES + 1], struct error *err)
{
	unsigned char bytes[KEY_BYTES];

	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		return error_sys(err, -errno, "cannot get random bytes");
	for (size_t i = 0; i < sizeof bytes; i++)
		(void)snprintf(key + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

int session_submit(struct api_client **client, const char *path, const json_t *body,
		   json_t **ret_json, struct error *err)
{
	auto_json json_t *keyed = json_copy((json_t *)(uintptr_t)body);
	char key[2 * KEY_BYTES + 1];
	int r = key_make(key, err);

	if (r < 0)
		return r;
	(void)json_object_set_new(keyed, "key", json_string(key));
	for (int tries = 1;; tries++) {
		r = session_try(*client, "POST", keyed, ret_json, err, "%s", path);
		if (!session_is_gone(r) || tries == SUBMIT_TRIES)
			return r;
		r = session_reopen(client, SUBMIT_PATIENCE_MS, err);
		if (r < 0)
			return r;
	}
}

bool session_is_gone(int code)
{
	return code == -EPIPE || code == -ECONNREFUSED || code == -ECONNRESET;
}

int session_reopen(struct api_client **client, int patience_ms, struct error *err)
{
	int64_t deadline = monotonic_now_ms() + patience_ms;
	int r;

	api_client_destroy(TAKE(*client));
	for (;;) {
		r = open_chosen(true, client, err);
		if (r == 0 || monotonic_now_ms() >= deadline)
			return r;
		(void)poll(NULL, 0, RETRY_MS);
	}
}
