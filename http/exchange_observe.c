/* Counts, times and logs each reply. Labels are route templates, so the number of series is that of the routes. */
#include "http/server_private.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include <openssl/sha.h>

static const int known_statuses[STATUS_SLOTS - 1] = {
	200, 201, 202, 204, 307, 400, 403, 404, 405, 409, 413, 422, 429, 431, 499, 500, 501, 503, 504,
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
	c->cut_connections = counter("fabra_http_connections_cut", "Connections ended by the server for their conduct.");
	c->connections = metrics_series(
		metrics_family(METRIC_GAUGE, "fabra_http_connections", "Open connections.", "", NULL), NULL);
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
	for (size_t i = 0; i <= s->routes_len; i++)
		all[i].latency = metrics_series(s->latency_family, (const char *[]){ label_method(s, i),
										     label_endpoint(s, i) });
	return all;
}

static metric_id count_series(struct http_front *f, size_t route, int status)
{
	metric_id *id = &f->metrics[route].count[status_slot(status)];
	if (*id == 0) {
		char text[12];
		snprintf(text, sizeof text, "%d", status);
		*id = metrics_series(f->server->count_family,
				     (const char *[]){ label_method(f->server, route),
						       label_endpoint(f->server, route), text });
	}
	return *id;
}

void observe_key_name(struct str key, char ret_name[static 13])
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)key.p, key.n, hash);
	snprintf(ret_name, 13, "key_%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
}

/* Milliseconds with three decimals; printf's floats would be a third of the line's cost. */
static size_t write_ms(char *out, uint64_t ns)
{
	uint64_t us = ns / 1000, ms = us / 1000;
	char digits[24];
	size_t at = sizeof digits, n;
	for (int i = 0; i < 3; i++, us /= 10)
		digits[--at] = (char)('0' + us % 10);
	digits[--at] = '.';
	do
		digits[--at] = (char)('0' + ms % 10);
	while (ms /= 10);
	n = sizeof digits - at;
	memcpy(out, digits + at, n);
	return n;
}

/* Never the query's values, the path's parameters or the body: they belong to the users' users. */
static void log_access(const struct exchange *x, int status, size_t body_bytes, uint64_t took_ns)
{
	char ms[24], key[13];
	const char *key_name = "anonymous";
	if (x->is_key_valid) {
		key_name = x->front->server->api_key_name;
	} else if (x->api_key.n > 0) {
		observe_key_name(x->api_key, key);
		key_name = key;
	}
	log_line(LOG_INFO, "http.access", "request", LOG_STR("request_id", exchange_request_id(x)),
		 LOG_STR("method", x->method), LOG_CSTR("route", x->route != NULL ? x->route->path : "unmatched"),
		 LOG_INT("status", status), LOG_RAW("duration_ms", str_of(ms, write_ms(ms, took_ns))),
		 LOG_INT("request_bytes", (int64_t)x->body.n), LOG_INT("bytes", (int64_t)body_bytes),
		 LOG_CSTR("key", key_name));
}

void observe_reply(struct exchange *x, int status, size_t body_bytes)
{
	struct http_front *f = x->front;
	uint64_t took_ns = clock_mono_ns() - x->started_ns;
	size_t route = x->route != NULL ? (size_t)(x->route - f->server->routes) : f->server->routes_len;
	metrics_add(count_series(f, route, status), 1);
	metrics_observe(f->metrics[route].latency, (double)took_ns / 1e9);
	if (f->server->config.access_log)
		log_access(x, status, body_bytes, took_ns);
}

void observe_library_error(struct http_front *f, int status)
{
	metrics_add(count_series(f, f->server->routes_len, status), 1);
}
