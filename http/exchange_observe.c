/* Counts, times and logs each reply. Labels are route templates, so the number of series is that of the
 * routes. */
#include "http/server_private.h"
#include "runtime/clock.h"
#include "runtime/digits.h"
#include "runtime/log.h"
#include "store/text/json.h"
#include <openssl/sha.h>

static const int known_statuses[STATUS_SLOTS - 1] = {
	200, 201, 202, 204, 307, 400, 403, 404, 405, 409, 413, 415, 417, 422, 429, 431, 499, 500, 501, 503, 504,
};

static unsigned status_slot(int status)
{
	if (status == 200)
		return 0;
	for (unsigned i = 1; i < STATUS_SLOTS - 1; i++)
		if (known_statuses[i] == status)
			return i;
	return STATUS_SLOTS - 1;
}

static metric_id counter(const char *name, const char *help)
{
	return metrics_series(metrics_family(METRIC_COUNTER, name, help, "", NULL), NULL);
}

void observe_init(struct http_server *s)
{
	s->count_family = metrics_family(METRIC_COUNTER, "fabra_request_count", "Requests answered.",
					 "method,endpoint,status", NULL);
	s->latency_family = metrics_family(METRIC_HISTOGRAM, "fabra_request_latency_seconds",
					   "From a request's last byte to its reply.", "method,endpoint", NULL);
	struct http_counters *c = &s->counters;
	c->replies_dropped = counter("fabra_http_replies_dropped", "Replies whose client had gone.");
	c->clients_gone = counter("fabra_http_clients_gone", "Clients that left before their reply.");
	c->refused_connections = counter("fabra_http_connections_refused", "Connections closed at a limit.");
	c->refused_overload = counter("fabra_http_requests_refused", "Requests answered 503 at a limit.");
	uint32_t cut_family = metrics_family(METRIC_COUNTER, "fabra_http_connections_cut",
					     "Connections ended for their conduct.", "kind", NULL);
	for (unsigned kind = FRAME_FINE + 1; kind < CUT_KINDS; kind++)
		c->cut_connections[kind] = metrics_series(cut_family, (const char *[]){ observe_cut_name(kind) });
	c->connections = metrics_series(metrics_family(METRIC_GAUGE, "fabra_http_connections", "Open connections.", "",
						       NULL),
					NULL);
}

const char *observe_cut_name(unsigned kind)
{
	if (kind < FRAME_VERDICTS)
		return frame_verdict_name((enum frame_verdict)kind);
	switch ((enum cut_kind)kind) {
	case CUT_BYTES:
		return "bodies";
	case CUT_PROTOCOL:
		return "protocol";
	case CUT_HANDSHAKE:
		return "handshake";
	case CUT_SLOW_REQUEST:
		return "slow_request";
	case CUT_SLOW_READER:
		return "slow_reader";
	case CUT_EVICTED:
		return "evicted";
	case CUT_KINDS:
		break;
	}
	return "none";
}

static const char *label_method(const struct http_server *s, size_t route)
{
	return route < s->routes_len ? s->routes[route].method : "any";
}

static const char *label_endpoint(const struct http_server *s, size_t route)
{
	return route < s->routes_len ? s->routes[route].path : "unmatched";
}

struct route_metrics *observe_routes_create(const struct http_server *s)
{
	struct route_metrics *all = calloc(s->routes_len + 1, sizeof *all);
	CHECK(all != NULL);
	for (size_t i = 0; i <= s->routes_len; i++) {
		all[i].latency = metrics_series(s->latency_family,
						(const char *[]){ label_method(s, i), label_endpoint(s, i) });
		buf_append_lit(&all[i].log_text, "\",\"route\":");
		json_write_string(&all[i].log_text, str_from(label_endpoint(s, i)));
		buf_append_lit(&all[i].log_text, ",\"status\":");
		CHECK(all[i].log_text.n <= ROUTE_LOG_MAX);
	}
	return all;
}

void observe_routes_destroy(const struct http_server *s, struct route_metrics *all)
{
	for (size_t i = 0; i <= s->routes_len; i++)
		buf_finish(&all[i].log_text);
	free(all);
}

