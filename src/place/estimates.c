/*
 * One cell for each (kind, model), found by hash; the cells of a kind are chained, because deriving
 * walks them. Means and variances are exponentially weighted with a step of 1/n that never falls
 * below 1/32: exact at first, following a drift later.
 *
 * Deriving, in order: (1) the cell itself; (2) the same kind on other models, each carried over by
 * the speed ratio of the two models and weighted by its samples; (3) other kinds, by a line through
 * (log VRAM request, log work) near the request, for work grows with the size of what is loaded;
 * its slope leans on SLOPE_PRIOR until enough kinds are known. The ratio between two models is the
 * catalogue's, pulled towards what kinds seen on both say.
 *
 * The work of a task with a hint h is mean + slope x (h - mean hint). The slope is a regression
 * that starts at "proportional" (mean work / mean hint) and lets go of it as samples come in: the
 * hint of one kind is minutes of sound, of another a file size that means nothing.
 */
#include "place/estimates.h"

#include "place/oom.h"
#include "place/peaks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The oldest weight kept: means follow the last 32 or so samples. */
#define RECENT_SAMPLES 32
/* A doubling of the VRAM request makes 2^0.75 = 1.7 times the work, until kinds say otherwise. */
#define SLOPE_PRIOR 0.75
/* How many kinds of evidence the prior slope is worth. */
#define SLOPE_PRIOR_WEIGHT 0.5
/* Kinds within a factor of e in VRAM tell most about each other. */
#define NEIGHBOUR_WIDTH 1.0
/* How many samples seen on both models the catalogue's ratio is worth. */
#define RATIO_PRIOR_WEIGHT 2.0
/* Squared relative spread of hints that the "proportional" prior stands for. */
#define HINT_PRIOR_SPREAD 0.25
#define HINT_PRIOR_WEIGHT 2.0
/* Nobody's work is below this share of the mean of its kind, whatever its hint says. */
#define HINT_FLOOR 0.05

struct cell {
	struct estimates_row row;
	struct estimates_need need; /* on its model, by all rows of the kind */
	bool changed;
	bool utilization_known, utilization_is_floor;
	size_t next_of_hash; /* index + 1; 0 ends the chain */
	size_t next_of_kind;
};

struct kind {
	char name[128];
	size_t first_cell; /* index + 1 */
	size_t next_of_hash;
	bool needs_are_old;                   /* these, and those of its cells */
	struct estimates_need need, cpu_need; /* on a model it has no cell of */
};

struct estimates {
	struct cell *cells;
	size_t n_cells, cells_room;
	size_t n_changed;
	struct kind *kinds;
	size_t n_kinds, kinds_room;
	size_t *cell_buckets, *kind_buckets; /* index + 1 */
	size_t n_buckets;                    /* a power of two, the same for both */
};

static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

/* Both tables are as long as the longer list needs; cells are never fewer than kinds. */
static void rehash(struct estimates *e)
{
	free(e->cell_buckets);
	free(e->kind_buckets);
	e->n_buckets = e->n_buckets ? e->n_buckets * 2 : 64;
	e->cell_buckets = mem_calloc(e->n_buckets, sizeof *e->cell_buckets);
	e->kind_buckets = mem_calloc(e->n_buckets, sizeof *e->kind_buckets);
	for (size_t i = 0; i < e->n_cells; i++) {
		const struct estimates_row *row = &e->cells[i].row;
		uint64_t h = hash_text(hash_text(0, row->kind), row->model);
		size_t *bucket = &e->cell_buckets[h & (e->n_buckets - 1)];

		e->cells[i].next_of_hash = *bucket;
		*bucket = i + 1;
	}
	for (size_t i = 0; i < e->n_kinds; i++) {
		uint64_t h = hash_text(0, e->kinds[i].name);
		size_t *bucket = &e->kind_buckets[h & (e->n_buckets - 1)];

		e->kinds[i].next_of_hash = *bucket;
		*bucket = i + 1;
	}
}

