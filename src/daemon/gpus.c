/* The object is made by place/gpus_json.c; here is what only the daemon knows: its tasks, whose a
 * process is, the host. */
#include "daemon/gpus.h"

#include "daemon/access.h"
#include "daemon/daemon.h"
#include "daemon/offers.h"
#include "daemon/placed.h"
#include "daemon/rules.h"
#include "daemon/services.h"
#include "daemon/usage.h"
#include "daemon/waiters.h"
#include "host/json.h"
#include "host/process.h"
#include "place/gpus_json.h"
#include "run/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* What the callback of the object needs to know. */
struct asker {
	struct daemon *daemon;
	/* He may know what the engine, which is root's, calls its containers. */
	bool sees_services;
};

/* "shop/clip", "docker 4f0c9b2e11aa" when its engine does not tell, a Slurm job's or container's
 * own name; "" when in none. */
static void service_name(const struct asker *asker, const struct gpu_process *process,
			 char service[GPUS_JSON_SERVICE_MAX])
{
	struct daemon *daemon = asker->daemon;
	struct host_container container;
	const char *name = NULL;

	service[0] = '\0';
	if (process->container[0])
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s", process->container);
	else if (host_process_container(daemon->host, process->pid, &container) < 0 ||
		 container.runtime == HOST_RUNTIME_NONE)
		return;
	else if (asker->sees_services && (name = services_name(daemon->services, container.id)))
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%.*s", GPUS_JSON_SERVICE_MAX - 1,
			       name);
	else if (container.name[0])
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%.100s", container.name);
	else
		(void)snprintf(service, GPUS_JSON_SERVICE_MAX, "%s %.12s",
			       host_runtime_name(container.runtime), container.id);
}

static uint64_t owner(void *data, const struct gpu_process *process,
		      char service[GPUS_JSON_SERVICE_MAX], bool *ret_leftover)
{
	const struct asker *asker = data;
	uint64_t task = 0;

	switch (usage_owner(asker->daemon->usage, process, &task)) {
	case USAGE_GONE:
		return GPUS_JSON_GONE;
	case USAGE_LEFTOVER:
		*ret_leftover = true;
		break;
	case USAGE_FOREIGN:
		service_name(asker, process, service);
		break;
	case USAGE_TASK:
		break;
	}
	return task;
}

struct task_list {
	struct gpus_json_task *items;
	char **names; /* owned, those made here */
	size_t n, room;
};

static void task_list_add(struct task_list *list, const struct sched_task *task, bool sees_name)
{
	const struct sched_attempt *attempt = sched_task_attempt(task);

	for (unsigned i = 0; attempt && i < attempt->n_gpus; i++) {
		bool named = sees_name && task->spec.name && task->spec.name[0];
		char *name =
		    named ? mem_strdup(task->spec.name) : mem_printf("task %" PRIu64, task->id);
		struct gpus_json_task *item;

		if (list->n == list->room) {
			list->room = list->room ? 2 * list->room : 16;
			list->items = mem_realloc(list->items, list->room, sizeof *list->items);
			list->names = mem_realloc(list->names, list->room, sizeof *list->names);
		}
		item = &list->items[list->n];
		*item = (struct gpus_json_task){
		    .id = task->id,
		    .name = name,
		    .allocated_bytes = attempt->gpus[i].vram_bytes,
		};
		(void)snprintf(item->uuid, sizeof item->uuid, "%s", attempt->gpus[i].uuid);
		list->names[list->n++] = name;
	}
}

static void task_list_finish(struct task_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->names[i]);
	free(list->names);
	free(list->items);
}

static json_t *host_to_json(const struct daemon *daemon, const struct ledger *ledger)
{
	json_t *json = host_info_to_json(&daemon->host_info);

	(void)json_object_set_new(json, "ram_room_bytes",
				  jsonx_u64_if(ledger->ram_known, ledger->ram_room_bytes));
	return json;
}

static struct gpus_json_hold *holds_list(const struct asker *asker, size_t *ret_n)
{
	const struct placed_hold *from = placed_holds(asker->daemon->placed, ret_n);
	struct gpus_json_hold *holds = mem_calloc(*ret_n + 1, sizeof *holds);

	for (size_t i = 0; i < *ret_n; i++) {
		holds[i].name = asker->sees_services ? from[i].name : NULL;
		holds[i].allocated_bytes = from[i].hold.bytes;
		memcpy(holds[i].uuid, from[i].hold.uuid, sizeof holds[i].uuid);
	}
	return holds;
}

static json_t *limits_to_json(const struct daemon *daemon)
{
	auto_free char *own = cgroup_own();
	const struct offers offers = {
	    .root = "",
	    .own = own,
	    .hami = rules_config(daemon->rules)->guards.hami,
	    .uid = geteuid(),
	};

	return offers_to_json(&offers, sched_gpus(daemon->sched));
}

void handle_gpus(void *data, struct api_request *request)
{
	auto_free struct gpus_json_hold *holds = NULL;
	size_t n_holds;
	struct daemon *daemon = data;
	struct asker asker = {daemon, access_is_open(api_request_peer(request), geteuid())};
	struct task_list tasks = {};
	struct ledger *ledger;
	struct error err = {};
	json_t *json;

	if (parked_add(daemon->parked, request, handle_gpus) ||
	    (asker.sees_services && services_park(daemon->services, request, handle_gpus)))
		return;
	ledger = sched_ledger(daemon->sched);
	if (!ledger) {
		api_reply_error(request, error_set(&err, -EIO, "no GPU sample yet"), &err);
		return;
	}
	for (const struct sched_task *task = sched_first_active(daemon->sched); task;
	     task = sched_next_active(task))
		task_list_add(&tasks, task, access_sees_name(api_request_peer(request), task));
	holds = holds_list(&asker, &n_holds);
	json = gpus_to_json(
	    sched_gpus(daemon->sched), ledger,
	    &(struct gpus_json_options){.holds = holds,
					.n_holds = n_holds,
					.tasks = tasks.items,
					.n_tasks = tasks.n,
					.all_processes = host_sees_all_processes(daemon->host),
					.owner = owner,
					.data = &asker});
	rules_mark_gpus(daemon->rules, json);
	(void)json_object_set_new(json, "host", host_to_json(daemon, ledger));
	(void)json_object_set_new(json, "limits", limits_to_json(daemon));
	api_reply(request, 200, json);
	ledger_destroy(ledger);
	task_list_finish(&tasks);
}
