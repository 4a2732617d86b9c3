/*
 * The daemon's life: lock and restore, listen, say "ready", run the loop, end. What it does in
 * between is in the modules; this file only puts them together.
 *
 * The order matters in two places. The store's lock is taken before the socket is touched: it says
 * who the daemon is. And everything that was is restored, and asked of the supervisor, before the
 * loop runs and the first request is read.
 */
#include "daemon/daemon.h"

#include "api/start.h"
#include "daemon/access.h"
#include "daemon/clock.h"
#include "daemon/fairshare.h"
#include "daemon/gpus.h"
#include "daemon/hub.h"
#include "daemon/keeper.h"
#include "daemon/listing.h"
#include "daemon/logs.h"
#include "daemon/notify.h"
#include "daemon/placed.h"
#include "daemon/profiles.h"
#include "daemon/restore.h"
#include "daemon/rules.h"
#include "daemon/runner.h"
#include "daemon/services.h"
#include "daemon/tick.h"
#include "daemon/usage.h"
#include "daemon/waiters.h"
#include "run/cgroup.h"
#include "util/file.h"
#include "util/log.h"
#include "util/paths.h"
#include "util/pidref.h"
#include "util/timestamp.h"
#include "util/unixsock.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A client does not wait for a place among those that are not accepted yet (libcurl connects
 * without blocking): a burst of them has to fit. */
#define LISTEN_BACKLOG 1024

/* Facts of the machine. */

static void host_refresh(struct daemon *daemon, int64_t now_ms)
{
	struct ledger_host host = {};
	double cpus;

	if (host_sample(daemon->host, &daemon->host_info, NULL) < 0)
		return;
	host.ram_known = host_ram_total(&daemon->host_info, &host.ram_total_bytes) &&
			 host_ram_available(&daemon->host_info, &host.ram_available_bytes);
	if (host_cpus(&daemon->host_info, &cpus))
		host.cpu_milli = (unsigned)(cpus * 1000);
	sched_set_host(daemon->sched, &host, now_ms);
}

/* Somebody's use may change any moment: one who has just started, one who has more than he was
 * given. */
#define FAST_SAMPLE_MS 200

static void pace_set(struct daemon *daemon)
{
	unsigned usual = daemon->options.interval_ms;
	bool fast = sched_wants_fast_samples(daemon->sched) || sched_wants_sample(daemon->sched);

	if (usual > 0 && usual <= FAST_SAMPLE_MS)
		fast = false;
	gpu_sampler_set_interval(daemon->sampler, fast ? FAST_SAMPLE_MS : 0);
}

static void on_gpus(void *data, const struct gpu_list *list)
{
	struct daemon *daemon = data;
	int64_t now = clock_now_ms(daemon->clock);

	if (list->state == GPU_SOURCE_UNKNOWN)
		return;
	host_refresh(daemon, now);
	sched_set_gpus(daemon->sched, list, now);
	rules_gpus(daemon->rules, list);
	usage_sample(daemon->usage, list, now);
	placed_sample(daemon->placed, list);
	pace_set(daemon);
	hub_gpus(daemon->hub, list);
	parked_release(daemon->parked);
	tick_request(daemon->tick);
}

static void on_gpu_event(void *data, const struct gpu_event *event)
{
	struct daemon *daemon = data;

	log_warning("GPU %s reports XID %u", event->uuid, event->xid);
	sched_gpu_event(daemon->sched, event, clock_now_ms(daemon->clock));
	gpu_sampler_kick(daemon->sampler);
	hub_gpu_event(daemon->hub, event);
	tick_request(daemon->tick);
}

static double model_speed(void *data, const char *model)
{
	const struct daemon *daemon = data;
	double speed;

	return catalogue_speed(daemon->catalogue, model, &speed) ? speed : 0;
}

/* Signals and the end. */

struct signals {
	uv_signal_t term, interrupt;
};

void daemon_stop(struct daemon *daemon)
{
	uv_stop(&daemon->loop);
}

static void on_signal(uv_signal_t *handle, int number)
{
	log_info("%s: ending; tasks run on", strsignal(number));
	daemon_stop(handle->data);
}