struct estimates *estimates_create(void)
{
	struct estimates *e = mem_calloc(1, sizeof *e);

	rehash(e);
	return e;
}

static void estimates_finish(struct estimates *e)
{
	free(e->cells);
	free(e->kinds);
	free(e->cell_buckets);
	free(e->kind_buckets);
}

void estimates_destroy(struct estimates *e)
{
	if (!e)
		return;
	estimates_finish(e);
	free(e);
}

/* Names longer than a row holds are compared as cut: the same cut name is the same kind. */
static bool same_name(const char *kept, const char *name, size_t room)
{
	return strncmp(kept, name, room - 1) == 0;
}

static void cut_name(char *to, size_t room, const char *name)
{
	size_t len = strnlen(name, room - 1);

	memcpy(to, name, len);
	to[len] = '\0';
}

static void cell_change(struct estimates *e, struct cell *cell)
{
	e->n_changed += !cell->changed;
	cell->changed = true;
}

static const struct kind *find_kind(const struct estimates *e, const char *name)
{
	char cut[128];

	cut_name(cut, sizeof cut, name);
	for (size_t i = e->kind_buckets[hash_text(0, cut) & (e->n_buckets - 1)]; i;
	     i = e->kinds[i - 1].next_of_hash)
		if (strcmp(e->kinds[i - 1].name, cut) == 0)
			return &e->kinds[i - 1];
	return NULL;
}

static struct kind *find_or_add_kind(struct estimates *e, const char *name)
{
	const struct kind *found = find_kind(e, name);
	struct kind *kind;
	size_t *bucket;

	if (found)
		return &e->kinds[found - e->kinds];
	ARRAY_GROW(e->kinds, e->n_kinds, e->kinds_room);
	kind = &e->kinds[e->n_kinds++];
	*kind = (struct kind){};
	cut_name(kind->name, sizeof kind->name, name);
	bucket = &e->kind_buckets[hash_text(0, kind->name) & (e->n_buckets - 1)];
	kind->next_of_hash = *bucket;
	*bucket = e->n_kinds;
	return kind;
}

static const struct cell *find_cell(const struct estimates *e, const char *kind, const char *model)
{
	char kind_cut[128], model_cut[GPU_NAME_MAX];
	uint64_t h;

	cut_name(kind_cut, sizeof kind_cut, kind);
	cut_name(model_cut, sizeof model_cut, model);
	h = hash_text(hash_text(0, kind_cut), model_cut);
	for (size_t i = e->cell_buckets[h & (e->n_buckets - 1)]; i;
	     i = e->cells[i - 1].next_of_hash) {
		const struct cell *cell = &e->cells[i - 1];

		if (strcmp(cell->row.kind, kind_cut) == 0 &&
		    strcmp(cell->row.model, model_cut) == 0)
			return cell;
	}
	return NULL;
}

static struct cell *find_or_add_cell(struct estimates *e, const char *kind_name, const char *model)
{
	const struct cell *found = find_cell(e, kind_name, model);
	struct kind *kind;
	struct cell *cell;
	size_t *bucket;

	if (found)
		return &e->cells[found - e->cells];
	if (e->n_cells >= e->n_buckets)
		rehash(e);
	kind = find_or_add_kind(e, kind_name);
	ARRAY_GROW(e->cells, e->n_cells, e->cells_room);
	cell = &e->cells[e->n_cells++];
	*cell = (struct cell){};
	cut_name(cell->row.kind, sizeof cell->row.kind, kind_name);
	cut_name(cell->row.model, sizeof cell->row.model, model);
	bucket = &e->cell_buckets[hash_text(hash_text(0, cell->row.kind), cell->row.model) &
				  (e->n_buckets - 1)];
	cell->next_of_hash = *bucket;
	*bucket = e->n_cells;
	cell->next_of_kind = kind->first_cell;
	kind->first_cell = e->n_cells;
	return cell;
}

