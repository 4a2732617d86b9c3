/*
 * Does a line say in some words of its own that memory was short? For the many programs no pattern
 * knows: "GPU can't allocate the DAG in a single chunk", "Memory allocation failed for QQ in the
 * routine DUMP". A line is read sentence by sentence, and a sentence says so in one of two ways,
 * whatever the order of its words: that memory was short (not enough, exhausted, exceeded, out of),
 * or that an allocation failed (failed, could not, unable) of what has a size (memory, a buffer,
 * bytes). Not so one that only speaks of it ("to avoid", "if", "may"), nor one of what is called
 * memory, too, and is no RAM (shared memory of a block, pinned pages, a disk).
 */
#include "run/oom_priv.h"

#include <ctype.h>
#include <string.h>

#define NEAR_WORDS  5 /* between the two halves of what is said */
#define WORD_MIN    2
#define SENTENCE_NO ((size_t)-1)

enum {
	W_MEMORY = 1 << 0,
	W_SIZED = 1 << 1, /* what an allocation is of */
	W_ALLOC = 1 << 2,
	W_SHORT = 1 << 3,
	W_FAIL = 1 << 4,
	W_ERROR = 1 << 5, /* a failure only right beside the allocation */
	W_MAYBE = 1 << 6, /* what follows did not happen */
	W_OTHER = 1 << 7, /* another memory, or no failure */
	W_HOST = 1 << 8,  /* RAM */
	/* First and second words: "not enough", "can not", "out of", "too small", "larger than". */
	W_NOT = 1 << 9,
	W_ENOUGH = 1 << 10,
	W_CAN = 1 << 11,
	W_OUT = 1 << 12,
	W_OF = 1 << 13,
	W_TOO = 1 << 14,
	W_MEASURE = 1 << 15,
	W_MORE = 1 << 16,
	W_THAN = 1 << 17,
	W_SHARED = 1 << 18, /* "shared memory", but not "shared buffer" */
};

/* Sorted; a word that ends in '*' is the beginning of one. */
static const struct {
	char word[15];
	unsigned bits;
} words[] = {
    {"able", W_ENOUGH},
    {"array*", W_SIZED},
    {"available", W_ENOUGH},
    {"avoid*", W_MAYBE},
    {"big", W_MEASURE},
    {"bigger", W_MORE},
    {"block*", W_SIZED},
    {"buffer*", W_SIZED},
    {"byte*", W_SIZED},
    {"can", W_CAN},
    {"can't", W_FAIL},
    {"cannot", W_FAIL},
    {"cant", W_FAIL},
    {"chunk*", W_SIZED},
    {"constant", W_OTHER},
    {"corrupt*", W_OTHER},
    {"could", W_CAN},
    {"couldn't", W_FAIL},
    {"couldnt", W_FAIL},
    {"cpu", W_HOST},
    {"deprecated", W_OTHER},
    {"descriptor*", W_OTHER},
    {"disk", W_OTHER},
    {"enough", W_ENOUGH},
    {"error", W_ERROR},
    {"exceed*", W_SHORT},
    {"exhaust*", W_SHORT},
    {"fail*", W_FAIL},
    {"falling", W_OTHER},
    {"fragment*", W_OTHER},
    {"free", W_ENOUGH},
    {"freeing", W_OTHER},
    {"gb", W_SIZED},
    {"gib", W_SIZED},
    {"gpu", W_SIZED},
    {"handle*", W_OTHER},
    {"heap", W_MEMORY | W_SIZED | W_HOST},
    {"host", W_HOST},
    {"if", W_MAYBE},
    {"ignor*", W_OTHER},
    {"illegal", W_OTHER},
    {"inode*", W_OTHER},
    {"insufficient*", W_SHORT},
    {"large", W_MEASURE},
    {"larger", W_MORE},
    {"leak*", W_OTHER},
    {"little", W_MEASURE},
    {"local", W_OTHER},
    {"locked", W_OTHER},
    {"matri*", W_SIZED},
    {"may", W_MAYBE},
    {"mb", W_SIZED},
    {"mem", W_MEMORY | W_SIZED},
    {"memor*", W_MEMORY | W_SIZED},
    {"mib", W_SIZED},
    {"might", W_MAYBE},
    {"mlock*", W_OTHER},
    {"mmap*", W_ALLOC | W_HOST},
    {"more", W_ENOUGH},
    {"much", W_MEASURE},
    {"no", W_NOT},
    {"not", W_NOT},
    {"of", W_OF},
    {"out", W_OUT},
    {"pinned", W_OTHER},
    {"pool*", W_SIZED},
    {"port*", W_OTHER},
    {"prevent*", W_MAYBE},
    {"quota", W_OTHER},
    {"ram", W_MEMORY | W_SIZED | W_HOST},
    {"region*", W_SIZED},
    {"register*", W_OTHER},
    {"reserve", W_ALLOC},
    {"retrying", W_OTHER},
    {"shared", W_SHARED},
    {"shm", W_OTHER},
    {"should", W_MAYBE},
    {"skip*", W_OTHER},
    {"small", W_MEASURE},
    {"stack", W_OTHER},
    {"sufficient*", W_ENOUGH},
    {"surface*", W_SIZED},
    {"tensor*", W_SIZED},
    {"texture*", W_SIZED},
    {"than", W_THAN},
    {"thread*", W_OTHER},
    {"tls", W_OTHER},
    {"too", W_TOO},
    {"unable", W_FAIL},
    {"vector*", W_SIZED},
    {"vram", W_MEMORY | W_SIZED},
    {"warn*", W_MAYBE},
    {"whether", W_MAYBE},
    {"workspace", W_SIZED},
};

