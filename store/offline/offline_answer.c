#include "store/offline/offline_answer.h"
#include "runtime/check.h"
#include "runtime/hash.h"
#include "store/text/json.h"
#include "store/offline/offline_as_of.h"
#include "store/offline/offline_feature.h"
#include "store/offline/offline_json.h"
#include "store/offline/offline_private.h"
#include <strings.h>

enum {
	ROWS_MAX_DEFAULT = 10000,
	RESULT_BYTES_MAX = 16 << 20,
};
static const uint64_t DEADLINE_NS_DEFAULT = 30000000000;

/* ---- what a question is ---- */
uint64_t offline_question_deadline(const struct actor *a, const struct msg *m)
{
	return m->deadline_ns != 0 ? m->deadline_ns : loop_mono_ns(a->loop) + DEADLINE_NS_DEFAULT;
}

uint64_t offline_question_hash(const struct msg *m)
{
	if (m->kind == OFFLINE_QUERY)
		return hash64(str_from(((const struct offline_query *)m)->sql));
	if (m->kind == OFFLINE_FEATURE) {
		const struct offline_narrowed *what = ((const struct offline_feature *)m)->what;
		return hash_mix(hash64(what->sql) ^ hash64(what->value_column));
	}
	if (m->kind != EVIDENCE_LIST)
		return hash_mix(m->kind);
	const struct evidence_list *c = (const struct evidence_list *)m;
	const bool filters[] = { c->start_us != INT64_MIN,    c->end_us != INT64_MAX, c->name != NULL, c->with_inputs,
				 c->freshness_status != NULL, c->id_prefix != NULL,   c->input != NULL };
	uint64_t bits = 0;
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		bits |= (uint64_t)filters[i] << i;
	return hash_mix(bits << 32 | m->kind);
}

bool offline_sql_reads_ledger(struct str sql)
{
	static const char name[] = "fabra";
	const size_t name_n = sizeof name - 1;
	for (size_t i = 0; i + name_n <= sql.n; i++)
		if ((sql.p[i] | 0x20) == 'f' && strncasecmp(sql.p + i, name, name_n) == 0)
			return true;
	return false;
}

bool offline_question_reads_ledger(const struct msg *m)
{
	switch (m->kind) {
	case OFFLINE_AS_OF:
	case EVIDENCE_LIST:
		return true;
	case OFFLINE_QUERY:
		return offline_sql_reads_ledger(str_from(((const struct offline_query *)m)->sql));
	case OFFLINE_ROWS: /* a cursor goes on without its text, and with what it saw at first */
		return offline_sql_reads_ledger(str_from(((const struct offline_rows *)m)->sql));
	case OFFLINE_NEWEST: /* likewise */
		return ((const struct offline_newest *)m)->cursor == 0;
	case OFFLINE_FEATURE:
		return offline_sql_reads_ledger(((const struct offline_feature *)m)->what->sql);
	case OFFLINE_TRAINING: /* likewise */
		return ((const struct offline_training *)m)->what != NULL;
	default:
		return false;
	}
}

/* ---- answers ---- */
void offline_answer_fail(struct actor *a, struct msg *m, const struct offline_error *error)
{
	if (m->kind == OFFLINE_ROWS || m->kind == OFFLINE_FEATURE) {
		struct offline_batch *batch = offline_batch_new(a->loop);
		offline_batch_fail(batch, error);
		rt_reply(a, m, &batch->head);
	} else if (m->kind == OFFLINE_NEWEST) {
		struct offline_values *values = offline_values_new(a->loop);
		offline_values_fail(values, error);
		rt_reply(a, m, &values->head);
	} else if (m->kind == OFFLINE_AS_OF) {
		rt_reply(a, m,
			 &offline_cells_new(a->loop, (struct offline_as_of *)m, error->status, str_from(error->text))
			      ->head);
	} else if (m->kind == OFFLINE_TRAINING) {
		struct offline_past_cells *cells = offline_past_cells_new(a->loop);
		offline_past_cells_fail(cells, error);
		rt_reply(a, m, &cells->head);
	} else if (m->kind == EVIDENCE_LIST || m->kind == EVIDENCE_LEGACY) {
		struct evidence_answer *answer = evidence_answer_new(a->loop);
		evidence_answer_fail(answer, error->status, str_from(error->text));
		rt_reply(a, m, &answer->head);
	} else {
		struct offline_result *result = offline_result_new(a->loop);
		offline_result_fail(result, error);
		rt_reply(a, m, &result->head);
	}
}

/* Runs one statement; params_json may be NULL. */
static bool run_select(struct offline_conn *c, struct str sql, struct str params_json, uint64_t deadline_ns,
		       uint32_t rows_max, struct buf *ret_json, uint32_t *ret_rows, struct offline_error *error)
{
	struct json_error json_error;
	yyjson_doc *params = NULL;
	if (params_json.p != NULL) {
		params = json_parse(params_json, JSON_OWN, &json_error);
		if (params == NULL || !yyjson_is_arr(yyjson_doc_get_root(params))) {
			offline_error_text(error, RT_EINVAL, "the parameters are no JSON array: %s",
					   params == NULL ? json_error.what : "another type");
			yyjson_doc_free(params);
			return false;
		}
	}
	ret_json->max = RESULT_BYTES_MAX;
	bool ok = offline_conn_select(c, sql, yyjson_doc_get_root(params), deadline_ns, error) &&
		  offline_rows_write(c, rows_max, ret_json, ret_rows, error);
	offline_conn_end(c);
	yyjson_doc_free(params);
	return ok;
}

