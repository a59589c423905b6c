/* From h2o's request to a route and back.
 *
 *     on_request: admit --refused--> reply ----------------------------------------------> released
 *                       `-> route's on_request --replied--------------------------------> released
 *                                  `--asked, not replied--> waiting (guard, deadline)
 *                 with on_gather: gathered --end of turn--> route's on_request, as above
 *                                          `--client gone--------------------------------> released at the end of turn
 *     waiting --on_message replied--> actor stops --finish--> released
 *             --deadline (504), RT_STOP (503), failed route (500)--> the same
 *             --client gone: guard disposed, or seen by the watch--> the same, no reply; a route that
 *               completes waits on without a request
 *
 * An actor is taken from the front's spare one only when a route asks for it, so a reply from on_request
 * costs no spawn, no message and no allocation of ours. The guard is a piece of memory in the request's
 * pool: h2o disposes it when a request dies unanswered, which is the only sign it gives. */
#include "http/content_coding.h"
#include "http/request_syntax.h"
#include "http/server_private.h"
#include "http/uri.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "store/text/json.h"
#include <strings.h>

enum {
	EXCHANGES_KEPT = 256,
	EXCHANGE_MAILBOX = 256,
	JSON_VALUES_MAX =
	    1 << 17, /* of a body: what a loop may be held up by it is a matter of their number (docs/adr/0022) */
};
#define OP_DEADLINE UINT64_MAX /* of rt_timer_start; routes use other numbers */

struct exchange_actor {
	struct actor base;
	struct http_front *front;
	struct exchange *x; /* NULL: the spare one */
};

struct exchange_guard {
	struct exchange *x; /* NULL: the exchange no longer cares */
};

/* ---- memory ---- */
static struct exchange *exchange_new(struct http_front *f)
{
	struct exchange *x = f->free;
	if (x != NULL) {
		f->free = x->next;
		f->free_len--;
	} else {
		x = malloc(sizeof *x);
		CHECK(x != NULL);
	}
	memset(x, 0, offsetof(struct exchange, params));
	return x;
}

static void exchange_free(struct http_front *f, struct exchange *x)
{
#ifdef FABRA_ASAN
	f->free_len = EXCHANGES_KEPT; /* back to the allocator, so that AddressSanitizer sees a use after free */
#endif
	if (f->free_len >= EXCHANGES_KEPT) {
		free(x);
		return;
	}
	x->next = f->free;
	f->free = x;
	f->free_len++;
}

void exchange_pool_finish(struct http_front *f)
{
	while (f->free != NULL) {
		struct exchange *x = f->free;
		f->free = x->next;
		free(x);
	}
}

/* These borrow from h2o's request, which is about to be freed. */
static void forget_input(struct exchange *x)
{
	x->method = x->path = x->query = x->body = x->api_key = x->timeout = (struct str){ 0 };
	for (unsigned i = 0; i < x->params_len; i++)
		x->params[i] = (struct str){ 0 };
}

void exchange_detach(struct exchange *x)
{
	x->req = NULL;
	x->stream = NULL;
	if (x->guard != NULL)
		x->guard->x = NULL;
	x->guard = NULL;
}

static void waiting_add(struct exchange *x)
{
	struct http_front *f = x->front;
	x->is_waiting = true;
	x->next = f->waiting;
	if (x->next != NULL)
		x->next->prev = x;
	f->waiting = x;
	f->in_flight++;
	x->conn->in_flight++;
	x->conn->waited++;
}

static void waiting_remove(struct exchange *x)
{
	struct http_front *f = x->front;
	if (x->prev != NULL)
		x->prev->next = x->next;
	else
		f->waiting = x->next;
	if (x->next != NULL)
		x->next->prev = x->prev;
	x->is_waiting = false;
	f->in_flight--;
	x->conn->in_flight--;
	conn_release(x->conn);
}

static void exchange_release(struct exchange *x)
{
	struct http_front *f = x->front;
	if (x->route != NULL && x->route->on_end != NULL)
		x->route->on_end(x);
	DCHECK(x->guard == NULL && x->req == NULL);
	if (x->is_waiting)
		waiting_remove(x);
	yyjson_doc_free(x->json);
	buf_finish(&x->invalid);
	arena_finish(&x->arena);
	exchange_free(f, x);
}

