/* The table loader: one actor per process, on a blocking loop. Loads the tables of the definitions again when their files change. */
#pragma once
#include "actors/node.h"

/* Loads all tables, in the order of their declarations; those whose source has not changed are kept. Blocking; at start.
 * false: *ret_why has a line "file:line: table ..." for each that cannot be loaded. */
bool table_loader_load_all(const struct node *n, struct buf *ret_why);
/* Since when (wall time) what this SQL reads is older than its files, because one cannot be loaded; 0: it is not. Any thread. */
int64_t table_loader_stale_since_us(const struct node *n, struct str sql);
/* Looks at the files every second. Init argument: struct node. */
extern const struct actor_class table_loader_class;
