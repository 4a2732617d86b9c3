/*
 * What the kernel's log of this boot says about the GPUs. The driver repeats itself, so lines are
 * gathered first: one entry for each GPU and each kind of line, and an entry says how often, by
 * whom, and whether the GPU was brought back since (Xid 154 with "None").
 *
 * A log is of the past, and healthy is never accused: what programs did to themselves is told and
 * is well; what asks for somebody is a fail, unless NVML finds the GPU well now and the driver asks
 * for no recovery; then it is a warning. An API mismatch is left to driver-library-mismatch.
 */
#include "doctor/checks.h"

#include <string.h>
#include <strings.h>

#define GPU_TEXT_MAX     200
#define RECOVERY_NONE    0
#define RECOVERY_REBOOT  2
#define RECOVERY_DRAIN   3 /* P2P */
#define PROCESS_TEXT_MAX 120

struct seen {
	const struct kernel_line *line; /* the last of them */
	unsigned n;
	bool is_over; /* the GPU was brought back after it */
};

struct log_view {
	const struct machine *machine;
	struct doctor_result *result;
	struct seen *seen;
	size_t n;
};

/* --- gathering --- */

static bool same_kind(const struct kernel_line *a, const struct kernel_line *b)
{
	return a->event == b->event && a->xid == b->xid && strcmp(a->pci, b->pci) == 0;
}

static struct seen *find_seen(struct log_view *view, const struct kernel_line *line)
{
	for (size_t i = 0; i < view->n; i++)
		if (same_kind(view->seen[i].line, line))
			return &view->seen[i];
	view->seen[view->n] = (struct seen){.line = line};
	return &view->seen[view->n++];
}

static void gather(struct log_view *view)
{
	const struct kernel_lines *log = &view->machine->log;

	view->seen = mem_calloc(log->n + 1, sizeof *view->seen);
	for (size_t i = 0; i < log->n; i++) {
		const struct kernel_line *line = &log->items[i];
		unsigned recovery;
		struct seen *seen;

		if (line->event == KERNEL_MISMATCH)
			continue;
		seen = find_seen(view, line);
		seen->n = seen->is_over ? 1 : seen->n + 1;
		seen->is_over = false;
		seen->line = line;
		if (!kernel_line_recovery(line, &recovery) || recovery != RECOVERY_NONE)
			continue;
		for (size_t j = 0; j < view->n; j++)
			if (strcmp(view->seen[j].line->pci, line->pci) == 0)
				view->seen[j].is_over = true;
	}
}

/* --- the GPU of a line --- */

/* NVML's "00000000:4E:00.0" is the log's "0000:4e:00". */
static bool is_at(const struct gpu *gpu, const char *pci)
{
	const char *id = gpu->pci_bus_id;
	size_t len = strlen(pci);

	id += strlen(id) > 12 && text_starts_with(id, "0000") ? 4 : 0;
	return len > 0 && strncasecmp(id, pci, len) == 0 && (id[len] == '.' || id[len] == '\0');
}

/* Its index in the list; the number of GPUs when NVML does not list it. */
static size_t gpu_of(const struct machine *machine, const struct kernel_line *line)
{
	size_t i = 0;

	while (i < machine->gpus->n && !is_at(&machine->gpus->gpus[i], line->pci))
		i++;
	return i;
}

/* "GPU 0 (RTX A5500)", "the GPU at 0000:4e:00", "a GPU". */
static const char *name_of(const struct machine *machine, const struct kernel_line *line,
			   char buf[GPU_TEXT_MAX])
{
	size_t i = gpu_of(machine, line);
	const struct gpu *gpu = i < machine->gpus->n ? &machine->gpus->gpus[i] : NULL;

	if (gpu && gpu->name[0])
		(void)snprintf(buf, GPU_TEXT_MAX, "GPU %u (%.100s)",
			       gpu->parent_uuid[0] ? gpu->index / 1000 - 1 : gpu->index,
			       gpu_short_name(gpu->name));
	else if (*line->pci)
		(void)snprintf(buf, GPU_TEXT_MAX, "the GPU at %s", line->pci);
	else
		(void)snprintf(buf, GPU_TEXT_MAX, "a GPU");
	return buf;
}

/* Does NVML find it well, and the driver ask for nothing? */
static bool is_well_now(const struct machine *machine, const struct kernel_line *line)
{
	size_t i = gpu_of(machine, line);

	return i < machine->gpus->n && machine->gpus->gpus[i].health == GPU_HEALTH_OK &&
	       machine->details && (machine->details[i].valid & GPU_D_RECOVERY) &&
	       machine->details[i].recovery == RECOVERY_NONE;
}

/* --- saying it --- */

static enum doctor_status status_of(const struct log_view *view, const struct seen *seen,
				    const struct xid_meaning *meaning)
{
	unsigned recovery;

	if (!meaning)
		return seen->is_over ? DOCTOR_OK : DOCTOR_UNKNOWN;
	if (seen->is_over || strstr(seen->line->text, "caused by previous Xid"))
		return DOCTOR_OK;
	if (kernel_line_recovery(seen->line, &recovery) && recovery == RECOVERY_NONE)
		return DOCTOR_OK;
	if (meaning->page)
		return is_well_now(view->machine, seen->line) ? DOCTOR_WARN : DOCTOR_FAIL;
	return meaning->class == XID_HARDWARE || meaning->class == XID_DRIVER ? DOCTOR_WARN
									      : DOCTOR_OK;
}

/* "Xid 79", "init-failed". */
static const char *event_text(const struct kernel_line *line, char buf[32])
{
	if (line->event == KERNEL_XID)
		(void)snprintf(buf, 32, "Xid %u", line->xid);
	else
		(void)snprintf(buf, 32, "%s", kernel_event_name(line->event));
	return buf;
}

