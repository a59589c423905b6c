#include "store/offline/offline_projection.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/encode.h"
#include "runtime/log.h"
#include "store/offline/offline_private.h"
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	STEP_ENTRIES_MAX = 2000,
	STEP_ROWS_MAX = 8000,
	RETRY_MS_MIN = 250,
	RETRY_MS_MAX = 10000,
	QUIET_MS = 1000, /* without a commit, before a small checkpoint */
	CHECKPOINT_RETRY_MS = 5000,
	LAG_HURRY_MS = 300, /* from then on a step does not give way to others */
	TICK_BUSY_MS = 5,
	TICK_MS = 50,
	TICK_QUIET_MS = 250,
	PRUNE_FIRST_MS = 30 * 1000,
	PRUNE_EVERY_MS = 3600 * 1000,
};
static const uint64_t STEP_NS_MAX = 100000000, MS = 1000000;
static const off_t WAL_QUIET_BYTES = 1 << 20, WAL_BYTES_MAX = 64 << 20;

/* ---- health ---- */
uint64_t offline_durable_lsn(const struct offline *o)
{
	return o->log != NULL ? o->log->durable_lsn(o->log->log) : 0;
}

static void set_error(struct offline_projection *p, const char *text)
{
	pthread_mutex_lock(&p->error_lock);
	text_printf(p->error, sizeof p->error, "%s", text);
	pthread_mutex_unlock(&p->error_lock);
}

int64_t offline_projection_lag_ms(struct offline *o)
{
	if (o->log == NULL || offline_durable_lsn(o) <= offline_applied_lsn(o))
		return 0;
	int64_t lag_us = clock_wall_us() - atomic_load_explicit(&o->projection.applied_us, memory_order_relaxed);
	return lag_us > 0 ? lag_us / 1000 : 0;
}

void offline_health_read(struct offline *o, struct offline_health *ret)
{
	struct offline_projection *p = &o->projection;
	uint64_t applied = offline_applied_lsn(o), durable = offline_durable_lsn(o);
	*ret = (struct offline_health){
		.paused = atomic_load(&p->is_paused),
		.applied_lsn = applied,
		.lag_entries = durable > applied ? durable - applied : 0,
		.lag_ms = offline_projection_lag_ms(o),
		.entries = atomic_load(&p->entries),
		.transactions = atomic_load(&p->transactions),
		.corrupt_frames = atomic_load(&p->corrupt_frames),
		.missing_entries = atomic_load(&p->missing_entries),
		.reopened = atomic_load(&o->reopened),
	};
	pthread_mutex_lock(&p->error_lock);
	memcpy(ret->error, p->error, sizeof ret->error);
	pthread_mutex_unlock(&p->error_lock);
}

void offline_projection_error(struct offline *o, struct offline_error *ret)
{
	struct offline_health health;
	offline_health_read(o, &health);
	offline_error_text(ret, RT_EIO, "the projection of the ledger is paused: %s", health.error);
}

/* ---- who is in a step ---- */
static void note_begin(struct offline_projection *p)
{
	int nice = getpriority(PRIO_PROCESS, 0);
	if (nice <= 0)
		return;
	pthread_mutex_lock(&p->hurry_lock);
	p->stepping_tid = gettid();
	p->stepping_nice = nice;
	pthread_mutex_unlock(&p->hurry_lock);
}

static void note_end(struct offline_projection *p)
{
	pthread_mutex_lock(&p->hurry_lock);
	bool was_hurried = p->was_hurried;
	int nice = p->stepping_nice;
	p->stepping_tid = 0;
	p->was_hurried = false;
	pthread_mutex_unlock(&p->hurry_lock);
	if (was_hurried)
		setpriority(PRIO_PROCESS, 0, nice);
}

void offline_projection_hurry(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	/* A background thread may hold this lock and not run: whoever hurries it must not wait for it. */
	if (pthread_mutex_trylock(&p->hurry_lock) != 0)
		return;
	if (p->stepping_tid != 0 && !p->was_hurried) {
		/* May be forbidden; then the step takes as long as it takes. */
		setpriority(PRIO_PROCESS, (id_t)p->stepping_tid, 0);
		p->was_hurried = true;
	}
	pthread_mutex_unlock(&p->hurry_lock);
}

/* ---- a step; the lock is held ---- */
static struct str text_at(duckdb_data_chunk chunk, idx_t column)
{
	duckdb_string_t *s = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, column));
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

