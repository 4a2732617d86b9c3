/*
 * Where the VRAM that is asked for comes from, in words: kept with the attempt that is granted it,
 * since what is known of a kind changes with every run.
 */
#include "sched/ask.h"

#include "util/size.h"

#define KIND_SHOWN 60 /* bytes of a kind's name */

/* The need that decides: the largest of those of the GPU models here. */
static struct estimates_need need_of(const struct sched *sched, const char *kind)
{
	struct estimates_need need = {};

	for (size_t i = 0; sched->gpus && i < sched->gpus->n; i++) {
		struct estimates_need one =
		    estimates_need_get(sched->estimates, kind, sched->gpus->gpus[i].name);

		if (one.vram_bytes > need.vram_bytes)
			need = one;
	}
	return need;
}

/* "learned from 4 runs of 'train.py' (p95 5 GiB)"; of one that says something "learned: those of
 * 'train.py' took up to 1.67 times what they said" */
static void say_learned(const struct sched *sched, const char *kind, uint64_t said,
			struct text *text)
{
	struct estimates_need need = need_of(sched, kind);
	unsigned runs = need.ended;

	if (said > 0 && need.said_permille > 1000)
		text_printf(text, "learned: those of '%.*s' took up to %.2f times what they said",
			    KIND_SHOWN, kind, need.said_permille / 1000.0);
	else if (need.oom_vram_bytes > need.p95_vram_bytes || runs == 0)
		text_printf(text, "learned: one of '%.*s' %s %s%s", KIND_SHOWN, kind,
			    need.oom_stopped ? "used" : "ran out of memory, wanting",
			    SIZE_TEXT(MAX_OF(need.oom_vram_bytes, need.p95_vram_bytes)),
			    need.oom_stopped ? ", more than it was granted" : " or more");
	else
		text_printf(text, "learned from %u run%s of '%.*s' (%s%s)", runs, PLURAL(runs),
			    KIND_SHOWN, kind, runs > 1 ? "p95 " : "",
			    SIZE_TEXT(need.p95_vram_bytes));
}

char *sched_ask_reason(const struct sched *sched, const struct sched_task *task,
		       enum sched_vram_source source)
{
	auto_text struct text text = {};

	switch (source) {
	case SCHED_VRAM_SAID:
		text_add(&text, "said");
		break;
	case SCHED_VRAM_LEARNED:
		say_learned(sched, task->spec.kind, task->spec.request.vram_bytes, &text);
		break;
	case SCHED_VRAM_DEFAULT:
		text_add(&text, "--vram-default, until its kind is known");
		break;
	case SCHED_VRAM_LADDER:
		text_add(&text, "raised by its ladder");
		break;
	case SCHED_VRAM_FRACTION:
		text_printf(&text, "%.10g of the load line",
			    task->spec.request.fraction_milli / 1000.0);
		break;
	case SCHED_VRAM_ALONE:
		text_add(&text, "a GPU to itself until its kind is known");
		break;
	case SCHED_VRAM_NONE:
	case SCHED_VRAM_SOURCE_COUNT:
		return NULL;
	}
	return text_take(&text);
}
