/*
 * One table: a rung's name, and what it makes of what is asked for, or why it cannot help. Climbing
 * goes over the list from where the task stands; each rung is stood on so many times as the list
 * says and never again, so there is an end to it however an attempt falls.
 *
 * What rungs changed stays: a task that is tried alone keeps the larger request it was given by a
 * retry, one with half the batch is still alone.
 */
#include "sched/ladder.h"

#include "place/oom.h"
#include "place/saturate.h"
#include "util/size.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TIMES_MAX 100
/* Of RAM, of which no text says how much was wanted. */
#define GROWTH_PERCENT 50

/* A rung under the foot. */
struct step {
	const struct sched_spec *spec;
	const struct ladder_fall *fall;
	struct sched_ladder *next; /* to be changed */
	char *text;                /* what it does, or why it cannot help */
	size_t size;
};

struct rung_type {
	const char *name;
	bool (*take)(const struct step *step);
};

#define SAY(step, ...) ((void)snprintf((step)->text, (step)->size, __VA_ARGS__))

static bool pass(const struct step *step, const char *why)
{
	SAY(step, "%s", why);
	return false;
}

/* The VRAM to try next, by how it fell; 0 = nothing is known. */
static uint64_t needed_by(const struct ladder_fall *fall)
{
	return oom_next(&(struct oom_facts){.granted_bytes = fall->granted_bytes,
					    .used_bytes = fall->used_bytes,
					    .own_bytes = fall->own_bytes,
					    .requested_bytes = fall->requested_bytes,
					    .growing = fall->growing,
					    .settled = fall->settled});
}

static bool is_of_host(const struct step *step)
{
	return step->fall->outcome == SCHED_HOST_OOM;
}

/* A larger request for whatever GPU comes next, as far as any can give it. */
static void request_raise(const struct step *step)
{
	uint64_t needed = needed_by(step->fall), most = step->fall->most_bytes;

	if (most > 0)
		needed = MIN_OF(needed, most);
	step->next->vram_bytes = MAX_OF(step->next->vram_bytes, needed);
}

static bool take_retry_ram(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;
	uint64_t had = MAX_OF(fall->granted_ram_bytes, fall->used_ram_bytes);
	uint64_t bytes = saturate_add_percent(had, GROWTH_PERCENT);

	if (had == 0)
		return pass(step, "how much host memory it had is not known");
	if (fall->most_ram_bytes > 0)
		bytes = MIN_OF(bytes, fall->most_ram_bytes);
	if (bytes <= fall->granted_ram_bytes)
		return pass(step, "it had all of the host's memory");
	step->next->ram_bytes = bytes;
	SAY(step, "with %s of host memory", SIZE_TEXT(bytes));
	return true;
}

static bool take_retry(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;

	if (is_of_host(step))
		return take_retry_ram(step);
	if (fall->on_cpu)
		return pass(step, "it had no GPU");
	if (needed_by(fall) == 0)
		return pass(step, "how much it had is not known");
	if (fall->most_bytes > 0 && fall->granted_bytes >= fall->most_bytes)
		return pass(step, "it was granted the most there is");
	request_raise(step);
	SAY(step, "with %s", SIZE_TEXT(step->next->vram_bytes));
	return true;
}

static bool take_bigger_gpu(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;

	if (is_of_host(step))
		return pass(step, "it was not the GPU's memory");
	if (fall->on_cpu)
		return pass(step, "it had no GPU");
	if (fall->line_bytes == 0)
		return pass(step, "how large its GPU is, is not known");
	if (!fall->larger_gpus && fall->larger_elsewhere) {
		SAY(step, "it is held to GPU %u (-d %u)", fall->pin_index, fall->pin_index);
		return false;
	}
	if (!fall->larger_gpus)
		return pass(step, "no GPU is larger");
	request_raise(step);
	step->next->line_above_bytes = fall->line_bytes;
	SAY(step, "one that takes more than %s", SIZE_TEXT(fall->line_bytes));
	return true;
}