/* Step of the n-th sample (n counts from 1). */
static double step_of(unsigned n)
{
	return 1.0 / MIN_OF(n, (unsigned)RECENT_SAMPLES);
}

static void learn_hint(struct estimates_row *row, double hint, double work)
{
	double step = step_of(++row->hint_samples);
	double off_hint = hint - row->hint_mean;
	double off_work = work - row->work_seconds; /* its mean before this sample */

	if (row->hint_samples == 1) {
		row->hint_mean = hint;
		return;
	}
	row->hint_mean += step * off_hint;
	row->hint_variance = (1 - step) * (row->hint_variance + step * off_hint * off_hint);
	row->hint_covariance = (1 - step) * (row->hint_covariance + step * off_hint * off_work);
}

static void learn_work(struct estimates_row *row, double work, double hint)
{
	double off, step;

	if (hint > 0)
		learn_hint(row, hint, work);
	step = step_of(++row->samples);
	off = work - row->work_seconds;
	row->work_seconds += step * off;
	row->variance = (1 - step) * (row->variance + step * off * off);
}

/* What was learned while only a floor was known is as much busy time as before, in fewer seconds.
 */
static void rescale_work(struct estimates_row *row, double factor)
{
	row->work_seconds *= factor;
	row->variance *= factor * factor;
	row->hint_covariance *= factor;
}

static void learn_utilization(struct cell *cell, double utilization, bool is_floor)
{
	struct estimates_row *row = &cell->row;
	bool was_floor = cell->utilization_known && cell->utilization_is_floor;
	double step;

	if (cell->utilization_known && !was_floor) {
		if (is_floor)
			return;
		step = step_of(MAX_OF(row->samples, 1U));
		row->utilization_percent += step * (utilization - row->utilization_percent);
		return;
	}
	if (was_floor && is_floor && utilization <= row->utilization_percent)
		return;
	if (was_floor && utilization > row->utilization_percent)
		rescale_work(row, row->utilization_percent / utilization);
	row->utilization_percent = utilization;
	cell->utilization_known = true;
	cell->utilization_is_floor = is_floor;
}

static size_t kind_rows(const struct estimates *e, const struct kind *kind,
			const struct estimates_row **rows)
{
	size_t n = 0;

	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind) {
		if (rows)
			rows[n] = &e->cells[i - 1].row;
		n++;
	}
	return n;
}

/* Needs are asked for each task that waits, and change when one ends: once for all that do so
 * together. */
static void needs_renew(const struct estimates *e, struct kind *kind)
{
	size_t n = kind_rows(e, kind, NULL);
	auto_free const struct estimates_row **rows = mem_calloc(n + 1, sizeof(void *));

	(void)kind_rows(e, kind, rows);
	kind->need = peaks_need(rows, n, NULL);
	kind->cpu_need = peaks_need(rows, n, "");
	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind)
		e->cells[i - 1].need = peaks_need(rows, n, e->cells[i - 1].row.model);
	kind->needs_are_old = false;
}

/* Of one that said so much more than `sample` that it may just have been larger. */
static bool is_of_larger(const struct estimates_row *row, const struct estimates_sample *sample)
{
	uint64_t said = peaks_said(row->oom_vram_bytes, row->oom_permille);

	return sample->said_bytes > 0 && sample->said_bytes < said - said / 64;
}

/* A run that ended well with less says that those which ran out did so for another reason. And what
 * is needed is known then: there is nothing to be guessed. */
static void oom_disprove(struct estimates *e, const struct kind *kind,
			 const struct estimates_sample *sample)
{
	uint64_t peak = sample->peak_vram_bytes;

	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind) {
		struct cell *cell = &e->cells[i - 1];

		if (cell->row.oom_vram_bytes > peak || cell->row.oom_next_bytes > 0)
			cell_change(e, cell);
		if (cell->row.oom_vram_bytes > peak && !is_of_larger(&cell->row, sample)) {
			cell->row.oom_vram_bytes = 0;
			cell->row.oom_permille = 0;
		}
		cell->row.oom_next_bytes = 0;
	}
}

