/* pg_lane.c -- the actor that keeps entries: one connection of one I/O loop, one batch in flight.
 *
 *     AWAY --connected--> OPENING --the chain has a number--> IDLE <--> WRITING --the batch was there already--> CHECKING
 *       ^------------------------------ the connection is lost ---------------/                                    |
 *       |                                                     ^----------------------------------------------------/
 *       \--connected again, and a batch has no answer--> WRITING: the same bytes
 *
 * Entries wait in one queue; the batch is its beginning. A batch is one transaction: it steps the lane (fabra.lane_step), then
 * inserts. Records are stamped when the batch is made, which is after the one before has ended. It ends in one of four ways:
 *
 *   kept         it is answered at the sync
 *   refused      the server said so: nothing of it is there. What is wrong with one entry is found by halving; what may
 *                pass (a deadlock) is made anew; what does not (a full disk) fails all of it
 *   unknown      the connection was lost: the same bytes are sent again. The step tells whether they were kept
 *   given up     unknown for too long: it fails, and a new chain begins, since the old one may still grow by it
 *
 * Bounds: QUEUE_MAX entries, QUEUE_BYTES_MAX; without a connection nothing is queued after PG_QUEUE_MS. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/postgres/pg_conn.h"
#include "store/postgres/pg_rows.h"
#include "store/text/uuid.h"
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_MAX = 16384, QUEUE_BYTES_MAX = 64 << 20, BATCH_MAX = 1024, BATCH_BYTES = 2 << 20, FAILED_MAX = 64 };
enum { TICK_OP = 1, TICK_MS = 50, STATEMENT_MS = 1800, OPEN_MS = 3000 };

enum lane_state { LANE_AWAY, LANE_OPENING, LANE_IDLE, LANE_WRITING, LANE_CHECKING, LANE_STATES };

struct item {
	struct evidence_append *append; /* taken */
	struct pg_uuid position;        /* made when it came: it is the same however often it is sent */
	size_t bytes;                   /* as it came: its hook may change it */
	int status;                     /* decided without Postgres, or by it for this one alone */
	bool is_admitted;               /* by its hook, which is asked once */
	bool is_decided;
};

struct lane {
	struct actor base;
	struct pg_conn conn;
	struct postgres *pg;  /* borrows */
	struct pg_seat *seat; /* borrows */
	enum lane_state state;
	char application[64], chain_name[96];
	struct uuid7 ids;
	struct item *items; /* the queue: QUEUE_MAX places, from head on */
	size_t head, count, bytes;
	size_t in_flight; /* of them, from head on, in the batch */
	size_t limit;     /* of the next batch */
	struct pg_rows rows;
	struct record_chain chain, next;  /* durable; with the batch */
	struct pg_uuid newest;            /* of the batch */
	int64_t id, batch;                /* of the chain in fabra.lanes; the batches it has. id 0: it has none yet */
	uint8_t sent[PG_ROWS_TABLES + 3]; /* enum lane_statement, in the order of the answers */
	unsigned sent_count, answered;
	struct pg_trouble trouble; /* the first error of this transaction */
	uint64_t since_ns;         /* when the batch at the head was sent first; 0: it was not */
	uint64_t tick;
	bool is_unknown;
	bool is_stopping;
};

#define RECORD_COLUMNS                                                                                                   \
	"(context_id, position, seq, previous_context_id, created_at, environment, schema_version, context_function, "   \
	"token_count, freshness_status, version, record_hash, signature, signed_at, signing_key_id, canonical, extras, " \
	"lane, written_at, imported) SELECT *, $18::bigint, $19::timestamptz, "
#define RECORD_ARRAYS                                                                                                  \
	" FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], "   \
	"$8::text[], $9::bigint[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::timestamptz[], "          \
	"$15::text[], $16::bytea[], $17::bytea[])"

