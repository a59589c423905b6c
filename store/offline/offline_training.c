/* Values of the past.
 *
 * A value becomes visible when it has been written and its event time has come, whichever is later; from then on a read finds the
 * newest by (event time, position) of all that are visible. So of each key the values that are newer than all that were visible
 * before them are steps in time, a late one that changes nothing is none, and a moment's value is the last step before
 * it: one ASOF join. Tombstones cut a key's history into stretches that know nothing of each other: a value lives from its being
 * visible until the next tombstone is written, and one that was older than the tombstones before it was refused at once. Only row numbers
 * go through the joins; the texts are fetched for what is found. */
#include "store/offline/offline_training.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/offline/offline_private.h"

/* ---- what is asked, and what little is needed to see how it can be answered, as temporary tables ---- */
static const char *const ask_sql[] = {
	"CREATE TEMP TABLE moments(n UINTEGER, e UINTEGER, id VARCHAR, us BIGINT, ns USMALLINT)",
	"CREATE TEMP TABLE wanted(f UINTEGER, e UINTEGER, entity VARCHAR, feature VARCHAR)",
};
/* An id and a feature as one number: what is joined and sorted by it takes half the time that the texts would. */
#define KEY          "i.k + w.f"
#define OF_WANTED(t) " JOIN wanted w ON " t ".entity = w.entity AND " t ".feature = w.feature "
static const char *const survey_sql[] = {
	"CREATE TEMP TABLE ids AS SELECT (row_number() OVER () - 1) * (SELECT count(*) FROM wanted) AS k, e, id FROM (SELECT DISTINCT e, id "
	"FROM moments)",
	"CREATE TEMP TABLE tombstones AS SELECT " KEY
	" AS key, d.lsn, epoch_us(d.written_at) AS at_us, epoch_us(d.event_time) AS "
	"us, d.feature IS NULL AS of_row FROM fabra.deletes d JOIN wanted w ON d.entity = w.entity AND (d.feature IS NULL OR d.feature = "
	"w.feature) JOIN ids i ON i.e = w.e AND i.id = d.entity_id",
	/* limit_us: what is older is refused from here on. The delete of a row takes the tombstones that its features had. */
	"CREATE TEMP TABLE cuts AS SELECT key, lsn, at_us, greatest(max(us) FILTER (of_row) OVER (PARTITION BY key ORDER BY lsn), max(us) "
	"FILTER (NOT of_row) OVER (PARTITION BY key, rows_before ORDER BY lsn)) AS limit_us FROM (SELECT *, count(*) FILTER (of_row) OVER "
	"(PARTITION BY key ORDER BY lsn) AS rows_before FROM tombstones)",
	"CREATE TEMP TABLE versions AS SELECT w.f, coalesce(h.version, '') AS version, min(h.lsn) AS first, max(h.lsn) AS last, "
	"epoch_us(min(h.written_at)) AS from_us FROM fabra.feature_history h" OF_WANTED("h") "GROUP BY ALL",
	/* Versions that came back after another one had written, or wrote at the same time. */
	"CREATE TEMP TABLE tangled AS SELECT DISTINCT a.f FROM versions a JOIN versions b ON a.f = b.f AND a.version <> b.version AND "
	"a.first < b.last AND b.first < a.last",
	"CREATE TEMP TABLE spans AS SELECT f, version, from_us FROM versions ANTI JOIN tangled USING (f) UNION ALL SELECT f, "
	"arg_max(version, lsn), from_us FROM (SELECT w.f, h.lsn, coalesce(h.version, '') AS version, epoch_us(h.written_at) AS from_us, "
	"lag(coalesce(h.version, '')) OVER (PARTITION BY w.f ORDER BY h.lsn) AS before FROM fabra.feature_history h" OF_WANTED(
	    "h") "SEMI JOIN tangled g ON w.f = g.f) WHERE before IS NULL OR before <> version GROUP BY f, from_us",
};
/* Whether there are tombstones, and whether a feature has several versions. */
static const char forms_sql[] =
    "SELECT (SELECT count(*) FROM cuts), (SELECT count(*) FROM versions) - (SELECT count(DISTINCT f) FROM "
    "versions)";

/* Nanoseconds do not fit 64 bits in all of the years 1 to 9999. */
#define NS(us, ns) "(CAST(" us " AS HUGEINT) * 1000 + " ns ")"

