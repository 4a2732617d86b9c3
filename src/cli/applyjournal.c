/* See applyjournal.h. */
#include "cli/applyjournal.h"

#include "cli/apply.h"

#include "util/file.h"
#include "util/jsonx.h"
#include "util/paths.h"
#include "util/pidref.h"
#include "util/timestamp.h"
#include "util/when.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOURNAL_MAX ((size_t)1 << 20)

char *apply_journal_path(const struct compose_project *project)
{
	const char *first = project->n_main_files > 0 ? project->main_files[0]->path : "";
	auto_free char *folder = *first == '/' ? paths_folder_of(first) : NULL;

	return compose_path_join(folder ?: project->dir, APPLY_JOURNAL);
}

static void add_texts(const json_t *list, const char *key, struct strings *texts)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item)
		strings_add(texts, key                    ? jsonx_get_string(item, key, "")
				   : json_is_string(item) ? json_string_value(item)
							  : "");
}

static int journal_read(const struct compose_project *project, struct apply_journal *ret_journal,
			struct error *err)
{
	auto_apply_journal struct apply_journal journal = {.path = apply_journal_path(project)};
	auto_text struct text text = {};
	auto_json json_t *json = NULL;
	pid_t pid = 0;
	int r = file_read(journal.path, JOURNAL_MAX, false, &text, err);

	if (r < 0 && r != -ENOENT)
		return r;
	journal.found = r == 0;
	if (journal.found && jsonx_parse(text.data, text.len, journal.path, &json, NULL) == 0) {
		pid = (pid_t)jsonx_get_u64(json, "pid", 0);
		journal.started_at_ms = jsonx_get_time(json, "started_at");
		add_texts(json_object_get(json, "services"), NULL, &journal.services);
		add_texts(json_object_get(json, "options"), NULL, &journal.options);
		add_texts(json_object_get(json, "files"), "file", &journal.files);
		add_texts(json_object_get(json, "files"), "backup", &journal.backups);
	}
	if (pid > 0 && pid_is_alive(pid, jsonx_get_u64(json, "pid_start_time", 0)))
		journal.pid = pid;
	if (journal.found)
		journal.found_text = text_take(&text);
	*ret_journal = journal;
	journal = (struct apply_journal){};
	return 0;
}

int apply_journal_open(const struct compose_project *project, struct apply_journal *ret_journal,
		       struct error *err)
{
	auto_apply_journal struct apply_journal journal = {};
	int r = journal_read(project, &journal, err);

	if (r < 0)
		return r;
	if (journal.pid > 0)
		return error_set(err, -EBUSY,
				 "another apply of this project is under way (process %d)",
				 (int)journal.pid);
	*ret_journal = journal;
	journal = (struct apply_journal){};
	return 0;
}

char *apply_journal_warning(const struct compose_project *project)
{
	auto_apply_journal struct apply_journal journal = {};
	auto_text struct text text = {};

	if (journal_read(project, &journal, NULL) < 0 || !journal.found)
		return NULL;
	if (journal.pid > 0)
		return mem_printf("an apply of this project is under way (process %d): what its "
				  "files say now may be half of it",
				  (int)journal.pid);
	apply_journal_describe(&journal, &text);
	return text_take(&text);
}

static json_t *files_json(const struct compose_edits *edits, const struct compose_backup *backup)
{
	json_t *files = json_array();
	const struct compose_file *file;

	for (size_t i = 0; (file = compose_edits_file(edits, i)); i++)
		(void)json_array_append_new(
		    files, json_pack("{s:o, s:o}", "file", jsonx_string_if(file->path), "backup",
				     jsonx_string_if(compose_backup_name(backup, i))));
	return files;
}

int apply_journal_write(const struct apply_journal *journal, const struct compose_edits *edits,
			const struct strings *services, const struct compose_backup *backup,
			struct error *err)
{
	auto_json json_t *json = json_object();
	auto_free char *text = NULL;
	uint64_t start_time = 0;