/* ---- the actor ---- */
static int actor_init(struct actor *a, void *arg)
{
	struct exchange_actor *ea = (struct exchange_actor *)a;
	ea->front = arg;
	ea->front->spare = ea;
	return 0;
}

static void actor_on_message(struct actor *a, struct msg *m)
{
	struct exchange *x = ((struct exchange_actor *)a)->x;
	if (x == NULL) {
		rt_stop(a);
		return;
	}
	if (m->kind == RT_STOP)
		exchange_error(x, 503, "the server is shutting down");
	else if (m->kind == RT_TIMER && m->op == OP_DEADLINE && x->stream != NULL)
		exchange_stream_on_deadline(x, OP_DEADLINE);
	else if (m->kind == RT_TIMER && m->op == OP_DEADLINE)
		exchange_error(x, 504, "the request's deadline has passed");
	else if (x->route->on_message != NULL)
		x->route->on_message(x, m);
	exchange_reply_invalid(x);
	if (x->has_replied) {
		forget_input(x);
		rt_stop(a);
	}
}

static void actor_finish(struct actor *a)
{
	struct exchange_actor *ea = (struct exchange_actor *)a;
	struct exchange *x = ea->x;
	if (ea->front->spare == ea)
		ea->front->spare = NULL;
	if (x == NULL)
		return;
	if (!x->has_replied)
		exchange_reply(x, 500, "text/plain; charset=utf-8", STR("Internal Server Error"));
	exchange_release(x);
}

static const struct actor_class exchange_class = {
	.name = "exchange",
	.size = sizeof(struct exchange_actor),
	.mailbox_len_max = EXCHANGE_MAILBOX,
	.init = actor_init,
	.on_message = actor_on_message,
	.finish = actor_finish,
};

struct actor *exchange_actor(struct exchange *x)
{
	if (x->actor == NULL) {
		x->actor = x->front->spare;
		x->front->spare = NULL;
		CHECK(x->actor != NULL); /* admission keeps one ready */
		x->actor->x = x;
	}
	return &x->actor->base;
}

/* ---- the end of a client ---- */
void exchange_client_gone(struct exchange *x)
{
	metrics_add(x->front->server->counters.clients_gone, 1);
	observe_reply(x, 499, 0); /* nginx's "client closed request"; for the log and the metrics only */
	exchange_detach(x);
	forget_input(x);
	conn_abandoned(x->conn);
	if (x->is_gathered) {
		x->has_replied = true;
		return;
	}
	if (x->route->flags & ROUTE_COMPLETES)
		return;
	x->has_replied = true;
	rt_stop(&x->actor->base);
}

static void on_guard_dispose(void *memory)
{
	struct exchange_guard *guard = memory;
	if (guard->x != NULL)
		exchange_client_gone(guard->x);
}

void exchange_end_waiting(struct http_front *f, int status, const char *detail)
{
	for (struct exchange *x = f->waiting, *next; x != NULL; x = next) {
		next = x->next;
		if (x->has_replied)
			continue;
		exchange_error(x, status, "%s", detail);
		forget_input(x);
		rt_stop(&x->actor->base);
	}
}

/* ---- admission ---- */
/* "OPTIONS *": about the server as a whole. */
static bool is_asterisk(const struct exchange *x)
{
	return str_eq(x->path, STR("*")) && str_eq(x->method, STR("OPTIONS"));
}

struct http_conn *exchange_conn_of(const h2o_req_t *req)
{
	const h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	return sock != NULL ? sock->on_close.data : NULL;
}

bool exchange_id_is_sane(struct str sent)
{
	bool is_sane = sent.n > 0 && sent.n <= REQUEST_ID_MAX;
	for (size_t i = 0; i < sent.n && is_sane; i++)
		is_sane = sent.p[i] > ' ' && sent.p[i] < 0x7f;
	return is_sane;
}

