/* Warm start: the history's newest values, by one pass of DuckDB. Only row numbers go through the
 * aggregation, and the texts are fetched for the winners: 5 million rows of 1 million keys in 1.8 s within
 * 512 MiB (bench_projection). */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/text/json.h"
#include "store/offline/offline_newest.h"

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

static struct str text_at(duckdb_vector v, idx_t row)
{
	duckdb_string_t *s = (duckdb_string_t *)duckdb_vector_get_data(v) + row;
	return str_of(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

/* false: each has had enough. */
static bool chunk_read(duckdb_data_chunk chunk, void *arg, bool (*each)(void *arg, const struct offline_value *v))
{
	duckdb_vector column[11];
	for (idx_t i = 0; i < ARRAY_LEN(column); i++)
		column[i] = duckdb_data_chunk_get_vector(chunk, i);
	const int64_t *event_us = duckdb_vector_get_data(column[4]), *written_us = duckdb_vector_get_data(column[5]);
	const int64_t *ttl_ms = duckdb_vector_get_data(column[6]);
	const uint64_t *lsn = duckdb_vector_get_data(column[7]);
	const uint16_t *event_ns = duckdb_vector_get_data(column[9]);
	const uint8_t *source = duckdb_vector_get_data(column[10]);
	idx_t rows = duckdb_data_chunk_get_size(chunk);
	bool goes_on = true;
	for (idx_t row = 0; row < rows && goes_on; row++) {
		struct offline_value v = {
			.entity = text_at(column[0], row),
			.entity_id = text_at(column[1], row),
			.feature = text_at(column[2], row),
			.value_json = text_at(column[3], row),
			.event_time_us = event_us[row],
			.written_us = written_us[row],
			.ttl_ms = ttl_ms[row],
			.lsn = lsn[row],
			.version = text_at(column[8], row),
			.event_time_ns = event_ns[row],
			.source = source[row],
			.deleted = source[row] == 0,
		};
		goes_on = each(arg, &v);
	}
	return goes_on;
}

bool offline_values_read(struct offline_conn *c, struct str sql, yyjson_val *params, uint64_t deadline_ns, void *arg,
			 bool (*each)(void *arg, const struct offline_value *v), struct offline_error *error)
{
	bool ok = offline_conn_select(c, sql, params, deadline_ns, error), goes_on = true;
	while (ok && goes_on) {
		duckdb_data_chunk chunk = offline_conn_fetch(c, error);
		if (chunk == NULL) {
			ok = error->status == 0;
			break;
		}
		goes_on = chunk_read(chunk, arg, each);
		duckdb_destroy_data_chunk(&chunk);
	}
	offline_conn_end(c);
	return ok;
}

/* Enough of the tombstones is enough of all. */
struct until {
	void *arg;
	bool (*each)(void *arg, const struct offline_value *v);
	bool is_enough;
};

static bool until_enough(void *arg, const struct offline_value *v)
{
	struct until *u = arg;
	u->is_enough = !u->each(u->arg, v);
	return !u->is_enough;
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
		struct buf now = { 0 };
		struct json_error ignored;
		buf_printf(&now, "[%lld]", (long long)clock_wall_us());
		yyjson_doc *params = json_parse(buf_str(&now), NULL, &ignored);
		struct until u = { .arg = arg, .each = each };
		ok = offline_values_read(c, str_from(deletes_sql), NULL, UINT64_MAX, &u, until_enough, &error);
		ok = ok && (u.is_enough || offline_values_read(c, str_from(values_sql), yyjson_doc_get_root(params),
							       UINT64_MAX, &u, until_enough, &error));
		yyjson_doc_free(params);
		buf_finish(&now);
		offline_admin_leave(o);
	}
	if (!ok)
		buf_printf(ret_why, "the feature history cannot be read: %s", error.text);
	return ok;
}
