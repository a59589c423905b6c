/* What Postgres says in an error, told as cause and cure, and what a writer does about it. */
#pragma once
#include "runtime/buf.h"
#include <libpq-fe.h>

enum pg_trouble_kind {
	PG_FINE,
	PG_UNREACHABLE, /* nobody answers, or the connection broke */
	PG_STARTING,    /* it recovers, starts or stops: it is tried again */
	PG_BUSY,        /* it has no connection left */
	PG_DENIED,      /* user, password, database, TLS: what the URL says is wrong */
	PG_VERSION,
	PG_ENCODING,
	PG_SCHEMA,    /* a table or column is missing */
	PG_RIGHT,     /* the user may not */
	PG_READONLY,  /* a standby, or a database that takes no writes */
	PG_FULL,      /* no disk space */
	PG_CONTENT,   /* this row is not acceptable, others are */
	PG_EXISTS,    /* a row with this key is there */
	PG_TRANSIENT, /* a lock, a deadlock, a statement that took too long: it may work the next time */
	PG_OTHER,
};

struct pg_trouble {
	enum pg_trouble_kind kind;
	char sqlstate[6];
	char text[200];  /* for callers: no paths, no passwords */
	char words[160]; /* the server's own, for the log; "" */
};

/* Why the connection failed or broke. */
void pg_trouble_of_connection(const PGconn *conn, struct pg_trouble *ret);
void pg_trouble_of_result(const PGresult *result, struct pg_trouble *ret);
void pg_trouble_set(struct pg_trouble *t, enum pg_trouble_kind kind, const char *text);
int pg_trouble_status(const struct pg_trouble *t); /* the RT_E* for who asked */
/* It comes by itself again, so that a start may wait for it. */
bool pg_trouble_passes(enum pg_trouble_kind kind);
