/* evidence.c -- the messages of evidence and what they carry. */
#include "store/evidence.h"
#include "runtime/check.h"
#include <stdlib.h>

MSG_SIZE_CHECK(evidence_append);
MSG_SIZE_CHECK(evidence_find);
MSG_SIZE_CHECK(evidence_found);

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
	free(e);
}

/* ---- appending ---- */

static void dispose_append(struct msg *m)
{
	evidence_entry_free(((struct evidence_append *)m)->entry);
}

static struct evidence_append *append_new(struct loop *loop, uint16_t kind, struct evidence_entry *entry)
{
	struct evidence_append *m = loop != NULL ? rt_msg_new(loop, kind) : loop_msg_new(kind);
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
	struct evidence_find *m = loop != NULL ? rt_msg_new(loop, EVIDENCE_FIND) : loop_msg_new(EVIDENCE_FIND);
	evidence_name_parse(ref, &m->name);
	m->want_view = want_view;
	return m;
}
