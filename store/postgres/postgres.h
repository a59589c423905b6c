/* Postgres as the keeper of evidence and of the history of values: what composes a process may see of this room. How it is laid
 * out, what it promises and what to do when it fails: docs/postgres.md.
 *
 * Nothing here blocks an I/O loop: connections are actors of I/O loops (libpq's asynchronous side), names are resolved and
 * migrations run on blocking threads. */
#pragma once
#include "store/offline/offline.h"

struct postgres;

enum { POSTGRES_VERSION_MIN = 13, POSTGRES_VERSION_MAX = 17 }; /* major; 15 is the one that is tested */

struct postgres_config {
	const char *url;     /* borrowed during open; postgresql:// URL or libpq's keywords */
	const char *replica; /* borrowed during open; names this process in the chains: letters, digits, - _ . */
	const struct record_signer *signer;                          /* shares; may be NULL */
	unsigned pool_size;                                          /* reading connections; 0 = 5 */
	uint32_t record_keep_days, value_keep_days, event_keep_days; /* retention; 0 = for ever */
	uint32_t answer_ms;  /* a lane's batch without an answer for so long has lost its connection; 0 = 2000 */
	uint32_t give_up_ms; /* a batch whose outcome is unknown is sent again for so long; 0 = 5000 */
};

enum postgres_migrate_mode {
	POSTGRES_MIGRATE,       /* bring the schema up to this program's */
	POSTGRES_MIGRATE_NEVER, /* refuse an older one, and name the command */
};

struct postgres_health {
	bool is_ready;    /* some lane is connected and takes writes, or there is none yet to tell and a reader is */
	char reason[200]; /* why not, with the cure; "" */
	uint64_t batches, entries, failures, unknown_outcomes, reconnects, chains;
	unsigned lanes, lanes_ready, readers, readers_ready;
};

/* Checks the settings; no network. NULL: *ret_why. */
struct postgres *postgres_open(const struct postgres_config *config, struct buf *ret_why);
void postgres_close(struct postgres *p); /* after its loops have ended */

/* The schema, numbered step by step under an advisory lock. Blocking: from a thread that may wait, at the start or by the command
 * `fabra migrate`. 0; RT_EIO: not reachable now, or busy, it may be tried again; RT_EINVAL: a person has to do something.
 * *ret_why says what. *ret_from, *ret_to: version before and after (may be NULL). */
int postgres_migrate(struct postgres *p, enum postgres_migrate_mode mode, int *ret_from, int *ret_to,
		     struct buf *ret_why);

/* Resolves host names for all connections; on a blocking loop, before any of them. false: it could not be spawned. */
bool postgres_spawn_resolver(struct postgres *p, struct loop *blocking);
/* Answers EVIDENCE_APPEND: one connection with one batch in flight, for what an I/O loop appends. */
struct actor_ref postgres_spawn_lane(struct postgres *p, struct loop *io);
/* Answers EVIDENCE_FIND, EVIDENCE_LIST and EVIDENCE_LEGACY over the pool of reading connections; and makes partitions ahead,
 * drops those past their retention, and keeps the heads of the chains. One for a process, on any I/O loop. */
struct actor_ref postgres_spawn_reader(struct postgres *p, struct loop *io);
/* All of these, before the loops start: a lane on each of the I/O loops, the reader on the first, names on the blocking one. Loops that
 * have no lane append to the first's. false: *ret_why. */
bool postgres_spawn(struct postgres *p, struct loop *const *ios, unsigned count, struct loop *blocking,
		    struct evidence_store *ret, struct buf *ret_why);
/* Answers OFFLINE_QUERY, OFFLINE_FEATURE and OFFLINE_ROWS: the user's SQL, as this database spells it, on connections of its own. On a
 * blocking loop; lanes: blocking loops of which each runs one statement at a time, so that a slow one holds up no other; 0: the actor
 * runs them itself. */
struct actor_ref postgres_spawn_offline(struct postgres *p, struct loop *blocking, struct loop *const *lanes,
					unsigned lanes_count);
/* Whether the SQL of a feature can run and gives both columns; it does not run. Blocking. false: *ret_why. */
bool postgres_check_feature(struct postgres *p, struct str sql, struct str key_column, struct str value_column,
			    struct buf *ret_why);
void postgres_health_read(const struct postgres *p, struct postgres_health *ret); /* any thread */
void postgres_publish(struct postgres *p); /* its health as metrics; one thread */