void exchange_id_make(struct http_front *f, char ret_id[static REQUEST_ID_OWN])
{
	static const char hex[16] = "0123456789abcdef";
	uint64_t id = hash_mix(f->id_next++);
	for (int i = REQUEST_ID_OWN - 1; i >= 0; i--, id >>= 4)
		ret_id[i] = hex[id & 15];
}

static void request_id_set(struct exchange *x, struct str sent)
{
	x->is_id_sent = exchange_id_is_sane(sent);
	if (x->is_id_sent)
		memcpy(x->request_id, sent.p, sent.n);
	else
		exchange_id_make(x->front, x->request_id);
	x->request_id_len = x->is_id_sent ? (uint8_t)sent.n : REQUEST_ID_OWN;
}

/* Where the value of a header goes that has one; NULL: of another header. */
static struct str *place_of(struct exchange *x, struct str name, struct str *request_id, struct str *idempotency_key)
{
	if (name.n == 9 && str_eq(name, STR("x-api-key")))
		return &x->api_key;
	if (name.n == 12 && str_eq(name, STR("x-request-id")))
		return request_id;
	if (name.n == 15 && str_eq(name, STR("idempotency-key")))
		return idempotency_key;
	if (name.n == 20 && str_eq(name, STR("x-request-timeout-ms")))
		return &x->timeout;
	return NULL;
}

static bool is_continue(struct str value)
{
	return value.n == 12 && strncasecmp(value.p, "100-continue", value.n) == 0;
}

/* One pass over the headers for the ones of interest. Returns whether they are within the bounds of size and number.
 * *ret_repeated: one that has one value and was sent more than once, p NULL: none. */
static bool headers_read(struct exchange *x, const h2o_req_t *req, struct str *ret_repeated)
{
	struct str request_id = { 0 }, idempotency_key = { 0 };
	size_t bytes = req->input.path.len + req->input.method.len;
	bool is_small = req->headers.size <= HEADERS_MAX;
	for (size_t i = 0; i < req->headers.size && bytes <= HEADER_BYTES_MAX; i++) {
		const h2o_header_t *h = &req->headers.entries[i];
		struct str name = { h->name->base, h->name->len }, value = { h->value.base, h->value.len };
		bytes += name.n + value.n + 4; /* ": " and CR LF */
		if (name.n == 16 && str_eq(name, STR("content-encoding")))
			x->is_encoded = x->is_encoded || !coding_is_identity(value);
		else if (name.n == 6 && str_eq(name, STR("expect")))
			x->expects_more = x->expects_more || !is_continue(value);
		struct str *found = place_of(x, name, &request_id, &idempotency_key);
		if (found == NULL)
			continue;
		if (found->p != NULL && found != &request_id) /* a proxy may have added one; it decides nothing */
			*ret_repeated = name;
		*found = value;
	}
	request_id_set(x, request_id);
	return is_small && bytes <= HEADER_BYTES_MAX;
}

/* Two readers of the same request, a proxy that checks it for instance, could take different ones of two values. */
static bool refuse_repeated(struct exchange *x, const char *what, struct str name)
{
	exchange_error(x, 400, "the %s '%.*s' is given more than once", what, STR_ARG(name));
	return false;
}

/* Over HTTP/1 h2o says it itself (server_errors.c). */
static bool expectation_is_met(struct exchange *x)
{
	if (!x->expects_more)
		return true;
	exchange_error(x, 417, "the expectation cannot be met");
	return false;
}

/* In constant time for a given input: how much of it is right must not show. */
static bool key_equals(struct str sent, struct str key)
{
	volatile unsigned char difference = sent.n != key.n;
	for (size_t i = 0; i < sent.n; i++)
		difference |= (unsigned char)(sent.p[i] ^ key.p[i % key.n]);
	return difference == 0;
}

