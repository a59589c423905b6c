/* pg_conn.c -- a connection's life. See pg_conn.h for the states. */
#include "store/postgres/pg_conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stdio.h>
#include <stdlib.h>

enum { RETRY_MIN_MS = 20, RETRY_MAX_MS = 2000, RESOLVE_MS = 3000, CONNECT_MS = 5000, PREPARE_MS = 5000 };
enum { TIMER_OP = 0x5047 }; /* and the connection's number above it */

/* libuv frees a handle in its close callback, which may be after the actor has ended. */
struct pg_watch {
	uv_poll_t handle;     /* first */
	struct pg_conn *conn; /* NULL: closed */
	int events;
};

static void set_state(struct pg_conn *c, enum pg_conn_state state)
{
	if ((c->state == PG_READY) != (state == PG_READY))
		atomic_fetch_add(&c->config.seat->ready, state == PG_READY ? 1u : UINT32_MAX);
	c->state = state;
}

static void set_timer(struct pg_conn *c, uint64_t ms)
{
	if (c->timer != 0)
		rt_timer_stop(c->owner, c->timer);
	c->timer = ms ? rt_timer_start(c->owner, ms, TIMER_OP | (uint64_t)c->config.number << 16) : 0;
}

/* ---- the socket ---- */
static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct pg_conn *c = ((struct pg_watch *)handle)->conn;
	/* A status below 0 comes once, and libuv then watches no more: reading from the socket says what it is. */
	(void)status, (void)events;
	if (c == NULL || c->has_posted)
		return;
	struct loop *loop = c->owner->loop;
	struct pg_io *m = rt_msg_new(loop, PG_IO);
	m->head.flags = MSG_URGENT;
	m->number = c->config.number;
	c->has_posted = rt_send(loop, c->owner->self, &m->head); /* a full mailbox: the poll comes again */
}

static void on_watch_closed(uv_handle_t *handle)
{
	free(handle);
}

static void unwatch(struct pg_conn *c)
{
	if (c->watch == NULL)
		return;
	uv_poll_stop(&c->watch->handle);
	c->watch->conn = NULL;
	uv_close((uv_handle_t *)&c->watch->handle, on_watch_closed);
	c->watch = NULL;
}

/* While it connects, libpq may close its socket and open another with the same number: each step gets a handle of its own. */
static bool watch_anew(struct pg_conn *c, int events)
{
	struct pg_watch *w = calloc(1, sizeof *w);
	if (w == NULL || uv_poll_init(loop_uv(c->owner->loop), &w->handle, PQsocket(c->pg)) != 0) {
		free(w);
		return false;
	}
	w->conn = c;
	w->events = events;
	c->watch = w;
	return uv_poll_start(&w->handle, events, on_poll) == 0;
}

static void watch_change(struct pg_conn *c, int events)
{
	if (c->watch->events == events)
		return;
	c->watch->events = events;
	uv_poll_start(&c->watch->handle, events, on_poll);
}

/* ---- losing it ---- */
static void close_connection(struct pg_conn *c)
{
	unwatch(c); /* before libpq closes the socket */
	if (c->pg != NULL)
		PQfinish(c->pg);
	c->pg = NULL;
	c->is_flushing = false;
	c->nulls = 0;
	if (c->resolve_op != 0)
		rt_ask_cancel(c->owner, c->resolve_op);
	c->resolve_op = 0;
}

static uint64_t retry_ms(struct pg_conn *c)
{
	uint64_t ms = c->attempts < 7 ? (uint64_t)RETRY_MIN_MS << c->attempts : RETRY_MAX_MS;
	ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	return ms / 2 + loop_random(c->owner->loop) % (ms / 2 + 1);
}

static void tell(struct pg_conn *c, bool was_ready)
{
	pg_reason_set(c->config.pg, c->trouble.text);
	/* Once when it is lost, then as its pauses grow: a server that is away for an hour is no flood. */
	if (was_ready || c->attempts == 1 || c->attempts % 16 == 0)
		log_line(LOG_WARNING, "postgres", "a connection is lost; it is made again",
			 LOG_CSTR("connection", c->config.application), LOG_CSTR("reason", c->trouble.text),
			 LOG_INT("attempts", c->attempts));
}

