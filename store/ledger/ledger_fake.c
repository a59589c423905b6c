/* ledger_fake.c -- one state: appends gather in a queue, and a timer commits what has gathered. */
#include "store/ledger/ledger_fake.h"
#include "runtime/check.h"
#include "runtime/sim.h"
#include "store/evidence/entries.h"
#include "store/record/record_chain.h"
#include <stdio.h>
#include <stdlib.h>

struct ledger_fake {
	struct ledger_fake_config config;
	struct durable {
		struct evidence_entry *entry; /* owned */
		int64_t written_us;
		bool was_answered;
	} * entries; /* owned */
	size_t count, cap;
	struct record_chain chain;
	struct log_source source;
	uint64_t applied_lsn; /* as its reader said */
};

struct requests {       /* taken */
	struct msg **p; /* owned */
	size_t count, cap;
};

struct fake {
	struct actor base;
	struct ledger_fake *l;
	struct requests waiting, unheard; /* unheard: their answers are lost */
	bool timer_set;
};

/* ---- what is durable ---- */

static struct str id_of(const struct evidence_entry *e)
{
	return str_of(e->context_id, strnlen(e->context_id, sizeof e->context_id));
}

static struct record_draft draft_of(const struct evidence_entry *e)
{
	return (
	    struct record_draft){ .context_id = id_of(e), .text = buf_str(&e->body), .previous_at = e->previous_at };
}

/* A copy of e as it is on disk; a record also becomes the next of the chain. Moves nothing. */
static struct evidence_entry *durable_copy(struct ledger_fake *l, struct evidence_entry *e, int64_t now_us)
{
	struct evidence_entry *copy = evidence_entry_new(e->kind);
	CHECK(copy != NULL);
	struct buf body = copy->body, extras = copy->extras;
	*copy = *e;
	copy->hook = NULL;
	copy->body = body;
	copy->extras = extras;
	buf_append_str(&copy->extras, buf_str(&e->extras));
	if (e->kind != EVIDENCE_RECORD) {
		buf_append_str(&copy->body, buf_str(&e->body));
		return copy;
	}
	struct record_draft draft = draft_of(e);
	memcpy(e->previous_context_id, l->chain.last_context_id, sizeof e->previous_context_id);
	memcpy(copy->previous_context_id, e->previous_context_id, sizeof copy->previous_context_id);
	size_t n = record_chain_bytes(&l->chain, &draft);
	CHECK(buf_reserve(&copy->body, n) && !copy->extras.failed);
	copy->body.n = n;
	record_chain_add(&l->chain, &draft, l->config.signer, now_us, (uint8_t *)copy->body.p, &copy->stamp);
	e->stamp = copy->stamp;
	return copy;
}

static void make_durable(struct ledger_fake *l, struct evidence_entry *e, int64_t now_us, bool will_answer)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->entries = realloc(l->entries, l->cap * sizeof *l->entries);
		CHECK(l->entries != NULL);
	}
	e->lsn = l->count + 1;
	l->entries[l->count++] = (struct durable){ durable_copy(l, e, now_us), now_us, will_answer };
}

static void make_source(struct ledger_fake *l);

struct ledger_fake *ledger_fake_create(const struct ledger_fake_config *config)
{
	struct ledger_fake *l = calloc(1, sizeof *l);
	CHECK(l != NULL);
	l->config = *config;
	make_source(l);
	return l;
}

void ledger_fake_destroy(struct ledger_fake *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->count; i++)
		evidence_entry_free(l->entries[i].entry);
	free(l->entries);
	free(l);
}

void ledger_fake_set(struct ledger_fake *l, const struct ledger_fake_config *config)
{
	l->config = *config;
}

size_t ledger_fake_count(const struct ledger_fake *l)
{
	return l->count;
}

const struct evidence_entry *ledger_fake_at(const struct ledger_fake *l, size_t index)
{
	CHECK(index < l->count);
	return l->entries[index].entry;
}

bool ledger_fake_was_answered(const struct ledger_fake *l, size_t index)
{
	CHECK(index < l->count);
	return l->entries[index].was_answered;
}

const struct evidence_entry *ledger_fake_record(const struct ledger_fake *l, struct str context_id)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct evidence_entry *e = l->entries[i].entry;
		if (e->kind == EVIDENCE_RECORD && str_eq(str_of(e->context_id, sizeof e->context_id), context_id))
			return e;
	}
	return NULL;
}

