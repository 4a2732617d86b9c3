/* See journal.h. */
#include "run/journal.h"

#include "run/log.h"
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_VERSION  1
#define JOURNAL_READ_MAX ((size_t)1 << 30)
#define COMPACT_ABOVE    ((size_t)1 << 20)
#define COMPACT_FACTOR   8
#define WARNINGS_MAX     20

/* Where and when processes are the ones a line names: in the same boot, and for the same folder. A
 * copy of the folder (a backup, a queue that was moved by copying) is another queue: what runs is
 * the original's. */
struct place {
	char boot[64];
	char folder[48]; /* device and inode; "": written by a version without, or not known */
};

struct journal {
	char *path;
	int fd;
	size_t size;         /* of what is good in the file */
	size_t size_compact; /* after it was written anew */
	struct text noted;   /* not written yet */
	/* Behind what is good there may be more that could not be cut off, or the file is not the
	 * one that is open: it is written anew before anything is added. */
	bool dirty;
	const struct idtable *attempts;
	bool opened, skipped;
	bool gates_known;   /* false: a version without wrote it */
	uint64_t last_gate; /* the largest in the file, or that was */
	uint64_t left;      /* starts of the last gate read that should have followed */
	struct place here;  /* of the machine as it runs now */
	struct place read;  /* in which the lines being read were written */
};

static void line_add(struct text *text, json_t *record)
{
	auto_free char *line = jsonx_dump(record);

	json_decref(record);
	text_add(text, line);
	text_add(text, "\n");
}

static json_t *start_record(const struct attempt *attempt)
{
	json_t *record = json_pack(
	    "{s:s, s:s, s:i, s:o, s:I, s:o, s:o}", "record", "start", "attempt", attempt->id, "pid",
	    (int)attempt->pid, "start_time", jsonx_u64(attempt->start_time), "started_at",
	    (json_int_t)attempt->started_at, "gate", jsonx_u64(attempt->gate), "log_cap_bytes",
	    jsonx_u64(attempt->log_cap_bytes));

	if (attempt->log_path)
		(void)json_object_set_new(record, "log", protocol_bytes_encode(attempt->log_path));
	if (attempt->cgroup)
		(void)json_object_set_new(record, "cgroup", protocol_bytes_encode(attempt->cgroup));
	if (attempt->log_owner != LOG_ANY_OWNER)
		(void)json_object_set_new(record, "log_owner",
					  json_integer((json_int_t)attempt->log_owner));
	return record;
}

static json_t *end_record(const struct attempt *attempt)
{
	json_t *record = attempt_event(attempt);

	(void)json_object_del(record, "event");
	(void)json_object_set_new(record, "record",
				  json_string(attempt->state == ATTEMPT_FAILED ? "fail" : "end"));
	return record;
}

/* --- reading --- */

static struct attempt *find(const struct idtable *attempts, const char *id)
{
	struct idtable_node *node = idtable_find(attempts, id);

	return node ? IDTABLE_OF(node, struct attempt, by_id) : NULL;
}

static struct attempt *find_or_add(struct idtable *attempts, const char *id)
{
	struct attempt *attempt = find(attempts, id);

	if (!attempt) {
		attempt = attempt_create(id);
		idtable_add(attempts, &attempt->by_id);
	}
	return attempt;
}

static void read_start(struct idtable *attempts, const char *id, const json_t *record)
{
	struct attempt *attempt = find_or_add(attempts, id);

	attempt->state = ATTEMPT_RUNNING;
	attempt->adopted = true;
	attempt->pid = (pid_t)jsonx_get_i64(record, "pid", 0);
	attempt->start_time = jsonx_get_u64(record, "start_time", 0);
	attempt->started_at = jsonx_get_i64(record, "started_at", 0);
	attempt->gate = jsonx_get_u64(record, "gate", 0);
	attempt->log_cap_bytes = jsonx_get_u64(record, "log_cap_bytes", 0);
	free(attempt->cgroup);
	attempt->cgroup = protocol_bytes_decode(json_object_get(record, "cgroup"));
	attempt->log_owner = (uid_t)jsonx_get_u64(record, "log_owner", LOG_ANY_OWNER);
	free(attempt->log_path);
	attempt->log_path = protocol_bytes_decode(json_object_get(record, "log"));
}

