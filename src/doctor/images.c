/*
 * See images.h. A name is taken apart once; then each thing that can be wrong with it is one
 * function that says so: its tag, the driver, what the image asks of the driver when it starts, the
 * GPUs' architectures, the code in its torch.
 */
#include "doctor/images.h"

#include "doctor/distro.h"
#include "doctor/dockerfile.h"

#include "util/file.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* --- names --- */

/* "12.4" of "cuda12.4.1", "cuda-12.4", "cu124"; "11.8" of "cu118". */
static struct version cuda_in(const char *tag)
{
	for (const char *p = tag; (p = strstr(p, "cu")); p += strlen("cu")) {
		const char *digits = p + strlen("cu");
		auto_free char *version = NULL;
		size_t len;

		if (p > tag && isalnum((unsigned char)p[-1]))
			continue;
		if (text_starts_with(p, "cuda"))
			digits = p + strlen("cuda");
		digits += *digits == '-' || *digits == '_';
		len = strspn(digits, "0123456789");
		if (len == 2 && digits[len] == '.')
			return version_parse(digits);
		if (len == 3) { /* cu124 */
			version = mem_printf("%.2s.%.1s", digits, digits + 2);
			return version_parse(version);
		}
	}
	return (struct version){};
}

/* "docker.io/nvidia/cuda" and "nvcr.io/nvidia/cuda" are nvidia/cuda. */
static enum image_family family_of(const char *repository)
{
	static const char *const registries[] = {"docker.io/", "index.docker.io/", "nvcr.io/"};
	const char *name = repository;

	for (size_t i = 0; i < ARRAY_LEN(registries); i++)
		if (text_starts_with(repository, registries[i]))
			name = repository + strlen(registries[i]);
	if (strcmp(name, "nvidia/cuda") == 0)
		return IMAGE_CUDA;
	if (strcmp(name, "pytorch/pytorch") == 0)
		return IMAGE_PYTORCH;
	return text_starts_with(repository, "nvcr.io/") ? IMAGE_NGC : IMAGE_OTHER;
}

struct image_name images_name(const char *image)
{
	struct image_name name = {};
	auto_free char *repository = mem_strdup(image);
	char *digest = strchr(repository, '@'), *tag;
	const char *os;

	if (digest) {
		*digest = '\0';
		name.by_digest = true;
	}
	tag = strrchr(repository, ':');
	if (tag && !strchr(tag, '/')) { /* not a registry's port */
		(void)snprintf(name.tag, sizeof name.tag, "%s", tag + 1);
		*tag = '\0';
	}
	name.family = family_of(repository);
	name.cuda = name.family == IMAGE_CUDA ? version_parse(name.tag) : cuda_in(name.tag);
	if (name.family == IMAGE_PYTORCH)
		name.torch = version_parse(name.tag);
	os = strrchr(name.tag, '-');
	if (name.family == IMAGE_CUDA && os)
		(void)snprintf(name.os, sizeof name.os, "%s", os + 1);
	return name;
}

/* --- judging --- */

struct judge {
	const struct doctor *doctor;
	const struct image_place *place;
	struct image_name name;
	struct version driver, driver_cuda;
	struct doctor_result *result;
};

static void fix_tag(const struct judge *judge, const struct version *from, const struct version *to)
{
	doctor_fix(judge->result, "sed -i '%us|:%s|:%s|' %s", judge->place->line,
		   VERSION_TEXT(from), VERSION_TEXT(to), judge->place->file);
}

static void say_unsupported(const struct judge *judge)
{
	const struct compat *compat = judge->doctor->compat;
	struct version instead = compat_tag_instead(compat, &judge->name.cuda);

	doctor_say(judge->result, DOCTOR_WARN, "nvidia/cuda %s is at its end of life",
		   VERSION_TEXT(&judge->name.cuda));
	doctor_because(judge->result, "NVIDIA deletes such tags from Docker Hub and NGC within six "
				      "months: then a pull fails with \"manifest unknown\"");
	if (instead.n && compat_tag(compat, &instead, judge->name.os) == COMPAT_TAG_BUILT &&
	    strstr(judge->place->written, VERSION_TEXT(&judge->name.cuda)))
		fix_tag(judge, &judge->name.cuda, &instead);
	else
		doctor_fix(judge->result, "# a tag that is still made: one of CUDA %s",
			   instead.n ? VERSION_TEXT(&instead) : "11.4 or newer");
}