/* What is worth a try is no more than a guess: one that got along with less, however short it was,
 * ends it. */
static void guess_disprove(struct estimates *e, const struct kind *kind,
			   const struct estimates_sample *sample)
{
	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind) {
		struct cell *cell = &e->cells[i - 1];

		if (cell->row.oom_next_bytes <= sample->granted_bytes)
			continue;
		cell_change(e, cell);
		cell->row.oom_next_bytes = 0;
	}
}

/* VRAM of which a run used all but a twentieth was enough, and may be what it sized itself by. */
static void learn_enough(struct estimates_row *row, const struct estimates_sample *sample)
{
	uint64_t granted = sample->granted_bytes, peak = sample->peak_vram_bytes;

	if (peak <= granted && peak >= granted - granted / 20)
		row->enough_vram_bytes = MAX_OF(row->enough_vram_bytes, granted);
}

static void learn_memory(struct estimates *e, struct cell *cell,
			 const struct estimates_sample *sample)
{
	struct kind *kind = find_or_add_kind(e, cell->row.kind);
	struct estimates_row *row = &cell->row;
	bool out = sample->out_of_memory || sample->out_of_ram;
	bool well = sample->ended && !out, changed = well;
	uint64_t oom_before = row->oom_vram_bytes, wanted = sample->peak_vram_bytes;

	row->runs += well;
	if (out && sample->out_of_memory && row->model[0]) {
		const struct oom_facts facts = {.granted_bytes = sample->granted_bytes,
						.used_bytes = sample->peak_vram_bytes,
						.own_bytes = sample->oom_used_bytes,
						.requested_bytes = sample->oom_requested_bytes,
						.growing = sample->growing,
						.settled = sample->settled};

		wanted = MAX_OF(oom_floor(&facts), wanted);
		row->oom_vram_bytes = MAX_OF(row->oom_vram_bytes, oom_floor(&facts));
		row->oom_next_bytes = MAX_OF(row->oom_next_bytes, oom_next(&facts));
		changed = true;
	}
	if (well && sample->peak_vram_bytes > 0) {
		oom_disprove(e, kind, sample);
		learn_enough(row, sample);
	} else if (well && sample->granted_bytes > 0) {
		guess_disprove(e, kind, sample);
	}
	if (row->oom_vram_bytes > oom_before) {
		row->oom_stopped = sample->stopped;
		row->oom_permille = peaks_permille(row->oom_vram_bytes, sample->said_bytes, true);
	}
	changed |= peaks_note(&row->vram, row->model[0] ? sample->peak_vram_bytes : 0,
			      well                    ? PEAK_FINAL
			      : sample->out_of_memory ? PEAK_FLOOR
						      : PEAK_OPEN,
			      peaks_permille(wanted, sample->said_bytes, !well));
	changed |= peaks_note(&row->ram, sample->peak_ram_bytes,
			      well                 ? PEAK_FINAL
			      : sample->out_of_ram ? PEAK_FLOOR
						   : PEAK_OPEN,
			      0);
	kind->needs_are_old |= changed;
}

static void learn_for_people(struct estimates_row *row, const struct estimates_sample *sample)
{
	if (sample->batch_size > 0)
		row->batch_size = sample->batch_size;
	if (sample->at_ms <= 0)
		return;
	row->first_at_ms = row->first_at_ms ? row->first_at_ms : sample->at_ms;
	row->last_at_ms = MAX_OF(row->last_at_ms, sample->at_ms);
}