static void read_end(struct idtable *attempts, const char *id, const json_t *record)
{
	struct attempt *attempt = find_or_add(attempts, id);

	attempt->state = ATTEMPT_ENDED;
	attempt->lost = false;
	if (jsonx_has(record, "exit_code"))
		attempt->wait_status = (int)(jsonx_get_u64(record, "exit_code", 0) & 0xff) << 8;
	else if (jsonx_has(record, "signal"))
		attempt->wait_status = (int)(jsonx_get_u64(record, "signal", 0) & 0x7f);
	else
		attempt->lost = true;
	attempt->started_at = jsonx_get_i64(record, "started_at", 0);
	attempt->ended_at = jsonx_get_i64(record, "ended_at", 0);
	attempt->has_peak_ram = jsonx_has(record, "peak_ram_bytes");
	attempt->peak_ram_bytes = jsonx_get_u64(record, "peak_ram_bytes", 0);
	attempt->has_cgroup_peak = jsonx_has(record, "cgroup_peak_bytes");
	attempt->cgroup_peak_bytes = jsonx_get_u64(record, "cgroup_peak_bytes", 0);
	attempt->has_cpu = jsonx_has(record, "cpu_seconds");
	attempt->cpu_seconds = jsonx_get_real(record, "cpu_seconds", 0);
	attempt->stragglers = (unsigned)jsonx_get_u64(record, "stragglers", 0);
	attempt->has_oom_base = jsonx_has(record, "oom_kills");
	attempt->oom_kills = jsonx_get_u64(record, "oom_kills", 0);
}

static void read_fail(struct idtable *attempts, const char *id, const json_t *record)
{
	struct attempt *attempt = find_or_add(attempts, id);

	attempt->state = ATTEMPT_FAILED;
	attempt->fail_errno = (int)jsonx_get_i64(record, "errno", EIO);
	free(attempt->fail_text);
	attempt->fail_text = mem_strdup(jsonx_get_string(record, "text", "could not be started"));
	attempt->fail_transient = jsonx_get_bool(record, "transient", false);
	attempt->fail_as_task = jsonx_get_bool(record, "as_task", false);
	attempt->never_ran = jsonx_get_bool(record, "never_ran", false);
	attempt->ended_at = jsonx_get_i64(record, "ended_at", 0);
}

static void read_ack(struct idtable *attempts, const char *id, const json_t *record)
{
	struct attempt *attempt = find(attempts, id);

	(void)record;
	if (!attempt)
		return;
	idtable_remove(attempts, &attempt->by_id);
	attempt_destroy(attempt);
}

static const struct {
	const char *name;
	void (*read)(struct idtable *attempts, const char *id, const json_t *record);
} readers[] = {
    {"start", read_start},
    {"end", read_end},
    {"fail", read_fail},
    {"ack", read_ack},
};

static bool place_is(const struct place *place, const struct place *other)
{
	return strcmp(place->boot, other->boot) == 0 && (!place->folder[0] || !other->folder[0] ||
							 strcmp(place->folder, other->folder) == 0);
}

/* Lines of another place follow, or the machine as it is now: nothing of the place before is ours
 * any more, to wait for or to signal. What was running then is over for us, how is unknown. */
static void read_place(struct journal *journal, struct idtable *attempts, const struct place *place)
{
	auto_free struct idtable_node **list = NULL;
	bool same = place_is(&journal->read, place);

	journal->read = *place;
	if (same)
		return;
	list = idtable_list(attempts);
	for (struct idtable_node **node = list; *node; node++) {
		struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_id);

		if (attempt_is_over(attempt))
			continue;
		attempt->state = ATTEMPT_ENDED;
		attempt->lost = true;
	}
}

