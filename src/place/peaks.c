/*
 * A ring would save the moving of 31 numbers once in a task's life, and cost every reader the order
 * of its entries. Which floors count depends on the others, so all are kept and judged when summed.
 *
 * What was said is kept as a ratio, which is what is asked for; a tenth of a percent is nothing
 * beside the margins.
 */
#include "place/peaks.h"

#include "place/saturate.h"
#include "util/size.h"

#include <stdlib.h>
#include <string.h>

/* So many peaks know their own spread. */
#define MANY_PEAKS 10
/* Of the smallest: those that are no further apart took about the same. */
#define SAME_PERCENT 125

struct peaks_sum {
	unsigned n, floors, ended; /* of n: floors, those that ended well */
	uint64_t p95, max;         /* nearest rank: the smallest that 95 % do not pass; 0 = none */
	uint64_t ended_p95;
};

static bool is_floor(const struct estimates_peaks *peaks, unsigned i)
{
	return (peaks->floors >> i & 1) != 0;
}

/* Has one ended well? */
static bool any_final(const struct estimates_peaks *peaks)
{
	uint64_t all = (UINT64_C(1) << peaks->n) - 1;

	return (peaks->floors & all) != all;
}

/* a x b / c, rounded up: a ratio and what is made of it are never less than what was measured. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t product;

	if (!__builtin_mul_overflow(a, b, &product))
		return product / c + (product % c > 0);
	return a / c > UINT64_MAX / b ? UINT64_MAX : a / c * b;
}

uint16_t peaks_permille(uint64_t bytes, uint64_t said, bool is_floor)
{
	uint64_t ratio;

	if (bytes == 0 || said == 0)
		return 0;
	ratio = MAX_OF(scale(bytes, 1000, said), is_floor && bytes >= said ? UINT64_C(1001) : 0);
	return (uint16_t)MIN_OF(ratio, (uint64_t)UINT16_MAX);
}

uint64_t peaks_said(uint64_t bytes, uint16_t permille)
{
	return permille == 0 ? 0 : scale(bytes, 1000, permille);
}

bool peaks_note(struct estimates_peaks *peaks, uint64_t bytes, enum peak_end end, uint16_t permille)
{
	if (bytes == 0)
		return false;
	if (end == PEAK_OPEN) {
		if (bytes <= peaks->open_bytes || any_final(peaks))
			return false;
		peaks->open_bytes = bytes;
		peaks->open_permille = permille;
		return true;
	}
	if (peaks->n == ESTIMATES_PEAKS) {
		memmove(peaks->bytes, peaks->bytes + 1, sizeof peaks->bytes - sizeof *peaks->bytes);
		memmove(peaks->permille, peaks->permille + 1,
			sizeof peaks->permille - sizeof *peaks->permille);
		peaks->floors >>= 1;
		peaks->n--;
	}
	if (end == PEAK_FLOOR)
		peaks->floors |= UINT32_C(1) << peaks->n;
	else
		peaks->open_bytes = peaks->open_permille = 0;
	peaks->permille[peaks->n] = permille;
	peaks->bytes[peaks->n++] = bytes;
	return true;
}

static int compare_sizes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Those of one list; a floor only where it is no smaller than `max`. */
static size_t peaks_collect(const struct estimates_peaks *peaks, bool open, uint64_t max,
			    uint64_t *to)
{
	size_t n = 0;

	for (unsigned i = 0; i < peaks->n; i++)
		if (!is_floor(peaks, i) || peaks->bytes[i] >= max)
			to[n++] = peaks->bytes[i];
	if (open && peaks->open_bytes > 0)
		to[n++] = peaks->open_bytes;
	return n;
}

/* Of those, the floors. */
static unsigned floors_collected(const struct estimates_peaks *peaks, uint64_t max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < peaks->n; i++)
		n += is_floor(peaks, i) && peaks->bytes[i] >= max;
	return n;
}

/* Nearest rank; sorts them. */
static uint64_t percentile_95(uint64_t *values, size_t n)
{
	if (n == 0)
		return 0;
	qsort(values, n, sizeof *values, compare_sizes);
	return values[(n * 95 + 99) / 100 - 1];
}

/* Those that count, of one model or of many. */
static struct peaks_sum peaks_sum(const struct estimates_peaks *const *lists, size_t n_lists)
{
	auto_free uint64_t *bytes = mem_calloc(n_lists + 1, sizeof *bytes * (ESTIMATES_PEAKS + 1));
	struct peaks_sum sum = {};
	bool open = true;
	size_t n = 0;