/* What the sentence said so far: at which word of it each thing was last said. */
struct sentence {
	size_t n; /* words */
	size_t memory, alloc, lack, fail, error;
	bool sized, maybe, other, said_short, said_failed;
	bool only_maybe; /* said behind a word that takes it back */
	unsigned before; /* of the last word */
};

static void sentence_start(struct sentence *sentence)
{
	*sentence = (struct sentence){.memory = SENTENCE_NO,
				      .alloc = SENTENCE_NO,
				      .lack = SENTENCE_NO,
				      .fail = SENTENCE_NO,
				      .error = SENTENCE_NO};
}

static bool sentence_says(const struct sentence *sentence)
{
	return !sentence->other &&
	       (sentence->said_short || (sentence->said_failed && sentence->sized));
}

static bool sentence_denies(const struct sentence *sentence)
{
	return sentence->only_maybe ||
	       (sentence->other && (sentence->said_short || sentence->said_failed));
}

/* -1, 0, 1: as strcmp(), of a word to one of the list. */
static int word_compare(const char *word, size_t len, const char *listed)
{
	size_t n = strlen(listed);
	bool begins = listed[n - 1] == '*';
	int r;

	n -= begins;
	r = strncmp(word, listed, MIN_OF(len, n));
	if (r != 0)
		return r;
	return len < n ? -1 : len > n && !begins;
}

