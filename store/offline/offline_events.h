/* A file of events, for the command line: its rows, what was found for them, and both written to a file. A DuckDB of its own in a
 * scratch folder, so that neither need fit the memory. Blocking; one thread. */
#pragma once
#include "runtime/buf.h"

struct offline_events;

/* file: CSV, TSV, JSON, JSON lines or Parquet, as fabra.table reads them. text_columns: taken as written, and what events are
 * read by; each must be there. scratch_dir: an empty folder, which stays the caller's. NULL: *ret_why. */
struct offline_events *offline_events_open(const char *file, const char *scratch_dir, const char *const *text_columns,
					   size_t text_columns_count, struct buf *ret_why);
void offline_events_close(struct offline_events *e); /* NULL ok */
uint64_t offline_events_count(const struct offline_events *e);
/* Whether the file has a column of this name, in any case. */
bool offline_events_has_column(const struct offline_events *e, const char *name);
/* "line 7" of a text file, else "row 7", of a row as offline_events_read counts them. */
void offline_events_place(const struct offline_events *e, uint64_t row, struct buf *out);

/* All rows, sorted by the text columns but the last, which is a time, in UTC where it has a type. texts: of the columns; p NULL is
 * a null. each returns false to stop, which is no failure. false: *ret_why. */
bool offline_events_read(struct offline_events *e, void *arg,
			 bool (*each)(void *arg, uint64_t row, const struct str *texts), struct buf *ret_why);

/* What was found: columns named once, then a row for each event, in any order. json: a value for each column, p NULL is null. */
bool offline_events_begin(struct offline_events *e, const char *const *columns, size_t columns_count,
			  struct buf *ret_why);
bool offline_events_add(struct offline_events *e, uint64_t row, const struct str *json, struct buf *ret_why);
/* The events in their order, each with what was found. A column whose values are all of one kind has its type (BIGINT, DOUBLE, BOOLEAN,
 * VARCHAR); any other one has JSON. Parquet, or CSV, by the end of the name. */
bool offline_events_write(struct offline_events *e, const char *path, struct buf *ret_why);
bool offline_events_can_write(const char *path);
