/*
 * What makes two items of a list the same: the variable's name, the path in the container, ... (the
 * indexers of compose-go's override/uncity.go). The later one stands, at the place of the first.
 */
#pragma once

#include "compose/node.h"

/* A part of a text that stays where it is. */
struct compose_slice {
	const char *text; /* NULL: nothing */
	size_t len;
};

/* The key of an item; nothing: it is like no other. */
typedef struct compose_slice compose_key_f(struct arena *arena, const struct compose_node *item);

compose_key_f compose_key_setting; /* "NAME=value", "NAME", or a map of one key */
compose_key_f compose_key_text;
compose_key_f compose_key_volume;   /* where it is mounted */
compose_key_f compose_key_device;   /* the same of a device */
compose_key_f compose_key_config;   /* the same of a config */
compose_key_f compose_key_secret;   /* the same of a secret */
compose_key_f compose_key_port;     /* address, published and target port, protocol */
compose_key_f compose_key_env_file; /* its path */

/* The list itself when all its items differ. */
struct compose_node *compose_unique(struct arena *arena, struct compose_node *list,
				    compose_key_f *key);