void pg_conn_lose(struct pg_conn *c, const struct pg_trouble *why)
{
	bool was_ready = c->state == PG_READY;
	c->trouble = *why;
	if (c->pg != NULL && why->kind != PG_STARTING)
		log_line(LOG_DEBUG, "postgres", "what libpq says", LOG_CSTR("text", PQerrorMessage(c->pg)));
	close_connection(c);
	if (was_ready || c->lost_ns == 0)
		c->lost_ns = loop_mono_ns(c->owner->loop);
	set_timer(c, retry_ms(c));
	c->attempts++;
	set_state(c, PG_WAITING);
	tell(c, was_ready);
	c->config.events->lost(c);
}

static void lose_by_error(struct pg_conn *c)
{
	struct pg_trouble t;
	pg_trouble_of_connection(c->pg, &t);
	if (t.kind == PG_UNREACHABLE && c->state != PG_CONNECTING)
		pg_trouble_set(&t, PG_UNREACHABLE, "the connection to Postgres broke: it is made again");
	if (t.kind == PG_OTHER)
		log_line(LOG_WARNING, "postgres", "Postgres refuses", LOG_CSTR("text", PQerrorMessage(c->pg)));
	pg_conn_lose(c, &t);
}

static void lose_by(struct pg_conn *c, enum pg_trouble_kind kind, const char *text)
{
	struct pg_trouble t;
	pg_trouble_set(&t, kind, text);
	pg_conn_lose(c, &t);
}

bool pg_conn_is_gone(const struct pg_conn *c)
{
	return c->state != PG_READY && loop_mono_ns(c->owner->loop) - c->lost_ns >= PG_QUEUE_MS * UINT64_C(1000000);
}

/* ---- connecting ---- */
static void connect_begin(struct pg_conn *c)
{
	const char *keys[PG_PARAMS], *values[PG_PARAMS];
	pg_params(c->config.pg, c->addresses, c->config.application, c->config.writes, keys, values);
	c->pg = PQconnectStartParams(keys, values, 1);
	if (c->pg == NULL) {
		lose_by(c, PG_OTHER, "there is no memory for a connection");
		return;
	}
	pg_notices_to_log(c->pg);
	set_state(c, PG_CONNECTING);
	set_timer(c, CONNECT_MS);
	if (PQstatus(c->pg) == CONNECTION_BAD)
		lose_by_error(c);
	else if (!watch_anew(c, UV_WRITABLE))
		lose_by(c, PG_OTHER, "the socket of a connection cannot be watched");
}

static void resolve_or_connect(struct pg_conn *c)
{
	struct loop *loop = c->owner->loop;
	if (ref_is_none(c->config.pg->resolver)) {
		connect_begin(c);
		return;
	}
	set_state(c, PG_RESOLVING);
	c->resolve_op = rt_ask(c->owner, c->config.pg->resolver, rt_msg_new(loop, PG_RESOLVE),
			       loop_mono_ns(loop) + RESOLVE_MS * UINT64_C(1000000), ACTOR_NONE);
}

static void on_resolve_ended(struct pg_conn *c, struct msg *m)
{
	c->resolve_op = 0;
	if (m->kind != PG_RESOLVED || m->status != RT_OK) {
		lose_by(c, PG_UNREACHABLE,
			"the host of FABRA_POSTGRES_URL has no address: correct its name, or the resolver");
		return;
	}
	pg_addresses_free(c->addresses);
	c->addresses = ((struct pg_resolved *)m)->list;
	((struct pg_resolved *)m)->list = NULL;
	connect_begin(c);
}

/* What every connection asks first: its own limits, and whether the server takes writes; and what an earlier connection of this
 * name still does there is ended, since nobody waits for it. */
static const char setup_sql[] = "SELECT set_config('statement_timeout', $1, false), set_config('plan_cache_mode', "
				"$2, false), pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
static const char fence_sql[] =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid() AND "
    "usename = current_user";

static bool send_setup(struct pg_conn *c)
{
	char ms[16];
	snprintf(ms, sizeof ms, "%u", c->config.statement_ms);
	/* A writer's statements are the same whatever is in them; a reader's find their partition while they are planned. */
	const char *settings[] = { ms, c->config.writes ? "force_generic_plan" : "force_custom_plan" };
	const char *name[] = { c->config.application };
	bool ok = PQsendQueryParams(c->pg, setup_sql, 2, NULL, settings, NULL, NULL, 0) == 1;
	if (c->config.fences)
		ok = ok && PQsendQueryParams(c->pg, fence_sql, 1, NULL, name, NULL, NULL, 0) == 1;
	for (size_t i = 0; ok && i < c->config.statements_count; i++)
		ok = PQsendPrepare(c->pg, c->config.statements[i].name, c->config.statements[i].sql, 0, NULL) == 1;
	return ok && PQpipelineSync(c->pg) == 1;
}

