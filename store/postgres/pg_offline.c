/* pg_offline.c -- the actor that runs the SQL which users write.
 *
 *     QUERY, FEATURE --> a lane that is free, else the queue    ROWS --> its own connection for each cursor
 *
 * A lane is an actor on a loop of its own with one connection: it runs one statement at a time. What it has been sent is done when it
 * answers PG_DONE. Bounds: QUEUE_MAX questions wait, CURSORS_MAX cursors are open; a cursor that nobody asks for goes after
 * CURSOR_IDLE_S. Deadlines are the askers'. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "store/postgres/pg_sql.h"
#include "store/postgres/pg_statement.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	QUEUE_MAX = 256,
	LANES_MAX = 16,
	CURSORS_MAX = 8,
	CURSOR_IDLE_S = 60,
	ROWS_MAX = 10000,
	BATCH_ROWS = 4096,
	PARAMS_MAX = 256
};
static const uint64_t DEADLINE_NS_DEFAULT = 30000000000, DONE_TIMEOUT_NS = 600000000000;

static uint64_t deadline_of(const struct msg *m)
{
	return m->deadline_ns != 0 ? m->deadline_ns : clock_mono_ns() + DEADLINE_NS_DEFAULT;
}

/* ---- failures ---- */
static void result_fail(struct offline_result *r, int status, const char *text)
{
	buf_clear(&r->json);
	buf_append_str(&r->json, str_from(text));
	r->rows = 0;
	r->head.status = status;
}

static void batch_fail(struct offline_batch *b, int status, const char *text)
{
	b->rows = NULL;
	b->count = 0;
	b->cursor = 0;
	b->last = true;
	b->error = arena_dup(b->texts, str_from(text));
	b->head.status = status;
}

static struct msg *failure_of(struct loop *loop, const struct msg *m, int status, const char *text)
{
	if (m->kind == OFFLINE_QUERY) {
		struct offline_result *r = offline_result_new(loop);
		result_fail(r, status, text);
		return &r->head;
	}
	struct offline_batch *b = offline_batch_new(loop);
	batch_fail(b, status, text);
	return &b->head;
}

/* ---- a query ---- */
struct params {
	yyjson_doc *doc;
	struct buf texts[PARAMS_MAX]; /* NUL-terminated; unused ones are empty */
	const char *values[PARAMS_MAX];
	int count;
};

static void params_finish(struct params *p)
{
	for (int i = 0; i < p->count; i++)
		buf_finish(&p->texts[i]);
	yyjson_doc_free(p->doc);
}

/* Text as it is, everything else as JSON spells it: Postgres reads it as the type that the place wants. */
static bool params_read(const char *json, struct params *ret, const char **ret_why)
{
	struct json_error error;
	yyjson_val *v;
	size_t i, n;
	*ret_why = "the parameters must be a JSON array of at most 256";
	if (json == NULL)
		return true;
	ret->doc = json_parse(str_from(json), JSON_OWN, &error);
	yyjson_val *root = yyjson_doc_get_root(ret->doc);
	if (!yyjson_is_arr(root) || yyjson_arr_size(root) > PARAMS_MAX)
		return false;
	yyjson_arr_foreach(root, i, n, v) {
		struct buf *b = &ret->texts[ret->count++];
		if (yyjson_is_null(v))
			continue;
		if (yyjson_is_str(v) && memchr(yyjson_get_str(v), '\0', yyjson_get_len(v)) != NULL) {
			*ret_why = "a text with a NUL is none to Postgres";
			return false;
		}
		if (yyjson_is_str(v))
			buf_append_str(b, json_str(v));
		else
			json_write_value(b, v);
		buf_append_char(b, '\0');
		ret->values[i] = b->p;
	}
	return true;
}

static void write_rows(const PGresult *r, uint32_t rows_max, struct offline_result *ret)
{
	int n = PQntuples(r);
	if ((uint32_t)n > rows_max) {
		char text[96];
		snprintf(text, sizeof text, "more than %u rows; add a LIMIT", rows_max);
		result_fail(ret, RT_ETOOBIG, text);
		return;
	}
	buf_append_char(&ret->json, '[');
	for (int i = 0; i < n; i++) {
		if (PQgetisnull(r, i, 0) || PQgetvalue(r, i, 1)[0] == 't') {
			result_fail(ret, RT_ETOOBIG, "the rows are larger than 16 MiB; ask for fewer");
			return;
		}
		if (i > 0)
			buf_append_char(&ret->json, ',');
		buf_append(&ret->json, PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0));
	}
	buf_append_char(&ret->json, ']');
	ret->rows = (uint32_t)n;
	if (ret->json.failed)
		result_fail(ret, RT_EIO, "there is no memory for the rows");
}

