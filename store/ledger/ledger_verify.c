/* The whole check. Goes through the log as a scan does, so it may run beside the server, and holds each thing
 * against what vouches for it: bytes against CRCs, frames against the hash chain, segments against the header
 * of the next one, records against their hashes, signatures and predecessors, the index against the
 * records. */
#include "runtime/check.h"
#include "store/evidence/entries.h"
#include "store/ledger/ledger_scan.h"
#include "store/ledger/ledger_walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct verify {
	struct ledger_scan *scan;
	const struct record_signer *signer; /* borrows; may be NULL */
	struct ledger_report *report;
	struct buf *out;
	EVP_MD_CTX *hasher;
	struct arena arena;
	struct ledger_tip tip; /* as the frames so far say */
	char other_key[64];    /* id of the first key that is not at hand; "" = none is named */
	bool is_chained;       /* tip.chain is the chain of the frame just before */
	bool is_linked;        /* tip.records ends with the record just before */
	bool has_segment;
	struct ledger_segment_file file; /* being read */
	struct ledger_fences fences;
	int fd; /* of a sealed segment, for its index; -1 = none */
};

static void problem(struct verify *v, const char *what, struct str segment, uint64_t offset, uint64_t lsn,
		    const char *detail)
{
	v->report->problems++;
	buf_printf(v->out, "{\"problem\":\"%s\",\"segment\":\"%.*s\",\"offset\":%llu,\"lsn\":%llu,\"detail\":", what,
		   STR_ARG(segment), (unsigned long long)offset, (unsigned long long)lsn);
	json_write_string(v->out, str_from(detail));
	buf_append_lit(v->out, "}\n");
}

static void frame_problem(struct verify *v, const struct log_source_entry *f, const char *what, const char *detail)
{
	problem(v, what, str_from(f->path), f->offset, f->lsn, detail);
}

/* ---- segments ---- */
static void leave_segment(struct verify *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
	ledger_fences_finish(&v->fences);
	if (!v->has_segment || !v->file.has_foot)
		return;
	char name[LEDGER_SEGMENT_NAME];
	const struct ledger_segment_foot *foot = &v->file.foot;
	ledger_segment_name(v->file.seq, name);
	if (v->is_chained && v->tip.lsn == foot->after.lsn &&
	    memcmp(foot->after.chain, v->tip.chain, LOG_SOURCE_CHAIN) != 0)
		problem(v, "footer", str_from(name), v->file.file_bytes - LEDGER_BLOCK, foot->after.lsn,
			"the footer does not name the hash of the segment's last frame");
	if (foot->torn_bytes > 0) {
		v->report->torn_tails++;
		buf_printf(v->out, "{\"note\":\"torn_tail\",\"segment\":\"%s\",\"offset\":%llu,\"bytes\":%llu}\n", name,
			   (unsigned long long)foot->data_end, (unsigned long long)foot->torn_bytes);
	}
}

static bool same_tip(const struct ledger_tip *a, const struct ledger_tip *b)
{
	return a->lsn == b->lsn && memcmp(a->chain, b->chain, LOG_SOURCE_CHAIN) == 0 &&
	       record_chain_ends_alike(&a->records, &b->records);
}

static void enter_segment(struct verify *v, const struct ledger_segment_file *f)
{
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(f->seq, name);
	bool follows = v->has_segment && f->head.previous_seq == v->file.seq;
	if (follows && v->is_chained && v->is_linked && f->head.before.lsn == v->tip.lsn &&
	    !same_tip(&f->head.before, &v->tip))
		problem(v, "header", str_from(name), 0, f->head.before.lsn,
			"what the header says of the log before it is not what stands there");
	/* Where a segment is missing between (retention), the header vouches for what was there. */
	v->tip = f->head.before;
	v->is_chained = v->is_linked = true;
	v->file = *f;
	v->has_segment = true;
	v->report->segments++;
	v->report->bytes += f->file_bytes;
	if (!f->has_foot)
		return;
	v->fd = openat(ledger_scan_dir(v->scan), name, O_RDONLY | O_CLOEXEC);
	int error = v->fd < 0 ? -errno : ledger_fences_load(&ledger_io_real, v->fd, &f->foot, &v->fences);
	if (error == -EBADMSG)
		problem(v, "index", str_from(name), f->foot.index_at, 0, "the index of the segment is damaged");
	if (error != 0 && v->fd >= 0) {
		close(v->fd);
		v->fd = -1;
	}
}

