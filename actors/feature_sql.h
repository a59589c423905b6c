/* What can be wrong with the SQL of features is known once the tables are loaded, before anyone asks for a value. */
#pragma once
#include "actors/definitions/definitions.h"

struct offline_store;

/* Whether the SQL of all features can run over the tables that are there. false: *ret_why has a line
 * "file:line: feature 'x': sql: ..." for each that cannot. Blocking. */
bool feature_sql_check(const struct definitions *d, const struct offline_store *o, struct buf *ret_why);
