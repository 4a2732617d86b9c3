/*
 * Each listener has a queue of entries: an id of a task or batch, whose state is looked up when the
 * line is written, or a finished line. The queue is bounded by what a listener may leave unread;
 * beyond it the listener is cut off, as one that does not read.
 */
#include "daemon/hub.h"

#include "daemon/access.h"
#include "daemon/queries.h"
#include "daemon/start_line.h"
#include "util/text.h"
#include "util/timestamp.h"

#include <string.h>

#define UNREAD_SOFT ((size_t)256 << 10) /* more is not written ahead */
#define QUEUE_MAX   (API_UNREAD_MAX / sizeof(struct entry))

enum entry_type { ENTRY_TASK, ENTRY_BATCH, ENTRY_LINE };

struct entry {
	enum entry_type type;
	uint64_t id;
	char *line;
};

struct listener {
	struct listener *next;
	struct hub *hub;
	struct api_request *request;
	uint64_t batch; /* 0 = all */
	struct entry *queue;
	size_t head, n, room; /* entries from head to n */
};

struct hub {
	struct daemon *daemon;
	struct listener *listeners;
	enum gpu_source_state source; /* as last told */
	char source_text[320];
};

struct hub *hub_create(struct daemon *daemon)
{
	struct hub *hub = mem_calloc(1, sizeof *hub);

	hub->daemon = daemon;
	hub->source = GPU_SOURCE_UNKNOWN;
	return hub;
}

static void listener_destroy(struct listener *listener)
{
	for (size_t i = listener->head; i < listener->n; i++)
		free(listener->queue[i].line);
	free(listener->queue);
	free(listener);
}

void hub_destroy(struct hub *hub)
{
	struct listener *next;

	if (!hub)
		return;
	for (struct listener *l = hub->listeners; l; l = next) {
		next = l->next;
		api_request_on_gone(l->request, NULL, NULL);
		listener_destroy(l);
	}
	free(hub);
}

static void on_gone(void *data, struct api_request *request)
{
	struct listener *listener = data;
	struct listener **link = &listener->hub->listeners;

	(void)request;
	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	listener_destroy(listener);
}

static json_t *event_new(const char *name)
{
	return json_pack("{s:s,s:o}", "event", name, "at", jsonx_time_if(timestamp_now_ms()));
}

/* As the listener may see it. Consumes `event`. */
static char *event_line(const struct listener *listener, json_t *event)
{
	char *line;
	size_t len;

	access_filter(listener->hub->daemon, api_request_peer(listener->request), event);
	line = jsonx_dump(event);
	json_decref(event);
	len = strlen(line);
	line = mem_realloc(line, len + 2, 1);
	line[len] = '\n';
	line[len + 1] = '\0';
	return line;
}

static void push(struct listener *listener, struct entry entry)
{
	if (listener->head > 0 && listener->n == listener->room) {
		memmove(listener->queue, listener->queue + listener->head,
			(listener->n - listener->head) * sizeof *listener->queue);
		listener->n -= listener->head;
		listener->head = 0;
	}
	if (listener->n - listener->head >= QUEUE_MAX) {
		free(entry.line);
		api_request_cut(listener->request);
		return;
	}
	ARRAY_GROW(listener->queue, listener->n, listener->room);
	listener->queue[listener->n++] = entry;
}

static char *entry_line(const struct listener *listener, const struct entry *entry)
{
	struct daemon *daemon = listener->hub->daemon;
	json_t *event, *value;

	if (entry->type == ENTRY_LINE)
		return mem_strdup(entry->line);
	value = entry->type == ENTRY_TASK ? query_task(daemon, entry->id)
					  : query_batch(daemon, entry->id);
	if (!value)
		return NULL;
	event = event_new(entry->type == ENTRY_TASK ? "task" : "batch");
	(void)json_object_set_new(event, entry->type == ENTRY_TASK ? "task" : "batch", value);
	return event_line(listener, event);
}

static void listener_flush(struct listener *listener)
{
	while (listener->head < listener->n && api_stream_unread(listener->request) < UNREAD_SOFT) {
		struct entry *entry = &listener->queue[listener->head++];
		auto_free char *line = entry_line(listener, entry);

		free(entry->line);
		if (line)
			api_stream_write(listener->request, line, strlen(line));
	}
	if (listener->head == listener->n)
		listener->head = listener->n = 0;
}

static void on_drain(void *data, struct api_request *request)
{
	(void)request;
	listener_flush(data);
}

void hub_flush(struct hub *hub)
{
	for (struct listener *l = hub->listeners; l; l = l->next)
		listener_flush(l);
}