void estimates_learn(struct estimates *e, const struct estimates_sample *sample)
{
	struct cell *cell;
	struct estimates_row *row;

	if (!sample->kind || !sample->kind[0] || !sample->model)
		return;
	cell = find_or_add_cell(e, sample->kind, sample->model);
	row = &cell->row;
	cell_change(e, cell);
	if (sample->speed > 0)
		row->speed = sample->speed;
	row->vram_request_bytes = sample->vram_request_bytes;
	row->peak_vram_bytes = MAX_OF(row->peak_vram_bytes, sample->peak_vram_bytes);
	row->peak_ram_bytes = MAX_OF(row->peak_ram_bytes, sample->peak_ram_bytes);
	if (isfinite(sample->utilization_percent) && sample->utilization_percent >= 0)
		learn_utilization(cell, MIN_OF(sample->utilization_percent, 100.0),
				  sample->utilization_is_floor);
	if (isfinite(sample->work_seconds) && sample->work_seconds > 0)
		learn_work(row, sample->work_seconds,
			   isfinite(sample->work_hint) ? sample->work_hint : 0);
	learn_memory(e, cell, sample);
	learn_for_people(row, sample);
}

struct estimates_need estimates_need_get(const struct estimates *e, const char *name,
					 const char *model)
{
	const struct kind *kind = name && name[0] ? find_kind(e, name) : NULL;
	const struct cell *cell = kind && model ? find_cell(e, name, model) : NULL;

	if (!kind)
		return (struct estimates_need){};
	if (kind->needs_are_old)
		needs_renew(e, &e->kinds[kind - e->kinds]);
	return cell ? cell->need : model && !model[0] ? kind->cpu_need : kind->need;
}

/* How many times longer work takes on `to` than on `from`, in logs: the catalogue's ratio and, the
 * more there are the stronger, the kinds seen on both. */
static double log_ratio(const struct estimates *e, const char *from, double from_speed,
			const char *to, double to_speed)
{
	double sum = 0, weight = 0;

	if (from_speed > 0 && to_speed > 0) {
		sum = RATIO_PRIOR_WEIGHT * log(from_speed / to_speed);
		weight = RATIO_PRIOR_WEIGHT;
	}
	for (size_t i = 0; i < e->n_kinds; i++) {
		const struct cell *a = find_cell(e, e->kinds[i].name, from);
		const struct cell *b = a ? find_cell(e, e->kinds[i].name, to) : NULL;

		if (b && a->row.samples > 0 && b->row.samples > 0) {
			/* Two means of n and m samples tell as much as one of nm/(n+m) pairs. */
			double n = a->row.samples, m = b->row.samples;
			double w = n * m / (n + m);

			sum += w * log(b->row.work_seconds / a->row.work_seconds);
			weight += w;
		}
	}
	return weight > 0 ? sum / weight : 0;
}

/* The regression of work on hint, leaning on "proportional" (see the top). */
static double hint_slope(const struct estimates_row *row)
{
	double prior, n = MIN_OF(row->hint_samples, (unsigned)RECENT_SAMPLES);

	if (row->hint_samples == 0 || row->hint_mean <= 0)
		return 0;
	prior = HINT_PRIOR_WEIGHT * HINT_PRIOR_SPREAD * row->hint_mean * row->hint_mean;
	return (n * row->hint_covariance + prior * row->work_seconds / row->hint_mean) /
	       (n * row->hint_variance + prior);
}

static void fill_from_cell(struct estimate *to, const struct cell *cell, double factor)
{
	const struct estimates_row *row = &cell->row;

	to->known = true;
	to->work_seconds = row->work_seconds * factor;
	to->deviation_seconds = sqrt(MAX_OF(row->variance, 0.0)) * factor;
	to->samples = row->samples;
	to->hint_mean = row->hint_samples > 0 ? row->hint_mean : 0;
	to->seconds_per_hint = hint_slope(row) * factor;
}

/* How busy the kind keeps this model; how busy it keeps others, when it was never measured here. A
 * floor is the last resort. */
