/*
 * Every way to ask for a GPU, and every source of its value, on projects written here. A case is a
 * compose file (/p/compose.yaml), maybe a .env, an env_file (/p/gpu.env) and the shell; what is
 * located is told in one line a request and one a value:
 *
 *	SERVICE HOW VALUE SOURCE FILE:LINE:COLUMN [hidden] [none] [foreign] [filter]
 *[default-runtime] [image] TEXT=DEVICE SOURCE [$VARIABLE] [FILE:LINE:COLUMN<bytes to edit>[ of
 *all]] [default<...>] [commented FILE:LINE]
 */
#include "unit.h"

#include "compose/interpolate.h"
#include "compose/locate.h"
#include "gpu/gpu.h"

#include <errno.h>
#include <string.h>
#include <time.h>

struct given {
	const char *name;
	const char *compose, *env, *env_file, *override;
	const char *shell; /* one variable */
	const char *want;
};

/* A service of one reservation; the lines of `devices` are 14 deep. */
#define RESERVE(entry)                   \
	"services:\n"                    \
	"  a:\n"                         \
	"    deploy:\n"                  \
	"      resources:\n"             \
	"        reservations:\n"        \
	"          devices:\n"           \
	"            - driver: nvidia\n" \
	"              capabilities: [gpu]\n" entry

static void load(const struct given *given, struct compose_project **ret_project,
		 struct compose_gpus **ret_gpus)
{
	struct compose_memory_file files[4];
	struct compose_options options = {.dir = "/p", .memory = files};
	struct error err = {};
	const struct {
		const char *path, *text;
	} all[] = {{"/p/compose.yaml", given->compose},
		   {"/p/compose.override.yaml", given->override},
		   {"/p/.env", given->env},
		   {"/p/gpu.env", given->env_file}};
	auto_free char *variable = given->shell ? mem_strdup(given->shell) : NULL;
	char *const shell[] = {variable, NULL};
	int r;

	options.shell = shell;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].text)
			files[options.n_memory++] = (struct compose_memory_file){
			    .path = all[i].path, .text = all[i].text, .len = strlen(all[i].text)};
	r = compose_project_load(&options, ret_project, &err);
	if (r == 0)
		r = compose_locate(*ret_project, ret_gpus, &err);
	if (r < 0)
		fail_msg("%s: %s", given->name, error_text(&err));
}

static void add_place(struct text *text, const struct compose_span *span)
{
	const char *slash = strrchr(span->file->path, '/');
	unsigned line, column;

	compose_file_position(span->file, span->begin, &line, &column);
	text_printf(text, "%s:%u:%u", slash + 1, line, column);
}

static void add_bytes(struct text *text, const struct compose_span *span)
{
	add_place(text, span);
	text_printf(text, "<%.*s>", (int)(span->end - span->begin), span->file->text + span->begin);
}

static void add_value(struct text *text, const struct compose_value *value)
{
	text_printf(text, "  %s=%s %s", value->text, value->device,
		    compose_source_name(value->source));
	if (value->variable)
		text_printf(text, " $%s", value->variable);
	if (value->edit.file) {
		text_add(text, " ");
		add_bytes(text, &value->edit);
		if (value->edit_begin != value->begin || value->edit_end != value->end)
			text_printf(text, " %zu-%zu of %zu-%zu", value->edit_begin, value->edit_end,
				    value->begin, value->end);
		text_add(text, value->edit_whole ? " whole" : "");
	}
	if (value->fallback) {
		text_printf(text, " default %s ", value->fallback);
		add_place(text, &value->fallback_span);
	}
	if (value->commented) {
		text_add(text, " commented ");
		add_bytes(text, &value->commented->span);
	}
	text_add(text, "\n");
}

static void add_request(struct text *text, const struct compose_gpus *gpus,
			const struct compose_request *request)
{
	struct compose_span place = compose_request_place(request);

	text_printf(text, "%s %s ", gpus->service->name, compose_how_name(request->how));
	compose_request_text(request, text);
	text_printf(text, " %s ", compose_source_name(compose_request_source(request)));
	add_place(text, &place);
	text_add(text, request->in_force || gpus->filter == request ? "" : " hidden");
	text_add(text, request->none ? " none" : "");
	text_add(text, request->is_nvidia ? "" : " foreign");
	text_add(text, gpus->filter == request ? " filter" : "");
	text_add(text, request->if_default_runtime ? " default-runtime" : "");
	text_add(text, request->by_image ? " image" : "");
	text_add(text, gpus->decides == request ? " decides" : "");
	if (request->problem) {
		text_add(text, " problem ");
		add_place(text, &request->problem_span);
	}
	text_add(text, "\n");
	for (size_t i = 0; i < request->n_values; i++)
		add_value(text, &request->values[i]);
}

static void check(const struct given *given)
{
	auto_project struct compose_project *project = NULL;
	struct compose_gpus *gpus = NULL;
	auto_text struct text text = {};

	load(given, &project, &gpus);
	for (size_t i = 0; i < project->n; i++)
		for (size_t k = 0; k < gpus[i].n; k++)
			add_request(&text, &gpus[i], &gpus[i].requests[k]);
	if (strcmp(text.data ?: "", given->want) != 0)
		fail_msg("%s:\ngot:\n%swant:\n%s", given->name, text.data ?: "", given->want);
}

static void check_all(const struct given *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check(&cases[i]);
}

#define AT       "a reservation "
#define COUNT(n) RESERVE("              count: " n "\n")
#define IDS(ids) RESERVE("              device_ids: " ids "\n")

