/* pg_reader.c -- the actor that answers what is asked of the kept: a pool of connections, one request on each at a time, the others
 * wait in its queue. Beside that it keeps house, once a minute: partitions ahead, retention, the heads of the chains.
 *
 * Bounds: QUEUE_MAX requests wait; one that no connection takes in PG_QUEUE_MS is refused when there is none. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/postgres/pg_array.h"
#include "store/postgres/pg_conn.h"
#include "store/postgres/pg_list.h"
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_MAX = 1024, STATEMENT_MS = 4500, ANSWER_MS = 5000, POOL_MAX = 64 };
enum { TICK_OP = 1, TICK_MS = 100, HOUSE_OP = 2, HOUSE_MS = 60000 };

struct seat { /* a connection, and what is asked on it */
	struct pg_conn conn;
	struct msg *request; /* taken; NULL: none, or the house */
	bool is_busy;
	bool is_house;
	struct pg_trouble trouble;
	struct msg *reply; /* being made */
	struct reader *reader;
	char application[64];
};
struct reader {
	struct actor base;
	struct postgres *pg; /* borrows */
	struct pg_seat *counts;
	struct seat *seats; /* owned; pool_size */
	unsigned seats_count;
	struct msg *queue[QUEUE_MAX]; /* taken; a ring */
	size_t head, count;
	uint64_t tick;
	int house_step;
	bool wants_house;
	bool is_probed;            /* what follows is known */
	bool has_log, has_records; /* tables of Fabra's Python program */
};

#define FOUND_COLUMNS                                                                                                  \
	"SELECT canonical, extras, record_hash, signature, signed_at, signing_key_id, imported, position FROM fabra.records WHERE "
enum reader_statement { READ_ID, READ_HASH, READ_STATEMENTS };
static const struct pg_statement statements[READ_STATEMENTS] = {
	[READ_ID] = { "id", FOUND_COLUMNS "context_id = $1::uuid" },
	[READ_HASH] = { "hash", FOUND_COLUMNS "record_hash = $1::bytea ORDER BY position LIMIT 1" },
};

static void dispatch(struct reader *r);

/* ---- replies ---- */
/* What answers a request that Postgres did not: absence is never made of it. */
static struct msg *failure_of(struct reader *r, const struct msg *request, int status, const char *text)
{
	if (request->kind == EVIDENCE_FIND) {
		struct evidence_found *m = evidence_found_new(r->base.loop, NULL, status);
		m->reason = strdup(text);
		return &m->head;
	}
	struct evidence_answer *m = evidence_answer_new(r->base.loop);
	evidence_answer_fail(m, status, str_from(text));
	return &m->head;
}

static int read_status(const struct pg_trouble *t)
{
	if (t->kind == PG_TRANSIENT)
		return RT_EDEADLINE;
	return t->kind == PG_BUSY ? RT_EFULL : RT_EIO;
}

static void refuse(struct reader *r, struct msg *request, int status, const char *text)
{
	rt_reply(&r->base, request,
		 failure_of(r, request, status == RT_EDEADLINE && request->kind == EVIDENCE_FIND ? RT_EIO : status,
			    text));
}

/* ---- finding ---- */
static struct str bytes_at(const PGresult *res, int column)
{
	return PQgetisnull(res, 0, column) ? (struct str){ 0 }
					   : str_of(PQgetvalue(res, 0, column), (size_t)PQgetlength(res, 0, column));
}

static void read_stamp(const PGresult *res, struct record_stamp *stamp)
{
	struct str hash = bytes_at(res, 2), signature = bytes_at(res, 3), key = bytes_at(res, 5);
	if (hash.n == 32)
		record_digest_text((const uint8_t *)hash.p, STR("sha256:"), stamp->record_hash);
	stamp->has_signature = signature.n == sizeof stamp->signature;
	if (!stamp->has_signature)
		return;
	memcpy(stamp->signature, signature.p, sizeof stamp->signature);
	stamp->signed_at_us = PQgetisnull(res, 0, 4) ? 0 : pg_time_back((int64_t)pg_get_u64(PQgetvalue(res, 0, 4)));
	text_printf(stamp->signing_key_id, sizeof stamp->signing_key_id, "%.*s", STR_ARG(key));
}

static struct msg *found(struct reader *r, const struct evidence_find *ask, const PGresult *res)
{
	if (PQntuples(res) == 0)
		return &evidence_found_new(r->base.loop, NULL, RT_ENOTFOUND)->head;
	struct evidence_record *record = calloc(1, sizeof *record);
	CHECK(record != NULL);
	buf_append_str(&record->canonical, bytes_at(res, 0));
	if (ask->want_view)
		buf_append_str(&record->extras, bytes_at(res, 1));
	read_stamp(res, &record->stamp);
	record->imported = PQgetvalue(res, 0, 6)[0] != 0;
	record->lsn = pg_get_u64(PQgetvalue(res, 0, 7));
	if (!record->canonical.failed && !record->extras.failed)
		return &evidence_found_new(r->base.loop, record, RT_OK)->head;
	evidence_record_free(record);
	return failure_of(r, &ask->head, RT_EIO, "there is no memory for the record");
}