static void read_open(struct journal *journal, struct idtable *attempts, const json_t *record)
{
	struct place place = {};

	journal->opened = true;
	journal->gates_known = jsonx_has(record, "gate");
	journal->last_gate = MAX_OF(journal->last_gate, jsonx_get_u64(record, "gate", 0));
	(void)snprintf(place.boot, sizeof place.boot, "%s", jsonx_get_string(record, "boot", ""));
	(void)snprintf(place.folder, sizeof place.folder, "%s",
		       jsonx_get_string(record, "folder", ""));
	read_place(journal, attempts, &place);
}

static int read_line(struct journal *journal, struct idtable *attempts, const char *line,
		     size_t len, struct error *err)
{
	auto_json json_t *record = NULL;
	const char *name, *id;
	int r = jsonx_parse(line, len, journal->path, &record, err);

	if (r < 0)
		return r;
	name = jsonx_get_string(record, "record", "");
	id = jsonx_get_string(record, "attempt", "");
	if (strcmp(name, "open") == 0) {
		read_open(journal, attempts, record);
		return 0;
	}
	journal->last_gate = MAX_OF(journal->last_gate, jsonx_get_u64(record, "gate", 0));
	if (strcmp(name, "start") == 0)
		journal->left = jsonx_get_u64(record, "left", 0);
	if (strcmp(name, "gate") == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		if (strcmp(readers[i].name, name) == 0 && id[0]) {
			readers[i].read(attempts, id, record);
			return 0;
		}
	}
	return error_set(err, -EINVAL, "unknown record \"%.40s\"", name);
}

static int journal_read(struct journal *journal, struct idtable *attempts,
			struct strings *ret_warnings, struct error *err)
{
	auto_text struct text text = {};
	struct error why;
	unsigned number = 0;
	int r;

