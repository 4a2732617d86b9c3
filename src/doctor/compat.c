/*
 * See compat.h. Each table of the file is a list of rows with the same few members, so one reader
 * takes them all: a row has versions, numbers, and lists of these, and each table names which of
 * its keys go where. Tables are small: every question goes through one from the top.
 */
#include "doctor/compat.h"

#include "util/paths.h"
#include "util/timestamp.h"
#include "util/yamlx.h"

#include <errno.h>
#include <string.h>

#define YEAR_MS    ((int64_t)365 * 24 * 60 * 60 * 1000)
#define LIST_MAX   64
#define DATE_MAX   16
#define BRANCH_MAX 100000
#define WORD_MAX   24

/* Forward compatibility: the first toolkit with a package. */
static const struct version first_package = {.parts = {10, 0}, .digits = {2, 1}, .n = 2};

/* One row of any table. */
struct row {
	char name[WORD_MAX];      /* of an architecture, an OS, a state */
	struct version from, to;  /* n == 0: open */
	struct version driver;    /* of a toolkit */
	unsigned branch;          /* of drivers; 0: none */
	bool ptx;                 /* torch: for what is newer than its code */
	struct version *versions; /* toolkits, capabilities, code */
	size_t n_versions;
	unsigned *branches;
	size_t n_branches;
	struct strings words; /* brands */
	struct version *code;
	size_t n_code;
	unsigned first_id, last_id; /* PCI device ids */
};

struct table {
	struct row *rows;
	size_t n;
};

enum table_id {
	MINOR,
	TOOLKITS,
	BRANCHES,
	ARCHITECTURES,
	TORCH,
	CHIPS,
	REQUIRE,
	IMAGES,
	SYSTEMS,
	TABLES
};

struct compat {
	char date[DATE_MAX];
	int64_t date_ms;
	struct table tables[TABLES];
};

enum value_kind {
	VALUE_WORD,
	VALUE_VERSION,
	VALUE_VERSIONS,
	VALUE_BRANCH,
	VALUE_BRANCHES,
	VALUE_WORDS,
	VALUE_BOOL,
	VALUE_HEX,
};

struct key {
	const char *name;
	enum value_kind kind;
	size_t offset, offset_n; /* in struct row */
	bool needed;
};

#define AT(member) offsetof(struct row, member)
static const struct {
	const char *name;
	struct key keys[6];
} shapes[TABLES] = {
    [MINOR] = {"minor-compatibility",
	       {{"cuda", VALUE_VERSION, AT(from), 0, true},
		{"driver", VALUE_VERSION, AT(driver), 0, true}}},
    [TOOLKITS] = {"toolkits",
		  {{"cuda", VALUE_VERSION, AT(from), 0, true},
		   {"driver", VALUE_VERSION, AT(driver), 0, true}}},
    [BRANCHES] = {"branches",
		  {{"branch", VALUE_BRANCH, AT(branch), 0, true},
		   {"cuda", VALUE_VERSION, AT(to), 0, true}}},
    [ARCHITECTURES] = {"architectures",
		       {{"name", VALUE_WORD, AT(name), 0, true},
			{"capability", VALUE_VERSIONS, AT(versions), AT(n_versions), true},
			{"first", VALUE_VERSION, AT(from), 0, true},
			{"last", VALUE_VERSION, AT(to), 0, false},
			{"last-branch", VALUE_BRANCH, AT(branch), 0, false}}},
    [TORCH] = {"torch",
	       {{"from", VALUE_VERSION, AT(from), 0, true},
		{"to", VALUE_VERSION, AT(to), 0, true},
		{"cuda", VALUE_VERSIONS, AT(versions), AT(n_versions), true},
		{"code", VALUE_VERSIONS, AT(code), AT(n_code), true},
		{"ptx", VALUE_BOOL, AT(ptx), 0, false}}},
    [CHIPS] = {"chips",
	       {{"first-id", VALUE_HEX, AT(first_id), 0, true},
		{"last-id", VALUE_HEX, AT(last_id), 0, true},
		{"capability", VALUE_VERSIONS, AT(versions), AT(n_versions), true}}},
    [REQUIRE] = {"require",
		 {{"from", VALUE_VERSION, AT(from), 0, true},
		  {"to", VALUE_VERSION, AT(to), 0, true},
		  {"branches", VALUE_BRANCHES, AT(branches), AT(n_branches), true},
		  {"brands", VALUE_WORDS, AT(words), 0, true}}},
    [IMAGES] = {"images",
		{{"state", VALUE_WORD, AT(name), 0, true},
		 {"cuda", VALUE_VERSIONS, AT(versions), AT(n_versions), true}}},
    [SYSTEMS] = {"systems",
		 {{"os", VALUE_WORD, AT(name), 0, true},
		  {"from", VALUE_VERSION, AT(from), 0, false},
		  {"to", VALUE_VERSION, AT(to), 0, false}}},
};

