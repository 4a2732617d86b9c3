/* What the files of oom.h share. */
#pragma once

#include "run/oom.h"

enum oom_kind {
	OOM_KIND_HOST_SURE, /* RAM, whatever else is said: the kernel ended it */
	OOM_KIND_GPU,
	OOM_KIND_HOST,
	OOM_KIND_EITHER,       /* the GPU's memory, or RAM for a task that ran on the CPU */
	OOM_KIND_WEAK,         /* somebody's memory; whose, the lines around say */
	OOM_KIND_SUSPECT,      /* the GPU's when that was full */
	OOM_KIND_HOST_SUSPECT, /* RAM when the kernel's killer struck */
	OOM_KIND_PROBE,        /* tries and goes on; the GPU's where the log ends with it */
	OOM_KIND_IGNORE,
	OOM_KIND_ADVICE,    /* no weak text counts in its line */
	OOM_KIND_RECOVERED, /* the program got over what stands above */
	OOM_KIND_GPU_WORD,  /* these lines speak of a GPU */
	OOM_KIND_SIZE,      /* only says how much was asked for */
	OOM_KIND_TOTAL,     /* how much it wants in all, before it has anything */
	OOM_KIND_USED,      /* how much the process had */
	OOM_KIND_PART,      /* a part of that: they are added up */
	OOM_KIND_PART_FIRST,
	OOM_KIND_COUNT,
};

/* Kinds as sets of bits. */
#define OOM_BIT(kind)  (1u << (kind))
#define OOM_KINDS_PART (OOM_BIT(OOM_KIND_PART) | OOM_BIT(OOM_KIND_PART_FIRST))
#define OOM_KINDS_HAD  (OOM_KINDS_PART | OOM_BIT(OOM_KIND_USED))

struct oom_pattern {
	const char *id;
	/* Lower case; '*' stands for anything, OOM_SIZE_MARK and OOM_SHAPE_MARK too. */
	const char *text;
	uint16_t first_len; /* of its first part, at least OOM_FIRST_MIN */
	int16_t next;       /* in the chain of its first bytes */
	uint8_t kind;       /* enum oom_kind */
	bool has_size, own;
	bool at_end; /* its last blank is the end of a line */
};

#define OOM_SIZE_MARK  '\1'
#define OOM_SHAPE_MARK '\2'
#define OOM_PLUS_MARK  '\3' /* to be added to the number before, or taken off it */
#define OOM_MINUS_MARK '\4'
#define OOM_MARKS      "*\1\2\3\4"
#define OOM_FIRST_MIN  3
#define OOM_CHAINS     4096

struct oom_patterns {
	struct oom_pattern *items;
	size_t n;
	char *strings; /* of all of them, one behind the other */
	size_t strings_len;
	int16_t chains[OOM_CHAINS]; /* by the first three bytes; -1 = none */
};

unsigned oom_chain(const char *text);

/* Does the rest of the pattern's text follow, in `text` that starts behind its first part? */
bool oom_rest_follows(const char *rest, const char *text, size_t len);

/* The number a pattern with one finds in `text` of `len` bytes, lower case. False: none there. Only
 * of the kinds of OOM_KINDS_HAD it can be 0. */
bool oom_size_find(const struct oom_pattern *pattern, const char *text, size_t len,
		   uint64_t *ret_bytes);

/* What a line says in its own words (oom_words.c); lower case. */
struct oom_words {
	bool shortage; /* memory was short, or an allocation failed */
	bool denied;   /* it speaks of that, and not as of what happened to it, nor to its memory */
	bool host;     /* it speaks of RAM */
	bool killed;   /* a process was ended by SIGKILL */
};

void oom_words_read(const char *text, size_t len, struct oom_words *ret_words);
