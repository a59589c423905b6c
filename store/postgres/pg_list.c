#include "store/postgres/pg_list.h"
#include "runtime/check.h"
#include "store/evidence/legacy_view.h"
#include "store/postgres/pg_array.h"
#include <stdlib.h>

enum { LIST_MAX = 10000 };

/* ---- writing SQL ---- */
void pg_query_finish(struct pg_query *q)
{
	buf_finish(&q->sql);
	for (int i = 0; i < PG_QUERY_VALUES; i++)
		buf_finish(&q->texts[i]);
}

/* A parameter; what stands for it in the SQL. */
static int put_value(struct pg_query *q, struct str text)
{
	CHECK(q->count < PG_QUERY_VALUES);
	struct buf *b = &q->texts[q->count];
	buf_append_str(b, text);
	buf_append_char(b, '\0');
	q->values[q->count] = b->p;
	return ++q->count;
}

static void end(struct pg_query *q)
{
	buf_append_char(&q->sql, '\0');
	for (int i = 0; i < q->count; i++)
		q->sql.failed |= q->texts[i].failed;
}

/* What is not UTF-8 equals no text that is kept, and Postgres would call it an error. */
static void filter_text(struct pg_query *q, const char *condition, const char *text)
{
	if (text == NULL)
		return;
	if (!json_utf8_valid(str_from(text)))
		buf_append_lit(&q->sql, " AND false");
	else
		buf_printf(&q->sql, " AND %s = $%d", condition, put_value(q, str_from(text)));
}

static void filter_time(struct pg_query *q, const char *condition, int64_t us)
{
	struct buf text = { 0 };
	time_write_z(&text, us);
	buf_printf(&q->sql, " AND %s $%d::timestamptz", condition, put_value(q, buf_str(&text)));
	buf_finish(&text);
}