static const struct evidence_entry *find(const struct ledger_fake *l, const struct evidence_name *name)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct evidence_entry *e = l->entries[i].entry;
		uint8_t hash[32];
		if ((e->kind == EVIDENCE_RECORD || e->kind == EVIDENCE_RECORD_IMPORTED) &&
		    record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), hash) &&
		    evidence_name_matches(name, id_of(e), hash))
			return e;
	}
	return NULL;
}

void ledger_fake_pending_events(const struct ledger_fake *l, void *arg,
				void (*each)(void *arg, const struct evidence_entry *e))
{
	bool *is_applied = calloc(l->count + 1, sizeof *is_applied);
	CHECK(is_applied != NULL);
	for (size_t i = 0; i < l->count; i++) {
		uint64_t lsn;
		if (l->entries[i].entry->kind == EVIDENCE_EVENT_APPLIED) {
			CHECK(entry_values_event_lsn(buf_str(&l->entries[i].entry->body), &lsn) && lsn >= 1 &&
			      lsn <= i);
			is_applied[lsn - 1] = true;
		}
	}
	for (size_t i = 0; i < l->count; i++)
		if (l->entries[i].entry->kind == EVIDENCE_EVENT && !is_applied[i])
			each(arg, l->entries[i].entry);
	free(is_applied);
}

/* ---- reading in order ---- */
struct fake_scan {
	struct log_scan base;
	const struct ledger_fake *l;
	size_t next;                     /* index of the entry that comes */
	uint8_t chain[LOG_SOURCE_CHAIN]; /* of those before it */
};

static struct str entry_context_id(const struct evidence_entry *e)
{
	bool is_record = e->kind == EVIDENCE_RECORD || e->kind == EVIDENCE_RECORD_IMPORTED;
	return is_record ? id_of(e) : (struct str){ 0 };
}

static struct log_source_entry as_read(const struct durable *d, const uint8_t *chain)
{
	const struct evidence_entry *e = d->entry;
	return (struct log_source_entry){ .kind = e->kind,
					  .lsn = e->lsn,
					  .written_us = d->written_us,
					  .body = buf_str(&e->body),
					  .extras = buf_str(&e->extras),
					  .context_id = entry_context_id(e),
					  .chain = chain,
					  .stamp = e->stamp,
					  .path = "(memory)" };
}

/* Not the ledger's hash, but like it one of everything up to here. */
static void hash_on(uint8_t chain[static LOG_SOURCE_CHAIN], const struct evidence_entry *e)
{
	struct buf text = { 0 };
	char hash[RECORD_HASH_TEXT];
	buf_append(&text, chain, LOG_SOURCE_CHAIN);
	buf_append_char(&text, (char)e->kind);
	buf_append_str(&text, buf_str(&e->body));
	record_hash_text(buf_str(&text), hash);
	CHECK(record_digest_parse(str_of(hash, sizeof hash), STR("sha256:"), chain));
	buf_finish(&text);
}

static enum log_source_result scan_next(struct log_scan *base, struct log_source_entry *ret)
{
	struct fake_scan *s = (struct fake_scan *)base;
	if (s->next >= s->l->count)
		return LOG_SOURCE_END;
	const struct durable *d = &s->l->entries[s->next++];
	hash_on(s->chain, d->entry);
	*ret = as_read(d, s->chain);
	return LOG_SOURCE_ENTRY;
}

static void scan_close(struct log_scan *base)
{
	free(base);
}

static struct log_scan *source_open(void *log, uint64_t from_lsn, struct buf *ret_why)
{
	struct fake_scan *s = calloc(1, sizeof *s);
	struct log_source_entry passed;
	(void)ret_why;
	CHECK(s != NULL);
	*s = (struct fake_scan){ .base = { scan_next, scan_close }, .l = log };
	while (s->next + 1 < from_lsn && scan_next(&s->base, &passed) == LOG_SOURCE_ENTRY)
		continue;
	return &s->base;
}

static uint64_t source_durable_lsn(const void *log)
{
	return ((const struct ledger_fake *)log)->count;
}

static void source_applied(void *log, uint64_t lsn)
{
	((struct ledger_fake *)log)->applied_lsn = lsn;
}

static uint64_t source_lsn_at(void *log, int64_t us)
{
	const struct ledger_fake *l = log;
	size_t i = 0;
	while (i < l->count && l->entries[i].written_us < us)
		i++;
	return i + 1;
}

struct pending_call {
	const struct ledger_fake *l;
	void *arg;
	void (*each)(void *arg, const struct log_source_entry *entry);
};

static void call_pending(void *arg, const struct evidence_entry *e)
{
	static const uint8_t no_chain[LOG_SOURCE_CHAIN];
	struct pending_call *c = arg;
	struct log_source_entry entry = as_read(&c->l->entries[e->lsn - 1], no_chain);
	c->each(c->arg, &entry);
}

