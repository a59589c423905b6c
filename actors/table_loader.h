/* The table loader: one actor per process, on a blocking loop. Loads the tables of the definitions again when their files change. */
#pragma once
#include "actors/node.h"

/* Loads all tables, in the order of their declarations; those whose source has not changed are kept. Blocking; at start.
 * false: *ret_why has a line "file:line: table ..." for each that cannot be loaded. */
bool table_loader_load_all(const struct node *n, struct buf *ret_why);
/* Looks at the files every second. Init argument: struct node. */
extern const struct actor_class table_loader_class;
