/* evidence.c -- the messages of evidence and what they carry. */
#include "store/evidence/evidence.h"
#include "runtime/check.h"
#include <stdlib.h>

MSG_SIZE_CHECK(evidence_append);
MSG_SIZE_CHECK(evidence_find);
MSG_SIZE_CHECK(evidence_found);
MSG_SIZE_CHECK(evidence_list);
MSG_SIZE_CHECK(evidence_legacy);
MSG_SIZE_CHECK(evidence_answer);

static void *msg_new(struct loop *loop, uint16_t kind)
{
	return loop != NULL ? rt_msg_new(loop, kind) : loop_msg_new(kind);
}

/* ---- entries ---- */

struct evidence_entry *evidence_entry_new(enum evidence_kind kind)
{
	struct evidence_entry *e = calloc(1, sizeof *e);
	CHECK(e != NULL);
	e->kind = kind;
	return e;
}

void evidence_entry_free(struct evidence_entry *e)
{
	if (e == NULL)
		return;
	buf_finish(&e->body);
	buf_finish(&e->extras);
	if (e->hook)
		e->hook->destroy(e->hook);
	free(e);
}

/* ---- appending ---- */

static void dispose_append(struct msg *m)
{
	evidence_entry_free(((struct evidence_append *)m)->entry);
}

static struct evidence_append *append_new(struct loop *loop, uint16_t kind, struct evidence_entry *entry)
{
	struct evidence_append *m = msg_new(loop, kind);
	m->head.dispose = dispose_append;
	m->entry = entry;
	return m;
}

struct evidence_append *evidence_append_new(struct loop *loop, struct evidence_entry *entry)
{
	return append_new(loop, EVIDENCE_APPEND, entry);
}

struct evidence_append *evidence_appended_new(struct loop *loop, struct evidence_entry *entry, int status)
{
	struct evidence_append *m = append_new(loop, EVIDENCE_APPENDED, entry);
	m->head.status = status;
	return m;
}

/* ---- finding ---- */

bool evidence_name_parse(struct str ref, struct evidence_name *ret)
{
	*ret = (struct evidence_name){ .by_hash = false };
	if (record_digest_parse(ref, STR("sha256:"), ret->hash)) {
		ret->by_hash = true;
		return true;
	}
	memset(ret->hash, 0, sizeof ret->hash);
	if (ref.n == 0 || ref.n > sizeof ret->id)
		return false;
	memcpy(ret->id, ref.p, ref.n);
	ret->id_n = (uint8_t)ref.n;
	return true;
}

bool evidence_name_matches(const struct evidence_name *name, struct str id, const uint8_t hash[static 32])
{
	return name->by_hash ? memcmp(name->hash, hash, 32) == 0 : record_ids_match(str_of(name->id, name->id_n), id);
}

void evidence_record_free(struct evidence_record *r)
{
	if (r == NULL)
		return;
	buf_finish(&r->canonical);
	buf_finish(&r->extras);
	free(r);
}

static void dispose_found(struct msg *m)
{
	evidence_record_free(((struct evidence_found *)m)->record);
	free(((struct evidence_found *)m)->reason);
}

struct evidence_found *evidence_found_new(struct loop *loop, struct evidence_record *record, int status)
{
	struct evidence_found *m = rt_msg_new(loop, EVIDENCE_FOUND);
	m->head.dispose = dispose_found;
	m->head.status = status;
	m->record = record;
	return m;
}

struct evidence_find *evidence_find_new(struct loop *loop, struct str ref, bool want_view)
{
	struct evidence_find *m = msg_new(loop, EVIDENCE_FIND);
	evidence_name_parse(ref, &m->name);
	m->want_view = want_view;
	return m;
}

/* ---- lists ---- */

static void dispose_list(struct msg *m)
{
	struct evidence_list *c = (struct evidence_list *)m;
	free(c->name);
	free(c->freshness_status);
	free(c->id_prefix);
	free(c->input);
	free(c->input_value);
}

struct evidence_list *evidence_list_new(struct loop *loop)
{
	struct evidence_list *c = msg_new(loop, EVIDENCE_LIST);
	c->head.dispose = dispose_list;
	c->start_us = INT64_MIN;
	c->end_us = INT64_MAX;
	c->limit = 100;
	return c;
}

/* ---- what others wrote ---- */

static void dispose_legacy(struct msg *m)
{
	free(((struct evidence_legacy *)m)->ref);
}

struct evidence_legacy *evidence_legacy_new(struct loop *loop, struct str ref, enum evidence_legacy_view view)
{
	struct evidence_legacy *f = msg_new(loop, EVIDENCE_LEGACY);
	f->head.dispose = dispose_legacy;
	f->ref = calloc(1, ref.n + 1);
	CHECK(f->ref != NULL);
	if (ref.n > 0)
		memcpy(f->ref, ref.p, ref.n);
	f->view = view;
	return f;
}

/* ---- answers ---- */

static void dispose_answer(struct msg *m)
{
	buf_finish(&((struct evidence_answer *)m)->json);
}

struct evidence_answer *evidence_answer_new(struct loop *loop)
{
	struct evidence_answer *m = rt_msg_new(loop, EVIDENCE_ANSWER);
	m->head.dispose = dispose_answer;
	return m;
}

void evidence_answer_fail(struct evidence_answer *m, int status, struct str text)
{
	buf_clear(&m->json);
	buf_append_str(&m->json, text);
	m->rows = 0;
	m->head.status = status;
}