enum lane_statement {
	LANE_RECORDS = PG_ROWS_RECORDS,
	LANE_IMPORTS = PG_ROWS_IMPORTS,
	LANE_HISTORY = PG_ROWS_HISTORY,
	LANE_DELETES = PG_ROWS_DELETES,
	LANE_EVENTS = PG_ROWS_EVENTS,
	LANE_APPLIED = PG_ROWS_APPLIED,
	LANE_OPEN,
	LANE_STEP,
	LANE_IMPORTED,
	LANE_STATEMENTS
};
static const struct pg_statement statements[LANE_STATEMENTS] = {
	[LANE_RECORDS] = { "records", "INSERT INTO fabra.records " RECORD_COLUMNS "false" RECORD_ARRAYS },
	[LANE_IMPORTS] = { "imports", "INSERT INTO fabra.records " RECORD_COLUMNS "true" RECORD_ARRAYS
				      " ON CONFLICT (context_id) DO NOTHING" },
	[LANE_HISTORY] = { "history",
			   "INSERT INTO fabra.history (entity, entity_id, feature, event_time, event_ns, ttl_ms, source, position, "
			   "version, value, value_large, written_at) SELECT *, $12::timestamptz FROM unnest($1::text[], $2::text[], "
			   "$3::text[], $4::timestamptz[], $5::smallint[], $6::bigint[], $7::smallint[], $8::uuid[], $9::text[], "
			   "$10::text[], $11::text[])" },
	[LANE_DELETES] = { "deletes",
			   "INSERT INTO fabra.deletes (entity, entity_id, feature, event_time, position, written_at) SELECT *, "
			   "$6::timestamptz FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::uuid[])" },
	[LANE_EVENTS] = { "events",
			  "INSERT INTO fabra.events (position, event_id, event_type, entity_id, payload, event_time, idempotency, "
			  "received_at, written_at) SELECT *, $9::timestamptz FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], "
			  "$5::bytea[], $6::timestamptz[], $7::bytea[], $8::timestamptz[])" },
	[LANE_APPLIED] = { "applied",
			   "INSERT INTO fabra.events_applied (event_position, position, written_at) SELECT *, "
			   "$3::timestamptz FROM unnest($1::bigint[], $2::uuid[])" },
	[LANE_OPEN] = { "open", "INSERT INTO fabra.lanes (name) VALUES ($1::text) RETURNING id" },
	[LANE_STEP] = { "step",
			"SELECT fabra.lane_step($1::bigint, $2::bigint, $3::bigint, $4::uuid, $5::bytea, $6::uuid)" },
	[LANE_IMPORTED] = { "imported",
			    "SELECT context_id, record_hash, position FROM fabra.records WHERE context_id = ANY ($1::uuid[])" },
};

static void flush(struct lane *l);

/* ---- the queue ---- */
static struct item *item_at(const struct lane *l, size_t i)
{
	return &l->items[(l->head + i) % QUEUE_MAX];
}

static struct evidence_entry *entry_of(const struct item *item)
{
	return item->append->entry;
}

static size_t bytes_of(const struct evidence_entry *e)
{
	return e->body.n + e->extras.n + sizeof *e;
}

/* ---- answers ---- */
static void settle_entry(const struct item *item, int status)
{
	struct evidence_entry *e = entry_of(item);
	if (status == RT_OK) {
		if (!e->already_there) {
			e->lsn = item->position.high;
			e->lsn_low = item->position.low;
		}
		return;
	}
	e->lsn = e->lsn_low = 0;
	if (e->kind == EVIDENCE_RECORD) {
		e->stamp = (struct record_stamp){ 0 };
		e->previous_context_id[0] = '\0';
	}
}

static void answer(struct lane *l, struct evidence_append *append, int status)
{
	struct evidence_entry *e = append->entry;
	append->entry = NULL; /* moves on with the reply */
	rt_reply(&l->base, &append->head, &evidence_appended_new(l->base.loop, e, status)->head);
}

static void set_reason(const struct item *item, const char *reason)
{
	struct evidence_entry *e = entry_of(item);
	text_printf(e->reason, sizeof e->reason, "%s", reason);
}

static void decide(struct item *item, int status, const char *reason)
{
	item->is_decided = true;
	item->status = status;
	if (reason != NULL)
		set_reason(item, reason);
}

/* The first n of the queue have ended, undecided ones with this status: their hooks hear it in order, and then their askers. */
static void pop(struct lane *l, size_t n, int status, const char *reason)
{
	int64_t now_us = loop_wall_us(l->base.loop);
	uint64_t failures = 0;
	for (size_t i = 0; i < n; i++) {
		struct item *item = item_at(l, i);
		if (!item->is_decided)
			decide(item, status, status == RT_OK ? NULL : reason);
		settle_entry(item, item->status);
		failures += item->status != RT_OK;
		struct evidence_hook *h = entry_of(item)->hook;
		if (h != NULL && item->is_admitted)
			h->ended(h, entry_of(item), item->status, now_us);
	}
	atomic_fetch_add(&l->seat->entries, n - failures);
	atomic_fetch_add(&l->seat->failures, failures);
	for (size_t i = 0; i < n; i++) {
		struct item *item = item_at(l, 0);
		l->bytes -= item->bytes;
		l->head = (l->head + 1) % QUEUE_MAX;
		l->count--;
		answer(l, item->append, item->status);
	}
}

