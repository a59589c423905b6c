/* Routes that show every way an exchange can end; used by test_exchange.c and by the program
 * http_test_server. */
#pragma once
#include "http/exchange.h"
#include "runtime/check.h"
#include "store/text/json.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { SLEEP = MSG_KIND(CLASS_TEST, 1), SLEPT = MSG_KIND(CLASS_TEST, 2), SLEEPERS_MAX = 4096 };

struct sleep_msg {
	struct msg head;
	uint32_t ms; /* UINT32_MAX: for ever */
};

/* Answers a SLEEP after its time. */
struct sleeper {
	struct actor base;
	struct msg *held[SLEEPERS_MAX];
};

struct test_app {
	struct actor_ref sleeper[65]; /* by loop id */
	atomic_uint ended;            /* calls of on_end */
	atomic_uint never;            /* calls of on_never */
	atomic_uint pieces;           /* that were sent by /pieces */
};

static inline void sleeper_on_message(struct actor *a, struct msg *m)
{
	struct sleeper *s = (struct sleeper *)a;
	if (m->kind == RT_TIMER) {
		rt_reply(a, s->held[m->op], rt_msg_new(a->loop, SLEPT));
		s->held[m->op] = NULL;
	} else if (m->kind == SLEEP) {
		size_t at = 0;
		while (at < SLEEPERS_MAX && s->held[at] != NULL)
			at++;
		CHECK(at < SLEEPERS_MAX);
		rt_msg_take(m);
		s->held[at] = m;
		uint32_t ms = ((struct sleep_msg *)m)->ms;
		if (ms != UINT32_MAX)
			rt_timer_start(a, ms, at);
	} else if (m->kind == RT_STOP) {
		rt_stop(a);
	}
}

static inline void sleeper_finish(struct actor *a)
{
	struct sleeper *s = (struct sleeper *)a;
	for (size_t i = 0; i < SLEEPERS_MAX; i++)
		if (s->held[i] != NULL)
			rt_msg_free(a->loop, s->held[i]);
}

static const struct actor_class sleeper_class = {
	.name = "sleeper",
	.size = sizeof(struct sleeper),
	.mailbox_len_max = SLEEPERS_MAX,
	.on_message = sleeper_on_message,
	.finish = sleeper_finish,
};

static inline void test_app_spawn(struct test_app *app, struct loop *loop)
{
	app->sleeper[loop_id(loop)] = rt_spawn(loop, &sleeper_class, NULL);
}

