/*
 * Each mapping has one table of its keys: name, type of value, where it goes. The tables are the
 * validation: what is not in them is refused by its place in the file. Files are read one after
 * another into the same struct, so that a later one overrides single values and adds to lists.
 */
#include "config/config.h"

#include "util/file.h"
#include "util/text.h"
#include "util/yamlx.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME   "plimsoll.yaml"
#define ENTRIES_MAX 1024
#define COUNT_MAX   1000000000
#define WEIGHT_MAX  1000000.0

static const char *const role_names[CONFIG_ROLE_COUNT] = {
    [CONFIG_COMPUTE] = "compute",
    [CONFIG_DISPLAY] = "display",
    [CONFIG_OFF] = "off",
};

static const char *const overrun_names[CONFIG_OVERRUN_COUNT] = {
    [CONFIG_OVERRUN_AUTO] = "auto",
    [CONFIG_OVERRUN_WARN] = "warn",
    [CONFIG_OVERRUN_STOP] = "stop",
};

enum type {
	TYPE_TEXT,     /* char * */
	TYPE_SIZE,     /* uint64_t, bytes */
	TYPE_COUNT,    /* unsigned */
	TYPE_COUNT_64, /* uint64_t */
	TYPE_DURATION, /* int64_t, ms; "off" = -1 */
	TYPE_WEIGHT,   /* double */
	TYPE_ROLE,     /* enum config_role */
	TYPE_OVERRUN,  /* enum config_on_overrun */
	TYPE_HOURS,    /* struct hours */
	TYPE_BOOL,     /* bool */
	TYPE_OFF,      /* bool: true when it is off */
};

struct key {
	const char *name;
	enum type type;
	size_t offset;
	size_t given_offset; /* of a bool that is set, 0 = none */
};

#define KEY(name, type, of, member)              \
	{                                        \
		name, type, offsetof(of, member) \
	}
#define KEY_GIVEN(name, type, of, member, given)                      \
	{                                                             \
		name, type, offsetof(of, member), offsetof(of, given) \
	}

static const struct key gpu_keys[] = {
    KEY("gpu", TYPE_TEXT, struct config_gpu, gpu),
    KEY("model", TYPE_TEXT, struct config_gpu, model),
    KEY_GIVEN("role", TYPE_ROLE, struct config_gpu, role, has_role),
    KEY_GIVEN("reserve", TYPE_SIZE, struct config_gpu, reserve_bytes, has_reserve),
    KEY("task_vram_max", TYPE_SIZE, struct config_gpu, task_vram_max_bytes),
    KEY("tasks_max", TYPE_COUNT, struct config_gpu, tasks_max),
    KEY_GIVEN("hours", TYPE_HOURS, struct config_gpu, hours, has_hours),
    {},
};

static const struct key limit_keys[] = {
    KEY("running_max", TYPE_COUNT, struct config_limits, running_max),
    KEY("queued_max", TYPE_COUNT, struct config_limits, queued_max),
    KEY("gpus_max", TYPE_COUNT, struct config_limits, gpus_max),
    KEY("vram_max", TYPE_SIZE, struct config_limits, vram_max_bytes),
    KEY("weight", TYPE_WEIGHT, struct config_limits, weight),
    {},
};

static const struct key queue_keys[] = {
    KEY("ageing", TYPE_DURATION, struct config_queue, ageing_ms),
    KEY("fair_share", TYPE_DURATION, struct config_queue, fair_share_ms),
    KEY("reserve_after", TYPE_DURATION, struct config_queue, reserve_after_ms),
    KEY("stagger", TYPE_DURATION, struct config_queue, stagger_ms),
    KEY("prove", TYPE_OFF, struct config_queue, take_at_word),
    KEY("vram_default", TYPE_SIZE, struct config_queue, vram_default_bytes),
    {},
};

static const struct key guard_keys[] = {
    KEY("hami", TYPE_TEXT, struct config_guards, hami),
    KEY("torch", TYPE_BOOL, struct config_guards, torch),
    {},
};

static const struct key overrun_keys[] = {
    KEY("on_overrun", TYPE_OVERRUN, struct config_overrun, on),
    KEY("tolerance", TYPE_SIZE, struct config_overrun, tolerance_bytes),
    KEY("samples", TYPE_COUNT, struct config_overrun, samples),
    {},
};

