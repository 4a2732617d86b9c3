/*
 * See doctorimages.h. Compose files come first: they know what arguments a Dockerfile is built
 * with. A Dockerfile that one of them builds is not read a second time without them.
 */
#include "cli/doctorimages.h"

#include "cli/doctorview.h"

#include "compose/project.h"
#include "util/jsonx.h"
#include "util/paths.h"

#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct collecting {
	struct image_uses *uses;
	struct strings built; /* Dockerfiles that were read, by their full paths */
};

static bool is_compose(const char *path)
{
	return text_ends_with(path, ".yml") || text_ends_with(path, ".yaml");
}

/* --- Dockerfiles --- */

static int add_dockerfile(struct collecting *collecting, const char *path, const char *shown,
			  char *const *args, struct error *err)
{
	auto_free char *full = compose_path_join(NULL, path);

	if (!args)
		for (size_t i = 0; i < collecting->built.n; i++)
			if (strcmp(collecting->built.items[i], full) == 0)
				return 0;
	strings_add(&collecting->built, full);
	return images_add_dockerfile(collecting->uses, path, shown, args, err);
}

/* --- compose --- */

/* build.args: a map or a list of NAME=value; a name alone has the project's value. */
static void read_args(const struct compose_project *project, const struct compose_node *node,
		      struct strings *ret_args)
{
	for (size_t i = 0; node && i < node->n; i++) {
		const char *name = NULL, *value = NULL;

		if (node->type == COMPOSE_MAP) {
			name = node->entries[i].key;
			value = compose_text(node->entries[i].value);
		} else if (node->type == COMPOSE_LIST) {
			name = compose_text(node->items[i]);
		}
		if (!name)
			continue;
		if (!value && !strchr(name, '='))
			value = compose_env_text(&project->env, name);
		if (value)
			strings_take(ret_args, mem_printf("%s=%s", name, value));
		else if (strchr(name, '='))
			strings_add(ret_args, name);
	}
}

static bool is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* As people know it: below where they stand. */
static const char *shown_of(const char *path)
{
	auto_free char *here = getcwd(NULL, 0);
	size_t len = here ? strlen(here) : 0;

	return len > 1 && strncmp(path, here, len) == 0 && path[len] == '/' ? path + len + 1 : path;
}

static int add_build(struct collecting *collecting, const struct compose_project *project,
		     const struct compose_service *service, struct error *err)
{
	const struct compose_node *build = compose_get(service->node, "build");
	const char *context = compose_text(compose_get(build, "context"));
	const char *name = compose_text(compose_get(build, "dockerfile"));
	auto_strings struct strings args = {};
	auto_free char *folder = NULL, *path = NULL;

	/* One from the network, or written in the file itself, is not looked at. */
	if (!build || (context && strstr(context, "://")) ||
	    compose_get(build, "dockerfile_inline"))
		return 0;
	folder = compose_path_join(project->dir, context ? context : ".");
	path = compose_path_join(folder, name ? name : "Dockerfile");
	if (!is_there(path))
		return 0;
	strings_add(&args, "COMPOSE_PROJECT_NAME="); /* never empty: NULL means not by compose */
	read_args(project, compose_get(build, "args"), &args);
	return add_dockerfile(collecting, path, shown_of(path), args.items, err);
}

static int add_compose(struct collecting *collecting, const struct strings *files,
		       struct error *err)
{
	const struct compose_options options = {.files = files, .shell = environ};
	auto_project struct compose_project *project = NULL;
	int r = compose_project_load(&options, &project, err);

	for (size_t i = 0; r == 0 && i < project->n; i++) {
		const struct compose_service *service = &project->services[i];
		const struct compose_node *image = compose_get(service->node, "image");
		const struct compose_node *build = compose_get(service->node, "build");
		unsigned line = 1, column = 1;

		if (!build && image && compose_text(image) && image->span.file) {
			struct image_place place = {
			    .file = image->span.file->shown,
			    .image = compose_text(image),
			    .written = image->raw,
			    .platform = compose_text(compose_get(service->node, "platform")),
			    .service = service->name,
			};

			compose_file_position(image->span.file, image->span.begin, &line, &column);
			place.line = line;
			images_add(collecting->uses, &place);
		}
		r = add_build(collecting, project, service, err);
	}
	return r;
}

/* --- files --- */

