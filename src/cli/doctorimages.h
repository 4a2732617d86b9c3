/* `plimsoll doctor --images`: base images of Dockerfiles and compose files against this machine. */
#pragma once

#include "doctor/images.h"

#include <stdio.h>

/* The images of these files and folders; of none: of the current folder. A .yml or .yaml is a
 * compose file: its images, and the Dockerfiles it builds, with their build arguments. */
int doctorimages_collect(const struct strings *files, struct image_uses *uses,
			 struct error *err) MUST_CHECK;

/* Each with FILE:LINE; of what is well and of other images only with `verbose`. */
void doctorimages_render(const struct image_uses *uses, bool verbose, FILE *file, unsigned width,
			 struct text *text);

/* {"images": [{"file", "line", "service", "image", "written", "platform", "status", "evidence",
 * "cause", "fix"}], "summary", "fit"}; a new reference. */
json_t *doctorimages_json(const struct image_uses *uses);

size_t doctorimages_count(const struct image_uses *uses, enum doctor_status status);