static void statement_write(bool has_cuts, bool has_versions, struct buf *out)
{
	buf_append_lit(
	    out,
	    "WITH h AS (SELECT " KEY " AS key, x.rowid AS place, x.lsn, epoch_us(x.event_time) AS us, "
	    "coalesce(x.version, '') AS version, " NS("epoch_us(x.event_time)", "coalesce(x.event_time_ns, 0)") " AS true_ns, " NS(
		"epoch_us(x.written_at)",
		"0") " AS written_ns FROM fabra.feature_history x" OF_WANTED("x") "JOIN ids i ON i.e = w.e AND i.id = x.entity_id), ");
	/* An LSN has less than 56 bits. */
	buf_append_lit(out, "v AS (SELECT key, place, lsn, us, version, true_ns * 72057594037927936 + lsn AS newness, "
			    "greatest(true_ns, written_ns) AS seen FROM h), ");
	if (has_cuts)
		buf_append_lit(
		    out,
		    "alive AS (SELECT v.*, coalesce(b.lsn, 0) AS stretch, a.at_us AS until_us FROM v ASOF LEFT JOIN "
		    "cuts b ON v.key = b.key AND v.lsn > b.lsn ASOF LEFT JOIN cuts a ON v.key = a.key AND v.lsn < a.lsn "
		    "WHERE (b.lsn IS NULL OR v.us >= b.limit_us) AND (a.lsn IS NULL OR v.seen < CAST(a.at_us AS "
		    "HUGEINT) * 1000)), ");
	buf_append_lit(out, "steps AS (SELECT * FROM (SELECT *, max(newness) OVER (PARTITION BY key");
	buf_append_str(out, has_versions ? STR(", version") : STR(""));
	buf_append_str(out, has_cuts ? STR(", stretch") : STR(""));
	buf_append_lit(out, " ORDER BY seen RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS newest FROM ");
	buf_append_str(out, has_cuts ? STR("alive") : STR("v"));
	buf_append_lit(out, ") WHERE newness = newest), m AS (SELECT m.n, w.f, " KEY
			    " AS key, m.us, " NS("m.us", "m.ns") " AS t");
	buf_append_str(out, has_versions ? STR(", s.version") : STR(""));
	buf_append_lit(out, " FROM moments m JOIN wanted w ON m.e = w.e JOIN ids i ON i.e = m.e AND i.id = m.id");
	if (has_versions)
		buf_append_lit(out, " ASOF JOIN spans s ON w.f = s.f AND m.us >= s.from_us");
	buf_append_lit(out, "), found AS (SELECT m.n, m.f, m.us, s.place FROM m ASOF JOIN steps s ON m.key = s.key");
	buf_append_str(out, has_versions ? STR(" AND m.version = s.version") : STR(""));
	buf_append_lit(out, " AND m.t >= s.seen");
	if (has_cuts)
		buf_append_lit(out, " WHERE s.until_us IS NULL OR m.t < CAST(s.until_us AS HUGEINT) * 1000");
	buf_append_lit(
	    out,
	    ") SELECT n, f, x.value, epoch_us(x.event_time), coalesce(x.event_time_ns, 0)::USMALLINT FROM found JOIN "
	    "fabra.feature_history x ON x.rowid = found.place WHERE x.ttl_ms = 0 OR x.ttl_ms > (found.us - "
	    "epoch_us(x.event_time)) // 1000 ORDER BY n, f");
}

/* ---- asking ---- */
static bool run_all(struct offline_conn *c, const char *const *sql, size_t count, struct offline_error *error)
{
	bool ok = true;
	for (size_t i = 0; ok && i < count; i++)
		ok = offline_conn_run(c, sql[i], error);
	return ok;
}

static void append_text(duckdb_appender appender, struct str s)
{
	duckdb_append_varchar_length(appender, s.p != NULL ? s.p : "", s.n);
}

static void append_wanted(duckdb_appender appender, const struct offline_past *what)
{
	for (uint32_t i = 0; i < what->features_count; i++) {
		duckdb_append_uint32(appender, i);
		duckdb_append_uint32(appender, what->features[i].entity);
		append_text(appender, what->entities[what->features[i].entity]);
		append_text(appender, what->features[i].name);
		duckdb_appender_end_row(appender);
	}
}

static void append_moments(duckdb_appender appender, const struct offline_past *what)
{
	for (uint32_t i = 0; i < what->moments_count; i++) {
		const struct offline_moment *m = &what->moments[i];
		for (uint32_t e = 0; e < what->entities_count; e++) {
			duckdb_append_uint32(appender, i);
			duckdb_append_uint32(appender, e);
			append_text(appender, m->ids[e]);
			duckdb_append_int64(appender, m->time_us);
			duckdb_append_uint16(appender, m->time_ns);
			duckdb_appender_end_row(appender);
		}
	}
}