	if (access(journal->path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = file_read(journal->path, JOURNAL_READ_MAX, false, &text, err);
	if (r < 0)
		return r;
	for (char *line = text.data, *end; line < text.data + text.len; line = end + 1) {
		/* A last line without its end was being written when the machine or we died. */
		end = memchr(line, '\n', (size_t)(text.data + text.len - line));
		if (!end)
			break;
		number++;
		if (read_line(journal, attempts, line, (size_t)(end - line), &why) == 0)
			continue;
		journal->skipped = true;
		if (ret_warnings->n < WARNINGS_MAX)
			strings_take(ret_warnings, mem_printf("%s:%u: skipped: %s", journal->path,
							      number, why.text));
	}
	read_place(journal, attempts, &journal->here);
	return 0;
}

/* --- writing --- */

/* Back to what is good in it, or remembered: the next line would be joined to a torn one, and both
 * be lost. */
static void cut_off(struct journal *journal, size_t size)
{
	journal->size = size;
	if (ftruncate(journal->fd, (off_t)size) < 0)
		journal->dirty = true;
}

/* All of `text` or, as far as the file goes, nothing. Not while it is dirty. */
static int append(struct journal *journal, const struct text *text, struct error *err)
{
	int r = fd_write_all(journal->fd, text->data, text->len);

	if (r < 0) {
		cut_off(journal, journal->size);
		return error_sys(err, r, "cannot write the journal %s", journal->path);
	}
	journal->size += text->len;
	return 0;
}

static int write_anew(struct journal *journal, const struct idtable *attempts, struct error *err)
{
	auto_free struct idtable_node **list = idtable_list(attempts);
	auto_text struct text text = {};
	int fd, r;

	line_add(&text, json_pack("{s:s, s:i, s:s, s:s, s:o}", "record", "open", "version",
				  JOURNAL_VERSION, "boot", journal->here.boot, "folder",
				  journal->here.folder, "gate", jsonx_u64(journal->last_gate)));
	for (struct idtable_node **node = list; *node; node++) {
		const struct attempt *attempt = IDTABLE_OF(*node, struct attempt, by_id);

		/* One without a process is not started yet: its start will be appended. */
		if (attempt_is_over(attempt))
			line_add(&text, end_record(attempt));
		else if (attempt->pid > 0)
			line_add(&text, start_record(attempt));
	}
	r = file_replace(journal->path, text.data, text.len, 0600, err);
	if (r < 0)
		return r;
	journal->dirty = true; /* what is open still is another file */
	fd = open(journal->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, -errno, "cannot open %s", journal->path);
	(void)fd_close(journal->fd);
	journal->fd = fd;
	journal->dirty = false;
	journal->size = journal->size_compact = text.len;
	text_clear(&journal->noted);
	return 0;
}

static int clean(struct journal *journal, struct error *err)
{
	return journal->dirty ? write_anew(journal, journal->attempts, err) : 0;
}

static void place_find(const char *path, struct place *place)
{
	auto_free char *folder = mem_strdup(path);
	char *slash = strrchr(folder, '/');
	struct stat st;

	if (slash)
		*slash = '\0';
	if (file_read_small("/proc/sys/kernel/random/boot_id", place->boot, sizeof place->boot) < 0)
		place->boot[0] = '\0';
	if (stat(!slash ? "." : *folder ? folder : "/", &st) == 0)
		(void)snprintf(place->folder, sizeof place->folder, "%llu:%llu",
			       (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
}

int journal_open(const char *path, struct idtable *attempts, struct journal **ret_journal,
		 struct strings *ret_warnings, struct error *err)
{
	struct journal *journal = mem_calloc(1, sizeof *journal);
	int r;

	journal->path = mem_strdup(path);
	journal->attempts = attempts;
	journal->fd = -1;
	place_find(path, &journal->here);
	r = journal_read(journal, attempts, ret_warnings, err);
	if (r == 0)
		r = write_anew(journal, attempts, err);
	if (r < 0) {
		journal_close(journal);
		return r;
	}
	*ret_journal = journal;
	return 0;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	(void)fd_close(journal->fd);
	text_finish(&journal->noted);
	free(journal->path);
	free(journal);
}

bool journal_is_incomplete(const struct journal *journal, uint64_t opened)
{
	return opened > 0 && (!journal->opened || journal->skipped ||
			      (journal->gates_known && opened > journal->last_gate) ||
			      (journal->left > 0 && journal->last_gate <= opened));
}

uint64_t journal_last_gate(const struct journal *journal)
{
	return journal->last_gate;
}

void journal_note_end(struct journal *journal, const struct attempt *attempt)
{
	line_add(&journal->noted, end_record(attempt));
}

void journal_note_ack(struct journal *journal, const struct attempt *attempt)
{
	line_add(&journal->noted, json_pack("{s:s, s:s}", "record", "ack", "attempt", attempt->id));
}

int journal_commit(struct journal *journal, struct error *err)
{
	int r = journal->noted.len > 0 ? clean(journal, err) : 0;

	/* Written anew, it holds what was noted. */
	if (r < 0 || journal->noted.len == 0)
		return r;
	r = append(journal, &journal->noted, err);
	if (r == 0)
		text_clear(&journal->noted);
	return r;
}

int journal_commit_starts(struct journal *journal, struct attempt *const *attempts, size_t n,
			  struct error *err)
{
	auto_text struct text text = {};
	size_t size;
	int r = journal_commit(journal, err);

	if (r == 0)
		r = clean(journal, err);
	if (r < 0)
		return r;
	size = journal->size;
	for (size_t i = 0; i < n; i++) {
		json_t *record = start_record(attempts[i]);

		(void)json_object_set_new(record, "left", jsonx_u64(n - 1 - i));
		line_add(&text, record);
		journal->last_gate = MAX_OF(journal->last_gate, attempts[i]->gate);
	}
	r = text.len > 0 ? append(journal, &text, err) : 0;
	if (r == 0 && fdatasync(journal->fd) < 0) {
		r = error_sys(err, -errno, "cannot make the journal %s durable", journal->path);
		cut_off(journal, size);
	}
	return r;
}

int journal_compact(struct journal *journal, const struct idtable *attempts, struct error *err)
{
	if (journal->size < COMPACT_ABOVE || journal->size < COMPACT_FACTOR * journal->size_compact)
		return 0;
	return write_anew(journal, attempts, err);
}
