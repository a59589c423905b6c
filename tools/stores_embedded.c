#include "tools/stores_embedded.h"
#include "runtime/clock.h"
#include "store/text/json.h"
#include "store/ledger/ledger.h"
#include "store/offline/offline_duckdb.h"
#include "store/online/online_memory.h"
#include "tools/stores_redis.h"
#include <stddef.h>
#include <stdlib.h>

enum { LANES = 4 };
/* Entries that the projection may be behind before the process stops calling itself ready. */
enum { LAG_MAX = 500000 };

struct stores_embedded {
	struct stores stores; /* first: health and publish are called with it */
	struct stores_process process;
	struct ledger *ledger;
	struct offline *offline;
	struct online *online;      /* NULL: values are in Redis */
	struct stores_redis *redis; /* NULL: they are in memory */
	struct loop *ledger_loop, *records_loop, *offline_loop, *materialize_loop, *projection_loop;
	struct loop *lane_loops[LANES];
};

/* ---- health ---- */

static void write_text(struct buf *out, const char *name, const char *text)
{
	if (text[0] == '\0')
		return;
	buf_printf(out, ",\"%s\":", name);
	json_write_string(out, str_from(text));
}

static void health(const struct stores *s, struct stores_health *ret)
{
	const struct stores_embedded *e = (const struct stores_embedded *)s;
	struct ledger_health ledger;
	struct offline_health offline;
	struct buf *out = &ret->stores;
	ledger_health_read(e->ledger, &ledger);
	offline_health_read(e->offline, &offline);
	ret->is_ready = ledger.writable && ledger.damage[0] == '\0' && !offline.paused &&
			offline.lag_entries <= LAG_MAX;
	buf_printf(out,
		   "\"ledger\":{\"writable\":%s,\"durable_lsn\":%llu,\"lost_entries\":%llu,\"doubtful_events\":%llu",
		   ledger.writable ? "true" : "false", (unsigned long long)ledger.durable_lsn,
		   (unsigned long long)ledger.lost_entries, (unsigned long long)ledger.doubtful_events);
	write_text(out, "reason", ledger.writable ? "" : ledger.reason);
	write_text(out, "damage", ledger.damage);
	buf_printf(out, "},\"projection\":{\"applied_lsn\":%llu,\"lag\":%llu,\"paused\":%s,\"missing_entries\":%llu",
		   (unsigned long long)offline.applied_lsn, (unsigned long long)offline.lag_entries,
		   offline.paused ? "true" : "false", (unsigned long long)offline.missing_entries);
	write_text(out, "reason", offline.paused ? offline.error : "");
	buf_append_char(out, '}');
	if (e->redis) {
		buf_append_char(out, ',');
		ret->is_ready = stores_redis_health(e->redis, out) && ret->is_ready;
	}
	buf_append_str(&ret->needs,
		       e->redis ? STR("[\"ledger\",\"projection\",\"redis\"]") : STR("[\"ledger\",\"projection\"]"));
}

static void publish(const struct stores *s)
{
	const struct stores_embedded *e = (const struct stores_embedded *)s;
	ledger_publish(e->ledger);
	offline_publish(e->offline);
}

/* ---- the files ---- */

static bool open_ledger(struct stores_embedded *e, const struct serve_options *o, struct buf *ret_why)
{
	e->ledger = ledger_open(&(struct ledger_config){ .dir = o->paths.ledger,
							 .segment_bytes = o->segment_bytes,
							 .signer = &o->signer,
							 .record_keep_ms = o->record_keep_ms,
							 .value_keep_ms = o->value_keep_ms,
							 .event_keep_ms = o->event_keep_ms,
							 .temporary = o->paths.in_memory },
				ret_why);
	e->stores.log = e->ledger ? ledger_log_source(e->ledger) : NULL;
	return e->ledger;
}

