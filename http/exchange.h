/* One HTTP request as an object, and the routes that answer it.
 *
 * An exchange is an actor on the loop that owns its connection. h2o's request never leaves exchange.c: when
 * the client goes away the exchange stops, and as it is the cancel token of all its asks, the whole tree of
 * work ends with it. A route's on_request answers at once (exchange_reply) or starts asks with
 * exchange_actor(x) and answers from on_message. Exactly one reply; the deadline (504) and a failed route
 * (500) are answered by the exchange itself. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include "runtime/loop.h"

struct exchange;
struct http_server;
struct yyjson_mut_doc;

enum route_flags {
	ROUTE_PUBLIC = 1 << 0, /* no API key */
	ROUTE_BODY = 1 << 1,   /* a JSON body is expected: parsed strictly before on_request, else 422 */
	ROUTE_SYSTEM = 1 << 2, /* answered even under overload and while draining: /health, /ready, /metrics */
	/* Goes on without its client: after on_request it gets its messages until the deadline, so that what was written also
	 * becomes visible. Parameters, query and body are empty then, and the reply is dropped. */
	ROUTE_COMPLETES = 1 << 3,
	ROUTE_UNLISTED = 1 << 4, /* not in /openapi.json and /docs */
	ROUTE_STORES = 1 << 5,   /* writes, or says what is absent: 503 while http_config.unfit */
	/* Has ROUTE_LONG_FACTOR times as long as other routes, for its first piece and for each further one. */
	ROUTE_LONG = 1 << 6,
};

enum {
	CLASS_HTTP = 96,
	/* To a route that sends in pieces: the last one is on its way, give the next. */
	EXCHANGE_TAKEN = MSG_KIND(CLASS_HTTP, 3),
};

enum {
	EXCHANGE_SCRATCH = 48,
	ROUTE_LONG_FACTOR = 24,
	EXCHANGE_DETAIL_BYTES = 512,         /* of exchange_error; what is longer is cut */
	EXCHANGE_INPUT_BYTES_MAX = 16 << 10, /* of exchange_invalid; a larger input is null */
};

struct route {
	const char *method;
	const char *path; /* template: "/v1/features/{name}"; a parameter is one segment, percent-decoded */
	unsigned flags;
	void (*on_request)(struct exchange *x);
	void (*on_message)(struct exchange *x, struct msg *m); /* borrows m; NULL when the route never asks */
	void (*on_end)(
	    struct exchange *x); /* NULL ok; runs after every on_request: releases what exchange_data points to */
	const char *summary;     /* for /openapi.json and /docs */
	/* The operation's parameters, requestBody and responses as JSON, with ' for ". A response of null is the common error of
	 * that status; those that every such route answers (openapi.c) need not be named. Query parameters that it does
	 * not name are refused (422), and those that it names when they come more than once (400), unless the route is
	 * public. NULL = minimal, and any query is let through. */
	const char *openapi;
	/* NULL ok. Prefetch hook: called when the request arrives, and again (is_last) when all that arrived with it have been;
	 * then on_request is. At arrival it may reply; then nothing follows. */
	void (*on_gather)(struct exchange *x, bool is_last);
};

/* ---- the request ----
 * Texts borrow h2o's memory: they are valid inside on_request and on_message, and empty in on_end. What an
 * ask carries must be owned by its message, because the exchange may end before the message is read. */
struct str exchange_method(const struct exchange *x);
struct str exchange_path(const struct exchange *x);
struct str exchange_param(const struct exchange *x, unsigned index); /* of the template, from left to right; UTF-8 */
/* Percent- and plus-decoded, UTF-8; false when absent. A name of the route's openapi comes once at most, see there; of others
 * the first. */
bool exchange_query(struct exchange *x, const char *name, struct str *ret_value);
struct str exchange_header(struct exchange *x, const char *lower_name); /* p NULL = absent */
struct str exchange_body(const struct exchange *x);
struct yyjson_doc *exchange_json(struct exchange *x); /* ROUTE_BODY; borrowed until the exchange ends; NULL = no body */
struct str exchange_request_id(const struct exchange *x);

/* ---- for asks ---- */
/* Takes an actor for this request; a route that replies from on_request without calling this costs no spawn.
 * Only for routes with an on_message. Timers of the route may use any op but UINT64_MAX, which is the
 * deadline's. */
struct actor *exchange_actor(struct exchange *x);
struct loop *exchange_loop(struct exchange *x);
/* 5 s or what x-request-timeout-ms lowered it to; of a reply in pieces: counted anew from each EXCHANGE_TAKEN */
uint64_t exchange_deadline_ns(const struct exchange *x);
struct arena *exchange_arena(struct exchange *x);
void **exchange_data(struct exchange *x);   /* the route's own state */
void *exchange_scratch(struct exchange *x); /* EXCHANGE_SCRATCH bytes from on_gather to on_request */
void *exchange_app(struct exchange *x);     /* http_config.app */

