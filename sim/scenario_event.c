/*
 * Events of a timeline. Which keys an event takes is a row of a table; what they mean stands in
 * struct sim_event. Times are simulated time, except `delay`, which a client feels on the wall.
 */
#include "sim/nvml_abi.h"
#include "sim/scenario.h"
#include "sim/timeline.h"
#include "util/pidref.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000LL

struct event_reader {
	const struct yamlx *doc;
	const struct yamlx_node *node;
	struct sim_event *event;
};

static int need(const struct event_reader *reader, const char *key,
		const struct yamlx_node **ret_value, struct error *err)
{
	*ret_value = yamlx_get(reader->node, key);
	if (!*ret_value)
		return yamlx_error(
		    reader->doc, reader->node, -EINVAL, err, "the event %s needs `%s`",
		    timeline_event_name((enum sim_event_type)reader->event->type), key);
	return 0;
}

static int need_int(const struct event_reader *reader, const char *key, int64_t max,
		    struct error *err)
{
	const struct yamlx_node *value = NULL;
	int r = need(reader, key, &value, err);

	return r < 0 ? r
		     : scenario_parse_int(reader->doc, value, 0, max, &reader->event->number, err);
}

static int read_nothing(const struct event_reader *reader, struct error *err)
{
	return 0;
}

static int read_lost(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *code = yamlx_get(reader->node, "code");
	const struct yamlx_node *listing = yamlx_get(reader->node, "listing");
	const struct yamlx_node *xid = yamlx_get(reader->node, "xid");
	int32_t number = NVML_GPU_IS_LOST;
	int r = 0;

	if (code)
		r = scenario_parse_code(reader->doc, code, &number, err);
	reader->event->to = number;
	if (r == 0 && listing)
		r = scenario_parse_listing(reader->doc, listing, &reader->event->listing, err);
	if (r == 0 && xid)
		r = scenario_parse_int(reader->doc, xid, 1, 999, &reader->event->number, err);
	return r;
}

static int read_xid(const struct event_reader *reader, struct error *err)
{
	return need_int(reader, "xid", 999, err);
}

static int read_slow(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *value = NULL;
	int r = need(reader, "delay", &value, err);

	return r < 0 ? r : yamlx_duration(reader->doc, value, &reader->event->number, err);
}

static int read_temperature(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *over = yamlx_get(reader->node, "over");
	int64_t ms = 0;
	int r = need_int(reader, "celsius", 200, err);

	if (r == 0 && over)
		r = yamlx_duration(reader->doc, over, &ms, err);
	reader->event->over_ns = ms * NS_PER_MS;
	return r;
}

static int read_power(const struct event_reader *reader, struct error *err)
{
	int r = need_int(reader, "watts", 5000, err);

	reader->event->number *= 1000;
	return r;
}

static int read_percent(const struct event_reader *reader, struct error *err)
{
	return need_int(reader, "percent", 100, err);
}

static int read_speed(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *value = NULL;
	int r = need(reader, "factor", &value, err);

	return r < 0 ? r : yamlx_real(reader->doc, value, 0.001, 100, &reader->event->factor, err);
}

static int read_error(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *value = NULL;
	int32_t code = 0;
	int r = need(reader, "code", &value, err);

	if (r == 0)
		r = scenario_parse_code(reader->doc, value, &code, err);
	reader->event->number = code;
	return r;
}

static int read_kind(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *kind = yamlx_get(reader->node, "kind");
	static const struct {
		const char *name;
		uint32_t bits;
	} kinds[] = {{"compute", SIM_KIND_COMPUTE},
		     {"graphics", SIM_KIND_GRAPHICS},
		     {"compute+graphics", SIM_KIND_COMPUTE | SIM_KIND_GRAPHICS},
		     {"mps", SIM_KIND_COMPUTE | SIM_KIND_MPS}};

	reader->event->kind = SIM_KIND_COMPUTE;
	if (!kind)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kind->type == YAMLX_SCALAR && strcmp(kind->text, kinds[i].name) == 0) {
			reader->event->kind = kinds[i].bits;
			return 0;
		}
	return yamlx_error(reader->doc, kind, -EINVAL, err,
			   "kind is compute, graphics, compute+graphics or mps");
}

/* Without `pid` the runner starts a process of that name to stand for it. */
static int read_foreign_pid(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *pid = yamlx_get(reader->node, "pid");
	struct sim_event *event = reader->event;
	int64_t number = 0;
	int r;

	if (!pid)
		return 0;
	r = scenario_parse_int(reader->doc, pid, 1, 4194304, &number, err);
	if (r < 0)
		return r;
	event->pid = (int32_t)number;
	event->fixed = pid_start_time(event->pid, &event->start_time) < 0;
	return 0;
}

