/*
 * Once a second: RAM and CPU time of every attempt, summed over its processes, which are found by
 * their session or, when they have left it, by their cgroup. Ten times a second: logs back to their
 * caps. Nothing runs while nothing lives.
 */
#include "host/process.h"
#include "run/log.h"
#include "run/supervisor.h"

#define SAMPLE_MS 1000
#define TRIM_MS   100 /* a log exceeds its cap by what is written in this time */

/* Who is in a cgroup of ours, sorted by pid. */
struct members {
	const struct supervisor *supervisor;
	struct member {
		pid_t pid;
		struct attempt *attempt;
	} * items;
	size_t n, room;
};

static int by_pid(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static struct attempt *member_find(const struct members *members, pid_t pid)
{
	struct member key = {.pid = pid};
	const struct member *found =
	    members->n > 0 ? bsearch(&key, members->items, members->n, sizeof key, by_pid) : NULL;

	return found ? found->attempt : NULL;
}

static void members_read(struct members *members, struct idtable_node *const *list)
{
	for (; *list; list++) {
		struct attempt *attempt = IDTABLE_OF(*list, struct attempt, by_pid);
		auto_free pid_t *pids = NULL;
		size_t n = attempt->cgroup ? cgroup_pids(attempt->cgroup, &pids) : 0;

		for (size_t i = 0; i < n; i++) {
			ARRAY_GROW(members->items, members->n, members->room);
			members->items[members->n++] =
			    (struct member){.pid = pids[i], .attempt = attempt};
		}
	}
	if (members->n > 0)
		qsort(members->items, members->n, sizeof *members->items, by_pid);
}

static int sample_process(const struct host_process *process, void *arg)
{
	const struct members *members = arg;
	struct attempt *attempt = watch_find_pid(members->supervisor, process->session);

	if (!attempt)
		attempt = member_find(members, process->pid);

	if (!attempt)
		return 0;
	attempt->ram_bytes += process->rss_bytes;
	attempt->cpu_seconds += process->cpu_seconds;
	/* A zombie holds nothing any more but its count of CPU time. */
	attempt->processes += process->state != 'Z' && process->state != 'X';
	return 0;
}

static void sample_done(struct attempt *attempt, double cpu_before, json_t *usage)
{
	double counted;

	if (attempt->cgroup && cgroup_cpu_seconds(attempt->cgroup, &counted))
		attempt->cpu_seconds = counted;
	attempt->cpu_seconds = MAX_OF(attempt->cpu_seconds, cpu_before);
	if (attempt->processes > 0) {
		attempt->peak_ram_bytes = MAX_OF(attempt->peak_ram_bytes, attempt->ram_bytes);
		attempt->has_peak_ram = attempt->has_cpu = true;
		(void)json_array_append_new(usage, attempt_usage_item(attempt));
	}
}

/* One stat() for each log that is within its cap: of logs of our own choice, in a folder nobody
 * else may enter. A log of the user's choice has no cap on purpose: it may lie on a file system
 * that is slow or gone (NFS, FUSE), where this stat(), ten times a second and as root, would hold
 * up every other task; and how large it may become is his affair. */
static void on_trim(uv_timer_t *timer)
{
	struct supervisor *supervisor = timer->data;
	auto_free struct idtable_node **list = idtable_list(&supervisor->pids);

	if (supervisor->pids.n == 0)
		(void)uv_timer_stop(timer);
	for (struct idtable_node **node = list; *node; node++) {
		const struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_pid);

		if (attempt->log_path && attempt->log_cap_bytes > 0)
			(void)log_trim(attempt->log_path, attempt->log_cap_bytes,
				       attempt->log_owner);
	}
}

static void on_sample(uv_timer_t *timer)
{
	struct supervisor *supervisor = timer->data;
	auto_free struct idtable_node **list = idtable_list(&supervisor->pids);
	auto_free double *cpu_before = mem_calloc(supervisor->pids.n + 1, sizeof *cpu_before);
	auto_json json_t *usage = json_array();
	struct members members = {.supervisor = supervisor};

	if (!supervisor->cgroups.swept || supervisor->pids.n == 0)
		cgroups_sweep(&supervisor->cgroups);
	if (supervisor->pids.n == 0) {
		if (supervisor->cgroups.swept)
			(void)uv_timer_stop(timer);
		return;
	}
	for (size_t i = 0; list[i]; i++) {
		struct attempt *attempt = IDTABLE_OF(list[i], struct attempt, by_pid);

		cpu_before[i] = attempt->cpu_seconds;
		attempt->cpu_seconds = 0;
		attempt->ram_bytes = 0;
		attempt->processes = 0;
	}
	members_read(&members, list);
	(void)host_process_each(supervisor->host, sample_process, &members);
	free(members.items);
	for (size_t i = 0; list[i]; i++)
		sample_done(IDTABLE_OF(list[i], struct attempt, by_pid), cpu_before[i], usage);
	/* Last: one may be over, and is on no list then. */
	for (size_t i = 0; list[i]; i++) {
		struct attempt *attempt = IDTABLE_OF(list[i], struct attempt, by_pid);

		if (attempt->unwatched)
			watch_again(attempt);
	}
	if (conn_wants_usage(supervisor))
		conn_broadcast_usage(supervisor,
				     json_pack("{s:s, s:O}", "event", "usage", "attempts", usage));
}

void sample_start(struct supervisor *supervisor)
{
	if (!uv_is_active((uv_handle_t *)&supervisor->sampler))
		(void)uv_timer_start(&supervisor->sampler, on_sample, SAMPLE_MS, SAMPLE_MS);
	if (!uv_is_active((uv_handle_t *)&supervisor->trimmer))
		(void)uv_timer_start(&supervisor->trimmer, on_trim, TRIM_MS, TRIM_MS);
}

void sample_init(struct supervisor *supervisor)
{
	(void)uv_timer_init(&supervisor->loop, &supervisor->sampler);
	(void)uv_timer_init(&supervisor->loop, &supervisor->trimmer);
	supervisor->sampler.data = supervisor->trimmer.data = supervisor;
}
