/* A text file (CSV, TSV, JSON, JSON lines) as a SELECT with a type for each column.
 *
 * DuckDB's own guess looks at the first 20,480 rows and casts what comes later, rounding as it goes. Here every cell
 * is read as text first, and a column gets the narrowest of BOOLEAN, BIGINT, DOUBLE, DATE and TIMESTAMP that each of
 * its cells fits without loss; a column that fits none is text as written, and so is one named as an entity's id. */
#pragma once
#include "store/offline/offline.h"
#include "store/offline/offline_conn.h"

/* Appends the SELECT. Blocking: reads the file to see that it is whole, then once, or twice when its first rows are not like the others. false: *error
 * names the line, the column and the value where it can. */
bool offline_text_select(struct offline_conn *c, const struct offline_table *table, struct buf *ret_sql,
			 struct offline_error *error);
/* A file's name as a text of SQL: a name, not a pattern. */
void offline_text_path(struct buf *out, const char *path);
/* offline_error_set for what reads a file: the line, and what is wrong with it. */
void offline_text_error(struct offline *o, struct offline_error *error, duckdb_error_type type, const char *text);