/* --- reading --- */

static int read_version(const struct yamlx *doc, const struct yamlx_node *node,
			struct version *ret_version, struct error *err)
{
	const char *text = NULL;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	*ret_version = version_parse(text);
	return ret_version->n ? 0
			      : yamlx_error(doc, node, -EINVAL, err, "not a version like \"12.6\"");
}

static int read_branch(const struct yamlx *doc, const struct yamlx_node *node, unsigned *ret_branch,
		       struct error *err)
{
	double value = 0;
	int r = yamlx_real(doc, node, 1, BRANCH_MAX, &value, err);

	*ret_branch = (unsigned)value;
	return r;
}

static int read_hex(const struct yamlx *doc, const struct yamlx_node *node, unsigned *ret_id,
		    struct error *err)
{
	char *end = NULL;
	const char *text = NULL;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	*ret_id = (unsigned)strtoul(text, &end, 16);
	if (strlen(text) != 4 || *end)
		return yamlx_error(doc, node, -EINVAL, err, "four hexadecimal digits are expected");
	return 0;
}

static int read_word(const struct yamlx *doc, const struct yamlx_node *node, char word[WORD_MAX],
		     struct error *err)
{
	const char *text = NULL;
	int r = yamlx_string(doc, node, &text, err);

	if (r < 0)
		return r;
	if (!*text || strlen(text) >= WORD_MAX)
		return yamlx_error(doc, node, -EINVAL, err, "a word of 1 to %d letters is expected",
				   WORD_MAX - 1);
	(void)snprintf(word, WORD_MAX, "%s", text);
	return 0;
}

static int read_list(const struct yamlx *doc, const struct yamlx_node *node, const struct key *key,
		     struct row *row, struct error *err)
{
	char *base = (char *)row, word[WORD_MAX];
	size_t *n = (size_t *)(void *)(base + key->offset_n);
	int r = 0;

	if (node->type != YAMLX_SEQUENCE || node->n > LIST_MAX)
		return yamlx_error(doc, node, -EINVAL, err, "a list of at most %d is expected",
				   LIST_MAX);
	if (key->kind != VALUE_WORDS)
		*(void **)(void *)(base + key->offset) =
		    mem_calloc(node->n + 1, key->kind == VALUE_VERSIONS ? sizeof(struct version)
									: sizeof(unsigned));
	for (size_t i = 0; r == 0 && i < node->n; i++) {
		if (key->kind == VALUE_VERSIONS) {
			struct version *items = *(struct version **)(void *)(base + key->offset);

			r = read_version(doc, node->items[i], &items[(*n)++], err);
		} else if (key->kind == VALUE_BRANCHES) {
			unsigned *items = *(unsigned **)(void *)(base + key->offset);

			r = read_branch(doc, node->items[i], &items[(*n)++], err);
		} else {
			r = read_word(doc, node->items[i], word, err);
			if (r == 0)
				strings_add((struct strings *)(void *)(base + key->offset), word);
		}
	}
	return r;
}

static int read_value(const struct yamlx *doc, const struct yamlx_node *node, const struct key *key,
		      struct row *row, struct error *err)
{
	void *at = (char *)row + key->offset;

	switch (key->kind) {
	case VALUE_WORD:
		return read_word(doc, node, at, err);
	case VALUE_VERSION:
		return read_version(doc, node, at, err);
	case VALUE_BRANCH:
		return read_branch(doc, node, at, err);
	case VALUE_BOOL:
		return yamlx_bool(doc, node, at, err);
	case VALUE_HEX:
		return read_hex(doc, node, at, err);
	case VALUE_VERSIONS:
	case VALUE_BRANCHES:
	case VALUE_WORDS:
		break;
	}
	return read_list(doc, node, key, row, err);
}

