/* What the files of this room share. */
#pragma once
#include "runtime/list.h"
#include "store/postgres/pg_error.h"
#include "store/postgres/postgres.h"
#include <stdatomic.h>

enum {
	PG_POOL_DEFAULT = 5,
	PG_ANSWER_MS = 2000,
	PG_GIVE_UP_MS = 5000,
	PG_QUEUE_MS = 400, /* how long what came waits for a connection before it is refused */
};

/* What the actors count, for the health; each has its own, so nothing is shared but the reading. */
struct pg_seat {
	struct pg_seat *next; /* owned by the list, for the life of the process's stores */
	bool is_lane;
	unsigned connections;
	_Atomic unsigned ready;
	_Atomic uint64_t batches, entries, failures, unknown_outcomes, reconnects, chains;
	_Atomic uint64_t
	    refused_ns; /* when what was written was last refused for a reason that lasts; 0: it has been kept since */
};

struct postgres {
	char *url;                       /* owned */
	char *hosts, *hostaddrs, *ports; /* owned; as the URL or the environment gives them; NULL = not given */
	char replica[33];
	uint64_t run;   /* random: this life of this process */
	unsigned given; /* bits: which of pg_params' defaults the URL says itself */
	const struct record_signer *signer;
	unsigned pool_size;
	uint32_t keep_days[3]; /* records, values, events */
	uint32_t answer_ms, give_up_ms;
	struct actor_ref resolver; /* none: no host has to be resolved */
	struct pg_seat *_Atomic seats;
	uint64_t published[5]; /* of the counters */
	atomic_flag lock;      /* of reason */
	char reason[200];
};

/* ---- messages inside the room ---- */
enum { CLASS_POSTGRES = 36 };
enum pg_msg {
	PG_IO = MSG_KIND(CLASS_POSTGRES, 1),       /* to itself: the socket of a connection is ready */
	PG_RESOLVE = MSG_KIND(CLASS_POSTGRES, 2),  /* ask: the addresses of the hosts */
	PG_RESOLVED = MSG_KIND(CLASS_POSTGRES, 3), /* reply: struct pg_resolved */
	PG_DONE = MSG_KIND(CLASS_POSTGRES, 4),     /* ask of a lane: answered when all that was sent before is done */
};
struct pg_io {
	struct msg head;
	unsigned number; /* of the connection */
};
struct pg_addresses { /* lists with commas, NUL-terminated; of one length */
	struct buf hosts, addresses, ports;
};
struct pg_resolved {
	struct msg head;           /* dispose frees list */
	struct pg_addresses *list; /* moves */
};
MSG_SIZE_CHECK(pg_io);
MSG_SIZE_CHECK(pg_resolved);
void pg_addresses_free(struct pg_addresses *a);

struct pg_seat *pg_seat_new(struct postgres *p, bool is_lane, unsigned connections); /* NULL: no memory */
void pg_reason_set(struct postgres *p, const char *reason);
/* Keywords and values for PQconnectStartParams and PQconnectdbParams; addresses may be NULL. At most PG_PARAMS. */
enum { PG_PARAMS = 16 };
void pg_params(const struct postgres *p, const struct pg_addresses *addresses, const char *application, bool writes,
	       const char *keys[static PG_PARAMS], const char *values[static PG_PARAMS]);
bool pg_needs_resolving(const struct postgres *p);
void pg_notices_to_log(PGconn *conn);