static bool open_offline(struct stores_embedded *e, const struct serve_options *o, struct buf *ret_why)
{
	e->offline = offline_open(&(struct offline_config){ .path = o->paths.duckdb,
							    .memory_limit_bytes = o->duckdb_bytes,
							    .history_keep_ms = o->history_keep_ms,
							    .log = e->stores.log },
				  ret_why);
	if (e->offline == NULL)
		return false;
	offline_store_fill(e->offline, &e->stores.offline);
	e->stores.unfit = offline_mismatch(e->offline);
	if (e->stores.unfit)
		ledger_refuse(e->ledger, e->stores.unfit);
	return true;
}

/* A tombstone is kept as long as the history keeps the delete: else a late write from before it would come alive, until the
 * next start asks the history. */
static int64_t tombstone_keep_us(int64_t history_keep_ms)
{
	return history_keep_ms != 0 ? history_keep_ms * 1000 : INT64_MAX / 4;
}

static bool make_online(struct stores_embedded *e, const struct serve_options *o, struct buf *ret_why)
{
	if (o->redis_url)
		return true; /* open_redis, once there are loops */
	e->online = online_create(&(struct online_config){
	    .bytes_max = o->online_bytes, .tombstone_keep_us = tombstone_keep_us(o->history_keep_ms) });
	if (e->online == NULL)
		buf_append_lit(ret_why, "out of memory; lower FABRA_ONLINE_BYTES");
	else
		e->stores.online.fast = online_fast(e->online);
	return e->online;
}

static bool load_idempotency(struct stores_embedded *e, const struct serve_options *o, struct buf *ret_why)
{
	e->stores.idempotency = idempotency_create(o->idempotency_keys_max);
	return e->stores.idempotency &&
	       idempotency_load(e->stores.idempotency, e->stores.log, clock_wall_us(), ret_why);
}

/* ---- loops and actors ---- */

static struct loop *blocking_loop(const char *name, bool is_background)
{
	return loop_create(&(struct loop_config){
	    .name = name, .kind = LOOP_BLOCKING, .is_background = is_background, .actors_max = 1024 });
}

static bool create_loops(struct stores_embedded *e, struct buf *ret_why)
{
	static const char *const lane_names[LANES] = { "lane-1", "lane-2", "lane-3", "lane-4" };
	e->ledger_loop = blocking_loop("ledger", false);
	e->records_loop = blocking_loop("records", false);
	e->offline_loop = blocking_loop("offline", false);
	e->materialize_loop = blocking_loop("materialize", false);
	e->projection_loop = blocking_loop("projection", true);
	bool ok = e->ledger_loop && e->records_loop && e->offline_loop && e->materialize_loop && e->projection_loop;
	for (unsigned i = 0; i < LANES; i++) {
		e->lane_loops[i] = blocking_loop(lane_names[i], false);
		ok = ok && e->lane_loops[i];
	}
	if (!ok)
		buf_append_lit(ret_why, "cannot create the loops: out of memory");
	return ok;
}

static bool spawn_actors(struct stores_embedded *e, struct buf *ret_why)
{
	struct evidence_store *evidence = &e->stores.evidence;
	struct offline_store *offline = &e->stores.offline;
	evidence->append = ledger_spawn_committer(e->ledger, e->ledger_loop);
	evidence->find = ledger_spawn_reader(e->ledger, e->records_loop);
	offline->requests = offline_spawn_reader(e->offline, e->offline_loop, e->lane_loops, LANES);
	offline->background = offline_spawn_reader(e->offline, e->materialize_loop, NULL, 0);
	evidence->list = evidence->legacy = offline->requests;
	struct actor_ref online = e->online ? online_spawn(e->online, e->records_loop) : ACTOR_NONE;
	for (unsigned i = 0; i < LOOPS_MAX && e->online; i++)
		e->stores.online.per_loop[i] = online;
	struct actor_ref projection = offline_spawn_projection(e->offline, e->projection_loop);
	bool ok = !ref_is_none(evidence->append) && !ref_is_none(evidence->find) && !ref_is_none(offline->requests) &&
		  !ref_is_none(offline->background) && !ref_is_none(projection) && (!e->online || !ref_is_none(online));
	if (!ok)
		buf_append_lit(ret_why, "cannot start the store actors");
	return ok;
}

