/* What a definitions file declares, in words and numbers: for /v1/definitions, `fabra check` and `fabra features list`. */
#pragma once
#include "actors/definitions/definitions.h"

/* {"entities":[...],"features":[...],"tables":[...],"retrievers":[...],"contexts":[...]}; no code, no SQL, no paths. */
void definitions_describe(const struct definitions *d, struct buf *out);
