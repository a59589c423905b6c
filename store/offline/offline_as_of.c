/* Cells of the history.
 *
 * One statement, so that values and tombstones are of one state: of the rows that have one of the ids and one of the features
 * the newest of each version that no delete hides, and the deletes of those ids. It may give more than was asked for (other
 * pairs of the ids and features): what a row belongs to is found by a hash. */
#include "store/offline/offline_as_of.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "store/offline/offline_live.h"
#include "store/text/json.h"

enum { BUCKETS = 2048 };

struct names { /* each once */
	struct str all[OFFLINE_CELLS_MAX];
	uint32_t count;
};
struct asked {
	struct offline_cells *cells;
	uint16_t buckets[BUCKETS];        /* by the id's hash: position of a cell + 1; 0 = none */
	uint16_t next[OFFLINE_CELLS_MAX]; /* likewise */
	struct names ids, features;
};

static uint16_t first_of(const struct asked *a, struct str id)
{
	uint16_t at = a->buckets[hash64(id) % BUCKETS];
	while (at != 0 && !str_eq(a->cells->cells[at - 1].value.entity_id, id))
		at = a->next[at - 1];
	return at;
}

static void add_feature(struct names *n, struct str name)
{
	for (uint32_t i = n->count; i-- > 0;)
		if (str_eq(n->all[i], name))
			return;
	n->all[n->count++] = name;
}

/* An earlier try may have been stopped half way. */
static void asked_init(struct asked *a, struct offline_cells *cells)
{
	*a = (struct asked){ .cells = cells };
	for (uint32_t i = 0; i < cells->count; i++) {
		struct offline_cell *c = &cells->cells[i];
		c->found = OFFLINE_NOTHING;
		add_feature(&a->features, c->value.feature);
		if (first_of(a, c->value.entity_id) == 0)
			a->ids.all[a->ids.count++] = c->value.entity_id;
		uint16_t *bucket = &a->buckets[hash64(c->value.entity_id) % BUCKETS];
		a->next[i] = *bucket;
		*bucket = (uint16_t)(i + 1);
	}
}

/* ---- the statement ---- */

static void one_of(struct buf *out, const struct names *n)
{
	buf_append_lit(out, " IN (");
	for (uint32_t i = 0; i < n->count; i++) {
		buf_append_str(out, i ? STR(",") : STR(""));
		offline_append_quoted(out, n->all[i], '\'');
	}
	buf_append_char(out, ')');
}

/* One id is a parameter, so that the statement is the same for all. */
static void picked(struct buf *out, const struct names *ids, int64_t as_of_us)
{
	buf_append_lit(out, " WHERE entity_id");
	if (ids->count == 1)
		buf_append_lit(out, " = CAST($1 AS VARCHAR)");
	else
		one_of(out, ids);
	if (as_of_us != INT64_MAX)
		buf_printf(out, " AND event_time <= make_timestamp(%lld)", (long long)as_of_us);
}

static void statement_write(const struct names *ids, const struct names *features, int64_t as_of_us, struct buf *out)
{
	buf_append_lit(out, "WITH gone AS (SELECT * FROM fabra.deletes");
	picked(out, ids, as_of_us);
	buf_append_lit(out, "), history AS (SELECT * FROM fabra.feature_history");
	picked(out, ids, as_of_us);
	buf_append_lit(out, " AND feature");
	one_of(out, features);
	buf_append_lit(
	    out,
	    "), " OFFLINE_STANDING("gone") ", " OFFLINE_GONE " SELECT " OFFLINE_VALUE_COLUMNS " " OFFLINE_ALIVE(
		"history") " QUALIFY row_number() OVER (PARTITION BY h.entity, h.entity_id, h.feature, h.version ORDER BY h.event_time "
			   "DESC, coalesce(h.event_time_ns, 0) DESC, h.lsn DESC) = 1 UNION ALL " OFFLINE_TOMBSTONES);
}

/* ---- the rows ---- */

static bool is_newer(const struct offline_value *a, const struct offline_value *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us > b->event_time_us;
	if (a->event_time_ns != b->event_time_ns)
		return a->event_time_ns > b->event_time_ns;
	return a->lsn > b->lsn;
}

