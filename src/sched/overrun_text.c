/*
 * An overrun in words, while it lasts and after it. The watch (overrun.c) has decided that it is
 * one, by what the configuration tolerates then; what is beyond its grant is found once more here,
 * of attempts of the store, too: the same 5 %, and no configuration.
 */
#include "sched/sched.h"

#include "util/size.h"

static bool is_beyond(uint64_t granted, uint64_t bytes)
{
	return granted > 0 && bytes > granted && bytes - granted > granted / 20;
}

/* "uses 7.8 GiB of 1 GiB granted": what it has now, where that is too much still, else what it had
 * at most. */
static bool say_beyond(struct text *text, bool runs, const char *what, uint64_t granted,
		       uint64_t used, uint64_t peak)
{
	bool now = runs && is_beyond(granted, used);
	uint64_t bytes = now ? used : MAX_OF(used, peak);

	if (!is_beyond(granted, bytes))
		return false;
	text_printf(text, "%s%s %s of %s%s granted", text->len > 0 ? " and " : "",
		    now ? "uses" : "used", SIZE_TEXT(bytes), SIZE_TEXT(granted), what);
	return true;
}

static const char *policy_words(enum sched_on_overrun on, bool vram)
{
	if (on == SCHED_OVERRUN_WARN)
		return "; warned: --on-overrun warn never stops it";
	if (on == SCHED_OVERRUN_STOP)
		return "; --on-overrun stop ends it";
	return vram ? "; warned: its GPU has room" : "; warned: the host has memory left";
}

bool sched_overrun_text(const struct sched_task *task, const struct sched_attempt *attempt,
			char text[SCHED_REASON_MAX])
{
	bool runs = attempt->ended_at_ms == 0, vram = false;
	auto_text struct text line = {};

	text[0] = '\0';
	if (!attempt->overrun)
		return false;
	for (unsigned g = 0; g < attempt->n_gpus; g++) {
		const struct sched_grant *grant = &attempt->gpus[g];

		if (!say_beyond(&line, runs, "", grant->vram_bytes,
				grant->used_known ? grant->used_bytes : 0,
				attempt->n_gpus == 1 ? attempt->peak_vram_bytes
						     : grant->peak_bytes))
			continue;
		text_printf(&line, " on GPU %u", grant->index);
		vram = true;
	}
	(void)say_beyond(&line, runs, " of RAM", sched_ram_promise(task, attempt),
			 attempt->used_ram_bytes, attempt->peak_ram_bytes);
	if (line.len == 0)
		text_add(&line,
			 runs ? "uses more than it was granted" : "used more than it was granted");
	(void)snprintf(text, SCHED_REASON_MAX, "%s%s", line.data,
		       runs ? policy_words(task->spec.on_overrun, vram) : "");
	return true;
}