static bool source_pending_events(void *log, void *arg, void (*each)(void *arg, const struct log_source_entry *entry),
				  struct buf *ret_why)
{
	struct pending_call c = { log, arg, each };
	(void)ret_why;
	ledger_fake_pending_events(log, &c, call_pending);
	return true;
}

static void source_id_text(const void *log, char ret[static LOG_SOURCE_ID_TEXT])
{
	(void)log;
	memcpy(ret, "00000000000000000000000000fa4efa", LOG_SOURCE_ID_TEXT);
}

static void make_source(struct ledger_fake *l)
{
	l->source = (struct log_source){ .log = l,
					 .open = source_open,
					 .durable_lsn = source_durable_lsn,
					 .applied = source_applied,
					 .lsn_at = source_lsn_at,
					 .pending_events = source_pending_events,
					 .id_text = source_id_text };
}

const struct log_source *ledger_fake_log_source(const struct ledger_fake *l)
{
	return &l->source;
}

/* ---- the actor ---- */

static void reply(struct fake *f, struct msg *request, int status)
{
	struct evidence_entry *e = ((struct evidence_append *)request)->entry;
	((struct evidence_append *)request)->entry = NULL;
	rt_reply(&f->base, request, &evidence_appended_new(f->base.loop, e, status)->head);
}

/* RT_OK: new. */
static int check_import(const struct ledger_fake *l, struct evidence_entry *e)
{
	struct evidence_name name;
	evidence_name_parse(id_of(e), &name);
	const struct evidence_entry *there = find(l, &name);
	if (there == NULL)
		return RT_OK;
	e->lsn = there->lsn;
	e->already_there = memcmp(there->stamp.record_hash, e->stamp.record_hash, RECORD_HASH_TEXT) == 0;
	snprintf(e->reason, sizeof e->reason, "%s",
		 e->already_there ? "" : "a record with this id and another hash is there already");
	return RT_EEXIST;
}

static void end_hook(const struct fake *f, const struct evidence_entry *e, int status)
{
	if (e->hook)
		e->hook->ended(e->hook, e, status, loop_wall_us(f->base.loop));
}

static void refuse_entry(struct fake *f, struct msg *m, int status, const char *reason)
{
	struct evidence_entry *e = ((struct evidence_append *)m)->entry;
	snprintf(e->reason, sizeof e->reason, "%s", reason);
	end_hook(f, e, status);
	reply(f, m, status);
}

/* As the ledger: what nobody could read again is refused. */
static int check_entry(struct evidence_entry *e)
{
	uint8_t hash[32];
	struct record_draft draft = draft_of(e);
	bool is_record = e->kind == EVIDENCE_RECORD || e->kind == EVIDENCE_RECORD_IMPORTED;
	const char *why = NULL;
	if (e->body.failed || e->extras.failed)
		why = "the entry could not be encoded: it is too big";
	else if (is_record && e->context_id[0] == '\0')
		why = "the record has no context id";
	else if (e->kind == EVIDENCE_RECORD && !record_draft_is_sound(&draft))
		why = "the record has no place for its predecessor";
	else if (e->kind == EVIDENCE_RECORD_IMPORTED &&
		 !record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), hash))
		why = "the imported record has no record hash";
	if (why == NULL)
		return RT_OK;
	snprintf(e->reason, sizeof e->reason, "%s", why);
	return e->body.failed || e->extras.failed ? RT_ETOOBIG : RT_EINVAL;
}

static void keep(struct requests *r, struct msg *m)
{
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->p = realloc(r->p, r->cap * sizeof *r->p);
		CHECK(r->p != NULL);
	}
	r->p[r->count++] = m;
}

