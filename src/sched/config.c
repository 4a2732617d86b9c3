/* How the queue goes, as the people of the machine want it. Defaults are filled in here, once. */
#include "sched/sched_priv.h"

#include "util/size.h"

#define AGEING_MS       3600000             /* one hour */
#define HALF_LIFE_MS    ((int64_t)86400000) /* one day */
#define PATIENCE_MS     300000              /* five minutes */
#define TOLERANCE_BYTES (128 * MIB)
#define OVERRUN_SAMPLES 2

void sched_configure(struct sched *sched, const struct sched_config *config, int64_t now_ms)
{
	struct sched_user_config *users = mem_calloc(config->n_users + 1, sizeof *users);

	if (now_ms > 0)
		time_seen(sched, now_ms);
	for (size_t i = 0; i < config->n_users; i++)
		users[i] = config->users[i];
	free(sched->user_configs);
	sched->user_configs = users;
	sched->config = *config;
	sched->config.users = users;
	if (sched->config.ageing_ms == 0)
		sched->config.ageing_ms = AGEING_MS;
	if (sched->config.fair_half_life_ms == 0)
		sched->config.fair_half_life_ms = HALF_LIFE_MS;
	if (sched->config.reserve_after_ms == 0)
		sched->config.reserve_after_ms = PATIENCE_MS;
	if (sched->config.overrun_tolerance_bytes == 0)
		sched->config.overrun_tolerance_bytes = TOLERANCE_BYTES;
	if (sched->config.overrun_samples == 0)
		sched->config.overrun_samples = OVERRUN_SAMPLES;
	sched->ledger_options.stagger_ms = sched->config.stagger_ms;
	sched->ledger_options.prove = sched->config.prove;
	users_configure(sched);
	waiting_rank_all(sched);
	sched_touch(sched);
}

void sched_set_rules(struct sched *sched, const struct ledger_rule *rules, size_t n_rules,
		     int64_t now_ms)
{
	struct ledger_rule *kept = mem_calloc(n_rules + 1, sizeof *kept);

	time_seen(sched, now_ms);
	for (size_t i = 0; i < n_rules; i++)
		kept[i] = rules[i];
	free(sched->rules);
	sched->rules = kept;
	sched->ledger_options.rules = kept;
	sched->ledger_options.n_rules = n_rules;
	sched_touch(sched);
}

void sched_set_pause(struct sched *sched, const char *why, int64_t now_ms)
{
	time_seen(sched, now_ms);
	free(sched->pause);
	sched->pause = why ? mem_strdup(why) : NULL;
	sched_touch(sched);
}