/* Nobody else was there, and it was granted the GPU as a whole: what keeps to its grant may have
 * had it for itself and no more than a part. */
static bool had_it_all(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;

	return fall->alone && (is_of_host(step) || step->next->alone || fall->granted_bytes == 0 ||
			       saturate_add(fall->granted_bytes, MIB) > fall->line_bytes);
}

static bool take_alone(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;

	if (fall->on_cpu)
		return pass(step, "it had no GPU");
	if (had_it_all(step))
		return pass(step, "it had its GPU for itself");
	step->next->alone = true;
	if (!is_of_host(step)) {
		request_raise(step);
		if (fall->line_bytes > 0)
			step->next->line_above_bytes =
			    MAX_OF(step->next->line_above_bytes, fall->line_bytes - 1);
	}
	SAY(step, is_of_host(step) ? "nobody else on its GPU" : "with all of a GPU");
	return true;
}

/* Half a batch takes half of what the whole one wanted, and what does not grow with it: so no less
 * than half, and for the rest what it was granted, as far as that is to be had. */
static void request_lower(const struct step *step)
{
	const struct ladder_fall *fall = step->fall;
	uint64_t half = fall->requested_bytes > 0 ? needed_by(fall) / 2 : 0;

	step->next->vram_bytes = 0;
	if (fall->granted_bytes == 0)
		return; /* it had all there was */
	half = MAX_OF(fall->granted_bytes, half);
	step->next->vram_bytes = fall->most_bytes > 0 ? MIN_OF(half, fall->most_bytes) : half;
}

static bool take_smaller_batch(const struct step *step)
{
	unsigned size = step->fall->batch_size;

	if (size < 2)
		return pass(step, size == 1 ? "its batch size is 1"
					    : "it has no batch size (--batch-size)");
	step->next->batch_size = size / 2;
	if (!is_of_host(step))
		request_lower(step);
	SAY(step, "with a batch size of %u", size / 2);
	return true;
}

static bool take_cpu(const struct step *step)
{
	enum place_cpu_mode cpu = step->spec->request.cpu;

	if (cpu != PLACE_CPU_FALLBACK && cpu != PLACE_CPU_WHEN_IDLE)
		return pass(step, "it may not (--cpu fallback)");
	if (step->fall->on_cpu)
		return pass(step, "it was there");
	if (is_of_host(step))
		return pass(step, "it was the host's memory");
	step->next->cpu = true;
	SAY(step, "without a GPU");
	return true;
}

static bool take_fail(const struct step *step)
{
	return pass(step, "");
}

static const struct rung_type types[SCHED_RUNG_COUNT] = {
    [SCHED_RUNG_RETRY] = {"retry", take_retry},
    [SCHED_RUNG_BIGGER_GPU] = {"bigger-gpu", take_bigger_gpu},
    [SCHED_RUNG_ALONE] = {"alone", take_alone},
    [SCHED_RUNG_SMALLER_BATCH] = {"smaller-batch", take_smaller_batch},
    [SCHED_RUNG_CPU] = {"cpu", take_cpu},
    [SCHED_RUNG_FAIL] = {"fail", take_fail},
};

const char *sched_rung_name(enum sched_rung_type type)
{
	return (unsigned)type < SCHED_RUNG_COUNT ? types[type].name : "unknown";
}

/* ---- the list ---- */

