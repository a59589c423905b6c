/* What DuckDB is not asked to guess about a CSV or TSV file: its delimiter, the names in its first line, and the line on
 * which a record begins. Files that end in .gz are unpacked while they are read. Of files that offline_whole.h lets through. Blocking; any thread.
 *
 * Form: RFC 4180 with any of , ; | tab between the cells; the first line names the columns. */
#pragma once
#include "store/offline/offline_conn.h"

enum { CSV_COLUMNS_MAX = 2000 };
/* A name of the file in a message, for "%.*s": not all of a long one. */
#define SHOWN(c_string) STR_ARG(str_first(str_from(c_string), 60))

struct csv_header {
	char delimiter;
	char **names; /* owned; each too */
	size_t count;
};

/* false: *error says what the first line must be. *ret is to be finished in any case. */
bool csv_header_read(const char *path, bool is_tsv, struct csv_header *ret, struct offline_error *error);
void csv_header_finish(struct csv_header *h);

/* The line (from 1) on which the record begins; records count from 1, behind the header when there is one. Empty lines
 * hold no record, but in a file of one column. JSON lines are read with quote '\0'; those of spaces only are empty. 0: there is no such record. */
struct csv_form {
	char quote; /* '\0': cells have none */
	bool has_header, has_one_column;
};
uint64_t csv_line_of(const char *path, struct csv_form form, uint64_t record);