/* ---- asking ---- */
static bool send_find(struct seat *s, const struct evidence_find *ask)
{
	struct pg_uuid id = { 0 };
	char bytes[16];
	if (ask->name.by_hash) {
		const char *hash[] = { (const char *)ask->name.hash };
		return pg_conn_send(&s->conn, statements[READ_HASH].name, 1, hash, (const int[]){ 32 });
	}
	pg_uuid_parse(str_of(ask->name.id, ask->name.id_n), &id);
	pg_uuid_bytes(id, bytes);
	const char *values[] = { bytes };
	return pg_conn_send(&s->conn, statements[READ_ID].name, 1, values, (const int[]){ 16 });
}

static bool send_query(struct seat *s, const struct pg_query *q)
{
	return !q->sql.failed && pg_conn_query(&s->conn, q->sql.p, q->count, NULL, q->values, NULL);
}

static bool send_request(struct seat *s)
{
	struct reader *r = s->reader;
	struct pg_query q = { .count = 0 };
	bool ok = false;
	switch (s->request->kind) {
	case EVIDENCE_FIND:
		return send_find(s, (const struct evidence_find *)s->request);
	case EVIDENCE_LIST:
		pg_list_write((const struct evidence_list *)s->request, r->has_log, &q);
		break;
	case EVIDENCE_LEGACY:
		pg_legacy_write((const struct evidence_legacy *)s->request, r->has_records, r->has_log, &q);
		break;
	default:
		UNREACHABLE();
	}
	ok = send_query(s, &q);
	pg_query_finish(&q);
	return ok;
}

/* Names that no row can have are not asked for. */
static struct msg *answer_at_once(struct reader *r, const struct msg *m)
{
	if (m->kind == EVIDENCE_LEGACY && !r->is_probed)
		return NULL;
	struct pg_uuid id;
	if (m->kind == EVIDENCE_FIND) {
		const struct evidence_find *ask = (const struct evidence_find *)m;
		if (ask->name.by_hash || pg_uuid_parse(str_of(ask->name.id, ask->name.id_n), &id))
			return NULL;
		return &evidence_found_new(r->base.loop, NULL, RT_ENOTFOUND)->head;
	}
	if (m->kind == EVIDENCE_LEGACY &&
	    !pg_legacy_can_have((const struct evidence_legacy *)m, r->has_records, r->has_log))
		return failure_of(r, m, RT_ENOTFOUND, "Record not found");
	return NULL;
}

static void begin(struct seat *s, struct msg *request)
{
	struct msg *reply = answer_at_once(s->reader, request);
	if (reply != NULL) {
		rt_reply(&s->reader->base, request, reply);
		return;
	}
	s->request = request;
	s->is_busy = true;
	s->reply = NULL;
	s->trouble = (struct pg_trouble){ .kind = PG_FINE };
	if (send_request(s))
		pg_conn_sync(&s->conn, ANSWER_MS);
}

/* ---- the house ---- */
/* One statement and one transaction each, so that what fails keeps no other from its work. The first says what others left there,
 * which the reads have to know. */
enum { HOUSE_PROBE, HOUSE_HEADS, HOUSE_PARTITIONS, HOUSE_DROP, HOUSE_END = HOUSE_DROP + 3 };

static bool send_house(struct seat *s, int step)
{
	static const char *const parents[] = { "records", "history", "events" };
	char days[16];
	if (step < HOUSE_DROP) {
		const char *sql = step == HOUSE_PROBE   ? pg_legacy_probe_sql
				  : step == HOUSE_HEADS ? "SELECT fabra.take_chain_heads()"
							: "SELECT fabra.make_partitions(now())";
		return pg_conn_query(&s->conn, sql, 0, NULL, NULL, NULL);
	}
	const char *values[] = { parents[step - HOUSE_DROP], days };
	snprintf(days, sizeof days, "%u", s->reader->pg->keep_days[step - HOUSE_DROP]);
	return pg_conn_query(&s->conn, "SELECT fabra.drop_partitions($1, $2::integer, now())", 2, NULL, values, NULL);
}

