/* Prints docs/states.md. */
#include "sched/states.h"

int main(void)
{
	sched_table_print(stdout);
	return ferror(stdout) || fflush(stdout) != 0;
}