static void fill_utilization(const struct estimates *e, const struct kind *kind, const char *model,
			     struct estimate *to)
{
	double sum = 0, floor = 0;
	unsigned n = 0;

	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind) {
		const struct cell *cell = &e->cells[i - 1];

		if (!cell->utilization_known)
			continue;
		to->utilization_known = true;
		if (cell->utilization_is_floor) {
			floor = MAX_OF(floor, cell->row.utilization_percent);
			continue;
		}
		if (same_name(cell->row.model, model, sizeof cell->row.model)) {
			to->utilization_percent = cell->row.utilization_percent;
			return;
		}
		sum += cell->row.utilization_percent;
		n++;
	}
	if (!to->utilization_known)
		return;
	to->utilization_is_floor = n == 0;
	to->utilization_percent = n > 0 ? sum / n : floor;
}

/* Work learned beside a floor, while another model has told the truth: the product stays. */
static double floor_correction(const struct cell *cell, const struct estimate *busy)
{
	if (!cell->utilization_known || !cell->utilization_is_floor || busy->utilization_is_floor ||
	    cell->row.utilization_percent >= busy->utilization_percent)
		return 1;
	return cell->row.utilization_percent / busy->utilization_percent;
}

/* Add one model's word about a kind to a mean weighted by samples. */
static void mix(struct estimate *sum, const struct estimate *one, double weight, double *ret_weight)
{
	double share = weight / (*ret_weight + weight);

	sum->work_seconds += share * (one->work_seconds - sum->work_seconds);
	sum->deviation_seconds += share * (one->deviation_seconds - sum->deviation_seconds);
	sum->seconds_per_hint += share * (one->seconds_per_hint - sum->seconds_per_hint);
	sum->hint_mean += share * (one->hint_mean - sum->hint_mean);
	*ret_weight += weight;
}

/* Steps (1) and (2): the kind on this model, or on others. */
static bool from_kind(const struct estimates *e, const struct kind *kind, const char *model,
		      double speed, struct estimate *ret_estimate)
{
	struct estimate sum = {.utilization_percent = 100}, busy = {};
	double weight = 0;
	bool seen = false;

	fill_utilization(e, kind, model, &busy);
	for (size_t i = kind->first_cell; i && !seen; i = e->cells[i - 1].next_of_kind)
		seen = e->cells[i - 1].row.samples > 0 &&
		       same_name(e->cells[i - 1].row.model, model, GPU_NAME_MAX);
	for (size_t i = kind->first_cell; i; i = e->cells[i - 1].next_of_kind) {
		const struct cell *cell = &e->cells[i - 1];
		struct estimate one = {};
		bool same = same_name(cell->row.model, model, sizeof cell->row.model);

		/* What it holds does not depend on the model. */
		if (cell->row.model[0] || !model[0]) {
			sum.peak_vram_bytes =
			    MAX_OF(sum.peak_vram_bytes, cell->row.peak_vram_bytes);
			sum.peak_ram_bytes = MAX_OF(sum.peak_ram_bytes, cell->row.peak_ram_bytes);
		}
		/* What was seen here needs no help from elsewhere. */
		if (cell->row.samples == 0 || (!same && (seen || !model[0] || !cell->row.model[0])))
			continue;
		fill_from_cell(
		    &one, cell,
		    (same ? 1 : exp(log_ratio(e, cell->row.model, cell->row.speed, model, speed))) *
			floor_correction(cell, &busy));
		if (same) {
			one.seen = true;
			one.peak_vram_bytes = sum.peak_vram_bytes;
			one.peak_ram_bytes = sum.peak_ram_bytes;
			sum = one;
		} else {
			mix(&sum, &one, cell->row.samples, &weight);
			sum.known = true;
			sum.samples = MAX_OF(sum.samples, one.samples);
		}
	}
	sum.utilization_known = busy.utilization_known;
	sum.utilization_is_floor = busy.utilization_is_floor;
	if (busy.utilization_known)
		sum.utilization_percent = busy.utilization_percent;
	*ret_estimate = sum;
	return sum.known;
}

/* Weighted least squares of log work on log VRAM around one request. */
struct line {
	double w, x, y, xx, xy, spread;
	double utilization, utilization_w; /* of those that have one */
};

