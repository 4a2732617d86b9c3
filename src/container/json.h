/*
 * What engines answer, read. Nothing in it is trusted: other types than expected, ids that are not
 * hex, text with control characters are not there. Facts: Docker's Engine API v1.24 to v1.51
 * (/version, /containers/json, /containers/ID/json), podman's libpod API, and what dockerd 20.10
 * and podman 4.3 really send.
 */
#pragma once

#include "container/container.h"
#include "util/jsonx.h"

#define CONTAINERS_MAX     4096
#define CONTAINER_TEXT_MAX 4096 /* of one name, label or list of devices */

struct container_engine_about {
	enum container_engine_kind kind;
	char libpod_api[16]; /* podman: "4.3.1", for its own paths; "" otherwise */
};

/* From the Server and Libpod-API-Version headers, which both engines send with every answer. False:
 * they do not say. */
bool container_parse_server(const char *server, const char *libpod_api,
			    struct container_engine_about *ret_about);
/* From /version, where they do not. -EPROTO: it is no engine. */
int container_parse_version(const json_t *json, struct container_engine_about *ret_about,
			    struct error *err) MUST_CHECK;
/* /containers/json: id, name, labels, running. Entries that are none are left out. -E2BIG: more
 * than CONTAINERS_MAX. */
int container_parse_list(const json_t *json, struct containers *ret_containers,
			 struct error *err) MUST_CHECK;
/* /containers/ID/json, or podman's own. */
int container_parse_inspect(const json_t *json, enum container_engine_kind kind,
			    struct container *ret_container, struct error *err) MUST_CHECK;
/* The stream of /containers/ID/logs: frames of 8 bytes of header, or plain text (a terminal's). */
void container_parse_logs(const char *data, size_t len, struct text *ret_text);
/* The text of an error answer; "" when it has none. */
void container_parse_error(const char *data, size_t len, char *ret_text, size_t size);
