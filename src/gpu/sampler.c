/*
 * One helper process at a time is asked for a sample at an interval. What can happen to it is a
 * table: the states are "down" (none, waiting for another try), "ready" (idle), "busy" (asked) and
 * "late" (it missed its deadline). Late is a state of its own because a slow driver is not a dead
 * one: starting anew costs seconds of initialising, so the list goes stale at the deadline, but the
 * helper gets a second, longer time before it is given up, and a late answer makes all fresh.
 *
 * A helper that is given up is killed and no more listened to. When it hangs in the kernel it stays
 * anyway; it is left behind, and with LEFT_BEHIND_MAX of those no other is started until one of
 * them ends. Its libuv process handle lives until then, so that it is reaped.
 */
#include "gpu/sampler.h"

#include "gpu/helper_line.h"
#include "util/paths.h"
#include "util/text.h"
#include "util/timestamp.h"
#include "util/when.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define INTERVAL_MS       1000
#define DEADLINE_MS       2000
#define FIRST_DEADLINE_MS 10000 /* initialising 8 GPUs without persistence takes seconds */
#define LATE_MIN_MS       10000
#define LATE_FACTOR       5
#define RETRY_FIRST_MS    500
#define RETRY_LAST_MS     60000
#define LEFT_BEHIND_MAX   3

enum sampler_state { STATE_DOWN, STATE_READY, STATE_BUSY, STATE_LATE, N_STATES };
enum sampler_event {
	EVENT_DUE,      /* the interval, or a kick */
	EVENT_ANSWER,   /* a sample came */
	EVENT_DEADLINE, /* the time of this state is over */
	EVENT_BROKEN,   /* it ended, or wrote what is no sample */
	N_EVENTS
};

struct helper {
	struct gpu_sampler *sampler; /* NULL once given up and the sampler is gone */
	struct helper *next;
	uv_process_t process;
	uv_pipe_t in, out;
	unsigned open_handles;
	struct text line;
	char buf[16384];
};

struct gpu_sampler {
	uv_loop_t *loop;
	struct gpu_sampler_options options;
	char *path;
	enum sampler_state state;
	struct gpu_list *list;
	struct gpu_list *incoming; /* the answer being dealt with */
	struct helper *helper;     /* NULL when down */
	struct helper *left;       /* killed, not ended yet */
	unsigned n_left;
	uv_timer_t interval, deadline;
	unsigned open_handles;
	bool fresh_helper; /* its first answer includes initialising */
	bool again;        /* kicked while busy: that sample may be older than the kick */
	unsigned long long number;
	unsigned retry_ms;
	unsigned interval_ms; /* in force */
	int64_t asked_at_ms;  /* realtime */
	char broken[200];     /* why, for EVENT_BROKEN */
};

static void sampler_step(struct gpu_sampler *sampler, enum sampler_event event);

/* ---- the helper's handles ---- */

static void on_helper_closed(uv_handle_t *handle)
{
	struct helper *helper = handle->data;

	if (--helper->open_handles > 0)
		return;
	text_finish(&helper->line);
	free(helper);
}

static void helper_close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_helper_closed);
}

static void left_remove(struct gpu_sampler *sampler, struct helper *helper)
{
	for (struct helper **at = &sampler->left; *at; at = &(*at)->next) {
		if (*at == helper) {
			*at = helper->next;
			sampler->n_left--;
			return;
		}
	}
}

static void on_exit_of_helper(uv_process_t *process, int64_t status, int signal)
{
	struct helper *helper = process->data;
	struct gpu_sampler *sampler = helper->sampler;

	helper_close_handle((uv_handle_t *)process);
	if (sampler->helper != helper) {
		left_remove(sampler, helper);
		return;
	}
	if (signal)
		(void)snprintf(sampler->broken, sizeof sampler->broken,
			       "the helper process plimsoll-nvml was ended by signal %d (%s)",
			       signal, strsignal(signal));
	else
		(void)snprintf(sampler->broken, sizeof sampler->broken,
			       "the helper process plimsoll-nvml ended with status %d",
			       (int)status);
	/* It ended by itself: there is nothing to kill or to leave behind. */
	sampler->helper = NULL;
	helper_close_handle((uv_handle_t *)&helper->in);
	helper_close_handle((uv_handle_t *)&helper->out);
	sampler_step(sampler, EVENT_BROKEN);
}

