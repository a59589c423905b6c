/* What a start finds in the directory, made into a ledger that can go on.
 *
 * Sealed segments are taken at their footer's word. Others are walked: a place without a good frame is damage
 * when its LSN is known to have been durable (a later frame, the next segment's header or the `durable` file
 * says so), and then it is counted, reported and stepped over; else it is the torn tail of a batch that
 * nobody was told about, and the segment ends there. Nothing is ever written over damage. The log goes on in
 * a new segment. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/ledger/ledger_private.h"
#include "store/ledger/ledger_recover.h"
#include "store/ledger/ledger_walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct recovery {
	struct ledger *l;
	struct ledger_segment *s;
	struct ledger_walk walk;
	uint64_t expected;
	uint64_t known_lsn; /* known to have been durable */
	bool is_last;       /* no segment behind says where this one ends */
	int error;
};

static void report_damage(struct recovery *r)
{
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(r->s->head.seq, name);
	r->s->foot.corrupt_frames++;
	log_line(LOG_ERROR, "ledger",
		 "damaged: a frame that was durable cannot be read; it is skipped, run `fabra ledger verify`",
		 LOG_CSTR("segment", name), LOG_INT("offset", (int64_t)r->walk.at),
		 LOG_INT("lsn", (int64_t)r->expected));
}

static void report_torn(struct recovery *r, uint64_t bytes)
{
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(r->s->head.seq, name);
	r->s->foot.torn_bytes = bytes;
	log_line(LOG_WARNING, "ledger", "cut off the torn tail of a batch that was never acknowledged",
		 LOG_CSTR("segment", name), LOG_INT("offset", (int64_t)r->walk.at), LOG_INT("bytes", (int64_t)bytes));
}

static bool take_frame(struct recovery *r, const struct ledger_frame_head *head, const uint8_t *frame)
{
	struct ledger_segment_foot *foot = &r->s->foot;
	struct ledger_payload p;
	uint64_t bytes = ledger_frame_bytes(head->payload_bytes);
	foot->frames++;
	foot->data_end = r->walk.at;
	foot->after.lsn = head->lsn;
	memcpy(foot->after.chain, head->chain, LOG_SOURCE_CHAIN);
	foot->newest_us[ledger_class_of(head->kind)] = head->written_us;
	r->expected = head->lsn + 1;
	if (head->kind != EVIDENCE_RECORD && head->kind != EVIDENCE_RECORD_IMPORTED)
		return true;
	if (!ledger_payload_read(str_of((const char *)frame + LEDGER_FRAME_HEAD, head->payload_bytes), &p))
		return true; /* a good CRC over nonsense: verify reports it, no id leads to it */
	if (!ledger_index_reserve(&r->s->index, 2)) {
		r->error = -ENOMEM;
		return false;
	}
	uint64_t place = ledger_place(r->walk.at - bytes, bytes);
	ledger_index_add(&r->s->index, ledger_key_of_id(r->l->writer.hasher, p.id), place);
	ledger_index_add(&r->s->index, ledger_key_of_hash(p.hash), place);
	if (head->kind == EVIDENCE_RECORD) {
		foot->after.records.records++;
		record_chain_follow(&foot->after.records, p.id, p.hash);
	}
	return true;
}

static void note_lost(struct recovery *r, uint64_t last)
{
	if (!ledger_ranges_add(&r->l->lost, r->expected, last))
		r->error = -ENOMEM;
}

/* Damage at walk.at. Goes to the next frame that belongs to the log. false: there is none in this segment. */
static bool step_over(struct recovery *r)
{
	struct ledger_frame_head head;
	uint64_t at = r->walk.at;
	report_damage(r);
	enum ledger_walk_result result = ledger_walk_resync(&r->walk, r->expected, &head, &r->error);
	if (result == LEDGER_WALK_FRAME && head.lsn <= r->known_lsn + 1) {
		note_lost(r, head.lsn - 1);
		r->expected = head.lsn;
		return r->error == 0;
	}
	/* What cannot be read is not cut off: the segment keeps all its bytes, and so it stays without a
	 * seal. */
	note_lost(r, r->known_lsn);
	r->walk.at = at;
	r->s->foot.data_end = r->walk.end;
	r->s->foot.after.lsn = r->known_lsn;
	return false;
}

/* No good frame with the expected LSN at walk.at. false: the segment ends. */
static bool judge(struct recovery *r)
{
	uint64_t durable, bytes;
	if (ledger_walk_look_behind(&r->walk, &durable, &bytes, &r->error) == LEDGER_WALK_ERROR)
		return false;
	if (durable > r->known_lsn && r->is_last)
		r->known_lsn = durable;
	if (r->expected <= r->known_lsn)
		return step_over(r);
	if (bytes > 0 && r->is_last)
		report_torn(r, bytes);
	return false;
}

