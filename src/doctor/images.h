/*
 * Base images against this machine: what a name and tag tell (nvidia/cuda, pytorch/pytorch,
 * nvcr.io, and any tag that has cuda12.4 or cu124 in it), its driver and GPUs, and NVIDIA's policy
 * of tags. Nothing is pulled or asked.
 */
#pragma once

#include "doctor/doctor.h"

/* Where an image is named. */
struct image_place {
	const char *file; /* as people know it */
	unsigned line;
	const char *image;    /* variables filled in; "": one has no value */
	const char *written;  /* as it stands there */
	const char *platform; /* NULL: not said */
	const char *service;  /* of a compose file; NULL: a Dockerfile's */
};

struct image_use {
	struct image_place place;    /* its strings are the list's */
	struct doctor_result result; /* images_judge(); result.check is NULL */
};

struct image_uses {
	struct image_use *items;
	size_t n, room;
	struct strings strings; /* the places' */
};

/* Strings are copied; the same place twice is there once. */
void images_add(struct image_uses *uses, const struct image_place *place);
/* The FROM lines of a Dockerfile; `args` as dockerfile_parse(). */
int images_add_dockerfile(struct image_uses *uses, const char *path, const char *shown,
			  char *const *args, struct error *err) MUST_CHECK;
void images_judge(const struct doctor *doctor, struct image_uses *uses);
void images_finish(struct image_uses *uses);
#define auto_images CLEANUP(images_finish)

/* What an image's name tells. */
enum image_family { IMAGE_OTHER, IMAGE_CUDA, IMAGE_PYTORCH, IMAGE_NGC };
struct image_name {
	enum image_family family;
	struct version cuda, torch; /* n == 0: not told */
	char tag[128];              /* "" none */
	char os[24];                /* of nvidia/cuda: "ubuntu22.04" */
	bool by_digest;
};
struct image_name images_name(const char *image);