/* An append fails only by a wrong type or for want of memory, which the end reports. */
static bool fill(struct offline_conn *c, const char *table, const struct offline_past *what,
		 void (*append)(duckdb_appender appender, const struct offline_past *what), struct offline_error *error)
{
	duckdb_appender appender = NULL;
	bool ok = duckdb_appender_create_ext(c->handle, "temp", "main", table, &appender) == DuckDBSuccess;
	if (ok) {
		append(appender, what);
		ok = duckdb_appender_close(appender) == DuckDBSuccess;
	}
	if (!ok) {
		duckdb_error_data data = duckdb_appender_error_data(appender);
		offline_error_set(c->offline, error, duckdb_error_data_error_type(data),
				  duckdb_error_data_message(data));
		duckdb_destroy_error_data(&data);
		if (error->status == RT_EINVAL)
			error->status =
			    RT_EIO; /* an id that DuckDB does not take is nobody's mistake: it was looked at before */
	}
	duckdb_appender_destroy(&appender);
	return ok;
}

static bool read_forms(struct offline_conn *c, bool *ret_has_cuts, bool *ret_has_versions, uint64_t deadline_ns,
		       struct offline_error *error)
{
	bool ok = offline_conn_select(c, str_from(forms_sql), NULL, deadline_ns, error);
	if (!ok)
		return false;
	duckdb_data_chunk chunk = offline_conn_fetch(c, error);
	ok = chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1;
	if (ok) {
		*ret_has_cuts = *(const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)) > 0;
		*ret_has_versions = *(const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1)) >
				    0;
	}
	if (chunk != NULL)
		duckdb_destroy_data_chunk(&chunk);
	offline_conn_end(c);
	return ok;
}

static bool ask_all(struct offline_conn *c, const struct offline_past *what, uint64_t deadline_ns,
		    struct offline_error *error)
{
	bool has_cuts = false, has_versions = false;
	offline_conn_resume(c, deadline_ns);
	bool ok = run_all(c, ask_sql, ARRAY_LEN(ask_sql), error) && fill(c, "wanted", what, append_wanted, error) &&
		  fill(c, "moments", what, append_moments, error) &&
		  run_all(c, survey_sql, ARRAY_LEN(survey_sql), error);
	offline_conn_pause(c);
	if (!ok || !read_forms(c, &has_cuts, &has_versions, deadline_ns, error))
		return false;
	struct buf sql = { 0 };
	statement_write(has_cuts, has_versions, &sql);
	ok = offline_conn_select(c, buf_str(&sql), NULL, deadline_ns, error);
	buf_finish(&sql);
	offline_conn_pause(c);
	return ok;
}

/* ---- cursors ---- */
static void cursor_close(struct offline_training_cursor *c)
{
	offline_conn_close(c->conn); /* and with it go its temporary tables */
	*c = (struct offline_training_cursor){ 0 };
}

static bool is_abandoned(const struct offline_training_cursor *c)
{
	return c->id != 0 && !ref_is_none(c->asker) && !rt_alive(c->asker);
}

static struct offline_training_cursor *place_find(struct offline_trainings *s, struct offline_error *error)
{
	for (size_t i = 0; i < OFFLINE_TRAININGS_MAX; i++) {
		if (is_abandoned(&s->cursors[i]))
			cursor_close(&s->cursors[i]);
		if (s->cursors[i].id == 0)
			return &s->cursors[i];
	}
	offline_error_text(error, RT_EFULL, "%d questions for training data are at work already; ask again later",
			   OFFLINE_TRAININGS_MAX);
	return NULL;
}

static struct offline_training_cursor *cursor_open(struct offline_trainings *s, const struct offline_training *ask,
						   uint64_t deadline_ns, struct offline_error *error)
{
	struct offline_training_cursor *c = place_find(s, error);
	if (ask->what->is_incomplete)
		offline_error_text(error, RT_EFULL, "out of memory");
	if (c == NULL || ask->what->is_incomplete)
		return NULL;
	*c = (struct offline_training_cursor){ .id = ++s->last_id,
					       .conn = offline_conn_open(s->offline, error),
					       .asker = ask->head.cancel };
	if (c->conn == NULL || !offline_conn_enter(c->conn, error)) {
		cursor_close(c);
		return NULL;
	}
	bool ok = ask_all(c->conn, ask->what, deadline_ns, error);
	offline_conn_leave(c->conn);
	if (ok)
		return c;
	cursor_close(c);
	return NULL;
}

