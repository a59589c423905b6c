/* Redis: the connections of a process to one server, and the online store on it. docs/redis.md says what is where in Redis, and what
 * each failure looks like.
 *
 *     struct redis *r = redis_create(&config, &why);
 *     for each I/O loop: redis_spawn(r, loop);
 *     struct redis_online *o = redis_online_create(&online_config);
 *     for each I/O loop: redis_online_spawn(o, loop, &stores.online);
 */
#pragma once
#include "runtime/buf.h"
#include "store/online/online.h"

struct redis_config {
	const char *url; /* redis_url.h has its form */
	/* A loop that may block, where names of hosts are looked up; not needed for an address or a socket. It outlives the loops
	 * that have connections. */
	struct loop *blocking;
	uint32_t connect_ms; /* for a connection with all that makes it usable; 0 = 2000 */
	uint32_t stall_ms;  /* without a word from a server that owes an answer, the connection is given up; 0 = 1000 */
	uint32_t hold_ms;   /* what comes while there is no connection waits so long after a loss; 0 = 400 */
	uint32_t calls_max; /* of a loop that wait or are under way; more are refused; 0 = 8192 */
	size_t bytes_max;   /* of their commands; 0 = 64 MiB */
	uint32_t
	    backoff_ms_max; /* of the pause before the next connection; 0 = 2000; the first is 20 ms; half of each is random */
};
struct redis;
/* false: *ret_why says what is wrong with the URL, and never has the password in it. */
bool redis_check_url(const char *url, struct buf *ret_why);
/* Reads the URL and the files of TLS; connects nowhere. NULL: *ret_why says why. */
struct redis *redis_create(const struct redis_config *config, struct buf *ret_why);
void redis_destroy(struct redis *r); /* after the loops; NULL is fine */

/* Starts the loop's connection. false: no memory. Before loop_start, or on the loop. */
bool redis_spawn(struct redis *r, struct loop *loop);
/* The connection actor of the loop, for REDIS_CALL (redis_call.h); none without redis_spawn. */
struct actor_ref redis_of(const struct redis *r, const struct loop *loop);

/* Appends a member, "redis":{...}, as struct stores_health wants it. true: every loop has a connection, and Redis does what it
 * is asked. Any thread. */
bool redis_health(struct redis *r, struct buf *members);

/* ---- the online store ---- */
/* What the online store has to know of the definitions, which are above it. Its functions are called on any loop, and what they
 * return lives as long as the store. */
struct redis_online_names {
	void *arg;
	struct str (*kind)(void *arg, uint32_t kind);       /* the name of an entity's kind; p NULL: no such */
	struct str (*feature)(void *arg, uint32_t feature); /* likewise */
	/* Has the kind a feature that is stored and has no ttl? Then no hash of it expires. NULL: none has. */
	bool (*is_lasting)(void *arg, uint32_t kind);
};
struct redis_online_config {
	struct redis *redis; /* borrows */
	struct redis_online_names names;
	size_t value_bytes_max;    /* of a value's JSON; larger ones are ONLINE_FULL; 0 = 1 MiB */
	int64_t tombstone_keep_us; /* 0 = 24 hours */
};
struct redis_online;
struct redis_online *redis_online_create(const struct redis_online_config *config); /* NULL: no memory */
void redis_online_destroy(struct redis_online *o);                                  /* after the loops; NULL is fine */
/* Starts whoever answers the loop's messages, and puts it into store->per_loop. After redis_spawn. false: no memory. */
bool redis_online_spawn(struct redis_online *o, struct loop *loop, struct online_store *store);