/* One of ours around one of the user's. */
static PGresult *run_text(struct pg_sql *s, const struct buf *sql, int count, const char *const *values,
			  uint64_t deadline_ns)
{
	if (!sql->failed)
		return pg_sql_run(s, sql->p, count, values, deadline_ns);
	pg_trouble_set(&s->trouble, PG_CONTENT, "the statement, or what it is asked for, is too long");
	return NULL;
}

static void query_run(struct pg_sql *s, const struct offline_query *q, struct offline_result *ret)
{
	struct params *p = calloc(1, sizeof *p);
	struct buf sql = { 0 };
	const char *why = NULL;
	uint32_t rows_max = q->rows_max ? q->rows_max : ROWS_MAX;
	CHECK(p != NULL);
	int wanted = pg_statement_query(str_from(q->sql), rows_max, &sql);
	if (!params_read(q->params, p, &why)) {
		result_fail(ret, RT_EINVAL, why);
	} else if (wanted != p->count) {
		result_fail(ret, RT_EINVAL, "there are not as many parameters as the statement has places for (?)");
	} else {
		PGresult *r = run_text(s, &sql, p->count, p->values, deadline_of(&q->head));
		if (r != NULL)
			write_rows(r, rows_max, ret);
		else
			result_fail(ret, pg_sql_status(s), s->trouble.text);
		PQclear(r);
	}
	buf_finish(&sql);
	params_finish(p);
	free(p);
}

/* ---- values of a feature ---- */
/* Into its stored form. false: *b is a failure. */
static bool normalise(struct str value, struct buf *text, struct offline_batch *b)
{
	struct json_error error = { .what = "" };
	yyjson_doc *doc = value.n > 0 ? json_parse(value, JSON_OWN, &error) : NULL;
	if (doc != NULL)
		json_write_value(text, yyjson_doc_get_root(doc));
	bool ok = doc != NULL && !text->failed, is_large = value.n == 0 || text->failed;
	if (!ok)
		batch_fail(b, is_large ? RT_ETOOBIG : RT_EINVAL,
			   is_large ? "a value is larger than 4 MiB" : error.what);
	yyjson_doc_free(doc);
	return ok;
}

/* false: *b is a failure. */
static bool add_row(struct offline_batch *b, struct str key, struct str value, struct buf *text)
{
	struct offline_row *row = &b->rows[b->count];
	buf_clear(text);
	text->max = OFFLINE_VALUE_BYTES_MAX;
	if (value.p == NULL)
		buf_append_lit(text, "null");
	else if (!normalise(value, text, b))
		return false;
	row->key = arena_dup(b->texts, key);
	row->value_json = arena_dup(b->texts, buf_str(text));
	if (row->key.p == NULL || row->value_json.p == NULL) {
		batch_fail(b, RT_EIO, "there is no memory for the values");
		return false;
	}
	b->count++;
	return true;
}

static void read_rows(const PGresult *r, struct offline_batch *b)
{
	struct buf text = { 0 };
	int n = PQntuples(r);
	b->rows = arena_alloc(b->texts, ((size_t)n + 1) * sizeof *b->rows);
	CHECK(b->rows != NULL);
	for (int i = 0; i < n; i++) {
		if (PQnfields(r) > 2 && PQgetvalue(r, i, 2)[0] == 't') {
			batch_fail(b, RT_ETOOBIG, "the values are larger than 16 MiB; ask for fewer ids at once");
			break;
		}
		struct str key = str_of(PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)), value = { 0 };
		if (!PQgetisnull(r, i, 1))
			value = str_of(PQgetvalue(r, i, 1), (size_t)PQgetlength(r, i, 1));
		if (!add_row(b, key, value, &text))
			break;
	}
	buf_finish(&text);
}

static bool read_key_type(struct pg_sql *s, const struct offline_narrowed *what, uint64_t deadline_ns, unsigned *ret)
{
	struct buf sql = { 0 };
	pg_statement_columns(what->sql, what->key_column, what->value_column, &sql);
	PGresult *r = run_text(s, &sql, 0, NULL, deadline_ns);
	*ret = r != NULL ? PQftype(r, 0) : 0;
	PQclear(r);
	buf_finish(&sql);
	return *ret != 0;
}