static void test_counts(void **state)
{
	static const struct given cases[] = {
	    {"all", COUNT("all"),
	     .want = AT "all literal compose.yaml:9:22 decides\n"
			"  all=all literal compose.yaml:9:22<all>\n"},
	    {"all in capitals", COUNT("ALL"),
	     .want = AT "ALL literal compose.yaml:9:22 decides\n"
			"  ALL=ALL literal compose.yaml:9:22<ALL>\n"},
	    {"nothing said", RESERVE(""), .want = AT "all absent compose.yaml:7:15 decides\n"},
	    {"null", COUNT("~"), .want = AT "all absent compose.yaml:7:15 decides\n"},
	    {"two", COUNT("2"),
	     .want = AT "count 2 literal compose.yaml:9:22 decides\n"
			"  2=2 literal compose.yaml:9:22<2>\n"},
	    {"a string", COUNT("\"2\""),
	     .want = AT "count 2 literal compose.yaml:9:22 decides\n"
			"  2=2 literal compose.yaml:9:23<2>\n"},
	    {"minus one is all", COUNT("-1"),
	     .want = AT "-1 literal compose.yaml:9:22 decides\n"
			"  -1=-1 literal compose.yaml:9:22<-1>\n"},
	    {"none", COUNT("0"),
	     .want = AT "0 literal compose.yaml:9:22 hidden none\n"
			"  0=0 literal compose.yaml:9:22<0>\n"},
	    {"a list", COUNT("[1]"),
	     .want = AT "unknown absent compose.yaml:7:15 decides problem compose.yaml:9:22\n"},
	    {"the default", COUNT("${N:-1}"),
	     .want = AT "count 1 default compose.yaml:9:22 decides\n"
			"  1=1 default $N compose.yaml:9:27<1> default 1 compose.yaml:9:27\n"},
	    {"the shell", COUNT("${N:-1}"), "N=2\n", .shell = "N=3",
	     .want = AT "count 3 shell compose.yaml:9:22 decides\n"
			"  3=3 shell $N default 1 compose.yaml:9:27\n"},
	    {".env", COUNT("${N:-1}"), "N=2\n",
	     .want = AT "count 2 env-file compose.yaml:9:22 decides\n"
			"  2=2 env-file $N .env:1:3<2> default 1 compose.yaml:9:27\n"},
	    {"commented out", COUNT("${N:-1}"), "A=1\n# N=2 # by default\n",
	     .want = AT "count 1 commented compose.yaml:9:22 decides\n"
			"  1=1 commented $N compose.yaml:9:27<1> default 1 compose.yaml:9:27 "
			"commented .env:2:1<# N=2>\n"},
	    {"not set", COUNT("${N}"),
	     .want = AT "unknown absent compose.yaml:9:22 decides problem compose.yaml:9:22\n"
			"  = absent $N\n"},
	    {"not set, with a commented line", COUNT("$N"), "#N=1\n",
	     .want = AT "unknown commented compose.yaml:9:22 decides problem compose.yaml:9:22\n"
			"  = commented $N commented .env:1:1<#N=1>\n"},
	};

	check_all(cases, ARRAY_LEN(cases));
}