static void flush(struct pg_conn *c)
{
	int left = PQflush(c->pg);
	if (left < 0) {
		lose_by_error(c);
		return;
	}
	c->is_flushing = left == 1;
	watch_change(c, left == 1 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

static void setup_begin(struct pg_conn *c)
{
	int version = PQserverVersion(c->pg) / 10000;
	const char *encoding = PQparameterStatus(c->pg, "server_encoding");
	if (version < POSTGRES_VERSION_MIN) {
		lose_by(c, PG_VERSION,
			"this Postgres is too old: versions 13 to 17 are supported, 15 is the one tested");
		return;
	}
	if (encoding == NULL || strcmp(encoding, "UTF8") != 0) {
		lose_by(c, PG_ENCODING, "the database is not in UTF8: create it with ENCODING 'UTF8'");
		return;
	}
	c->setup = (struct pg_trouble){ .kind = PG_FINE };
	set_state(c, PG_PREPARING);
	set_timer(c, PREPARE_MS);
	if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1 || !send_setup(c)) {
		lose_by_error(c);
		return;
	}
	unwatch(c);
	if (!watch_anew(c, UV_READABLE))
		lose_by(c, PG_OTHER, "the socket of a connection cannot be watched");
	else
		flush(c);
}

static void connect_step(struct pg_conn *c)
{
	unwatch(c);
	switch (PQconnectPoll(c->pg)) {
	case PGRES_POLLING_OK:
		setup_begin(c);
		return;
	case PGRES_POLLING_READING:
		if (!watch_anew(c, UV_READABLE))
			lose_by(c, PG_OTHER, "the socket of a connection cannot be watched");
		return;
	case PGRES_POLLING_WRITING:
	case PGRES_POLLING_ACTIVE:
		if (!watch_anew(c, UV_WRITABLE))
			lose_by(c, PG_OTHER, "the socket of a connection cannot be watched");
		return;
	case PGRES_POLLING_FAILED:
		lose_by_error(c);
		return;
	}
}

/* ---- preparing ---- */
static bool is_error(const PGresult *r)
{
	return PQresultStatus(r) == PGRES_FATAL_ERROR;
}

static void on_setup_result(struct pg_conn *c, const PGresult *r)
{
	if (c->setup.kind != PG_FINE)
		return; /* what follows is aborted for the same reason */
	if (is_error(r))
		pg_trouble_of_result(r, &c->setup);
	else if (c->config.writes && PQresultStatus(r) == PGRES_TUPLES_OK && PQnfields(r) == 3 &&
		 PQgetvalue(r, 0, 2)[0] == 't')
		pg_trouble_set(
		    &c->setup, PG_READONLY,
		    "this Postgres is a standby, or takes no writes: FABRA_POSTGRES_URL must name the primary");
}

static void on_setup_done(struct pg_conn *c)
{
	if (c->setup.kind != PG_FINE) {
		struct pg_trouble why = c->setup;
		pg_conn_lose(c, &why);
		return;
	}
	set_timer(c, 0);
	set_state(c, PG_READY);
	if (c->attempts > 0) {
		atomic_fetch_add(&c->config.seat->reconnects, 1);
		log_line(LOG_INFO, "postgres", "connected", LOG_CSTR("connection", c->config.application));
	}
	c->lost_ns = 0;
	c->trouble = (struct pg_trouble){ .kind = PG_FINE };
	c->config.events->ready(c);
}

/* ---- results ---- */
static void on_result(struct pg_conn *c, PGresult *r)
{
	bool is_setup = c->state == PG_PREPARING;
	if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
		if (is_setup) {
			on_setup_done(c);
		} else {
			set_timer(c, 0);
			c->attempts = 0;
			c->config.events->synced(c);
		}
	} else if (is_setup) {
		on_setup_result(c, r);
	} else {
		c->config.events->result(c, r);
	}
}

