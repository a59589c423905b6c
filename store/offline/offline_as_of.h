/* Cells of the history, now or as of a time. */
#pragma once
#include "store/offline/offline.h"
#include "store/offline/offline_conn.h"

/* Fills the cells. c: entered. false: *error, and none is answered. */
bool offline_as_of_read(struct offline_conn *c, struct offline_cells *cells, uint64_t deadline_ns,
			struct offline_error *error);
