/* See idle.h. */
#include "cli/idle.h"

#include "api/client.h"
#include "cli/session.h"
#include "util/timestamp.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 1500
#define AGAIN_MS    2000

/* Room and use change with every sample; nobody wants to read each of them. */
static bool same_but_numbers(const char *a, const char *b)
{
	while (*a && *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			a += strspn(a, "0123456789.");
			b += strspn(b, "0123456789.");
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return *a == *b;
}

static bool ask(struct idle *idle, const json_t *batch)
{
	auto_json json_t *answer = NULL;
	const char *reason;
	bool news;

	if (!idle->client && session_join(&idle->client, NULL) < 0)
		return false;
	if (session_try(idle->client, "GET", NULL, &answer, NULL,
			"/v1/tasks?batch=%llu&state=waiting&limit=1",
			(unsigned long long)jsonx_get_u64(batch, "id", 0)) < 0) {
		api_client_destroy(TAKE(idle->client));
		return false;
	}
	reason =
	    jsonx_get_string(json_array_get(json_object_get(answer, "tasks"), 0), "reason", "");
	news = *reason && !same_but_numbers(reason, idle->reason);
	(void)snprintf(idle->reason, sizeof idle->reason, "%s", reason);
	return news;
}

bool idle_look(struct idle *idle, const json_t *batch)
{
	int64_t now = monotonic_now_ms();

	if (jsonx_get_u64(batch, "waiting", 0) == 0 || jsonx_get_u64(batch, "running", 0) > 0 ||
	    strcmp(jsonx_get_string(batch, "state", ""), "running") != 0) {
		idle->since_ms = 0;
		idle->reason[0] = '\0';
		return false;
	}
	if (idle->since_ms == 0) {
		idle->since_ms = now;
		idle->next_ms = now + PATIENCE_MS;
	}
	if (now < idle->next_ms)
		return false;
	idle->next_ms = now + AGAIN_MS;
	return ask(idle, batch);
}

void idle_finish(struct idle *idle)
{
	api_client_destroy(TAKE(idle->client));
}
