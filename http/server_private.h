/* What the server's own files share: the server, its part on each loop, its connections and the exchange.
 * Nobody else includes it. h2o's request is seen by exchange.c and by the watch that walks over h2o's lists.
 */
#pragma once
#include "http/exchange.h"
#include "http/frame_budget.h"
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
	STREAMS_MAX = 100, /* of an HTTP/2 connection: what h2o advertises and keeps to */
	DISCARD_FACTOR =
	    16, /* times the largest body: so much of a larger one is read and thrown away before the 413 */
	STATUS_SLOTS = 24,
	VICTIMS_MAX = 64, /* found in one pass over the connections */
	ROUTE_LOG_MAX = 400,
	INVALID_BYTES_MAX = 256 << 10, /* of a 422's list of mistakes; a body can have a hundred thousand of them */
	GATHER_ENOUGH = 64, /* answered together: what was prefetched for them must still be in the L1 cache then */
	GATHER_MAX = 2 * GATHER_ENOUGH,
};

struct http_front;
struct exchange;

/* Why a connection was ended for its conduct: an enum frame_verdict, or one of these. */
enum cut_kind {
	CUT_BYTES = FRAME_VERDICTS, /* it holds most of the server's bodies */
	CUT_PROTOCOL,               /* it does what HTTP/2 forbids */
	CUT_HANDSHAKE,              /* TLS did not begin in time */
	CUT_SLOW_REQUEST,           /* a request did not arrive in time */
	CUT_SLOW_READER,            /* a reply is not read */
	CUT_EVICTED,                /* it did least when the table was full */
	CUT_KINDS
};

/* For how long the same thing has been waited for. */
struct conn_wait {
	uint64_t key; /* what; 0 = nothing */
	uint64_t since_ns;
	uint64_t bytes_in; /* of the connection, then */
};

/* How far the client has got with what it is sent. */
struct conn_reply {
	uint64_t since_ns;          /* 0 = nothing is leaving */
	uint64_t acknowledged;      /* by the connection's other side, then */
	uint64_t answer_bytes;      /* to it, then */
	uint64_t look_at_ms, taken; /* when to look next, and what had been taken at the last look */
	bool was_looked_at;
};

/* A connection from accept4 until h2o has closed it and its last exchange has ended. */
struct http_conn {
	struct http_front *front;
	struct http_conn *prev, *next; /* in front->conns until h2o closes it */
	h2o_socket_t *sock;            /* NULL: closed */
	const uv_stream_t *stream;     /* sock's */
	uint32_t in_flight;            /* exchanges that wait for something; they may outlive the connection */
	size_t held_bytes;             /* the watch's sum over its requests */
	uint32_t waited, abandoned;    /* deferred exchanges, and those of them that the client cancelled */
	bool has_slot;                 /* counts in front->connections: until it is cut or closed */
	bool is_cut;                   /* shut down by us; h2o closes it when its next read or write fails */
	bool is_let_go;                /* closed by h2o; the socket may still wait for TLS's close_notify, or linger */
	bool is_victim;                /* in front->victims */
	uint64_t ending_ns;            /* since when it is one of the above, or GOAWAY is on its way; 0 = it is not */

	/* What conn_hooks.c sees pass. */
	h2o_socket_cb on_read, on_first_read; /* h2o's own */
	bool is_encrypted, has_shaken_hands;  /* TLS */
	uint64_t bytes_in;                    /* behind TLS */
	uint32_t frames;                      /* HTTP/2, complete */
	uint64_t answer_bytes;                /* to those of them that are no requests, about */
	struct frame_budget budget;
	struct conn_body *bodies; /* owned; HTTP/2, those that come in several frames; NULL: there was none yet */
	h2o_timeout_entry_t *idle_timer; /* HTTP/2: in h2o's connection, while that is there; NULL: not seen yet */
	bool lingers;       /* HTTP/1: it has an answer and may still be sending; closed when it has read that */
	uint64_t discarded; /* bytes, while it lingers */

	/* What the watch sees of its requests at each look. */
	bool is_http1;
	bool is_arriving;     /* HTTP/1: a part of a request is there */
	uint32_t arriving_id; /* HTTP/2: the oldest stream whose request is incomplete; 0 = none */
	uint32_t leaving;     /* HTTP/2: streams whose reply has begun */

	/* What conn_conduct.c makes of it. */
	uint32_t requests;  /* exchanges begun */
	uint64_t useful_ns; /* it was accepted, asked something, or took a part of a reply */
	struct conn_wait request, fragment;
	struct conn_reply reply;
	bool is_busy; /* something is arriving or leaving */
	bool was_looked_at;
	int64_t moved; /* bytes both ways, at the last look */
	uint64_t rate; /* of them per second, smoothed */
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
	struct http_conn *conns;  /* owned */
	struct exchange *waiting; /* exchanges with a guard: deferred, not replied */
	struct exchange *free;    /* owned; at most EXCHANGES_KEPT */
	uint32_t free_len;
	struct exchange *gathered[GATHER_MAX]; /* answered together at the end of the turn, or when there are enough */
	unsigned gathered_len;
	struct exchange_actor *spare; /* spawned ahead: a request that turns out to need an actor has one */
	uint32_t in_flight;
	struct http_conn *victims[VICTIMS_MAX]; /* best last; of the present look */
	unsigned victims_len;
	uint64_t cut_logged_ns, looked_ns;
	struct buf rendered;  /* owned; /metrics as it was asked for in this turn */
	uint64_t rendered_ns; /* the time of that turn; 0 = never */
	uint64_t id_next;
	struct route_metrics *metrics; /* one per route, and one for requests without a route */
	uv_timer_t watch;
	uint64_t drain_by_ns; /* 0 = not draining */
	bool drain_is_forced; /* the grace is over */
	bool is_stopping;     /* the loop wants its actors to end */
	uint64_t held_bytes;  /* request and reply bodies in h2o's hands, at the last watch */
	bool is_drained;
	alignas(64) _Atomic uint32_t connections; /* raised by the acceptor before it hands one over */
	_Atomic uint32_t evictable;               /* of them, about: lowered by the acceptor, counted at each look */
};

