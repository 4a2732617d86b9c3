/*
 * Users: what each has, what he used lately, and what follows from it.
 *
 * Fair share. Every user's use of the GPUs is added up in whole GPUs x seconds: a task counts on
 * each of its GPUs for the part of the VRAM it was granted, for all of it when nobody else can be
 * there; a task on the CPU for its part of the host's CPUs. What is old counts less: half for each
 * half-life. Among the users who have something in the queue, each one's share of what they used
 * together is compared with the share his weight gives him; the difference, times FAIR_WINDOW
 * half-lives, is added to the rank of all his tasks, as if they had come so much later (or
 * earlier). So shares go towards the weights, and nobody waits for ever: who has waited longer than
 * the largest difference there can be comes first whatever he used. What runs now counts as if it
 * had run for FAIR_AHEAD of a half-life already: of many slots that get free at once, each user
 * gets his part.
 */
#include "sched/sched_priv.h"

#include "util/size.h"

#include <errno.h>
#include <math.h>

#define FAIR_WINDOW 7
#define FAIR_AHEAD  (1.0 / 24)
/* Of a task that does not say how many CPUs it needs, and of a host that does not either. */
#define CPU_MILLI_GUESS  1000
#define HOST_MILLI_GUESS 16000
/* Less than this, in GPU seconds, is forgotten with the last task of a user. */
#define USAGE_MIN 0.01

