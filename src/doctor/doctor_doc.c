/* Prints docs/doctor.md. */
#include "doctor/doctor.h"

int main(void)
{
	auto_text struct text text = {};

	doctor_describe(&text);
	return fputs(text.data, stdout) == EOF || fflush(stdout) != 0;
}
