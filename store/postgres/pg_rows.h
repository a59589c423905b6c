/* The rows of a batch: entries become columns, one array each, so that a kind is one statement. What has been made is kept until
 * the batch has ended: if its outcome is unknown, the same bytes are sent again. */
#pragma once
#include "store/evidence/entries.h"
#include "store/evidence/evidence.h"
#include "store/postgres/pg_array.h"
#include "store/record/record_chain.h"

enum pg_rows_table {
	PG_ROWS_RECORDS,
	PG_ROWS_IMPORTS,
	PG_ROWS_HISTORY,
	PG_ROWS_DELETES,
	PG_ROWS_EVENTS,
	PG_ROWS_APPLIED,
	PG_ROWS_TABLES
};
enum { PG_COLUMNS_MAX = 20 };

struct pg_table {
	struct buf columns[PG_COLUMNS_MAX];
	uint32_t count;
};
struct pg_rows {
	struct pg_table tables[PG_ROWS_TABLES];
	struct buf canonical; /* of the record being added */
	yyjson_alc *json;
	size_t bytes; /* of the entries so far, about */
	int64_t now_us;
};

extern const int pg_rows_columns[PG_ROWS_TABLES];

bool pg_rows_init(struct pg_rows *r);
void pg_rows_finish(struct pg_rows *r);
void pg_rows_begin(struct pg_rows *r, int64_t now_us);
/* Whether the entry has a form that can be kept: 0, or a status and the entry's reason. */
int pg_rows_check(struct evidence_entry *e);
/* Adds a checked entry. A record is stamped and becomes the end of the chain. 0, or RT_EINVAL, RT_ETOOBIG with the entry's
 * reason: then nothing was added. */
int pg_rows_add(struct pg_rows *r, struct evidence_entry *e, struct pg_uuid position, struct record_chain *chain,
		const struct record_signer *signer);
bool pg_rows_end(struct pg_rows *r); /* false: there was no memory for all of it */