static struct offline_training_cursor *cursor_find(struct offline_trainings *s, uint64_t id,
						   struct offline_error *error)
{
	for (size_t i = 0; id != 0 && i < OFFLINE_TRAININGS_MAX; i++)
		if (s->cursors[i].id == id)
			return &s->cursors[i];
	offline_error_text(error, RT_EINVAL, "the cursor is closed: it was idle for too long; start again");
	return NULL;
}

/* ---- the answer ---- */
static bool has_room(const struct offline_past_cells *batch)
{
	size_t texts = batch->texts->used - OFFLINE_PAST_CELLS_MAX * sizeof *batch->cells;
	return batch->count < OFFLINE_PAST_CELLS_MAX && texts < OFFLINE_CELLS_BYTES_MAX;
}

/* From the kept chunk, as far as the batch has room; what is left is kept for the next ask. */
static bool chunk_read(struct offline_training_cursor *c, struct offline_past_cells *ret, struct offline_error *error)
{
	duckdb_data_chunk chunk = c->conn->kept;
	const uint32_t *moment = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
	const uint32_t *feature = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
	duckdb_string_t *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
	const int64_t *event_us = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 3));
	const uint16_t *event_ns = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 4));
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (; c->row < rows && has_room(ret); c->row++) {
		struct str text = str_of(duckdb_string_t_data(&value[c->row]), duckdb_string_t_length(value[c->row]));
		struct offline_past_cell cell = { moment[c->row], feature[c->row], arena_dup(ret->texts, text),
						  event_us[c->row], event_ns[c->row] };
		if (cell.value_json.p == NULL) {
			offline_error_text(error, RT_EFULL, "out of memory");
			return false;
		}
		ret->cells[ret->count++] = cell;
	}
	if (c->row == rows)
		duckdb_destroy_data_chunk(&c->conn->kept);
	return true;
}

static bool batch_read(struct offline_training_cursor *c, struct offline_past_cells *ret, struct offline_error *error)
{
	bool ok = true;
	ret->cells = arena_alloc(ret->texts, OFFLINE_PAST_CELLS_MAX * sizeof *ret->cells);
	CHECK(ret->cells != NULL);
	while (ok && !ret->last && has_room(ret)) {
		if (c->conn->kept != NULL) {
			ok = chunk_read(c, ret, error);
			continue;
		}
		c->row = 0;
		c->conn->kept = offline_conn_fetch(c->conn, error);
		ret->last = c->conn->kept == NULL;
		ok = !ret->last || error->status == 0;
	}
	return ok;
}

static bool cursor_read(struct offline_training_cursor *c, uint64_t deadline_ns, struct offline_past_cells *ret,
			struct offline_error *error)
{
	if (!offline_conn_enter(c->conn, error))
		return false;
	bool ok = c->conn->has_result;
	if (ok) {
		offline_conn_resume(c->conn, deadline_ns);
		ok = batch_read(c, ret, error);
		offline_conn_pause(c->conn);
	} else {
		offline_error_text(error, RT_EIO, "the database was opened again in between; start again");
	}
	offline_conn_leave(c->conn);
	return ok;
}

void offline_trainings_read(struct offline_trainings *s, const struct offline_training *ask, uint64_t now_ns,
			    uint64_t deadline_ns, struct offline_past_cells *ret)
{
	struct offline_error error = { 0 };
	struct offline_training_cursor *c = ask->what != NULL ? cursor_open(s, ask, deadline_ns, &error)
							      : cursor_find(s, ask->cursor, &error);
	bool ok = c != NULL && cursor_read(c, deadline_ns, ret, &error);
	if (ok) {
		c->used_ns = now_ns;
		ret->cursor = c->id;
	} else {
		offline_past_cells_fail(ret, &error);
	}
	if (c != NULL && (!ok || ret->last))
		cursor_close(c);
}

void offline_trainings_expire(struct offline_trainings *s, uint64_t now_ns)
{
	for (size_t i = 0; i < OFFLINE_TRAININGS_MAX; i++) {
		struct offline_training_cursor *c = &s->cursors[i];
		bool is_idle = c->id != 0 && now_ns - c->used_ns > OFFLINE_TRAINING_IDLE_MS * 1000000ull;
		if (is_idle || is_abandoned(c))
			cursor_close(c);
	}
}

void offline_trainings_finish(struct offline_trainings *s)
{
	for (size_t i = 0; i < OFFLINE_TRAININGS_MAX; i++)
		if (s->cursors[i].id != 0)
			cursor_close(&s->cursors[i]);
}
