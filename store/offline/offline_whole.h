/* Whether a text file can be read at all: the whole of it is there, and it is UTF-8.
 *
 * DuckDB takes what a cut gzip file still gives for all of it and looks at no checksum, and some bytes that are no UTF-8
 * end in an internal error, after which its database must be opened again. So the file is read through before. */
#pragma once
#include "store/offline/offline_conn.h"

/* A name that ends in .gz: one gzip member or more, each with its end, CRC and length. false: *error names the line, or
 * what is wrong with the file. delimiter: of a CSV file, in which a quote begins or ends a cell; 0: another file. Blocking; any thread; 128 KiB of memory, whatever the file's size. */
bool offline_whole_check(const char *path, char delimiter, struct offline_error *error);