static void judge_tag(const struct judge *judge)
{
	const struct image_name *name = &judge->name;

	if (name->by_digest)
		return;
	if (!*name->tag || strcmp(name->tag, "latest") == 0) {
		bool is_cuda = name->family == IMAGE_CUDA;

		doctor_say(judge->result, is_cuda ? DOCTOR_FAIL : DOCTOR_WARN, "%s",
			   *name->tag ? "the tag is latest" : "no tag, which means latest");
		doctor_because(judge->result, is_cuda
						  ? "nvidia/cuda has no tag latest: a pull fails"
						  : "what latest is changes, and with it the CUDA "
						    "that the driver must be for");
		doctor_fix(judge->result, is_cuda
					      ? "# name one: nvidia/cuda:12.8.1-base-ubuntu22.04"
					      : "# name the version it was tried with");
		return;
	}
	if (name->family != IMAGE_CUDA)
		return;
	switch (name->cuda.n ? compat_tag(judge->doctor->compat, &name->cuda, name->os)
			     : COMPAT_TAG_UNKNOWN) {
	case COMPAT_TAG_BUILT:
		break;
	case COMPAT_TAG_UNSUPPORTED:
		say_unsupported(judge);
		break;
	case COMPAT_TAG_NOT_MADE:
		doctor_say(judge->result, DOCTOR_FAIL, "CUDA %s was not made for %s",
			   VERSION_TEXT(&name->cuda), name->os);
		doctor_because(judge->result, "there is no such tag: a pull fails");
		doctor_fix(judge->result, "# another OS for this CUDA, or another CUDA for this "
					  "OS: https://hub.docker.com/r/nvidia/cuda/tags");
		break;
	case COMPAT_TAG_UNKNOWN:
		doctor_say(judge->result, DOCTOR_UNKNOWN,
			   "nvidia/cuda %s is in no list of %s (cuda.yaml)", name->tag,
			   compat_date(judge->doctor->compat));
		break;
	}
}

static void fix_driver(const struct judge *judge)
{
	distro_fix_driver(judge->doctor->machine, judge->result);
	if (judge->driver_cuda.n)
		doctor_fix(judge->result,
			   "# or an image with CUDA up to %s, which this driver is "
			   "for",
			   VERSION_TEXT(&judge->driver_cuda));
}

static void say_verdict(const struct judge *judge, enum compat_verdict verdict, const char *gpu,
			bool by_driver, const char *why)
{
	struct doctor_result *result = judge->result;

	switch (verdict) {
	case COMPAT_UNKNOWN:
	case COMPAT_RUNS:
		if (*why)
			doctor_say(result, DOCTOR_OK, "%s", why);
		break;
	case COMPAT_JIT:
		doctor_say(result, DOCTOR_WARN, "%s: %s", gpu, why);
		doctor_because(result, "the image's CUDA is older than the GPU");
		doctor_fix(result, "# an image with a newer CUDA");
		break;
	case COMPAT_PACKAGE:
		doctor_say(result, DOCTOR_WARN, "%s", why);
		doctor_because(result,
			       "the driver is older than the image's CUDA: it needs forward "
			       "compatibility, which this GPU can have");
		doctor_fix(result,
			   "# container toolkit 1.18 or newer puts the image's cuda-compat "
			   "in use; with an older one: LD_LIBRARY_PATH=/usr/local/cuda/compat");
		fix_driver(judge);
		break;
	case COMPAT_NOT:
		doctor_say(result, DOCTOR_FAIL, "%s%s%s", by_driver ? "" : gpu,
			   by_driver ? "" : ": ", why);
		doctor_because(result, by_driver ? "the driver is too old for the image's CUDA"
						 : "the image's CUDA has no code for the GPU");
		if (by_driver)
			fix_driver(judge);
		else
			doctor_fix(result, "# an image with an older CUDA, or another GPU");
		break;
	}
}

