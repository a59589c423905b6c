/* How much of the past is kept: what was superseded before the horizon goes. The newest value that each key had at
 * the horizon stays, however old it is: it may be what is served, and what a question about a later time needs. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "store/text/json.h"
#include "store/offline/offline_private.h"

enum { PRUNE_SECONDS_MAX = 60 };

/* ?: the horizon, in microseconds. In this order: of the tombstones of features those go that a delete of the row has taken,
 * which must not outlive it; what a tombstone hides goes before the newest is looked for, which
 * must be one that is served, and before the tombstone. A value that lay ahead of its delete may be newer than the horizon. */
static const char *const prune_sql[] = {
	"DELETE FROM fabra.deletes AS d USING fabra.deletes AS r WHERE r.event_time < make_timestamp(?) AND r.event_time < "
	"make_timestamp(?) AND r.feature IS NULL AND d.feature IS NOT NULL AND d.entity = r.entity AND d.entity_id = r.entity_id AND "
	"d.lsn < r.lsn",
	"DELETE FROM fabra.feature_history AS h USING fabra.deletes AS d WHERE d.event_time < make_timestamp(?) AND d.event_time < "
	"make_timestamp(?) AND h.entity = d.entity AND h.entity_id = d.entity_id AND (d.feature IS NULL OR d.feature = h.feature) "
	"AND (h.lsn < d.lsn OR h.event_time < d.event_time)",
	"DELETE FROM fabra.feature_history WHERE event_time < make_timestamp(?) AND rowid NOT IN (SELECT max_by(rowid, (event_time, "
	"coalesce(event_time_ns, 0), lsn)) FROM fabra.feature_history WHERE event_time < make_timestamp(?) GROUP BY entity, entity_id, "
	"feature, version)",
	"DELETE FROM fabra.deletes WHERE event_time < make_timestamp(?) AND written_at < make_timestamp(?)",
	"DELETE FROM fabra.events WHERE written_at < make_timestamp(?) AND event_time < make_timestamp(?)",
	"DELETE FROM fabra.events_applied WHERE written_at < make_timestamp(?) AND written_at < make_timestamp(?)",
};

static bool run(struct offline_conn *c, const char *sql, int64_t horizon_us, uint64_t deadline_ns, uint64_t *ret_rows,
		struct offline_error *error)
{
	duckdb_prepared_statement s = offline_conn_prepare(c, str_from(sql), error);
	if (s == NULL || duckdb_bind_int64(s, 1, horizon_us) != DuckDBSuccess ||
	    duckdb_bind_int64(s, 2, horizon_us) != DuckDBSuccess)
		return false;
	duckdb_result result;
	offline_conn_resume(c, deadline_ns);
	bool ok = duckdb_execute_prepared(s, &result) == DuckDBSuccess;
	offline_conn_pause(c);
	if (ok)
		*ret_rows += duckdb_rows_changed(&result);
	else
		offline_error_set(c->offline, error, duckdb_result_error_type(&result), duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	return ok;
}

static bool prune(struct offline_conn *c, int64_t horizon_us, uint64_t *ret_rows, struct offline_error *error)
{
	struct offline_error ignored;
	uint64_t deadline_ns = clock_mono_ns() + PRUNE_SECONDS_MAX * 1000000000ull;
	bool ok = offline_conn_run(c, "BEGIN TRANSACTION", error);
	for (size_t i = 0; ok && i < ARRAY_LEN(prune_sql); i++)
		ok = run(c, prune_sql[i], horizon_us, deadline_ns, ret_rows, error);
	if (ok && offline_conn_run(c, "COMMIT", error))
		return true;
	offline_conn_run(c, "ROLLBACK", &ignored);
	return false;
}

bool offline_prune(struct offline *o, int64_t now_us)
{
	struct offline_error error = { 0 };
	uint64_t rows = 0;
	if (o->history_keep_ms == 0 || atomic_load(&o->projection.is_mismatched))
		return true;
	struct offline_conn *c = offline_conn_open(o, &error);
	bool ok = c != NULL && offline_conn_enter(c, &error);
	if (ok) {
		ok = prune(c, now_us - o->history_keep_ms * 1000, &rows, &error);
		offline_conn_leave(c);
	}
	offline_conn_close(c);
	if (!ok)
		log_line(LOG_WARNING, "offline",
			 "the history past its retention could not be removed; it is tried again",
			 LOG_CSTR("reason", error.text));
	else if (rows > 0)
		log_line(LOG_INFO, "offline", "history past its retention was removed", LOG_INT("rows", (int64_t)rows));
	return ok;
}