static bool refuse_not_found(struct exchange *x, const struct router_match *match)
{
	struct buf text = { 0 };
	switch (match->result) {
	case ROUTER_WRONG_METHOD:
		router_allow_text(match->methods, &text);
		exchange_header_add(x, "allow", buf_str(&text));
		exchange_error(x, 405, "Method Not Allowed");
		break;
	case ROUTER_REDIRECT:
		buf_append(&text, x->path.p, match->path_bytes);
		if (x->query.n > 0) {
			buf_append_char(&text, '?');
			buf_append_str(&text, x->query);
		}
		exchange_header_add(x, "location", buf_str(&text));
		exchange_reply(x, 307, NULL, (struct str){ 0 });
		break;
	case ROUTER_NOT_FOUND:
		exchange_error(x, 404, "Not Found");
		break;
	case ROUTER_FOUND:
		UNREACHABLE();
	}
	buf_finish(&text);
	return false;
}

static bool find_route(struct exchange *x)
{
	struct router_match match;
	const struct http_server *s = x->front->server;
	router_find(s->router, x->method, x->path, &x->arena, &match);
	if (match.result != ROUTER_FOUND)
		return refuse_not_found(x, &match);
	x->route = &s->routes[match.route];
	x->params_len = match.params_count;
	for (unsigned i = 0; i < match.params_count; i++)
		x->params[i] = match.params[i];
	return true;
}

static bool within_limits(struct exchange *x)
{
	const struct http_front *f = x->front;
	const struct http_server *s = f->server;
	if (x->body.n > s->config.body_bytes_max) {
		exchange_error(x, 413, "the body is larger than %llu bytes",
			       (unsigned long long)s->config.body_bytes_max);
		return false;
	}
	if (x->route->flags & ROUTE_SYSTEM)
		return true;
	const char *what = NULL;
	if (x->conn->in_flight >= s->config.in_flight_per_connection_max || f->in_flight >= s->config.in_flight_max)
		exchange_run_gathered(x->front); /* those are in flight only until they are answered together */
	if (atomic_load_explicit(&s->draining, memory_order_relaxed))
		what = "the server is shutting down";
	else if (x->conn->in_flight >= s->config.in_flight_per_connection_max)
		what = "too many requests of this connection are waiting for their answer";
	else if (f->in_flight >= s->config.in_flight_max)
		what = "the server is at its limit of requests in flight";
	if (what == NULL)
		return true;
	metrics_add(s->counters.refused_overload, 1);
	exchange_error(x, 503, "%s", what);
	return false;
}

/* What is encoded cannot be read, and read as it is it would be something else (RFC 9110, 8.4). */
static bool body_is_plain(struct exchange *x)
{
	if (!x->is_encoded || !(x->route->flags & ROUTE_BODY))
		return true;
	exchange_header_add(x, "accept-encoding", STR("identity"));
	exchange_error(x, 415, "the body must not be encoded: its Content-Encoding is not identity");
	return false;
}

