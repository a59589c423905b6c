/* Where a process keeps its state: the rules of FABRA_HOME and FABRA_DUCKDB_PATH, in one place. */
#pragma once
#include "runtime/buf.h"

struct paths {
	char duckdb[4096]; /* or ":memory:" */
	char ledger[4096]; /* "<duckdb>.ledger"; for :memory: a fresh temporary folder, made by paths_prepare */
	bool in_memory;
};

/* FABRA_DUCKDB_PATH, else FABRA_HOME/fabra.duckdb, else ~/.fabra/fabra.duckdb. One that DuckDB would read as another place than
 * everybody else, ~ for instance, is refused. false: a text without a line's end in *ret_why. */
bool paths_find(struct paths *ret, struct buf *ret_why);
/* Makes the folders that have to be there before the stores open. */
bool paths_prepare(struct paths *p, struct buf *ret_why);