static const struct given id_cases[] = {
    {"two", IDS("[\"0\", 'GPU-5f']"),
     .want = AT "0,GPU-5f literal compose.yaml:9:28 decides\n"
		"  0=0 literal compose.yaml:9:29<0>\n"
		"  GPU-5f=GPU-5f literal compose.yaml:9:34<GPU-5f>\n"},
    {"two in one string", IDS("[\" 0, 1,\"]"),
     .want = AT "0,1 literal compose.yaml:9:28 decides\n"
		"  0=0 literal compose.yaml:9:30<0>\n"
		"  1=1 literal compose.yaml:9:33<1>\n"},
    {"two in a default", IDS("['${G:-0,1}']"),
     .want = AT "0,1 default compose.yaml:9:28 decides\n"
		"  0=0 default $G compose.yaml:9:34<0> default 0,1 compose.yaml:9:34\n"
		"  1=1 default $G compose.yaml:9:36<1> default 0,1 compose.yaml:9:34\n"},
    {"two in a quoted variable", IDS("['${G:-0}']"), "export G=\"1,2\" # both\n",
     .want = AT "1,2 env-file compose.yaml:9:28 decides\n"
		"  1=1 env-file $G .env:1:11<1> default 0 compose.yaml:9:34\n"
		"  2=2 env-file $G .env:1:13<2> default 0 compose.yaml:9:34\n"},
    {"a variable from another", IDS("['${G:-0}']"), "G=${H}\n", .shell = "H=3",
     .want = AT "3 env-file compose.yaml:9:28 decides\n"
		"  3=3 env-file $G .env:1:3<${H}> whole default 0 compose.yaml:9:34\n"},
    {"a part of one", IDS("[\"GPU-${X:-5f}\"]"),
     .want = AT "GPU-5f default compose.yaml:9:28 decides\n"
		"  GPU-5f=GPU-5f default $X compose.yaml:9:38<5f> 4-6 of 0-6 default 5f "
		"compose.yaml:9:38\n"},
    {"text and a variable", IDS("[\"0${X}\"]"), "X=,1\n",
     .want = AT "0,1 literal compose.yaml:9:28 decides\n"
		"  0=0 literal compose.yaml:9:29<0>\n"
		"  1=1 env-file $X .env:1:4<1>\n"},
    {"two variables in one", IDS("[\"${X:-1}${Y:-2}\"]"),
     .want = AT "12 default compose.yaml:9:28 decides\n"
		"  12=12 default $X compose.yaml:9:29<${X:-1}${Y:-2}> default 1 "
		"compose.yaml:9:34\n"},
    {"nested: the inner default", IDS("[\"${A:-${B:-0}}\"]"),
     .want = AT "0 default compose.yaml:9:28 decides\n"
		"  0=0 default $B compose.yaml:9:39<0> default 0 compose.yaml:9:39\n"},
    {"nested: the inner variable", IDS("[\"${A:-${B:-0}}\"]"), "B=1\n",
     .want = AT "1 env-file compose.yaml:9:28 decides\n"
		"  1=1 env-file $B .env:1:3<1> default 0 compose.yaml:9:39\n"},
    {"nested: the outer variable", IDS("[\"${A:-${B:-0}}\"]"), "A=2\nB=1\n",
     .want = AT "2 env-file compose.yaml:9:28 decides\n"
		"  2=2 env-file $A .env:1:3<2> default 0 compose.yaml:9:39\n"},
    {"nested: the outer one commented out", IDS("[\"${A:-${B:-0}}\"]"), "#A=2\n",
     .want = AT "0 default compose.yaml:9:28 decides\n"
		"  0=0 default $B compose.yaml:9:39<0> default 0 compose.yaml:9:39 "
		"commented .env:1:1<#A=2>\n"},
    {"nested without a default", IDS("[\"${A:-$B}\"]"), "B=1\n",
     .want = AT "1 env-file compose.yaml:9:28 decides\n"
		"  1=1 env-file $B .env:1:3<1>\n"},
    {"an alternative", IDS("[\"${A:+1}\"]"), "A=yes\n",
     .want = AT "1 env-file compose.yaml:9:28 decides\n"
		"  1=1 env-file $A compose.yaml:9:34<1>\n"},
    {"required", IDS("[\"${A:?which}\"]"), "A=1\n",
     .want = AT "1 env-file compose.yaml:9:28 decides\n"
		"  1=1 env-file $A .env:1:3<1>\n"},
    {"empty in .env", IDS("[\"${A:-0}\"]"), "A=\n",
     .want = AT "0 default compose.yaml:9:28 decides\n"
		"  0=0 default $A compose.yaml:9:34<0> default 0 compose.yaml:9:34\n"},
    {"empty in .env counts", IDS("[\"${A-0}\"]"), "A=\n",
     .want = AT "none env-file compose.yaml:9:28 hidden none\n"
		"  = env-file $A .env:1:3<> default 0 compose.yaml:9:33\n"},
    {"numbers", IDS("[0, 1]"),
     .want = AT "0,1 literal compose.yaml:9:28 decides problem compose.yaml:9:28\n"
		"  0=0 literal compose.yaml:9:28<0>\n"
		"  1=1 literal compose.yaml:9:31<1>\n"},
    {"a plain variable is a string", IDS("\n              - ${G:-1}"),
     .want = AT "1 default compose.yaml:10:17 decides\n"
		"  1=1 default $G compose.yaml:10:22<1> default 1 compose.yaml:10:22\n"},
    {"an empty list", IDS("[]"),
     .want = AT "none absent compose.yaml:7:15 hidden none problem compose.yaml:9:27\n"},
    {"all", IDS("[all]"),
     .want = AT "all literal compose.yaml:9:28 decides\n"
		"  all=all literal compose.yaml:9:28<all>\n"},
    {"none", IDS("[none]"),
     .want = AT "none literal compose.yaml:9:28 hidden none\n"
		"  none=none literal compose.yaml:9:28<none>\n"},
    {"void wins", IDS("['0', all, void]"),
     .want = AT "0,all,void literal compose.yaml:9:28 hidden none\n"
		"  0=0 literal compose.yaml:9:29<0>\n"
		"  all=all literal compose.yaml:9:33<all>\n"
		"  void=void literal compose.yaml:9:38<void>\n"},
    {"not set", IDS("[\"${G}\"]"),
     .want = AT "unknown absent compose.yaml:9:28 decides\n  = absent $G\n"},
    {"not set, commented out", IDS("[\"${G}\"]"), "# G=1\n",
     .want = AT "unknown commented compose.yaml:9:28 decides\n"
		"  = commented $G commented .env:1:1<# G=1>\n"},
    {"several that are not set", IDS("['${G}', '0', '${H}']"),
     .want = AT "0 absent compose.yaml:9:28 decides\n"
		"  = absent $G\n  0=0 literal compose.yaml:9:37<0>\n  = absent $H\n"},
    {"not set, for nothing", IDS("[\"${G:+0}\"]"),
     .want = AT "none absent compose.yaml:9:28 hidden none\n  = absent $G\n"},
    {"a string", IDS("\"0\""),
     .want = AT "unknown absent compose.yaml:7:15 decides problem compose.yaml:9:27\n"},
    {"MIG and CDI names", IDS("['0:1', 'nvidia.com/gpu=1', 'MIG-aa']"),
     .want = AT "0:1,nvidia.com/gpu=1,MIG-aa literal compose.yaml:9:28 decides\n"
		"  0:1=0:1 literal compose.yaml:9:29<0:1>\n"
		"  nvidia.com/gpu=1=1 literal compose.yaml:9:36<nvidia.com/gpu=1>\n"
		"  MIG-aa=MIG-aa literal compose.yaml:9:56<MIG-aa>\n"},
    {"escapes", IDS("[\"\\x30\"]"),
     .want = AT "0 literal compose.yaml:9:28 decides\n"
		"  0=0 literal compose.yaml:9:28<\"\\x30\"> whole\n"},
    {"with a count", RESERVE("              device_ids: ['1']\n              count: 1\n"),
     .want = AT "1 literal compose.yaml:9:28 decides problem compose.yaml:10:22\n"
		"  1=1 literal compose.yaml:9:29<1>\n"},
};

static void test_ids(void **state)
{
	check_all(id_cases, ARRAY_LEN(id_cases));
}

#define DEVICE(entry)             \
	"services:\n"             \
	"  a:\n"                  \
	"    deploy:\n"           \
	"      resources:\n"      \
	"        reservations:\n" \
	"          devices:\n"    \
	"            - " entry "\n"