/* false: it is done. */
static bool house_goes_on(struct seat *s)
{
	struct reader *r = s->reader;
	if (r->house_step > 0 && s->trouble.kind != PG_FINE)
		log_line(LOG_WARNING, "postgres",
			 "partitions, retention or the heads of the chains could not be kept; it is tried again",
			 LOG_CSTR("reason", s->trouble.text));
	while (r->house_step >= HOUSE_DROP && r->house_step < HOUSE_END &&
	       r->pg->keep_days[r->house_step - HOUSE_DROP] == 0)
		r->house_step++;
	s->trouble = (struct pg_trouble){ .kind = PG_FINE };
	if (r->house_step == HOUSE_END)
		return false;
	if (send_house(s, r->house_step++))
		pg_conn_sync(&s->conn, ANSWER_MS);
	return true;
}

static void begin_house(struct seat *s)
{
	s->reader->wants_house = false;
	s->reader->house_step = HOUSE_PROBE;
	s->is_busy = s->is_house = true;
	s->trouble = (struct pg_trouble){ .kind = PG_FINE };
	house_goes_on(s);
}

static void on_house_result(struct reader *r, const PGresult *res)
{
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQnfields(res) != 2 || PQntuples(res) != 1)
		return;
	r->has_log = PQgetvalue(res, 0, 0)[0] == 't';
	r->has_records = PQgetvalue(res, 0, 1)[0] == 't';
	r->is_probed = true;
}

/* ---- events of a connection ---- */
static struct seat *seat_of(struct pg_conn *c)
{
	return CONTAINER_OF(c, struct seat, conn);
}

static void on_ready(struct pg_conn *c)
{
	dispatch(seat_of(c)->reader);
}

static void on_result(struct pg_conn *c, PGresult *res)
{
	struct seat *s = seat_of(c);
	struct reader *r = s->reader;
	if (PQresultStatus(res) == PGRES_FATAL_ERROR && s->trouble.kind == PG_FINE)
		pg_trouble_of_result(res, &s->trouble);
	if (s->is_house)
		on_house_result(r, res);
	if (s->request == NULL || s->reply != NULL || PQresultStatus(res) != PGRES_TUPLES_OK)
		return;
	switch (s->request->kind) {
	case EVIDENCE_FIND:
		s->reply = found(r, (const struct evidence_find *)s->request, res);
		return;
	case EVIDENCE_LIST:
		s->reply = &pg_list_answer(r->base.loop, (const struct evidence_list *)s->request, res)->head;
		return;
	case EVIDENCE_LEGACY:
		s->reply = &pg_legacy_answer(r->base.loop, (const struct evidence_legacy *)s->request, res)->head;
		return;
	default:
		UNREACHABLE();
	}
}

static void end(struct seat *s)
{
	struct reader *r = s->reader;
	struct msg *request = s->request, *reply = s->reply;
	s->request = s->reply = NULL;
	s->is_busy = s->is_house = false;
	if (request == NULL)
		return;
	if (reply != NULL)
		rt_reply(&r->base, request, reply);
	else
		refuse(r, request, read_status(&s->trouble),
		       s->trouble.kind ? s->trouble.text : "Postgres gave no answer");
}

static void on_synced(struct pg_conn *c)
{
	struct seat *s = seat_of(c);
	if (!s->is_house || !house_goes_on(s))
		end(s);
	dispatch(s->reader);
}

static void want_tick(struct reader *r)
{
	if (r->tick == 0)
		r->tick = rt_timer_start(&r->base, TICK_MS, TICK_OP);
}

/* A read may be asked again: what was on the connection goes to the head of the queue, if there is room. */
static void on_lost(struct pg_conn *c)
{
	struct seat *s = seat_of(c);
	struct reader *r = s->reader;
	struct msg *request = s->request;
	if (s->reply != NULL)
		rt_msg_free(r->base.loop, s->reply);
	s->request = s->reply = NULL;
	r->wants_house |= s->is_house;
	s->is_busy = s->is_house = false;
	want_tick(r);
	if (request == NULL)
		return;
	bool was_slow = c->trouble.kind == PG_UNREACHABLE && request->deadline_ns != 0 &&
			request->deadline_ns <= loop_mono_ns(r->base.loop);
	if (was_slow || r->count == QUEUE_MAX) {
		refuse(r, request, RT_EIO, c->trouble.text);
		return;
	}
	r->head = (r->head + QUEUE_MAX - 1) % QUEUE_MAX;
	r->queue[r->head] = request;
	r->count++;
}

static const struct pg_conn_events reader_events = {
	.ready = on_ready,
	.result = on_result,
	.synced = on_synced,
	.lost = on_lost,
};

/* ---- the pool ---- */
static struct seat *free_seat(struct reader *r)
{
	for (unsigned i = 0; i < r->seats_count; i++)
		if (r->seats[i].conn.state == PG_READY && !r->seats[i].is_busy)
			return &r->seats[i];
	return NULL;
}

