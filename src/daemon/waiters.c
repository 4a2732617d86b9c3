/* Two short lists, of at most as many entries as there are connections. */
#include "daemon/waiters.h"

#include "daemon/task_json.h"

struct waiter {
	struct api_request *request;
	uint64_t task;
	void (*handle)(void *data, struct api_request *request);
};

struct waiter_list {
	struct waiter *items;
	size_t n, room;
};

struct waiters {
	struct waiter_list list;
};

struct parked {
	struct daemon *daemon;
	struct waiter_list list;
};

static void on_gone(void *data, struct api_request *request)
{
	struct waiter_list *list = data;

	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].request == request) {
			list->items[i] = list->items[--list->n];
			return;
		}
}

static void list_add(struct waiter_list *list, struct waiter waiter)
{
	ARRAY_GROW(list->items, list->n, list->room);
	list->items[list->n++] = waiter;
	api_request_on_gone(waiter.request, on_gone, list);
}

static void list_finish(struct waiter_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		api_request_on_gone(list->items[i].request, NULL, NULL);
	free(list->items);
}

struct waiters *waiters_create(struct daemon *daemon)
{
	(void)daemon;
	return mem_calloc(1, sizeof(struct waiters));
}

void waiters_destroy(struct waiters *waiters)
{
	if (!waiters)
		return;
	list_finish(&waiters->list);
	free(waiters);
}

void waiters_add(struct waiters *waiters, struct api_request *request, uint64_t task)
{
	list_add(&waiters->list, (struct waiter){.request = request, .task = task});
}

void waiters_task(struct waiters *waiters, const struct sched_task *task)
{
	struct waiter_list *list = &waiters->list;

	if (!sched_state_is_final(task->state))
		return;
	for (size_t i = 0; i < list->n;) {
		struct api_request *request = list->items[i].request;

		if (list->items[i].task != task->id) {
			i++;
			continue;
		}
		list->items[i] = list->items[--list->n];
		api_reply(request, 200, json_pack("{s:o}", "task", task_to_json(task, NULL)));
	}
}

struct parked *parked_create(struct daemon *daemon)
{
	struct parked *parked = mem_calloc(1, sizeof *parked);

	parked->daemon = daemon;
	return parked;
}

void parked_destroy(struct parked *parked)
{
	if (!parked)
		return;
	list_finish(&parked->list);
	free(parked);
}

bool parked_add(struct parked *parked, struct api_request *request,
		void (*handle)(void *data, struct api_request *request))
{
	if (gpu_sampler_list(parked->daemon->sampler)->state != GPU_SOURCE_UNKNOWN)
		return false;
	list_add(&parked->list, (struct waiter){.request = request, .handle = handle});
	return true;
}

void parked_release(struct parked *parked)
{
	while (parked->list.n > 0) {
		struct waiter waiter = parked->list.items[0];

		/* In the order they came. */
		for (size_t i = 1; i < parked->list.n; i++)
			parked->list.items[i - 1] = parked->list.items[i];
		parked->list.n--;
		waiter.handle(parked->daemon, waiter.request);
	}
}