/* ---- what fails with what failed before it ---- */
/* The cancel token names the request: who appends for one, appends in order, and a record must not be there without what it
 * used. Appends without a token cannot be told apart. */
struct failed {
	struct actor_ref requests[FAILED_MAX];
	size_t count;
};

static bool has_failed(const struct failed *f, struct actor_ref request)
{
	for (size_t i = 0; i < f->count; i++)
		if (ref_eq(f->requests[i], request))
			return true;
	return false;
}

static void note_failed(struct failed *f, const struct item *item)
{
	struct actor_ref request = item->append->head.cancel;
	if (item->is_decided && item->status != RT_OK && !ref_is_none(request) && f->count < FAILED_MAX &&
	    !has_failed(f, request))
		f->requests[f->count++] = request;
}

static void fail_followers(struct lane *l, const struct failed *f)
{
	for (size_t i = 0; f->count > 0 && i < l->count; i++) {
		struct item *item = item_at(l, i);
		if (!item->is_decided && has_failed(f, item->append->head.cancel))
			decide(item, RT_EIO, "what the same request wrote before it was not kept");
	}
}

/* The batch has ended. */
static void finish_batch(struct lane *l, int status, const char *reason)
{
	struct failed f = { .count = 0 };
	size_t n = l->in_flight;
	l->in_flight = 0;
	l->since_ns = 0;
	l->is_unknown = false;
	for (size_t i = 0; i < n; i++) {
		struct item *item = item_at(l, i);
		if (!item->is_decided && status != RT_OK)
			decide(item, status, reason);
		note_failed(&f, item);
	}
	pop(l, n, status, reason);
	fail_followers(l, &f);
}

/* ---- sending ---- */
static void note_sent(struct lane *l, enum lane_statement statement)
{
	l->sent[l->sent_count++] = (uint8_t)statement;
}

static void begin_sending(struct lane *l)
{
	l->sent_count = l->answered = 0;
	l->trouble = (struct pg_trouble){ .kind = PG_FINE };
}

static bool send_step(struct lane *l)
{
	uint64_t id = htobe64((uint64_t)l->id), next = htobe64((uint64_t)l->batch + 1),
		 records = htobe64(l->next.records);
	char last_id[16], position[16];
	struct pg_uuid last;
	bool has_records = pg_uuid_parse(str_from(l->next.last_context_id), &last);
	if (has_records)
		pg_uuid_bytes(last, last_id);
	pg_uuid_bytes(l->newest, position);
	const char *values[] = { (const char *)&id,
				 (const char *)&next,
				 (const char *)&records,
				 has_records ? last_id : NULL,
				 has_records ? (const char *)l->next.last_hash : NULL,
				 position };
	static const int bytes[] = { 8, 8, 8, 16, 32, 16 };
	note_sent(l, LANE_STEP);
	return pg_conn_send(&l->conn, statements[LANE_STEP].name, 6, values, bytes);
}

static bool send_table(struct lane *l, enum pg_rows_table table)
{
	const struct pg_table *t = &l->rows.tables[table];
	const char *values[PG_COLUMNS_MAX + 2];
	int bytes[PG_COLUMNS_MAX + 2], n = 0;
	uint64_t id = htobe64((uint64_t)l->id), now = htobe64((uint64_t)pg_time(l->rows.now_us));
	for (; n < pg_rows_columns[table]; n++) {
		values[n] = t->columns[n].p;
		bytes[n] = (int)t->columns[n].n;
	}
	if (table == PG_ROWS_RECORDS || table == PG_ROWS_IMPORTS) {
		values[n] = (const char *)&id;
		bytes[n++] = 8;
	}
	values[n] = (const char *)&now;
	bytes[n++] = 8;
	note_sent(l, (enum lane_statement)table);
	return pg_conn_send(&l->conn, statements[table].name, n, values, bytes);
}