static void line_add(struct line *line, double x, double y, double w, const struct estimate *one)
{
	line->w += w;
	line->x += w * x;
	line->y += w * y;
	line->xx += w * x * x;
	line->xy += w * x * y;
	if (one->utilization_known && !one->utilization_is_floor) {
		line->utilization += w * one->utilization_percent;
		line->utilization_w += w;
	}
	line->spread += w * one->deviation_seconds / one->work_seconds;
}

/* Step (3): kinds of about the same size. x is log(VRAM / request), so the line is read at 0. */
static bool from_neighbours(const struct estimates *e, const char *model, double speed,
			    uint64_t vram_bytes, struct estimate *ret_estimate)
{
	struct line line = {};
	double slope, mean_x, mean_y, spread_x;

	if (vram_bytes == 0 || !model[0])
		return false;
	for (size_t i = 0; i < e->n_kinds; i++) {
		struct estimate one;
		double x, vram = 0;

		for (size_t c = e->kinds[i].first_cell; c; c = e->cells[c - 1].next_of_kind)
			vram = MAX_OF(vram, (double)e->cells[c - 1].row.vram_request_bytes);
		if (vram <= 0 || !from_kind(e, &e->kinds[i], model, speed, &one))
			continue;
		x = log(vram / (double)vram_bytes);
		line_add(&line, x, log(one.work_seconds),
			 0.01 + exp(-x * x / (NEIGHBOUR_WIDTH * NEIGHBOUR_WIDTH)), &one);
	}
	if (line.w <= 0)
		return false;
	mean_x = line.x / line.w;
	mean_y = line.y / line.w;
	spread_x = line.xx - line.w * mean_x * mean_x;
	slope = (line.xy - line.w * mean_x * mean_y + SLOPE_PRIOR_WEIGHT * SLOPE_PRIOR) /
		(spread_x + SLOPE_PRIOR_WEIGHT);
	ret_estimate->known = true;
	ret_estimate->work_seconds = exp(mean_y - MAX_OF(MIN_OF(slope, 2.0), 0.0) * mean_x);
	ret_estimate->deviation_seconds = ret_estimate->work_seconds * line.spread / line.w;
	if (!ret_estimate->utilization_known && line.utilization_w > 0) {
		ret_estimate->utilization_known = true;
		ret_estimate->utilization_percent = line.utilization / line.utilization_w;
	}
	return true;
}

struct estimate estimates_get(const struct estimates *e, const char *kind, const char *model,
			      double speed, uint64_t vram_request_bytes)
{
	struct estimate estimate = {.utilization_percent = 100};
	struct estimate found = {.utilization_percent = 100};
	const struct kind *k = kind && kind[0] ? find_kind(e, kind) : NULL;

	if (k && from_kind(e, k, model, speed, &found))
		return found;
	estimate.peak_vram_bytes = found.peak_vram_bytes;
	estimate.peak_ram_bytes = found.peak_ram_bytes;
	estimate.utilization_known = found.utilization_known;
	estimate.utilization_is_floor = found.utilization_is_floor;
	estimate.utilization_percent = found.utilization_percent;
	if (kind && kind[0])
		from_neighbours(e, model, speed, vram_request_bytes, &estimate);
	return estimate;
}

double estimate_work(const struct estimate *estimate, double work_hint)
{
	double work = estimate->work_seconds;

	if (!estimate->known)
		return 0;
	if (work_hint > 0 && estimate->hint_mean > 0)
		work += estimate->seconds_per_hint * (work_hint - estimate->hint_mean);
	return MAX_OF(work, HINT_FLOOR * estimate->work_seconds);
}

static struct estimates_row row_of(const struct cell *cell)
{
	struct estimates_row row = cell->row;

	if (!cell->utilization_known || cell->utilization_is_floor)
		row.utilization_percent = -1;
	return row;
}