static void take_tombstone(struct offline_cell *c, const struct offline_value *v)
{
	bool is_own = v->feature.n > 0;
	if (c->found == OFFLINE_VALUE || (c->found == OFFLINE_TOMBSTONE && !is_own))
		return;
	c->found = OFFLINE_TOMBSTONE;
	c->is_of_row = !is_own;
	c->value.event_time_us = v->event_time_us;
	c->value.written_us = v->written_us;
	c->value.lsn = v->lsn;
	c->value.deleted = true;
}

/* false: no memory. */
static bool take_value(struct asked *a, uint32_t at, const struct offline_value *v)
{
	struct offline_cell *c = &a->cells->cells[at];
	struct arena *texts = &a->cells->texts;
	if (!c->is_of_any_version && !str_eq(v->version, c->value.version))
		return true;
	if (c->found == OFFLINE_VALUE && !is_newer(v, &c->value))
		return true;
	struct offline_value taken = *v;
	taken.entity = c->value.entity;
	taken.entity_id = c->value.entity_id;
	taken.feature = c->value.feature;
	taken.version = c->is_of_any_version ? arena_dup(texts, v->version) : c->value.version;
	taken.value_json = arena_dup(texts, v->value_json);
	c->value = taken;
	c->found = OFFLINE_VALUE;
	c->is_of_row = false;
	return taken.version.p != NULL && taken.value_json.p != NULL;
}

static bool take_row(struct asked *a, const struct offline_value *v)
{
	for (uint16_t at = a->buckets[hash64(v->entity_id) % BUCKETS]; at != 0; at = a->next[at - 1]) {
		struct offline_cell *c = &a->cells->cells[at - 1];
		bool is_it = str_eq(c->value.entity_id, v->entity_id) && str_eq(c->value.entity, v->entity) &&
			     (str_eq(c->value.feature, v->feature) || (v->deleted && v->feature.n == 0));
		if (is_it && v->deleted)
			take_tombstone(c, v);
		else if (is_it && !take_value(a, at - 1u, v))
			return false;
	}
	return true;
}

static bool take_rows(struct offline_conn *c, struct asked *a, struct offline_error *error)
{
	bool ok = true;
	for (duckdb_data_chunk chunk; ok && (chunk = offline_conn_fetch(c, error)) != NULL;) {
		idx_t rows = duckdb_data_chunk_get_size(chunk);
		for (idx_t row = 0; ok && row < rows; row++) {
			struct offline_value v;
			offline_warm_row(chunk, row, false, &v);
			v.deleted = v.source == 0;
			ok = take_row(a, &v);
		}
		duckdb_destroy_data_chunk(&chunk);
	}
	if (!ok)
		offline_error_text(error, a->cells->count > 1 ? RT_ETOOBIG : RT_EFULL,
				   "the values are too large together; ask for fewer at once");
	return ok && error->status == 0;
}

bool offline_as_of_read(struct offline_conn *c, struct offline_cells *cells, uint64_t deadline_ns,
			struct offline_error *error)
{
	struct buf sql = { 0 }, params = { 0 };
	struct json_error json_error;
	struct asked asked;
	if (cells->count == 0)
		return true;
	asked_init(&asked, cells);
	statement_write(&asked.ids, &asked.features, cells->as_of_us, &sql);
	buf_append_char(&params, '[');
	if (asked.ids.count == 1)
		json_write_string(&params, asked.ids.all[0]);
	buf_append_char(&params, ']');
	yyjson_doc *list = params.failed || sql.failed ? NULL : json_parse(buf_str(&params), NULL, &json_error);
	if (list == NULL)
		offline_error_text(error, RT_EFULL, "out of memory");
	bool ok = list != NULL &&
		  offline_conn_select(c, buf_str(&sql), yyjson_doc_get_root(list), deadline_ns, error) &&
		  take_rows(c, &asked, error);
	offline_conn_end(c);
	if (asked.ids.count > 1 || cells->as_of_us != INT64_MAX)
		offline_conn_forget(c, buf_str(&sql));
	yyjson_doc_free(list);
	buf_finish(&sql);
	buf_finish(&params);
	return ok;
}