static void test_drivers(void **state)
{
	static const struct given cases[] = {
	    {"no driver", DEVICE("{capabilities: [gpu], count: 1}"),
	     .want = AT "count 1 literal compose.yaml:7:44 decides\n"
			"  1=1 literal compose.yaml:7:44<1>\n"},
	    {"no driver, capabilities of nvidia's", DEVICE("{capabilities: [tpu, utility]}"),
	     .want = AT "all absent compose.yaml:7:15 decides\n"},
	    {"no driver, not a GPU", DEVICE("{capabilities: [tpu]}"),
	     .want = AT "all absent compose.yaml:7:15 hidden foreign\n"},
	    {"one of nvidia's two", DEVICE("{driver: nvidia.cdi, capabilities: [gpu]}"),
	     .want = AT "all absent compose.yaml:7:15 decides\n"},
	    {"none of nvidia's", DEVICE("{driver: nvidia.com/gpu, capabilities: [gpu]}"),
	     .want = AT "all absent compose.yaml:7:15 decides problem compose.yaml:7:24\n"},
	    {"rocm", DEVICE("{driver: rocm, capabilities: [gpu]}"),
	     .want = AT "all absent compose.yaml:7:15 hidden foreign\n"},
	    {"amd", DEVICE("{driver: amd, capabilities: [gpu], device_ids: ['0']}"),
	     .want = AT "0 literal compose.yaml:7:63 hidden foreign\n"
			"  0=0 literal compose.yaml:7:64<0>\n"},
	    {"cdi",
	     DEVICE("{driver: cdi, capabilities: [gpu], device_ids: "
		    "['nvidia.com/gpu=${G:-0:1}']}"),
	     .want = "a cdi nvidia.com/gpu=0:1 default compose.yaml:7:63 decides\n"
		     "  nvidia.com/gpu=0:1=0:1 default $G compose.yaml:7:84<0:1> 15-18 of 0-18 "
		     "default 0:1 compose.yaml:7:84\n"},
	    {"cdi, all",
	     DEVICE("{driver: cdi, capabilities: [gpu], device_ids: "
		    "[nvidia.com/gpu=all]}"),
	     .want = "a cdi nvidia.com/gpu=all literal compose.yaml:7:63 decides\n"
		     "  nvidia.com/gpu=all=all literal compose.yaml:7:63<nvidia.com/gpu=all>\n"},
	    {"cdi of another vendor",
	     DEVICE("{driver: cdi, capabilities: [gpu], device_ids: [intel.com/gpu=0]}"),
	     .want = "a cdi intel.com/gpu=0 literal compose.yaml:7:63 hidden foreign\n"
		     "  intel.com/gpu=0=0 literal compose.yaml:7:63<intel.com/gpu=0>\n"},
	    {"cdi with a count", DEVICE("{driver: cdi, capabilities: [gpu], count: 1}"),
	     .want = "a cdi count 1 literal compose.yaml:7:57 hidden foreign problem "
		     "compose.yaml:7:57\n  1=1 literal compose.yaml:7:57<1>\n"},
	    {"an unknown key", DEVICE("{capabilities: [gpu], x-note: hm, ids: ['0']}"),
	     .want = AT "all absent compose.yaml:7:15 decides problem compose.yaml:7:49\n"},
	    {"no capabilities", DEVICE("{driver: nvidia, count: 1}"),
	     .want = AT "count 1 literal compose.yaml:7:39 decides problem compose.yaml:7:15\n"
			"  1=1 literal compose.yaml:7:39<1>\n"},
	    {"no map", DEVICE("nvidia"),
	     .want = AT "unknown absent compose.yaml:7:15 decides problem compose.yaml:7:15\n"},
	    {"generic resources are Swarm's",
	     "services:\n  a:\n    deploy: {resources: {reservations: {generic_resources: "
	     "[{discrete_resource_spec: {kind: gpu, value: 1}}]}}}\n",
	     .want = ""},
	};

	check_all(cases, ARRAY_LEN(cases));
}

#define SERVICE(lines) "services:\n  a:\n" lines

static void test_gpus(void **state)
{
	static const struct given cases[] = {
	    {"all", SERVICE("    gpus: all\n"),
	     .want = "a gpus all literal compose.yaml:3:11 decides\n"
		     "  all=all literal\n"},
	    {"by a variable", SERVICE("    gpus: ${G:-all}\n"),
	     .want = "a gpus all default compose.yaml:3:11 decides\n"
		     "  all=all default $G default all compose.yaml:3:16\n"},
	    {"a list", SERVICE("    gpus:\n      - device_ids: ['1']\n      - count: 2\n"),
	     .want = "a gpus 1 literal compose.yaml:4:22 decides\n"
		     "  1=1 literal compose.yaml:4:23<1>\n"
		     "a gpus count 2 literal compose.yaml:5:16\n"
		     "  2=2 literal compose.yaml:5:16<2>\n"},
	    {"an override adds", SERVICE("    gpus: all\n"),
	     .override = SERVICE("    gpus: [{device_ids: ['1']}]\n"),
	     .want = "a gpus all literal compose.yaml:3:11 decides\n"
		     "  all=all literal\n"
		     "a gpus 1 literal compose.override.yaml:3:26\n"
		     "  1=1 literal compose.override.yaml:3:27<1>\n"},
	    {"an override replaces", SERVICE("    gpus: all\n"),
	     .override = SERVICE("    gpus: !override [{device_ids: ['1']}]\n"),
	     .want = "a gpus 1 literal compose.override.yaml:3:36 decides\n"
		     "  1=1 literal compose.override.yaml:3:37<1>\n"},
	    {"beside a reservation",
	     SERVICE("    gpus: all\n    deploy: {resources: {reservations: {devices: "
		     "[{capabilities: [gpu], device_ids: ['1']}]}}}\n"),
	     .want = AT "1 literal compose.yaml:4:86 decides\n"
			"  1=1 literal compose.yaml:4:87<1>\n"
			"a gpus all literal compose.yaml:3:11\n"
			"  all=all literal\n"},
	};

	check_all(cases, ARRAY_LEN(cases));
}

#define RUNTIME    "    runtime: nvidia\n"
#define NV         "NVIDIA_VISIBLE_DEVICES"
#define AT_RUNTIME "a runtime "

