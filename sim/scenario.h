/*
 * Scenario files: which GPUs there are, how they misbehave, what happens when. docs in
 * sim/scenarios/README.md. A scenario becomes the image of a state file.
 */
#pragma once

#include "sim/state.h"
#include "util/yamlx.h"

/* An image with nothing in it but the defaults of a healthy driver; the caller frees. */
struct sim_state *scenario_create_empty(void);

/* Parse a scenario; errors read "name:line:column: …". `catalogue` as loaded by catalogue_load().
 * The caller frees the image. */
int scenario_parse(const struct yamlx *doc, const struct yamlx *catalogue,
		   struct sim_state **ret_image, struct error *err) MUST_CHECK;

/* The value of --gpus: "rtx-a5500,rtx-a400" or "big:23.57G:1.0,small:8G:0.4". */
int scenario_parse_gpus(const char *list, const struct yamlx *catalogue,
			struct sim_state **ret_image, struct error *err) MUST_CHECK;

/* One event of a timeline. Without `at` it is due at `now_ns`. */
int scenario_parse_event(const struct yamlx *doc, const struct yamlx_node *node,
			 const struct sim_state *state, int64_t now_ns, struct sim_event *ret_event,
			 struct error *err) MUST_CHECK;

/* The `quirks` of a GPU and of the whole. */
int scenario_parse_gpu_quirks(const struct yamlx *doc, const struct yamlx_node *node,
			      struct sim_gpu *gpu, struct error *err) MUST_CHECK;
int scenario_parse_quirks(const struct yamlx *doc, const struct yamlx_node *node,
			  struct sim_state *image, struct error *err) MUST_CHECK;

/* `condition` of a GPU: how it is set, and how it is. */
int scenario_parse_condition(const struct yamlx *doc, const struct yamlx_node *node,
			     struct sim_condition *ret_condition, struct error *err) MUST_CHECK;

/* A return code by number or name: 15 or "lost". */
int scenario_parse_code(const struct yamlx *doc, const struct yamlx_node *node, int32_t *ret_code,
			struct error *err) MUST_CHECK;
int scenario_parse_listing(const struct yamlx *doc, const struct yamlx_node *node,
			   uint32_t *ret_listing, struct error *err) MUST_CHECK;

/* A whole number in [min, max]. */
int scenario_parse_int(const struct yamlx *doc, const struct yamlx_node *node, int64_t min,
		       int64_t max, int64_t *ret_value, struct error *err) MUST_CHECK;

/* `links`: between which GPUs is what. */
int scenario_parse_links(const struct yamlx *doc, const struct yamlx_node *node,
			 struct sim_state *image, struct error *err) MUST_CHECK;
