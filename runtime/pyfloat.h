/* The shortest decimal text that reads back as the same double, laid out as Python's repr does: 0.1, 1.0,
 * -0.0, 1e-05, 1e+16. CRS-001 hashes numbers in this form. Digits by Schubfach (R. Giulietti, "The
 * Schubfach way to render doubles", 2020): one 128-bit table look-up and three multiplications, no search. */
#pragma once
#include "runtime/str.h"

enum { PYFLOAT_TEXT_MAX = 25 }; /* -2.2250738585072014e-308 is 24 */

/* v must be finite. Returns the length; not NUL-terminated. Any thread. */
size_t pyfloat_text(double v, char ret[static PYFLOAT_TEXT_MAX]);