/* How many characters the first bytes are: Fabra's errors give places in characters. */
static size_t characters(struct str text, size_t bytes)
{
	size_t n = 0;
	for (size_t i = 0; i < bytes && i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

static bool read_json(struct exchange *x)
{
	if (x->body.n == 0)
		return true; /* the route says which field is missing */
	if (json_has_more_values(x->body, JSON_VALUES_MAX)) {
		exchange_error(x, 413, "the body has more than %d values", JSON_VALUES_MAX);
		return false;
	}
	struct json_error error;
	struct json_limits limits = { .bytes_max = x->front->server->config.body_bytes_max };
	x->json = json_parse(x->body, &limits, &error);
	if (x->json != NULL)
		return true;
	if (!json_utf8_valid(x->body)) {
		exchange_error(x, 400, "There was an error parsing the body: it is not UTF-8");
		return false;
	}
	char loc[48], ctx[256];
	struct buf quoted = { 0 };
	json_write_string(&quoted, str_from(error.what));
	snprintf(loc, sizeof loc, "[\"body\",%zu]", characters(x->body, error.at));
	snprintf(ctx, sizeof ctx, "{\"error\":%.*s}", STR_ARG(buf_str(&quoted)));
	buf_finish(&quoted);
	exchange_invalid(x, "json_invalid", loc, "JSON decode error", STR("{}"), ctx);
	return false;
}

static bool authorised(struct exchange *x)
{
	struct str key = x->front->server->api_key;
	if (key.n == 0)
		return true;
	x->is_key_valid = key_equals(x->api_key, key);
	if (x->is_key_valid || (x->route->flags & ROUTE_PUBLIC))
		return true;
	exchange_error(x, 403, "Could not validate credentials");
	return false;
}

/* What is kept is not whole: what is written now, or called absent, would contradict it later. */
static bool stores_are_fit(struct exchange *x)
{
	const char *unfit = x->front->server->config.unfit;
	if (unfit == NULL || !(x->route->flags & ROUTE_STORES))
		return true;
	exchange_error(x, 503, "%s", unfit);
	return false;
}

/* One that cannot be read is noted, with what else is wrong. */
static void read_timeout(struct exchange *x)
{
	uint64_t ms = 0, max_ms = x->front->server->config.request_timeout_ms;
	if (x->route->flags & ROUTE_LONG)
		max_ms *= ROUTE_LONG_FACTOR;
	if (x->timeout.p != NULL) {
		for (size_t i = 0; i < x->timeout.n && ms <= UINT32_MAX; i++) {
			char c = x->timeout.p[i];
			if (c < '0' || c > '9') {
				ms = 0;
				break;
			}
			ms = ms * 10 + (uint64_t)(c - '0');
		}
		if (ms == 0)
			exchange_invalid_text(x, "int_parsing", "[\"header\",\"x-request-timeout-ms\"]",
					      "Input should be a number of milliseconds, at least 1", x->timeout, NULL);
	}
	x->deadline_ns = x->started_ns + (ms != 0 && ms < max_ms ? ms : max_ms) * 1000000u;
}

/* Eight bytes at a time; the last eight may overlap those before. */
static bool is_plain_ascii(struct str s)
{
	const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
	uint64_t bits = 0, w;
	size_t i = 0;
	if (s.n >= 8) {
		for (; i < s.n; i += 8) {
			memcpy(&w, s.p + (i + 8 <= s.n ? i : s.n - 8), 8);
			uint64_t percent = w ^ ones * '%';
			bits |= w | ((percent - ones) & ~percent);
		}
	}
	for (; i < s.n; i++)
		bits |= (unsigned char)s.p[i] | (s.p[i] == '%' ? 0x80 : 0);
	return !(bits & tops);
}

/* Answers and counts. HTTP/1 does not go on where the request's end is in doubt; HTTP/2 has frames for that, and ends the stream
 * where it demands that. */
static bool refuse_malformed(struct exchange *x, enum syntax_fault fault)
{
	syntax_count(fault);
	x->ends_connection = fault != SYNTAX_ESCAPE && (fault != SYNTAX_TOO_LARGE || x->req->version < 0x200);
	if (fault == SYNTAX_PROTOCOL)
		conn_cut(x->conn); /* no answer */
	exchange_error(x, fault == SYNTAX_TOO_LARGE ? 431 : 400, "%s", syntax_fault_text(fault));
	return false;
}

/* HTTP/2's. p NULL: there is none; h2o puts the name of its one host then, and drops a Host header that stands in its place. */
static struct str authority_of(const struct exchange *x, const h2o_req_t *req)
{
	bool is_sent = req->input.authority.base != x->front->server->h2o.hosts[0]->authority.hostport.base;
	return is_sent ? str_of(req->input.authority.base, req->input.authority.len) : (struct str){ 0 };
}

static bool target_is_sound(struct exchange *x, const h2o_req_t *req)
{
	enum syntax_fault fault = syntax_fault_of(req->input.path.base);
	x->is_plain = is_plain_ascii(x->path) && is_plain_ascii(x->query);
	if (req->version >= 0x200)
		fault = (x->path.n > 0 && x->path.p[0] == '/') || is_asterisk(x)
			    ? syntax_check_http2(x->method, authority_of(x, req))
			    : SYNTAX_TARGET;
	if (fault == SYNTAX_SOUND && !x->is_plain &&
	    !(uri_escapes_are_sound(x->path) && uri_escapes_are_sound(x->query)))
		fault = SYNTAX_ESCAPE;
	return fault == SYNTAX_SOUND || refuse_malformed(x, fault);
}

static bool text_is_valid(struct exchange *x)
{
	if (x->is_plain)
		return true;
	bool path_is_valid = true;
	for (unsigned i = 0; i < x->params_len; i++)
		path_is_valid = path_is_valid && json_utf8_valid(x->params[i]);
	if (!path_is_valid) {
		exchange_error(x, 400, "the path is not UTF-8 once its %%XX are decoded");
		return false;
	}
	if (x->query.n > 0 && !uri_query_is_utf8(&x->arena, x->query)) {
		exchange_error(x, 400, "the query string is not UTF-8 once its %%XX are decoded");
		return false;
	}
	return true;
}

/* Notes each query parameter that the route does not know, and refuses one that it knows and that comes again. A route that
 * looks at more of its request than the path says so with what else is wrong. */
static bool query_is_known(struct exchange *x)
{
	const char *known = x->front->server->query_names[x->route - x->front->server->routes];
	struct str rest = x->query, name, value;
	uint64_t seen = 0; /* a bit for each known name */
	while (known != NULL && !exchange_list_is_full(x) && uri_query_next(&x->arena, &rest, &name, &value)) {
		const char *at = known;
		uint64_t bit = 1;
		for (; *at != '\0' && !str_eq(name, str_from(at)); bit <<= 1)
			at += strlen(at) + 1;
		if (*at != '\0') {
			if (seen & bit)
				return refuse_repeated(x, "query parameter", name);
			seen |= bit;
			continue;
		}
		struct buf loc = { 0 };
		buf_append_lit(&loc, "[\"query\",");
		json_write_string(&loc, name);
		buf_append(&loc, "]", sizeof "]");
		exchange_invalid_text(x, "extra_forbidden", !loc.failed ? loc.p : "[\"query\"]",
				      "Extra inputs are not permitted", value, NULL);
		buf_finish(&loc);
	}
	bool looks_further = (x->route->flags & ROUTE_BODY) || (known != NULL && known[0] != '\0');
	return looks_further || exchange_is_valid(x);
}

static bool keep_a_spare(struct exchange *x)
{
	struct http_front *f = x->front;
	if (f->spare != NULL || x->route->on_message == NULL)
		return true;
	rt_spawn(f->loop, &exchange_class, f);
	if (f->spare != NULL)
		return true;
	metrics_add(f->server->counters.refused_overload, 1);
	exchange_error(x, 503, "the server is at its limit of actors");
	return false;
}

/* The order is Fabra's from the routing on: the body's JSON, the key, then everything the route checks. */
static bool admit(struct exchange *x, const h2o_req_t *req)
{
	struct str repeated = { 0 };
	bool is_small = headers_read(x, req, &repeated);
	if (!(target_is_sound(x, req) && (is_small || refuse_malformed(x, SYNTAX_TOO_LARGE)) && expectation_is_met(x) &&
	      find_route(x) && (repeated.p == NULL || refuse_repeated(x, "header", repeated)) && within_limits(x) &&
	      body_is_plain(x) && (!(x->route->flags & ROUTE_BODY) || read_json(x)) && authorised(x) &&
	      stores_are_fit(x)))
		return false;
	read_timeout(x);
	return text_is_valid(x) && keep_a_spare(x) && query_is_known(x);
}

/* ---- h2o's side ---- */
static void input_read(struct exchange *x, const h2o_req_t *req)
{
	struct str target = { req->input.path.base, req->input.path.len };
	size_t path_bytes = req->query_at < target.n ? req->query_at : target.n;
	if (req->version < 0x200 && target.n > 0 && target.p[0] != '/') {
		struct str authority;
		target = syntax_origin_form(target, &authority);
		const char *query = memchr(target.p, '?', target.n);
		path_bytes = query != NULL ? (size_t)(query - target.p) : target.n;
	}
	x->method = str_of(req->input.method.base, req->input.method.len);
	x->path = path_bytes > 0 || req->version >= 0x200 ? str_of(target.p, path_bytes) : STR("/");
	x->query = str_skip(target, path_bytes + 1);
	x->body = str_of(req->entity.base, req->entity.len);
	x->is_head = str_eq(x->method, STR("HEAD"));
}

static void guard(struct exchange *x)
{
	x->guard = h2o_mem_alloc_shared(&x->req->pool, sizeof *x->guard, on_guard_dispose);
	x->guard->x = x;
}

static void wait_for_reply(struct exchange *x)
{
	if (x->actor == NULL) {
		log_line(LOG_ERROR, "http.exchange", "a route neither replied nor asked: it must do one of the two",
			 LOG_CSTR("route", x->route->path));
		exchange_reply(x, 500, "text/plain; charset=utf-8", STR("Internal Server Error"));
		exchange_release(x);
		return;
	}
	guard(x);
	waiting_add(x);
	uint64_t now_ns = loop_mono_ns(x->front->loop);
	uint64_t left_ns = x->deadline_ns > now_ns ? x->deadline_ns - now_ns : 0;
	rt_timer_start(&x->actor->base, left_ns / 1000000u + 1, OP_DEADLINE);
}

/* After on_request, or what stands for it. */
static void conclude(struct exchange *x)
{
	exchange_reply_invalid(x);
	if (!x->has_replied) {
		wait_for_reply(x);
	} else if (x->actor != NULL) {
		forget_input(x);
		rt_stop(&x->actor->base);
	} else {
		exchange_release(x);
	}
}

/* ---- requests that are answered together ---- */
static void gather(struct exchange *x)
{
	struct http_front *f = x->front;
	/* Between two connections only: the replies to one then leave in one write. */
	if (f->gathered_len >= GATHER_ENOUGH && f->gathered[f->gathered_len - 1]->conn != x->conn)
		exchange_run_gathered(f);
	guard(x);
	x->is_gathered = true;
	f->in_flight++;
	x->conn->in_flight++;
	f->gathered[f->gathered_len++] = x;
	loop_want_turn(
	    f->loop); /* one that was pipelined is found when the reply before it is written, after the turn */
	if (f->gathered_len == GATHER_MAX)
		exchange_run_gathered(f);
}

static void run_gathered(struct exchange *x)
{
	struct http_conn *conn = x->conn;
	x->is_gathered = false;
	x->front->in_flight--;
	conn->in_flight--;
	if (x->req == NULL) {    /* its client has gone */
		x->route = NULL; /* on_end belongs to an on_request */
		exchange_release(x);
	} else {
		x->guard->x = NULL;
		x->guard = NULL;
		if (keep_a_spare(x)) /* another request may have taken the one of its admission */
			x->route->on_request(x);
		conclude(x);
	}
	conn_release(conn);
}

void exchange_run_gathered(void *front)
{
	struct http_front *f = front;
	struct exchange *all[GATHER_MAX];
	unsigned n = f->gathered_len;
	memcpy(all, f->gathered, n * sizeof all[0]);
	f->gathered_len = 0;
	for (unsigned i = 0; i < n; i++)
		if (all[i]->req != NULL)
			all[i]->route->on_gather(all[i], true);
	for (unsigned i = 0; i < n; i++)
		run_gathered(all[i]);
}

int exchange_on_request(h2o_handler_t *handler, h2o_req_t *req)
{
	(void)handler;
	struct http_front *f = (struct http_front *)((char *)req->conn->ctx - offsetof(struct http_front, h2o));
	struct exchange *x = exchange_new(f);
	x->front = f;
	x->invalid.max = INVALID_BYTES_MAX;
	x->conn = exchange_conn_of(req);
	x->conn->requests++;
	x->req = req;
	x->started_ns = loop_mono_ns(f->loop); /* when the poll that brought it returned */
	input_read(x, req);
	bool is_admitted = admit(x, req);
	if (is_admitted && x->route->on_gather != NULL) {
		x->route->on_gather(x, false);
		if (!x->has_replied && exchange_is_valid(x)) {
			gather(x);
			return 0;
		}
		is_admitted = false;
	}
	if (is_admitted) {
		x->route->on_request(x);
	} else {
		exchange_reply_invalid(x); /* counted and logged as the route's */
		x->route = NULL;           /* on_end belongs to an on_request */
	}
	conclude(x);
	return 0;
}
