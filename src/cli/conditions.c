/* See conditions.h. What contradicts itself is refused here, in the words of the options. */
#include "cli/conditions.h"

#include "cli/target.h"
#include "util/duration.h"
#include "util/signals.h"
#include "util/timestamp.h"
#include "util/when.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

const char *const conditions_after_on[] = {"success", "failure", "end", NULL};

const struct conditions_name conditions_names[] = {
    {"request: prefer: ", "--prefer: "},
    {"request: avoid: ", "--avoid: "},
    {"request: forbid: ", "--forbid: "},
    {"request: models: ", "--model: "},
    {"request: compute_capability_min: ", "--compute-capability: "},
    {"request: compute_capability_max: ", "--compute-capability: "},
    {"request: stagger_seconds: ", "--stagger: "},
    {"after: ", "--after: "},
    {"retry_delay_seconds: ", "--retry-delay: "},
    {"soft_limit_seconds: ", "--soft-time-limit: "},
    {"time_limit_seconds: ", "--time-limit: "},
    {"soft_signal: ", "--soft-signal: "},
    {"at: ", "--at: "},
    {},
};

static int needs(const struct options *options, const char *option, const char *other,
		 struct error *err)
{
	if (options_flag(options, option) && !options_flag(options, other))
		return error_set(err, -EINVAL, "--%s goes with --%s", option, other);
	return 0;
}

static int add_after(const struct options *options, json_t *body, struct error *err)
{
	const struct strings *words = options_list(options, "after");
	const struct option_value *on = options_get(options, "after-on");
	auto_targets struct targets targets = {};
	json_t *after;
	int r = needs(options, "after-any", "after", err);

	if (r == 0)
		r = needs(options, "after-on", "after", err);
	for (size_t i = 0; i < words->n && r == 0; i++)
		r = targets_parse_list(words->items[i], &targets, err);
	if (r < 0)
		return words->n > 0 ? error_prefix(err, r, "--after") : r;
	if (words->n == 0)
		return 0;
	after = json_pack("{s:[], s:[], s:s, s:b}", "tasks", "batches", "on",
			  conditions_after_on[on->given ? on->choice : 0], "any",
			  options_flag(options, "after-any"));
	for (size_t i = 0; i < targets.n; i++)
		(void)json_array_append_new(
		    json_object_get(after, targets.items[i].is_batch ? "batches" : "tasks"),
		    jsonx_u64(targets.items[i].id));
	(void)json_object_set_new(body, "after", after);
	return 0;
}

static int add_at(const struct options *options, json_t *body, struct error *err)
{
	const char *at = options_text(options, "at", NULL);
	int64_t ms = 0;
	int r = at ? when_parse_future(at, timestamp_now_ms(), &ms, err) : 0;

	if (r < 0)
		return error_prefix(err, r, "--at");
	if (at)
		(void)json_object_set_new(body, "at", jsonx_time_if(ms));
	return 0;
}

static void add_seconds(const struct options *options, const char *option, json_t *object,
			const char *member)
{
	const struct option_value *value = options_get(options, option);

	if (value->given)
		(void)json_object_set_new(object, member, json_real((double)value->ms / 1000));
}

static int add_limits(const struct options *options, json_t *body, struct error *err)
{
	const struct option_value *soft = options_get(options, "soft-time-limit"),
				  *hard = options_get(options, "time-limit");
	const char *name = options_text(options, "soft-signal", NULL);
	int number = 0, r = needs(options, "soft-signal", "soft-time-limit", err);

	if (r == 0 && ((soft->given && soft->ms <= 0) || (hard->given && hard->ms <= 0)))
		r = error_set(err, -EINVAL, "a time limit of nothing leaves no time to run");
	if (r == 0 && soft->given && hard->given && soft->ms >= hard->ms)
		r = error_set(err, -EINVAL, "--soft-time-limit %s is not before --time-limit %s",
			      soft->text, hard->text);
	if (r == 0 && name && signal_parse(name, &number, err) < 0)
		r = error_prefix(err, -EINVAL, "--soft-signal");
	if (r < 0)
		return r;
	add_seconds(options, "soft-time-limit", body, "soft_limit_seconds");
	add_seconds(options, "time-limit", body, "time_limit_seconds");
	if (name)
		(void)json_object_set_new(body, "soft_signal", json_string(SIGNAL_NAME(number)));
	return 0;
}

static int add_retries(const struct options *options, json_t *body, struct error *err)
{
	const struct option_value *retries = options_get(options, "retries"),
				  *delay = options_get(options, "retry-delay");

	if (delay->given && retries->integer == 0)
		return error_set(err, -EINVAL, "--retry-delay goes with --retries of 1 or more");
	if (retries->given)
		(void)json_object_set_new(body, "retries", json_integer(retries->integer));
	if (delay->given)
		add_seconds(options, "retry-delay", body, "retry_delay_seconds");
	return 0;
}

