/* The ledger as a log_source: what its readers know of it. */
#include "runtime/encode.h"
#include "store/ledger/ledger_recover.h"
#include "store/ledger/ledger_scan.h"
#include <errno.h>

void ledger_id_text(const struct ledger *l, char ret[static LOG_SOURCE_ID_TEXT])
{
	encode_hex(l->id, sizeof l->id, ret);
}

uint64_t ledger_lsn_at(struct ledger *l, int64_t us)
{
	uint64_t lsn = 1;
	struct ledger_set *set = ledger_set_borrow(l);
	for (size_t i = set->count; i > 0; i--) {
		const struct ledger_segment *s = set->segments[i - 1];
		lsn = s->head.before.lsn + 1;
		if (s->head.created_us <= us)
			break;
	}
	ledger_set_unref(set);
	return lsn;
}

void ledger_set_projected_lsn(struct ledger *l, uint64_t lsn)
{
	atomic_store(&l->projected_lsn, lsn);
}

bool ledger_pending_events(struct ledger *l, void *arg, void (*each)(void *arg, const struct log_source_entry *frame),
			   struct buf *ret_why)
{
	const struct ledger_events *e = &l->writer.events;
	struct log_source_entry frame;
	enum log_source_result result = LOG_SOURCE_END;
	if (e->waiting == 0)
		return true;
	struct ledger_scan *scan = ledger_scan_open(l, NULL, ledger_events_from(l), ret_why);
	if (scan == NULL)
		return false;
	for (size_t i = e->first; i < e->end && (result = ledger_scan_next(scan, &frame)) != LOG_SOURCE_END;) {
		if (result == LOG_SOURCE_ERROR)
			break;
		while (i < e->end && ledger_events_at(e, i) < frame.lsn)
			i++;
		if (result == LOG_SOURCE_ENTRY && i < e->end && ledger_events_at(e, i) == frame.lsn) {
			if (frame.lsn >= l->doubt_to)
				each(arg, &frame);
			i++;
		}
	}
	ledger_scan_close(scan);
	if (result == LOG_SOURCE_ERROR)
		buf_append_lit(ret_why, "the events of the ledger cannot be read");
	return result != LOG_SOURCE_ERROR;
}

/* ---- the interface ---- */
static struct log_scan *source_open(void *log, uint64_t from_lsn, struct buf *ret_why)
{
	struct ledger_scan *s = ledger_scan_open(log, NULL, from_lsn, ret_why);
	return s != NULL ? ledger_scan_base(s) : NULL;
}

static uint64_t source_durable_lsn(const void *log)
{
	return ledger_durable_lsn(log);
}

static void source_applied(void *log, uint64_t lsn)
{
	ledger_set_projected_lsn(log, lsn);
}

static uint64_t source_lsn_at(void *log, int64_t us)
{
	return ledger_lsn_at(log, us);
}

static bool source_pending_events(void *log, void *arg, void (*each)(void *arg, const struct log_source_entry *entry),
				  struct buf *ret_why)
{
	return ledger_pending_events(log, arg, each, ret_why);
}

static void source_id_text(const void *log, char ret[static LOG_SOURCE_ID_TEXT])
{
	ledger_id_text(log, ret);
}

void ledger_source_init(struct ledger *l)
{
	l->source = (struct log_source){
		.log = l,
		.open = source_open,
		.durable_lsn = source_durable_lsn,
		.applied = source_applied,
		.lsn_at = source_lsn_at,
		.pending_events = source_pending_events,
		.id_text = source_id_text,
	};
}

const struct log_source *ledger_log_source(const struct ledger *l)
{
	return &l->source;
}

/* ---- a folder that no process of ours has open ---- */
static struct log_scan *outside_open(void *log, uint64_t from_lsn, struct buf *ret_why)
{
	struct ledger_scan *s = ledger_scan_open(NULL, ((struct ledger_outside *)log)->dir, from_lsn, ret_why);
	return s != NULL ? ledger_scan_base(s) : NULL;
}

static uint64_t outside_durable_lsn(const void *log)
{
	return ((const struct ledger_outside *)log)->durable_lsn;
}

static void outside_id_text(const void *log, char ret[static LOG_SOURCE_ID_TEXT])
{
	const struct ledger_outside *o = log;
	encode_hex(o->id, sizeof o->id, ret);
}

bool ledger_outside_init(struct ledger_outside *o, const char *dir, struct buf *ret_why)
{
	*o = (struct ledger_outside){
		.source = { .log = o,
			    .open = outside_open,
			    .durable_lsn = outside_durable_lsn,
			    .id_text = outside_id_text },
		.dir = dir,
	};
	struct buf why = { 0 };
	struct ledger_scan *s = ledger_scan_open(NULL, dir, 1, &why);
	if (s == NULL && errno != ENOENT)
		buf_append_str(ret_why, buf_str(&why));
	bool is_known = s != NULL || errno == ENOENT;
	if (s != NULL) {
		o->durable_lsn = ledger_scan_durable(s);
		memcpy(o->id, ledger_scan_id(s), sizeof o->id);
	}
	buf_finish(&why);
	ledger_scan_close(s);
	return is_known;
}