static void feature_run(struct pg_sql *s, const struct offline_feature *m, struct offline_batch *ret)
{
	const struct offline_narrowed *what = m->what;
	uint64_t deadline_ns = deadline_of(&m->head);
	struct buf sql = { 0 }, ids = { 0 };
	unsigned type;
	PGresult *r = NULL;
	ret->last = true;
	if (read_key_type(s, what, deadline_ns, &type)) {
		pg_statement_feature(what, type, &sql);
		pg_statement_ids(what, type, &ids);
		const char *values[] = { ids.p };
		sql.failed |= ids.failed;
		r = run_text(s, &sql, 1, values, deadline_ns);
	}
	if (r != NULL)
		read_rows(r, ret);
	else
		batch_fail(ret, pg_sql_status(s), s->trouble.text);
	PQclear(r);
	buf_finish(&sql);
	buf_finish(&ids);
}

/* ---- one question on one connection ---- */
static void answer(struct actor *a, struct pg_sql *s, struct msg *m)
{
	if (m->kind == OFFLINE_QUERY) {
		struct offline_result *r = offline_result_new(a->loop);
		query_run(s, (const struct offline_query *)m, r);
		rt_reply(a, m, &r->head);
	} else {
		struct offline_batch *b = offline_batch_new(a->loop);
		feature_run(s, (const struct offline_feature *)m, b);
		rt_reply(a, m, &b->head);
	}
}

/* ---- a lane ---- */
struct sql_lane {
	struct actor base;
	struct pg_sql sql;
};

static int lane_init(struct actor *a, void *arg)
{
	struct postgres *pg = arg;
	char name[64];
	snprintf(name, sizeof name, "fabra/%s/sql", pg->replica);
	pg_sql_init(&((struct sql_lane *)a)->sql, pg, name);
	return 0;
}

static void lane_on_message(struct actor *a, struct msg *m)
{
	struct sql_lane *l = (struct sql_lane *)a;
	if (m->kind == OFFLINE_QUERY || m->kind == OFFLINE_FEATURE)
		answer(a, &l->sql, m);
	else if (m->kind == PG_DONE)
		rt_reply(a, m, rt_msg_new(a->loop, PG_DONE));
	else if (m->kind == RT_STOP)
		rt_stop(a);
}

static void lane_finish(struct actor *a)
{
	pg_sql_finish(&((struct sql_lane *)a)->sql);
}

static const struct actor_class lane_class = {
	.name = "pg_sql_lane",
	.size = sizeof(struct sql_lane),
	.mailbox_len_max = 8,
	.init = lane_init,
	.on_message = lane_on_message,
	.finish = lane_finish,
};

/* ---- who is asked ---- */
struct cursor {
	struct pg_sql sql;
	uint64_t number; /* 0: free */
	uint64_t used_ns;
	int batch_rows; /* of which a batch is not too large */
};
struct offline_actor {
	struct actor base;
	struct postgres *pg; /* borrows */
	struct pg_sql sql;   /* without lanes */
	struct {
		struct actor_ref ref;
		uint64_t op; /* of the PG_DONE that it owes; 0: it is free */
	} lanes[LANES_MAX];
	unsigned lanes_count;
	struct msg *queue[QUEUE_MAX]; /* taken; in order */
	size_t queue_len;
	struct cursor cursors[CURSORS_MAX];
	uint64_t cursors_made;
};
struct offline_arg {
	struct postgres *pg;
	struct loop *const *lanes;
	unsigned lanes_count;
};

static bool hand_on(struct offline_actor *o, struct msg *m)
{
	for (unsigned i = 0; i < o->lanes_count; i++) {
		if (o->lanes[i].op != 0)
			continue;
		struct loop *loop = o->base.loop;
		rt_send(loop, o->lanes[i].ref, m);
		o->lanes[i].op = rt_ask(&o->base, o->lanes[i].ref, rt_msg_new(loop, PG_DONE),
					clock_mono_ns() + DONE_TIMEOUT_NS, ACTOR_NONE);
		return true;
	}
	return false;
}

static bool is_wanted(const struct msg *m)
{
	return (ref_is_none(m->cancel) || rt_alive(m->cancel)) &&
	       (m->deadline_ns == 0 || m->deadline_ns > clock_mono_ns());
}

/* In order of arrival; those whose askers have given up hold no place. */
static void queue_run(struct offline_actor *o)
{
	size_t kept = 0;
	for (size_t i = 0; i < o->queue_len; i++) {
		struct msg *m = o->queue[i];
		if (!is_wanted(m))
			rt_reply(&o->base, m,
				 failure_of(o->base.loop, m, RT_EDEADLINE, "other statements took until the deadline"));
		else if (!hand_on(o, m))
			o->queue[kept++] = m;
	}
	o->queue_len = kept;
}