int conditions_add(const struct options *options, json_t *body, struct error *err)
{
	int r = add_after(options, body, err);

	if (r == 0)
		r = add_at(options, body, err);
	if (r == 0)
		r = add_limits(options, body, err);
	if (r == 0)
		r = add_retries(options, body, err);
	if (r == 0 && options_flag(options, "hold"))
		(void)json_object_set_new(body, "held", json_true());
	if (r == 0 && options_flag(options, "private"))
		(void)json_object_set_new(body, "private", json_true());
	return r;
}

/* All words of all times it was given, split at commas. */
static int add_list(const struct options *options, const char *option, json_t *request,
		    const char *member, struct error *err)
{
	const struct strings *texts = options_list(options, option);
	json_t *array = json_array();

	for (size_t i = 0; i < texts->n; i++) {
		for (const char *text = texts->items[i];;) {
			size_t len = strcspn(text, ",");
			json_t *word = len > 0 ? json_stringn(text, len) : NULL;

			if (!word) {
				json_decref(array);
				return error_set(err, -EINVAL, "--%s: \"%.64s\" %s", option,
						 texts->items[i],
						 len > 0 ? "is not UTF-8" : "holds an empty name");
			}
			(void)json_array_append_new(array, word);
			if (!text[len])
				break;
			text += len + 1;
		}
	}
	if (texts->n > 0)
		(void)json_object_set_new(request, member, array);
	else
		json_decref(array);
	return 0;
}

/* "8", "8.0", "12.1", so many characters of `text`; NULL: it is none. */
static json_t *compute_to_json(const char *text, size_t len)
{
	size_t major = strspn(text, "0123456789");

	if (major < 1 || major > 2)
		return NULL;
	if (len == major)
		return json_sprintf("%.*s.0", (int)major, text);
	if (len != major + 2 || text[major] != '.' || !isdigit((unsigned char)text[major + 1]))
		return NULL;
	return json_stringn(text, len);
}

static int add_compute(const struct options *options, json_t *request, struct error *err)
{
	const char *text = options_text(options, "compute-capability", NULL);
	const char *dash = text ? strchr(text, '-') : NULL;
	auto_json json_t *min = NULL, *max = NULL;

	if (!text)
		return 0;
	min = compute_to_json(text, dash ? (size_t)(dash - text) : strlen(text));
	max = dash ? compute_to_json(dash + 1, strlen(dash + 1)) : NULL;
	if (!min || (dash && !max))
		return error_set(err, -EINVAL,
				 "--compute-capability: \"%.64s\" is not one (8.0), nor two "
				 "(8.0-9.0)",
				 text);
	if (max && strtod(text, NULL) > strtod(dash + 1, NULL))
		return error_set(err, -EINVAL,
				 "--compute-capability: %s is none: it goes from the lower to the "
				 "higher",
				 text);
	(void)json_object_set_new(request, "compute_capability_min", TAKE(min));
	if (max)
		(void)json_object_set_new(request, "compute_capability_max", TAKE(max));
	return 0;
}

static const struct wish {
	const char *option, *member; /* member NULL: not a list */
} wishes[] = {
    {"prefer", "prefer"}, {"avoid", "avoid"},           {"forbid", "forbid"},
    {"model", "models"},  {"compute-capability", NULL},
};

/* What shares a GPU goes with any choice of it, save with none. */
static const char *const manners[] = {"start-lock", "stagger"};

static int check_where(const struct options *options, const char *where, struct error *err)
{
	bool no_gpu = text_starts_with(where, "--cpu") || strcmp(where, "--device cpu") == 0;

	for (size_t i = 0; i < ARRAY_LEN(wishes) && *where; i++)
		if (options_flag(options, wishes[i].option))
			return error_set(err, -EINVAL,
					 "%s says already where it runs: leave out --%s", where,
					 wishes[i].option);
	for (size_t i = 0; i < ARRAY_LEN(manners) && no_gpu; i++)
		if (options_flag(options, manners[i]))
			return error_set(err, -EINVAL, "%s takes no GPU: leave out --%s", where,
					 manners[i]);
	return 0;
}

int conditions_add_wishes(const struct options *options, const char *where, json_t *request,
			  struct error *err)
{
	int r = check_where(options, where, err);

	for (size_t i = 0; i < ARRAY_LEN(wishes) && r == 0; i++)
		if (wishes[i].member)
			r = add_list(options, wishes[i].option, request, wishes[i].member, err);
	if (r == 0)
		r = add_compute(options, request, err);
	if (r < 0)
		return r;
	if (options_flag(options, "start-lock"))
		(void)json_object_set_new(request, "start_lock", json_true());
	add_seconds(options, "stagger", request, "stagger_seconds");
	return 0;
}
