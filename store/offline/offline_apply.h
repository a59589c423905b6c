/* One ledger entry as rows of schema fabra, through DuckDB's appenders. Inside the projection's transaction;
 * one user at a time. */
#pragma once
#include "store/evidence/log_source.h"
#include "store/offline/offline_conn.h"

enum offline_table_id {
	OFFLINE_TABLE_RECORDS,
	OFFLINE_TABLE_HISTORY,
	OFFLINE_TABLE_DELETES,
	OFFLINE_TABLE_EVENTS,
	OFFLINE_TABLE_EVENTS_APPLIED,
	OFFLINE_TABLES,
};

struct offline_apply {
	struct offline_conn *conn;                 /* borrows */
	duckdb_appender appenders[OFFLINE_TABLES]; /* NULL: not used in this transaction */
	yyjson_alc *json;                          /* owned; keeps its memory from record to record */
	struct buf text;                           /* of one cell */
	uint32_t rows;                             /* since the last flush */
};

enum offline_applied {
	OFFLINE_APPLIED,   /* rows were appended; or the entry is of a kind that has none */
	OFFLINE_MALFORMED, /* the entry is damaged: nothing was appended */
	OFFLINE_FAILED,    /* DuckDB: *error */
};

void offline_apply_init(struct offline_apply *a, struct offline_conn *conn);
void offline_apply_finish(struct offline_apply *a); /* nothing may be appended and not flushed; zeroed is ok */
enum offline_applied offline_apply_frame(struct offline_apply *a, const struct log_source_entry *frame,
					 struct offline_error *error);
/* Hands all rows to the transaction. Appenders live for one transaction: they hold on to the connection. */
bool offline_apply_flush(struct offline_apply *a, struct offline_error *error);
void offline_apply_drop(struct offline_apply *a); /* after a failure, before the rollback */
