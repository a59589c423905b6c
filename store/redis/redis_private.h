/* What the files of this room share of a struct redis. */
#pragma once
#include "runtime/list.h"
#include "store/redis/redis.h"
#include "store/redis/redis_call.h"
#include "store/redis/redis_error.h"
#include "store/redis/redis_url.h"
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/un.h>

enum redis_state {
	REDIS_ABSENT, /* the loop has none */
	REDIS_DOWN,   /* a pause before the next attempt */
	REDIS_LOOKING_UP,
	REDIS_CONNECTING,
	REDIS_SHAKING_HANDS, /* TLS */
	REDIS_GREETING,      /* user, database, ping */
	REDIS_READY,
};

struct redis_loop_health {
	enum redis_state state;
	uint64_t key_said_ns;       /* when a key was last said */
	enum redis_trouble trouble; /* what writes and reads meet */
	char reason[240];           /* why there is no connection; empty: there is one */
};

struct redis {
	struct redis_config config; /* its texts and loop borrowed; zeros replaced */
	struct redis_url url;
	SSL_CTX *tls; /* NULL: none */
	struct actor_ref resolver;
	struct actor_ref conns[LOOPS_MAX]; /* by loop_id - 1 */
	pthread_mutex_t lock;              /* of what follows */
	struct redis_loop_health loops[LOOPS_MAX];
};

/* reason: NULL leaves it. */
void redis_note_state(struct redis *r, const struct loop *loop, enum redis_state state, const char *reason);
/* Says so in the log when it differs from before. detail: the reply. */
/* Of one key: said in the log, at most once a second, and no matter for the health. */
void redis_note_key(struct redis *r, const struct loop *loop, enum redis_trouble trouble, struct str key);
void redis_note_trouble(struct redis *r, const struct loop *loop, enum redis_trouble trouble, struct str detail);

/* ---- addresses ---- */
enum { REDIS_ADDRESSES_MAX = 8 };
struct redis_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un path;
	};
	socklen_t len;
};
struct redis_addresses {
	struct redis_address all[REDIS_ADDRESSES_MAX];
	uint32_t count;
	const char *why; /* static; count 0 */
};
struct redis_look_up { /* REDIS_LOOK_UP, REDIS_FOUND */
	struct msg head;
	struct redis_addresses *found; /* owned; of REDIS_FOUND */
};
/* Of a URL that has no name. */
bool redis_address_of(const struct redis_url *url, struct redis_address *ret);
extern const struct actor_class redis_resolver_class; /* on a blocking loop; arg: the struct redis */

/* ---- TLS ---- */
SSL_CTX *redis_tls_create(const struct redis_url *url, struct buf *ret_why);
/* Of one connection: checks the name or the address of the URL. NULL: no memory. */
SSL *redis_tls_begin(const struct redis *r);
/* Why a handshake failed; the text lives in out. */
void redis_tls_why(const SSL *ssl, char *out, size_t cap);

extern const struct actor_class redis_conn_class; /* arg: the struct redis */