/* ---- lists ---- */
/* The ids that begin with a text are those between two. false: none does. */
static bool prefix_bounds(struct str prefix, struct pg_uuid *ret_low, struct pg_uuid *ret_high)
{
	char low[37] = "00000000-0000-0000-0000-000000000000", high[37] = "ffffffff-ffff-ffff-ffff-ffffffffffff";
	struct str head = STR("ctx_");
	if (prefix.n <= head.n) {
		prefix = (struct str){ .n = str_starts(head, prefix) ? 0 : 99 };
	} else if (str_starts(prefix, head)) {
		prefix = str_skip(prefix, head.n);
	} else {
		return false;
	}
	if (prefix.n > 36)
		return false;
	for (size_t i = 0; i < prefix.n; i++) {
		char c = prefix.p[i];
		if ((low[i] == '-') != (c == '-') || (c != '-' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')))
			return false;
		low[i] = high[i] = c;
	}
	return pg_uuid_parse(str_of(low, 36), ret_low) && pg_uuid_parse(str_of(high, 36), ret_high);
}

static void filter_prefix(struct pg_query *q, const char *prefix)
{
	struct pg_uuid low, high;
	char text[36];
	if (prefix == NULL)
		return;
	if (!prefix_bounds(str_from(prefix), &low, &high)) {
		buf_append_lit(&q->sql, " AND false");
		return;
	}
	pg_uuid_text(low, text);
	buf_printf(&q->sql, " AND context_id >= $%d::uuid", put_value(q, str_of(text, sizeof text)));
	pg_uuid_text(high, text);
	buf_printf(&q->sql, " AND context_id <= $%d::uuid", put_value(q, str_of(text, sizeof text)));
}

/* The member of a record's inputs is read in the canonical text: last, and only of rows that pass the others. */
static void filter_input(struct pg_query *q, const char *name, const char *value)
{
	if (name == NULL)
		return;
	if (!json_utf8_valid(str_from(name)) || !json_utf8_valid(str_from(value))) {
		buf_append_lit(&q->sql, " AND false");
		return;
	}
	int at = put_value(q, str_from(name));
	buf_printf(&q->sql, " AND fabra.record_input(canonical, $%d) = $%d", at, put_value(q, str_from(value)));
}

static void write_own(struct pg_query *q, const struct evidence_list *ask, int limit)
{
	buf_append_lit(
	    &q->sql,
	    "SELECT 'ctx_' || context_id::text, created_at AS at, context_function, token_count, freshness_status, version, ");
	buf_append_str(&q->sql, ask->with_inputs ? STR("fabra.record_inputs(canonical)::text") : STR("NULL::text"));
	buf_append_lit(&q->sql, " FROM fabra.records WHERE true");
	if (ask->start_us != INT64_MIN)
		filter_time(q, "created_at >=", ask->start_us);
	if (ask->end_us != INT64_MAX)
		filter_time(q, "created_at <=", ask->end_us);
	filter_text(q, "context_function", ask->name);
	filter_text(q, "freshness_status", ask->freshness_status);
	filter_prefix(q, ask->id_prefix);
	filter_input(q, ask->input, ask->input_value);
	buf_printf(&q->sql, " ORDER BY created_at DESC, context_id DESC LIMIT %d", limit);
}

/* With Fabra's defaults for what a stored meta lacks; an imported record is listed once. An argument is in no log of Python's. */
static void write_legacy(struct pg_query *q, const struct evidence_list *ask)
{
	buf_append_lit(
	    &q->sql,
	    "SELECT l.context_id, l.timestamp, coalesce(l.meta ->> 'name', 'unknown'), CASE WHEN l.meta ->> 'token_usage' ~ "
	    "'^-?[0-9]{1,18}$' THEN (l.meta ->> 'token_usage')::bigint ELSE 0 END, coalesce(l.meta ->> 'freshness_status', "
	    "'unknown'), l.version, NULL::text FROM context_log l WHERE NOT EXISTS (SELECT FROM fabra.records r WHERE r.context_id = "
	    "CASE WHEN l.context_id ~ '^ctx_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN substr(l.context_id, 5)::uuid END)");
	if (ask->start_us != INT64_MIN)
		filter_time(q, "l.timestamp >=", ask->start_us);
	if (ask->end_us != INT64_MAX)
		filter_time(q, "l.timestamp <=", ask->end_us);
	filter_text(q, "coalesce(l.meta ->> 'name', 'unknown')", ask->name);
	filter_text(q, "coalesce(l.meta ->> 'freshness_status', 'unknown')", ask->freshness_status);
	if (ask->id_prefix != NULL && !json_utf8_valid(str_from(ask->id_prefix)))
		buf_append_lit(&q->sql, " AND false");
	else if (ask->id_prefix != NULL)
		buf_printf(&q->sql, " AND starts_with(l.context_id, $%d)", put_value(q, str_from(ask->id_prefix)));
}

void pg_list_write(const struct evidence_list *ask, bool has_log, struct pg_query *ret)
{
	int limit = ask->limit < 0 ? 0 : ask->limit < LIST_MAX ? ask->limit : LIST_MAX;
	buf_append_lit(
	    &ret->sql,
	    "SELECT id, (extract(epoch FROM at) * 1000000)::bigint, name, tokens, freshness, version, inputs FROM ((");
	write_own(ret, ask, limit);
	buf_append_char(&ret->sql, ')');
	if (has_log && ask->input == NULL) {
		buf_append_lit(&ret->sql, " UNION ALL (");
		write_legacy(ret, ask);
		buf_append_char(&ret->sql, ')');
	}
	buf_printf(&ret->sql,
		   ") AS both_of(id, at, name, tokens, freshness, version, inputs) ORDER BY at DESC, id DESC LIMIT %d",
		   limit);
	end(ret);
}

static struct str text_at(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) ? (struct str){ 0 }
					   : str_of(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

static int64_t number_at(const PGresult *r, int row, int column)
{
	return strtoll(PQgetvalue(r, row, column), NULL, 10); /* null: an empty text */
}

static void put_text(struct buf *out, const char *name, struct str s)
{
	buf_printf(out, ",\"%s\":", name);
	if (s.p == NULL)
		buf_append_lit(out, "null");
	else
		json_write_string(out, s);
}

static void put_raw(struct buf *out, const char *name, struct str s)
{
	buf_printf(out, ",\"%s\":", name);
	buf_append_str(out, s.p != NULL ? s : STR("null"));
}

struct evidence_answer *pg_list_answer(struct loop *loop, const struct evidence_list *ask, const PGresult *r)
{
	struct evidence_answer *m = evidence_answer_new(loop);
	struct buf *out = &m->json;
	buf_append_char(out, '[');
	for (int i = 0; i < PQntuples(r); i++) {
		buf_append_str(out, i == 0 ? STR("{\"context_id\":") : STR(",{\"context_id\":"));
		json_write_string(out, text_at(r, i, 0));
		buf_append_lit(out, ",\"timestamp\":\"");
		time_write_z(out, number_at(r, i, 1));
		buf_append_char(out, '"');
		put_text(out, "name", text_at(r, i, 2));
		put_raw(out, "token_usage", text_at(r, i, 3));
		put_text(out, "freshness_status", text_at(r, i, 4));
		put_text(out, "version", text_at(r, i, 5));
		if (ask->with_inputs)
			put_raw(out, "inputs", text_at(r, i, 6));
		buf_append_char(out, '}');
	}
	buf_append_char(out, ']');
	m->rows = (uint32_t)PQntuples(r);
	if (out->failed)
		evidence_answer_fail(m, RT_ETOOBIG, STR("the list is too long: ask for fewer"));
	return m;
}

/* ---- what Fabra's Python program left ---- */
const char pg_legacy_probe_sql[] =
    "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('context_log') AND relkind IN ('r', 'p')), "
    "EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('context_records') AND relkind IN ('r', 'p'))";

static const char record_sql[] =
    "SELECT context_id, (extract(epoch FROM created_at) * 1000000)::bigint, environment, schema_version, inputs::text, "
    "context_function, content, token_count::bigint, features::text, retrieved_items::text, assembly::text, lineage::text, "
    "integrity::text FROM context_records WHERE ";
static const char context_sql[] =
    "SELECT l.context_id, (extract(epoch FROM l.timestamp) * 1000000)::bigint, l.content, l.lineage::text, "
    "l.meta::text, l.version, ";
static const char latency_sql[] =
    "r.lineage ->> 'assembly_latency_ms' FROM context_log l LEFT JOIN context_records r ON r.context_id = "
    "l.context_id WHERE ";
static const char no_latency_sql[] = "NULL::text FROM context_log l WHERE ";

static bool is_hash(const struct evidence_legacy *ask)
{
	return str_starts(str_from(ask->ref), STR("sha256:"));
}

bool pg_legacy_can_have(const struct evidence_legacy *ask, bool has_records, bool has_log)
{
	if (!json_utf8_valid(str_from(ask->ref)))
		return false;
	return ask->view == LEGACY_RECORD ? has_records : has_log && (has_records || !is_hash(ask));
}

/* By hash, which only records have, or by id, as written or with the prefix that a bare UUID lacks. */
void pg_legacy_write(const struct evidence_legacy *ask, bool has_records, bool has_log, struct pg_query *ret)
{
	CHECK(pg_legacy_can_have(ask, has_records, has_log));
	if (ask->view == LEGACY_RECORD) {
		buf_append_str(&ret->sql, str_from(record_sql));
	} else {
		buf_append_str(&ret->sql, str_from(context_sql));
		buf_append_str(&ret->sql, str_from(has_records ? latency_sql : no_latency_sql));
	}
	const char *table = ask->view == LEGACY_RECORD ? "" : is_hash(ask) ? "r." : "l.";
	int at = put_value(ret, str_from(ask->ref));
	if (is_hash(ask)) {
		buf_printf(&ret->sql, "%srecord_hash = $%d", table, at);
	} else {
		struct buf id = { 0 };
		buf_printf(&id, "ctx_%s", ask->ref);
		buf_printf(&ret->sql, "%scontext_id IN ($%d, $%d)", table, at, put_value(ret, buf_str(&id)));
		buf_finish(&id);
	}
	end(ret);
}

static bool is_number(enum evidence_legacy_view view, int column)
{
	return view == LEGACY_RECORD ? column == LEGACY_CREATED_AT || column == LEGACY_TOKEN_COUNT
				     : column == LEGACY_LOG_TIME;
}

struct evidence_answer *pg_legacy_answer(struct loop *loop, const struct evidence_legacy *ask, const PGresult *r)
{
	struct evidence_answer *m = evidence_answer_new(loop);
	struct legacy_row row = { .numbers = { 0 } };
	if (PQntuples(r) == 0) {
		evidence_answer_fail(m, RT_ENOTFOUND, STR("Record not found"));
		return m;
	}
	for (int c = 0; c < PQnfields(r) && c < LEGACY_COLUMNS_MAX; c++) {
		if (is_number(ask->view, c))
			row.numbers[c] = number_at(r, 0, c);
		else
			row.texts[c] = text_at(r, 0, c);
	}
	legacy_view_write(ask->view, &row, str_from(ask->ref), &m->json);
	m->rows = 1;
	if (m->json.failed)
		evidence_answer_fail(m, RT_ETOOBIG, STR("it is too large to be answered"));
	return m;
}
