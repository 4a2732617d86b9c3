/* A list of names and speeds, kept from the YAML file. See catalogue.h. */
#include "gpu/catalogue.h"

#include "util/paths.h"
#include "util/yamlx.h"

#include <errno.h>
#include <strings.h>

#define SPEED_MIN 0.001
#define SPEED_MAX 1000.0

struct model {
	char *name;
	double speed;
};

struct catalogue {
	struct model *models;
	size_t n;
};

/* A model without a speed is none for us. */
static int read_model(const struct yamlx *doc, const struct yamlx_node *node,
		      struct catalogue *catalogue, struct error *err)
{
	const struct yamlx_node *name = yamlx_get(node, "name"), *speed = yamlx_get(node, "speed");
	struct model *model = &catalogue->models[catalogue->n];
	const char *text = NULL;
	int r;

	if (!speed)
		return 0;
	if (!name)
		return yamlx_error(doc, node, -EINVAL, err, "a model needs `name`");
	r = yamlx_string(doc, name, &text, err);
	if (r == 0)
		r = yamlx_real(doc, speed, SPEED_MIN, SPEED_MAX, &model->speed, err);
	if (r < 0)
		return r;
	model->name = mem_strdup(text);
	catalogue->n++;
	return 0;
}

int catalogue_load_file(const char *path, struct catalogue **ret_catalogue, struct error *err)
{
	auto_catalogue struct catalogue *catalogue = mem_calloc(1, sizeof *catalogue);
	auto_yamlx struct yamlx *doc = NULL;
	const struct yamlx_node *models;
	int r = yamlx_load(path, &doc, err);

	if (r < 0)
		return r;
	models = doc->root ? yamlx_get(doc->root, "gpus") : NULL;
	if (!models || models->type != YAMLX_MAPPING)
		return error_set(err, -EINVAL, "%s: there is no mapping `gpus`", path);
	catalogue->models = mem_calloc(models->n + 1, sizeof *catalogue->models);
	for (size_t i = 0; i < models->n; i++) {
		if (models->items[i]->type != YAMLX_MAPPING)
			return yamlx_error(doc, models->items[i], -EINVAL, err,
					   "a model is a mapping");
		r = read_model(doc, models->items[i], catalogue, err);
		if (r < 0)
			return r;
	}
	*ret_catalogue = TAKE(catalogue);
	return 0;
}

int catalogue_load(struct catalogue **ret_catalogue, struct error *err)
{
	auto_free char *path = NULL;
	int r = paths_find_data("gpus.yaml", &path, err);

	return r < 0 ? r : catalogue_load_file(path, ret_catalogue, err);
}

void catalogue_destroy(struct catalogue *catalogue)
{
	if (!catalogue)
		return;
	for (size_t i = 0; i < catalogue->n; i++)
		free(catalogue->models[i].name);
	free(catalogue->models);
	free(catalogue);
}

bool catalogue_speed(const struct catalogue *catalogue, const char *model, double *ret_speed)
{
	for (size_t i = 0; catalogue && i < catalogue->n; i++) {
		if (strcasecmp(catalogue->models[i].name, model) == 0) {
			*ret_speed = catalogue->models[i].speed;
			return true;
		}
	}
	return false;
}