static bool send_imported(struct lane *l)
{
	const struct buf *ids = &l->rows.tables[PG_ROWS_IMPORTS].columns[0];
	const char *values[] = { ids->p };
	const int bytes[] = { (int)ids->n };
	note_sent(l, LANE_IMPORTED);
	return pg_conn_send(&l->conn, statements[LANE_IMPORTED].name, 1, values, bytes);
}

static void send_batch(struct lane *l)
{
	begin_sending(l);
	l->state = LANE_WRITING;
	if (l->since_ns == 0)
		l->since_ns = loop_mono_ns(l->base.loop);
	bool ok = send_step(l);
	for (unsigned t = 0; ok && t < PG_ROWS_TABLES; t++)
		ok = l->rows.tables[t].count == 0 || send_table(l, t);
	if (ok && l->rows.tables[PG_ROWS_IMPORTS].count > 0)
		ok = send_imported(l);
	if (ok)
		pg_conn_sync(&l->conn, l->pg->answer_ms);
}

/* ---- making a batch ---- */
static void admit(struct item *item)
{
	struct evidence_entry *e = entry_of(item);
	if (item->is_admitted || e->hook == NULL)
		return;
	if (e->hook->admit(e->hook, e))
		item->is_admitted = true;
	else
		decide(item, RT_ECONFLICT, NULL);
}

static void add_item(struct lane *l, struct item *item)
{
	struct evidence_entry *e = entry_of(item);
	uint64_t deadline_ns = item->append->head.deadline_ns;
	if (!item->is_admitted && deadline_ns != 0 && deadline_ns <= loop_mono_ns(l->base.loop))
		decide(item, RT_EDEADLINE, "it waited for Postgres for too long");
	if (!item->is_decided)
		admit(item);
	int status = item->is_decided ? RT_OK : pg_rows_check(e);
	if (status == RT_OK && !item->is_decided)
		status = pg_rows_add(&l->rows, e, item->position, &l->next, l->pg->signer);
	if (status != RT_OK)
		decide(item, status, NULL);
	if (!item->is_decided)
		l->newest = item->position;
}

static size_t undecided(const struct lane *l)
{
	size_t n = 0;
	for (size_t i = 0; i < l->in_flight; i++)
		n += !item_at(l, i)->is_decided;
	return n;
}

static void make_batch(struct lane *l)
{
	struct failed f = { .count = 0 };
	l->next = l->chain;
	pg_rows_begin(&l->rows, loop_wall_us(l->base.loop));
	for (l->in_flight = 0; l->in_flight < l->count && l->in_flight < l->limit && l->rows.bytes < BATCH_BYTES;
	     l->in_flight++) {
		struct item *item = item_at(l, l->in_flight);
		if (!item->is_decided && f.count > 0 && has_failed(&f, item->append->head.cancel))
			decide(item, RT_EIO, "what the same request wrote before it was not kept");
		if (!item->is_decided)
			add_item(l, item);
		note_failed(&f, item);
	}
	if (!pg_rows_end(&l->rows))
		finish_batch(l, RT_ETOOBIG, "there is no memory for the batch");
}

static void flush(struct lane *l)
{
	while (l->state == LANE_IDLE && l->count > 0) {
		make_batch(l);
		if (l->in_flight == 0)
			continue;
		if (undecided(l) == 0)
			finish_batch(l, RT_OK, NULL);
		else
			send_batch(l);
	}
	if (l->is_stopping && l->count == 0)
		rt_stop(&l->base);
}

/* ---- the chain ---- */
/* The name is in the records' proof, so it has to be new: the epoch is random. */
static void begin_chain(struct lane *l)
{
	snprintf(l->chain_name, sizeof l->chain_name, "%s/%u/%016llx", l->pg->replica, loop_id(l->base.loop),
		 (unsigned long long)loop_random(l->base.loop));
	l->chain = l->next = (struct record_chain){ .records = 0 };
	l->id = l->batch = 0;
	atomic_fetch_add(&l->seat->chains, 1);
}

static void open_chain(struct lane *l)
{
	const char *values[] = { l->chain_name };
	const int bytes[] = { (int)strlen(l->chain_name) };
	begin_sending(l);
	l->state = LANE_OPENING;
	note_sent(l, LANE_OPEN);
	if (pg_conn_send(&l->conn, statements[LANE_OPEN].name, 1, values, bytes))
		pg_conn_sync(&l->conn, OPEN_MS);
}