static const struct key keep_keys[] = {
    KEY("ended_tasks", TYPE_COUNT_64, struct config_keep, ended_tasks),
    KEY("archived_tasks", TYPE_COUNT_64, struct config_keep, archived_tasks),
    KEY("days", TYPE_COUNT, struct config_keep, days),
    {},
};

/* Values. */

static int read_text(const struct yamlx *doc, const struct yamlx_node *node, char **at,
		     struct error *err)
{
	const char *text;
	int r = yamlx_string(doc, node, &text, err);

	if (r == 0 && !*text)
		r = yamlx_error(doc, node, -EINVAL, err, "is empty");
	if (r < 0)
		return r;
	free(*at);
	*at = mem_strdup(text);
	return 0;
}

static int read_count(const struct yamlx *doc, const struct yamlx_node *node, uint64_t *ret_count,
		      struct error *err)
{
	double value = 0;
	int r = yamlx_real(doc, node, 0, COUNT_MAX, &value, err);

	if (r == 0 && value != floor(value))
		r = yamlx_error(doc, node, -EINVAL, err, "must be a whole number");
	if (r == 0)
		*ret_count = (uint64_t)value;
	return r;
}

static int read_off(const struct yamlx *doc, const struct yamlx_node *node, bool *ret_off,
		    struct error *err)
{
	bool on = false;
	int r = yamlx_bool(doc, node, &on, err);

	if (r == 0)
		*ret_off = !on;
	return r;
}

/* Nothing is nothing in whatever unit. */
static int read_size(const struct yamlx *doc, const struct yamlx_node *node, uint64_t *ret_bytes,
		     struct error *err)
{
	if (node->type != YAMLX_SCALAR || strcmp(node->text, "0") != 0)
		return yamlx_size(doc, node, ret_bytes, err);
	*ret_bytes = 0;
	return 0;
}

static int read_duration(const struct yamlx *doc, const struct yamlx_node *node, int64_t *at,
			 struct error *err)
{
	struct error why = {};
	int r;

	if (node->type == YAMLX_SCALAR && strcmp(node->text, "off") == 0) {
		*at = -1;
		return 0;
	}
	r = yamlx_duration(doc, node, at, &why);
	return r < 0 ? error_set(err, r, "%s; `off` turns it off", why.text) : 0;
}

/* One of `names`, as its place among them. */
static int read_name(const struct yamlx *doc, const struct yamlx_node *node,
		     const char *const *names, unsigned n, unsigned *ret_place, struct error *err)
{
	const char *text;
	int r = yamlx_string(doc, node, &text, err);

	for (unsigned i = 0; i < n && r == 0; i++) {
		if (strcmp(text, names[i]) != 0)
			continue;
		*ret_place = i;
		return 0;
	}
	return r < 0 ? r
		     : yamlx_error(doc, node, -EINVAL, err, "\"%.64s\" is none of %s, %s, %s", text,
				   names[0], names[1], names[2]);
}

static int read_role(const struct yamlx *doc, const struct yamlx_node *node, enum config_role *at,
		     struct error *err)
{
	unsigned place = *at;
	int r = read_name(doc, node, role_names, CONFIG_ROLE_COUNT, &place, err);

	*at = (enum config_role)place;
	return r;
}

static int read_overrun(const struct yamlx *doc, const struct yamlx_node *node,
			enum config_on_overrun *at, struct error *err)
{
	unsigned place = *at;
	int r = read_name(doc, node, overrun_names, CONFIG_OVERRUN_COUNT, &place, err);

	*at = (enum config_on_overrun)place;
	return r;
}

static int read_span(const struct yamlx *doc, const struct yamlx_node *node, struct hours *hours,
		     struct error *err)
{
	struct error why = {};
	const char *text;
	int r = yamlx_string(doc, node, &text, err);

	if (r == 0 && hours_add(hours, text, &why) < 0)
		r = yamlx_error(doc, node, -EINVAL, err, "%s", error_text(&why));
	return r;
}

static int read_hours(const struct yamlx *doc, const struct yamlx_node *node, struct hours *at,
		      struct error *err)
{
	struct hours hours = {};
	int r = 0;

