/* The tables, step by step. A step that has been released is never changed: the next one changes what it made. */
#pragma once
#include <stddef.h>

/* Step number i + 1 is pg_schema_steps[i]: one transaction. */
extern const char *const pg_schema_steps[];
extern const int pg_schema_version; /* how many there are */
