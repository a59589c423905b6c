/* Warm start: the history's newest values, by one pass of DuckDB. Only row numbers go through the
 * aggregation, and the texts are fetched for the winners: 5 million rows of 1 million keys in 1.8 s within
 * 512 MiB (bench_projection). */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/text/json.h"
#include "store/offline/offline_private.h"

/* The rule by which values apply: (event time with its nanoseconds, LSN). An LSN has less than 56 bits. */
#define NEWNESS(t)                                                                                                     \
	"(CAST(epoch_us(" t ".event_time) AS HUGEINT) * 1000 + coalesce(" t                                            \
	".event_time_ns, 0)) * 72057594037927936 + " t ".lsn"
/* The tombstones that stand: the delete of a row takes those of its features that were written before it, also where their
 * events lay ahead. */
#define STANDING                                                                                                       \
	"WITH standing AS (SELECT d.* FROM fabra.deletes d LEFT JOIN (SELECT entity, entity_id, max(lsn) AS lsn FROM " \
	"fabra.deletes WHERE feature IS NULL GROUP BY entity, entity_id) r ON d.entity = r.entity AND d.entity_id = "  \
	"r.entity_id WHERE d.feature IS NULL OR r.lsn IS NULL OR d.lsn > r.lsn)"
/* A tombstone hides what was written before it, and what was true before it: whichever of several is the
 * latest in each respect. */
#define GONE     "max(event_time) AS event_time, max(lsn) AS lsn FROM standing WHERE feature IS"
#define ALIVE(t) "(" t ".lsn IS NULL OR (h.lsn > " t ".lsn AND h.event_time >= " t ".event_time))"

static const char deletes_sql[] = STANDING
    " SELECT entity, entity_id, coalesce(feature, ''), '', epoch_us(max(event_time)), epoch_us(max(written_at)), "
    "0::BIGINT, max(lsn), '', 0::USMALLINT, 0::UTINYINT FROM standing GROUP BY entity, entity_id, feature";

/* Of each version of the code apart: which of them is in force, the caller knows. */
static const char values_sql[] = STANDING
    ", gone_rows AS (SELECT entity, entity_id, " GONE " NULL GROUP BY entity, entity_id), "
    "gone_cells AS (SELECT entity, entity_id, feature, " GONE " NOT NULL GROUP BY entity, entity_id, feature), "
    "newest AS (SELECT arg_max(h.rowid, " NEWNESS(
	"h") ") AS at FROM fabra.feature_history h "
	     "LEFT JOIN gone_rows r ON h.entity = r.entity AND h.entity_id = r.entity_id "
	     "LEFT JOIN gone_cells c ON h.entity = c.entity AND h.entity_id = c.entity_id AND h.feature = c.feature "
	     "WHERE " ALIVE("r") " AND " ALIVE(
		 "c") " GROUP BY h.entity, h.entity_id, h.feature, h.version) "
		      "SELECT h.entity, h.entity_id, h.feature, h.value, epoch_us(h.event_time), epoch_us(h.written_at), h.ttl_ms, "
		      "h.lsn, coalesce(h.version, ''), coalesce(h.event_time_ns, 0)::USMALLINT, h.source "
		      "FROM fabra.feature_history h JOIN newest n ON h.rowid = n.at "
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