/* ---- answers of Postgres ---- */
static void judge_import(struct lane *l, struct pg_uuid id, const char *hash, struct pg_uuid position)
{
	for (size_t i = 0; i < l->in_flight; i++) {
		struct item *item = item_at(l, i);
		struct evidence_entry *e = entry_of(item);
		struct pg_uuid own;
		uint8_t own_hash[32];
		if (e->kind != EVIDENCE_RECORD_IMPORTED || item->is_decided ||
		    !pg_uuid_parse(str_of(e->context_id, sizeof e->context_id), &own) || own.high != id.high ||
		    own.low != id.low)
			continue;
		if (position.high == item->position.high && position.low == item->position.low)
			continue; /* this very one */
		e->already_there = record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"),
						       own_hash) &&
				   memcmp(own_hash, hash, 32) == 0;
		e->lsn = position.high;
		e->lsn_low = position.low;
		if (e->already_there)
			decide(item, RT_OK, NULL);
		else
			decide(item, RT_EEXIST, "a record with this id and another hash is there already");
	}
}

static void judge_imports(struct lane *l, const PGresult *r)
{
	for (int row = 0; row < PQntuples(r); row++)
		judge_import(l, pg_uuid_read(PQgetvalue(r, row, 0)), PQgetvalue(r, row, 1),
			     pg_uuid_read(PQgetvalue(r, row, 2)));
}

static void kept(struct lane *l)
{
	l->chain = l->next;
	l->batch++;
	atomic_fetch_add(&l->seat->batches, 1);
	atomic_store(&l->seat->refused_ns, 0);
	l->limit = l->limit * 2 < BATCH_MAX ? l->limit * 2 : BATCH_MAX;
	l->state = LANE_IDLE;
	finish_batch(l, RT_OK, NULL);
}

/* Nobody knows whether it is there, and the chain with it. */
static void give_up(struct lane *l)
{
	static const char reason[] =
	    "Postgres has not said whether the entry was kept: look for it by its id before it is made again";
	atomic_fetch_add(&l->seat->unknown_outcomes, 1);
	log_line(LOG_ERROR, "postgres", "a batch is given up; nobody knows whether it was kept, and a new chain begins",
		 LOG_CSTR("chain", l->chain_name), LOG_INT("entries", (int64_t)l->in_flight));
	bool is_sent = l->state == LANE_WRITING || l->state == LANE_CHECKING;
	begin_chain(l);
	finish_batch(l, RT_EIO, reason);
	if (is_sent) {
		struct pg_trouble why;
		pg_trouble_set(&why, PG_UNREACHABLE, "Postgres does not answer: the connection is made again");
		pg_conn_lose(&l->conn, &why);
	}
}

/* Nothing of the batch is there. */
static void refused(struct lane *l)
{
	struct pg_trouble why = l->trouble;
	uint64_t tried_ms = (loop_mono_ns(l->base.loop) - l->since_ns) / 1000000;
	l->state = LANE_IDLE;
	switch (why.kind) {
	case PG_CONTENT:
	case PG_EXISTS:
		if (undecided(l) > 1) {
			l->limit = (l->in_flight + 1) / 2;
			l->in_flight = 0;
			l->is_unknown = false;
			return;
		}
		break;
	case PG_TRANSIENT:
	case PG_STARTING:
		if (tried_ms >= l->pg->give_up_ms)
			break;
		if (l->is_unknown)
			send_batch(l); /* the first attempt may be what stands in the way, and may still be kept */
		else
			l->in_flight = 0;
		return;
	case PG_FINE:
	case PG_UNREACHABLE:
	case PG_BUSY:
	case PG_DENIED:
	case PG_VERSION:
	case PG_ENCODING:
	case PG_SCHEMA:
	case PG_RIGHT:
	case PG_READONLY:
	case PG_FULL:
	case PG_OTHER:
		break;
	}
	log_line(LOG_WARNING, "postgres", "a batch was refused", LOG_CSTR("reason", why.text),
		 LOG_CSTR("sqlstate", why.sqlstate), LOG_CSTR("words", why.words),
		 LOG_INT("entries", (int64_t)undecided(l)));
	if (why.kind != PG_CONTENT && why.kind != PG_EXISTS) {
		pg_reason_set(l->pg, why.text);
		atomic_store(&l->seat->refused_ns, loop_mono_ns(l->base.loop));
	}
	finish_batch(l, pg_trouble_status(&why), why.text);
	if (why.kind == PG_READONLY)
		pg_conn_lose(&l->conn, &why); /* the primary may be another one now */
}

