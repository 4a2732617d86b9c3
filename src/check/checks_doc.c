/* Prints docs/checks.md. */
#include "check/check.h"

int main(void)
{
	auto_text struct text text = {};

	check_describe(&text);
	return fputs(text.data, stdout) == EOF || fflush(stdout) != 0;
}
