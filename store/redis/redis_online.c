/* redis_online.c -- the online store on Redis, of one loop.
 *
 *     GET, PUT, DELETE --one call--> ASKED --REDIS_DONE--> answered
 *                                      |                      ^
 *                                      +--NOSCRIPT: the whole script--> ASKED_AGAIN
 *
 * A row is a hash, and a command is of one row. Reading is an HMGET; writing is the script redis_write.lua, which compares in Redis
 * itself. Its deadline is the asker's. Bounds: the mailbox, and those of the connection. */
#include "runtime/clock.h"
#include "runtime/encode.h"
#include "runtime/metrics.h"
#include "store/redis/redis_private.h"
#include "store/redis/redis_wrap.h"
#include "redis_write_lua.h"
#include <openssl/sha.h>
#include <stdlib.h>

enum { VALUE_BYTES_DEFAULT = 1 << 20, KEY_MAX = 2048 };
static const int64_t TOMBSTONE_KEEP_US = 24 * 3600 * 1000000ll;
static const struct str SCRIPT = { redis_write_lua, sizeof redis_write_lua - 1 };

struct redis_online {
	struct redis_online_config config; /* zeros replaced */
	char script_sum[2 * SHA_DIGEST_LENGTH];
};

struct under_way {
	struct under_way *next;
	uint64_t op;
	struct online_batch *request; /* taken */
	bool is_again;
};
struct online_actor {
	struct actor base;
	struct redis_online *o;
	struct under_way *first, *last; /* by time, so that an answer is found near the front */
};

struct redis_online *redis_online_create(const struct redis_online_config *config)
{
	struct redis_online *o = calloc(1, sizeof *o);
	unsigned char sum[SHA_DIGEST_LENGTH];
	if (o == NULL)
		return NULL;
	o->config = *config;
	if (o->config.value_bytes_max == 0)
		o->config.value_bytes_max = VALUE_BYTES_DEFAULT;
	if (o->config.tombstone_keep_us == 0)
		o->config.tombstone_keep_us = TOMBSTONE_KEEP_US;
	SHA1((const unsigned char *)SCRIPT.p, SCRIPT.n, sum);
	encode_hex(sum, sizeof sum, o->script_sum);
	return o;
}

void redis_online_destroy(struct redis_online *o)
{
	free(o);
}

/* ---- asking ---- */

/* ENTITY:ID. n 0: there is no such kind. */
static struct str key_of(const struct redis_online *o, const struct online_row_batch *r, char out[static KEY_MAX])
{
	struct str kind = o->config.names.kind(o->config.names.arg, r->kind);
	if (kind.p == NULL || kind.n + 1 + r->id.n > KEY_MAX)
		return str_of(out, 0);
	memcpy(out, kind.p, kind.n);
	out[kind.n] = ':';
	if (r->id.n)
		memcpy(out + kind.n + 1, r->id.p, r->id.n);
	return str_of(out, kind.n + 1 + r->id.n);
}

static struct str field_of(const struct redis_online *o, uint32_t feature)
{
	struct str name = o->config.names.feature(o->config.names.arg, feature);
	return name.p ? name : STR("");
}

static bool can_be_kept(const struct redis_online *o, const struct online_change *c)
{
	return field_of(o, c->feature).n && (c->value == NULL || c->value->len <= o->config.value_bytes_max);
}

/* Whether the row is asked for; the others are answered here. */
static bool is_asked(const struct redis_online *o, uint16_t kind, struct online_row_batch *r)
{
	uint32_t kept = 0;
	if (kind == ONLINE_GET && r->id.n > ONLINE_ID_MAX)
		return false;
	if (kind == ONLINE_PUT) {
		for (uint32_t i = 0; i < r->count; i++)
			kept += can_be_kept(o, &r->changes[i]);
		return r->id.n <= ONLINE_ID_MAX && kept;
	}
	return r->id.n <= ONLINE_ID_MAX;
}

