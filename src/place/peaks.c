/*
 * A ring would save the moving of 31 numbers once in a task's life, and cost every reader the order
 * of its entries. Which floors count depends on the others, so all are kept and judged when summed.
 */
#include "place/peaks.h"

#include "util/size.h"

#include <stdlib.h>
#include <string.h>

/* So many peaks know their own spread. */
#define MANY_PEAKS 10

struct peaks_sum {
	unsigned n, floors; /* floors: of those */
	uint64_t p95, max;  /* nearest rank: the smallest that 95 % do not pass; 0 = none */
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

bool peaks_note(struct estimates_peaks *peaks, uint64_t bytes, enum peak_end end)
{
	if (bytes == 0)
		return false;
	if (end == PEAK_OPEN) {
		if (bytes <= peaks->open_bytes || any_final(peaks))
			return false;
		peaks->open_bytes = bytes;
		return true;
	}
	if (peaks->n == ESTIMATES_PEAKS) {
		memmove(peaks->bytes, peaks->bytes + 1, sizeof peaks->bytes - sizeof *peaks->bytes);
		peaks->floors >>= 1;
		peaks->n--;
	}
	if (end == PEAK_FLOOR)
		peaks->floors |= UINT32_C(1) << peaks->n;
	else
		peaks->open_bytes = 0;
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
	if (n == 0)
		return sum;
	qsort(bytes, n, sizeof *bytes, compare_sizes);
	sum.n = (unsigned)n;
	sum.p95 = bytes[(n * 95 + 99) / 100 - 1];
	return sum;
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

struct estimates_need peaks_need(const struct estimates_row *const *rows, size_t n,
				 const char *model)
{
	auto_free const struct estimates_peaks **lists = mem_calloc(n + 1, sizeof(void *));
	bool on_cpu = model && !model[0];
	struct peaks_sum vram = {}, ram;
	struct estimates_need need = {};
	uint64_t enough = 0, next = 0;

	for (size_t i = 0; i < n; i++) {
		const struct estimates_row *row = rows[i];

		if (row->oom_vram_bytes > need.oom_vram_bytes)
			need.oom_stopped = row->oom_stopped;
		need.proven |= (row->model[0] || on_cpu) &&
			       (row->runs > 0 || row->vram.open_bytes > 0 || any_final(&row->vram));
		need.oom_vram_bytes = MAX_OF(need.oom_vram_bytes, row->oom_vram_bytes);
		enough = MAX_OF(enough, row->enough_vram_bytes);
		next = MAX_OF(next, row->oom_next_bytes);
	}
	if (!on_cpu)
		vram = peaks_sum(lists, lists_choose(rows, n, model, false, lists));
	ram = peaks_sum(lists, lists_choose(rows, n, model, true, lists));
	need.peaks = on_cpu ? ram.n : vram.n;
	need.known = need.peaks >= ESTIMATES_FEW;
	need.p95_vram_bytes = vram.p95;
	need.max_vram_bytes = vram.max;
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

void peaks_check(struct estimates_peaks *peaks)
{
	struct estimates_peaks good = {.open_bytes = peaks->open_bytes};

	for (unsigned i = 0; i < MIN_OF(peaks->n, (unsigned)ESTIMATES_PEAKS); i++)
		(void)peaks_note(&good, peaks->bytes[i],
				 is_floor(peaks, i) ? PEAK_FLOOR : PEAK_FINAL);
	*peaks = good;
}