static int add_folder(struct collecting *collecting, const char *folder, struct error *err)
{
	static const char *const compose[] = {"compose.yaml", "compose.yml", "docker-compose.yml",
					      "docker-compose.yaml"};
	static const char *const patterns[] = {"Dockerfile", "Dockerfile.*", "*.Dockerfile",
					       "*.dockerfile", "Containerfile"};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(compose); i++) {
		auto_free char *path = mem_printf("%s/%s", folder, compose[i]);
		auto_strings struct strings files = {};

		if (!is_there(path))
			continue;
		strings_add(&files, path);
		r = add_compose(collecting, &files, err);
		break;
	}
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(patterns); i++) {
		auto_free char *pattern = mem_printf("%s/%s", folder, patterns[i]);
		glob_t found = {};

		if (glob(pattern, 0, NULL, &found) == 0)
			for (size_t k = 0; r == 0 && k < found.gl_pathc; k++) {
				const char *path = found.gl_pathv[k];

				if (text_ends_with(path, ".dockerignore") || !is_there(path))
					continue;
				path += text_starts_with(path, "./") ? 2 : 0;
				r = add_dockerfile(collecting, path, path, NULL, err);
			}
		globfree(&found);
	}
	return r;
}

int doctorimages_collect(const struct strings *files, struct image_uses *uses, struct error *err)
{
	struct collecting collecting = {.uses = uses};
	int r = 0;

	if (files->n == 0)
		r = add_folder(&collecting, ".", err);
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; r == 0 && i < files->n; i++) {
			const char *path = files->items[i];
			auto_strings struct strings one = {};
			struct stat st;
			bool is_dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);

			if ((is_dir || is_compose(path)) != (pass == 0))
				continue;
			strings_add(&one, path);
			r = is_dir             ? add_folder(&collecting, path, err)
			    : is_compose(path) ? add_compose(&collecting, &one, err)
					       : add_dockerfile(&collecting, path, path, NULL, err);
		}
	if (r == 0 && uses->n == 0)
		r = error_set(err, -ENOENT,
			      "no image is named %s: give a Dockerfile, a compose file or a folder",
			      files->n ? "there"
				       : "in this folder (Dockerfile*, compose.yaml and the like)");
	strings_finish(&collecting.built);
	return r;
}

/* --- telling --- */

size_t doctorimages_count(const struct image_uses *uses, enum doctor_status status)
{
	size_t n = 0;

	for (size_t i = 0; i < uses->n; i++)
		n += uses->items[i].result.status == status;
	return n;
}

void doctorimages_render(const struct image_uses *uses, bool verbose, FILE *file, unsigned width,
			 struct text *text)
{
	size_t hidden = 0;

	for (size_t i = 0; i < uses->n; i++) {
		const struct image_use *use = &uses->items[i];
		auto_free char *head = NULL;

		if (use->result.status < DOCTOR_WARN && !verbose) {
			hidden++;
			continue;
		}
		head = mem_printf("%s:%u: %s%s%s", use->place.file, use->place.line,
				  *use->place.image ? use->place.image : use->place.written,
				  use->place.service ? ", service " : "",
				  use->place.service ? use->place.service : "");
		doctorview_result(&use->result, head, file, width, text);
	}
	text_printf(text, "%zu image%s: %zu fail, %zu warn", uses->n, PLURAL(uses->n),
		    doctorimages_count(uses, DOCTOR_FAIL), doctorimages_count(uses, DOCTOR_WARN));
	if (hidden)
		text_printf(text, ", %zu not shown (-v shows all)", hidden);
	text_add(text, "\n");
}

json_t *doctorimages_json(const struct image_uses *uses)
{
	json_t *images = json_array(), *summary = json_object();

	for (size_t i = 0; i < uses->n; i++) {
		const struct image_use *use = &uses->items[i];
		json_t *json = doctor_result_to_json(&use->result);

		(void)json_object_set_new(json, "file", json_string(use->place.file));
		(void)json_object_set_new(json, "line", json_integer(use->place.line));
		(void)json_object_set_new(json, "image", jsonx_string_if(use->place.image));
		(void)json_object_set_new(json, "written", jsonx_string_if(use->place.written));
		(void)json_object_set_new(json, "platform", jsonx_string_if(use->place.platform));
		(void)json_object_set_new(json, "service", jsonx_string_if(use->place.service));
		(void)json_array_append_new(images, json);
	}
	for (enum doctor_status status = DOCTOR_OK; status <= DOCTOR_FAIL; status++)
		(void)json_object_set_new(
		    summary, doctor_status_name(status),
		    json_integer((json_int_t)doctorimages_count(uses, status)));
	return json_pack("{s:o, s:o, s:b}", "images", images, "summary", summary, "fit",
			 doctorimages_count(uses, DOCTOR_FAIL) == 0);
}