static void on_question(struct offline_actor *o, struct msg *m)
{
	if (o->lanes_count == 0) {
		answer(&o->base, &o->sql, m);
		return;
	}
	if (o->queue_len == QUEUE_MAX)
		queue_run(o);
	if (o->queue_len > 0 || !hand_on(o, m)) {
		if (o->queue_len == QUEUE_MAX) {
			rt_reply(&o->base, m,
				 failure_of(o->base.loop, m, RT_EFULL,
					    "too many statements wait already; ask again later"));
			return;
		}
		rt_msg_take(m);
		o->queue[o->queue_len++] = m;
	}
}

/* ---- cursors ---- */
static void cursor_close(struct cursor *c)
{
	pg_sql_finish(&c->sql); /* and with it its transaction */
	c->number = 0;
}

static struct cursor *cursor_new(struct offline_actor *o)
{
	uint64_t now_ns = clock_mono_ns();
	struct cursor *found = NULL;
	for (size_t i = 0; i < CURSORS_MAX && found == NULL; i++) {
		struct cursor *c = &o->cursors[i];
		if (c->number != 0 && now_ns - c->used_ns > CURSOR_IDLE_S * UINT64_C(1000000000))
			cursor_close(c);
		if (c->number == 0)
			found = c;
	}
	if (found == NULL)
		return NULL;
	char name[64];
	snprintf(name, sizeof name, "fabra/%s/rows", o->pg->replica);
	pg_sql_init(&found->sql, o->pg, name);
	found->sql.may_write = true; /* a temporary table */
	found->number = ++o->cursors_made;
	return found;
}

static struct cursor *cursor_find(struct offline_actor *o, uint64_t number)
{
	for (size_t i = 0; i < CURSORS_MAX; i++)
		if (number != 0 && o->cursors[i].number == number)
			return &o->cursors[i];
	return NULL;
}

static bool run(struct cursor *c, const char *sql, uint64_t deadline_ns)
{
	PGresult *r = pg_sql_run(&c->sql, sql, 0, NULL, deadline_ns);
	PQclear(r);
	return r != NULL;
}

static const char look_through_sql[] =
    "SELECT (SELECT k FROM fabra_rows GROUP BY k HAVING count(*) > 1 ORDER BY k LIMIT 1), (SELECT "
    "coalesce(max(octet_length(v)), 0) FROM fabra_rows)";

/* What all of its rows are. false: *ret is a failure. */
static bool cursor_judge(struct cursor *c, const struct offline_rows *m, const PGresult *r, struct offline_batch *ret)
{
	long most = strtol(PQgetvalue(r, 0, 1), NULL, 10);
	if (!PQgetisnull(r, 0, 0)) {
		char text[512];
		struct str key = str_first(str_from(PQgetvalue(r, 0, 0)), 128);
		text_printf(text, sizeof text, OFFLINE_SEVERAL_ROWS, STR_ARG(str_from(m->key_column)), STR_ARG(key));
		batch_fail(ret, RT_EINVAL, text);
		return false;
	}
	if (most > OFFLINE_VALUE_BYTES_MAX) {
		batch_fail(ret, RT_ETOOBIG, "a value is larger than 4 MiB");
		return false;
	}
	long rows = most > 0 ? PG_STATEMENT_BYTES / most : BATCH_ROWS;
	c->batch_rows = (int)(rows < BATCH_ROWS ? rows : BATCH_ROWS);
	return true;
}

/* The statement runs once: its rows are kept, looked through, and then handed out. */
static bool cursor_open(struct cursor *c, const struct offline_rows *m, uint64_t deadline_ns, struct offline_batch *ret)
{
	struct buf sql = { 0 };
	pg_statement_rows(str_from(m->sql), str_from(m->key_column), str_from(m->value_column), &sql);
	PGresult *made = run(c, "BEGIN", deadline_ns) ? run_text(&c->sql, &sql, 0, NULL, deadline_ns) : NULL;
	PGresult *seen = made != NULL ? pg_sql_run(&c->sql, look_through_sql, 0, NULL, deadline_ns) : NULL;
	bool ok = seen != NULL && cursor_judge(c, m, seen, ret);
	if (ok)
		ok = run(c, "DECLARE fabra_cursor NO SCROLL CURSOR FOR SELECT k, v FROM fabra_rows", deadline_ns);
	if (!ok && ret->head.status == RT_OK)
		batch_fail(ret, pg_sql_status(&c->sql), c->sql.trouble.text);
	PQclear(made);
	PQclear(seen);
	buf_finish(&sql);
	return ok;
}