static void test_runtime(void **state)
{
	static const struct given cases[] = {
	    {"the image says it", SERVICE(RUNTIME),
	     .want = AT_RUNTIME "all absent compose.yaml:3:5 image decides\n"},
	    {"a list", SERVICE(RUNTIME "    environment:\n      - A=1\n      - " NV "=0, 1\n"),
	     .want = AT_RUNTIME "0,1 literal compose.yaml:6:9 decides\n"
				"  0=0 literal compose.yaml:6:32<0>\n"
				"  1=1 literal compose.yaml:6:35<1>\n"},
	    {"a map", SERVICE(RUNTIME "    environment:\n      " NV ": \"${G:-1}\"\n"),
	     .want =
		 AT_RUNTIME "1 default compose.yaml:5:31 decides\n"
			    "  1=1 default $G compose.yaml:5:37<1> default 1 compose.yaml:5:37\n"},
	    {"void", SERVICE(RUNTIME "    environment: {" NV ": void}\n"),
	     .want = AT_RUNTIME "void literal compose.yaml:4:43 hidden none\n"
				"  void=void literal compose.yaml:4:43<void>\n"},
	    {"empty", SERVICE(RUNTIME "    environment: [" NV "=]\n"),
	     .want = AT_RUNTIME "none literal compose.yaml:4:19 hidden none\n"
				"  = literal compose.yaml:4:42<>\n"},
	    {"a CDI name", SERVICE(RUNTIME "    environment: [" NV "=nvidia.com/gpu=1]\n"),
	     .want =
		 AT_RUNTIME "nvidia.com/gpu=1 literal compose.yaml:4:19 decides\n"
			    "  nvidia.com/gpu=1=1 literal compose.yaml:4:42<nvidia.com/gpu=1>\n"},
	    {"a bare name, from .env", SERVICE(RUNTIME "    environment:\n      - " NV "\n"),
	     NV "='1'\n",
	     .want = AT_RUNTIME "1 env-file compose.yaml:5:9 decides\n"
				"  1=1 env-file $" NV " .env:1:25<1>\n"},
	    {"a bare name, from the shell", SERVICE(RUNTIME "    environment:\n      " NV ":\n"),
	     .shell = NV "=2",
	     .want = AT_RUNTIME "2 shell compose.yaml:5:7 decides\n"
				"  2=2 shell $" NV "\n"},
	    {"a bare name that nothing says", SERVICE(RUNTIME "    environment: [" NV "]\n"),
	     .want = AT_RUNTIME "all absent compose.yaml:3:5 image decides\n"},
	    {"an env_file", SERVICE(RUNTIME "    env_file: gpu.env\n"),
	     .env_file = "A=1\n" NV "=\"2\"\n",
	     .want = AT_RUNTIME "2 env-file compose.yaml:4:15 decides\n"
				"  2=2 env-file $" NV " gpu.env:2:25<2>\n"},
	    {"a raw env_file",
	     SERVICE(RUNTIME "    env_file:\n      - path: gpu.env\n        format: raw\n"),
	     .env_file = NV "=1\r\nX=\r\n" NV "=3\r\n",
	     .want = AT_RUNTIME "3 env-file compose.yaml:5:7 decides\n"
				"  3=3 env-file $" NV " gpu.env:3:24<3>\n"},
	    {"environment above env_file",
	     SERVICE(RUNTIME "    env_file: [gpu.env]\n    environment: [" NV "=0]\n"),
	     .env_file = NV "=2\n",
	     .want = AT_RUNTIME "0 literal compose.yaml:5:19 decides\n"
				"  0=0 literal compose.yaml:5:42<0>\n"},
	    {"an override by key", SERVICE(RUNTIME "    environment: [" NV "=0]\n"),
	     .override = SERVICE("    environment: {" NV ": '1'}\n"),
	     .want = AT_RUNTIME "1 literal compose.override.yaml:3:43 decides\n"
				"  1=1 literal compose.override.yaml:3:44<1>\n"},
	    {"hidden by a reservation",
	     RESERVE("              device_ids: ['1']\n" RUNTIME "    environment: [" NV "=0]\n"),
	     .want = AT "1 literal compose.yaml:9:28 decides\n"
			"  1=1 literal compose.yaml:9:29<1>\n" AT_RUNTIME
			"0 literal compose.yaml:11:19 hidden\n"
			"  0=0 literal compose.yaml:11:42<0>\n"},
	    {"a reservation of none hides nothing",
	     RESERVE("              count: 0\n" RUNTIME "    environment: [" NV "=0]\n"),
	     .want = AT "0 literal compose.yaml:9:22 hidden none\n"
			"  0=0 literal compose.yaml:9:22<0>\n" AT_RUNTIME
			"0 literal compose.yaml:11:19 decides\n"
			"  0=0 literal compose.yaml:11:42<0>\n"},
	    {"another runtime", SERVICE("    runtime: runc\n"), .want = ""},
	};

	check_all(cases, ARRAY_LEN(cases));
}

static void test_environment(void **state)
{
	static const struct given cases[] = {
	    {"no runtime", SERVICE("    environment: [" NV "=1]\n"),
	     .want = "a environment 1 literal compose.yaml:3:19 default-runtime decides\n"
		     "  1=1 literal compose.yaml:3:42<1>\n"},
	    {"another runtime", SERVICE("    runtime: runc\n    environment: [" NV "=1]\n"),
	     .want = "a environment 1 literal compose.yaml:4:19 hidden\n"
		     "  1=1 literal compose.yaml:4:42<1>\n"},
	    {"a filter alone", SERVICE("    environment: {CUDA_VISIBLE_DEVICES: '0'}\n"),
	     .want = "a environment 0 literal compose.yaml:3:41 filter\n"
		     "  0=0 literal compose.yaml:3:42<0>\n"},
	    {"a filter of none", SERVICE("    environment: [CUDA_VISIBLE_DEVICES=-1]\n"),
	     .want = "a environment -1 literal compose.yaml:3:19 none filter\n"
		     "  -1=-1 literal compose.yaml:3:40<-1>\n"},
	    {"all is none for CUDA", SERVICE("    environment: [CUDA_VISIBLE_DEVICES=all]\n"),
	     .want = "a environment all literal compose.yaml:3:19 none filter problem "
		     "compose.yaml:3:19\n  all=all literal compose.yaml:3:40<all>\n"},
	    {"an empty filter", SERVICE("    environment: {CUDA_VISIBLE_DEVICES: ''}\n"),
	     .want = "a environment none literal compose.yaml:3:41 none filter\n"
		     "  = literal compose.yaml:3:42<>\n"},
	};

	check_all(cases, ARRAY_LEN(cases));
}

