/* Which files can be a table, by the ends of their names: known before a store is open, and without one. */
#pragma once
#include "runtime/str.h"

/* *ret_is_text: the file's columns need types; else it has its own (Parquet). */
bool table_file_reads(const char *file, bool *ret_is_text);
/* The endings, for messages. */
extern const char table_file_endings[];
