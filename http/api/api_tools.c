/* For the people who run the server: what it serves, and SQL over what it keeps. */
#include "actors/definitions/definitions_describe.h"
#include "http/api/api.h"
#include "store/text/json.h"
#include "store/offline/offline.h"

enum { SQL_ROWS_MAX = 10000 };

/* ---- GET /v1/definitions ---- */

void api_definitions_get(struct exchange *x)
{
	struct buf out = { 0 };
	definitions_describe(api_node(x)->definitions, &out);
	if (out.failed)
		exchange_error(x, 500, "the definitions are too large to describe");
	else
		exchange_reply_json(x, 200, buf_str(&out));
	buf_finish(&out);
}

/* ---- POST /v1/sql ---- */

/* Tables only: whoever may ask the server is not for that reason allowed to read the files of its machine. */
void api_sql_post(struct exchange *x)
{
	static const char *const members[] = { "sql", "params", NULL };
	struct str sql;
	yyjson_val *body = api_body_model(x, members);
	if (api_text(x, body, "sql", &sql) && memchr(sql.p, '\0', sql.n))
		api_note_member(x, STR("sql"), "value_error", "Value error, must be text without NUL",
				yyjson_obj_get(body, "sql"));
	yyjson_val *params = yyjson_obj_get(body, "params");
	if (params && !yyjson_is_arr(params))
		api_note_member(x, STR("params"), "list_type", "Input should be a valid list", params);
	if (!exchange_is_valid(x))
		return;
	struct buf text = { 0 };
	if (params)
		json_write_value(&text, params);
	if (text.failed) {
		buf_finish(&text);
		exchange_error(x, 413, "the parameters are too large");
		return;
	}
	struct actor *a = exchange_actor(x);
	struct offline_query *m = offline_query_new(a->loop, sql, params ? buf_str(&text) : (struct str){ 0 });
	buf_finish(&text);
	m->rows_max = SQL_ROWS_MAX;
	m->tables_only = true;
	rt_ask(a, api_node(x)->stores->offline.requests, &m->head, exchange_deadline_ns(x), a->self);
}

void api_sql_message(struct exchange *x, struct msg *m)
{
	if (m->kind != OFFLINE_RESULT) {
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the offline store");
		return;
	}
	const struct offline_result *r = (struct offline_result *)m;
	if (m->status == RT_OK)
		exchange_reply_json(x, 200, buf_str(&r->json));
	else if (m->status == RT_EINVAL || m->status == RT_ETOOBIG)
		exchange_error(x, 400, "%.*s", STR_ARG(buf_str(&r->json)));
	else
		exchange_fail(x, m->status, "the offline store");
}