static void signals_start(struct daemon *daemon, struct signals *signals)
{
	sigset_t ends;

	/* Whoever started us in the foreground may have blocked what is to end us. */
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigaddset(&ends, SIGINT);
	(void)sigprocmask(SIG_UNBLOCK, &ends, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a file limit is an error of the write, not our end */
	(void)uv_signal_init(&daemon->loop, &signals->term);
	(void)uv_signal_init(&daemon->loop, &signals->interrupt);
	signals->term.data = signals->interrupt.data = daemon;
	(void)uv_signal_start(&signals->term, on_signal, SIGTERM);
	(void)uv_signal_start(&signals->interrupt, on_signal, SIGINT);
}

static void signals_stop(struct signals *signals)
{
	uv_close((uv_handle_t *)&signals->term, NULL);
	uv_close((uv_handle_t *)&signals->interrupt, NULL);
}

/* Where it lies. */

/* The machine's own: all users reach its socket, nobody else what it remembers. */
static int system_folders_create(struct daemon *daemon, struct error *err)
{
	int r;

	daemon->runtime_dir = paths_system_runtime_dir();
	daemon->state_dir = paths_system_state_dir();
	if (geteuid() != 0)
		return error_set(err, -EPERM, "a daemon for the whole machine must be run by root");
	/* A socket is the only thing of ours that is for everybody, and its mode is set. */
	(void)umask(077);
	if (setgroups(0, NULL) < 0)
		return error_sys(err, -errno, "cannot leave the groups of who started it");
	r = dir_create_private(daemon->runtime_dir, err);
	if (r == 0)
		r = dir_create_private(daemon->state_dir, err);
	if (r < 0)
		return r;
	if (chmod(daemon->runtime_dir, 0755) < 0)
		return error_sys(err, -errno, "cannot open %s to all", daemon->runtime_dir);
	if (chmod(daemon->state_dir, 0700) < 0)
		return error_sys(err, -errno, "cannot close %s", daemon->state_dir);
	return 0;
}

static int folders_create(struct daemon *daemon, struct error *err)
{
	int r;

	if (daemon->options.system)
		return system_folders_create(daemon, err);
	daemon->runtime_dir = paths_runtime_dir();
	daemon->state_dir = paths_state_dir();
	r = dir_create_private(daemon->runtime_dir, err);
	return r < 0 ? r : dir_create_private(daemon->state_dir, err);
}

static char *in_runtime(const struct daemon *daemon, const char *name)
{
	return mem_printf("%s/%s", daemon->runtime_dir, name);
}

static int pid_file_write(const struct daemon *daemon, struct error *err)
{
	auto_free char *path = in_runtime(daemon, DAEMON_PID), *text = NULL;
	uint64_t start_time = 0;

	if (pid_start_time(getpid(), &start_time) < 0)
		start_time = 0; /* unknown */
	text = mem_printf("%d %llu\n", (int)getpid(), (unsigned long long)start_time);
	return file_replace(path, text, strlen(text), 0600, err);
}

static bool queue_moves(void *data)
{
	const struct daemon *daemon = data;

	return tick_is_moving(daemon->tick);
}

static int listen_start(struct daemon *daemon, struct error *err)
{
	auto_free char *path = in_runtime(daemon, API_SOCKET);
	auto_close int fd = -1;
	int r = unixsock_listen(path, LISTEN_BACKLOG, &fd, err);

	if (r == 0)
		r = api_server_create(
		    &daemon->loop,
		    &(struct api_server_options){.listen_fd = fd,
						 .routes = ROUTES,
						 .n_routes = N_ROUTES,
						 .data = daemon,
						 .for_all = daemon->options.system,
						 .admit = access_admit,
						 .filter = access_filter,
						 .is_busy = queue_moves},
		    &daemon->api, err);
	if (r == 0 && daemon->options.system && chmod(path, 0666) < 0)
		r = error_sys(err, -errno, "cannot open %s to all", path);
	return r;
}

/* The modules. */

static int modules_create(struct daemon *daemon, struct error *err)
{
	struct sched_options sched_options = {
	    .ledger = {.speed = model_speed, .data = daemon},
	    .stop_grace_ms = daemon->options.stop_grace_ms,
	};
	struct gpu_sampler_options sampler_options = {
	    .interval_ms = daemon->options.interval_ms,
	    .data = daemon,
	    .on_sample = on_gpus,
	    .on_event = on_gpu_event,
	};
	int r = host_open(NULL, NULL, &daemon->host, err);

	if (r == 0)
		r = store_open(daemon->state_dir, &daemon->store, err);
	if (r < 0)
		return r;
	if (catalogue_load(&daemon->catalogue, err) < 0)
		log_warning("no speeds of GPU models are known: %s", error_text(err));
	daemon->sched = sched_create(&sched_options);
	daemon->usage = usage_create(daemon);
	daemon->services = services_create(daemon);
	daemon->hub = hub_create(daemon);
	daemon->waiters = waiters_create(daemon);
	daemon->parked = parked_create(daemon);
	daemon->profiles = profiles_create(daemon);
	daemon->logs = logs_create(daemon);
	daemon->listings = listings_create(daemon);
	daemon->clock = clock_create(daemon);
	r = tick_create(daemon, &daemon->tick, err);
	if (r == 0)
		r = rules_create(daemon, &daemon->rules, err);
	if (r == 0)
		r = placed_create(daemon, &daemon->placed, err);
	if (r == 0)
		r = fairshare_create(daemon, &daemon->fairshare, err);
	if (r == 0)
		daemon->keeper = keeper_create(daemon);
	if (r == 0)
		r = runner_create(daemon, &daemon->runner, err);
	if (r == 0)
		r = restore_all(daemon, err);
	mem_give_back();
	if (r == 0)
		r = gpu_sampler_create(&daemon->loop, &sampler_options, &daemon->sampler, err);
	return r;
}

/* In the order of dependence: who calls back first. */
static void modules_destroy(struct daemon *daemon)
{
	api_server_destroy(daemon->api);
	gpu_sampler_destroy(daemon->sampler);
	runner_destroy(daemon->runner);
	keeper_destroy(daemon->keeper);
	listings_destroy(daemon->listings);
	logs_destroy(daemon->logs);
	parked_destroy(daemon->parked);
	profiles_destroy(daemon->profiles);
	waiters_destroy(daemon->waiters);
	hub_destroy(daemon->hub);
	fairshare_destroy(daemon->fairshare);
	rules_destroy(daemon->rules);
	placed_destroy(daemon->placed);
	tick_destroy(daemon->tick);
	services_destroy(daemon->services);
	usage_destroy(daemon->usage);
	clock_destroy(daemon->clock);
	sched_destroy(daemon->sched);
	catalogue_destroy(daemon->catalogue);
}

/* Say to the client that started us how it went, once. */
static void ready_say(struct daemon *daemon, const char *line)
{
	if (daemon->options.ready_fd < 0)
		return;
	(void)!write(daemon->options.ready_fd, line, strlen(line));
	(void)!write(daemon->options.ready_fd, "\n", 1);
	daemon->options.ready_fd = fd_close(daemon->options.ready_fd);
}

static int daemon_live(struct daemon *daemon, struct error *err)
{
	auto_free char *pid_path = in_runtime(daemon, DAEMON_PID);
	auto_free char *socket_path = in_runtime(daemon, API_SOCKET);
	int r = modules_create(daemon, err);

	if (r == 0)
		r = listen_start(daemon, err);
	if (r == 0)
		r = pid_file_write(daemon, err);
	if (r < 0)
		return r;
	log_info("ready (pid %d, state in %s)", (int)getpid(), daemon->state_dir);
	ready_say(daemon, DAEMON_READY);
	notify_ready();
	(void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
	(void)unlink(socket_path);
	(void)unlink(pid_path);
	return 0;
}

int daemon_run(const struct daemon_options *options, struct error *err)
{
	struct daemon daemon = {.options = *options, .started_at_ms = timestamp_now_ms()};
	struct signals signals;
	int r = uv_loop_init(&daemon.loop);

	if (r < 0)
		return error_sys(err, r, "cannot create the event loop");
	signals_start(&daemon, &signals);
	if (chdir("/") < 0)
		log_warning("cannot leave the working folder: %s", strerror(errno));
	cgroup_leave_task();
	r = folders_create(&daemon, err);
	if (r == 0)
		r = daemon_live(&daemon, err);
	if (r < 0)
		ready_say(&daemon, error_text(err));
	modules_destroy(&daemon);
	signals_stop(&signals);
	(void)uv_run(&daemon.loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&daemon.loop);
	store_close(daemon.store);
	host_close(daemon.host);
	free(daemon.runtime_dir);
	free(daemon.state_dir);
	return r;
}