static void on_written(struct lane *l)
{
	if (l->trouble.kind == PG_FINE) {
		kept(l);
	} else if (strcmp(l->trouble.sqlstate, "FB001") == 0) {
		if (l->rows.tables[PG_ROWS_IMPORTS].count == 0) {
			kept(l);
			return;
		}
		begin_sending(l);
		l->state = LANE_CHECKING;
		if (send_imported(l))
			pg_conn_sync(&l->conn, l->pg->answer_ms);
	} else if (strcmp(l->trouble.sqlstate, "FB002") == 0) {
		l->state = LANE_IDLE;
		give_up(l);
		open_chain(l);
	} else {
		refused(l);
	}
}

/* ---- events of the connection ---- */
static struct lane *lane_of(struct pg_conn *c)
{
	return CONTAINER_OF(c, struct lane, conn);
}

static void on_ready(struct pg_conn *c)
{
	struct lane *l = lane_of(c);
	if (l->id == 0)
		open_chain(l);
	else if (l->in_flight > 0)
		send_batch(l);
	else
		l->state = LANE_IDLE;
	flush(l);
}

static void on_result(struct pg_conn *c, PGresult *r)
{
	struct lane *l = lane_of(c);
	ExecStatusType status = PQresultStatus(r);
	enum lane_statement statement = l->answered < l->sent_count ? l->sent[l->answered] : LANE_STATEMENTS;
	l->answered++;
	if (status == PGRES_FATAL_ERROR && l->trouble.kind == PG_FINE)
		pg_trouble_of_result(r, &l->trouble);
	else if (statement == LANE_IMPORTED && status == PGRES_TUPLES_OK)
		judge_imports(l, r);
	else if (statement == LANE_OPEN && status == PGRES_TUPLES_OK && PQntuples(r) == 1)
		l->id = (int64_t)pg_get_u64(PQgetvalue(r, 0, 0));
}

static void on_synced(struct pg_conn *c)
{
	struct lane *l = lane_of(c);
	switch (l->state) {
	case LANE_OPENING:
		if (l->trouble.kind != PG_FINE) {
			struct pg_trouble why = l->trouble;
			pg_conn_lose(&l->conn, &why);
			return;
		}
		l->state = LANE_IDLE;
		break;
	case LANE_WRITING:
		on_written(l);
		break;
	case LANE_CHECKING:
		if (l->trouble.kind == PG_FINE)
			kept(l);
		else
			on_ready(c); /* the step will say again that it is there */
		break;
	case LANE_AWAY:
	case LANE_IDLE:
	case LANE_STATES:
		UNREACHABLE();
	}
	flush(l);
}

static void on_lost(struct pg_conn *c)
{
	struct lane *l = lane_of(c);
	l->is_unknown = l->is_unknown || l->in_flight > 0;
	if (l->state == LANE_OPENING)
		begin_chain(l); /* the name may be taken now, by this lane itself */
	l->state = LANE_AWAY;
	if (l->tick == 0)
		l->tick = rt_timer_start(&l->base, TICK_MS, TICK_OP);
}

static const struct pg_conn_events lane_events = {
	.ready = on_ready,
	.result = on_result,
	.synced = on_synced,
	.lost = on_lost,
};

/* What waits behind the batch, when there has been no connection for too long. */
static void refuse_waiting(struct lane *l)
{
	size_t batch = l->in_flight, n = l->count - batch;
	if (n == 0)
		return;
	/* Those of the batch stay at the head: the others are answered from behind them. */
	int status = pg_trouble_status(&l->conn.trouble);
	for (size_t i = batch; i < l->count; i++) {
		struct item *item = item_at(l, i);
		if (!item->is_decided)
			decide(item, status, l->conn.trouble.text);
		settle_entry(item, item->status);
		struct evidence_hook *h = entry_of(item)->hook;
		if (h != NULL && item->is_admitted)
			h->ended(h, entry_of(item), item->status, loop_wall_us(l->base.loop));
	}
	atomic_fetch_add(&l->seat->failures, n);
	l->count = batch;
	for (size_t i = batch; i < batch + n; i++) {
		struct item *item = item_at(l, i);
		l->bytes -= item->bytes;
		answer(l, item->append, item->status);
	}
}

