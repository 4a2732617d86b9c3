/*
 * What engines answer, read. Nothing in it is trusted: other types than expected, ids that are not
 * hex, text with control characters are not there. Facts: Docker's Engine API v1.24 to v1.51
 * (/version, /containers/json, /containers/ID/json), podman's libpod API, and what dockerd 20.10
 * and podman 4.3 really send.
 */
#pragma once

#include "compose/engine.h"
#include "util/jsonx.h"

#define ENGINE_CONTAINERS_MAX 4096
#define ENGINE_TEXT_MAX       4096 /* of one name, label or list of devices */

struct engine_about {
	enum engine_kind kind;
	char version[64];    /* of the engine */
	char libpod_api[16]; /* podman: "4.3.1", for its own paths; "" otherwise */
};

/* From the Server and Libpod-API-Version headers, which both engines send with every answer. False:
 * they do not say. */
bool engine_parse_server(const char *server, const char *libpod_api,
			 struct engine_about *ret_about);
/* From /version, where they do not. -EPROTO: it is no engine. */
int engine_parse_version(const json_t *json, struct engine_about *ret_about,
			 struct error *err) MUST_CHECK;
/* /containers/json: id, name, labels, running. Entries that are none are left out. -E2BIG: more
 * than ENGINE_CONTAINERS_MAX. */
int engine_parse_list(const json_t *json, struct engine_containers *ret_containers,
		      struct error *err) MUST_CHECK;
/* /containers/ID/json, or podman's own. */
int engine_parse_inspect(const json_t *json, enum engine_kind kind,
			 struct engine_container *ret_container, struct error *err) MUST_CHECK;
/* The stream of /containers/ID/logs: frames of 8 bytes of header, or plain text (a terminal's). */
void engine_parse_logs(const char *data, size_t len, struct text *ret_text);
/* The text of an error answer; "" when it has none. */
void engine_parse_error(const char *data, size_t len, char *ret_text, size_t size);