static void test_devices(void **state)
{
	static const struct given cases[] = {
	    {"a CDI name", SERVICE("    devices: [\"nvidia.com/gpu=${G:-0}\"]\n"),
	     .want = "a cdi nvidia.com/gpu=0 default compose.yaml:3:15 decides\n"
		     "  nvidia.com/gpu=0=0 default $G compose.yaml:3:36<0> 15-16 of 0-16 default "
		     "0 compose.yaml:3:36\n"},
	    {"a MIG instance is cut", SERVICE("    devices: ['nvidia.com/gpu=0:1']\n"),
	     .want = "a cdi nvidia.com/gpu=0:1 literal compose.yaml:3:15 decides problem "
		     "compose.yaml:3:15\n"
		     "  nvidia.com/gpu=0:1=0:1 literal compose.yaml:3:16<nvidia.com/gpu=0:1>\n"},
	    {"the long form", SERVICE("    devices: [{source: 'nvidia.com/gpu=0:1'}]\n"),
	     .want = "a cdi nvidia.com/gpu=0:1 literal compose.yaml:3:24 decides\n"
		     "  nvidia.com/gpu=0:1=0:1 literal compose.yaml:3:25<nvidia.com/gpu=0:1>\n"},
	    {"the name of one is not set", SERVICE("    devices: [\"nvidia.com/gpu=${G}\"]\n"),
	     "#G=1\n",
	     .want = "a cdi unknown commented compose.yaml:3:15 decides\n"
		     "  nvidia.com/gpu== commented $G commented .env:1:1<#G=1>\n"},
	    {"none has no name", SERVICE("    devices: [nvidia.com/gpu=]\n"), .want = ""},
	    {"mapped to another name is no CDI device",
	     SERVICE("    devices: [{source: nvidia.com/gpu=0, target: /dev/x}]\n"), .want = ""},
	    {"of another vendor", SERVICE("    devices: [amd.com/gpu=0]\n"),
	     .want = "a cdi amd.com/gpu=0 literal compose.yaml:3:15 hidden foreign\n"
		     "  amd.com/gpu=0=0 literal compose.yaml:3:15<amd.com/gpu=0>\n"},
	    {"nodes",
	     SERVICE("    devices: [/dev/nvidia1:/dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm, "
		     "/dev/snd]\n"),
	     .want = "a device-node /dev/nvidia1 literal compose.yaml:3:15 decides\n"
		     "  /dev/nvidia1=1 literal compose.yaml:3:15</dev/nvidia1>\n"},
	    {"nodes of others", SERVICE("    devices: [/dev/kfd, {source: /dev/dri/renderD128}]\n"),
	     .want = "a device-node /dev/kfd literal compose.yaml:3:15 hidden foreign\n"
		     "  /dev/kfd=/dev/kfd literal compose.yaml:3:15</dev/kfd>\n"
		     "a device-node /dev/dri/renderD128 literal compose.yaml:3:34 hidden foreign\n"
		     "  /dev/dri/renderD128=/dev/dri/renderD128 literal "
		     "compose.yaml:3:34</dev/dri/renderD128>\n"},
	    {"a node beside a reservation is there, too",
	     RESERVE("              count: 1\n    devices: [/dev/nvidia1]\n"),
	     .want = AT "count 1 literal compose.yaml:9:22 decides\n"
			"  1=1 literal compose.yaml:9:22<1>\n"
			"a device-node /dev/nvidia1 literal compose.yaml:10:15\n"
			"  /dev/nvidia1=1 literal compose.yaml:10:15</dev/nvidia1>\n"},
	    {"in the order of the ways",
	     SERVICE("    devices: [/dev/nvidia0, nvidia.com/gpu=0]\n" RUNTIME
		     "    gpus: all\n    environment: [CUDA_VISIBLE_DEVICES=0, " NV "=0]\n"),
	     .want = "a gpus all literal compose.yaml:5:11 decides\n"
		     "  all=all literal\n" AT_RUNTIME "0 literal compose.yaml:6:43 hidden\n"
		     "  0=0 literal compose.yaml:6:66<0>\n"
		     "a cdi nvidia.com/gpu=0 literal compose.yaml:3:29\n"
		     "  nvidia.com/gpu=0=0 literal compose.yaml:3:29<nvidia.com/gpu=0>\n"
		     "a environment 0 literal compose.yaml:6:19 filter\n"
		     "  0=0 literal compose.yaml:6:40<0>\n"
		     "a device-node /dev/nvidia0 literal compose.yaml:3:15\n"
		     "  /dev/nvidia0=0 literal compose.yaml:3:15</dev/nvidia0>\n"},
	};

	check_all(cases, ARRAY_LEN(cases));
}

/* The .env file has it last, whatever a service's own file is called; extends and anchors. */
static void test_other_files(void **state)
{
	static const struct given cases[] = {
	    {"a merge key",
	     "x-gpu: &gpu\n  deploy: {resources: {reservations: {devices: [{capabilities: [gpu], "
	     "device_ids: ['0']}]}}}\nservices:\n  a: {<<: *gpu}\n  b:\n    <<: *gpu\n",
	     .want = AT "0 literal compose.yaml:2:84 decides\n"
			"  0=0 literal compose.yaml:2:85<0>\n"
			"b reservation 0 literal compose.yaml:2:84 decides\n"
			"  0=0 literal compose.yaml:2:85<0>\n"},
	    {"a service of the override alone", "services:\n  a: {image: x}\n",
	     .override = "services:\n  b: {gpus: all}\n",
	     .want = "b gpus all literal compose.override.yaml:2:13 decides\n"
		     "  all=all literal\n"},
	    {"extends adds",
	     "services:\n  a: {gpus: [{count: 1}]}\n  b:\n    extends: a\n    gpus: [{count: 2}]\n",
	     .want = "a gpus count 1 literal compose.yaml:2:22 decides\n"
		     "  1=1 literal compose.yaml:2:22<1>\n"
		     "b gpus count 1 literal compose.yaml:2:22 decides\n"
		     "  1=1 literal compose.yaml:2:22<1>\n"
		     "b gpus count 2 literal compose.yaml:5:20\n"
		     "  2=2 literal compose.yaml:5:20<2>\n"},
	    {"!reset takes away", SERVICE("    gpus: all\n"),
	     .override = SERVICE("    gpus: !reset null\n"), .want = ""},
	    {"CRLF and other letters",
	     "services:\r\n  a:\r\n    image: \"\xc3\xa9\"\r\n    gpus: [{device_ids: "
	     "[\"\xc3\xa9\", '1']}] # \xc3\xa9\r\n",
	     .want = "a gpus \xc3\xa9,1 literal compose.yaml:4:26 decides\n"
		     "  \xc3\xa9=\xc3\xa9 literal compose.yaml:4:27<\xc3\xa9>\n"
		     "  1=1 literal compose.yaml:4:32<1>\n"},
	};

	check_all(cases, ARRAY_LEN(cases));
}