/* ", 3 times, the last by python (7194)"; "" for once by nobody. */
static const char *count_text(const struct seen *seen, char buf[PROCESS_TEXT_MAX])
{
	const struct kernel_line *line = seen->line;
	char times[24] = "", who[96] = "";

	if (seen->n > 1)
		(void)snprintf(times, sizeof times, ", %u times", seen->n);
	if (*line->process && line->pid)
		(void)snprintf(who, sizeof who, ", %sby %s (%d)", seen->n > 1 ? "the last " : "",
			       line->process, (int)line->pid);
	else if (line->pid)
		(void)snprintf(who, sizeof who, ", %sby process %d", seen->n > 1 ? "the last " : "",
			       (int)line->pid);
	(void)snprintf(buf, PROCESS_TEXT_MAX, "%s%s", times, who);
	return buf;
}

static enum xid_way way_of(const struct kernel_line *line, const struct xid_meaning *meaning)
{
	unsigned recovery;

	if (!kernel_line_recovery(line, &recovery))
		return meaning->way;
	return recovery == RECOVERY_REBOOT  ? XID_WAY_REBOOT
	       : recovery == RECOVERY_DRAIN ? XID_WAY_NONE
					    : XID_WAY_RESET;
}

static void advise(const struct log_view *view, const struct seen *seen,
		   const struct xid_meaning *meaning, enum doctor_status status)
{
	const struct gpu_list *list = view->machine->gpus;
	size_t i = gpu_of(view->machine, seen->line);
	char event[32];

	doctor_fix(view->result, "# %s: %s", event_text(seen->line, event), meaning->action);
	if (status < DOCTOR_FAIL)
		return;
	switch (way_of(seen->line, meaning)) {
	case XID_WAY_RESET:
		if (i < list->n && list->gpus[i].uuid[0] && !list->gpus[i].parent_uuid[0])
			doctor_fix(view->result,
				   "sudo nvidia-smi --gpu-reset -i %s   # once nothing uses it",
				   list->gpus[i].uuid);
		else
			doctor_fix(view->result, "sudo reboot");
		break;
	case XID_WAY_REBOOT:
		doctor_fix(view->result, "sudo reboot");
		break;
	case XID_WAY_POWER_CYCLE:
		doctor_fix(view->result,
			   "sudo poweroff   # and on again: a warm reboot often does not do");
		break;
	case XID_WAY_NONE:
		break;
	}
}

static void say_seen(const struct log_view *view, const struct seen *seen)
{
	const struct xid_meaning *meaning = xid_table_of_line(view->machine->xids, seen->line);
	enum doctor_status status = status_of(view, seen, meaning);
	char name[GPU_TEXT_MAX], event[32], count[PROCESS_TEXT_MAX];

	(void)name_of(view->machine, seen->line, name);
	(void)event_text(seen->line, event);
	(void)count_text(seen, count);
	if (!meaning) {
		doctor_say(view->result, status, "%s: %s%s: no meaning is known of it: %s", name,
			   event, count, seen->line->text);
		return;
	}
	doctor_say(view->result, status, "%s: %s%s: %s (%s)%s%s", name, event, count,
		   meaning->meaning, xid_class_name(meaning->class),
		   seen->is_over         ? "; the GPU was brought back since"
		   : status == DOCTOR_OK ? "; advice: "
					 : "",
		   !seen->is_over && status == DOCTOR_OK ? meaning->action : "");
	if (status < DOCTOR_WARN)
		return;
	doctor_because(view->result, "%s: %s", event, meaning->meaning);
	if (status == DOCTOR_WARN && meaning->page)
		doctor_because(view->result, "%s works again: NVML finds it well; watch it", name);
	advise(view, seen, meaning, status);
}

/* The driver tells one fault in several ways: is this what another line about the GPU says better?
 */
static bool is_told_better(const struct log_view *view, const struct kernel_line *line)
{
	for (size_t i = 0; i < view->n; i++) {
		const struct kernel_line *other = view->seen[i].line;

		if (strcmp(other->pci, line->pci) != 0)
			continue;
		if ((line->event == KERNEL_OFF_THE_BUS && other->xid == 79) ||
		    (line->event == KERNEL_INIT_FAILED && other->event == KERNEL_NO_FIRMWARE))
			return true;
	}
	return false;
}

static void look_xid(const struct doctor *doctor, struct doctor_result *result)
{
	const struct machine *machine = doctor->machine;
	struct log_view view = {.machine = machine, .result = result};

	if (!machine->log_known) {
		if (machine->n_pci > 0 || machine->gpus->n > 0)
			doctor_say(result, DOCTOR_UNKNOWN,
				   "the kernel's log cannot be read (sudo plimsoll doctor, or the "
				   "group adm or systemd-journal)");
		return;
	}
	gather(&view);
	for (size_t i = 0; i < view.n; i++)
		if (!is_told_better(&view, view.seen[i].line))
			say_seen(&view, &view.seen[i]);
	free(view.seen);
	if (result->status >= DOCTOR_WARN)
		doctor_fix(result, "sudo dmesg | grep -i -e nvrm -e xid | tail -20");
	if (view.n == 0 && (machine->n_pci > 0 || machine->gpus->n > 0))
		doctor_say(result, DOCTOR_OK, "no Xid in the kernel's log of this boot");
}

static const struct doctor_check check_xid = {
    .id = "recent-xid",
    .group = "gpus",
    .title = "Xids and failed starts in the kernel's log of this boot",
    .text = "A GPU fell off the bus, did not start, or had an error of its own; what programs did "
	    "wrong is told, and is well",
    .look = look_xid,
};

const struct doctor_check *const checks_log[] = {&check_xid, NULL};