static struct msg *next_request(struct reader *r)
{
	struct msg *m = r->queue[r->head];
	r->head = (r->head + 1) % QUEUE_MAX;
	r->count--;
	return m;
}

static void dispatch(struct reader *r)
{
	struct seat *s;
	while ((r->wants_house || (r->count > 0 && r->is_probed)) && (s = free_seat(r)) != NULL) {
		if (r->wants_house)
			begin_house(s);
		else
			begin(s, next_request(r));
	}
}

static bool is_gone(const struct reader *r)
{
	bool gone = true;
	for (unsigned i = 0; i < r->seats_count; i++)
		gone = gone && pg_conn_is_gone(&r->seats[i].conn);
	return gone;
}

static void on_request(struct reader *r, struct msg *m)
{
	struct msg *reply = answer_at_once(r, m);
	if (reply != NULL) {
		rt_reply(&r->base, m, reply);
		return;
	}
	bool gone = is_gone(r);
	if (gone || r->count == QUEUE_MAX) {
		refuse(r, m, gone ? RT_EIO : RT_EFULL,
		       gone ? r->seats[0].conn.trouble.text : "too many reads wait for Postgres");
		return;
	}
	rt_msg_take(m);
	r->queue[(r->head + r->count++) % QUEUE_MAX] = m;
	dispatch(r);
}

/* What waits is looked at while some connection is away: its deadline may have passed, or nobody is there. */
static void on_tick(struct reader *r)
{
	r->tick = 0;
	bool gone = is_gone(r), all_ready = true;
	for (unsigned i = 0; i < r->seats_count; i++)
		all_ready = all_ready && r->seats[i].conn.state == PG_READY;
	for (size_t n = gone ? r->count : 0; n > 0; n--)
		refuse(r, next_request(r), RT_EIO, r->seats[0].conn.trouble.text);
	if (!all_ready)
		want_tick(r);
}

static int reader_init(struct actor *a, void *arg)
{
	struct reader *r = (struct reader *)a;
	r->pg = arg;
	r->seats_count = r->pg->pool_size < POOL_MAX ? r->pg->pool_size : POOL_MAX;
	r->seats = calloc(r->seats_count, sizeof *r->seats);
	r->counts = pg_seat_new(r->pg, false, r->seats_count);
	if (r->seats == NULL || r->counts == NULL)
		return RT_EFULL;
	for (unsigned i = 0; i < r->seats_count; i++) {
		struct seat *s = &r->seats[i];
		s->reader = r;
		snprintf(s->application, sizeof s->application, "fabra/%s/read/%u", r->pg->replica, i);
		pg_conn_start(&s->conn, a,
			      &(struct pg_conn_config){
				  .pg = r->pg,
				  .seat = r->counts,
				  .application = s->application,
				  .statements = statements,
				  .statements_count = READ_STATEMENTS,
				  .events = &reader_events,
				  .number = i,
				  .statement_ms = STATEMENT_MS,
			      });
	}
	r->wants_house = true;
	rt_timer_start(a, HOUSE_MS, HOUSE_OP);
	want_tick(r);
	return 0;
}

static void reader_on_message(struct actor *a, struct msg *m)
{
	struct reader *r = (struct reader *)a;
	switch (m->kind) {
	case EVIDENCE_FIND:
	case EVIDENCE_LIST:
	case EVIDENCE_LEGACY:
		on_request(r, m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	if (m->kind == RT_TIMER && m->op == TICK_OP) {
		on_tick(r);
	} else if (m->kind == RT_TIMER && m->op == HOUSE_OP) {
		r->wants_house = true;
		rt_timer_start(a, HOUSE_MS, HOUSE_OP);
		dispatch(r);
	} else {
		for (unsigned i = 0; i < r->seats_count && !pg_conn_message(&r->seats[i].conn, m); i++)
			;
	}
}

static void reader_finish(struct actor *a)
{
	struct reader *r = (struct reader *)a;
	while (r->count > 0)
		rt_refuse(a, next_request(r), RT_ESHUTDOWN);
	for (unsigned i = 0; r->seats != NULL && i < r->seats_count; i++) {
		struct seat *s = &r->seats[i];
		if (s->request != NULL)
			rt_refuse(a, s->request, RT_ESHUTDOWN);
		if (s->reply != NULL)
			rt_msg_free(a->loop, s->reply);
		pg_conn_finish(&s->conn);
	}
	free(r->seats);
}

static const struct actor_class reader_class = {
	.name = "pg_reader",
	.size = sizeof(struct reader),
	.mailbox_len_max = QUEUE_MAX,
	.init = reader_init,
	.on_message = reader_on_message,
	.finish = reader_finish,
};

struct actor_ref postgres_spawn_reader(struct postgres *p, struct loop *io)
{
	return rt_spawn(io, &reader_class, p);
}