static int read_row(const struct yamlx *doc, const struct yamlx_node *node, const struct key *keys,
		    struct row *row, struct error *err)
{
	const char *names[ARRAY_LEN(shapes[0].keys) + 1] = {};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(shapes[0].keys) && keys[i].name; i++)
		names[i] = keys[i].name;
	if (node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node, -EINVAL, err, "a row is a mapping");
	r = yamlx_check_keys(doc, node, names, err);
	for (size_t i = 0; r == 0 && names[i]; i++) {
		const struct yamlx_node *value = yamlx_get(node, names[i]);

		if (value)
			r = read_value(doc, value, &keys[i], row, err);
		else if (keys[i].needed)
			r = yamlx_error(doc, node, -EINVAL, err, "%s is missing", names[i]);
	}
	return r;
}

/* "2026-11-21". */
static int read_date(const struct yamlx *doc, const struct yamlx_node *mapping, char date[DATE_MAX],
		     int64_t *ret_ms, struct error *err)
{
	const struct yamlx_node *node = yamlx_get(mapping, "date");
	char whole[DATE_MAX + 16];

	if (!node || node->type != YAMLX_SCALAR || strlen(node->text) != strlen("2026-11-21"))
		return yamlx_error(doc, node ? node : mapping, -EINVAL, err,
				   "date is needed, as 2026-11-21");
	(void)snprintf(date, DATE_MAX, "%s", node->text);
	(void)snprintf(whole, sizeof whole, "%sT00:00:00Z", date);
	if (timestamp_parse(whole, ret_ms, NULL) < 0)
		return yamlx_error(doc, node, -EINVAL, err, "no date like 2026-11-21");
	return 0;
}

static int read_table(const struct yamlx *doc, enum table_id id, struct table *table,
		      struct error *err)
{
	static const char *const keys[] = {"source", "date", "rows", NULL};
	const struct yamlx_node *node = yamlx_get(doc->root, shapes[id].name), *rows, *source;
	char date[DATE_MAX];
	int64_t ms;
	int r;

	if (!node || node->type != YAMLX_MAPPING)
		return yamlx_error(doc, node ? node : doc->root, -EINVAL, err,
				   "a table \"%s\" is expected", shapes[id].name);
	r = yamlx_check_keys(doc, node, keys, err);
	if (r == 0)
		r = read_date(doc, node, date, &ms, err);
	source = yamlx_get(node, "source");
	rows = yamlx_get(node, "rows");
	if (r == 0 && (!source || source->type != YAMLX_SCALAR || !*source->text))
		r = yamlx_error(doc, node, -EINVAL, err, "a table names its source");
	if (r == 0 && (!rows || rows->type != YAMLX_SEQUENCE))
		r = yamlx_error(doc, node, -EINVAL, err, "a table has a list of rows");
	if (r < 0)
		return r;
	table->rows = mem_calloc(rows->n + 1, sizeof *table->rows);
	for (size_t i = 0; r == 0 && i < rows->n; i++)
		r = read_row(doc, rows->items[i], shapes[id].keys, &table->rows[table->n++], err);
	return r;
}

int compat_load(const char *path, struct compat **ret_compat, struct error *err)
{
	const char *keys[TABLES + 2] = {"date"};
	auto_compat struct compat *compat = mem_calloc(1, sizeof *compat);
	auto_yamlx struct yamlx *doc = NULL;
	auto_free char *found = NULL;
	int r = path ? 0 : paths_find_data("cuda.yaml", &found, err);

	for (size_t i = 0; i < TABLES; i++)
		keys[i + 1] = shapes[i].name;
	if (r == 0)
		r = yamlx_load(path ? path : found, &doc, err);
	if (r == 0 && doc->root->type != YAMLX_MAPPING)
		r = yamlx_error(doc, doc->root, -EINVAL, err, "a mapping is expected");
	if (r == 0)
		r = yamlx_check_keys(doc, doc->root, keys, err);
	if (r == 0)
		r = read_date(doc, doc->root, compat->date, &compat->date_ms, err);
	for (size_t i = 0; r == 0 && i < TABLES; i++)
		r = read_table(doc, (enum table_id)i, &compat->tables[i], err);
	if (r < 0)
		return r;
	*ret_compat = TAKE(compat);
	return 0;
}

void compat_destroy(struct compat *compat)
{
	if (!compat)
		return;
	for (size_t i = 0; i < TABLES; i++) {
		for (size_t k = 0; k < compat->tables[i].n; k++) {
			struct row *row = &compat->tables[i].rows[k];

			free(row->versions);
			free(row->branches);
			free(row->code);
			strings_finish(&row->words);
		}
		free(compat->tables[i].rows);
	}
	free(compat);
}