size_t estimates_rows(const struct estimates *e, bool changed_only, struct estimates_row **ret_rows)
{
	size_t room = changed_only ? e->n_changed : e->n_cells, n = 0;
	struct estimates_row *rows = mem_calloc(room + 1, sizeof *rows);

	for (size_t i = 0; i < e->n_cells && n < room; i++)
		if (!changed_only || e->cells[i].changed)
			rows[n++] = row_of(&e->cells[i]);
	*ret_rows = rows;
	return n;
}

void estimates_stored(struct estimates *e)
{
	for (size_t i = 0; i < e->n_cells && e->n_changed > 0; i++) {
		e->n_changed -= e->cells[i].changed;
		e->cells[i].changed = false;
	}
}

size_t estimates_kind_rows(const struct estimates *e, const char *name,
			   struct estimates_row **ret_rows)
{
	const struct kind *kind = find_kind(e, name);
	struct estimates_row *rows;
	size_t n = 0;

	rows = mem_calloc((kind ? kind_rows(e, kind, NULL) : 0) + 1, sizeof *rows);
	for (size_t i = kind ? kind->first_cell : 0; i; i = e->cells[i - 1].next_of_kind)
		rows[n++] = row_of(&e->cells[i - 1]);
	*ret_rows = rows;
	return n;
}

/* Rare, and so without a way to take a single cell out of its chains: the others are put into new
 * ones. */
bool estimates_forget(struct estimates *e, const char *name)
{
	const struct kind *kind = name ? find_kind(e, name) : NULL;
	struct estimates *kept;
	size_t n_changed = 0;

	if (name ? !kind : e->n_kinds == 0)
		return false;
	kept = estimates_create();
	for (size_t i = 0; i < e->n_cells; i++) {
		const struct cell *from = &e->cells[i];
		struct cell *to;
		size_t next_of_hash, next_of_kind;

		if (!kind || strcmp(from->row.kind, kind->name) == 0)
			continue;
		to = find_or_add_cell(kept, from->row.kind, from->row.model);
		next_of_hash = to->next_of_hash;
		next_of_kind = to->next_of_kind;
		*to = *from;
		to->next_of_hash = next_of_hash;
		to->next_of_kind = next_of_kind;
		n_changed += to->changed;
	}
	for (size_t i = 0; i < kept->n_kinds; i++)
		kept->kinds[i].needs_are_old = true;
	estimates_finish(e);
	*e = *kept;
	e->n_changed = n_changed;
	free(kept);
	return true;
}

static double finite_or_0(double value)
{
	return isfinite(value) ? value : 0;
}

/* Rows come from a file: what makes no sense in one is left out of it. */
void estimates_load(struct estimates *e, const struct estimates_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct estimates_row row = rows[i];
		struct cell *cell;

		row.kind[sizeof row.kind - 1] = row.model[sizeof row.model - 1] = '\0';
		if (!row.kind[0])
			continue;
		if (!isfinite(row.work_seconds) || row.work_seconds <= 0) {
			row.work_seconds = row.variance = row.hint_mean = 0;
			row.samples = row.hint_samples = 0;
		}
		row.speed = MAX_OF(finite_or_0(row.speed), 0.0);
		row.variance = MAX_OF(finite_or_0(row.variance), 0.0);
		row.hint_variance = MAX_OF(finite_or_0(row.hint_variance), 0.0);
		row.hint_covariance = finite_or_0(row.hint_covariance);
		if (!isfinite(row.hint_mean) || row.hint_mean <= 0)
			row.hint_mean = row.hint_samples = 0;
		cell = find_or_add_cell(e, row.kind, row.model);
		cell->utilization_known =
		    isfinite(row.utilization_percent) && row.utilization_percent >= 0;
		row.utilization_percent =
		    cell->utilization_known ? MIN_OF(row.utilization_percent, 100.0) : 0;
		peaks_check(&row.vram);
		peaks_check(&row.ram);
		cell->row = row;
		e->n_changed -= cell->changed;
		cell->changed = false;
		find_or_add_kind(e, row.kind)->needs_are_old = true;
	}
}