/* NULL ends a statement's results; a second one says that no more has come. */
static void pump(struct pg_conn *c)
{
	PGconn *same = c->pg;
	while (c->pg == same && !PQisBusy(c->pg)) {
		PGresult *r = PQgetResult(c->pg);
		if (r == NULL) {
			if (++c->nulls >= 2)
				break;
			continue;
		}
		c->nulls = 0;
		on_result(c, r);
		PQclear(r);
	}
	if (c->pg != same)
		return;
	c->nulls = 0;
	if (PQstatus(c->pg) == CONNECTION_BAD)
		lose_by_error(c);
}

static void on_io(struct pg_conn *c)
{
	c->has_posted = false;
	switch (c->state) {
	case PG_CONNECTING:
		connect_step(c);
		return;
	case PG_PREPARING:
	case PG_READY:
		break;
	case PG_WAITING:
	case PG_RESOLVING:
		return; /* of a socket that has been closed since */
	case PG_CONN_STATES:
		UNREACHABLE();
	}
	PGconn *same = c->pg;
	bool is_alive = PQconsumeInput(c->pg) == 1;
	pump(c); /* what came before the end may say why it ended */
	if (c->pg != same)
		return;
	if (!is_alive || uv_is_active((uv_handle_t *)&c->watch->handle) == 0)
		lose_by_error(c);
	else if (c->is_flushing)
		flush(c);
}

static void on_timer(struct pg_conn *c)
{
	c->timer = 0;
	switch (c->state) {
	case PG_WAITING:
		resolve_or_connect(c);
		return;
	case PG_RESOLVING:
		return; /* its ask ends by itself */
	case PG_CONNECTING:
		lose_by(c, PG_UNREACHABLE, "Postgres does not answer: start it, or correct FABRA_POSTGRES_URL");
		return;
	case PG_PREPARING:
	case PG_READY:
		lose_by(c, PG_UNREACHABLE, "Postgres has not answered in time: the connection is made again");
		return;
	case PG_CONN_STATES:
		UNREACHABLE();
	}
}

bool pg_conn_message(struct pg_conn *c, struct msg *m)
{
	if (m->kind == PG_IO && ((struct pg_io *)m)->number == c->config.number) {
		on_io(c);
		return true;
	}
	if (m->kind == RT_TIMER && m->op == (TIMER_OP | (uint64_t)c->config.number << 16)) {
		on_timer(c);
		return true;
	}
	if (c->resolve_op != 0 && m->op == c->resolve_op) {
		on_resolve_ended(c, m);
		return true;
	}
	return false;
}

/* ---- sending ---- */
bool pg_conn_send(struct pg_conn *c, const char *statement, int count, const char *const *values, const int *bytes)
{
	static const int binary[32] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
					1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	CHECK(c->state == PG_READY && count <= 32);
	if (PQsendQueryPrepared(c->pg, statement, count, values, bytes, binary, 1) == 1)
		return true;
	lose_by_error(c);
	return false;
}

bool pg_conn_query(struct pg_conn *c, const char *sql, int count, const Oid *types, const char *const *values,
		   const int *bytes)
{
	CHECK(c->state == PG_READY);
	if (PQsendQueryParams(c->pg, sql, count, types, values, bytes, NULL, 0) == 1)
		return true;
	lose_by_error(c);
	return false;
}

bool pg_conn_sync(struct pg_conn *c, uint32_t answer_ms)
{
	CHECK(c->state == PG_READY);
	PGconn *same = c->pg;
	if (PQpipelineSync(c->pg) != 1)
		lose_by_error(c);
	else
		flush(c);
	if (c->pg != same)
		return false;
	set_timer(c, answer_ms);
	return true;
}

/* ---- life ---- */
void pg_conn_start(struct pg_conn *c, struct actor *owner, const struct pg_conn_config *config)
{
	*c = (struct pg_conn){ .config = *config, .owner = owner, .state = PG_WAITING };
	pg_trouble_set(&c->trouble, PG_UNREACHABLE, "Postgres is not connected yet");
	c->lost_ns = loop_mono_ns(owner->loop);
	set_timer(c, 1); /* not before the loop runs */
}

void pg_conn_finish(struct pg_conn *c)
{
	if (c->owner == NULL)
		return;
	set_state(c, PG_WAITING);
	set_timer(c, 0);
	close_connection(c);
	pg_addresses_free(c->addresses);
	c->addresses = NULL;
}