/* `n` numbers, each `width` wide. */
static char *numbers(size_t n, int width)
{
	struct text text = {};

	for (size_t i = 0; i < n; i++)
		text_printf(&text, "%s%0*zu", i ? "," : "", width, i);
	return text_take(&text);
}

static void test_too_many_values(void **state)
{
	static const struct {
		size_t n;
		int width;
		bool fits;
	} cases[] = {
	    {COMPOSE_VALUES_MAX, 1, true},
	    {COMPOSE_VALUES_MAX + 1, 1, false},
	    {1, COMPOSE_VALUE_LENGTH_MAX, true},
	    {1, COMPOSE_VALUE_LENGTH_MAX + 1, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *ids = numbers(cases[i].n, cases[i].width);
		auto_free char *compose =
		    mem_printf("services:\n  a: {gpus: [{device_ids: ['%s']}]}\n"
			       "  c:\n    runtime: nvidia\n    environment:\n      - " NV "=%s\n",
			       ids, ids);
		struct given given = {"too many", compose};
		auto_project struct compose_project *project = NULL;
		struct compose_gpus *gpus;

		load(&given, &project, &gpus);
		for (size_t k = 0; k < project->n; k++) {
			assert_int_equal(gpus[k].n, 1);
			assert_true(gpus[k].requests[0].n_values <= COMPOSE_VALUES_MAX);
			assert_int_equal(gpus[k].requests[0].problem == NULL, cases[i].fits);
			assert_int_equal(gpus[k].requests[0].n_values,
					 cases[i].fits ? cases[i].n : 0);
		}
	}
}

/* What one long text and aliases can make of a small file: an error, and soon. */
static void test_bombs(void **state)
{
	auto_free char *ids = numbers(COMPOSE_VALUES_MAX, 20);
	struct text text = {};
	struct compose_memory_file file = {.path = "/p/compose.yaml"};
	struct compose_options options = {.dir = "/p", .memory = &file, .n_memory = 1};

	for (int many = 0; many < 2; many++) {
		auto_project struct compose_project *project = NULL;
		struct compose_gpus *gpus;
		struct error err = {};

		text_clear(&text);
		text_printf(&text, "x: &x {device_ids: ['%s']}\nservices:\n", ids);
		for (int i = 0; i < (many ? 1 : 40); i++) {
			text_printf(&text, "  s%d:\n    gpus: [", i);
			for (int k = 0; k < COMPOSE_REQUESTS_MAX + many; k++)
				text_add(&text, "*x , ");
			text_add(&text, "]\n");
		}
		file.text = text.data;
		file.len = text.len;
		assert_int_equal(compose_project_load(&options, &project, &err), 0);
		assert_int_equal(compose_locate(project, &gpus, &err), -E2BIG);
		assert_non_null(strstr(err.text, many ? "more than 256 requests" : "MiB"));
		assert_true(project->arena.used < (size_t)100 << 20);
	}
	text_finish(&text);
}

/* Two GPUs, and a third one in MIG mode. */
static struct gpu_list *machine(void)
{
	static const struct {
		unsigned index;
		const char *uuid, *parent, *pci;
	} all[] = {
	    {0, "GPU-aa00", "", "0000:01:00.0"},
	    {1, "GPU-ab11", "", "0000:02:00.0"},
	    {GPU_MIG_INDEX(2, 0), "MIG-c0", "GPU-cc22", "0000:03:00.0"},
	    {GPU_MIG_INDEX(2, 1), "MIG-c1", "GPU-cc22", "0000:03:00.0"},
	};
	struct gpu_list *list = gpu_list_create();

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct gpu *gpu = gpu_list_append(list);

		gpu->index = all[i].index;
		(void)snprintf(gpu->uuid, sizeof gpu->uuid, "%s", all[i].uuid);
		(void)snprintf(gpu->parent_uuid, sizeof gpu->parent_uuid, "%s", all[i].parent);
		(void)snprintf(gpu->pci_bus_id, sizeof gpu->pci_bus_id, "%s", all[i].pci);
	}
	return list;
}

#define GPUS(ids)          SERVICE("    gpus: [{device_ids: [" ids "]}]\n")
#define SEES(ids, visible) GPUS(ids) "    environment: {CUDA_VISIBLE_DEVICES: '" visible "'}\n"
#define ENODEV_OF(value)   "-ENODEV " value

static void test_resolve(void **state)
{
	static const struct {
		const char *compose, *want;
	} cases[] = {
	    {GPUS("'0'"), "0"},
	    {GPUS("'1,0'"), "0 1"},
	    {GPUS("'1', '1'"), "1"},
	    {GPUS("all"), "0 1 2 3"},
	    {GPUS("none"), ""},
	    {SERVICE("    gpus: [{count: 2}]\n"), "0 1"},
	    {SERVICE("    gpus: [{count: 3}]\n"), "0 1 2 3"},
	    {SERVICE("    gpus: [{count: 4}]\n"), ENODEV_OF("4")},
	    {SERVICE("    gpus: [{count: 1}, {device_ids: ['1']}]\n"), "0 1"},
	    {GPUS("GPU-aa00"), "0"},
	    {GPUS("gpu-AB"), "1"},
	    {GPUS("GPU-a"), ENODEV_OF("GPU-a")},
	    {GPUS("GPU-ff"), ENODEV_OF("GPU-ff")},
	    {GPUS("aa00"), ENODEV_OF("aa00")},
	    {GPUS("'3'"), ENODEV_OF("3")},
	    {GPUS("'2'"), "2 3"},
	    {GPUS("GPU-cc22"), "2 3"},
	    {GPUS("'2:1'"), "3"},
	    {GPUS("'2:2'"), ENODEV_OF("2:2")},
	    {GPUS("MIG-c0"), "2"},
	    {GPUS("'0000:02:00.0'"), "1"},
	    {GPUS("nvidia.com/gpu=1"), "1"},
	    {GPUS("cuda:0"), ENODEV_OF("cuda:0")},
	    {GPUS("'99999999999999999999'"), ENODEV_OF("99999999999999999999")},
	    {SEES("'1'", "0"), "1"},
	    {SEES("'0','1'", "1"), "1"},
	    {SEES("'0','1'", "1,7,0"), "1"},
	    {SEES("'0','1'", "GPU-aa"), "0"},
	    {SEES("'1'", "GPU-aa"), ""},
	    {SEES("'1'", "-1"), ""},
	    {SERVICE("    devices: [/dev/nvidia1]\n    gpus: [{count: 1}]\n"), "0 1"},
	    {SERVICE("    devices: [/dev/dri]\n"), ""},
	};
	auto_gpu_list struct gpu_list *list = machine();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct given given = {cases[i].compose, cases[i].compose};
		auto_project struct compose_project *project = NULL;
		const struct compose_value *missing;
		auto_text struct text got = {};
		struct compose_gpus *gpus;
		struct error err = {};
		size_t found[8], n = 0;
		int r;

		load(&given, &project, &gpus);
		r = compose_resolve(gpus, list, found, ARRAY_LEN(found), &n, &missing, &err);
		if (r == -ENODEV)
			text_printf(&got, "-ENODEV %s", missing->text);
		for (size_t k = 0; r == 0 && k < n; k++)
			text_printf(&got, "%s%zu", k ? " " : "", found[k]);
		if (strcmp(got.data ?: "", cases[i].want) != 0)
			fail_msg("%s: got %s, want %s", cases[i].compose, got.data ?: "",
				 cases[i].want);
		if (r < 0)
			assert_non_null(strstr(err.text, "compose.yaml:3:"));
	}
}