/* Kill and stop listening. */
static void helper_give_up(struct gpu_sampler *sampler)
{
	struct helper *helper = sampler->helper;

	if (!helper)
		return;
	sampler->helper = NULL;
	helper->next = sampler->left;
	sampler->left = helper;
	sampler->n_left++;
	(void)uv_process_kill(&helper->process, SIGKILL);
	helper_close_handle((uv_handle_t *)&helper->in);
	helper_close_handle((uv_handle_t *)&helper->out);
}

/* ---- what it says ---- */

static void helper_broken(struct helper *helper, const char *why)
{
	struct gpu_sampler *sampler = helper->sampler;

	(void)snprintf(sampler->broken, sizeof sampler->broken, "%s", why);
	sampler_step(sampler, EVENT_BROKEN);
}

/* False when the helper is given up. */
static bool take_line(struct helper *helper, const char *text, size_t len)
{
	struct gpu_sampler *sampler = helper->sampler;
	struct helper_line line = {};
	struct error err = {};

	if (helper_line_parse(text, len, &line, &err) < 0) {
		helper_broken(helper, error_text(&err));
		return false;
	}
	if (!line.list) {
		if (sampler->options.on_event)
			sampler->options.on_event(sampler->options.data, &line.event);
	} else if (line.number == sampler->number) {
		sampler->incoming = TAKE(line.list);
		sampler_step(sampler, EVENT_ANSWER);
	}
	helper_line_finish(&line);
	return sampler->helper == helper;
}

static void take_lines(struct helper *helper)
{
	size_t used = 0;
	char *end;

	while ((end = memchr(helper->line.data + used, '\n', helper->line.len - used))) {
		size_t len = (size_t)(end - (helper->line.data + used));

		if (!take_line(helper, helper->line.data + used, len))
			return;
		used += len + 1;
	}
	memmove(helper->line.data, helper->line.data + used, helper->line.len - used);
	helper->line.len -= used;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct helper *helper = handle->data;

	(void)suggested;
	*ret_buf = uv_buf_init(helper->buf, sizeof helper->buf);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct helper *helper = stream->data;

	if (n == 0)
		return;
	if (n < 0) {
		/* The end of its output; the reason is told by its exit, which follows. */
		(void)uv_read_stop(stream);
		return;
	}
	if (helper->line.len + (size_t)n > HELPER_LINE_MAX + sizeof helper->buf) {
		helper_broken(helper, "the helper process plimsoll-nvml wrote a line without end");
		return;
	}
	text_add_bytes(&helper->line, buf->base, (size_t)n);
	/* Only a chunk with a line's end is worth the walk. */
	if (memchr(buf->base, '\n', (size_t)n))
		take_lines(helper);
}

/* ---- starting ---- */

static int helper_spawn(struct gpu_sampler *sampler, struct helper *helper)
{
	char *args[] = {(char[]){"plimsoll-nvml"}, NULL};
	uv_stdio_container_t stdio[] = {
	    {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&helper->in},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
	     .data.stream = (uv_stream_t *)&helper->out},
	    {.flags = UV_IGNORE},
	};
	/* A session of its own: Ctrl-C in the terminal of whoever samples is not for the helper. */
	uv_process_options_t options = {
	    .file = sampler->path,
	    .args = args,
	    .exit_cb = on_exit_of_helper,
	    .flags = UV_PROCESS_DETACHED,
	    .stdio = stdio,
	    .stdio_count = (int)ARRAY_LEN(stdio),
	};

	return uv_spawn(sampler->loop, &helper->process, &options);
}

static int helper_start(struct gpu_sampler *sampler)
{
	struct helper *helper = mem_calloc(1, sizeof *helper);
	int r;

	helper->sampler = sampler;
	helper->process.data = helper->in.data = helper->out.data = helper;
	(void)uv_pipe_init(sampler->loop, &helper->in, 0);
	(void)uv_pipe_init(sampler->loop, &helper->out, 0);
	helper->open_handles = 3;
	r = helper_spawn(sampler, helper);
	if (r == 0)
		r = uv_read_start((uv_stream_t *)&helper->out, on_alloc, on_read);
	if (r < 0) {
		/* uv_spawn() initialises the process handle even when it fails. */
		helper_close_handle((uv_handle_t *)&helper->process);
		helper_close_handle((uv_handle_t *)&helper->in);
		helper_close_handle((uv_handle_t *)&helper->out);
		return r;
	}
	sampler->helper = helper;
	sampler->fresh_helper = true;
	return 0;
}