static void add_get(const struct redis_online *o, struct redis_call *call, struct str key,
		    const struct online_row_batch *r)
{
	redis_call_begin(call, 3 + r->count);
	redis_call_arg(call, STR("HMGET"));
	redis_call_arg(call, key);
	for (uint32_t i = 0; i < r->count; i++)
		redis_call_arg(call, field_of(o, r->gets[i].feature));
	redis_call_arg(call, STR(REDIS_DELETED_FIELD));
}

static void add_number(struct redis_call *call, int64_t v)
{
	char text[24];
	redis_call_arg(call, str_of(text, text_printf(text, sizeof text, "%lld", (long long)v)));
}

static void add_order(struct redis_call *call, const struct online_meta *when)
{
	char order[REDIS_ORDER_TEXT];
	redis_order_write(when, order);
	redis_call_arg(call, str_of(order, sizeof order));
}

static void add_change(struct redis_call *call, const struct redis_online *o, const struct online_change *c,
		       int64_t now_us, struct buf *scratch)
{
	int64_t expires_us = c->meta.expires_us;
	redis_call_arg(call, field_of(o, c->feature));
	add_order(call, &c->meta);
	buf_clear(scratch);
	if (c->value)
		redis_wrap_write(scratch, value_json(c->value), &c->meta);
	redis_call_arg(call, buf_str(scratch));
	if (expires_us)
		add_number(call, expires_us > now_us ? (expires_us - now_us + 999) / 1000 : 0);
	else
		redis_call_arg(call, STR(""));
	call->commands.failed = call->commands.failed || scratch->failed;
}

static void add_write(const struct redis_online *o, struct redis_call *call, uint16_t kind, struct str key,
		      const struct online_row_batch *r, int64_t now_us, bool is_whole, struct buf *scratch)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; kind == ONLINE_PUT && i < r->count; i++)
		kept += can_be_kept(o, &r->changes[i]);
	bool is_lasting = o->config.names.is_lasting && o->config.names.is_lasting(o->config.names.arg, r->kind);
	redis_call_begin(call, 8 + (kind == ONLINE_PUT ? 4 * kept : 1));
	redis_call_arg(call, is_whole ? STR("EVAL") : STR("EVALSHA"));
	redis_call_arg(call, is_whole ? SCRIPT : str_of(o->script_sum, sizeof o->script_sum));
	redis_call_arg(call, STR("1"));
	redis_call_arg(call, key);
	redis_call_arg(call, kind == ONLINE_PUT ? STR("put") : STR("delete"));
	add_number(call, now_us / 1000);
	add_number(call, o->config.tombstone_keep_us / 1000);
	redis_call_arg(call, is_lasting ? STR("1") : STR("0"));
	if (kind == ONLINE_DELETE)
		add_order(call, &r->when);
	for (uint32_t i = 0; kind == ONLINE_PUT && i < r->count; i++)
		if (can_be_kept(o, &r->changes[i]))
			add_change(call, o, &r->changes[i], now_us, scratch);
}

static struct redis_call *call_of(struct online_actor *s, const struct online_batch *request, bool is_again)
{
	const struct redis_online *o = s->o;
	struct redis_call *call = redis_call_new();
	struct buf scratch = { 0 };
	int64_t now_us = clock_wall_us();
	bool is_whole = is_again; /* of each script it is enough to send the first whole */
	for (uint32_t i = 0; call && i < request->what->count; i++) {
		struct online_row_batch *r = &request->what->rows[i];
		char text[KEY_MAX];
		struct str key = key_of(o, r, text);
		if (!is_asked(o, request->head.kind, r) || key.n == 0)
			continue;
		if (request->head.kind == ONLINE_GET)
			add_get(o, call, key, r);
		else
			add_write(o, call, request->head.kind, key, r, now_us, is_whole, &scratch);
		is_whole = false;
	}
	buf_finish(&scratch);
	if (call && redis_call_seal(call))
		return call;
	redis_call_free(call);
	return NULL;
}

static void answer(struct online_actor *s, struct online_batch *request, int status)
{
	rt_reply(&s->base, &request->head, &online_done_new(s->base.loop, request, status)->head);
}

