/*
 * The table of NVML's functions and how they are called; for nvml.c and nvml_details.c alone. What
 * the library lacks answers "function not found", as the library itself would.
 */
#pragma once

#include "gpu/nvml_abi.h"
#include "gpu/nvml_codes.h"

#include <stddef.h>

struct functions {
#define MEMBER(member, symbol, args) int(*member) args;
	FUNCTIONS(MEMBER)
#undef MEMBER
};

struct nvml;
/* Of a session that is open; NULL: it is not. */
const struct functions *nvml_functions(const struct nvml *nvml);

typedef int (*process_list_f)(struct nvml_device *, unsigned *, void *);

/* The code of a call, or that of a function the library lacks. */
#define CALL(nvml, member, ...) \
	((nvml)->f.member ? (nvml)->f.member(__VA_ARGS__) : NVML_FUNCTION_NOT_FOUND)

static inline bool code_means_no_such_version(int code)
{
	return code == NVML_FUNCTION_NOT_FOUND || code == NVML_ARGUMENT_VERSION;
}

/* Call the newer version; where it is not to be had, the older. */
#define CALL2(nvml, newer, older, ...)                               \
	({                                                           \
		int call_code_ = CALL(nvml, newer, __VA_ARGS__);     \
		if (code_means_no_such_version(call_code_))          \
			call_code_ = CALL(nvml, older, __VA_ARGS__); \
		call_code_;                                          \
	})