	for (size_t k = 0; k < n_lists; k++)
		open &= !any_final(lists[k]);
	for (size_t k = 0; k < n_lists; k++) {
		for (unsigned i = 0; i < lists[k]->n; i++)
			sum.max = MAX_OF(sum.max, lists[k]->bytes[i]);
		if (open)
			sum.max = MAX_OF(sum.max, lists[k]->open_bytes);
	}
	for (size_t k = 0; k < n_lists; k++)
		sum.floors += floors_collected(lists[k], sum.max);
	for (size_t k = 0; k < n_lists; k++)
		n += peaks_collect(lists[k], open, sum.max, bytes + n);
	sum.n = (unsigned)n;
	sum.p95 = percentile_95(bytes, n);
	n = 0;
	for (size_t k = 0; k < n_lists; k++)
		for (unsigned i = 0; i < lists[k]->n; i++)
			if (!is_floor(lists[k], i))
				bytes[n++] = lists[k]->bytes[i];
	sum.ended = (unsigned)n;
	sum.ended_p95 = percentile_95(bytes, n);
	return sum;
}

/* All took about the same, and not because all said the same. */
static bool is_steady(const struct estimates_peaks *const *lists, size_t n_lists)
{
	uint64_t least = UINT64_MAX, most = 0, low = UINT64_MAX, high = 0;
	bool unsaid = false;
	unsigned n = 0;

	for (size_t k = 0; k < n_lists; k++) {
		for (unsigned i = 0; i < lists[k]->n; i++) {
			uint64_t permille = lists[k]->permille[i];

			if (is_floor(lists[k], i))
				continue;
			n++;
			least = MIN_OF(least, lists[k]->bytes[i]);
			most = MAX_OF(most, lists[k]->bytes[i]);
			unsaid |= permille == 0;
			low = permille ? MIN_OF(low, permille) : low;
			high = MAX_OF(high, permille);
		}
	}
	return n >= ESTIMATES_FEW && most / SAME_PERCENT <= least / 100 &&
	       (unsaid || high * 100 > low * SAME_PERCENT);
}

/* One that was too little, by what was measured. */
static void note_small(struct estimates_need *need, uint64_t bytes, uint16_t permille)
{
	if (permille > 1000)
		need->small_said_bytes =
		    MAX_OF(need->small_said_bytes, peaks_said(bytes, permille));
}

/* The ratios of one list that count, as those of bytes do. */
static size_t ratios_collect(const struct estimates_peaks *peaks, bool open, uint64_t max,
			     uint64_t *to)
{
	size_t n = 0;

	for (unsigned i = 0; i < peaks->n; i++)
		if (peaks->permille[i] > 0 && (!is_floor(peaks, i) || peaks->permille[i] >= max))
			to[n++] = peaks->permille[i];
	if (open && peaks->open_permille > 0)
		to[n++] = peaks->open_permille;
	return n;
}

/* How what they took goes with what they said. What a floor said is not told by what it had. */
static void need_by_said(struct estimates_need *need, const struct estimates_peaks *const *lists,
			 size_t n_lists)
{
	auto_free uint64_t *ratios =
	    mem_calloc(n_lists + 1, sizeof *ratios * (ESTIMATES_PEAKS + 1));
	bool open = true;
	uint64_t max = 0;
	size_t n = 0;

	for (size_t k = 0; k < n_lists; k++) {
		open &= !any_final(lists[k]);
		for (unsigned i = 0; i < lists[k]->n; i++) {
			max = MAX_OF(max, (uint64_t)lists[k]->permille[i]);
			if (!is_floor(lists[k], i))
				note_small(need, lists[k]->bytes[i], lists[k]->permille[i]);
		}
	}
	for (size_t k = 0; k < n_lists; k++) {
		n += ratios_collect(lists[k], open, max, ratios + n);
		if (open)
			note_small(need, lists[k]->open_bytes, lists[k]->open_permille);
	}
	need->said_permille = MAX_OF(need->said_permille, (unsigned)percentile_95(ratios, n));
	if (is_steady(lists, n_lists))
		need->said_permille = 0;
}

/* What is asked for where `n` peaks stand behind `bytes`. */
static uint64_t with_margin(uint64_t bytes, unsigned n)
{
	uint64_t margin =
	    n < MANY_PEAKS ? MAX_OF(bytes / 10, 256 * MIB) : MAX_OF(bytes / 20, 128 * MIB);

	return bytes == 0 ? 0 : bytes > UINT64_MAX - margin ? UINT64_MAX : bytes + margin;
}

/* The rows of one resource that are asked for `model`: its own where that says enough, else those
 * of all GPUs; what runs on the CPU has the RAM of any. */
static size_t lists_choose(const struct estimates_row *const *rows, size_t n, const char *model,
			   bool of_ram, const struct estimates_peaks **lists)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		const struct estimates_peaks *peaks = of_ram ? &rows[i]->ram : &rows[i]->vram;

		if (model && strcmp(rows[i]->model, model) == 0 &&
		    peaks_sum(&peaks, 1).n >= ESTIMATES_FEW) {
			lists[0] = peaks;
			return 1;
		}
		if (rows[i]->model[0] || (model && !model[0]))
			lists[found++] = peaks;
	}
	return found;
}

/* Programs that size themselves by their grant use all of whatever they get: without this bound
 * each generation would ask for a margin more than the one before. */