static bool open_redis(struct stores_embedded *e, const struct serve_options *o, const struct definitions *d,
		       struct loop *const *io, unsigned io_count, struct buf *ret_why)
{
	if (o->redis_url)
		e->redis = stores_redis_open(o->redis_url, d, io, io_count, e->records_loop, &e->stores.online,
					     ret_why);
	return !o->redis_url || e->redis;
}

/* ---- life ---- */

static struct stores_embedded *of(struct stores_process *p)
{
	return (struct stores_embedded *)((char *)p - offsetof(struct stores_embedded, process));
}

static int start(struct stores_process *p)
{
	struct stores_embedded *e = of(p);
	struct loop *loops[] = { e->ledger_loop, e->records_loop, e->offline_loop, e->materialize_loop,
				 e->projection_loop };
	int status = 0;
	for (size_t i = 0; i < sizeof loops / sizeof loops[0] && status == 0; i++)
		status = loop_start(loops[i]);
	for (unsigned i = 0; i < LANES && status == 0; i++)
		status = loop_start(e->lane_loops[i]);
	return status;
}

static void end_loop(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop_stop(loop);
	loop_join(loop);
}

/* Those who ask others first; the ledger is the last to write. */
static void stop(struct stores_process *p)
{
	struct stores_embedded *e = of(p);
	end_loop(e->materialize_loop);
	end_loop(e->offline_loop);
	for (unsigned i = 0; i < LANES; i++)
		end_loop(e->lane_loops[i]);
	end_loop(e->records_loop);
	end_loop(e->ledger_loop);
	end_loop(e->projection_loop);
}

static void close_all(struct stores_process *p)
{
	struct stores_embedded *e = of(p);
	loop_destroy(e->materialize_loop);
	loop_destroy(e->offline_loop);
	for (unsigned i = 0; i < LANES; i++)
		loop_destroy(e->lane_loops[i]);
	loop_destroy(e->records_loop);
	loop_destroy(e->ledger_loop);
	loop_destroy(e->projection_loop);
	offline_close(e->offline);
	ledger_close(e->ledger);
	stores_redis_close(e->redis);
	online_destroy(e->online);
	idempotency_destroy(e->stores.idempotency);
	free(e);
}

/* Names what went wrong in front of the reason. */
static bool part(bool ok, const char *name, const struct buf *why, struct buf *ret_why)
{
	if (!ok)
		buf_printf(ret_why, "%s: %.*s", name, STR_ARG(buf_str(why)));
	return ok;
}

struct stores_process *stores_embedded_open(const struct serve_options *o, const struct definitions *d,
					    struct loop *const *io, unsigned io_count, struct buf *ret_why)
{
	struct stores_embedded *e = calloc(1, sizeof *e);
	struct buf why = { 0 };
	if (e == NULL) {
		buf_append_lit(ret_why, "start: out of memory");
		return NULL;
	}
	e->process = (struct stores_process){ .stores = &e->stores, .start = start, .stop = stop, .close = close_all };
	e->stores.health = health;
	e->stores.publish = publish;
	bool ok = part(open_ledger(e, o, &why), "ledger", &why, ret_why) &&
		  part(open_offline(e, o, &why), "offline store", &why, ret_why) &&
		  part(make_online(e, o, &why), "online store", &why, ret_why) &&
		  part(load_idempotency(e, o, &why), "idempotency keys", &why, ret_why) &&
		  part(create_loops(e, &why) && spawn_actors(e, &why), "start", &why, ret_why) &&
		  part(open_redis(e, o, d, io, io_count, &why), "Redis", &why, ret_why);
	buf_finish(&why);
	e->process.background = e->materialize_loop;
	if (ok)
		return &e->process;
	stop(&e->process);
	close_all(&e->process);
	return NULL;
}