/* A value that stands in no file, as checks make it up. */
static void test_resolve_by_hand(void **state)
{
	struct compose_service service = {.name = "a"};
	struct compose_value value = {.text = "7", .device = "7"};
	struct compose_request request = {.in_force = true, .values = &value, .n_values = 1};
	struct compose_gpus gpus = {.service = &service, .requests = &request, .n = 1};
	auto_gpu_list struct gpu_list *list = machine();
	const struct compose_value *missing;
	struct error err = {};
	size_t found[4], n;

	assert_int_equal(compose_resolve(&gpus, list, found, 4, &n, &missing, &err), -ENODEV);
	assert_ptr_equal(missing, &value);
	assert_string_equal(err.text, "service \"a\": there is no GPU 7; there are 0, 1, 2:0, 2:1");
	value.device = "1";
	assert_int_equal(compose_resolve(&gpus, list, found, 4, &n, &missing, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(found[0], 1);
}

static void test_resolve_room(void **state)
{
	struct given given = {"all", SERVICE("    gpus: all\n")};
	auto_gpu_list struct gpu_list *list = machine();
	auto_project struct compose_project *project = NULL;
	const struct compose_value *missing;
	struct compose_gpus *gpus;
	size_t found[3], n;

	load(&given, &project, &gpus);
	assert_int_equal(compose_resolve(gpus, list, found, 3, &n, &missing, NULL), -E2BIG);
}

static void test_sharers(void **state)
{
	static const char compose[] = "x-gpu: &gpu\n"
				      "  gpus: [{device_ids: ['0']}]\n"
				      "services:\n"
				      "  anchor: {<<: *gpu}\n"
				      "  variable: {gpus: [{device_ids: ['${G:-0}']}]}\n"
				      "  alone: {gpus: [{device_ids: ['0']}]}\n"
				      "  merged: {<<: *gpu}\n"
				      "  other-default: {gpus: [{device_ids: ['${G:-1}']}]}\n"
				      "  extended: {extends: anchor}\n"
				      "  none: {image: x}\n";
	static const struct {
		const char *service, *want;
	} cases[] = {
	    {"anchor", "merged extended "},
	    {"variable", "other-default "},
	    {"alone", ""},
	    {"extended", "anchor merged "},
	    {"none", ""},
	};
	struct given given = {"sharers", compose};
	auto_project struct compose_project *project = NULL;
	struct compose_gpus *gpus;
	auto_compose_sharing struct compose_sharing *sharing = NULL;

	load(&given, &project, &gpus);
	sharing = compose_sharing_create(gpus, project->n);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct compose_service *service =
		    compose_project_find(project, cases[i].service);
		size_t one = (size_t)(service - project->services);
		auto_text struct text got = {};

		for (size_t k = 0; k < project->n; k++)
			if (k != one && compose_shares(sharing, one, k))
				text_printf(&got, "%s ", gpus[k].service->name);
		assert_string_equal(got.data ?: "", cases[i].want);
	}
}

/* Each of many requests is not held against each of another service's. */
static void test_sharers_of_many(void **state)
{
	auto_free char *ids = numbers(COMPOSE_VALUES_MAX, 1);
	struct text text = {};
	struct given given = {"sharers of many"};
	auto_project struct compose_project *project = NULL;
	auto_compose_sharing struct compose_sharing *sharing = NULL;
	struct compose_gpus *gpus;
	struct timespec begin, end;

	(void)state;
	text_add(&text, "services:\n");
	for (int service = 0; service < 3; service++) {
		text_printf(&text, "  s%d:\n    gpus:\n", service);
		for (int i = 0; i < COMPOSE_REQUESTS_MAX; i++)
			text_printf(&text, "      - {device_ids: ['%s']}\n", ids);
	}
	given.compose = text.data;
	load(&given, &project, &gpus);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	sharing = compose_sharing_create(gpus, project->n);
	for (size_t i = 0; i < project->n; i++)
		for (size_t k = 0; k < project->n; k++)
			assert_true(i == k || !compose_shares(sharing, i, k));
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 5);
	text_finish(&text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),          cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_drivers),         cmocka_unit_test(test_gpus),
	    cmocka_unit_test(test_runtime),         cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_devices),         cmocka_unit_test(test_other_files),
	    cmocka_unit_test(test_too_many_values), cmocka_unit_test(test_bombs),
	    cmocka_unit_test(test_resolve),         cmocka_unit_test(test_resolve_by_hand),
	    cmocka_unit_test(test_resolve_room),    cmocka_unit_test(test_sharers),
	    cmocka_unit_test(test_sharers_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