static unsigned word_bits(const char *word, size_t len)
{
	size_t low = 0, high = ARRAY_LEN(words);

	/* cudaMalloc, re-allocate, VirtualAlloc: its name says it. */
	if (len >= 5 && memmem(word, len, "alloc", 5))
		return W_ALLOC |
		       (memmem(word, len, "malloc", 6) || memmem(word, len, "mem", 3) ? W_SIZED
										      : 0);
	while (low < high) {
		size_t middle = (low + high) / 2;
		int r = word_compare(word, len, words[middle].word);

		if (r == 0)
			return words[middle].bits;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return 0;
}

/* What two words say together. */
static unsigned pair_bits(unsigned before, unsigned bits)
{
	if ((before & W_NOT) && (bits & W_ENOUGH))
		return W_SHORT | W_FAIL; /* "not able", too */
	if (((before & W_OUT) && (bits & W_OF)) || ((before & W_TOO) && (bits & W_MEASURE)) ||
	    ((before & W_MORE) && (bits & W_THAN)))
		return W_SHORT;
	if ((before & W_CAN) && (bits & W_NOT))
		return W_FAIL;
	if ((before & W_SHARED) && (bits & W_MEMORY))
		return W_OTHER;
	return (before & W_CAN) ? W_MAYBE : 0;
}

static bool within(size_t a, size_t b, size_t words_between)
{
	if (a == SENTENCE_NO || b == SENTENCE_NO)
		return false;
	return (a > b ? a - b : b - a) <= words_between;
}

static void sentence_word(struct sentence *sentence, unsigned bits)
{
	bool said = sentence->said_short || sentence->said_failed, lacks, fails;

	bits |= pair_bits(sentence->before, bits);
	sentence->before = bits;
	if (bits & W_MEMORY)
		sentence->memory = sentence->n;
	if (bits & W_ALLOC)
		sentence->alloc = sentence->n;
	if (bits & W_SHORT)
		sentence->lack = sentence->n;
	if (bits & W_FAIL)
		sentence->fail = sentence->n;
	if (bits & W_ERROR)
		sentence->error = sentence->n;
	sentence->sized |= (bits & W_SIZED) != 0;
	sentence->other |= (bits & W_OTHER) != 0;
	sentence->maybe |= (bits & W_MAYBE) && !said;
	sentence->n++;
	lacks = within(sentence->memory, sentence->lack, NEAR_WORDS);
	fails = within(sentence->alloc, sentence->fail, NEAR_WORDS) ||
		within(sentence->alloc, sentence->error, 1);
	sentence->only_maybe |= sentence->maybe && (lacks || fails);
	sentence->said_short |= lacks && !sentence->maybe;
	sentence->said_failed |= fails && !sentence->maybe;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '\'' || (c & 0x80);
}

/* "alloc_cpu.cpp", "c10/core", "model.memory": a name of a file or of a part of a program. */
static bool in_name(const char *text, size_t len, size_t start, size_t end)
{
	bool before =
	    start > 0 && (text[start - 1] == '/' || text[start - 1] == '\\' ||
			  (text[start - 1] == '.' && start > 1 && is_word(text[start - 2])));
	bool after = end + 1 < len && (text[end] == '/' || text[end] == '\\' || text[end] == '.') &&
		     isalpha((unsigned char)text[end + 1]);

	return before || after;
}

/*
 * "died with Signals.SIGKILL", "(Exit code: -9)", "*** Signal 9", and a shell's "[1]  16261
 * killed": a process ended by the signal the kernel ends one with when RAM is short.
 */
static bool says_killed(const char *text, size_t len)
{
	static const char *const ends[] = {"died",   "killed", "terminated", "exited",
					   "failed", "ended",  "received"};
	static const char *const codes[] = {"code", "status", "returncode", "signal", "rc"};
	size_t start = 0, n = 0, ended = SENTENCE_NO, code = SENTENCE_NO, sigkill = SENTENCE_NO;
	bool pid = false;

	for (size_t i = 0; i <= len; i++) {
		const char *word = text + start;
		size_t word_len = i - start;
		bool number = true, minus = start > 0 && text[start - 1] == '-';

		if (i < len && is_word(text[i]))
			continue;
		start = i + 1;
		if (word_len == 0)
			continue;
		n++;
		for (size_t c = 0; c < word_len; c++)
			number = number && isdigit((unsigned char)word[c]);
		if (pid && word_len == 6 && memcmp(word, "killed", 6) == 0)
			return true;
		pid = number && word_len >= 3 && !minus && i < len && text[i] == ' ';
		for (size_t e = 0; e < ARRAY_LEN(ends); e++)
			if (word_len == strlen(ends[e]) && memcmp(word, ends[e], word_len) == 0)
				ended = n;
		for (size_t c = 0; c < ARRAY_LEN(codes); c++)
			if (word_len == strlen(codes[c]) && memcmp(word, codes[c], word_len) == 0)
				code = n;
		if (word_len == 7 && memcmp(word, "sigkill", 7) == 0)
			sigkill = n;
		if (within(sigkill, ended, NEAR_WORDS))
			return true;
		if (number && within(code, n, 1) &&
		    ((word_len == 3 && memcmp(word, "137", 3) == 0) ||
		     (word_len == 1 && *word == '9' &&
		      (minus || memmem(text, len, "signal 9", 8)))))
			return true;
	}
	return false;
}

void oom_words_read(const char *text, size_t len, struct oom_words *ret_words)
{
	struct sentence sentence;
	size_t start = 0;

	*ret_words = (struct oom_words){};
	if (memmem(text, len, "kill", 4) || memmem(text, len, "137", 3) ||
	    memmem(text, len, "-9", 2) || memmem(text, len, "signal 9", 8))
		ret_words->killed = says_killed(text, len);
	if (!memmem(text, len, "alloc", 5) && !memmem(text, len, "mem", 3) &&
	    !memmem(text, len, "ram", 3) && !memmem(text, len, "mmap", 4) &&
	    !memmem(text, len, "heap", 4))
		return;
	sentence_start(&sentence);
	for (size_t i = 0; i <= len; i++) {
		if (i < len && is_word(text[i]))
			continue;
		if (i - start >= WORD_MIN) {
			unsigned bits = word_bits(text + start, i - start);

			if (!in_name(text, len, start, i))
				sentence_word(&sentence, bits);
			ret_words->host |= (bits & W_HOST) != 0;
		}
		start = i + 1;
		if (i == len ||
		    ((text[i] == '.' || text[i] == '!' || text[i] == ';' || text[i] == '?') &&
		     (i + 1 == len || text[i + 1] == ' '))) {
			ret_words->shortage |= sentence_says(&sentence);
			ret_words->denied |= sentence_denies(&sentence);
			sentence_start(&sentence);
		}
	}
}