static bool read_query(struct offline_conn *c, const struct offline_query *q, uint64_t deadline_ns,
		       struct offline_result *result, struct offline_error *error)
{
	struct str params = q->params != NULL ? str_from(q->params) : (struct str){ 0 };
	uint32_t rows_max = q->rows_max != 0 ? q->rows_max : ROWS_MAX_DEFAULT;
	if (q->sql == NULL) {
		offline_error_text(error, RT_EFULL, "out of memory");
		return false;
	}
	offline_question_begin(c->offline, q->tables_only);
	bool ok = (!q->tables_only || offline_reads_tables_only(c, str_from(q->sql), deadline_ns, error)) &&
		  run_select(c, str_from(q->sql), params, deadline_ns, rows_max, &result->json, &result->rows, error);
	offline_question_end(ok, error);
	return ok;
}

static bool read_list(struct offline_conn *c, const struct evidence_list *ask, uint64_t deadline_ns,
		      struct evidence_answer *answer, struct offline_error *error)
{
	struct buf sql = { 0 }, params = { 0 };
	offline_list_sql(ask, atomic_load(&c->offline->has_context_log), &sql, &params);
	bool ok = run_select(c, buf_str(&sql), buf_str(&params), deadline_ns, ROWS_MAX_DEFAULT, &answer->json,
			     &answer->rows, error);
	answer->missing_entries = atomic_load(&c->offline->projection.missing_entries);
	buf_finish(&sql);
	buf_finish(&params);
	return ok;
}

static bool read_legacy(struct offline_conn *c, const struct evidence_legacy *ask, uint64_t deadline_ns,
			struct evidence_answer *answer, struct offline_error *error)
{
	answer->rows = offline_legacy_read(c, str_from(ask->ref), ask->view, deadline_ns, &answer->json, error);
	/* The ledger that this file was made from may have it: that there is none can then not be said. A record is what is asked for
	 * last. */
	if (!answer->rows && error->status == RT_ENOTFOUND && ask->view == LEGACY_RECORD &&
	    atomic_load(&c->offline->projection.is_mismatched))
		offline_projection_error(c->offline, error);
	return answer->rows;
}

/* Whether it was stopped to be asked again elsewhere. */
static bool is_stopped(const struct actor *a, const struct msg *m, int status, uint64_t deadline_ns)
{
	return status == RT_EDEADLINE && deadline_ns < offline_question_deadline(a, m);
}

static bool answer_feature(struct actor *a, struct offline_conn *c, struct offline_feature *m, uint64_t deadline_ns)
{
	struct offline_batch *batch = offline_batch_new(a->loop);
	struct offline_error error = { 0 };
	if (offline_conn_enter(c, &error)) {
		offline_feature_read(c, m->what, deadline_ns, batch);
		offline_conn_leave(c);
	} else {
		offline_batch_fail(batch, &error);
	}
	if (is_stopped(a, &m->head, batch->head.status, deadline_ns)) {
		rt_msg_free(a->loop, &batch->head);
		return false;
	}
	rt_reply(a, &m->head, &batch->head);
	return true;
}

static bool answer_as_of(struct actor *a, struct offline_conn *c, struct offline_as_of *m, uint64_t deadline_ns)
{
	struct offline_error error = { 0 };
	bool ok = offline_conn_enter(c, &error);
	if (ok) {
		ok = offline_as_of_read(c, m->what, deadline_ns, &error);
		offline_conn_leave(c);
	}
	if (!ok && is_stopped(a, &m->head, error.status, deadline_ns))
		return false;
	if (!ok)
		offline_answer_fail(a, &m->head, &error);
	else
		rt_reply(a, &m->head, &offline_cells_new(a->loop, m, RT_OK, (struct str){ 0 })->head);
	return true;
}

static bool answer_evidence(struct actor *a, struct offline_conn *c, struct msg *m, uint64_t deadline_ns)
{
	struct evidence_answer *answer = evidence_answer_new(a->loop);
	struct offline_error error = { 0 };
	bool ok = offline_conn_enter(c, &error);
	if (ok) {
		ok = m->kind == EVIDENCE_LIST
			 ? read_list(c, (const struct evidence_list *)m, deadline_ns, answer, &error)
			 : read_legacy(c, (const struct evidence_legacy *)m, deadline_ns, answer, &error);
		offline_conn_leave(c);
	}
	if (!ok && is_stopped(a, m, error.status, deadline_ns)) {
		rt_msg_free(a->loop, &answer->head);
		return false;
	}
	if (!ok)
		evidence_answer_fail(answer, error.status, str_from(error.text));
	rt_reply(a, m, &answer->head);
	return true;
}

static bool answer_query(struct actor *a, struct offline_conn *c, struct offline_query *q, uint64_t deadline_ns)
{
	struct offline_result *result = offline_result_new(a->loop);
	struct offline_error error = { 0 };
	bool ok = offline_conn_enter(c, &error);
	if (ok) {
		ok = read_query(c, q, deadline_ns, result, &error);
		offline_conn_leave(c);
	}
	if (!ok && is_stopped(a, &q->head, error.status, deadline_ns)) {
		rt_msg_free(a->loop, &result->head);
		return false;
	}
	if (!ok)
		offline_result_fail(result, &error);
	rt_reply(a, &q->head, &result->head);
	return true;
}

bool offline_answer(struct actor *a, struct offline_conn *c, struct msg *m, uint64_t deadline_ns)
{
	switch (m->kind) {
	case OFFLINE_FEATURE:
		return answer_feature(a, c, (struct offline_feature *)m, deadline_ns);
	case OFFLINE_AS_OF:
		return answer_as_of(a, c, (struct offline_as_of *)m, deadline_ns);
	case OFFLINE_QUERY:
		return answer_query(a, c, (struct offline_query *)m, deadline_ns);
	default:
		return answer_evidence(a, c, m, deadline_ns);
	}
}
