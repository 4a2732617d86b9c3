/*
 * See planview_priv.h. The parts of a GPU's memory are gathered, sorted by size and listed behind
 * the bar of their sum: services by name, and "others" for what no service explains.
 */
#include "cli/planview_priv.h"

#include <string.h>

#define BAR_NARROW 16
#define BAR_WIDE   32

struct share {
	const char *name;
	uint64_t bytes;
	bool comes; /* it moves here */
	bool on_demand;
};

struct shares {
	struct share *items;
	size_t n, room;
};

static void share_add(struct shares *shares, struct share share)
{
	ARRAY_GROW(shares->items, shares->n, shares->room);
	shares->items[shares->n++] = share;
}

static int by_bytes(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void shares_today(const struct canvas *c, size_t g, struct shares *shares)
{
	for (size_t i = 0; i < c->stack->n; i++) {
		const struct stack_service *service = &c->stack->services[i];

		if (service->wants_gpu && service->used_bytes[g] > 0)
			share_add(shares, (struct share){.name = service->service->name,
							 .bytes = service->used_bytes[g]});
	}
}

static void shares_planned(const struct canvas *c, size_t g, struct shares *shares)
{
	for (size_t i = 0; i < c->problem->n_services; i++) {
		const struct plan_place *place = &c->places[i];
		uint64_t bytes = planview_bytes(c->taken, i);

		if (canvas_is_on(place, g))
			share_add(shares, (struct share){.name = c->problem->services[i].name,
							 .bytes = bytes,
							 .comes = place->moved,
							 .on_demand = bytes == 0});
	}
}

static uint64_t shares_sum(const struct shares *shares)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < shares->n; i++)
		sum += shares->items[i].bytes;
	return sum;
}

/* "ai-llm 18.00, +ai-clip 1.20" from column `at` on; a name stays with its size. */
static void draw_shares(struct canvas *c, const struct shares *shares, size_t at)
{
	size_t column = at;

	for (size_t i = 0; i < shares->n; i++) {
		const struct share *share = &shares->items[i];
		auto_free char *size = mem_printf("%.2f", GIB_OF(share->bytes));
		auto_free char *item = mem_printf("%s%s %s%s", share->comes ? "+" : "", share->name,
						  share->on_demand ? "(on demand)" : size,
						  i + 1 < shares->n ? "," : "");
		auto_text struct text clean = {};
		size_t columns;

		term_add_clean(&clean, item, SIZE_MAX);
		columns = text_columns(clean.data);

		if (i > 0 && column + 1 + columns > c->width) {
			text_printf(c->text, "\n%*s", (int)at, "");
			column = at;
		} else if (i > 0) {
			text_add(c->text, " ");
			column++;
		}
		text_add(c->text, clean.data);
		column += columns;
	}
	text_add(c->text, shares->n > 0 ? "\n" : "nothing\n");
}

/* "  today    ####|..  19.46   81 %  ai-llm 18.00, ai-florence 1.46" */
static void draw_line(struct canvas *c, const struct plan_gpu *gpu, const char *label,
		      uint64_t bytes, struct shares *shares)
{
	const double total = (double)gpu->total_bytes;
	const unsigned bar = c->width >= PLANVIEW_WIDE ? BAR_WIDE : BAR_NARROW;

	if (shares->n > 1)
		qsort(shares->items, shares->n, sizeof *shares->items, by_bytes);
	text_printf(c->text, "  %-8s", label);
	term_add_bar(c->text, total > 0 ? (double)bytes / total : 0,
		     total > 0 ? (double)gpu->load_line_bytes / total : -1, bar);
	canvas_add(c, bytes > gpu->load_line_bytes ? TERM_RED : TERM_PLAIN, "%8.2f", GIB_OF(bytes));
	text_printf(c->text, " %4.0f %%  ", total > 0 ? 100 * (double)bytes / total : 0);
	draw_shares(c, shares, 2 + 8 + bar + 8 + 9);
}

static void draw_today(struct canvas *c, size_t g)
{
	const struct gpu *gpu = &c->stack->list->gpus[g];
	const uint64_t foreign = c->stack->foreign_bytes[g];
	struct shares shares = {};

	if (!gpu_has(gpu, GPU_USED)) {
		text_add(c->text, "  today   what is used is not known\n");
		return;
	}
	shares_today(c, g, &shares);
	if (foreign > 0)
		share_add(&shares, (struct share){.name = "others", .bytes = foreign});
	draw_line(c, &c->problem->gpus[g], "today", gpu->vram.used_bytes, &shares);
	free(shares.items);
}

static void draw_planned(struct canvas *c, size_t g)
{
	const uint64_t foreign = c->stack->foreign_bytes[g];
	struct shares shares = {};
	char label[32];

	canvas_label(c, "planned", label);
	shares_planned(c, g, &shares);
	if (foreign > 0)
		share_add(&shares, (struct share){.name = "others", .bytes = foreign});
	draw_line(c, &c->taken->gpus[g], label, shares_sum(&shares), &shares);
	if (c->taken->gpus[g].total_bytes != c->problem->gpus[g].total_bytes)
		text_printf(c->text, "          with %.2f GiB, load line %.2f\n",
			    GIB_OF(c->taken->gpus[g].total_bytes),
			    GIB_OF(c->taken->gpus[g].load_line_bytes));
	free(shares.items);
}

void canvas_draw_gpu(struct canvas *c, size_t g)
{
	const struct plan_gpu *gpu = &c->problem->gpus[g];
	const struct ledger_gpu *line = &c->stack->ledger->gpus[g];

	canvas_add(c, TERM_BOLD, "GPU %u  %s", gpu->index, line->model);
	if (gpu->total_bytes > 0)
		text_printf(c->text, "  %.2f GiB, load line %.2f\n", GIB_OF(gpu->total_bytes),
			    GIB_OF(gpu->load_line_bytes));
	else
		text_add(c->text, "  its memory is not known\n");
	if (!gpu->usable) {
		text_add(c->text, "  nothing is planned here: ");
		canvas_add(c, TERM_PLAIN, "%s",
			   line->closed        ? line->closed_text
			   : !line->vram_known ? "how much memory it has is not known"
					       : line->unusable_reason);
		text_add(c->text, "\n");
	}
	draw_today(c, g);
	if (c->places && c->problem->n_services > 0 &&
	    (gpu->usable || c->stack->foreign_bytes[g] > 0))
		draw_planned(c, g);
}