/* ---- records ---- */
static bool index_leads_to(struct verify *v, uint64_t key, uint64_t place)
{
	uint64_t places[LEDGER_HITS_MAX];
	int hits = ledger_fences_find(&v->fences, &ledger_io_real, v->fd, &v->file.foot, key, places);
	for (int i = 0; i < hits; i++) {
		if (places[i] == place)
			return true;
	}
	return false;
}

static void check_index(struct verify *v, const struct log_source_entry *f, const struct ledger_payload *p,
			uint64_t frame_bytes)
{
	uint64_t place = ledger_place(f->offset, frame_bytes);
	if (v->fd >= 0 && (!index_leads_to(v, ledger_key_of_id(v->hasher, p->id), place) ||
			   !index_leads_to(v, ledger_key_of_hash(p->hash), place)))
		frame_problem(v, f, "index", "the segment's index does not lead to this record");
}

static void judge_signature(struct verify *v, const struct log_source_entry *f, bool has_signature,
			    enum record_signed is_signed, const char *key_id)
{
	if (v->signer == NULL)
		return;
	if (!has_signature) {
		if (v->signer->mode == SIGNATURE_REQUIRED)
			frame_problem(v, f, "signature",
				      "the record is not signed, and FABRA_SIGNATURE_MODE is required");
	} else if (is_signed == RECORD_SIGNED_WRONG) {
		frame_problem(v, f, "signature", "the signature is not that of the key");
	} else if (is_signed == RECORD_SIGNED_UNKEYED && v->report->signatures_unchecked++ == 0) {
		snprintf(v->other_key, sizeof v->other_key, "%s", key_id);
	}
}

static void check_signature(struct verify *v, const struct log_source_entry *f)
{
	const struct record_stamp *s = &f->stamp;
	enum record_signed is_signed = RECORD_SIGNED_UNKEYED;
	if (s->has_signature)
		is_signed = record_signature_check(v->signer, str_of(s->record_hash, RECORD_HASH_TEXT),
						   str_of(s->signature, sizeof s->signature),
						   str_from(s->signing_key_id));
	judge_signature(v, f, s->has_signature, is_signed, s->signing_key_id);
}

static void check_own(struct verify *v, const struct log_source_entry *f, const struct ledger_payload *p)
{
	const char *why = NULL;
	char hash[RECORD_HASH_TEXT];
	struct record_verdict verdict;
	record_hash_text(f->body, hash);
	if (memcmp(hash, f->stamp.record_hash, sizeof hash) != 0)
		frame_problem(v, f, "record_hash", "the record's bytes do not have its hash");
	const struct record *r = record_parse(f->body, false, &v->arena, &why);
	if (r == NULL) {
		frame_problem(v, f, "record", why);
	} else {
		struct str previous = r->integrity.previous_context_id;
		if (!str_eq(r->context_id, p->id))
			frame_problem(v, f, "record", "the record's id is not the one it is filed under");
		if (v->is_linked && !record_chain_continues(&v->tip.records, previous))
			frame_problem(v, f, "record_chain", "the record does not name the record before it");
		if (record_verify(f->body, false, NULL, &verdict, &why) && !verdict.content_hash_ok)
			frame_problem(v, f, "content_hash", "the record's content does not have its content hash");
	}
	check_signature(v, f);
	record_chain_follow(&v->tip.records, p->id, p->hash);
	memcpy(v->report->last_context_id, v->tip.records.last_context_id, sizeof v->tip.records.last_context_id);
	v->is_linked = true;
	arena_finish(&v->arena);
}

static void check_imported(struct verify *v, const struct log_source_entry *f)
{
	const char *why = NULL;
	struct record_verdict verdict;
	if (!record_verify(f->body, false, v->signer, &verdict, &why)) {
		frame_problem(v, f, "record", why);
		return;
	}
	if (!verdict.record_hash_ok || memcmp(verdict.record_hash, f->stamp.record_hash, RECORD_HASH_TEXT) != 0)
		frame_problem(v, f, "record_hash", "the imported record does not have its hash");
	judge_signature(v, f, verdict.has_signature,
			verdict.signature_ok        ? RECORD_SIGNED_RIGHT
			: verdict.signature_checked ? RECORD_SIGNED_WRONG
						    : RECORD_SIGNED_UNKEYED,
			verdict.signing_key_id);
}

static bool payload_is_sound(const struct log_source_entry *f)
{
	struct entry_values values;
	struct entry_delete deleted;
	struct entry_event event;
	switch (f->kind) {
	case EVIDENCE_VALUES:
	case EVIDENCE_EVENT_APPLIED:
		return entry_values_read(f->body, &values, NULL, NULL);
	case EVIDENCE_DELETE:
		return entry_delete_read(f->body, &deleted);
	case EVIDENCE_EVENT:
		return entry_event_read(f->body, &event);
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		break;
	}
	return true;
}

