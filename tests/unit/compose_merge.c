/* Merging, extends, include: the cases of tests/cases/compose/merge. */
#include "compose_scene.h"

int main(void)
{
	return scene_run("merge", NULL, 0);
}
