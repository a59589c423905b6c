/* "Did you mean": the edit distance with swaps (Damerau and Levenshtein, optimal string alignment). */
#pragma once
#include "runtime/str.h"
#include <stdint.h>

enum { NEAR_FAR = 99 };

/* The distance, or NEAR_FAR when the two have little in common: more than a third of the letters differ, or
 * one is longer than 64 bytes. Letter case does not count. */
unsigned definitions_distance(struct str a, struct str b);
/* The nearest of a NULL-terminated list; NULL when none is near. */
const char *definitions_near(const char *const *names, struct str name);
bool definitions_near_known(const char *const *names, struct str name);
