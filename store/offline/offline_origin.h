/* Whose rows a DuckDB file has: the ledger that they were made from, and how far they go in it. Rows of one ledger and
 * entries of another would mix without a trace, and a ledger that ends before its rows would give their numbers out again. */
#pragma once
#include "runtime/buf.h"
#include "store/evidence/log_source.h"

/* The row of fabra.projection_state. */
struct offline_origin {
	uint64_t applied_lsn, missing_entries;
	char ledger_id[LOG_SOURCE_ID_TEXT + 1]; /* "": from before there was one, or nothing is applied yet */
	char chain[2 * LOG_SOURCE_CHAIN + 1]; /* of the frame applied_lsn, in hex; "" likewise, or where that is lost */
};

enum offline_kinship {
	OFFLINE_KIN,             /* the rows are of this log, which has all that they know */
	OFFLINE_KIN_LOST,        /* of another log; this one is empty, or not there */
	OFFLINE_KIN_OTHER,       /* of another log, and this one has entries of its own */
	OFFLINE_KIN_ENDS_BEFORE, /* of this log, but it ends before them */
	OFFLINE_KIN_FORKED,      /* of this log, which was put back from an older copy and went on otherwise */
};
/* May block: reads the entry that was applied last. Any thread. */
enum offline_kinship offline_kinship_of(const struct offline_origin *at, const struct log_source *log);
/* What it is and how it is cured, without paths; nothing for OFFLINE_KIN. */
void offline_kinship_write(enum offline_kinship kinship, const struct offline_origin *at, const struct log_source *log,
			   struct buf *out);

enum offline_peek {
	OFFLINE_PEEK_DONE,
	OFFLINE_PEEK_NOTHING, /* there is no such file, or nothing was ever projected into it */
	OFFLINE_PEEK_IN_USE,  /* by another process */
	OFFLINE_PEEK_FAILED,  /* *ret_why */
};
/* Reads the row of a file that no server has open, and changes nothing. Blocking. */
enum offline_peek offline_peek(const char *path, struct offline_origin *ret, struct buf *ret_why);