/* ---- actions of the table ---- */

static void on_deadline(uv_timer_t *timer)
{
	sampler_step(timer->data, EVENT_DEADLINE);
}

static void arm(struct gpu_sampler *sampler, uint64_t ms)
{
	(void)uv_timer_start(&sampler->deadline, on_deadline, ms, 0);
}

static void publish(struct gpu_sampler *sampler, struct gpu_list *list_take)
{
	gpu_list_destroy(sampler->list);
	sampler->list = list_take;
	sampler->options.on_sample(sampler->options.data, sampler->list);
}

static void publish_stale(struct gpu_sampler *sampler, const char *why)
{
	struct gpu_list *list = gpu_list_copy(sampler->list);

	gpu_list_mark_stale(list, sampler->asked_at_ms, why);
	publish(sampler, list);
}

static void action_none(struct gpu_sampler *sampler)
{
	(void)sampler;
}

static void action_ask(struct gpu_sampler *sampler)
{
	char text[64];
	uv_buf_t buf;
	int n = snprintf(text, sizeof text, "sample %llu\n", ++sampler->number);

	sampler->again = false;
	sampler->asked_at_ms = timestamp_now_ms();
	arm(sampler, sampler->fresh_helper
			 ? MAX_OF(sampler->options.deadline_ms, (unsigned)FIRST_DEADLINE_MS)
			 : sampler->options.deadline_ms);
	buf = uv_buf_init(text, (unsigned)n);
	if (uv_try_write((uv_stream_t *)&sampler->helper->in, &buf, 1) != n)
		helper_broken(sampler->helper, "the helper process plimsoll-nvml takes no command");
}

/* From down: start one, if that may be. */
static void action_start(struct gpu_sampler *sampler)
{
	int r;

	if (sampler->n_left >= LEFT_BEHIND_MAX) {
		sampler->state = STATE_DOWN;
		arm(sampler, sampler->retry_ms);
		return;
	}
	r = helper_start(sampler);
	if (r < 0) {
		sampler->asked_at_ms = timestamp_now_ms();
		(void)snprintf(sampler->broken, sizeof sampler->broken, "cannot start %s: %s",
			       sampler->path, uv_strerror(r));
		sampler_step(sampler, EVENT_BROKEN);
		return;
	}
	action_ask(sampler);
}

static void action_publish(struct gpu_sampler *sampler)
{
	struct gpu_list *list = TAKE(sampler->incoming);

	(void)uv_timer_stop(&sampler->deadline);
	sampler->fresh_helper = false;
	sampler->retry_ms = RETRY_FIRST_MS;
	/* The helper does this too, but a new helper does not know what the one before saw. */
	gpu_list_carry_over(list, sampler->list);
	publish(sampler, list);
	/* The callback may have kicked and the state moved on. */
	if (sampler->again && sampler->state == STATE_READY)
		sampler_step(sampler, EVENT_DUE);
}

static void action_remember(struct gpu_sampler *sampler)
{
	sampler->again = true;
}

static void action_late(struct gpu_sampler *sampler)
{
	char text[200];

	(void)snprintf(text, sizeof text,
		       "NVML has not answered since %s: the NVIDIA driver may hang; see `dmesg | "
		       "grep -i nvrm`. The numbers are the last good ones",
		       WHEN_TEXT(sampler->asked_at_ms));
	arm(sampler, MAX_OF(sampler->options.deadline_ms * LATE_FACTOR, (unsigned)LATE_MIN_MS));
	publish_stale(sampler, text);
}

static void wait_for_retry(struct gpu_sampler *sampler)
{
	arm(sampler, sampler->retry_ms);
	sampler->retry_ms = MIN_OF(sampler->retry_ms * 2, (unsigned)RETRY_LAST_MS);
}

static void action_give_up(struct gpu_sampler *sampler)
{
	helper_give_up(sampler);
	wait_for_retry(sampler);
}

static void action_broken(struct gpu_sampler *sampler)
{
	helper_give_up(sampler);
	wait_for_retry(sampler);
	publish_stale(sampler, sampler->broken);
}