	if (pid_start_time(getpid(), &start_time) < 0)
		start_time = 0; /* not known */
	(void)json_object_set_new(json, "version", json_integer(1));
	(void)json_object_set_new(json, "started_at", jsonx_time_if(timestamp_now_ms()));
	(void)json_object_set_new(json, "pid", json_integer(getpid()));
	(void)json_object_set_new(json, "pid_start_time", jsonx_u64(start_time));
	(void)json_object_set_new(json, "services", jsonx_strv(services->items));
	(void)json_object_set_new(json, "options", jsonx_strv(journal->own_options.items));
	(void)json_object_set_new(json, "files", files_json(edits, backup));
	text = jsonx_dump(json);
	return file_replace(journal->path, text, strlen(text), 0600, err);
}

void apply_journal_remove(const struct apply_journal *journal)
{
	(void)unlink(journal->path);
}

void apply_journal_restore(const struct apply_journal *journal)
{
	struct error err = {};

	if (!journal->found_text)
		apply_journal_remove(journal);
	else if (file_replace(journal->path, journal->found_text, strlen(journal->found_text), 0600,
			      &err) < 0)
		apply_tell("%s could not be put back: %s", journal->path, error_text(&err));
}

static char *real_folder_of(const char *path)
{
	auto_free char *real = realpath(path, NULL);

	return paths_folder_of(real ?: path);
}

void apply_journal_sweep(const struct apply_journal *journal, const struct compose_project *project)
{
	auto_free char *folder = real_folder_of(journal->path);

	/* file_replace() names what it writes as the writer of the files does. */
	compose_leftovers_remove(folder);
	for (size_t i = 0; i < project->files.n; i++) {
		auto_free char *of_file = real_folder_of(project->files.items[i]->path);

		compose_leftovers_remove(of_file);
	}
	for (size_t i = 0; i < journal->files.n; i++) {
		auto_free char *of_file = real_folder_of(journal->files.items[i]);

		compose_leftovers_remove(of_file);
	}
}

static void add_list(struct text *text, const char *before, const struct strings *list)
{
	const char *separator = before;

	for (size_t i = 0; i < list->n; i++) {
		if (!list->items[i][0])
			continue;
		text_printf(text, "%s%s", separator, list->items[i]);
		separator = ", ";
	}
}

/* As a shell takes it. */
static void add_word(struct text *text, const char *word)
{
	bool plain = *word != '\0';

	for (const char *p = word; *p; p++)
		plain = plain && (((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') ||
				  (*p >= '0' && *p <= '9') || strchr("_.,:/=+@%-", *p));
	text_add(text, plain ? " " : " '");
	for (; *word; word++)
		text_add(text, *word == '\'' ? "'\\''" : (char[]){*word, '\0'});
	text_add(text, plain ? "" : "'");
}

void apply_journal_command(const struct strings *options, bool up, struct text *text)
{
	text_add(text, "plimsoll apply");
	for (size_t i = 0; i < options->n; i++)
		add_word(text, options->items[i]);
	text_add(text, up ? " --up" : "");
}

void apply_journal_describe(const struct apply_journal *journal, struct text *text)
{
	text_add(text, "an apply");
	if (journal->started_at_ms > 0)
		text_printf(text, " begun %s", WHEN_TEXT(journal->started_at_ms));
	text_add(text, " did not come to its end");
	add_list(text, "; what it was writing: ", &journal->files);
	add_list(text, "; what was there before is in ", &journal->backups);
	add_list(text, "; it may not have made anew: ", &journal->services);
	text_add(text, ". `");
	apply_journal_command(&journal->options, journal->services.n > 0, text);
	text_printf(text, "` finishes it; to forget it, remove %s", journal->path);
}

void apply_journal_finish(struct apply_journal *journal)
{
	free(journal->path);
	free(journal->found_text);
	strings_finish(&journal->services);
	strings_finish(&journal->options);
	strings_finish(&journal->own_options);
	strings_finish(&journal->files);
	strings_finish(&journal->backups);
	*journal = (struct apply_journal){};
}
