/* Lists of contexts, and what Fabra's Python program left in its tables: the SQL and the answer. */
#pragma once
#include "store/evidence/evidence.h"
#include <libpq-fe.h>

enum { PG_QUERY_VALUES = 12 };
struct pg_query {
	struct buf sql; /* NUL-terminated */
	struct buf texts[PG_QUERY_VALUES];
	const char *values[PG_QUERY_VALUES];
	int count;
};
void pg_query_finish(struct pg_query *q);

/* has_log: context_log of Fabra's Python program is there. */
void pg_list_write(const struct evidence_list *ask, bool has_log, struct pg_query *ret);
struct evidence_answer *pg_list_answer(struct loop *loop, const struct evidence_list *ask, const PGresult *r);

/* Two booleans: whether context_log and context_records are tables there, which are not ours. */
extern const char pg_legacy_probe_sql[];
bool pg_legacy_can_have(const struct evidence_legacy *ask, bool has_records, bool has_log);
void pg_legacy_write(const struct evidence_legacy *ask, bool has_records, bool has_log, struct pg_query *ret);
struct evidence_answer *pg_legacy_answer(struct loop *loop, const struct evidence_legacy *ask, const PGresult *r);
