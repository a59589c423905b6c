/* Warm start: the history's newest values, by one pass of DuckDB. Only row numbers go through the
 * aggregation, and the texts are fetched for the winners: 5 million rows of 1 million keys in 1.8 s within
 * 512 MiB (bench_projection). */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/text/json.h"
#include "store/offline/offline_live.h"

static const char deletes_sql[] = "WITH " OFFLINE_STANDING("fabra.deletes") " " OFFLINE_TOMBSTONES;

/* Of each version of the code apart: which of them is in force, the caller knows. */
static const char values_sql[] = "WITH " OFFLINE_STANDING(
    "fabra.deletes") ", " OFFLINE_GONE
		     ", newest AS (SELECT arg_max(h.rowid, " OFFLINE_NEWNESS("h") ") AS at " OFFLINE_ALIVE(
			 "fabra.feature_history") " GROUP BY h.entity, h.entity_id, h.feature, h.version) "
						  "SELECT " OFFLINE_VALUE_COLUMNS
						  " FROM fabra.feature_history h JOIN newest n ON h.rowid = n.at "
						  "WHERE h.ttl_ms = 0 OR h.ttl_ms > (? - epoch_us(h.event_time)) // 1000 "
						  "ORDER BY h.event_time DESC, h.event_time_ns DESC, h.lsn DESC";

struct warm {
	void *arg;
	bool (*each)(void *arg, const struct offline_value *v);
	bool deleted;   /* which of the two questions is being read */
	bool is_enough; /* each has said so */
};

static struct str text_at(duckdb_vector v, idx_t row)
{
	duckdb_string_t *s = (duckdb_string_t *)duckdb_vector_get_data(v) + row;
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

void offline_warm_row(duckdb_data_chunk chunk, idx_t row, bool deleted, struct offline_value *ret)
{
	duckdb_vector column[11];
	for (idx_t i = 0; i < ARRAY_LEN(column); i++)
		column[i] = duckdb_data_chunk_get_vector(chunk, i);
	*ret = (struct offline_value){
		.entity = text_at(column[0], row),
		.entity_id = text_at(column[1], row),
		.feature = text_at(column[2], row),
		.value_json = text_at(column[3], row),
		.event_time_us = ((const int64_t *)duckdb_vector_get_data(column[4]))[row],
		.written_us = ((const int64_t *)duckdb_vector_get_data(column[5]))[row],
		.ttl_ms = ((const int64_t *)duckdb_vector_get_data(column[6]))[row],
		.lsn = ((const uint64_t *)duckdb_vector_get_data(column[7]))[row],
		.version = text_at(column[8], row),
		.event_time_ns = ((const uint16_t *)duckdb_vector_get_data(column[9]))[row],
		.source = ((const uint8_t *)duckdb_vector_get_data(column[10]))[row],
		.deleted = deleted,
	};
}

bool offline_warm_select(struct offline_conn *c, bool deleted, uint64_t deadline_ns, struct offline_error *error)
{
	struct buf now = { 0 };
	struct json_error ignored;
	buf_printf(&now, "[%lld]", (long long)clock_wall_us());
	yyjson_doc *params = deleted ? NULL : json_parse(buf_str(&now), NULL, &ignored);
	bool ok = offline_conn_select(c, str_from(deleted ? deletes_sql : values_sql), yyjson_doc_get_root(params),
				      deadline_ns, error);
	yyjson_doc_free(params);
	buf_finish(&now);
	return ok;
}

static void chunk_read(struct warm *w, duckdb_data_chunk chunk)
{
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	for (idx_t row = 0; row < rows && !w->is_enough; row++) {
		struct offline_value v;
		offline_warm_row(chunk, row, w->deleted, &v);
		w->is_enough = !w->each(w->arg, &v);
	}
}

static bool read_all(struct offline_conn *c, struct warm *w, struct offline_error *error)
{
	bool ok = offline_warm_select(c, w->deleted, UINT64_MAX, error);
	while (ok && !w->is_enough) {
		duckdb_data_chunk chunk = offline_conn_fetch(c, error);
		if (chunk == NULL) {
			ok = error->status == 0;
			break;
		}
		chunk_read(w, chunk);
		duckdb_destroy_data_chunk(&chunk);
	}
	offline_conn_end(c);
	return ok;
}

bool offline_warm(struct offline *o, void *arg, bool (*each)(void *arg, const struct offline_value *v),
		  struct buf *ret_why)
{
	struct offline_error error = { 0 };
	if (atomic_load(&o->projection.is_mismatched))
		return true; /* another ledger's values */
	struct offline_conn *c = offline_admin_enter(o, &error);
	bool ok = c != NULL;
	if (ok) {
		struct warm w = { .arg = arg, .each = each, .deleted = true };
		ok = read_all(c, &w, &error);
		w.deleted = false;
		ok = ok && read_all(c, &w, &error);
		offline_admin_leave(o);
	}
	if (!ok)
		buf_printf(ret_why, "the feature history cannot be read: %s", error.text);
	return ok;
}