static void walk_segment(struct recovery *r)
{
	bool goes_on = true;
	while (goes_on && (r->is_last || r->expected <= r->known_lsn)) {
		struct ledger_frame_head head;
		const uint8_t *frame;
		switch (ledger_walk_next(&r->walk, &head, &frame, &r->error)) {
		case LEDGER_WALK_ERROR:
			return;
		case LEDGER_WALK_BAD:
			goes_on = judge(r);
			break;
		case LEDGER_WALK_FRAME:
			if (head.lsn == r->expected) {
				goes_on = take_frame(r, &head, frame);
			} else {
				r->walk.at -= ledger_frame_bytes(head.payload_bytes);
				goes_on = judge(r);
			}
			break;
		}
	}
}

struct ledger_segment *ledger_recover_segment(struct ledger *l, const struct ledger_catalog *c, size_t i,
					      uint64_t hint_lsn, int *ret_error)
{
	const struct ledger_segment_file *f = &c->files[i];
	struct recovery r = { .l = l, .is_last = true, .known_lsn = hint_lsn, .expected = f->head.before.lsn + 1 };
	const struct ledger_tip *after = ledger_catalog_tip(c, i);
	char name[LEDGER_SEGMENT_NAME];
	if (after != NULL) {
		r.is_last = false;
		r.known_lsn = after->lsn;
	}
	ledger_segment_name(f->seq, name);
	int fd = l->io->open(l->io, l->dir_fd, name, O_RDONLY);
	r.s = fd < 0 ? NULL : ledger_segment_create(&f->head);
	*ret_error = fd < 0 ? fd : -ENOMEM;
	if (r.s != NULL) {
		ledger_walk_init(&r.walk, l->io, fd, f->head.epoch, LEDGER_BLOCK, ledger_catalog_end(c, i));
		walk_segment(&r);
		if (after != NULL) { /* the end is known, even when what stands there is damaged */
			r.s->foot.data_end = r.walk.end;
			r.s->foot.after = *after;
		}
		ledger_walk_finish(&r.walk);
		*ret_error = r.error;
	}
	if (fd >= 0)
		close(fd);
	if (*ret_error == 0)
		return r.s;
	ledger_segment_unref(r.s);
	return NULL;
}

/* ---- events ---- */
static bool note(struct ledger_writer *w, const struct log_source_entry *frame)
{
	uint64_t event_lsn;
	if (frame->kind == EVIDENCE_EVENT)
		return ledger_events_add(w, frame->lsn);
	if (frame->kind == EVIDENCE_EVENT_APPLIED && entry_values_event_lsn(frame->body, &event_lsn))
		ledger_events_remove(w, event_lsn);
	return true;
}

/* Their marks may be among what is lost. */
static void say_doubtful(struct ledger *l)
{
	const struct ledger_events *e = &l->writer.events;
	uint64_t first = 0;
	for (size_t i = e->first; i < e->end; i++) {
		uint64_t lsn = ledger_events_at(e, i);
		if (lsn == 0 || lsn >= l->doubt_to)
			continue;
		first = first ? first : lsn;
		l->doubtful_events++;
	}
	if (first)
		log_line(
		    LOG_ERROR, "ledger",
		    "events were accepted and nobody knows whether they were applied, because entries behind them are "
		    "lost: they wait until those are restored or their loss is accepted (`fabra ledger accept`; then they are applied)",
		    LOG_INT("events", (int64_t)l->doubtful_events), LOG_INT("first_lsn", (int64_t)first));
}

bool ledger_recover_events(struct ledger *l, uint64_t from_lsn, struct buf *ret_why)
{
	struct log_source_entry frame;
	enum log_source_result result = LOG_SOURCE_END;
	struct ledger_scan *scan = ledger_scan_open(l, NULL, from_lsn, ret_why);
	bool ok = scan != NULL;
	while (ok && (result = ledger_scan_next(scan, &frame)) != LOG_SOURCE_END) {
		if (result == LOG_SOURCE_CORRUPT && frame.lost_to > l->doubt_to)
			l->doubt_to = frame.lost_to;
		ok = result != LOG_SOURCE_ERROR && (result == LOG_SOURCE_CORRUPT || note(&l->writer, &frame));
		if (!ok)
			buf_append_lit(ret_why, "the events of the ledger cannot be read");
	}
	ledger_scan_close(scan);
	if (l->lost.count > 0 && l->lost.items[l->lost.count - 1].last > l->doubt_to)
		l->doubt_to = l->lost.items[l->lost.count - 1].last;
	say_doubtful(l);
	return ok;
}
