/*
 * When the driver is upgraded its user space is replaced under whoever has it loaded. He goes on
 * seeing the GPUs, but whatever starts now loads the new file, and fails on the old kernel module.
 */
#include "gpu/library_file.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

void library_file_remember(struct library_file *file, void *library)
{
	struct link_map *map = NULL;

	file->path[0] = '\0';
	if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name[0] == '/' &&
	    stat(map->l_name, &file->stat) == 0)
		(void)snprintf(file->path, sizeof file->path, "%s", map->l_name);
}

bool library_file_was_replaced(const struct library_file *file)
{
	struct stat now;

	return file->path[0] && (stat(file->path, &now) < 0 || now.st_dev != file->stat.st_dev ||
				 now.st_ino != file->stat.st_ino);
}