static int read_foreign(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *ends = yamlx_get(reader->node, "ends_at");
	const struct yamlx_node *percent = yamlx_get(reader->node, "percent");
	const struct yamlx_node *value = NULL;
	struct sim_event *event = reader->event;
	const char *name = NULL;
	int64_t ms = 0;
	int r = need(reader, "vram", &value, err);

	if (r == 0)
		r = yamlx_size(reader->doc, value, &event->bytes, err);
	if (r == 0 && (value = yamlx_get(reader->node, "name")))
		r = yamlx_string(reader->doc, value, &name, err);
	if (r == 0)
		r = read_kind(reader, err);
	if (r == 0)
		r = read_foreign_pid(reader, err);
	if (r == 0 && percent)
		r = scenario_parse_int(reader->doc, percent, 0, 100, &event->number, err);
	if (r == 0 && ends)
		r = yamlx_duration(reader->doc, ends, &ms, err);
	if (r == 0 && (value = yamlx_get(reader->node, "stays"))) {
		bool stays = false;

		r = yamlx_bool(reader->doc, value, &stays, err);
		event->fixed |= stays;
	}
	event->ends_ns = ends ? ms * NS_PER_MS : SIM_TIME_NEVER;
	if (r == 0 && event->ends_ns <= event->at_ns)
		r = yamlx_error(reader->doc, ends, -EINVAL, err, "ends before it begins");
	(void)snprintf(event->name, sizeof event->name, "%s", name ? name : "foreign");
	return r;
}

/* Beside `at`, `gpu` and `event`. */
static const struct {
	int (*read)(const struct event_reader *reader, struct error *err);
	const char *keys[8];
} readers[SIM_EVENT_COUNT] = {
    [SIM_EVENT_LOST] = {read_lost, {"code", "listing", "xid"}},
    [SIM_EVENT_BACK] = {read_nothing, {}},
    [SIM_EVENT_XID] = {read_xid, {"xid"}},
    [SIM_EVENT_HANG] = {read_nothing, {}},
    [SIM_EVENT_UNHANG] = {read_nothing, {}},
    [SIM_EVENT_SLOW] = {read_slow, {"delay"}},
    [SIM_EVENT_TEMPERATURE] = {read_temperature, {"celsius", "over"}},
    [SIM_EVENT_POWER] = {read_power, {"watts"}},
    [SIM_EVENT_FAN] = {read_percent, {"percent"}},
    [SIM_EVENT_UTILIZATION] = {read_percent, {"percent"}},
    [SIM_EVENT_SPEED] = {read_speed, {"factor"}},
    [SIM_EVENT_ERROR] = {read_error, {"code"}},
    [SIM_EVENT_FOREIGN] = {read_foreign,
			   {"vram", "name", "kind", "pid", "percent", "ends_at", "stays"}},
    [SIM_EVENT_MISMATCH] = {read_nothing, {}},
    [SIM_EVENT_NO_DRIVER] = {read_nothing, {}},
    [SIM_EVENT_DRIVER_OK] = {read_nothing, {}},
};

static int read_type(const struct event_reader *reader, struct error *err)
{
	const struct yamlx_node *node = yamlx_get(reader->node, "event");
	auto_text struct text list = {};
	enum sim_event_type type;

	for (int i = 0; i < SIM_EVENT_COUNT; i++)
		text_printf(&list, "%s%s", i ? ", " : "", timeline_event_name(i));
	if (!node)
		return yamlx_error(reader->doc, reader->node, -EINVAL, err,
				   "an event needs `event`: one of %s", list.data);
	if (node->type != YAMLX_SCALAR || timeline_event_from_name(node->text, &type) < 0)
		return yamlx_error(reader->doc, node, -EINVAL, err, "unknown event; there are %s",
				   list.data);
	reader->event->type = type;
	return 0;
}

static int read_gpu(const struct event_reader *reader, const struct sim_state *state,
		    struct error *err)
{
	const struct yamlx_node *node = yamlx_get(reader->node, "gpu");
	int64_t gpu = 0;
	int r;

	reader->event->gpu = SIM_GPU_ALL;
	if (!node || (node->type == YAMLX_SCALAR && strcmp(node->text, "all") == 0))
		return 0;
	r = scenario_parse_int(reader->doc, node, 0, SIM_GPUS_MAX, &gpu, err);
	if (r < 0)
		return r;
	if (gpu >= state->n_gpus)
		return yamlx_error(reader->doc, node, -EINVAL, err,
				   "there is no GPU %lld, the last is %d", (long long)gpu,
				   (int)state->n_gpus - 1);
	reader->event->gpu = (int32_t)gpu;
	return 0;
}

int scenario_parse_event(const struct yamlx *doc, const struct yamlx_node *node,
			 const struct sim_state *state, int64_t now_ns, struct sim_event *ret_event,
			 struct error *err)
{
	const char *keys[12] = {"at", "gpu", "event"};
	struct sim_event event = {.at_ns = now_ns};
	struct event_reader reader = {.doc = doc, .node = node, .event = &event};
	const struct yamlx_node *at;
	int64_t ms = 0;
	int r;

	if (!node || node->type != YAMLX_MAPPING)
		return node ? yamlx_error(doc, node, -EINVAL, err, "an event is a mapping")
			    : error_set(err, -EINVAL, "%s: empty", doc->name);
	r = read_type(&reader, err);
	if (r < 0)
		return r;
	memcpy(keys + 3, readers[event.type].keys, sizeof readers[event.type].keys);
	r = yamlx_check_keys(doc, node, keys, err);
	at = yamlx_get(node, "at");
	if (r == 0 && at) {
		r = yamlx_duration(doc, at, &ms, err);
		event.at_ns = ms * NS_PER_MS;
	}
	if (r == 0)
		r = read_gpu(&reader, state, err);
	if (r == 0)
		r = readers[event.type].read(&reader, err);
	if (r == 0 && event.type == SIM_EVENT_FOREIGN && event.gpu == SIM_GPU_ALL)
		r = yamlx_error(doc, node, -EINVAL, err, "a foreign process needs `gpu`");
	if (r < 0)
		return r;
	*ret_event = event;
	return 0;
}
