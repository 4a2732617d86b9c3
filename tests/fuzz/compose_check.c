/*
 * Checks of whatever project, and how they are told: a compose file, an override and a .env,
 * "\n%%\n" between them, on a machine of two GPUs. Each finding is of a rule, stands where there
 * are bytes, is in order, and is one line; screen and JSON can be made of all.
 */
#include "cli/checkview.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gpu_list *machine(void)
{
	struct gpu_list *list = gpu_list_create();

	list->state = GPU_SOURCE_OK;
	for (unsigned i = 0; i < 2; i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = i;
		gpu->valid = GPU_TOTAL | GPU_USED;
		gpu->vram.total_bytes = (uint64_t)(24 - 20 * i) << 30;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-a%u", i);
		(void)snprintf(gpu->name, sizeof gpu->name, "NVIDIA RTX A%u", 5500 - 5100 * i);
	}
	return list;
}

static void check_finding(const struct finding *finding)
{
	const struct compose_span *span = &finding->span;

	if (check_rule_find(finding->code) < 0 || !finding->message || !finding->fix)
		abort();
	if (!span->file || span->begin > span->end || span->end > span->file->len)
		abort();
	if (finding->line == 0 || finding->column == 0 || finding->line > span->file->n_lines)
		abort();
}

static void check_findings(const struct findings *findings)
{
	size_t n = 0;

	for (size_t i = 0; i < findings->n; i++) {
		const struct finding *finding = &findings->items[i];

		check_finding(finding);
		if (i > 0 && finding[-1].span.file == finding->span.file &&
		    finding[-1].line > finding->line)
			abort();
	}
	for (int severity = FINDING_INFO; severity <= FINDING_ERROR; severity++)
		n += findings_count(findings, (enum finding_severity)severity);
	if (n != findings->n)
		abort();
}

static void tell(const struct stack *stack, const struct findings *findings, FILE *nowhere)
{
	struct text text = {};
	json_t *json = checkview_json(stack, findings), *sarif = checkview_sarif(findings);
	char *dump = jsonx_dump(json), *sarif_dump = jsonx_dump(sarif);

	checkview_render(stack, findings, nowhere, 80, &text);
	if (!dump || !sarif_dump || !text.data || strchr(text.data, '\033'))
		abort();
	free(dump);
	free(sarif_dump);
	json_decref(json);
	json_decref(sarif);
	text_finish(&text);
}

static void run(struct compose_project *project, FILE *nowhere)
{
	struct gpu_list *list = machine();
	struct ledger *ledger =
	    ledger_create(list, NULL, 0, &(struct ledger_host){}, &(struct ledger_options){});
	struct stack *stack = NULL;
	struct findings findings = {};
	struct error err = {};

	if (stack_create(&(struct stack_facts){.project = project, .list = list, .ledger = ledger},
			 &stack, &err) < 0) {
		if (!err.text[0])
			abort();
	} else {
		check_run(stack, NULL, &findings);
		check_findings(&findings);
		tell(stack, &findings, nowhere);
	}
	findings_finish(&findings);
	stack_destroy(stack);
	ledger_destroy(ledger);
	gpu_list_destroy(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const paths[] = {"/p/compose.yaml", "/p/compose.override.yaml",
					    "/p/.env"};
	static FILE *nowhere;
	struct compose_memory_file files[ARRAY_LEN(paths)];
	struct compose_options options = {.dir = "/p", .memory = files};
	struct compose_project *project = NULL;
	char *text = mem_strndup((const char *)data, size), *at = text;

	if (!nowhere)
		nowhere = fopen("/dev/null", "we");
	while (at && options.n_memory < ARRAY_LEN(paths)) {
		char *next = strstr(at, "\n%%\n");

		files[options.n_memory] = (struct compose_memory_file){
		    .path = paths[options.n_memory],
		    .text = at,
		    .len = next ? (size_t)(next + 1 - at) : strlen(at),
		};
		options.n_memory++;
		at = next ? next + 4 : NULL;
	}
	if (compose_project_load(&options, &project, NULL) == 0)
		run(project, nowhere);
	compose_project_destroy(project);
	free(text);
	return 0;
}
