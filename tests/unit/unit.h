/* What every unit test includes: cmocka in its required order. Output is TAP, set by meson. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four first. */
#include <cmocka.h>

/* How often what is only tried more often (seeds, rounds) is tried: the ordinary build does all of
 * it, under AddressSanitizer, which takes up to eight times as long, it is a fifth. */
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS(n) ((n) / 5)
#else
#define ROUNDS(n) (n)
#endif