static int rung_parse(const char *text, size_t len, struct sched_rung *ret_rung, struct error *err)
{
	size_t name = 0;
	unsigned long long times = 1;

	while (name < len && text[name] != ':')
		name++;
	if (name < len) {
		char number[8];

		(void)snprintf(number, sizeof number, "%.*s",
			       (int)MIN_OF(len - name - 1, sizeof number - 1), text + name + 1);
		if (len - name - 1 >= sizeof number || !text_to_u64(number, 1, TIMES_MAX, &times))
			return error_set(err, -EINVAL,
					 "'%.*s': how often is a whole number from 1 to %d",
					 (int)MIN_OF(len, (size_t)64), text, TIMES_MAX);
	}
	for (unsigned i = 0; i < SCHED_RUNG_COUNT; i++) {
		if (strlen(types[i].name) != name || memcmp(types[i].name, text, name) != 0)
			continue;
		*ret_rung = (struct sched_rung){(enum sched_rung_type)i, (unsigned)times};
		return 0;
	}
	return error_set(err, -EINVAL,
			 "'%.*s' is none of retry, bigger-gpu, alone, smaller-batch, cpu, fail",
			 (int)MIN_OF(name, (size_t)64), text);
}

static int list_add(struct sched_rung *rungs, size_t n, const struct sched_rung *rung,
		    struct error *err)
{
	if (n > 0 && rungs[n - 1].type == SCHED_RUNG_FAIL)
		return error_set(err, -EINVAL, "nothing comes after 'fail'");
	if (n >= SCHED_RUNGS_MAX - (rung->type == SCHED_RUNG_FAIL ? 0 : 1))
		return error_set(err, -EINVAL, "has more than %d rungs", SCHED_RUNGS_MAX);
	rungs[n] = *rung;
	if (rung->type == SCHED_RUNG_FAIL)
		rungs[n].times = 1;
	return 0;
}

int sched_rungs_parse(const char *text, struct sched_rung rungs[SCHED_RUNGS_MAX], struct error *err)
{
	const struct sched_rung end = {SCHED_RUNG_FAIL, 1};
	size_t n = 0;

	for (const char *at = text;;) {
		size_t blank = strspn(at, " \t"), len = strcspn(at + blank, ","), next = len;
		struct sched_rung rung;
		int r;

		at += blank;
		while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
			len--;
		r = rung_parse(at, len, &rung, err);
		if (r == 0)
			r = list_add(rungs, n, &rung, err);
		if (r < 0)
			return r;
		n++;
		at += next;
		if (!*at++)
			break;
	}
	if (rungs[n - 1].type != SCHED_RUNG_FAIL)
		rungs[n++] = end;
	return (int)n;
}

size_t sched_rungs_default(enum place_cpu_mode cpu, struct sched_rung rungs[SCHED_RUNGS_MAX])
{
	size_t n = 0;

	rungs[n++] = (struct sched_rung){SCHED_RUNG_RETRY, 2};
	rungs[n++] = (struct sched_rung){SCHED_RUNG_BIGGER_GPU, 1};
	rungs[n++] = (struct sched_rung){SCHED_RUNG_ALONE, 1};
	if (cpu == PLACE_CPU_FALLBACK || cpu == PLACE_CPU_WHEN_IDLE)
		rungs[n++] = (struct sched_rung){SCHED_RUNG_CPU, 1};
	rungs[n++] = (struct sched_rung){SCHED_RUNG_FAIL, 1};
	return n;
}

size_t ladder_rungs(const struct sched_spec *spec, struct sched_rung rungs[SCHED_RUNGS_MAX])
{
	size_t n = MIN_OF(spec->n_on_oom, (size_t)SCHED_RUNGS_MAX);

	if (!spec->on_oom || n == 0)
		return sched_rungs_default(spec->request.cpu, rungs);
	memcpy(rungs, spec->on_oom, n * sizeof *rungs);
	return n;
}

/* ---- climbing ---- */

/* "retry passed over (no GPU is larger), " */
static void say_passed(char text[LADDER_TEXT_MAX], const char *name, const char *why)
{
	size_t len = strlen(text);

	(void)snprintf(text + len, LADDER_TEXT_MAX - len, "%s passed over (%s), ", name, why);
}

