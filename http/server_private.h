/* What the server's own files share: the server, its part on each loop, its connections and the exchange.
 * Nobody else includes it. h2o's request is seen by exchange.c and by the watch that walks over h2o's lists.
 */
#pragma once
#include "http/exchange.h"
#include "http/router.h"
#include "runtime/check.h"
#include "runtime/metrics.h"
#include <h2o.h>
#include <stdalign.h>
#include <stdatomic.h>

/* Debian's library is built for libuv, and its headers follow this macro in silence. */
_Static_assert(H2O_USE_LIBUV == 1, "h2o.h must be read with H2O_USE_LIBUV=1");

enum http_msg {
	HTTP_ACCEPTED = MSG_KIND(CLASS_HTTP, 1), /* acceptor -> front: struct http_accepted */
	HTTP_DRAIN = MSG_KIND(CLASS_HTTP, 2),    /* http_server_drain -> front */
};

enum {
	HEADER_BYTES_MAX = 16 << 10,
	HEADERS_MAX = 100,
	REQUEST_ID_MAX = 128,
	REQUEST_ID_OWN = 16, /* hexadecimal digits of one that we make */
	REPLY_HEADERS_MAX = 8,
	/* h2o refuses larger bodies itself (HTTP/1.1: 413; HTTP/2: a reset that clients take as "try
	 * again"), so it is told a multiple of our own bound and we answer 413 in between. */
	H2O_BODY_FACTOR = 16,
	STATUS_SLOTS = 24,
	ROUTE_LOG_MAX = 400,
	GATHER_ENOUGH = 64, /* answered together: what is fetched for them must still be in the first cache when they are */
	GATHER_MAX = 2 * GATHER_ENOUGH,
};

struct http_front;
struct exchange;

/* A connection from accept4 until h2o has closed it and its last exchange has ended. */
struct http_conn {
	struct http_front *front;
	struct http_conn *prev, *next; /* in front->conns until h2o closes it */
	h2o_socket_t *sock;            /* NULL: closed */
	uint32_t in_flight;            /* exchanges that wait for something; they may outlive the connection */
	size_t held_bytes;             /* the watch's sum over its requests */
	uint32_t waited, abandoned;    /* exchanges that had to wait, and those whose client did not */
	bool is_cut;
};

/* Where a route's numbers and lines go; a series is registered when it is first needed. */
struct route_metrics {
	metric_id latency;
	metric_id count[STATUS_SLOTS];
	struct buf log_text; /* the part of an access line that is the route's */
};

/* The server's part on one loop: h2o's context, the connections, and the actor that receives new ones. */
struct http_front {
	struct http_server *server;
	struct loop *loop;
	struct front_actor *actor;
	struct actor_ref ref; /* of actor */
	h2o_context_t h2o;
	h2o_accept_ctx_t accept_ctx;
	struct http_conn *conns;          /* owned */
	struct exchange *waiting;         /* exchanges with a guard: deferred, not replied */
	struct exchange *free;            /* owned; at most EXCHANGES_KEPT */
	uint32_t free_len;
	struct exchange *gathered[GATHER_MAX]; /* answered together at the end of the turn, or when there are enough */
	unsigned gathered_len;
	struct exchange_actor *spare;     /* spawned ahead: a request that turns out to need an actor has one */
	uint32_t in_flight;
	uint64_t id_next;
	struct route_metrics *metrics;    /* one per route, and one for requests without a route */
	uv_timer_t watch;
	uint64_t drain_by_ns;             /* 0 = not draining */
	bool drain_is_forced;             /* the grace is over */
	bool is_stopping;                 /* the loop wants its actors to end */
	uint64_t held_bytes;              /* request and reply bodies in h2o's hands, at the last watch */
	bool is_drained;
	alignas(64) _Atomic uint32_t connections; /* raised by the acceptor before it hands one over */
};

struct http_counters {
	metric_id replies_dropped, clients_gone, refused_connections, refused_overload, cut_connections;
	metric_id connections; /* gauge */
};

struct http_server {
	struct http_config config; /* without its strings and routes: those are below */
	struct str api_key;        /* owned; n 0 = open */
	char api_key_name[13];     /* "key_" and 8 hex digits of its SHA-256, for the log */
	struct route *routes;      /* owned: the system's and the caller's */
	size_t routes_len;
	struct router *router;     /* owned */
	h2o_globalconf_t h2o;
	SSL_CTX *tls;              /* owned; NULL = plain text */
	struct http_front *fronts; /* owned */
	unsigned fronts_len;
	uint32_t latency_family, count_family;
	struct http_counters counters;
	struct buf openapi, docs;  /* made once */
	char **query_names;        /* owned, by route: each name with its NUL, then a NUL; NULL = any are let through */

	int listen_fd, reserve_fd;
	uint16_t port;
	uv_poll_t listen_poll;     /* on the loop of fronts[0] */
	bool is_listening, listen_paused;
	unsigned accept_turn;

