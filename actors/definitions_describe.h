/* What a definitions file declares, in words and numbers: for /v1/definitions, `fabra check` and `fabra features list`. */
#pragma once
#include "actors/definitions.h"

struct offline_store;

/* {"entities":[...],"features":[...],"tables":[...],"retrievers":[...],"contexts":[...]}; no code, no SQL, no paths. */
void definitions_describe(const struct definitions *d, struct buf *out);
/* Whether the SQL of all features can run over the tables that are there. false: *ret_why has a line
 * "file:line: feature 'x': sql: ..." for each that cannot. Blocking. */
bool definitions_check_sql(const struct definitions *d, const struct offline_store *o, struct buf *ret_why);