static metric_id count_series(struct http_front *f, size_t route, int status)
{
	metric_id *id = &f->metrics[route].count[status_slot(status)];
	if (*id == 0) {
		char text[12];
		snprintf(text, sizeof text, "%d", status);
		*id = metrics_series(f->server->count_family,
				     (const char *[]){ label_method(f->server, route), label_endpoint(f->server, route),
						       text });
	}
	return *id;
}

void observe_key_name(struct str key, char ret_name[static 13])
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)key.p, key.n, hash);
	snprintf(ret_name, 13, "key_%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
}

/* ---- the access log ---- */
/* Without printf: after h2o, the access line is the largest part of what a short request costs. */
struct line {
	char text[1024]; /* an escaped id 256, the route 400, the rest below 200 */
	size_t n;
};

static void put(struct line *l, struct str s)
{
	memcpy(l->text + l->n, s.p, s.n);
	l->n += s.n;
}

static void put_u64(struct line *l, uint64_t v)
{
	char digits[20], *end = digits + sizeof digits, *at = digits_before(end, v);
	put(l, str_of(at, (size_t)(end - at)));
}

static void put_ms(struct line *l, uint64_t ns)
{
	uint64_t us = ns / 1000 % 1000;
	put_u64(l, ns / 1000000);
	char decimals[4] = { '.', (char)('0' + us / 100), (char)('0' + us / 10 % 10), (char)('0' + us % 10) };
	put(l, str_of(decimals, sizeof decimals));
}

/* A client's id is visible ASCII, so these two are all that JSON wants escaped. */
static void put_request_id(struct line *l, const struct exchange *x)
{
	if (!x->is_id_sent) {
		put(l, str_of(x->request_id, REQUEST_ID_OWN));
		return;
	}
	for (size_t i = 0; i < x->request_id_len; i++) {
		if (x->request_id[i] == '"' || x->request_id[i] == '\\')
			l->text[l->n++] = '\\';
		l->text[l->n++] = x->request_id[i];
	}
}

static void put_key(struct line *l, const struct exchange *x)
{
	char name[13];
	if (x->api_key.n == 0) {
		put(l, STR("anonymous"));
	} else if (x->is_key_valid) {
		put(l, str_from(x->front->server->api_key_name));
	} else {
		observe_key_name(x->api_key, name);
		put(l, str_from(name));
	}
}

/* Never the query's values, the path's parameters or the body: they belong to the users' users. */
static void log_access(const struct exchange *x, size_t route, int status, size_t body_bytes, uint64_t took_ns)
{
	struct line l;
	if (log_level_min() > LOG_INFO)
		return;
	l.n = 0;
	put(&l, STR("\"level\":\"INFO\",\"logger\":\"http.access\",\"message\":\"request\",\"request_id\":\""));
	put_request_id(&l, x);
	put(&l, STR("\",\"method\":\""));
	put(&l, x->method.n < 16 && x->route != NULL ? x->method : STR("other"));
	put(&l, buf_str(&x->front->metrics[route].log_text));
	put_u64(&l, (uint64_t)status);
	put(&l, STR(",\"duration_ms\":"));
	put_ms(&l, took_ns);
	put(&l, STR(",\"request_bytes\":"));
	put_u64(&l, x->body.n);
	put(&l, STR(",\"bytes\":"));
	put_u64(&l, body_bytes);
	put(&l, STR(",\"key\":\""));
	put_key(&l, x);
	put(&l, STR("\""));
	log_write_members(loop_wall_us(x->front->loop), str_of(l.text, l.n));
}

void observe_reply(struct exchange *x, int status, size_t body_bytes)
{
	struct http_front *f = x->front;
	uint64_t took_ns = clock_mono_ns() - x->started_ns;
	size_t route = x->route != NULL ? (size_t)(x->route - f->server->routes) : f->server->routes_len;
	metrics_add(count_series(f, route, status), 1);
	metrics_observe(f->metrics[route].latency, (double)took_ns / 1e9);
	if (f->server->config.access_log)
		log_access(x, route, status, body_bytes, took_ns);
}

void observe_library_error(struct http_front *f, int status)
{
	metrics_add(count_series(f, f->server->routes_len, status), 1);
}
