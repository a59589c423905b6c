/* A reader: answers each FIND with the record or why there is none. It blocks for a file read, so it lives on
 * a blocking loop; it has no state but the ledger it reads. */
#include "store/ledger/ledger_private.h"
#include "runtime/log.h"
#include <stdlib.h>

struct reader {
	struct actor base;
	struct ledger *l; /* borrows: the ledger is closed after its loops */
};

static int reader_init(struct actor *a, void *arg)
{
	((struct reader *)a)->l = arg;
	return 0;
}

static void reader_on_message(struct actor *a, struct msg *m)
{
	struct reader *r = (struct reader *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != EVIDENCE_FIND)
		return;
	const struct evidence_find *find = (const struct evidence_find *)m;
	struct evidence_record *record = NULL;
	char reason[160] = "a part of the ledger cannot be read";
	int status = ledger_find_record(r->l, &find->name, find->want_view, &record, reason);
	if (status == RT_EIO)
		log_line(LOG_ERROR, "ledger", "a record cannot be read", LOG_CSTR("reason", reason));
	struct evidence_found *found = evidence_found_new(a->loop, record, status);
	found->reason = status == RT_EIO ? strdup(reason) : NULL;
	rt_reply(a, m, &found->head);
}

static const struct actor_class reader_class = {
	.name = "ledger_reader",
	.size = sizeof(struct reader),
	.mailbox_len_max = 4096,
	.init = reader_init,
	.on_message = reader_on_message,
};

struct actor_ref ledger_spawn_reader(struct ledger *l, struct loop *loop)
{
	return rt_spawn(loop, &reader_class, l);
}