static void on_tick(struct lane *l)
{
	l->tick = 0;
	if (pg_conn_is_gone(&l->conn))
		refuse_waiting(l);
	if (l->in_flight > 0 && l->is_unknown &&
	    loop_mono_ns(l->base.loop) - l->since_ns >= l->pg->give_up_ms * UINT64_C(1000000))
		give_up(l);
	if ((l->state == LANE_AWAY || l->is_unknown) && l->tick == 0)
		l->tick = rt_timer_start(&l->base, TICK_MS, TICK_OP);
}

/* ---- messages ---- */
static void on_append(struct lane *l, struct msg *m)
{
	struct evidence_append *append = (struct evidence_append *)m;
	if (append->entry == NULL) {
		rt_refuse(&l->base, m, RT_EINVAL);
		return;
	}
	rt_msg_take(m);
	struct item item = { .append = append, .bytes = bytes_of(append->entry) };
	bool is_gone = pg_conn_is_gone(&l->conn);
	if (is_gone || l->is_stopping || l->count == QUEUE_MAX || l->bytes + item.bytes > QUEUE_BYTES_MAX) {
		int status = is_gone ? pg_trouble_status(&l->conn.trouble) : l->is_stopping ? RT_ESHUTDOWN : RT_EFULL;
		set_reason(&item, is_gone ? l->conn.trouble.text : "too many entries wait for Postgres");
		atomic_fetch_add(&l->seat->failures, 1);
		answer(l, append, status);
		return;
	}
	uuid7_next(&l->ids, loop_wall_us(l->base.loop), loop_random(l->base.loop), loop_random(l->base.loop),
		   &item.position.high, &item.position.low);
	l->bytes += item.bytes;
	*item_at(l, l->count++) = item;
}

static int lane_init(struct actor *a, void *arg)
{
	struct lane *l = (struct lane *)a;
	l->pg = arg;
	l->limit = BATCH_MAX;
	l->items = calloc(QUEUE_MAX, sizeof *l->items);
	l->seat = pg_seat_new(l->pg, true, 1);
	if (!pg_rows_init(&l->rows) || l->items == NULL || l->seat == NULL)
		return RT_EFULL;
	/* Random: another lane of that name would end this one's connection. */
	snprintf(l->application, sizeof l->application, "fabra/%s/%u/%016llx", l->pg->replica, loop_id(a->loop),
		 (unsigned long long)l->pg->run);
	begin_chain(l);
	pg_conn_start(&l->conn, a,
		      &(struct pg_conn_config){
			  .pg = l->pg,
			  .seat = l->seat,
			  .application = l->application,
			  .statements = statements,
			  .statements_count = LANE_STATEMENTS,
			  .events = &lane_events,
			  .statement_ms = STATEMENT_MS,
			  .writes = true,
			  .fences = true,
		      });
	l->tick = rt_timer_start(a, TICK_MS, TICK_OP);
	return 0;
}

static void lane_on_message(struct actor *a, struct msg *m)
{
	struct lane *l = (struct lane *)a;
	if (m->kind == EVIDENCE_APPEND) {
		on_append(l, m);
	} else if (pg_conn_message(&l->conn, m)) {
		return;
	} else if (m->kind == RT_TIMER && m->op == TICK_OP) {
		on_tick(l);
	} else if (m->kind == RT_STOP) { /* what waits is written first, while the loop's grace lasts */
		l->is_stopping = true;
		flush(l);
	}
}

static void lane_on_turn_end(struct actor *a)
{
	struct lane *l = (struct lane *)a;
	flush(l);
}

static void lane_finish(struct actor *a)
{
	struct lane *l = (struct lane *)a;
	for (size_t i = 0; i < l->count; i++)
		rt_refuse(a, &item_at(l, i)->append->head, RT_ESHUTDOWN);
	free(l->items);
	pg_conn_finish(&l->conn);
	pg_rows_finish(&l->rows);
}

static const struct actor_class lane_class = {
	.name = "pg_lane",
	.size = sizeof(struct lane),
	.mailbox_len_max = QUEUE_MAX,
	.init = lane_init,
	.on_message = lane_on_message,
	.on_turn_end = lane_on_turn_end,
	.finish = lane_finish,
};

struct actor_ref postgres_spawn_lane(struct postgres *p, struct loop *io)
{
	return rt_spawn(io, &lane_class, p);
}