	if (node->type == YAMLX_SEQUENCE && node->n == 0)
		return yamlx_error(doc, node, -EINVAL, err,
				   "names no hours: write some, such as [mon-fri 19:00-07:00], "
				   "leave `hours` out for always, or say `role: off` for never");
	if (node->type == YAMLX_SEQUENCE)
		for (size_t i = 0; i < node->n && r == 0; i++)
			r = read_span(doc, node->items[i], &hours, err);
	else
		r = read_span(doc, node, &hours, err);
	if (r == 0)
		*at = hours;
	return r;
}

static int read_value(const struct yamlx *doc, const struct yamlx_node *node, enum type type,
		      void *at, struct error *err)
{
	uint64_t count = 0;
	int r;

	switch (type) {
	case TYPE_TEXT:
		return read_text(doc, node, at, err);
	case TYPE_SIZE:
		return read_size(doc, node, at, err);
	case TYPE_COUNT:
	case TYPE_COUNT_64:
		r = read_count(doc, node, &count, err);
		if (r == 0 && type == TYPE_COUNT)
			*(unsigned *)at = (unsigned)count;
		else if (r == 0)
			*(uint64_t *)at = count;
		return r;
	case TYPE_DURATION:
		return read_duration(doc, node, at, err);
	case TYPE_WEIGHT:
		return yamlx_real(doc, node, 1 / WEIGHT_MAX, WEIGHT_MAX, at, err);
	case TYPE_ROLE:
		return read_role(doc, node, at, err);
	case TYPE_OVERRUN:
		return read_overrun(doc, node, at, err);
	case TYPE_HOURS:
		return read_hours(doc, node, at, err);
	case TYPE_BOOL:
		return yamlx_bool(doc, node, at, err);
	case TYPE_OFF:
		return read_off(doc, node, at, err);
	}
	return -EINVAL;
}

/* Of a limit: a count, or a size or weight. */
static size_t value_size(enum type type)
{
	static_assert(sizeof(double) == sizeof(uint64_t), "one size for both");
	return type == TYPE_COUNT ? sizeof(unsigned) : sizeof(uint64_t);
}

/* Mappings. */

static int read_keys(const struct yamlx *doc, const struct yamlx_node *mapping,
		     const struct key *keys, void *into, struct error *err)
{
	const char *known[16] = {};
	int r;

	if (mapping->type != YAMLX_MAPPING)
		return yamlx_error(doc, mapping, -EINVAL, err, "a mapping (key: value) is wanted");
	for (size_t i = 0; keys[i].name; i++)
		known[i] = keys[i].name;
	r = yamlx_check_keys(doc, mapping, known, err);
	for (size_t i = 0; keys[i].name && r == 0; i++) {
		const struct yamlx_node *node = yamlx_get(mapping, keys[i].name);

		if (!node)
			continue;
		r = read_value(doc, node, keys[i].type, (char *)into + keys[i].offset, err);
		if (keys[i].given_offset)
			*(bool *)((char *)into + keys[i].given_offset) = true;
	}
	return r;
}

static char *place_of(const struct yamlx *doc, const struct yamlx_node *node)
{
	return mem_printf("%s:%u:%u", node->file ? node->file : doc->name, node->line,
			  node->column);
}

static int read_gpus(const struct yamlx *doc, const struct yamlx_node *node, struct config *config,
		     struct error *err)
{
	if (node->type != YAMLX_SEQUENCE || node->n > ENTRIES_MAX)
		return yamlx_error(doc, node, -EINVAL, err,
				   "`gpus` is a list of at most %d entries (- gpu: ...)",
				   ENTRIES_MAX);
	for (size_t i = 0; i < node->n; i++) {
		struct config_gpu *gpu;
		int r;

		config->gpus = mem_realloc(config->gpus, config->n_gpus + 1, sizeof *config->gpus);
		gpu = &config->gpus[config->n_gpus++];
		*gpu = (struct config_gpu){.where = place_of(doc, node->items[i])};
		r = read_keys(doc, node->items[i], gpu_keys, gpu, err);
		if (r == 0 && !gpu->gpu == !gpu->model)
			r = yamlx_error(doc, node->items[i], -EINVAL, err,
					"an entry names either a `gpu` (index, PCI id or UUID) or "
					"a `model`");
		if (r < 0)
			return r;
	}
	return 0;
}