static size_t user_position(const struct sched *sched, uid_t uid)
{
	size_t low = 0, high = sched->n_users;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (sched->users[mid]->uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct sched_user_limits limits_of(const struct sched *sched, uid_t uid)
{
	struct sched_user_limits limits = sched->config.limits;

	for (size_t i = 0; i < sched->config.n_users; i++) {
		if (sched->config.users[i].uid == uid)
			limits = sched->config.users[i].limits;
	}
	if (!(limits.weight > 0))
		limits.weight = 1;
	return limits;
}

struct user_node *user_get(struct sched *sched, uid_t uid)
{
	size_t at = user_position(sched, uid);
	struct user_node *user;

	if (at < sched->n_users && sched->users[at]->uid == uid)
		return sched->users[at];
	user = mem_calloc(1, sizeof *user);
	user->uid = uid;
	user->limits = limits_of(sched, uid);
	user->usage_ms = sched->last_ms;
	ARRAY_GROW(sched->users, sched->n_users, sched->users_room);
	memmove(&sched->users[at + 1], &sched->users[at],
		(sched->n_users - at) * sizeof(struct user_node *));
	sched->users[at] = user;
	sched->n_users++;
	return user;
}

void users_configure(struct sched *sched)
{
	for (size_t i = 0; i < sched->n_users; i++)
		sched->users[i]->limits = limits_of(sched, sched->users[i]->uid);
}

void users_destroy(struct sched *sched)
{
	for (size_t i = 0; i < sched->n_users; i++)
		free(sched->users[i]);
	free(sched->users);
}

void users_forget(struct sched *sched)
{
	size_t kept = 0;

	for (size_t i = 0; i < sched->n_users; i++) {
		struct user_node *user = sched->users[i];

		if (user->tasks == 0 && user->usage < USAGE_MIN)
			free(user);
		else
			sched->users[kept++] = user;
	}
	sched->n_users = kept;
}

void users_clock_moved(struct sched *sched, int64_t by)
{
	for (size_t i = 0; i < sched->n_users; i++)
		sched->users[i]->usage_ms = MAX_OF(sched->users[i]->usage_ms + by, 0);
}

void users_clock_clamp(struct sched *sched, int64_t now_ms)
{
	for (size_t i = 0; i < sched->n_users; i++)
		sched->users[i]->usage_ms = MIN_OF(sched->users[i]->usage_ms, now_ms);
}

/* Usage up to now. The integral of the rate, each moment weighed by its age, has a closed form: it
 * does not matter how often this is called. */
static void usage_settle(const struct sched *sched, struct user_node *user, int64_t now_ms)
{
	double half_life = (double)sched->config.fair_half_life_ms / 1000;
	double seconds = (double)(now_ms - user->usage_ms) / 1000, left;

	if (seconds <= 0)
		return;
	user->usage_ms = now_ms;
	if (half_life < 0) {
		user->usage += user->rate * seconds;
		return;
	}
	left = exp2(-seconds / half_life);
	user->usage = user->usage * left + user->rate * half_life / M_LN2 * (1 - left);
}

static double share_of_gpu(const struct sched *sched, const struct place_request *request,
			   const struct sched_grant *grant)
{
	const struct gpu *gpu = gpu_list_find(sched->gpus, grant->uuid);

	if (request->exclusive || request->start_lock || grant->vram_bytes == 0 || !gpu ||
	    !gpu_has(gpu, GPU_TOTAL) || gpu->vram.total_bytes == 0)
		return 1;
	return MIN_OF(1.0, (double)grant->vram_bytes / (double)gpu->vram.total_bytes);
}

static double share_of_gpus(const struct sched *sched, struct task_node *t)
{
	const struct place_request *request = &t->run->ask;
	const struct sched_attempt *attempt = task_current(t);
	double share = 0;

	if (attempt->n_gpus == 0)
		return MIN_OF(
		    1.0, (double)(request->cpu_milli ? request->cpu_milli : CPU_MILLI_GUESS) /
			     (sched->host.cpu_milli ? sched->host.cpu_milli : HOST_MILLI_GUESS));
	for (unsigned g = 0; g < attempt->n_gpus; g++)
		share += share_of_gpu(sched, request, &attempt->gpus[g]);
	return share;
}

void user_run(struct sched *sched, struct task_node *t, int by, int64_t now_ms)
{
	struct user_node *user = t->user;
	const struct sched_attempt *attempt = task_current(t);

	usage_settle(sched, user, now_ms);
	user->running += (unsigned)by;
	user->gpus += (unsigned)by * attempt->n_gpus;
	for (unsigned g = 0; g < attempt->n_gpus; g++)
		user->vram_bytes += (uint64_t)by * attempt->gpus[g].vram_bytes;
	if (by > 0)
		t->run->share_of_gpus = share_of_gpus(sched, t);
	user->rate += by * t->run->share_of_gpus;
	if (user->running == 0)
		user->rate = 0; /* sums of fractions do not come back to 0 by themselves */
}

void users_weigh_runs(struct sched *sched, int64_t now_ms)
{
	for (struct task_node *t = sched->active; t; t = t->run->next) {
		usage_settle(sched, t->user, now_ms);
		t->user->rate -= t->run->share_of_gpus;
		t->run->share_of_gpus = share_of_gpus(sched, t);
		t->user->rate += t->run->share_of_gpus;
	}
}

void users_weigh(struct sched *sched, int64_t now_ms)
{
	double half_life = (double)sched->config.fair_half_life_ms;
	double ahead = half_life / 1000 * FAIR_AHEAD, used = 0, weights = 0;

	for (size_t i = 0; i < sched->n_users; i++) {
		struct user_node *user = sched->users[i];

		user->offset_ms = 0;
		user->share = user->fair = 0;
		usage_settle(sched, user, now_ms);
		if (user->queued == 0)
			continue;
		used += user->usage + user->rate * ahead;
		weights += user->limits.weight;
	}
	if (half_life < 0 || used <= 0)
		return;
	for (size_t i = 0; i < sched->n_users; i++) {
		struct user_node *user = sched->users[i];

		if (user->queued == 0)
			continue;
		user->share = (user->usage + user->rate * ahead) / used;
		user->fair = user->limits.weight / weights;
		user->offset_ms = (int64_t)((user->share - user->fair) * FAIR_WINDOW * half_life);
	}
}

bool users_compete(const struct sched *sched)
{
	const struct user_node *first = NULL;

	if (sched->config.fair_half_life_ms < 0)
		return false;
	for (const struct lane *lane = sched->ready; lane; lane = lane->ready_next) {
		if (first && lane->user != first)
			return true;
		first = lane->user;
	}
	return false;
}

uint64_t request_vram_most(const struct sched *sched, const struct place_request *request)
{
	uint64_t most = request->vram_bytes;

	for (size_t g = 0; g < sched->gpus->n && request->fraction_milli > 0; g++) {
		const struct gpu *gpu = &sched->gpus->gpus[g];
		uint64_t reserve = ledger_default_reserve(gpu);

		if (gpu_has(gpu, GPU_TOTAL) && gpu->vram.total_bytes > reserve &&
		    !place_is_pinned_elsewhere(request, gpu->uuid))
			most = MAX_OF(most,
				      place_request_vram(request, gpu->vram.total_bytes - reserve));
	}
	return most * request->gpus;
}

enum user_limit user_limit_met(const struct sched *sched, const struct user_node *user,
			       const struct place_request *request)
{
	const struct sched_user_limits *limits = &user->limits;
	uint64_t vram = limits->max_vram_bytes > 0 ? request_vram_most(sched, request) : 0;

	if (limits->max_running > 0 && user->running >= limits->max_running)
		return USER_RUNNING;
	if (limits->max_gpus > 0 && request->gpus > 0 &&
	    user->gpus + request->gpus > limits->max_gpus)
		return USER_GPUS;
	if (limits->max_vram_bytes > 0 && vram > 0 &&
	    user->vram_bytes + vram > limits->max_vram_bytes)
		return USER_VRAM;
	return USER_FREE;
}

int user_check(const struct sched *sched, const struct user_node *user,
	       const struct place_request *request, size_t n, struct error *err)
{
	const struct sched_user_limits *limits = &user->limits;

	if (limits->max_queued > 0 && user->queued + n > limits->max_queued)
		return error_set(
		    err, -EDQUOT,
		    "user %u has %u tasks in the queue and sends %zu, the limit is %u: "
		    "wait until some have ended",
		    (unsigned)user->uid, user->queued, n, limits->max_queued);
	if (!request)
		return 0;
	if (limits->max_gpus > 0 && request->gpus > limits->max_gpus)
		return error_set(err, -E2BIG, "asks for %u GPUs; user %u may hold %u at once",
				 request->gpus, (unsigned)user->uid, limits->max_gpus);
	if (limits->max_vram_bytes > 0 &&
	    request_vram_most(sched, request) > limits->max_vram_bytes)
		return error_set(err, -E2BIG, "asks for %s of VRAM; user %u may hold %s at once",
				 SIZE_TEXT(request_vram_most(sched, request)), (unsigned)user->uid,
				 SIZE_TEXT(limits->max_vram_bytes));
	return 0;
}

struct place_user *users_limited(const struct sched *sched, size_t *ret_n)
{
	struct place_user *users = mem_calloc(sched->n_users + 1, sizeof *users);
	size_t n = 0;

	for (size_t i = 0; i < sched->n_users; i++) {
		const struct sched_user_limits *limits = &sched->users[i]->limits;

		if (limits->max_running || limits->max_gpus || limits->max_vram_bytes)
			users[n++] = (struct place_user){
			    .uid = sched->users[i]->uid,
			    .max_running = limits->max_running,
			    .max_gpus = limits->max_gpus,
			    .max_vram_bytes = limits->max_vram_bytes,
			};
	}
	*ret_n = n;
	return users;
}

size_t sched_users(struct sched *sched, int64_t now_ms, struct sched_user **ret_users)
{
	struct sched_user *users = mem_calloc(sched->n_users + 1, sizeof *users);
	double used = 0;

	for (size_t i = 0; i < sched->n_users; i++) {
		usage_settle(sched, sched->users[i], now_ms);
		used += sched->users[i]->usage;
	}
	for (size_t i = 0; i < sched->n_users; i++) {
		const struct user_node *user = sched->users[i];

		users[i] = (struct sched_user){
		    .uid = user->uid,
		    .running = user->running,
		    .queued = user->queued,
		    .gpus = user->gpus,
		    .vram_bytes = user->vram_bytes,
		    .usage_gpu_seconds = user->usage,
		    .usage_share = used > 0 ? user->usage / used : 0,
		    .at_ms = now_ms,
		};
	}
	*ret_users = users;
	return sched->n_users;
}

void sched_restore_user(struct sched *sched, uid_t uid, double usage_gpu_seconds, int64_t at_ms)
{
	struct user_node *user = user_get(sched, uid);

	user->usage = MAX_OF(usage_gpu_seconds, 0.0);
	user->usage_ms = at_ms;
	sched->restored_ms = MAX_OF(sched->restored_ms, 1);
	sched_touch(sched);
}