/* With no GPU known the driver alone. */
static void judge_toolkit(const struct judge *judge)
{
	const struct gpu_list *gpus = judge->doctor->machine->gpus;
	const struct compat *compat = judge->doctor->compat;
	const struct version *cuda = &judge->name.cuda;
	struct version least = compat_least_driver(compat, cuda);
	bool by_driver = judge->driver.n && least.n && version_compare(&judge->driver, &least) < 0;

	for (size_t i = 0; i < MAX_OF(gpus->n, 1); i++) {
		const struct gpu *gpu = i < gpus->n ? &gpus->gpus[i] : NULL;
		auto_text struct text why = {};
		enum compat_verdict verdict;

		if (by_driver && i > 0)
			break;
		verdict =
		    compat_runs(compat, cuda, &judge->driver, gpu ? gpu->compute_capability : 0,
				gpu ? compat_brand(gpu->name) : NULL, &why);
		if (verdict == COMPAT_RUNS && i > 0)
			continue; /* the same words again */
		say_verdict(judge, verdict, gpu ? gpu->name : "", by_driver,
			    why.data ? why.data : "");
	}
}

/* Toolkits from 1.18 on hand GPUs over by CDI, where nobody looks at NVIDIA_REQUIRE_CUDA. */
static bool looks_at_require(const struct machine *machine)
{
	static const struct version cdi = {.parts = {1, 18}, .digits = {1, 2}, .n = 2};
	const char *text = machine->ctk ? strpbrk(machine->ctk, "0123456789") : NULL;
	struct version version = text ? version_parse(text) : (struct version){};

	return version.n == 0 || version_compare(&version, &cdi) < 0;
}

static void judge_require(const struct judge *judge)
{
	const struct gpu_list *gpus = judge->doctor->machine->gpus;
	const struct gpu *gpu = gpus->n ? &gpus->gpus[0] : NULL;
	bool looks = looks_at_require(judge->doctor->machine);

	if (judge->name.family != IMAGE_CUDA || !judge->name.cuda.n ||
	    judge->result->status >= DOCTOR_FAIL ||
	    compat_lets_in(judge->doctor->compat, &judge->name.cuda, &judge->driver,
			   &judge->driver_cuda, gpu ? compat_brand(gpu->name) : NULL))
		return;
	doctor_say(judge->result, looks ? DOCTOR_FAIL : DOCTOR_WARN,
		   "the image wants cuda>=%u.%u when it starts; driver %s is for %s%s%s",
		   judge->name.cuda.parts[0], judge->name.cuda.parts[1],
		   VERSION_TEXT(&judge->driver),
		   judge->driver_cuda.n ? VERSION_TEXT(&judge->driver_cuda) : "less",
		   gpu ? ", and lets older drivers in only with other GPUs than " : "",
		   gpu ? gpu->name : "");
	doctor_because(judge->result,
		       "its NVIDIA_REQUIRE_CUDA makes the container toolkit refuse it "
		       "(\"unsatisfied condition: cuda>=%u.%u\"), though CUDA itself would run by "
		       "minor-version compatibility",
		       judge->name.cuda.parts[0], judge->name.cuda.parts[1]);
	doctor_fix(judge->result, "# run it with NVIDIA_DISABLE_REQUIRE=true in its environment");
	fix_driver(judge);
}

static void judge_torch(const struct judge *judge)
{
	const struct gpu_list *gpus = judge->doctor->machine->gpus;
	const struct image_name *name = &judge->name;
	const char *platform = judge->place->platform;

	if (!name->torch.n || !name->cuda.n || (platform && strstr(platform, "arm")))
		return;
	for (size_t i = 0; i < gpus->n; i++) {
		auto_text struct text why = {};

		if (!gpus->gpus[i].compute_capability ||
		    compat_torch_runs(judge->doctor->compat, &name->torch, &name->cuda,
				      gpus->gpus[i].compute_capability, &why) != COMPAT_NOT)
			continue;
		doctor_say(judge->result, DOCTOR_FAIL, "%s: %s", gpus->gpus[i].name, why.data);
		doctor_because(judge->result, "this build of torch fails there with \"no kernel "
					      "image is available for execution on the device\"");
		doctor_fix(judge->result, "# RTX 50 and newer: torch 2.7 or newer for CUDA 12.8; "
					  "GTX 9 and 10: a build for CUDA 12.6 or older");
	}
}