static void cursor_fetch(struct cursor *c, uint64_t deadline_ns, struct offline_batch *ret)
{
	char sql[64];
	snprintf(sql, sizeof sql, "FETCH %d FROM fabra_cursor", c->batch_rows);
	PGresult *r = pg_sql_run(&c->sql, sql, 0, NULL, deadline_ns);
	if (r == NULL) {
		batch_fail(ret, pg_sql_status(&c->sql), c->sql.trouble.text);
		return;
	}
	ret->last = PQntuples(r) < c->batch_rows;
	ret->cursor = ret->last ? 0 : c->number;
	read_rows(r, ret);
	PQclear(r);
}

static void on_rows(struct offline_actor *o, struct msg *m)
{
	const struct offline_rows *ask = (const struct offline_rows *)m;
	struct offline_batch *ret = offline_batch_new(o->base.loop);
	struct cursor *c = ask->cursor == 0 ? cursor_new(o) : cursor_find(o, ask->cursor);
	uint64_t deadline_ns = deadline_of(m);
	if (c == NULL) {
		batch_fail(ret, ask->cursor ? RT_EINVAL : RT_EFULL,
			   ask->cursor ? "the cursor is no more: begin again"
				       : "too many cursors are open; ask again later");
	} else {
		if (ask->cursor != 0 || cursor_open(c, ask, deadline_ns, ret))
			cursor_fetch(c, deadline_ns, ret);
		c->used_ns = clock_mono_ns();
		if (ret->last)
			cursor_close(c);
	}
	rt_reply(&o->base, m, &ret->head);
}

/* ---- the actor ---- */
static int offline_init(struct actor *a, void *arg)
{
	struct offline_actor *o = (struct offline_actor *)a;
	const struct offline_arg *from = arg;
	char name[64];
	o->pg = from->pg;
	snprintf(name, sizeof name, "fabra/%s/sql", o->pg->replica);
	pg_sql_init(&o->sql, o->pg, name);
	for (unsigned i = 0; i < from->lanes_count && i < LANES_MAX; i++) {
		o->lanes[i].ref = rt_spawn(from->lanes[i], &lane_class, o->pg);
		if (ref_is_none(o->lanes[i].ref))
			return RT_EFULL;
		o->lanes_count++;
	}
	return 0;
}

static void offline_on_message(struct actor *a, struct msg *m)
{
	struct offline_actor *o = (struct offline_actor *)a;
	switch (m->kind) {
	case OFFLINE_QUERY:
	case OFFLINE_FEATURE:
		on_question(o, m);
		return;
	case OFFLINE_ROWS:
		on_rows(o, m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	for (unsigned i = 0; i < o->lanes_count; i++)
		if (m->op != 0 && o->lanes[i].op == m->op)
			o->lanes[i].op = 0;
	queue_run(o);
}

static void offline_finish(struct actor *a)
{
	struct offline_actor *o = (struct offline_actor *)a;
	for (size_t i = 0; i < o->queue_len; i++)
		rt_refuse(a, o->queue[i], RT_ESHUTDOWN);
	pg_sql_finish(&o->sql);
	for (size_t i = 0; i < CURSORS_MAX; i++)
		pg_sql_finish(&o->cursors[i].sql);
}

static const struct actor_class offline_class = {
	.name = "pg_offline",
	.size = sizeof(struct offline_actor),
	.mailbox_len_max = 1024,
	.init = offline_init,
	.on_message = offline_on_message,
	.finish = offline_finish,
};

struct actor_ref postgres_spawn_offline(struct postgres *p, struct loop *blocking, struct loop *const *lanes,
					unsigned lanes_count)
{
	struct offline_arg arg = { p, lanes, lanes_count };
	return rt_spawn(blocking, &offline_class, &arg);
}

bool postgres_check_feature(struct postgres *p, struct str sql, struct str key_column, struct str value_column,
			    struct buf *ret_why)
{
	struct pg_sql s;
	unsigned type;
	const struct offline_narrowed what = { .sql = sql, .key_column = key_column, .value_column = value_column };
	pg_sql_init(&s, p, "fabra/check");
	bool ok = read_key_type(&s, &what, clock_mono_ns() + DEADLINE_NS_DEFAULT, &type);
	if (!ok)
		buf_append_str(ret_why, str_from(s.trouble.text));
	pg_sql_finish(&s);
	return ok;
}