static uint64_t number_at(duckdb_data_chunk chunk, idx_t column)
{
	return *(uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, column));
}

static bool read_state(struct offline *o, struct offline_origin *ret, struct offline_error *error)
{
	struct offline_conn *c = o->projection.conn;
	duckdb_data_chunk chunk = NULL;
	*ret = (struct offline_origin){ 0 };
	if (offline_conn_select(c,
				STR("SELECT applied_lsn, missing_entries, coalesce(ledger_id, ''), "
				    "coalesce(applied_chain, '') FROM fabra.projection_state"),
				NULL, UINT64_MAX, error))
		chunk = offline_conn_fetch(c, error);
	if (chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1) {
		ret->applied_lsn = number_at(chunk, 0);
		ret->missing_entries = number_at(chunk, 1);
		snprintf(ret->ledger_id, sizeof ret->ledger_id, "%.*s", STR_ARG(text_at(chunk, 2)));
		snprintf(ret->chain, sizeof ret->chain, "%.*s", STR_ARG(text_at(chunk, 3)));
	} else if (error->status == 0) {
		offline_error_text(error, RT_EIO, "table fabra.projection_state has not its one row");
	}
	if (chunk != NULL)
		duckdb_destroy_data_chunk(&chunk);
	offline_conn_end(c);
	return error->status == 0;
}

static void take_state(struct offline_projection *p, const struct offline_origin *at)
{
	atomic_store(&p->missing_entries, at->missing_entries);
	atomic_store_explicit(&p->applied_lsn, at->applied_lsn, memory_order_release);
	p->is_stale = false;
}

static void forget_position(struct offline_projection *p)
{
	log_scan_close(p->scan);
	p->scan = NULL;
	p->is_stale = true;
}