static void end_of_rows(struct online_actor *s, struct online_batch *request, const struct redis_call *call);

/* Moves u, whose request is sent, or answered. */
static void ask(struct online_actor *s, struct under_way *u)
{
	struct redis_call *call = call_of(s, u->request, u->is_again);
	if (call == NULL || call->count == 0) {
		if (call)
			end_of_rows(s, u->request, call);
		answer(s, u->request, call ? RT_OK : RT_EFULL);
		redis_call_free(call);
		free(u);
		return;
	}
	u->op = rt_ask(&s->base, redis_of(s->o->config.redis, s->base.loop),
		       &redis_call_msg_new(s->base.loop, REDIS_CALL, call)->head, u->request->head.deadline_ns,
		       ACTOR_NONE);
	u->next = NULL;
	if (s->last)
		s->last->next = u;
	else
		s->first = u;
	s->last = u;
}

/* ---- answers to GET ---- */

static int in_time(const struct online_meta *a, const struct online_meta *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us < b->event_time_us ? -1 : 1;
	return (a->event_time_ns > b->event_time_ns) - (a->event_time_ns < b->event_time_ns);
}

struct deletes { /* what of the field of tombstones concerns a cell */
	struct redis_tombstone row, cell;
	bool has_row, has_cell;
};

static struct deletes deletes_of(struct str text, struct str feature)
{
	struct deletes d = { 0 };
	struct redis_tombstone t;
	while (redis_tombstone_next(&text, &t)) {
		if (t.feature.n == 0) {
			d.row = t;
			d.has_row = true;
		} else if (str_eq(t.feature, feature)) {
			d.cell = t;
			d.has_cell = true;
		}
	}
	return d;
}

/* The script leaves none of ours that is deleted. Another program does not look: what it wrote came after the delete, but may be
 * of a time before it. */
static bool is_hidden(const struct deletes *d, const struct online_meta *m)
{
	if ((m->flags & (ONLINE_FOREIGN | ONLINE_AGE_UNKNOWN)) != ONLINE_FOREIGN)
		return false;
	return (d->has_row && in_time(&d->row.when, m) > 0) || (d->has_cell && in_time(&d->cell.when, m) > 0);
}

static void note_position(struct online_trace *t, const struct online_meta *m)
{
	if (m->lsn > t->lsn || (m->lsn == t->lsn && m->lsn_low > t->lsn_low)) {
		t->lsn = m->lsn;
		t->lsn_low = m->lsn_low;
	}
}

/* false: there is a value, but it cannot be read. */
static bool read_cell(const struct redis_online *o, struct online_get *g, const struct redis_reply *found,
		      struct str deleted, int64_t now_us)
{
	struct online_trace *t = &g->trace;
	struct deletes d = deletes_of(deleted, field_of(o, g->feature));
	struct online_cell cell = { 0 };
	*t = (struct online_trace){ .event_time_us = INT64_MIN, .cell_time_us = INT64_MIN };
	if (found->type == REDIS_TEXT) {
		enum redis_wrapped how = redis_wrap_read(found->text, now_us, &cell);
		if (how != REDIS_WRAP_OURS && how != REDIS_WRAP_FOREIGN)
			return false;
	} else if (found->type != REDIS_NIL) {
		return false;
	}
	if (cell.value && is_hidden(&d, &cell.meta)) {
		value_unref(cell.value);
		cell.value = NULL;
	}
	if (cell.value) {
		t->is_known = true;
		t->is_expired = cell.meta.expires_us && cell.meta.expires_us <= now_us;
		t->is_live = !t->is_expired;
		if (!(cell.meta.flags & ONLINE_AGE_UNKNOWN)) {
			t->event_time_us = t->cell_time_us = cell.meta.event_time_us;
			t->cell_time_ns = cell.meta.event_time_ns;
		}
		note_position(t, &cell.meta);
		if (t->is_live)
			g->cell = cell;
		else
			value_unref(cell.value);
	} else if (d.has_cell) {
		t->is_known = true;
		t->event_time_us = t->cell_time_us = d.cell.when.event_time_us;
		t->cell_time_ns = d.cell.when.event_time_ns;
		note_position(t, &d.cell.when);
	}
	if (d.has_row) {
		t->is_known = true;
		if (d.row.when.event_time_us > t->event_time_us)
			t->event_time_us = d.row.when.event_time_us;
		note_position(t, &d.row.when);
	}
	t->may_be_lost = !t->is_live && !t->is_expired; /* it may have been evicted, or restarted empty */
	return true;
}

