/* A connection for SQL that users write: on a blocking loop, one statement at a time, each with a deadline that does not depend on the
 * server's word. */
#pragma once
#include "store/postgres/pg_private.h"

struct pg_sql {
	struct postgres *pg; /* borrows */
	char application[64];
	PGconn *conn;              /* NULL: none; the next statement makes one */
	struct pg_trouble trouble; /* of the last statement */
	bool may_write;            /* tables of its own; else its transactions are read-only */
};

void pg_sql_init(struct pg_sql *s, struct postgres *pg, const char *application);
void pg_sql_finish(struct pg_sql *s); /* closes it; it may be used again */
/* Runs one statement by then. NULL: s->trouble says why, and of what the user wrote too: PG_CONTENT. An open transaction is
 * then aborted. The caller clears the result. */
PGresult *pg_sql_run(struct pg_sql *s, const char *sql, int count, const char *const *values, uint64_t deadline_ns);
/* The status of a question by its trouble: RT_EINVAL of the user's SQL, RT_EDEADLINE, RT_EIO .. */
int pg_sql_status(const struct pg_sql *s);