void hub_listen(struct hub *hub, struct api_request *request, uint64_t batch)
{
	struct listener *listener = mem_calloc(1, sizeof *listener);
	json_t *hello = event_new("hello");
	json_t *about = batch ? query_batch(hub->daemon, batch) : NULL;

	*listener = (struct listener){
	    .next = hub->listeners, .hub = hub, .request = request, .batch = batch};
	hub->listeners = listener;
	(void)json_object_set_new(hello, "batch", about ? about : json_null());
	api_request_on_gone(request, on_gone, listener);
	api_stream_begin(request, "application/x-ndjson", on_drain, listener);
	push(listener, (struct entry){.type = ENTRY_LINE, .line = event_line(listener, hello)});
	listener_flush(listener);
}

void hub_task(struct hub *hub, const struct sched_task *task)
{
	/* Of a batch just submitted the batch's own event tells, not one for each row. */
	if (task->state == SCHED_WAITING && task->n_attempts == 0 && task->batch > 0)
		return;
	for (struct listener *l = hub->listeners; l; l = l->next)
		if (l->batch == 0 || l->batch == task->batch)
			push(l, (struct entry){.type = ENTRY_TASK, .id = task->id});
}

void hub_batch(struct hub *hub, const struct sched_batch *batch)
{
	for (struct listener *l = hub->listeners; l; l = l->next)
		if (l->batch == 0 || l->batch == batch->id)
			push(l, (struct entry){.type = ENTRY_BATCH, .id = batch->id});
}

/* To all who listen to the batch, 0 = to all. Consumes `event`. */
static void push_line(struct hub *hub, json_t *event, uint64_t batch)
{
	for (struct listener *l = hub->listeners; l; l = l->next)
		if (l->batch == 0 || batch == 0 || l->batch == batch)
			push(l, (struct entry){.type = ENTRY_LINE,
					       .line = event_line(l, json_deep_copy(event))});
	json_decref(event);
}

void hub_starts(struct hub *hub, const struct sched_action *actions, size_t n)
{
	struct start_lines lines;

	if (!hub->listeners)
		return;
	start_lines_init(&lines, hub->daemon->sched, actions, n);
	for (size_t i = 0; i < n; i++) {
		const struct sched_task *task = sched_find(hub->daemon->sched, actions[i].task);
		const struct sched_attempt *attempt = task ? sched_task_attempt(task) : NULL;
		auto_free char *line = NULL;
		json_t *event;

		if (actions[i].type != SCHED_START || !attempt)
			continue;
		line = start_lines_next(&lines, task, attempt);
		event = event_new("start");
		(void)json_object_set_new(event, "uid", jsonx_u64(task->spec.uid));
		(void)json_object_set_new(event, "task", jsonx_u64(task->id));
		(void)json_object_set_new(event, "batch",
					  jsonx_u64_if(task->batch > 0, task->batch));
		(void)json_object_set_new(event, "attempt", jsonx_u64(attempt->number));
		(void)json_object_set_new(event, "device",
					  jsonx_string_if(sched_attempt_device(attempt)));
		(void)json_object_set_new(event, "line", json_string(line));
		(void)json_object_set_new(event, "reason", jsonx_string_if(attempt->reason));
		push_line(hub, event, task->batch);
	}
	start_lines_finish(&lines);
}

void hub_gpus(struct hub *hub, const struct gpu_list *list)
{
	json_t *event;

	if (list->state == hub->source && strcmp(list->text, hub->source_text) == 0)
		return;
	hub->source = list->state;
	(void)snprintf(hub->source_text, sizeof hub->source_text, "%s", list->text);
	event = event_new("gpus");
	(void)json_object_set_new(event, "source", json_string(gpu_source_name(list->state)));
	(void)json_object_set_new(event, "text", jsonx_string_if(list->text));
	push_line(hub, event, 0);
	hub_flush(hub);
}

void hub_gpu_event(struct hub *hub, const struct gpu_event *event)
{
	json_t *json = event_new("xid");

	(void)json_object_set_new(json, "uuid", jsonx_string_if(event->uuid));
	(void)json_object_set_new(json, "xid", jsonx_u64(event->xid));
	push_line(hub, json, 0);
	hub_flush(hub);
}

void hub_leftover(struct hub *hub, const struct gpu *gpu, const struct gpu_process *process,
		  uint64_t task, const char *text)
{
	json_t *json = event_new("leftover");

	(void)json_object_set_new(json, "uuid", jsonx_string_if(gpu->uuid));
	(void)json_object_set_new(json, "task", jsonx_u64(task));
	(void)json_object_set_new(json, "pid", json_integer(process->pid));
	(void)json_object_set_new(json, "used_bytes",
				  jsonx_u64_if(process->used_known, process->used_bytes));
	(void)json_object_set_new(json, "text", jsonx_string_if(text));
	push_line(hub, json, 0);
	hub_flush(hub);
}