/* ---- frames ---- */
static void count(struct verify *v, const struct log_source_entry *f)
{
	struct ledger_report *r = v->report;
	r->frames++;
	r->records += f->kind == EVIDENCE_RECORD || f->kind == EVIDENCE_RECORD_IMPORTED;
	r->values += f->kind == EVIDENCE_VALUES;
	r->events += f->kind == EVIDENCE_EVENT;
	r->first_lsn = r->first_lsn ? r->first_lsn : f->lsn;
	r->last_lsn = f->lsn;
}

static void check_frame(struct verify *v, const struct log_source_entry *f)
{
	struct ledger_scan_raw raw;
	uint8_t chain[LOG_SOURCE_CHAIN];
	struct ledger_payload p;
	ledger_scan_raw(v->scan, &raw);
	if (!v->has_segment || raw.file->seq != v->file.seq) {
		leave_segment(v);
		enter_segment(v, raw.file);
	}
	count(v, f);
	if (f->lsn != v->tip.lsn + 1)
		v->is_chained = v->is_linked =
		    false; /* entries between are missing: said, or accounted for in `gaps` */
	ledger_frame_chain(raw.frame, v->hasher, v->tip.chain, chain);
	if (v->is_chained && memcmp(chain, raw.head.chain, LOG_SOURCE_CHAIN) != 0)
		frame_problem(v, f, "frame_chain", "the frame does not follow from the frame before it");
	memcpy(v->tip.chain, raw.head.chain, LOG_SOURCE_CHAIN);
	v->is_chained = true;
	v->tip.lsn = f->lsn;
	if (!payload_is_sound(f))
		frame_problem(v, f, "entry", "the entry cannot be decoded");
	if (f->kind != EVIDENCE_RECORD && f->kind != EVIDENCE_RECORD_IMPORTED)
		return;
	struct str payload = str_of((const char *)raw.frame + LEDGER_FRAME_HEAD, raw.head.payload_bytes);
	if (!ledger_payload_read(payload, &p)) {
		frame_problem(v, f, "record", "the record's frame cannot be decoded");
		v->is_linked = false;
		return;
	}
	check_index(v, f, &p, ledger_frame_bytes(raw.head.payload_bytes));
	if (f->kind == EVIDENCE_RECORD)
		check_own(v, f, &p);
	else
		check_imported(v, f);
}

/* ---- files ---- */
static void check_headers(struct verify *v, const struct ledger_catalog *c)
{
	for (size_t i = 0; i < c->count; i++) {
		char name[LEDGER_SEGMENT_NAME];
		ledger_segment_name(c->files[i].seq, name);
		if (!c->files[i].has_head)
			problem(v, "header", str_from(name), 0, 0,
				"the segment's header is damaged; its entries cannot be reached");
	}
}

/* What retention removed and what somebody accepted as lost, so that nobody has to take it on trust that all is there. */
static void list_gaps(struct verify *v)
{
	struct ledger_ranges gaps;
	int error = ledger_gaps_read(&ledger_io_real, ledger_scan_dir(v->scan), ledger_scan_id(v->scan), &gaps);
	if (error != 0)
		problem(v, "gaps", STR("gaps"), 0, 0,
			"the list of what was removed cannot be read; what it said counts as missing");
	for (size_t i = 0; i < gaps.count; i++)
		buf_printf(v->out, "{\"note\":\"removed\",\"from_lsn\":%llu,\"to_lsn\":%llu}\n",
			   (unsigned long long)gaps.items[i].first, (unsigned long long)gaps.items[i].last);
	ledger_ranges_finish(&gaps);
}

static bool server_is_running(int dir_fd)
{
	int fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	bool is_running = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
	if (fd >= 0)
		close(fd); /* and with it the lock, if we got it */
	return is_running;
}

bool ledger_refusal_read(const char *dir, struct buf *ret_reason)
{
	char text[512] = "";
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return false;
	bool is_running = server_is_running(dir_fd);
	int fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : 0;
	if (fd >= 0)
		close(fd);
	close(dir_fd);
	const char *reason = n > 0 ? strchr(text, '\n') : NULL; /* behind the process's number */
	size_t reason_bytes = reason != NULL ? strcspn(reason + 1, "\n") : 0;
	if (!is_running || reason_bytes == 0)
		return false;
	buf_append(ret_reason, reason + 1, reason_bytes);
	return true;
}