	atomic_bool draining;
	atomic_uint undrained;     /* fronts that still have connections */
	_Atomic uint64_t held_bytes;
	void (*drained)(void *arg);
	void *drained_arg;
};

struct reply_header {
	const char *name;
	struct str value; /* in the arena */
};

/* Ends when it has replied or its client has gone; with an actor, when that actor ends. Fields up to
 * `params` are zeroed for each request. */
struct exchange {
	struct http_front *front;
	struct http_conn *conn;
	h2o_req_t *req;               /* NULL: replied, or the client has gone */
	struct exchange_guard *guard; /* in req's pool; NULL while on_request runs for the first time */
	struct exchange_actor *actor; /* NULL: no route function has asked for it */
	const struct route *route;    /* NULL: no route */
	struct exchange *prev, *next; /* in front->waiting; next also in front->free */
	struct str method, path, query, body;
	struct str api_key;           /* as sent; p NULL = none */
	struct str timeout;           /* x-request-timeout-ms */
	struct arena arena;
	struct yyjson_doc *json;      /* owned */
	struct buf invalid;           /* the 422 so far: {"detail":[{...},{...} */
	void *data;
	uint64_t started_ns, deadline_ns;
	unsigned reply_headers_len, params_len;
	bool is_head, has_replied, is_waiting, is_gathered;
	bool is_plain;        /* path and query are ASCII without a % */
	bool ends_connection; /* HTTP/1: closes after the reply. HTTP/2: resets the stream */
	bool is_key_valid, is_id_sent;
	uint8_t request_id_len;
	struct str params[ROUTER_PARAMS_MAX];
	_Alignas(8) char scratch[EXCHANGE_SCRATCH];
	struct reply_header reply_headers[REPLY_HEADERS_MAX];
	char request_id[REQUEST_ID_MAX];
};

/* ---- exchange.c ---- */
int exchange_on_request(h2o_handler_t *handler, h2o_req_t *req);
void exchange_run_gathered(void *front);
void exchange_end_waiting(struct http_front *f, int status, const char *detail); /* all of them */
void exchange_client_gone(struct exchange *x);
void exchange_detach(struct exchange *x); /* from h2o's request, which someone else will end */
struct http_conn *exchange_conn_of(const h2o_req_t *req); /* NULL while the connection is upgraded to HTTP/2 */
void exchange_pool_finish(struct http_front *f);
/* Hexadecimal digits, REQUEST_ID_OWN of them. */
void exchange_id_make(struct http_front *f, char ret_id[static REQUEST_ID_OWN]);
bool exchange_id_is_sane(struct str sent);

/* ---- exchange_reply.c ---- */
void exchange_reply_invalid(struct exchange *x); /* what exchange_invalid noted, if anything, unless there is a reply */

/* ---- exchange_observe.c ---- */
void observe_init(struct http_server *s);
struct route_metrics *observe_routes_create(const struct http_server *s);
void observe_routes_destroy(const struct http_server *s, struct route_metrics *all);
void observe_reply(struct exchange *x, int status, size_t body_bytes);
void observe_library_error(struct http_front *f, int status);
void observe_key_name(struct str key, char ret_name[static 13]);

/* ---- server_accept.c ---- */
bool accept_open(struct http_server *s, struct buf *ret_why);
void accept_start(struct http_server *s);
void accept_received(struct http_front *f, struct msg *m); /* HTTP_ACCEPTED; borrows m */
void accept_resume(struct http_server *s);
void accept_stop(struct http_server *s); /* on the loop of fronts[0], or after it has ended */

/* ---- server_conn.c ---- */
void conn_adopt(struct http_front *f, int fd); /* moves fd; the connection is already counted */
void conn_cut(struct http_conn *c);            /* h2o sees the end of the stream and closes */
void conn_release(struct http_conn *c);        /* frees it once nothing refers to it */
void conn_abandoned(struct http_conn *c);      /* counts a client's change of mind; too many are an attack */
void conn_refused(struct http_server *s, const char *why);

/* ---- server_errors.c ---- */
void library_errors_register(h2o_pathconf_t *path); /* gives h2o's own error pages our shape */

/* ---- server.c ---- */
void front_drained(struct http_front *f);

/* ---- server_watch.c ---- */
void watch_init(struct http_front *f);
void watch_start(struct http_front *f);
void watch_drain(struct http_front *f, uint32_t grace_ms);

/* ---- tls.c ---- */
SSL_CTX *tls_create(const char *cert_file, const char *key_file, struct buf *ret_why);

/* ---- system_routes.c ---- */
extern const struct route system_routes[];
extern const size_t system_routes_len;

/* ---- openapi.c, docs_page.c ---- */
bool openapi_make(struct http_server *s, struct buf *ret_why);
void docs_page_make(struct http_server *s); /* after openapi_make */
