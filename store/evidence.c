/* evidence.c -- the messages of evidence and what they carry. */
#include "store/evidence.h"
#include "runtime/check.h"
#include <stdlib.h>

MSG_SIZE_CHECK(ledger_append);
MSG_SIZE_CHECK(ledger_find);
MSG_SIZE_CHECK(ledger_found);

/* ---- entries ---- */

struct ledger_entry *ledger_entry_new(enum ledger_kind kind)
{
	struct ledger_entry *e = calloc(1, sizeof *e);
	CHECK(e != NULL);
	e->kind = kind;
	return e;
}

void ledger_entry_free(struct ledger_entry *e)
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
	ledger_entry_free(((struct ledger_append *)m)->entry);
}

static struct ledger_append *append_new(struct loop *loop, uint16_t kind, struct ledger_entry *entry)
{
	struct ledger_append *m = loop != NULL ? rt_msg_new(loop, kind) : loop_msg_new(kind);
	m->head.dispose = dispose_append;
	m->entry = entry;
	return m;
}

struct ledger_append *ledger_append_new(struct loop *loop, struct ledger_entry *entry)
{
	return append_new(loop, LEDGER_APPEND, entry);
}

struct ledger_append *ledger_appended_new(struct loop *loop, struct ledger_entry *entry, int status)
{
	struct ledger_append *m = append_new(loop, LEDGER_APPENDED, entry);
	m->head.status = status;
	return m;
}

/* ---- finding ---- */

bool ledger_name_parse(struct str ref, struct ledger_name *ret)
{
	*ret = (struct ledger_name){ .by_hash = false };
	if (ledger_digest_parse(ref, STR("sha256:"), ret->hash)) {
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

void ledger_record_free(struct ledger_record *r)
{
	if (r == NULL)
		return;
	buf_finish(&r->canonical);
	buf_finish(&r->extras);
	free(r);
}

static void dispose_found(struct msg *m)
{
	ledger_record_free(((struct ledger_found *)m)->record);
	free(((struct ledger_found *)m)->reason);
}

struct ledger_found *ledger_found_new(struct loop *loop, struct ledger_record *record, int status)
{
	struct ledger_found *m = rt_msg_new(loop, LEDGER_FOUND);
	m->head.dispose = dispose_found;
	m->head.status = status;
	m->record = record;
	return m;
}

struct ledger_find *ledger_find_new(struct loop *loop, struct str ref, bool want_view)
{
	struct ledger_find *m = loop != NULL ? rt_msg_new(loop, LEDGER_FIND) : loop_msg_new(LEDGER_FIND);
	ledger_name_parse(ref, &m->name);
	m->want_view = want_view;
	return m;
}
