/* One connection: libpq's asynchronous side in pipeline mode on an I/O loop. It belongs to an actor, which hands it the messages
 * that are its own; it connects, prepares the statements, and connects again whenever the connection is lost.
 *
 *     WAITING --retry--> RESOLVING --> CONNECTING --> PREPARING --> READY
 *        ^------------------- lost, refused, or too slow ------------/
 *
 * Every state but READY ends by a timer of the runtime's, so nothing waits for a callback of the library. */
#pragma once
#include "store/postgres/pg_private.h"

enum pg_conn_state { PG_WAITING, PG_RESOLVING, PG_CONNECTING, PG_PREPARING, PG_READY, PG_CONN_STATES };

struct pg_statement {
	const char *name, *sql;
};

struct pg_conn;
struct pg_conn_events { /* called from pg_conn_message and pg_conn_lose; they may call pg_conn_lose */
	void (*ready)(struct pg_conn *c);
	void (*result)(struct pg_conn *c, PGresult *result); /* borrows; one for each statement sent, in order */
	void (*synced)(struct pg_conn *c);                   /* all that was sent before the sync has been answered */
	void (*lost)(struct pg_conn *c);                     /* c->trouble says why; what was sent has no answer */
};

struct pg_conn_config {
	struct postgres *pg;
	struct pg_seat *seat;
	const char *application; /* borrows: the owner's; its name in pg_stat_activity */
	const struct pg_statement *statements;
	size_t statements_count;
	const struct pg_conn_events *events;
	unsigned number; /* which of its owner's connections: 0, 1 .. */
	uint32_t statement_ms;
	bool writes; /* a server that is read-only is of no use */
	bool fences; /* ends what an earlier connection of the same application name still does */
};

struct pg_watch;
struct pg_conn {
	struct pg_conn_config config;
	struct actor *owner; /* borrows */
	enum pg_conn_state state;
	PGconn *pg;             /* NULL in WAITING and RESOLVING */
	struct pg_watch *watch; /* its socket */
	bool has_posted;        /* a PG_IO is on its way */
	bool is_flushing;       /* the kernel has not taken all */
	unsigned nulls;
	uint64_t timer, resolve_op;
	uint32_t attempts;              /* since it was ready last */
	uint64_t lost_ns;               /* since when it is not ready */
	struct pg_addresses *addresses; /* owned; NULL = not resolved */
	struct pg_trouble trouble;      /* the last one; kind PG_FINE while READY */
	struct pg_trouble setup;        /* the first error in PREPARING */
};

void pg_conn_start(struct pg_conn *c, struct actor *owner, const struct pg_conn_config *config);
void pg_conn_finish(struct pg_conn *c);
/* Whether m was this connection's. */
bool pg_conn_message(struct pg_conn *c, struct msg *m);
/* Of a connection that is READY; false: it broke, and `lost` has been called. */
bool pg_conn_send(struct pg_conn *c, const char *statement, int count, const char *const *values, const int *bytes);
bool pg_conn_query(struct pg_conn *c, const char *sql, int count, const Oid *types, const char *const *values,
		   const int *bytes);
/* Ends what has been sent as one transaction; without an answer after answer_ms the connection is lost. */
bool pg_conn_sync(struct pg_conn *c, uint32_t answer_ms);
void pg_conn_lose(struct pg_conn *c, const struct pg_trouble *why);
/* It has been away for so long that nothing more is queued for it. */
bool pg_conn_is_gone(const struct pg_conn *c);