static const struct {
	enum sampler_state next;
	void (*action)(struct gpu_sampler *);
} table[N_STATES][N_EVENTS] = {
    [STATE_DOWN] =
	{
	    [EVENT_DUE] = {STATE_DOWN, action_none},
	    [EVENT_ANSWER] = {STATE_DOWN, action_none},
	    [EVENT_DEADLINE] = {STATE_BUSY, action_start},
	    [EVENT_BROKEN] = {STATE_DOWN, action_none},
	},
    [STATE_READY] =
	{
	    [EVENT_DUE] = {STATE_BUSY, action_ask},
	    [EVENT_ANSWER] = {STATE_READY, action_none},
	    [EVENT_DEADLINE] = {STATE_READY, action_none},
	    [EVENT_BROKEN] = {STATE_DOWN, action_broken},
	},
    [STATE_BUSY] =
	{
	    [EVENT_DUE] = {STATE_BUSY, action_remember},
	    [EVENT_ANSWER] = {STATE_READY, action_publish},
	    [EVENT_DEADLINE] = {STATE_LATE, action_late},
	    [EVENT_BROKEN] = {STATE_DOWN, action_broken},
	},
    [STATE_LATE] =
	{
	    [EVENT_DUE] = {STATE_LATE, action_none},
	    [EVENT_ANSWER] = {STATE_READY, action_publish},
	    [EVENT_DEADLINE] = {STATE_DOWN, action_give_up},
	    [EVENT_BROKEN] = {STATE_DOWN, action_broken},
	},
};

static void sampler_step(struct gpu_sampler *sampler, enum sampler_event event)
{
	enum sampler_state from = sampler->state;

	sampler->state = table[from][event].next;
	table[from][event].action(sampler);
	gpu_list_destroy(TAKE(sampler->incoming));
}

/* ---- the outside ---- */

static void on_interval(uv_timer_t *timer)
{
	struct gpu_sampler *sampler = timer->data;

	/* While one is under way the next follows in its time: only a kick is remembered. */
	if (sampler->state == STATE_READY)
		sampler_step(sampler, EVENT_DUE);
}

void gpu_sampler_set_interval(struct gpu_sampler *sampler, unsigned interval_ms)
{
	if (interval_ms == 0)
		interval_ms = sampler->options.interval_ms;
	if (interval_ms == sampler->interval_ms)
		return;
	sampler->interval_ms = interval_ms;
	(void)uv_timer_start(&sampler->interval, on_interval, interval_ms, interval_ms);
}

int gpu_sampler_create(uv_loop_t *loop, const struct gpu_sampler_options *options,
		       struct gpu_sampler **ret_sampler, struct error *err)
{
	struct gpu_sampler *sampler;
	auto_free char *path = NULL;
	int r = paths_find_helper("plimsoll-nvml", &path, err);

	if (r < 0)
		return r;
	sampler = mem_calloc(1, sizeof *sampler);
	sampler->loop = loop;
	sampler->options = *options;
	if (sampler->options.interval_ms == 0)
		sampler->options.interval_ms = INTERVAL_MS;
	if (sampler->options.deadline_ms == 0)
		sampler->options.deadline_ms = DEADLINE_MS;
	sampler->path = TAKE(path);
	sampler->list = gpu_list_create();
	sampler->retry_ms = RETRY_FIRST_MS;
	(void)uv_timer_init(loop, &sampler->interval);
	(void)uv_timer_init(loop, &sampler->deadline);
	sampler->interval.data = sampler->deadline.data = sampler;
	sampler->open_handles = 2;
	gpu_sampler_set_interval(sampler, 0);
	/* The first start is the retry of a helper that never was: at once, on the loop. */
	arm(sampler, 0);
	*ret_sampler = sampler;
	return 0;
}

const struct gpu_list *gpu_sampler_list(const struct gpu_sampler *sampler)
{
	return sampler->list;
}

void gpu_sampler_kick(struct gpu_sampler *sampler)
{
	sampler_step(sampler, EVENT_DUE);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct gpu_sampler *sampler = handle->data;

	if (--sampler->open_handles > 0)
		return;
	gpu_list_destroy(sampler->list);
	free(sampler->path);
	free(sampler);
}

void gpu_sampler_destroy(struct gpu_sampler *sampler)
{
	if (!sampler)
		return;
	helper_give_up(sampler);
	sampler->state = STATE_DOWN;
	sampler->again = false;
	/* Those that will not end are not waited for: closing the handle stops watching them. */
	for (struct helper *helper = sampler->left; helper; helper = helper->next)
		helper_close_handle((uv_handle_t *)&helper->process);
	sampler->left = NULL;
	uv_close((uv_handle_t *)&sampler->interval, on_timer_closed);
	uv_close((uv_handle_t *)&sampler->deadline, on_timer_closed);
}