/* ---- routes that answer at once ---- */
static inline void on_sync(struct exchange *x)
{
	struct buf out = { 0 };
	struct str q = { 0 };
	buf_append_lit(&out, "{\"name\":");
	json_write_string(&out, exchange_param(x, 0));
	if (exchange_query(x, "q", &q)) {
		buf_append_lit(&out, ",\"q\":");
		json_write_string(&out, q);
	}
	buf_append_char(&out, '}');
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static inline void on_value(struct exchange *x)
{
	exchange_reply_json(x, 200, STR("{\"value\":12.5,\"freshness_ms\":120,\"served_from\":\"online\"}"));
}

static inline void on_echo(struct exchange *x)
{
	yyjson_doc *doc = exchange_json(x);
	if (doc == NULL) {
		exchange_invalid(x, "missing", "[\"body\"]", "Field required", STR("null"), NULL);
		return;
	}
	size_t n;
	char *text = yyjson_write(doc, 0, &n);
	exchange_reply_json(x, 200, str_of(text, n));
	free(text);
}

static inline void on_bytes(struct exchange *x)
{
	struct buf out = { 0 };
	buf_printf(&out, "{\"bytes\":%zu}", exchange_body(x).n);
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static inline uint32_t number_of(struct exchange *x, const char *name, uint32_t fallback)
{
	struct str v;
	char text[16] = "";
	if (!exchange_query(x, name, &v) || v.n >= sizeof text)
		return fallback;
	memcpy(text, v.p, v.n);
	return (uint32_t)strtoul(text, NULL, 10);
}

static inline void on_big(struct exchange *x)
{
	struct buf out = { 0 };
	size_t wanted = number_of(x, "bytes", 100000);
	buf_append_char(&out, '[');
	for (unsigned i = 0; out.n + 24 < wanted; i++)
		buf_printf(&out, "{\"chunk\":%u},", i);
	while (out.n + 2 < wanted)
		buf_append_char(&out, ' ');
	buf_append_lit(&out, "0]");
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static inline void on_header(struct exchange *x)
{
	struct buf out = { 0 };
	exchange_header_add(x, "x-answer", exchange_header(x, "x-test"));
	json_write_string(&out, exchange_header(x, "x-test"));
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static inline void on_twice(struct exchange *x)
{
	exchange_reply_json(x, 200, STR("1"));
	exchange_reply_json(x, 200, STR("2"));
}

static inline void on_forgets(struct exchange *x)
{
	(void)x;
}

/* ---- routes that ask ---- */
static inline void count_end(struct exchange *x)
{
	atomic_fetch_add(&((struct test_app *)exchange_app(x))->ended, 1);
	free(*exchange_data(x));
}

static inline void ask_sleeper(struct exchange *x, uint32_t ms)
{
	struct test_app *app = exchange_app(x);
	struct actor *a = exchange_actor(x);
	struct sleep_msg *m = rt_msg_new(exchange_loop(x), SLEEP);
	m->ms = ms;
	*exchange_data(x) = strdup("owned by the route");
	rt_ask(a, app->sleeper[loop_id(exchange_loop(x))], &m->head, exchange_deadline_ns(x) + 1000000000u, a->self);
}

static inline void on_slow(struct exchange *x)
{
	ask_sleeper(x, number_of(x, "ms", 20));
}

static inline void on_slow_message(struct exchange *x, struct msg *m)
{
	if (m->kind == SLEPT)
		exchange_reply_json(x, 200, STR("{\"slept\":true}"));
	else
		exchange_fail(x, m->status, "the sleeper");
}

static inline void on_never(struct exchange *x)
{
	atomic_fetch_add(&((struct test_app *)exchange_app(x))->never, 1);
	ask_sleeper(x, UINT32_MAX);
}

static inline void on_asks_and_replies(struct exchange *x)
{
	ask_sleeper(x, 5);
	exchange_reply_json(x, 200, STR("{\"early\":true}"));
}

static inline void on_fail_message(struct exchange *x, struct msg *m)
{
	(void)m;
	rt_fail(exchange_actor(x), "the route broke");
}

/* ?n= pieces of ?bytes=, each after an ask; ?fail= and it breaks in that one's place, ?hang= and that one never comes. */
struct pieces {
	uint32_t n, bytes, fail, hang, sent;
};

static inline void ask_for_piece(struct exchange *x, const struct pieces *p)
{
	struct test_app *app = exchange_app(x);
	struct actor *a = exchange_actor(x);
	struct sleep_msg *m = rt_msg_new(exchange_loop(x), SLEEP);
	m->ms = p->sent + 1 == p->hang ? UINT32_MAX : 1;
	rt_ask(a, app->sleeper[loop_id(exchange_loop(x))], &m->head, exchange_deadline_ns(x) + 1000000000u, a->self);
}

static inline void on_pieces(struct exchange *x)
{
	struct pieces *p = calloc(1, sizeof *p);
	CHECK(p != NULL);
	*p = (struct pieces){ number_of(x, "n", 3), number_of(x, "bytes", 4), number_of(x, "fail", 0),
			      number_of(x, "hang", 0), 0 };
	*exchange_data(x) = p;
	ask_for_piece(x, p);
}

static inline void on_pieces_message(struct exchange *x, struct msg *m)
{
	struct pieces *p = *exchange_data(x);
	struct buf piece = { 0 };
	if (m->kind == EXCHANGE_TAKEN) {
		ask_for_piece(x, p);
		return;
	}
	if (++p->sent == p->fail) {
		exchange_error(x, 500, "it broke");
		return;
	}
	if (!exchange_stream_has_begun(x))
		exchange_stream_begin(x, "text/plain");
	for (uint32_t i = 0; i < p->bytes; i++)
		buf_append_char(&piece, (char)('a' + p->sent % 26));
	atomic_fetch_add(&((struct test_app *)exchange_app(x))->pieces, 1);
	exchange_stream_send(x, &piece, p->sent == p->n);
}

/* ?n= is doubled between arrival and answer; 13 is refused at arrival; with ?ms= an actor is asked. */
struct gathered {
	uint32_t n, twice;
};

static inline void on_gather(struct exchange *x, bool is_last)
{
	struct gathered *g = exchange_scratch(x);
	if (is_last) {
		g->twice = 2 * g->n;
		return;
	}
	*g = (struct gathered){ .n = number_of(x, "n", 0) };
	if (g->n == 13)
		exchange_error(x, 400, "13");
}

static inline void on_gathered(struct exchange *x)
{
	const struct gathered *g = exchange_scratch(x);
	struct buf out = { 0 };
	if (number_of(x, "ms", 0) > 0) {
		on_slow(x);
		return;
	}
	buf_printf(&out, "%u", g->twice);
	exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

static const struct route test_routes[] = {
	{ .method = "GET",
	  .path = "/gathered",
	  .on_gather = on_gather,
	  .on_request = on_gathered,
	  .on_message = on_slow_message,
	  .on_end = count_end },
	{ .method = "GET",
	  .path = "/sync/{name}",
	  .on_request = on_sync,
	  .summary = "Echoes <name> & q.",
	  .openapi = "{\"parameters\":[{\"name\":\"name\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":"
		     "\"string\"}},{\"name\":\"q\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"string\"},"
		     "\"description\":\"any text\"}]}" },
	{ .method = "GET", .path = "/v1/features/{name}", .flags = ROUTE_PUBLIC, .on_request = on_value },
	{ .method = "POST",
	  .path = "/echo",
	  .flags = ROUTE_BODY,
	  .on_request = on_echo,
	  .openapi = "{\"requestBody\":{\"content\":{\"application/json\":{\"example\":{\"a\":\"it\\u0027s\"}}}}}" },
	{ .method = "POST", .path = "/bytes", .on_request = on_bytes },
	{ .method = "GET", .path = "/big", .on_request = on_big },
	{ .method = "GET", .path = "/header", .on_request = on_header },
	{ .method = "GET", .path = "/twice", .on_request = on_twice },
	{ .method = "GET", .path = "/forgets", .on_request = on_forgets, .on_message = on_slow_message },
	{ .method = "GET", .path = "/public", .flags = ROUTE_PUBLIC, .on_request = on_value },
	{ .method = "GET", .path = "/slow", .on_request = on_slow, .on_message = on_slow_message, .on_end = count_end },
	{ .method = "GET",
	  .path = "/never",
	  .on_request = on_never,
	  .on_message = on_slow_message,
	  .on_end = count_end },
	{ .method = "GET",
	  .path = "/early",
	  .on_request = on_asks_and_replies,
	  .on_message = on_slow_message,
	  .on_end = count_end },
	{ .method = "GET", .path = "/fail", .on_request = on_slow, .on_message = on_fail_message, .on_end = count_end },
	{ .method = "GET",
	  .path = "/pieces",
	  .on_request = on_pieces,
	  .on_message = on_pieces_message,
	  .on_end = count_end },
	{ .method = "POST",
	  .path = "/slow_body",
	  .flags = ROUTE_BODY,
	  .on_request = on_slow,
	  .on_message = on_slow_message,
	  .on_end = count_end },
};