static bool open_scan(struct offline *o, uint64_t from_lsn, struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	struct buf why = { 0 };
	p->scan = o->log->open(o->log->log, from_lsn, &why);
	if (p->scan == NULL)
		offline_error_text(error, RT_EIO, "the ledger cannot be read: %.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return p->scan != NULL;
}

static bool find_position(struct offline *o, struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	struct offline_origin at;
	if (atomic_load(&p->is_mismatched)) {
		offline_error_text(error, RT_EIO, "%s", p->error); /* set once, by the start */
		return false;
	}
	if (p->is_stale) {
		if (!read_state(o, &at, error))
			return false;
		take_state(p, &at);
	}
	return p->scan != NULL || open_scan(o, atomic_load(&p->applied_lsn) + 1, error);
}

struct batch {
	uint64_t entries, missing, last_lsn, end_ns;
	int64_t last_us;                 /* when the last entry was written */
	uint8_t chain[LOG_SOURCE_CHAIN]; /* of last_lsn */
	bool has_chain;                  /* false: last_lsn is damaged, or in a gap */
	bool is_open;                    /* the transaction */
	bool is_at_end;                  /* of the ledger */
};

static void note_damage(struct offline_projection *p, const struct log_source_entry *frame, const char *what)
{
	atomic_fetch_add(&p->corrupt_frames, 1);
	log_line(LOG_ERROR, "offline", what, LOG_CSTR("segment", frame->path),
		 LOG_INT("offset", (int64_t)frame->offset), LOG_INT("lsn", (int64_t)frame->lsn),
		 LOG_INT("to_lsn", (int64_t)(frame->lost_to > frame->lsn ? frame->lost_to : frame->lsn)));
}

static bool begin(struct offline_projection *p, struct batch *b, struct offline_error *error)
{
	b->is_open = b->is_open || offline_conn_run(p->conn, "BEGIN TRANSACTION", error);
	return b->is_open;
}

/* Entries that are nowhere. The projection goes on behind them, or whoever waits for them would wait for ever;
 * how many it lacks is kept with its position. */
static bool take_loss(struct offline *o, const struct log_source_entry *frame, struct batch *b,
		      struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	uint64_t applied = atomic_load_explicit(&p->applied_lsn, memory_order_relaxed);
	uint64_t first = frame->lsn > applied ? frame->lsn : applied + 1;
	if (frame->lost_to < first)
		return true;
	if (!begin(p, b, error))
		return false;
	note_damage(p, frame, "the ledger is damaged here; entries are missing from the offline store");
	b->missing += frame->lost_to - first + 1;
	b->last_lsn = frame->lost_to;
	b->has_chain = false;
	return true;
}

static bool take_frame(struct offline *o, const struct log_source_entry *frame, struct batch *b,
		       struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	if (frame->lsn <= atomic_load_explicit(&p->applied_lsn, memory_order_relaxed))
		return true;
	if (!begin(p, b, error))
		return false;
	enum offline_applied applied = offline_apply_frame(&p->apply, frame, error);
	if (applied == OFFLINE_FAILED)
		return false;
	if (applied == OFFLINE_MALFORMED)
		note_damage(p, frame, "an entry of the ledger is malformed and has no rows");
	b->entries++;
	b->last_lsn = frame->lsn;
	memcpy(b->chain, frame->chain, sizeof b->chain);
	b->has_chain = true;
	b->last_us = frame->written_us;
	return true;
}

/* At the end of the ledger: a scan passes over what `gaps` accounts for in silence. Behind the last frame nothing else
 * would bring the projection past it before the next entry is written, and whoever waits for all would wait for that. */
static bool take_gap(struct offline *o, uint64_t durable_lsn, struct batch *b, struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	uint64_t applied = atomic_load_explicit(&p->applied_lsn, memory_order_relaxed);
	if (durable_lsn <= applied || durable_lsn <= b->last_lsn)
		return true;
	if (!begin(p, b, error))
		return false;
	b->last_lsn = durable_lsn;
	b->has_chain = false;
	return true;
}

static bool take_frames(struct offline *o, struct batch *b, struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	uint64_t durable_lsn = offline_durable_lsn(o); /* before the scan: its end is not before this one */
	while (b->entries < STEP_ENTRIES_MAX && p->apply.rows < STEP_ROWS_MAX) {
		struct log_source_entry frame;
		if (b->entries % 16 == 0 && clock_mono_ns() >= b->end_ns)
			break;
		switch (p->scan->next(p->scan, &frame)) {
		case LOG_SOURCE_ENTRY:
			if (!take_frame(o, &frame, b, error))
				return false;
			break;
		case LOG_SOURCE_END:
			b->is_at_end = true;
			return take_gap(o, durable_lsn, b, error);
		case LOG_SOURCE_CORRUPT:
			if (!take_loss(o, &frame, b, error))
				return false;
			break;
		case LOG_SOURCE_ERROR:
			offline_error_text(error, RT_EIO, "the ledger cannot be read");
			return false;
		}
	}
	return true;
}

static bool commit(struct offline *o, const struct batch *b, struct offline_error *error)
{
	struct offline_projection *p = &o->projection;
	char chain[2 * LOG_SOURCE_CHAIN + 1] = "";
	if (b->has_chain)
		encode_hex(b->chain, LOG_SOURCE_CHAIN, chain);
	if (!offline_apply_flush(&p->apply, error))
		return false;
	duckdb_prepared_statement s =
	    offline_conn_prepare(p->conn,
				 STR("UPDATE fabra.projection_state SET applied_lsn = ?, "
				     "missing_entries = missing_entries + ?, ledger_id = ?, applied_chain = ?"),
				 error);
	return s != NULL && duckdb_bind_uint64(s, 1, b->last_lsn) == DuckDBSuccess &&
	       duckdb_bind_uint64(s, 2, b->missing) == DuckDBSuccess &&
	       duckdb_bind_varchar_length(s, 3, p->ledger_id, LOG_SOURCE_ID_TEXT) == DuckDBSuccess &&
	       duckdb_bind_varchar(s, 4, chain) == DuckDBSuccess && offline_conn_execute(p->conn, s, error) &&
	       offline_conn_run(p->conn, "COMMIT", error);
}

static void roll_back(struct offline *o, const struct batch *b)
{
	struct offline_projection *p = &o->projection;
	struct offline_error ignored;
	offline_apply_drop(&p->apply);
	if (b->is_open)
		offline_conn_run(p->conn, "ROLLBACK", &ignored);
	forget_position(p);
}

static void note_success(struct offline *o, const struct batch *b, int64_t began_us)
{
	struct offline_projection *p = &o->projection;
	if (b->is_open) {
		p->committed_ns = clock_mono_ns();
		atomic_fetch_add(&p->entries, b->entries);
		atomic_fetch_add(&p->transactions, 1);
		atomic_fetch_add(&p->missing_entries, b->missing);
		atomic_store_explicit(&p->applied_lsn, b->last_lsn, memory_order_release);
		o->log->applied(o->log->log, b->last_lsn);
	}
	if (b->is_at_end)
		atomic_store(&p->applied_us, began_us);
	else if (b->entries > 0)
		atomic_store(&p->applied_us, b->last_us);
	p->retry_after_ms = 0;
	if (atomic_exchange(&p->is_paused, false)) {
		set_error(p, "");
		log_line(LOG_INFO, "offline", "the projection goes on");
	}
}

static void note_failure(struct offline_projection *p, const struct offline_error *error)
{
	p->retry_after_ms = p->retry_after_ms == 0 ? RETRY_MS_MIN : p->retry_after_ms * 2;
	if (p->retry_after_ms > RETRY_MS_MAX)
		p->retry_after_ms = RETRY_MS_MAX;
	p->retry_at_ns = clock_mono_ns() + p->retry_after_ms * MS;
	set_error(p, error->text);
	if (!atomic_exchange(&p->is_paused, true))
		log_line(LOG_ERROR, "offline", "the projection is paused; the ledger keeps everything until it goes on",
			 LOG_CSTR("reason", error->text));
}

static enum offline_step step_locked(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	struct offline_error error = { 0 };
	int64_t began_us = clock_wall_us();
	uint64_t began_ns = clock_mono_ns();
	struct batch b = { .end_ns = began_ns + STEP_NS_MAX };
	if (p->retry_after_ms != 0 && began_ns < p->retry_at_ns)
		return OFFLINE_STEP_PAUSED;
	if (!offline_conn_enter(p->conn, &error)) {
		forget_position(p);
		note_failure(p, &error);
		return OFFLINE_STEP_PAUSED;
	}
	bool ok = find_position(o, &error) && take_frames(o, &b, &error) && (!b.is_open || commit(o, &b, &error));
	if (!ok)
		roll_back(o, &b);
	offline_conn_leave(p->conn);
	if (!ok) {
		note_failure(p, &error);
		return OFFLINE_STEP_PAUSED;
	}
	note_success(o, &b, began_us);
	return b.is_at_end ? OFFLINE_STEP_CAUGHT_UP : OFFLINE_STEP_MORE;
}

enum offline_step offline_projection_step(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	if (o->log == NULL)
		return OFFLINE_STEP_CAUGHT_UP;
	if (pthread_mutex_trylock(&p->lock) != 0)
		return OFFLINE_STEP_BUSY;
	note_begin(p);
	cpu_set_boost(offline_projection_lag_ms(o) > LAG_HURRY_MS);
	enum offline_step did = step_locked(o);
	cpu_set_boost(false);
	note_end(p);
	pthread_mutex_unlock(&p->lock);
	return did;
}

/* ---- checkpoints ---- */
static off_t wal_bytes(const struct offline *o)
{
	struct buf path = { 0 };
	struct stat st;
	buf_printf(&path, "%s.wal", o->path);
	buf_append_char(&path, '\0');
	off_t bytes = !path.failed && stat(path.p, &st) == 0 ? st.st_size : 0;
	buf_finish(&path);
	return bytes;
}

/* DuckDB's own checkpoints are off, since they run inside a commit and take as long as they take. */
static bool checkpoint_is_due(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	uint64_t now_ns = clock_mono_ns();
	if (o->in_memory || now_ns < p->checkpoint_at_ns)
		return false;
	off_t bytes = wal_bytes(o);
	bool is_quiet = now_ns - p->committed_ns > QUIET_MS * MS;
	if (bytes > WAL_BYTES_MAX || (is_quiet && bytes > WAL_QUIET_BYTES))
		return true;
	p->checkpoint_at_ns = now_ns + QUIET_MS * MS;
	return false;
}

/* A checkpoint waits, spinning and not to be interrupted, for every open scan of a table, and lets nobody
 * else begin one. With a cursor open between two messages that would be for ever: so it only runs while there
 * is nobody to wait for. */
void offline_projection_checkpoint(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	struct offline_error error;
	if (pthread_mutex_trylock(&p->lock) != 0)
		return;
	if (checkpoint_is_due(o) && offline_gate_try_alone(o)) {
		bool ok = offline_conn_run(p->conn, "CHECKPOINT", &error);
		p->checkpoint_at_ns = clock_mono_ns() + (ok ? QUIET_MS : CHECKPOINT_RETRY_MS) * MS;
		offline_gate_leave(o);
		if (!ok)
			log_line(LOG_WARNING, "offline", "a checkpoint failed and is tried again",
				 LOG_CSTR("reason", error.text));
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- whose projection is it? ---- */
static bool check_ledger(struct offline *o, const struct offline_origin *at, struct offline_error *error)
{
	struct buf why = { 0 };
	enum offline_kinship kinship = offline_kinship_of(at, o->log);
	offline_kinship_write(kinship, at, o->log, &why);
	if (kinship != OFFLINE_KIN)
		offline_error_text(error, RT_EIO, "%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
	return kinship == OFFLINE_KIN;
}

const char *offline_mismatch(const struct offline *o)
{
	return atomic_load(&o->projection.is_mismatched) ? o->projection.error : NULL;
}

/* ---- life ---- */
bool offline_projection_init(struct offline *o, struct buf *ret_why)
{
	struct offline_projection *p = &o->projection;
	struct offline_error error = { 0 };
	atomic_store(&p->applied_us, clock_wall_us());
	struct offline_origin at;
	p->conn = offline_conn_open(o, &error);
	bool ok = p->conn != NULL && offline_conn_enter(p->conn, &error);
	if (ok) {
		ok = read_state(o, &at, &error);
		offline_conn_leave(p->conn);
	}
	if (!ok) {
		buf_printf(ret_why, "cannot read the state of the projection: %s", error.text);
		return false;
	}
	offline_apply_init(&p->apply, p->conn);
	take_state(p, &at);
	if (o->log == NULL)
		return true;
	o->log->id_text(o->log->log, p->ledger_id);
	if (!check_ledger(o, &at, &error)) {
		/* The server starts all the same, and answers from the ledger what that has; nothing is written (offline_mismatch). */
		atomic_store(&p->is_mismatched, true);
		atomic_store(&p->applied_lsn, 0);
		note_failure(p, &error);
	}
	o->log->applied(o->log->log, atomic_load(&p->applied_lsn));
	return true;
}

void offline_projection_finish(struct offline *o)
{
	struct offline_projection *p = &o->projection;
	log_scan_close(p->scan);
	offline_apply_finish(&p->apply);
	offline_conn_close(p->conn);
}

/* ---- the actor: a step now and then ---- */
struct projector {
	struct actor base;
	struct offline *offline; /* borrows */
	uint64_t worked_ns;      /* when a step last found something */
	uint64_t prune_at_ns;    /* 0: not before it has caught up once */
};

static uint64_t projector_step(struct projector *s)
{
	uint64_t now_ns = loop_mono_ns(s->base.loop), applied = offline_applied_lsn(s->offline);
	enum offline_step did = offline_projection_step(s->offline);
	if (offline_applied_lsn(s->offline) != applied)
		s->worked_ns = now_ns;
	if (did == OFFLINE_STEP_MORE)
		return TICK_BUSY_MS;
	if (did == OFFLINE_STEP_CAUGHT_UP && now_ns >= s->prune_at_ns) {
		/* Not at once: a start is when others need the disk and the CPU. */
		if (s->prune_at_ns != 0)
			offline_prune(s->offline, loop_wall_us(s->base.loop));
		s->prune_at_ns = now_ns + (s->prune_at_ns != 0 ? PRUNE_EVERY_MS : PRUNE_FIRST_MS) * MS;
	}
	return did == OFFLINE_STEP_PAUSED || now_ns - s->worked_ns > QUIET_MS * MS ? TICK_QUIET_MS : TICK_MS;
}

static void projector_on_message(struct actor *a, struct msg *m)
{
	struct projector *s = (struct projector *)a;
	if (m->kind == RT_TIMER)
		rt_timer_start(a, projector_step(s), 0);
	else if (m->kind == RT_STOP)
		rt_stop(a);
}

static int projector_init(struct actor *a, void *arg)
{
	((struct projector *)a)->offline = arg;
	return rt_timer_start(a, 1, 0) != 0 ? 0 : RT_EFULL;
}

static const struct actor_class projector_class = {
	.name = "offline_projection",
	.size = sizeof(struct projector),
	.mailbox_len_max = 16,
	.init = projector_init,
	.on_message = projector_on_message,
};

struct actor_ref offline_spawn_projection(struct offline *o, struct loop *loop)
{
	return rt_spawn(loop, &projector_class, o);
}
