/*
 * Written as the programs that read it want it: of MPS a size in MiB is "4606M" ("4606MB" is
 * silently nothing), GPUs are counted as the task sees them; so they are by HAMi-core, whose
 * counters lie in a file that all its processes on a machine share unless each task is given one of
 * its own.
 *
 * Sources: docs.nvidia.com/deploy/mps, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT; README of HAMi-core.
 */
#include "daemon/guards.h"

#include "run/bound.h"
#include "util/file.h"
#include "util/size.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MPS_PIPES   "/tmp/nvidia-mps"
#define MPS_PID     "nvidia-cuda-mps-control.pid"
#define MPS_COMM    "nvidia-cuda-mps" /* its first 15 characters, which is all /proc tells */
#define MPS_LIMIT   "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
#define HAMI_LIMIT  "CUDA_DEVICE_MEMORY_LIMIT"
#define HAMI_FILE   "/tmp/plimsoll-hami.%llu.%u"
#define MPS_WORDS   "MPS pinned-memory limit"
#define HAMI_WORDS  "HAMi-core"
#define HAMI_SHARED "CUDA_DEVICE_MEMORY_SHARED_CACHE"

static size_t find(const struct strings *env, const char *name)
{
	size_t len = strlen(name), i = 0;

	while (i < env->n && (strncmp(env->items[i], name, len) != 0 || env->items[i][len] != '='))
		i++;
	return i;
}

static const char *value_of(const struct strings *env, const char *name)
{
	size_t i = find(env, name);

	return i < env->n ? strchr(env->items[i], '=') + 1 : NULL;
}

/* Its control daemon, alive, and the task's user's or root's: another user's serves nobody else. */
static bool mps_serves(const struct guards *guards, const struct strings *env)
{
	const char *pipes = value_of(env, "CUDA_MPS_PIPE_DIRECTORY");
	auto_free char *pid_file =
	    mem_printf("%s%s/" MPS_PID, guards->root, pipes && *pipes ? pipes : MPS_PIPES);
	auto_free char *proc = NULL, *comm_file = NULL;
	char text[32], comm[32];
	unsigned pid = 0;
	struct stat st;

	if (file_read_small(pid_file, text, sizeof text) < 0 || sscanf(text, "%u", &pid) != 1)
		return false;
	proc = mem_printf("%s/proc/%u", guards->root, pid);
	comm_file = mem_printf("%s/comm", proc);
	return file_read_small(comm_file, comm, sizeof comm) >= 0 &&
	       text_starts_with(comm, MPS_COMM) && stat(proc, &st) == 0 &&
	       (st.st_uid == guards->uid || st.st_uid == 0);
}

static void add_words(struct text *words, const char *more)
{
	text_printf(words, "%s%s", words->len > 0 ? "; " : "", more);
}

static void mps_add(const struct guards *guards, const struct expand_grant *grant,
		    struct strings *env, struct text *words)
{
	if (grant->n_gpus != 1 || value_of(env, MPS_LIMIT) || !mps_serves(guards, env))
		return;
	strings_take(
	    env, mem_printf(MPS_LIMIT "=0=%lluM", (unsigned long long)(grant->vram_bytes / MIB)));
	add_words(words, MPS_WORDS " (for each process)");
}

static void preload(struct strings *env, const char *library)
{
	size_t i = find(env, "LD_PRELOAD");
	char *entry;

	if (i == env->n) {
		strings_take(env, mem_printf("LD_PRELOAD=%s", library));
		return;
	}
	entry = mem_printf("LD_PRELOAD=%s:%s", library, strchr(env->items[i], '=') + 1);
	free(env->items[i]);
	env->items[i] = entry;
}

static void hami_add(const struct guards *guards, const struct expand_grant *grant,
		     struct strings *env, struct text *words)
{
	auto_free char *library =
	    guards->hami ? mem_printf("%s%s", guards->root, guards->hami) : NULL;

	if (!library || value_of(env, HAMI_LIMIT) || access(library, R_OK) < 0)
		return;
	for (size_t i = 0; i < grant->n_gpus; i++)
		strings_take(env, mem_printf(HAMI_LIMIT "_%zu=%llum", i,
					     (unsigned long long)(grant->vram_bytes / MIB)));
	if (!value_of(env, HAMI_SHARED))
		strings_take(env, mem_printf(HAMI_SHARED "=" HAMI_FILE,
					     (unsigned long long)grant->task, grant->attempt));
	preload(env, guards->hami);
	add_words(words, HAMI_WORDS);
}

void guards_add(const struct guards *guards, const struct expand_grant *grant, struct strings *env,
		struct text *words)
{
	if (grant->n_gpus == 0 || grant->vram_bytes == 0)
		return;
	mps_add(guards, grant, env, words);
	hami_add(guards, grant, env, words);
}

bool guards_refuse(const char *limits)
{
	static const char *const holders[] = {BOUND_DMEM_WORDS, HAMI_WORDS, MPS_WORDS};

	for (size_t i = 0; limits && i < ARRAY_LEN(holders); i++)
		if (strstr(limits, holders[i]))
			return true;
	return false;
}

void guards_sweep(uint64_t task, unsigned attempt)
{
	auto_free char *file = mem_printf(HAMI_FILE, (unsigned long long)task, attempt);

	(void)unlink(file);
}
