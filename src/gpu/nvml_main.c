/*
 * plimsoll-nvml: the process in which NVML may hang. It reads commands, one a line:
 *
 *	sample <number>
 *	details <number>
 *
 * and answers each with one JSON line, {"sample": <number>, "list": {...}}, with the details of
 * each GPU (gpu/details.h) in it for the second; a command that comes while it samples replaces one
 * that waits. XIDs come in between as lines {"event": "xid", ...}.
 * The main thread only reads, so that the end of standard input ends the process even while the
 * sampling thread is stuck in a call. `plimsoll-nvml --once` prints the list of one sample.
 */
#include "gpu/details.h"
#include "gpu/nvml.h"
#include "util/file.h"
#include "util/text.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ONCE_LIMIT_SECONDS 60 /* nobody waits longer for `--once` */
#define LINE_MAX_BYTES     256

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	bool pending;
	struct command {
		unsigned long long number;
		bool details;
	} command;
} request = {.lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

/* One line. When nobody reads any more there is nothing left to do. */
static void put(json_t *json_take)
{
	auto_json json_t *json = json_take;
	auto_free char *text = jsonx_dump(json);
	auto_free char *line = mem_printf("%s\n", text);
	int r;

	(void)pthread_mutex_lock(&output);
	r = fd_write_all(STDOUT_FILENO, line, strlen(line));
	(void)pthread_mutex_unlock(&output);
	if (r < 0)
		_exit(0);
}

static void put_event(const struct gpu_event *event)
{
	put(gpu_event_to_json(event));
}

static struct command next_request(void)
{
	struct command command;

	(void)pthread_mutex_lock(&request.lock);
	while (!request.pending)
		(void)pthread_cond_wait(&request.wanted, &request.lock);
	request.pending = false;
	command = request.command;
	(void)pthread_mutex_unlock(&request.lock);
	return command;
}

static json_t *sample(struct nvml *nvml, bool details)
{
	auto_gpu_list struct gpu_list *list = nvml_sample(nvml);
	auto_free struct gpu_details *told = NULL;

	if (!details)
		return gpu_list_to_json(list);
	told = mem_calloc(MAX_OF(list->n, 1), sizeof *told);
	nvml_details(nvml, list, told);
	return gpu_details_list_to_json(list, told);
}

static void *sample_forever(void *arg)
{
	struct nvml *nvml = nvml_create(&(struct nvml_options){.on_event = put_event});

	(void)arg;
	for (;;) {
		struct command wanted = next_request();
		json_t *json = json_object();

		(void)json_object_set_new(json, "sample", json_integer((json_int_t)wanted.number));
		(void)json_object_set_new(json, "list", sample(nvml, wanted.details));
		put(json);
	}
	return NULL;
}

static int take_command(const char *line)
{
	static const char *const words[] = {"sample ", "details "};
	bool details = text_starts_with(line, words[1]);
	unsigned long long number;

	if (!text_starts_with(line, words[details]) ||
	    !text_to_u64(line + strlen(words[details]), 0, INT64_MAX, &number))
		return -EINVAL;
	(void)pthread_mutex_lock(&request.lock);
	request.pending = true;
	request.command = (struct command){.number = number, .details = details};
	(void)pthread_cond_signal(&request.wanted);
	(void)pthread_mutex_unlock(&request.lock);
	return 0;
}

/* Until the end of standard input. */
static int read_commands(void)
{
	char buf[LINE_MAX_BYTES];
	size_t len = 0;

	for (;;) {
		ssize_t n = read(STDIN_FILENO, buf + len, sizeof buf - len);
		char *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		len += (size_t)n;
		while ((end = memchr(buf, '\n', len))) {
			*end = '\0';
			if (take_command(buf) < 0)
				return -EINVAL;
			len -= (size_t)(end + 1 - buf);
			memmove(buf, end + 1, len);
		}
		if (len == sizeof buf)
			return -EINVAL;
	}
}

static int once(void)
{
	struct nvml *nvml = nvml_create(&(struct nvml_options){});
	struct gpu_list *list;

	(void)alarm(ONCE_LIMIT_SECONDS);
	list = nvml_sample(nvml);
	put(gpu_list_to_json(list));
	gpu_list_destroy(list);
	nvml_destroy(nvml);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t sampler;

	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "--once") == 0)
		return once();
	if (argc != 1) {
		(void)fprintf(stderr, "usage: plimsoll-nvml [--once]\n"
				      "Samples the GPUs through NVML for plimsoll; not meant to be "
				      "started by hand.\n");
		return 2;
	}
	if (pthread_create(&sampler, NULL, sample_forever, NULL) != 0)
		return 3;
	/* Not exit(): its handlers could wait for what the other thread holds. */
	_exit(read_commands() < 0 ? 2 : 0);
}
