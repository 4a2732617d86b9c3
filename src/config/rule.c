/* See rule.h. */
#include "config/rule.h"

#include "util/duration.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

bool config_gpu_is_about(const struct config_gpu *entry, const struct gpu_list *list, size_t i)
{
	const struct gpu *named = NULL;

	if (entry->model)
		return strcasestr(list->gpus[i].name, entry->model) != NULL;
	return gpu_list_resolve(list, entry->gpu, &named, NULL) == 0 && named == &list->gpus[i];
}

unsigned config_week_minute(int64_t now_ms)
{
	time_t now = (time_t)(now_ms / 1000);
	struct tm tm = {};

	(void)localtime_r(&now, &tm);
	return (unsigned)(((tm.tm_wday + 6) % 7 * 24 + tm.tm_hour) * 60 + tm.tm_min);
}

static void apply_hours(struct ledger_rule *rule, const struct hours *hours, unsigned minute)
{
	unsigned left = hours_until_change(hours, minute), opens = (minute + left) % (24 * 60);

	rule->closed = !hours_is_open(hours, minute);
	if (rule->closed)
		(void)snprintf(rule->text, sizeof rule->text,
			       "closed at this hour, opens at %02u:%02u, in %s", opens / 60,
			       opens % 60, DURATION_TEXT((int64_t)left * 60000));
}

/* Which entry says what: the last that says something about it. NULL = none. */
struct said {
	const struct config_gpu *role, *reserve, *hours;
};

static void collect(struct said *said, struct ledger_rule *rule, const struct config_gpu *entry)
{
	if (entry->has_role)
		said->role = entry;
	if (entry->has_reserve)
		said->reserve = entry;
	if (entry->has_hours)
		said->hours = entry;
	if (entry->task_vram_max_bytes > 0)
		rule->max_request_bytes = entry->task_vram_max_bytes;
	if (entry->tasks_max > 0)
		rule->max_tasks = entry->tasks_max;
}

static void apply(struct ledger_rule *rule, const struct said *said, const struct gpu *gpu,
		  unsigned minute)
{
	enum config_role role = said->role ? said->role->role : CONFIG_COMPUTE;

	rule->has_reserve = said->reserve || role == CONFIG_DISPLAY;
	if (said->reserve)
		rule->reserve_bytes = said->reserve->reserve_bytes;
	else if (role == CONFIG_DISPLAY)
		rule->reserve_bytes = MAX_OF(CONFIG_DISPLAY_RESERVE, ledger_default_reserve(gpu));
	if (said->hours && minute != CONFIG_NO_HOURS)
		apply_hours(rule, &said->hours->hours, minute);
	if (role == CONFIG_OFF) {
		rule->closed = true;
		(void)snprintf(rule->text, sizeof rule->text, "switched off by %.120s",
			       said->role->where);
	}
}

void config_rule(const struct config *config, const struct gpu_list *list, size_t i,
		 unsigned minute, struct ledger_rule *ret_rule)
{
	struct ledger_rule rule = {};
	struct said said = {};

	(void)snprintf(rule.uuid, sizeof rule.uuid, "%s", list->gpus[i].uuid);
	for (size_t k = 0; k < config->n_gpus; k++)
		if (config_gpu_is_about(&config->gpus[k], list, i))
			collect(&said, &rule, &config->gpus[k]);
	apply(&rule, &said, &list->gpus[i], minute);
	*ret_rule = rule;
}