static void forget_row(struct online_row_batch *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		value_unref(r->gets[i].cell.value);
		r->gets[i] = (struct online_get){ .feature = r->gets[i].feature };
	}
}

static enum redis_trouble read_row(const struct redis_online *o, struct online_row_batch *r,
				   const struct redis_reply *reply)
{
	int64_t now_us = clock_wall_us();
	if (reply->type != REDIS_ARRAY || reply->count != r->count + 1)
		return REDIS_OTHER;
	const struct redis_reply *last = &reply->items[r->count];
	struct str deleted = last->type == REDIS_TEXT ? last->text : STR("");
	for (uint32_t i = 0; i < r->count; i++)
		if (!read_cell(o, &r->gets[i], &reply->items[i], deleted, now_us)) {
			forget_row(r);
			return REDIS_UNREADABLE;
		}
	r->result = ONLINE_APPLIED;
	return REDIS_NO_TROUBLE;
}

/* ---- answers to PUT and DELETE ---- */

static enum online_result result_of(char letter)
{
	return letter == 'a' ? ONLINE_APPLIED : letter == 's' ? ONLINE_STALE : ONLINE_FAILED;
}

static enum redis_trouble written_row(const struct redis_online *o, uint16_t kind, struct online_row_batch *r,
				      const struct redis_reply *reply)
{
	if (reply->type != REDIS_TEXT)
		return REDIS_OTHER;
	size_t at = 0;
	if (kind == ONLINE_DELETE)
		r->result = reply->text.n == 1 ? result_of(reply->text.p[0]) : ONLINE_FAILED;
	else
		r->result = ONLINE_APPLIED;
	for (uint32_t i = 0; kind == ONLINE_PUT && i < r->count; i++)
		if (can_be_kept(o, &r->changes[i]))
			r->changes[i].result = at < reply->text.n ? result_of(reply->text.p[at++]) : ONLINE_FAILED;
	return REDIS_NO_TROUBLE;
}

/* What needs no Redis to be answered: it is not there, or has no room. */
static void answer_row_here(const struct redis_online *o, uint16_t kind, struct online_row_batch *r)
{
	bool is_too_long = r->id.n > ONLINE_ID_MAX;
	for (uint32_t i = 0; kind == ONLINE_PUT && i < r->count; i++)
		if (is_too_long || !can_be_kept(o, &r->changes[i]))
			r->changes[i].result = field_of(o, r->changes[i].feature).n ? ONLINE_FULL : ONLINE_FAILED;
	if (kind == ONLINE_GET && is_too_long) {
		for (uint32_t i = 0; i < r->count; i++)
			r->gets[i].trace = (struct online_trace){ .event_time_us = INT64_MIN,
								  .cell_time_us = INT64_MIN };
		r->result = ONLINE_APPLIED;
	}
	if (kind == ONLINE_DELETE && is_too_long)
		r->result = ONLINE_FULL;
}

