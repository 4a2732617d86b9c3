/*
 * See plan_mip.h. x[i][g]: service i is on GPU g. y[g]: GPU g gets something. z[i]: service i
 * moves. k: steps of use. After each program its optimum becomes a bound, in whole numbers. What
 * GLPK says is rounded and worked out anew in whole numbers, so that no tolerance of its arithmetic
 * passes for an answer.
 */
#include "plan_mip.h"

#include <glpk.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define ROWS_MAX 64

struct model {
	struct plan_mip *mip;
	glp_prob *lp;
	int x[PLAN_SERVICES_MAX][PLAN_GPUS_MAX], y[PLAN_GPUS_MAX], z[PLAN_SERVICES_MAX], k;
	int columns[4 * PLAN_SERVICES_MAX + 4]; /* of the row being written, from 1 on */
	double values[4 * PLAN_SERVICES_MAX + 4];
	int n;
	double deadline;
};

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t size_of(const struct model *model, size_t i)
{
	const struct plan_service *s = &model->mip->problem->services[i];

	return s->on_demand ? 0
			    : (s->vram_bytes + model->mip->unit_bytes - 1) / model->mip->unit_bytes;
}

static int add_column(struct model *model, int kind, double upper)
{
	int column = glp_add_cols(model->lp, 1);

	glp_set_col_kind(model->lp, column, kind);
	if (kind == GLP_IV)
		glp_set_col_bnds(model->lp, column, GLP_DB, 0, upper);
	return column;
}

static void put(struct model *model, int column, double value)
{
	if (column == 0 || value == 0)
		return;
	model->columns[++model->n] = column;
	model->values[model->n] = value;
}

static void end_row(struct model *model, int type, double lower, double upper)
{
	int row = glp_add_rows(model->lp, 1);

	glp_set_row_bnds(model->lp, row, type, lower, upper);
	glp_set_mat_row(model->lp, row, model->n, model->columns, model->values);
	model->n = 0;
}

static void add_columns(struct model *model)
{
	const struct plan_problem *problem = model->mip->problem;
	double steps = problem->use_steps ? problem->use_steps : 100;

	for (size_t i = 0; i < problem->n_services; i++) {
		for (size_t g = 0; g < problem->n_gpus; g++)
			if (plan_world_may_use(problem, &problem->services[i], g))
				model->x[i][g] = add_column(model, GLP_BV, 1);
		model->z[i] = add_column(model, GLP_BV, 1);
	}
	for (size_t g = 0; g < problem->n_gpus; g++)
		model->y[g] = add_column(model, GLP_BV, 1);
	model->k = add_column(model, GLP_IV, steps);
}

static void add_gpu(struct model *model, size_t g)
{
	const struct plan_problem *problem = model->mip->problem;
	const struct plan_gpu *gpu = &problem->gpus[g];
	uint64_t unit = model->mip->unit_bytes, foreign = (gpu->foreign_bytes + unit - 1) / unit;
	uint64_t line = MIN_OF(gpu->load_line_bytes, gpu->total_bytes) / unit;
	double steps = problem->use_steps ? problem->use_steps : 100;

	/* Room, and only where the GPU gets something. */
	for (size_t i = 0; i < problem->n_services; i++)
		put(model, model->x[i][g], (double)size_of(model, i));
	put(model, model->y[g], -(double)(line > foreign ? line - foreign : 0));
	end_row(model, GLP_UP, 0, 0);
	/* Use. */
	for (size_t i = 0; i < problem->n_services; i++)
		put(model, model->x[i][g], steps * (double)size_of(model, i));
	put(model, model->y[g], steps * (double)foreign);
	put(model, model->k, -(double)(gpu->total_bytes / unit));
	end_row(model, GLP_UP, 0, 0);
	for (size_t i = 0; i < problem->n_services; i++) {
		const struct plan_service *s = &problem->services[i];

		for (size_t k = 0; k < s->n_not_with; k++)
			if (s->not_with[k] != i) {
				put(model, model->x[i][g], 1);
				put(model, model->x[s->not_with[k]][g], 1);
				end_row(model, GLP_UP, 0, 1);
			}
		for (size_t k = 0; k < problem->n_services && s->exclusive; k++)
			if (k != i) {
				put(model, model->x[i][g], 1);
				put(model, model->x[k][g], 1);
				end_row(model, GLP_UP, 0, 1);
			}
	}
}