static void say_rung(char text[LADDER_TEXT_MAX], const struct sched_ladder *ladder,
		     const struct sched_rung *rungs, size_t n, const char *what)
{
	const struct sched_rung *rung = &rungs[ladder->rung];
	size_t len = strlen(text);
	char of[32] = "";

	if (rung->times > 1)
		(void)snprintf(of, sizeof of, " %u of %u", ladder->times, rung->times);
	if (rung->type == SCHED_RUNG_FAIL) {
		(void)snprintf(text + len, LADDER_TEXT_MAX - len, "no rung is left");
		return;
	}
	(void)snprintf(text + len, LADDER_TEXT_MAX - len, "rung %u of %zu, %s%s%s%s",
		       ladder->rung + 1, n - 1, types[rung->type].name, of, *what ? " " : "", what);
}

bool ladder_climb(const struct sched_spec *spec, struct sched_ladder *ladder,
		  const struct ladder_fall *fall, char text[LADDER_TEXT_MAX])
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];
	size_t n = ladder_rungs(spec, rungs);
	char what[96] = "";

	text[0] = '\0';
	for (size_t i = ladder->rung; i < n && rungs[i].type != SCHED_RUNG_FAIL; i++) {
		struct sched_ladder next = *ladder;
		struct step step = {spec, fall, &next, what, sizeof what};

		if (i == ladder->rung && ladder->times >= rungs[i].times)
			continue;
		what[0] = '\0';
		if (!types[rungs[i].type].take(&step)) {
			say_passed(text, types[rungs[i].type].name, what);
			continue;
		}
		next.times = i == ladder->rung ? ladder->times + 1 : 1;
		next.rung = (unsigned)i;
		next.climbs++;
		*ladder = next;
		say_rung(text, ladder, rungs, n, what);
		return true;
	}
	ladder->rung = (unsigned)(n - 1);
	ladder->times = 1;
	say_rung(text, ladder, rungs, n, "");
	return false;
}

/* Was it the host's memory that this retry is for? */
static bool is_for_ram(const struct sched_ladder *ladder, const struct sched_attempt *last)
{
	return ladder->ram_bytes > 0 &&
	       (ladder->vram_bytes == 0 || (last && last->outcome == SCHED_HOST_OOM));
}

static void say_from(struct text *text, uint64_t bytes, uint64_t was)
{
	text_printf(text, ": %s", SIZE_TEXT(bytes));
	if (was > 0 && was != bytes)
		text_printf(text, " instead of %s", SIZE_TEXT(was));
}

char *ladder_text(const struct sched_spec *spec, const struct sched_ladder *ladder,
		  const struct sched_attempt *next, const struct sched_attempt *last)
{
	struct sched_rung rungs[SCHED_RUNGS_MAX];
	size_t n = ladder_rungs(spec, rungs);
	struct text text = {};
	enum sched_rung_type type;

	if (!ladder || ladder->times == 0 || ladder->rung >= n)
		return NULL;
	type = rungs[ladder->rung].type;
	text_add(&text, types[type].name);
	if (type == SCHED_RUNG_RETRY && is_for_ram(ladder, last))
		say_from(&text, ladder->ram_bytes, last ? last->ram_bytes : 0);
	else if (type == SCHED_RUNG_RETRY && ladder->vram_bytes > 0)
		say_from(&text, next->n_gpus > 0 ? next->gpus[0].vram_bytes : ladder->vram_bytes,
			 last && last->n_gpus > 0 ? last->gpus[0].vram_bytes : 0);
	else if (type == SCHED_RUNG_BIGGER_GPU)
		text_printf(&text, ": above %s", SIZE_TEXT(ladder->line_above_bytes));
	else if (type == SCHED_RUNG_SMALLER_BATCH)
		text_printf(&text, ": %u", ladder->batch_size);
	if (type == SCHED_RUNG_SMALLER_BATCH && last && last->batch_size > ladder->batch_size)
		text_printf(&text, " instead of %u", last->batch_size);
	if (type == SCHED_RUNG_RETRY && is_for_ram(ladder, last))
		text_add(&text, " of RAM");
	return text_take(&text);
}
