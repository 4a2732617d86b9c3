/* See workers.h. */
#include "cli/workers.h"

#include "cli/follow.h"
#include "cli/session.h"
#include "cli/submission.h"
#include "cli/term.h"
#include "cli/verbs.h"

struct workers {
	struct api_client **client; /* may be replaced */
	const json_t *body;
	json_t *answer;
};

static int submit(void *data, json_t **ret_batch, struct error *err)
{
	struct workers *workers = data;
	unsigned long long n;
	int r =
	    session_submit(workers->client, "/v1/batches", workers->body, &workers->answer, err);

	if (r < 0) {
		submission_explain(err);
		return r;
	}
	*ret_batch = json_incref(json_object_get(workers->answer, "batch"));
	n = jsonx_get_u64(*ret_batch, "total", 0);
	(void)fprintf(stderr, "batch b%llu: %llu worker%s\n",
		      (unsigned long long)jsonx_get_u64(*ret_batch, "id", 0), n, PLURAL(n));
	return 0;
}

static int submit_and_leave(struct workers *workers, bool as_json)
{
	auto_json json_t *batch = NULL;
	struct error err = {};

	if (submit(workers, &batch, &err) < 0)
		return verb_fail(&err);
	if (as_json)
		term_print_json(stdout, workers->answer);
	else
		(void)printf("b%llu\n", (unsigned long long)jsonx_get_u64(batch, "id", 0));
	return EXIT_DONE;
}

int workers_run(const struct options *options, const char *on_failure, bool detach, bool as_json)
{
	auto_api_client struct api_client *client = NULL, *events = NULL;
	auto_json json_t *body = NULL;
	struct workers workers = {.client = &client};
	struct follow_target target = {.submit = submit, .data = &workers};
	struct error err = {};
	int code;

	if (submission_build_workers(options, on_failure, &body, &err) < 0)
		return verb_complain(EXIT_USAGE, "%s", error_text(&err));
	workers.body = body;
	code = session_open(&client);
	if (code == EXIT_DONE && !detach)
		code = session_open(&events);
	if (code == EXIT_DONE)
		code = detach ? submit_and_leave(&workers, as_json)
			      : follow_and_report(&events, &target, as_json);
	json_decref(workers.answer);
	return code;
}
