/* What `plimsoll doctor` says, for people and for scripts (DESIGN §7). */
#pragma once

#include "doctor/doctor.h"

#include <stdio.h>

/* What is wrong, by group, each with what was seen, why, and the commands that mend it; of what is
 * well only how many, unless `verbose`. Colours as `file` takes them
 * (NULL: none); prose is broken at `width`,
 * commands are not. Appended to `text`. */
void doctorview_render(const struct doctor_results *results, bool verbose, FILE *file,
		       unsigned width, struct text *text);

/* One finding under a head of its own, "FILE:LINE: IMAGE". Parameters as above. */
void doctorview_result(const struct doctor_result *result, const char *head, FILE *file,
		       unsigned width, struct text *text);

/* {"for", "fit", "summary", "checks"}; a new reference. */
json_t *doctorview_json(const struct doctor_results *results, enum doctor_purpose purpose);