struct http_counters {
	metric_id replies_dropped, clients_gone, refused_connections, refused_overload;
	metric_id cut_connections[CUT_KINDS]; /* by frame_verdict and cut_kind */
	metric_id connections;                /* gauge */
};

struct http_server {
	struct http_config config; /* without its strings and routes: those are below */
	struct str api_key;        /* owned; n 0 = open */
	char api_key_name[13];     /* "key_" and 8 hex digits of its SHA-256, for the log */
	struct route *routes;      /* owned: the system's and the caller's */
	size_t routes_len;
	struct router *router; /* owned */
	h2o_globalconf_t h2o;
	SSL_CTX *tls;              /* owned; NULL = plain text */
	struct http_front *fronts; /* owned */
	unsigned fronts_len;
	uint32_t latency_family, count_family;
	struct http_counters counters;
	struct buf openapi, docs; /* made once */
	char **query_names;       /* owned, by route: each name with its NUL, then a NUL; NULL = any are let through */

	int listen_fd, reserve_fd;
	uint16_t port;
	uv_poll_t listen_poll; /* on the loop of fronts[0] */
	bool is_listening, listen_paused;
	unsigned accept_turn;
	_Atomic uint32_t descriptors; /* of connections: also of those that are cut and not closed yet */

	atomic_bool draining;
	atomic_uint undrained; /* fronts that still have connections */
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
	struct str api_key; /* as sent; p NULL = none */
	struct str timeout; /* x-request-timeout-ms */
	struct arena arena;
	struct yyjson_doc *json;        /* owned */
	struct exchange_stream *stream; /* in req's pool; NULL: the reply is not in pieces, or it has ended */
	struct buf invalid;             /* the 422 so far: {"detail":[{...},{...} */
	void *data;
	uint64_t started_ns, deadline_ns;
	unsigned reply_headers_len, params_len;
	bool is_head, has_replied, is_waiting, is_gathered;
	bool is_encoded;      /* the body is in a content coding */
	bool expects_more;    /* than 100-continue */
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
void exchange_detach(struct exchange *x);                 /* from h2o's request, which someone else will end */
struct http_conn *exchange_conn_of(const h2o_req_t *req); /* NULL while the connection is upgraded to HTTP/2 */
void exchange_pool_finish(struct http_front *f);
/* Hexadecimal digits, REQUEST_ID_OWN of them. */
void exchange_id_make(struct http_front *f, char ret_id[static REQUEST_ID_OWN]);
bool exchange_id_is_sane(struct str sent);

/* ---- exchange_reply.c ---- */
/* The head of a reply. */
void exchange_write_head(struct exchange *x, h2o_req_t *req, int status, const char *content_type,
			 size_t content_length);
void exchange_reply_invalid(struct exchange *x); /* what exchange_invalid noted, if anything, unless there is a reply */

/* ---- exchange_stream.c ---- */
struct exchange_stream;
void exchange_stream_cut(struct exchange *x, int status); /* ends it unfinished; the status is for the log */
void exchange_stream_drop(struct exchange_stream *s);     /* the same, of a client that has gone */
void exchange_stream_on_deadline(struct exchange *x, uint64_t op);
size_t exchange_stream_bytes(const h2o_req_t *req); /* of the piece that is being sent */

/* ---- exchange_observe.c ---- */
void observe_init(struct http_server *s);
struct route_metrics *observe_routes_create(const struct http_server *s);
void observe_routes_destroy(const struct http_server *s, struct route_metrics *all);
void observe_reply(struct exchange *x, int status, size_t body_bytes);
void observe_library_error(struct http_front *f, int status);
const char *observe_cut_name(unsigned kind); /* frame_verdict or cut_kind, as in the metrics */
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
/* The same, counted by kind and logged: enum frame_verdict or cut_kind. */
void conn_cut_for(struct http_conn *c, unsigned kind);
void conn_count_cut(struct http_conn *c, unsigned kind); /* h2o ends it itself; its slot is free at once */
void conn_on_close(void *conn);                          /* h2o's, and how a socket of ours is known */
void conn_release(struct http_conn *c);                  /* frees it once nothing refers to it */
void conn_abandoned(struct http_conn *c);                /* counts a client's change of mind; too many are an attack */
void conn_refused(struct http_server *s, const char *why);

/* ---- conn_hooks.c ---- */
void hooks_init(void); /* once, before the first loop runs */
/* Of a frame that has been read whole: 0, or h2o's number of the error with which its connection ends. */
int hooks_on_frame(const struct frame *frame, const char **ret_why);
void hooks_close_at_once(h2o_socket_t *sock); /* h2o has let go of it */

void hooks_put_off_idle(struct http_conn *c); /* HTTP/2: its time of being idle has not begun */
void hooks_forget(struct http_conn *c);       /* frees what is kept of it */

/* ---- conn_conduct.c ---- */
void conduct_begin_look(struct http_front *f); /* before h2o's requests are walked over */
void conduct_on_http1(struct http_conn *c, const h2o_req_t *req);
struct h2o_stream;
void conduct_on_http2(struct http_conn *c, const struct h2o_stream *stream);
void conduct_end_look(struct http_front *f); /* cuts */
bool conduct_evict(struct http_front *f);    /* false: all are being served */
void conduct_forget(struct http_conn *c);    /* it is closed */

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