/* What a killed server left behind the last frame that counts. A running one may be writing just there. */
static void look_for_torn_tail(struct verify *v)
{
	struct ledger_scan_raw raw;
	uint64_t durable, bytes = 0;
	int error;
	ledger_scan_raw(v->scan, &raw);
	if (raw.file == NULL || raw.file->has_foot || server_is_running(ledger_scan_dir(v->scan)))
		return;
	ledger_walk_look_behind(raw.walk, &durable, &bytes, &error);
	if (bytes == 0)
		return;
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(raw.file->seq, name);
	v->report->torn_tails++;
	buf_printf(v->out, "{\"note\":\"unacknowledged_tail\",\"segment\":\"%s\",\"offset\":%llu,\"bytes\":%llu}\n",
		   name, (unsigned long long)raw.walk->at, (unsigned long long)bytes);
}

static void report_loss(struct verify *v, const struct log_source_entry *f)
{
	char detail[160];
	bool is_in_segment = f->offset > 0;
	if (f->lost_to == f->lsn)
		snprintf(detail, sizeof detail, "an entry that was durable cannot be read");
	else
		snprintf(detail, sizeof detail, "entries %llu to %llu, which were durable, %s",
			 (unsigned long long)f->lsn, (unsigned long long)f->lost_to,
			 is_in_segment ? "cannot be read" : "are in no segment");
	frame_problem(v, f, is_in_segment ? "frame_damaged" : "missing", detail);
}

/* Where signatures must be there, one that nobody could check is as good as none. */
static void report_unchecked(struct verify *v)
{
	struct buf detail = { 0 };
	bool has_key = v->signer != NULL && v->signer->key_bytes > 0;
	bool is_required = v->signer != NULL && v->signer->mode == SIGNATURE_REQUIRED;
	if (v->report->signatures_unchecked == 0)
		return;
	if (is_required)
		v->report->problems++;
	buf_printf(&detail, "signed by %s%s%s, which is not at hand: FABRA_SIGNING_KEY is %s%s",
		   v->other_key[0] ? "key " : "a key without an id", v->other_key,
		   v->report->signatures_unchecked > 1 ? " (the first of them)" : "", has_key ? "key " : "not set",
		   has_key ? v->signer->key_id : "");
	buf_printf(v->out,
		   "{\"%s\":\"signatures_unchecked\",\"records\":%llu,\"detail\":", is_required ? "problem" : "note",
		   (unsigned long long)v->report->signatures_unchecked);
	json_write_string(v->out, buf_str(&detail));
	buf_append_lit(v->out, "}\n");
	buf_finish(&detail);
}

static bool check_all(struct verify *v)
{
	struct log_source_entry f;
	enum log_source_result result;
	while ((result = ledger_scan_next(v->scan, &f)) != LOG_SOURCE_END) {
		switch (result) {
		case LOG_SOURCE_ENTRY:
			check_frame(v, &f);
			break;
		case LOG_SOURCE_CORRUPT:
			report_loss(v, &f);
			v->is_chained = v->is_linked = false;
			break;
		case LOG_SOURCE_ERROR:
			buf_append_lit(v->out,
				       "{\"problem\":\"io\",\"detail\":\"the ledger's files cannot be read\"}\n");
			return false;
		case LOG_SOURCE_END:
			UNREACHABLE();
		}
	}
	leave_segment(v);
	look_for_torn_tail(v);
	report_unchecked(v);
	return true;
}

int64_t ledger_verify(const char *dir, const struct record_signer *signer, struct ledger_report *ret, struct buf *out)
{
	struct verify v = { .signer = signer, .report = ret, .out = out, .fd = -1 };
	struct ledger_catalog catalog;
	*ret = (struct ledger_report){ 0 };
	v.scan = ledger_scan_open(NULL, dir, 1, out);
	if (v.scan == NULL)
		return -1;
	v.hasher = ledger_hasher_create();
	bool ok = ledger_catalog_load(&ledger_io_real, ledger_scan_dir(v.scan), 0, &catalog) == 0;
	if (ok) {
		check_headers(&v, &catalog);
		list_gaps(&v);
		ledger_catalog_finish(&catalog);
		ok = check_all(&v);
	}
	if (v.fd >= 0)
		close(v.fd);
	ledger_fences_finish(&v.fences);
	ledger_hasher_destroy(v.hasher);
	ledger_scan_close(v.scan);
	return ok ? (int64_t)ret->problems : -1;
}