/* ---- the reply: the body is copied; 8 KiB and more are compressed when the client accepts gzip ---- */
/* Before the reply; at most 8. name: a lower-case literal, borrowed; value is copied. */
void exchange_header_add(struct exchange *x, const char *name, struct str value);
/* content_type: borrowed for the call; NULL = none. */
void exchange_reply(struct exchange *x, int status, const char *content_type, struct str body);
void exchange_reply_json(struct exchange *x, int status, struct str json);
/* {"detail": text}, EXCHANGE_DETAIL_BYTES of it; text must not leak SQL, paths or stack traces. 503 adds Retry-After: 1. */
void exchange_error(struct exchange *x, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One of the things that are wrong with the request: {"type","loc":[...],"msg","input",("ctx")}; loc and input are JSON
 * texts. When the route's function returns without a reply, 422 {"detail":[...]} is sent with all that were noted, as far as
 * they fit. */
void exchange_invalid(struct exchange *x, const char *type, const char *loc_json, const char *msg,
		      struct str input_json, const char *ctx_json);
/* The same; the input is a text as it was sent. What is not UTF-8 is null. */
void exchange_invalid_text(struct exchange *x, const char *type, const char *loc_json, const char *msg,
			   struct str input, const char *ctx_json);
/* Whether more is wrong than can be listed: then nothing more is noted, and looking for it is of no use. */
bool exchange_list_is_full(const struct exchange *x);
/* Whether nothing is wrong so far. A route checks all of its request, then asks this, then acts. */
bool exchange_is_valid(const struct exchange *x);
/* Maps an enum rt_error to its status and text: EFULL 503, EDEADLINE 504, ENOTFOUND 404, ... */
void exchange_fail(struct exchange *x, int rt_error, const char *what);

/* ---- a reply in pieces, for what nobody should hold whole ----
 * One exchange_stream_begin, then pieces: the first at once or later, each further one when on_message has had EXCHANGE_TAKEN,
 * until the last. So one piece is in memory at a time, and who reads slowly slows down who writes. An error (exchange_error,
 * exchange_fail, the deadline) after the beginning cuts the reply off, in a way that clients see: it has no end. They are not compressed. */
void exchange_stream_begin(struct exchange *x, const char *content_type); /* status 200; borrowed for the call */
/* Moves the bytes out of piece, which are at least one. */
void exchange_stream_send(struct exchange *x, struct buf *piece, bool is_last);
bool exchange_stream_has_begun(const struct exchange *x);

/* ---- the server ---- */
struct http_config {
	const char *host;                         /* numeric or a name, resolved at start */
	uint16_t port;                            /* 0 = any free one */
	const char *tls_cert_file, *tls_key_file; /* both or none */
	const char *api_key;                      /* NULL or "" = open */
	uint64_t body_bytes_max;                  /* 0 = 1 MiB */
	uint64_t buffered_bytes_max;              /* of all bodies in flight; 0 = 256 MiB */
	uint32_t connections_max;                 /* 0 = 10,000 */
	/* Of connections, with those that are cut and not closed yet; 0 = as many as connections_max, and 256 more. */
	uint32_t descriptors_max;
	/* Of requests whose stream was reset and whose work has not ended, too; 0 = 100, as many as there are streams: a client
	 * that waits for its answers is then never refused by it. */
	uint32_t in_flight_per_connection_max;
	uint32_t in_flight_max;        /* per loop; 0 = 4096 */
	uint32_t request_timeout_ms;   /* 0 = 5,000 */
	uint32_t shutdown_grace_ms;    /* 0 = 10,000 */
	uint32_t handshake_timeout_ms; /* of TLS; 0 = 10,000 */
	uint32_t read_timeout_ms;      /* a request's head and body, and a second for each 64 KiB; 0 = 30,000 */
	/* A reply may take twice this and a second for each reply_rate_min bytes that the client takes; 0 = 15,000. Four times this
	 * without a byte is too long in any case. */
	uint32_t stall_timeout_ms;
	uint32_t reply_rate_min;     /* 0 = 1,024 */
	uint32_t idle_timeout_ms;    /* between requests; 0 = 60,000 */
	uint32_t control_frames_max; /* HTTP/2 frames that carry nothing, at once or in 10 s; 0 = 1,000 */
	const struct route *routes;  /* borrows; the server adds /health, /metrics, /openapi.json, /docs */
	size_t routes_count;
	void *app;         /* borrows */
	const char *unfit; /* NULL, or why routes with ROUTE_STORES are refused; borrows */
	/* NULL ok. Called once, while the server is made: adds to the OpenAPI document what only the application knows. */
	void (*document)(void *app, struct yyjson_mut_doc *doc);
	bool access_log;
};

/* Binds and prepares; the loops must be LOOP_IO and not yet started. NULL: *ret_why. */
struct http_server *http_server_create(const struct http_config *config, struct loop *const *loops,
				       unsigned loops_count, struct buf *ret_why);
uint16_t http_server_port(const struct http_server *s);
/* Stops accepting, GOAWAY, waits for what is in flight up to the grace. Any thread; `done` runs on a loop's
 * thread. */
void http_server_drain(struct http_server *s, void (*done)(void *arg), void *arg);
/* After loop_join and before loop_destroy of its loops. NULL is ok. */
void http_server_destroy(struct http_server *s);