static struct config_user *user_entry(struct config *config, const char *name)
{
	struct config_user *user;

	for (size_t i = 0; i < config->n_users; i++)
		if (strcmp(config->users[i].name, name) == 0)
			return &config->users[i];
	config->users = mem_realloc(config->users, config->n_users + 1, sizeof *config->users);
	user = &config->users[config->n_users++];
	*user = (struct config_user){.name = mem_strdup(name)};
	return user;
}

static int read_user(const struct yamlx *doc, const struct yamlx_node *node,
		     struct config_user *user, struct error *err)
{
	int r = read_keys(doc, node, limit_keys, &user->limits, err);

	for (unsigned i = 0; limit_keys[i].name && r == 0; i++)
		if (yamlx_get(node, limit_keys[i].name))
			user->given |= 1u << i;
	return r;
}

/* What `default` says in any of the files holds for all; a user's own entries, in whichever file,
 * override single values of it. */
static void users_resolve(struct config *config)
{
	for (size_t i = 0; i < config->n_users; i++) {
		struct config_user *user = &config->users[i];
		const struct config_limits own = user->limits;

		user->limits = config->limits;
		for (unsigned k = 0; limit_keys[k].name; k++)
			if (user->given & 1u << k)
				memcpy((char *)&user->limits + limit_keys[k].offset,
				       (const char *)&own + limit_keys[k].offset,
				       value_size(limit_keys[k].type));
	}
}

static int read_users(const struct yamlx *doc, const struct yamlx_node *node, struct config *config,
		      struct error *err)
{
	const struct yamlx_node *common;
	int r = 0;

	if (node->type != YAMLX_MAPPING || node->n > ENTRIES_MAX)
		return yamlx_error(doc, node, -EINVAL, err,
				   "`users` is a mapping of at most %d names (ann: {...})",
				   ENTRIES_MAX);
	common = yamlx_get(node, "default");
	if (common)
		r = read_keys(doc, common, limit_keys, &config->limits, err);
	for (size_t i = 0; i < node->n && r == 0; i++) {
		struct config_user *user;

		if (strcmp(node->keys[i]->text, "default") == 0)
			continue;
		user = user_entry(config, node->keys[i]->text);
		free(user->where);
		user->where = place_of(doc, node->keys[i]);
		r = read_user(doc, node->items[i], user, err);
	}
	return r;
}

static int read_guards(const struct yamlx *doc, const struct yamlx_node *node,
		       struct config_guards *guards, struct error *err)
{
	int r = read_keys(doc, node, guard_keys, guards, err);

	if (r == 0 && guards->hami && guards->hami[0] != '/')
		r = yamlx_error(doc, node, -EINVAL, err,
				"`hami` is the absolute path of HAMi-core's libvgpu.so, not "
				"\"%.200s\"",
				guards->hami);
	return r;
}

static struct need *service_entry(struct config *config, const char *name)
{
	struct config_service *service;

	for (size_t i = 0; i < config->n_services; i++)
		if (strcmp(config->services[i].name, name) == 0)
			return &config->services[i].need;
	config->services =
	    mem_realloc(config->services, config->n_services + 1, sizeof *config->services);
	service = &config->services[config->n_services++];
	*service = (struct config_service){.name = mem_strdup(name)};
	return &service->need;
}

static int read_services(const struct yamlx *doc, const struct yamlx_node *node,
			 struct config *config, struct error *err)
{
	if (node->type != YAMLX_MAPPING || node->n > ENTRIES_MAX)
		return yamlx_error(doc, node, -EINVAL, err,
				   "`services` is a mapping of at most %d names (clip: {...})",
				   ENTRIES_MAX);
	for (size_t i = 0; i < node->n; i++) {
		struct need need = {};
		int r = need_parse(doc, node->items[i], &need, err);

		if (r < 0)
			return r;
		need_merge(service_entry(config, node->keys[i]->text), &need);
		need_finish(&need);
	}
	return 0;
}

static int read_document(const struct yamlx *doc, const char *const *sections,
			 struct config *config, struct error *err)
{
	const struct yamlx_node *root = doc->root, *node;
	int r;

