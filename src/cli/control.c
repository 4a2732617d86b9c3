/* See control.h. Both need a daemon: what they say must outlive them. */
#include "cli/control.h"

#include "cli/session.h"
#include "cli/table.h"
#include "cli/term.h"
#include "util/when.h"

#include <string.h>

/* {"reason"}, {} without one; NULL: said that it cannot be sent. */
static json_t *reason_body(const struct options *options)
{
	const char *reason = options_text(options, "reason", NULL);
	json_t *json = reason ? json_string(reason) : NULL;

	if (reason && !json) {
		(void)verb_complain(EXIT_USAGE, "--reason is not UTF-8");
		return NULL;
	}
	return json ? json_pack("{s:o}", "reason", json) : json_object();
}

static void say_gpu(const char *gpu, bool drain)
{
	if (drain)
		(void)printf("GPU %s is drained: what runs there goes on, nothing new starts; "
			     "`plimsoll gpus resume %s` takes it back\n",
			     gpu, gpu);
	else
		(void)printf("GPU %s is in service\n", gpu);
}

static int change_gpu(struct api_client *client, const struct options *options, const char *gpu,
		      bool drain)
{
	auto_json json_t *answer = NULL;
	auto_json json_t *body = reason_body(options);
	int code;

	if (json_object_set_new(body, "gpu", json_string(gpu)) < 0)
		return verb_complain(EXIT_USAGE, "the GPU's name is not UTF-8");
	code =
	    session_call(client, "POST", body, &answer, "/v1/gpus/%s", drain ? "drain" : "resume");
	if (code == EXIT_DONE && options_flag(options, "json"))
		term_print_json(stdout, answer);
	else if (code == EXIT_DONE)
		say_gpu(gpu, drain);
	return code;
}

int control_gpus(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *reason = reason_body(options);
	const char *action = options->operands.items[0];
	bool drain = strcmp(action, "drain") == 0;
	int code, worst = EXIT_DONE;

	if (!drain && strcmp(action, "resume") != 0)
		return verb_complain(EXIT_USAGE, "gpus: \"%.64s\" is neither drain nor resume",
				     action);
	if (options->operands.n < 2)
		return verb_complain(EXIT_USAGE, "gpus %s: which GPU? its index, PCI id or UUID",
				     action);
	if (!drain && options_flag(options, "reason"))
		return verb_complain(EXIT_USAGE, "gpus: --reason is for drain");
	if (!reason)
		return EXIT_USAGE;
	code = session_open(&client);
	if (code != EXIT_DONE)
		return code;
	for (size_t i = 1; i < options->operands.n; i++) {
		code = change_gpu(client, options, options->operands.items[i], drain);
		worst = MAX_OF(worst, code);
	}
	return worst;
}

static void add_count(struct table *table, const json_t *user, const char *key)
{
	if (jsonx_has(user, key))
		table_add(table, "%llu", (unsigned long long)jsonx_get_u64(user, key, 0));
	else
		table_add(table, "?");
}

static void add_user(struct table *table, const json_t *user)
{
	if (jsonx_has(user, "user"))
		table_add(table, "%s", jsonx_get_string(user, "user", ""));
	else
		table_add(table, "%llu", (unsigned long long)jsonx_get_u64(user, "uid", 0));
	add_count(table, user, "running");
	add_count(table, user, "queued");
	if (jsonx_has(user, "usage_gpu_seconds"))
		table_add(table, "%.2f", jsonx_get_real(user, "usage_gpu_seconds", 0) / 3600);
	else
		table_add(table, "?");
	if (jsonx_has(user, "usage_share_percent"))
		table_add(table, "%.0f%%", jsonx_get_real(user, "usage_share_percent", 0));
	else
		table_add(table, "?");
}

static int show_users(const struct options *options)
{
	static const struct table_column columns[] = {
	    {.title = "user"},
	    {.title = "running", .right = true},
	    {.title = "queued", .right = true},
	    {.title = "GPU hours", .right = true},
	    {.title = "share", .right = true},
	};
	auto_table struct table *table = table_create(columns, ARRAY_LEN(columns));
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *status = NULL;
	auto_text struct text text = {};
	const json_t *users, *user;
	size_t i;
	int code = session_open(&client);

	if (code == EXIT_DONE)
		code = session_call(client, "GET", NULL, &status, "/v1/status");
	if (code != EXIT_DONE)
		return code;
	users = json_object_get(status, "users");
	if (options_flag(options, "json")) {
		auto_json json_t *document = json_pack("{s:O}", "users", users);

		term_print_json(stdout, document);
		return EXIT_DONE;
	}
	json_array_foreach (users, i, user)
		add_user(table, user);
	table_render(table, term_table_width(stdout), &text);
	(void)fputs(json_array_size(users) > 0 ? text.data : "nobody has used anything lately\n",
		    stdout);
	return EXIT_DONE;
}

int control_tell_pause(struct api_client *client)
{
	auto_json json_t *status = NULL;
	int code = session_call(client, "GET", NULL, &status, "/v1/status");
	const json_t *paused = json_object_get(json_object_get(status, "rules"), "paused");

	if (code == EXIT_DONE && json_is_object(paused))
		(void)fprintf(stderr,
			      "the queue is paused since %s%s%s; `plimsoll queue resume` goes on\n",
			      WHEN_TEXT(jsonx_get_time(paused, "since")),
			      jsonx_has(paused, "reason") ? ": " : "",
			      jsonx_get_string(paused, "reason", ""));
	return code;
}

int control_queue(const struct options *options)
{
	auto_api_client struct api_client *client = NULL;
	auto_json json_t *answer = NULL, *body = NULL;
	const char *action = options->operands.items[0];
	bool pause = strcmp(action, "pause") == 0;
	int code;

	if (strcmp(action, "users") == 0)
		return show_users(options);
	if (!pause && strcmp(action, "resume") != 0)
		return verb_complain(EXIT_USAGE, "queue: \"%.64s\" is none of pause, resume, users",
				     action);
	if (!pause && options_flag(options, "reason"))
		return verb_complain(EXIT_USAGE, "queue: --reason is for pause");
	if (pause && !(body = reason_body(options)))
		return EXIT_USAGE;
	code = session_open(&client);
	if (code == EXIT_DONE)
		code = session_call(client, "POST", body, &answer, "/v1/queue/%s", action);
	if (code != EXIT_DONE)
		return code;
	if (options_flag(options, "json"))
		term_print_json(stdout, answer);
	else if (pause)
		(void)printf("the queue is paused: what runs goes on, nothing new starts; "
			     "`plimsoll queue resume` goes on\n");
	else
		(void)printf("the queue goes on\n");
	return EXIT_DONE;
}