const char *compat_date(const struct compat *compat)
{
	return compat->date;
}

bool compat_is_old(const struct compat *compat, int64_t now_ms)
{
	return now_ms - compat->date_ms > YEAR_MS;
}

/* --- looking up --- */

#define EACH_ROW(row, compat, id)                                        \
	for (const struct row *row = (compat)->tables[id].rows,          \
			      *row##_end = row + (compat)->tables[id].n; \
	     row < row##_end; row++)

/* The first `n` components alone. */
static int compare_parts(const struct version *a, const struct version *b, unsigned n)
{
	struct version left = *a, right = *b;

	left.n = MIN_OF(left.n, n);
	right.n = MIN_OF(right.n, n);
	return version_compare(&left, &right);
}

static bool is_within(const struct version *version, const struct row *row)
{
	return (!row->from.n || compare_parts(version, &row->from, 2) >= 0) &&
	       (!row->to.n || compare_parts(version, &row->to, 2) <= 0);
}

struct version compat_driver_cuda(const struct compat *compat, const struct version *driver)
{
	const struct row *best = NULL;

	if (driver->n == 0)
		return (struct version){};
	EACH_ROW(row, compat, BRANCHES)
	if (row->branch <= driver->parts[0] && (!best || row->branch > best->branch))
		best = row;
	return best ? best->to : (struct version){};
}

struct version compat_shipped_driver(const struct compat *compat, const struct version *cuda)
{
	const struct row *best = NULL, *first = NULL;

	if (cuda->n == 0)
		return (struct version){};
	EACH_ROW(row, compat, TOOLKITS)
	{
		if (compare_parts(&row->from, cuda, 2) != 0)
			continue;
		if (!first || version_compare(&row->from, &first->from) < 0)
			first = row;
		if (version_compare(&row->from, cuda) <= 0 &&
		    (!best || version_compare(&row->from, &best->from) > 0))
			best = row;
	}
	best = best ? best : first; /* "11.0" began with 11.0.1 */
	return best ? best->driver : (struct version){};
}

struct version compat_least_driver(const struct compat *compat, const struct version *cuda)
{
	if (cuda->n == 0)
		return (struct version){};
	EACH_ROW(row, compat, MINOR)
	if (row->from.parts[0] == cuda->parts[0])
		return row->driver;
	return compat_shipped_driver(compat, cuda);
}

static unsigned capability_of(const struct version *version)
{
	return version->parts[0] * 10 + version->parts[1];
}

static bool has_capability(const struct version *versions, size_t n, unsigned capability)
{
	for (size_t i = 0; i < n; i++)
		if (capability_of(&versions[i]) == capability)
			return true;
	return false;
}

static const struct row *find_architecture(const struct compat *compat, unsigned capability)
{
	EACH_ROW(row, compat, ARCHITECTURES)
	if (has_capability(row->versions, row->n_versions, capability))
		return row;
	return NULL;
}

const char *compat_architecture(const struct compat *compat, unsigned capability)
{
	const struct row *row = find_architecture(compat, capability);

	return row ? row->name : NULL;
}

unsigned compat_last_branch(const struct compat *compat, unsigned capability)
{
	const struct row *row = find_architecture(compat, capability);

	return row ? row->branch : 0;
}

unsigned compat_chip(const struct compat *compat, unsigned pci_device)
{
	EACH_ROW(row, compat, CHIPS)
	if (pci_device >= row->first_id && pci_device <= row->last_id && row->n_versions)
		return capability_of(&row->versions[0]);
	return 0;
}

/* --- questions --- */

const char *compat_verdict_name(enum compat_verdict verdict)
{
	static const char *const names[] = {[COMPAT_UNKNOWN] = "unknown",
					    [COMPAT_RUNS] = "runs",
					    [COMPAT_JIT] = "jit",
					    [COMPAT_PACKAGE] = "package",
					    [COMPAT_NOT] = "not"};

	return names[verdict];
}

const char *compat_brand(const char *gpu_name)
{
	static const struct {
		const char *words, *brand;
	} brands[] = {{"GeForce RTX", "geforcertx"},
		      {"GeForce", "geforce"},
		      {"TITAN RTX", "titanrtx"},
		      {"TITAN", "titan"},
		      {"Quadro RTX", "quadrortx"},
		      {"Quadro", "quadro"},
		      {"Tesla", "tesla"},
		      {"RTX", "nvidiartx"}};

	for (size_t i = 0; i < ARRAY_LEN(brands); i++)
		if (strcasestr(gpu_name, brands[i].words))
			return brands[i].brand;
	return "nvidia";
}

static const struct row *find_require(const struct compat *compat, const struct version *cuda)
{
	EACH_ROW(row, compat, REQUIRE)
	if (is_within(cuda, row))
		return row;
	return NULL;
}

static bool has_branch(const struct row *row, unsigned branch)
{
	for (size_t i = 0; i < row->n_branches; i++)
		if (row->branches[i] == branch)
			return true;
	return false;
}

static bool is_data_centre(const char *brand)
{
	return brand && (strcmp(brand, "tesla") == 0 || strcmp(brand, "nvidia") == 0);
}

/* Data-centre GPUs, and branches of drivers that NVIDIA's own images are let in with. */
static bool goes_with_package(const struct compat *compat, const struct version *cuda,
			      const struct version *driver, const char *brand)
{
	const struct row *row = find_require(compat, cuda);

	return version_compare(cuda, &first_package) >= 0 && is_data_centre(brand) &&
	       (!row || has_branch(row, driver->parts[0]));
}

static enum compat_verdict against_driver(const struct compat *compat, const struct version *cuda,
					  const struct version *driver, const char *brand,
					  struct text *ret_why)
{
	struct version least = compat_least_driver(compat, cuda);
	struct version shipped = compat_shipped_driver(compat, cuda);

	if (driver->n == 0 || least.n == 0)
		return COMPAT_UNKNOWN;
	if (version_compare(driver, &least) < 0) {
		bool package = goes_with_package(compat, cuda, driver, brand);

		text_printf(ret_why, "CUDA %s needs driver %s or newer; this is %s%s",
			    VERSION_TEXT(cuda), VERSION_TEXT(&least), VERSION_TEXT(driver),
			    package ? ": it runs only with the image's own cuda-compat libraries"
				    : "");
		return package ? COMPAT_PACKAGE : COMPAT_NOT;
	}
	if (shipped.n > 0 && version_compare(driver, &shipped) < 0)
		text_printf(ret_why,
			    "by minor-version compatibility: PTX made with CUDA %s needs driver %s "
			    "or newer",
			    VERSION_TEXT(cuda), VERSION_TEXT(&shipped));
	return COMPAT_RUNS;
}

/* Has the toolkit an older architecture's code that this GPU can run: the same major? */
static bool has_older_code(const struct compat *compat, const struct version *cuda,
			   unsigned capability)
{
	EACH_ROW(row, compat, ARCHITECTURES)
	for (size_t i = 0; i < row->n_versions; i++) {
		unsigned of = capability_of(&row->versions[i]);

		if (of / 10 == capability / 10 && of <= capability &&
		    compare_parts(cuda, &row->from, 2) >= 0)
			return true;
	}
	return false;
}

static enum compat_verdict against_gpu(const struct compat *compat, const struct version *cuda,
				       const struct version *driver, unsigned capability,
				       struct text *ret_why)
{
	const struct row *row = find_architecture(compat, capability);

	if (!row)
		return COMPAT_UNKNOWN;
	if (row->branch && driver->n > 0 && driver->parts[0] > row->branch) {
		text_printf(ret_why, "drivers after %u do not know %s (compute capability %u.%u)",
			    row->branch, row->name, capability / 10, capability % 10);
		return COMPAT_NOT;
	}
	if (row->to.n && compare_parts(cuda, &row->to, 2) > 0) {
		text_printf(ret_why,
			    "CUDA %u.%u has no code for %s (compute capability %u.%u): the last "
			    "that has is %s",
			    cuda->parts[0], cuda->parts[1], row->name, capability / 10,
			    capability % 10, VERSION_TEXT(&row->to));
		return COMPAT_NOT;
	}
	if (compare_parts(cuda, &row->from, 2) < 0 && !has_older_code(compat, cuda, capability)) {
		text_printf(ret_why,
			    "CUDA %u.%u is older than %s (compute capability %u.%u): the first "
			    "with code for it is %s, before it only what carries PTX runs",
			    cuda->parts[0], cuda->parts[1], row->name, capability / 10,
			    capability % 10, VERSION_TEXT(&row->from));
		return COMPAT_JIT;
	}
	return COMPAT_RUNS;
}

enum compat_verdict compat_runs(const struct compat *compat, const struct version *cuda,
				const struct version *driver, unsigned capability,
				const char *brand, struct text *ret_why)
{
	auto_text struct text by_driver = {}, by_gpu = {};
	enum compat_verdict one, other = COMPAT_UNKNOWN;

	if (cuda->n == 0)
		return COMPAT_UNKNOWN;
	one = against_driver(compat, cuda, driver, brand, &by_driver);
	if (capability > 0)
		other = against_gpu(compat, cuda, driver, capability, &by_gpu);
	/* The worse one is told. */
	text_add(ret_why, other > one && by_gpu.len ? by_gpu.data
			  : by_driver.len           ? by_driver.data
						    : "");
	return MAX_OF(one, other);
}

bool compat_lets_in(const struct compat *compat, const struct version *cuda,
		    const struct version *driver, const struct version *driver_cuda,
		    const char *brand)
{
	const struct row *row = find_require(compat, cuda);
	struct version shipped = compat_shipped_driver(compat, cuda);

	if (!row || driver->n == 0)
		return true;
	if (driver_cuda->n > 0 ? compare_parts(driver_cuda, cuda, 2) >= 0
			       : version_compare(driver, &shipped) >= 0)
		return true;
	if (!has_branch(row, driver->parts[0]))
		return false;
	if (!brand)
		return true;
	for (size_t i = 0; i < row->words.n; i++)
		if (strcmp(row->words.items[i], brand) == 0 ||
		    (is_data_centre(brand) && is_data_centre(row->words.items[i])))
			return true;
	return false;
}

enum compat_verdict compat_torch_runs(const struct compat *compat, const struct version *torch,
				      const struct version *cuda, unsigned capability,
				      struct text *ret_why)
{
	EACH_ROW(row, compat, TORCH)
	{
		unsigned newest = 0;
		bool built = false;

		for (size_t i = 0; i < row->n_versions; i++)
			built |= compare_parts(&row->versions[i], cuda, 2) == 0;
		if (!built || !is_within(torch, row))
			continue;
		for (size_t i = 0; i < row->n_code; i++) {
			unsigned of = capability_of(&row->code[i]);

			newest = MAX_OF(newest, of);
			if (of / 10 == capability / 10 && of <= capability)
				return COMPAT_RUNS;
		}
		if (row->ptx && newest <= capability)
			return COMPAT_JIT;
		text_printf(ret_why,
			    "torch %u.%u for CUDA %u.%u has no code for compute capability %u.%u:",
			    torch->parts[0], torch->parts[1], cuda->parts[0], cuda->parts[1],
			    capability / 10, capability % 10);
		for (size_t i = 0; i < row->n_code; i++)
			text_printf(ret_why, " %s", VERSION_TEXT(&row->code[i]));
		return COMPAT_NOT;
	}
	return COMPAT_UNKNOWN;
}

/* --- tags of nvidia/cuda --- */

enum compat_tag compat_tag(const struct compat *compat, const struct version *cuda, const char *os)
{
	EACH_ROW(row, compat, SYSTEMS)
	if (strcmp(row->name, os) == 0 && ((row->from.n && version_compare(cuda, &row->from) < 0) ||
					   (row->to.n && version_compare(cuda, &row->to) > 0)))
		return COMPAT_TAG_NOT_MADE;
	EACH_ROW(row, compat, IMAGES)
	for (size_t i = 0; i < row->n_versions; i++)
		if (version_compare(&row->versions[i], cuda) == 0)
			return strcmp(row->name, "built") == 0 ? COMPAT_TAG_BUILT
							       : COMPAT_TAG_UNSUPPORTED;
	/* All of CUDA 10 and before. */
	return cuda->n > 0 && cuda->parts[0] < 11 ? COMPAT_TAG_UNSUPPORTED : COMPAT_TAG_UNKNOWN;
}

struct version compat_tag_instead(const struct compat *compat, const struct version *cuda)
{
	struct version best = {};

	EACH_ROW(row, compat, IMAGES)
	{
		if (strcmp(row->name, "built") != 0)
			continue;
		for (size_t i = 0; i < row->n_versions; i++) {
			const struct version *one = &row->versions[i];

			if (compare_parts(one, cuda, 2) == 0)
				return *one;
			if (one->parts[0] == cuda->parts[0] && version_compare(one, &best) > 0)
				best = *one;
		}
	}
	return best;
}