static uint64_t need_with_margin(const struct estimates_need *need, uint64_t enough)
{
	uint64_t measured = MAX_OF(need->p95_vram_bytes, need->oom_vram_bytes);
	uint64_t bytes = with_margin(measured, need->peaks);

	return measured <= enough ? MIN_OF(bytes, enough) : bytes;
}

/* No peak need be there of one that ran out: its first step may have been too large. */
static void need_by_oom(struct estimates_need *need, const struct estimates_row *row)
{
	need->said_permille = MAX_OF(need->said_permille, (unsigned)row->oom_permille);
	note_small(need, row->oom_vram_bytes, row->oom_permille);
}

struct estimates_need peaks_need(const struct estimates_row *const *rows, size_t n,
				 const char *model)
{
	auto_free const struct estimates_peaks **lists = mem_calloc(n + 1, sizeof(void *));
	bool on_cpu = model && !model[0];
	struct peaks_sum vram = {}, ram;
	struct estimates_need need = {};
	uint64_t enough = 0, next = 0;
	size_t n_lists;

	for (size_t i = 0; i < n; i++) {
		const struct estimates_row *row = rows[i];

		if (row->oom_vram_bytes > need.oom_vram_bytes)
			need.oom_stopped = row->oom_stopped;
		if (row->oom_vram_bytes > 0)
			need_by_oom(&need, row);
		need.proven |= (row->model[0] || on_cpu) &&
			       (row->runs > 0 || row->vram.open_bytes > 0 || any_final(&row->vram));
		need.oom_vram_bytes = MAX_OF(need.oom_vram_bytes, row->oom_vram_bytes);
		enough = MAX_OF(enough, row->enough_vram_bytes);
		next = MAX_OF(next, row->oom_next_bytes);
	}
	if (!on_cpu) {
		n_lists = lists_choose(rows, n, model, false, lists);
		vram = peaks_sum(lists, n_lists);
		need_by_said(&need, lists, n_lists);
	}
	ram = peaks_sum(lists, lists_choose(rows, n, model, true, lists));
	need.peaks = on_cpu ? ram.n : vram.n;
	need.known = need.peaks >= ESTIMATES_FEW;
	need.p95_vram_bytes = vram.p95;
	need.max_vram_bytes = vram.max;
	need.ended = vram.ended;
	need.ended_p95_vram_bytes = vram.ended_p95;
	need.p95_ram_bytes = ram.p95;
	need.ram_peaks = ram.n;
	need.floors = on_cpu ? ram.floors : vram.floors;
	need.ram_bytes = with_margin(ram.p95, ram.n);
	if (on_cpu) {
		need.oom_vram_bytes = 0;
		return need;
	}
	need.vram_bytes = need_with_margin(&need, enough);
	need.guessed = next > need.vram_bytes;
	need.vram_bytes = MAX_OF(need.vram_bytes, next);
	return need;
}

/* ---- of one that says something ---- */

static uint64_t measured_most(const struct estimates_need *need)
{
	return MAX_OF(need->p95_vram_bytes, need->oom_vram_bytes);
}

/* By how wrong others were; and more than all that was ever too little is as one says who has
 * learned of it. */
static bool is_enough(const struct estimates_need *need, uint64_t said)
{
	uint64_t small = need->small_said_bytes;

	return said > 0 && need->said_permille > 0 &&
	       (need->said_permille <= 1000 || said > saturate_add(small, small / 64));
}

uint64_t estimates_measured_for(const struct estimates_need *need, uint64_t said)
{
	uint64_t most = measured_most(need);

	if (said == 0 || need->said_permille == 0)
		return most;
	return MIN_OF(most, is_enough(need, said) ? said : scale(said, need->said_permille, 1000));
}

uint64_t estimates_need_for(const struct estimates_need *need, uint64_t said)
{
	uint64_t own = estimates_measured_for(need, said);

	if (is_enough(need, said))
		return MIN_OF(said, need->vram_bytes);
	if (own >= measured_most(need))
		return need->vram_bytes;
	return MIN_OF(with_margin(own, need->peaks), need->vram_bytes);
}

uint64_t estimates_enough_for(const struct estimates_need *need, uint64_t said)
{
	if (said == 0 || need->said_permille == 0)
		return need->vram_bytes;
	return with_margin(scale(said, need->said_permille, 1000), need->peaks);
}

bool estimates_is_too_small(const struct estimates_need *need, uint64_t said)
{
	return estimates_need_for(need, said) > said &&
	       (need->oom_vram_bytes >= said || (need->proven && need->p95_vram_bytes > said));
}

void peaks_check(struct estimates_peaks *peaks)
{
	struct estimates_peaks good = {.open_bytes = peaks->open_bytes,
				       .open_permille = peaks->open_permille};

	for (unsigned i = 0; i < MIN_OF(peaks->n, (unsigned)ESTIMATES_PEAKS); i++)
		(void)peaks_note(&good, peaks->bytes[i],
				 is_floor(peaks, i) ? PEAK_FLOOR : PEAK_FINAL, peaks->permille[i]);
	*peaks = good;
}