static void add_service(struct model *model, size_t i)
{
	const struct plan_problem *problem = model->mip->problem;
	const struct plan_service *s = &problem->services[i];
	unsigned wanted = s->gpus * s->replicas, stay;
	uint64_t today = 0;

	for (size_t g = 0; g < problem->n_gpus; g++)
		put(model, model->x[i][g], 1);
	end_row(model, GLP_FX, wanted, wanted);
	for (size_t k = 0; k < s->n_today; k++)
		today |= (uint64_t)1 << s->today[k];
	stay = MIN_OF((unsigned)__builtin_popcountll(today), wanted);
	/* So many of today's, or it moves. */
	for (size_t g = 0; g < problem->n_gpus; g++)
		if (today >> g & 1)
			put(model, model->x[i][g], 1);
	put(model, model->z[i], stay);
	end_row(model, GLP_LO, s->on_demand ? 0 : stay, 0);
}

/* Minimise what is in the row being written; hold it to the optimum from then on. */
static bool minimise(struct model *model)
{
	glp_iocp options;
	double best = 0, left = model->deadline - seconds_now();
	int n = model->n;

	for (int c = 1; c <= glp_get_num_cols(model->lp); c++)
		glp_set_obj_coef(model->lp, c, 0);
	for (int k = 1; k <= n; k++)
		glp_set_obj_coef(model->lp, model->columns[k], model->values[k]);
	glp_init_iocp(&options);
	options.msg_lev = GLP_MSG_OFF;
	options.presolve = GLP_ON;
	options.tm_lim = model->deadline <= 0 ? INT32_MAX : (int)(fmax(left, 0.001) * 1000);
	if (glp_intopt(model->lp, &options) == GLP_ETMLIM) {
		model->mip->proved = false;
		return false;
	}
	if (glp_mip_status(model->lp) != GLP_OPT)
		return false;
	for (int k = 1; k <= n; k++)
		best += model->values[k] * round(glp_mip_col_val(model->lp, model->columns[k]));
	if (n > 0)
		end_row(model, GLP_UP, 0, best);
	return true;
}

static void put_moves(struct model *model)
{
	for (size_t i = 0; i < model->mip->problem->n_services; i++)
		if (!model->mip->problem->services[i].on_demand)
			put(model, model->z[i], 1);
}

static bool solve_all(struct model *model)
{
	const struct plan_problem *problem = model->mip->problem;

	if (problem->objective == PLAN_PACK) {
		for (size_t g = 0; g < problem->n_gpus; g++)
			put(model, model->y[g], 1);
		if (!minimise(model))
			return false;
	}
	if (problem->objective == PLAN_BALANCE) {
		put(model, model->k, 1);
		if (!minimise(model))
			return false;
	}
	put_moves(model);
	if (!minimise(model))
		return false;
	if (problem->objective != PLAN_BALANCE) {
		put(model, model->k, 1);
		if (!minimise(model))
			return false;
	}
	for (size_t i = 0; i < problem->n_services; i++)
		for (size_t g = 0; g < problem->n_gpus && !problem->services[i].on_demand; g++)
			if (problem->services[i].preference[g])
				put(model, model->x[i][g], -problem->services[i].preference[g]);
	return minimise(model);
}

void plan_mip_solve(struct plan_mip *mip)
{
	static struct model model;
	const struct plan_problem *problem = mip->problem;

	memset(&model, 0, sizeof model);
	model.mip = mip;
	model.lp = glp_create_prob();
	model.deadline = mip->seconds_max > 0 ? seconds_now() + mip->seconds_max : 0;
	glp_set_obj_dir(model.lp, GLP_MIN);
	add_columns(&model);
	for (size_t i = 0; i < problem->n_services; i++)
		add_service(&model, i);
	for (size_t g = 0; g < problem->n_gpus; g++)
		add_gpu(&model, g);
	mip->proved = true;
	mip->feasible = solve_all(&model);
	memset(mip->sets, 0, sizeof mip->sets);
	for (size_t i = 0; mip->feasible && i < problem->n_services; i++)
		for (size_t g = 0; g < problem->n_gpus; g++)
			if (model.x[i][g] && glp_mip_col_val(model.lp, model.x[i][g]) > 0.5)
				mip->sets[i] |= (uint64_t)1 << g;
	if (mip->feasible)
		plan_worth(problem, mip->sets, &mip->worth);
	glp_delete_prob(model.lp);
}
