/*
 * What handlers say to a request and ask of it. An answer is queued by server.c when microhttpd
 * comes round to the request again; a stream's bytes wait in `out` until microhttpd takes them.
 */
#include "api/server_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define STREAM_BLOCK_BYTES ((size_t)32 << 10)

void api_request_resume(struct api_request *request)
{
	if (!request->suspended)
		return;
	request->suspended = false;
	MHD_resume_connection(request->connection->mhd);
	server_wake(request->server);
}

static void response_add_headers(struct MHD_Response *response, const char *content_type)
{
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
}

static void answer_filter(const struct api_request *request, json_t *json)
{
	const struct api_server_options *options = &request->server->options;
	const struct api_peer *peer = &request->connection->peer;

	if (options->filter && peer->role < API_ROLE_ADMIN)
		options->filter(options->data, peer, json);
}

void api_reply(struct api_request *request, unsigned status, json_t *json)
{
	struct text body = {};
	auto_free char *dumped = NULL;
	size_t len;

	answer_filter(request, json);
	dumped = jsonx_dump(json);
	json_decref(json);
	if (request->state > REQUEST_WAITING)
		return;
	text_add(&body, dumped);
	text_add(&body, "\n");
	len = request->reply_bytes = body.len;
	request->response =
	    MHD_create_response_from_buffer(len, text_take(&body), MHD_RESPMEM_MUST_FREE);
	response_add_headers(request->response, "application/json");
	request->status = status;
	request->state = REQUEST_REPLIED;
	api_request_resume(request);
}

void api_reply_error(struct api_request *request, int code, const struct error *err)
{
	const char *name;
	unsigned status = api_status_of(code, &name);

	api_reply(request, status,
		  json_pack("{s:{s:s,s:o}}", "error", "code", name, "message",
			    jsonx_string_if(err ? error_text(err) : strerror(-code))));
}

void api_request_cut(struct api_request *request)
{
	if (request->state == REQUEST_CUT)
		return;
	request->state = REQUEST_CUT;
	text_finish(&request->out);
	request->out_at = 0;
	(void)shutdown(request->connection->fd, SHUT_RDWR);
	api_request_resume(request);
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct api_request *request = cls;
	size_t n;

	(void)pos;
	if (request->state == REQUEST_STREAMING && request->out_at == request->out.len &&
	    request->on_drain)
		request->on_drain(request->drain_data, request);
	if (request->state == REQUEST_CUT)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = MIN_OF(max, request->out.len - request->out_at);
	if (n > 0) {
		memcpy(buf, request->out.data + request->out_at, n);
		request->out_at += n;
		if (request->out_at == request->out.len) {
			text_clear(&request->out);
			request->out_at = 0;
		}
		return (ssize_t)n;
	}
	if (request->state == REQUEST_ENDED)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!request->suspended) {
		request->suspended = true;
		MHD_suspend_connection(request->connection->mhd);
	}
	return 0;
}

void api_stream_begin(struct api_request *request, const char *content_type,
		      void (*on_drain)(void *data, struct api_request *request), void *data)
{
	if (request->state > REQUEST_WAITING)
		return;
	request->on_drain = on_drain;
	request->drain_data = data;
	request->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES,
							      stream_read, request, NULL);
	response_add_headers(request->response, content_type);
	request->status = MHD_HTTP_OK;
	request->state = REQUEST_STREAMING;
	api_request_resume(request);
}

void api_stream_write(struct api_request *request, const char *data, size_t len)
{
	if (request->state != REQUEST_STREAMING || len == 0)
		return;
	/* One piece of any size, to who has read all before it. */
	if (request->out.len > request->out_at &&
	    request->out.len - request->out_at + len > API_UNREAD_MAX) {
		api_request_cut(request);
		return;
	}
	/* What was taken is let go before the buffer has to grow. */
	if (request->out_at > 0 && request->out.len + len >= request->out.room) {
		memmove(request->out.data, request->out.data + request->out_at,
			request->out.len - request->out_at);
		request->out.len -= request->out_at;
		request->out_at = 0;
	}
	text_add_bytes(&request->out, data, len);
	api_request_resume(request);
}

void api_stream_end(struct api_request *request)
{
	if (request->state != REQUEST_STREAMING)
		return;
	request->state = REQUEST_ENDED;
	api_request_resume(request);
}

size_t api_stream_unread(const struct api_request *request)
{
	return request->out.len - request->out_at;
}

/* What handlers ask. */

const struct api_peer *api_request_peer(const struct api_request *request)
{
	return &request->connection->peer;
}

uint64_t api_request_id(const struct api_request *request)
{
	return request->id;
}

const char *api_request_name(const struct api_request *request)
{
	return request->name ? request->name : "";
}

const json_t *api_request_body(const struct api_request *request)
{
	return request->json;
}

const char *api_request_query(const struct api_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection->mhd, MHD_GET_ARGUMENT_KIND, name);
}

int api_request_query_u64(const struct api_request *request, const char *name, uint64_t max,
			  uint64_t otherwise, uint64_t *ret_value, struct error *err)
{
	const char *text = api_request_query(request, name);
	unsigned long long value;

	if (!text) {
		*ret_value = otherwise;
		return 0;
	}
	if (!text_to_u64(text, 0, max, &value))
		return error_set(err, -EINVAL, "%s=%.64s: not a number up to %llu", name, text,
				 (unsigned long long)max);
	*ret_value = value;
	return 0;
}

void api_request_on_gone(struct api_request *request,
			 void (*on_gone)(void *data, struct api_request *request), void *data)
{
	request->on_gone = on_gone;
	request->gone_data = data;
}