	/* A file of comments only. */
	if (!root || (root->type == YAMLX_SCALAR && !*root->text))
		return 0;
	if (root->type != YAMLX_MAPPING)
		return yamlx_error(doc, root, -EINVAL, err, "a mapping (key: value) is wanted");
	r = yamlx_check_keys(doc, root, sections, err);
	if (r == 0 && (node = yamlx_get(root, "gpus")))
		r = read_gpus(doc, node, config, err);
	if (r == 0 && (node = yamlx_get(root, "users")))
		r = read_users(doc, node, config, err);
	if (r == 0 && (node = yamlx_get(root, "queue")))
		r = read_keys(doc, node, queue_keys, &config->queue, err);
	if (r == 0 && (node = yamlx_get(root, "limits")))
		r = read_guards(doc, node, &config->guards, err);
	if (r == 0 && (node = yamlx_get(root, "overrun")))
		r = read_keys(doc, node, overrun_keys, &config->overrun, err);
	if (r == 0 && (node = yamlx_get(root, "keep")))
		r = read_keys(doc, node, keep_keys, &config->keep, err);
	if (r == 0 && (node = yamlx_get(root, "services")))
		r = read_services(doc, node, config, err);
	if (r == 0 && (node = yamlx_get(root, "oom")))
		r = config_patterns_read(doc, node, &config->patterns, &config->n_patterns, err);
	return r;
}

/* Files. */

static const char *const all_sections[] = {"gpus", "users",    "queue", "limits", "overrun",
					   "keep", "services", "oom",   NULL};

int config_add(struct config *config, const struct yamlx *doc, const char *const *sections,
	       struct error *err)
{
	int r = read_document(doc, sections ? sections : all_sections, config, err);

	users_resolve(config);
	return r;
}

char **config_paths(bool machine)
{
	struct strings paths = {};
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	strings_add(&paths, "/etc/plimsoll/" FILE_NAME);
	if (!machine && xdg && *xdg == '/')
		strings_take(&paths, mem_printf("%s/plimsoll/%s", xdg, FILE_NAME));
	else if (!machine && home && *home == '/')
		strings_take(&paths, mem_printf("%s/.config/plimsoll/%s", home, FILE_NAME));
	return paths.items;
}

void config_paths_free(char **paths)
{
	for (char **path = paths; path && *path; path++)
		free(*path);
	free(paths);
}

int config_load(const char *const *paths, struct config **ret_config, struct error *err)
{
	auto_config struct config *config = mem_calloc(1, sizeof *config);

	for (; *paths; paths++) {
		auto_yamlx struct yamlx *doc = NULL;
		int r;

		if (access(*paths, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
			continue;
		r = yamlx_load(*paths, &doc, err);
		if (r == 0)
			r = config_add(config, doc, NULL, err);
		if (r < 0)
			return r;
		config->files =
		    mem_realloc(config->files, config->n_files + 1, sizeof *config->files);
		config->files[config->n_files++] = mem_strdup(*paths);
	}
	*ret_config = TAKE(config);
	return 0;
}

int config_parse(const char *text, size_t len, const char *name, struct config **ret_config,
		 struct error *err)
{
	auto_config struct config *config = mem_calloc(1, sizeof *config);
	auto_yamlx struct yamlx *doc = NULL;
	int r = yamlx_parse(text, len, name, &doc, err);

	if (r == 0)
		r = config_add(config, doc, NULL, err);
	if (r < 0)
		return r;
	*ret_config = TAKE(config);
	return 0;
}

void config_destroy(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_gpus; i++) {
		free(config->gpus[i].gpu);
		free(config->gpus[i].model);
		free(config->gpus[i].where);
	}
	for (size_t i = 0; i < config->n_users; i++) {
		free(config->users[i].name);
		free(config->users[i].where);
	}
	for (size_t i = 0; i < config->n_files; i++)
		free(config->files[i]);
	for (size_t i = 0; i < config->n_services; i++) {
		free(config->services[i].name);
		need_finish(&config->services[i].need);
	}
	free(config->guards.hami);
	config_patterns_destroy(config->patterns, config->n_patterns);
	free(config->services);
	free(config->gpus);
	free(config->users);
	free(config->files);
	free(config);
}