static void judge_one(const struct doctor *doctor, struct image_use *use)
{
	const struct machine *machine = doctor->machine;
	const struct image_place *place = &use->place;
	struct judge judge = {.doctor = doctor, .place = place, .result = &use->result};
	int cuda = machine->gpus->cuda_version;

	if (!*place->image) {
		doctor_say(&use->result, DOCTOR_UNKNOWN, "a variable in it has no value here");
		return;
	}
	judge.name = images_name(place->image);
	judge.driver = machine->module_loaded.n ? machine->module_loaded
						: version_parse(machine->gpus->driver_version);
	judge.driver_cuda = compat_driver_cuda(doctor->compat, &judge.driver);
	if (cuda > 0) {
		auto_free char *text = mem_printf("%d.%d", cuda / 1000, cuda % 1000 / 10);

		judge.driver_cuda = version_parse(text);
	}
	if (judge.name.family == IMAGE_OTHER && !judge.name.cuda.n) {
		doctor_say(&use->result, DOCTOR_SKIPPED, "its name tells of no CUDA");
		return;
	}
	judge_tag(&judge);
	if (!judge.name.cuda.n) {
		doctor_say(&use->result, DOCTOR_UNKNOWN, "its name does not tell its CUDA");
		return;
	}
	doctor_say(&use->result, DOCTOR_OK, "CUDA %s", VERSION_TEXT(&judge.name.cuda));
	if (judge.driver.n == 0 && !machine->jetson)
		doctor_say(&use->result, DOCTOR_UNKNOWN, "there is no driver here to compare with");
	if (machine->jetson)
		return;
	judge_toolkit(&judge);
	judge_require(&judge);
	judge_torch(&judge);
}

void images_judge(const struct doctor *doctor, struct image_uses *uses)
{
	for (size_t i = 0; i < uses->n; i++)
		judge_one(doctor, &uses->items[i]);
}

/* --- the list --- */

static const char *own(struct image_uses *uses, const char *text)
{
	if (!text)
		return NULL;
	strings_add(&uses->strings, text);
	return uses->strings.items[uses->strings.n - 1];
}

void images_add(struct image_uses *uses, const struct image_place *place)
{
	for (size_t i = 0; i < uses->n; i++)
		if (uses->items[i].place.line == place->line &&
		    strcmp(uses->items[i].place.file, place->file) == 0 &&
		    strcmp(uses->items[i].place.image, place->image) == 0)
			return;
	ARRAY_GROW(uses->items, uses->n, uses->room);
	uses->items[uses->n++] = (struct image_use){
	    .place = {.file = own(uses, place->file),
		      .line = place->line,
		      .image = own(uses, place->image),
		      .written = own(uses, place->written),
		      .platform = own(uses, place->platform),
		      .service = own(uses, place->service)},
	};
}

int images_add_dockerfile(struct image_uses *uses, const char *path, const char *shown,
			  char *const *args, struct error *err)
{
	auto_dockerfile struct dockerfile file = {};
	auto_text struct text text = {};
	int r = file_read(path, DOCKERFILE_MAX, false, &text, err);

	if (r == 0)
		r = dockerfile_parse(text.data ? text.data : "", text.len, shown, args, &file, err);
	for (size_t i = 0; r == 0 && i < file.n; i++) {
		images_add(uses, &(struct image_place){.file = shown,
						       .line = file.items[i].line,
						       .image = file.items[i].image,
						       .written = file.items[i].written,
						       .platform = file.items[i].platform});
	}
	return r;
}

void images_finish(struct image_uses *uses)
{
	for (size_t i = 0; i < uses->n; i++) {
		struct image_use *use = &uses->items[i];

		text_finish(&use->result.evidence);
		text_finish(&use->result.cause);
		strings_finish(&use->result.fix);
	}
	free(uses->items);
	strings_finish(&uses->strings);
	*uses = (struct image_uses){};
}
