/*
 * How long the exact planner takes, and GLPK for the numbers of the same objective (the planner
 * finds the tie-breaks too). Random machines, see plan_world_real(): 50 to 90 % of what is below
 * the load lines is needed. A row: median and worst of all machines in processor time, how many
 * were proved.
 */
#include "../unit/plan_mip.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MACHINES 50

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct row {
	double seconds[MACHINES];
	unsigned n, proved;
};

static void print_row(struct row *row)
{
	if (row->n == 0) {
		printf("%*s", 36, "");
		return;
	}
	qsort(row->seconds, row->n, sizeof *row->seconds, by_size);
	printf("%10.2f ms %10.2f ms %3u/%-3u   ", 1e3 * row->seconds[row->n / 2],
	       1e3 * row->seconds[row->n - 1], row->proved, row->n);
}

static int run_planner(const struct plan_problem *problem, struct row *row)
{
	struct plan *plan = NULL;
	struct error err = {};
	double start = seconds_now();

	if (plan_solve(problem, &plan, &err) < 0) {
		fprintf(stderr, "planner: %s\n", error_text(&err));
		return 1;
	}
	row->seconds[row->n++] = seconds_now() - start;
	row->proved += plan->proved;
	plan_destroy(plan);
	return 0;
}

static void run_glpk(const struct plan_problem *problem, struct row *row, double seconds_max)
{
	static struct plan_mip mip;
	double start = seconds_now();

	mip = (struct plan_mip){
	    .problem = problem, .unit_bytes = 1 << 20, .seconds_max = seconds_max};
	plan_mip_solve(&mip);
	row->seconds[row->n++] = seconds_now() - start;
	row->proved += mip.proved;
}

int main(void)
{
	static const unsigned services[] = {10, 20, 40, 80}, gpus[] = {2, 4, 8, 16};
	static struct plan_world world;
	const char *text = getenv("GLPK_MACHINES");
	unsigned n_glpk = text ? (unsigned)atoi(text) : 5;

	printf("%-16s %-35s %s\n", "services on GPUs", "planner: median, worst, proved",
	       "GLPK, at most 2 s: median, worst, proved");
	for (size_t s = 0; s < sizeof services / sizeof *services; s++)
		for (size_t g = 0; g < sizeof gpus / sizeof *gpus; g++) {
			struct row ours = {}, theirs = {};
			uint64_t seed = 1000 * services[s] + gpus[g];

			for (unsigned i = 0; i < MACHINES; i++) {
				plan_world_real(
				    &world, &seed, gpus[g], services[s],
				    &(struct plan_world_real){.load = 0.5 + 0.1 * (i % 5)});
				if (run_planner(&world.problem, &ours))
					return 1;
				if (i < n_glpk)
					run_glpk(&world.problem, &theirs, 2);
			}
			printf("%4u on %-4u", services[s], gpus[g]);
			print_row(&ours);
			print_row(&theirs);
			printf("\n");
			fflush(stdout);
		}
	return 0;
}