static void commit_one(struct fake *f, struct msg *m)
{
	const struct ledger_fake_config none = { 0 };
	struct evidence_entry *e = ((struct evidence_append *)m)->entry;
	const struct ledger_fake_config *config = e->kind == EVIDENCE_VALUES && f->l->config.values_are_safe
						      ? &none
						      : &f->l->config;
	if (e->hook && !e->hook->admit(e->hook, e)) {
		reply(f, m, RT_ECONFLICT);
		return;
	}
	if (sim_fault(f->base.loop, "ledger.refuse", config->refuse_permille)) {
		refuse_entry(f, m, RT_EIO, "the disk failed");
		return;
	}
	if (sim_fault(f->base.loop, "ledger.full", config->full_permille)) {
		refuse_entry(f, m, RT_EFULL, "the disk is full");
		return;
	}
	int status = check_entry(e);
	if (status == RT_OK && e->kind == EVIDENCE_RECORD_IMPORTED)
		status = check_import(f->l, e);
	if (status != RT_OK) {
		end_hook(f, e, status);
		reply(f, m, e->already_there ? RT_OK : status);
		return;
	}
	if (sim_fault(f->base.loop, "ledger.lose_entry", config->lose_entry_permille)) {
		end_hook(f, e, RT_EIO);
		keep(&f->unheard, m);
		return;
	}
	bool is_lost = sim_fault(f->base.loop, "ledger.lose_answer", config->lose_answer_permille);
	make_durable(f->l, e, loop_wall_us(f->base.loop), !is_lost);
	end_hook(f, e, RT_OK);
	if (is_lost)
		keep(&f->unheard, m);
	else
		reply(f, m, RT_OK);
}

static void commit(struct fake *f)
{
	f->timer_set = false;
	for (size_t i = 0; i < f->waiting.count; i++)
		commit_one(f, f->waiting.p[i]);
	f->waiting.count = 0;
}

static void on_append(struct fake *f, struct msg *m)
{
	if (((struct evidence_append *)m)->entry == NULL) {
		rt_refuse(&f->base, m, RT_EINVAL);
		return;
	}
	rt_msg_take(m);
	keep(&f->waiting, m);
	if (f->timer_set)
		return;
	uint64_t delay_ms = loop_random(f->base.loop) % (f->l->config.delay_ms_max + 1ull);
	f->timer_set = delay_ms > 0 && rt_timer_start(&f->base, delay_ms, 1) != 0;
	if (!f->timer_set)
		commit(f);
}

static void fake_on_message(struct actor *a, struct msg *m)
{
	struct fake *f = (struct fake *)a;
	switch (m->kind) {
	case EVIDENCE_APPEND:
		on_append(f, m);
		return;
	case RT_TIMER:
		commit(f);
		return;
	case RT_STOP:
		commit(f);
		rt_stop(a);
		return;
	default:
		return;
	}
}

static int fake_init(struct actor *a, void *arg)
{
	((struct fake *)a)->l = arg;
	return 0;
}

static void free_requests(struct actor *a, struct requests *r)
{
	for (size_t i = 0; i < r->count; i++)
		rt_msg_free(a->loop, r->p[i]);
	free(r->p);
}

static void fake_finish(struct actor *a)
{
	struct fake *f = (struct fake *)a;
	free_requests(a, &f->waiting);
	free_requests(a, &f->unheard);
}

static const struct actor_class fake_class = {
	.name = "ledger_fake",
	.size = sizeof(struct fake),
	.mailbox_len_max = 16384,
	.init = fake_init,
	.on_message = fake_on_message,
	.finish = fake_finish,
};

struct actor_ref ledger_fake_spawn(struct ledger_fake *l, struct loop *loop)
{
	return rt_spawn(loop, &fake_class, l);
}

/* ---- the reader ---- */
struct fake_reader {
	struct actor base;
	struct ledger_fake *l;
};

static int reader_init(struct actor *a, void *arg)
{
	((struct fake_reader *)a)->l = arg;
	return 0;
}

static struct evidence_record *record_of(const struct evidence_entry *e, bool want_view)
{
	struct evidence_record *r = calloc(1, sizeof *r);
	CHECK(r != NULL);
	buf_append_str(&r->canonical, buf_str(&e->body));
	if (want_view)
		buf_append_str(&r->extras, buf_str(&e->extras));
	r->stamp = e->stamp;
	r->imported = e->kind == EVIDENCE_RECORD_IMPORTED;
	r->lsn = e->lsn;
	return r;
}

static void reader_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	if (m->kind != EVIDENCE_FIND)
		return;
	const struct evidence_find *wanted = (const struct evidence_find *)m;
	const struct evidence_entry *e = find(((struct fake_reader *)a)->l, &wanted->name);
	struct evidence_record *r = e ? record_of(e, wanted->want_view) : NULL;
	rt_reply(a, m, &evidence_found_new(a->loop, r, e ? RT_OK : RT_ENOTFOUND)->head);
}

static const struct actor_class reader_class = {
	.name = "ledger_fake_reader",
	.size = sizeof(struct fake_reader),
	.mailbox_len_max = 4096,
	.init = reader_init,
	.on_message = reader_on_message,
};

struct actor_ref ledger_fake_spawn_reader(struct ledger_fake *l, struct loop *loop)
{
	return rt_spawn(loop, &reader_class, l);
}