/* The rows' answers, from the replies in their order. */
static void end_of_rows(struct online_actor *s, struct online_batch *request, const struct redis_call *call)
{
	const struct redis_online *o = s->o;
	struct str detail = STR("");
	enum redis_trouble trouble = REDIS_NO_TROUBLE;
	uint16_t kind = request->head.kind;
	uint32_t at = 0;
	for (uint32_t i = 0; i < request->what->count; i++) {
		struct online_row_batch *r = &request->what->rows[i];
		char text[KEY_MAX];
		answer_row_here(o, kind, r);
		if (!is_asked(o, kind, r) || key_of(o, r, text).n == 0)
			continue;
		const struct redis_reply *reply = &call->replies[at++];
		enum redis_trouble t = reply->type == REDIS_ERROR ? redis_trouble_of(reply->text)
				       : kind == ONLINE_GET       ? read_row(o, r, reply)
								  : written_row(o, kind, r, reply);
		if (t == REDIS_NO_TROUBLE)
			continue;
		if (redis_trouble_is_of_key(t)) {
			redis_note_key(o->config.redis, s->base.loop, t, key_of(o, r, text));
			continue;
		}
		trouble = t;
		detail = reply->type == REDIS_ERROR ? reply->text : key_of(o, r, text);
		detail.n = detail.n < 200 ? detail.n : 200;
		detail = arena_dup(&request->what->texts, detail);
	}
	if (at)
		redis_note_trouble(o->config.redis, s->base.loop, trouble, detail.p ? detail : STR(""));
}

static bool lacks_script(const struct redis_call *call)
{
	for (uint32_t i = 0; i < call->count; i++)
		if (call->replies[i].type == REDIS_ERROR && redis_trouble_of(call->replies[i].text) == REDIS_NO_SCRIPT)
			return true;
	return false;
}

static void on_done(struct online_actor *s, struct under_way *u, const struct msg *m)
{
	int status = m->kind == REDIS_DONE                         ? m->status
		     : m->kind == RT_DOWN && m->status == RT_EFULL ? RT_EFULL
								   : RT_EIO;
	const struct redis_call *call = m->kind == REDIS_DONE ? ((const struct redis_call_msg *)m)->call : NULL;
	if (status == RT_OK && !u->is_again && u->request->head.kind != ONLINE_GET && lacks_script(call)) {
		u->is_again = true; /* what was done is done once more, which changes nothing */
		ask(s, u);
		return;
	}
	if (status == RT_OK)
		end_of_rows(s, u->request, call);
	answer(s, u->request, status);
	free(u);
}

/* ---- the actor ---- */

static struct under_way *take(struct online_actor *s, uint64_t op)
{
	struct under_way *before = NULL, *u = s->first;
	while (u && u->op != op) {
		before = u;
		u = u->next;
	}
	if (u == NULL)
		return NULL;
	if (before)
		before->next = u->next;
	else
		s->first = u->next;
	if (s->last == u)
		s->last = before;
	return u;
}

static void on_request(struct online_actor *s, struct msg *m)
{
	struct under_way *u = m->op ? calloc(1, sizeof *u) : NULL;
	if (u == NULL) {
		rt_refuse(&s->base, m, RT_EFULL);
		return;
	}
	rt_msg_take(m);
	u->request = (struct online_batch *)m;
	ask(s, u);
}

static void online_on_message(struct actor *a, struct msg *m)
{
	struct online_actor *s = (struct online_actor *)a;
	switch (m->kind) {
	case ONLINE_GET:
	case ONLINE_PUT:
	case ONLINE_DELETE:
		on_request(s, m);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default: {
		struct under_way *u = take(s, m->op);
		if (u)
			on_done(s, u, m);
		return;
	}
	}
}

static int online_init(struct actor *a, void *arg)
{
	((struct online_actor *)a)->o = arg;
	return 0;
}

static void online_finish(struct actor *a)
{
	struct online_actor *s = (struct online_actor *)a;
	for (struct under_way *u = s->first, *next; u; u = next) {
		next = u->next;
		rt_msg_free(a->loop, &u->request->head);
		free(u);
	}
}

static const struct actor_class online_class = {
	.name = "redis_online",
	.size = sizeof(struct online_actor),
	.mailbox_len_max = 8192,
	.init = online_init,
	.on_message = online_on_message,
	.finish = online_finish,
};

bool redis_online_spawn(struct redis_online *o, struct loop *loop, struct online_store *store)
{
	struct actor_ref ref = rt_spawn(loop, &online_class, o);
	store->per_loop[loop_id(loop) - 1] = ref;
	return !ref_is_none(ref);
}
