/* The write side: entries in, one pwrite and one fdatasync per batch, statuses out. It knows neither actors
 * nor threads.
 *
 * Two ends of the log are kept: `tip`, which is durable, and `next`, with the batch being built. A batch that
 * fails leaves tip as it was, and with it the chain, the predecessor and the LSNs: the next batch takes the
 * same numbers in another segment, whose header says where this one ends. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_recover.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <unistd.h>

enum { IN_BATCH = 1, ALREADY_THERE = 2 }; /* statuses on the way */
enum { RETENTION_EVERY_S = 60 };

/* ---- health ---- */
static void set_reason(struct ledger *l, const char *reason)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->reason, sizeof l->reason, "%s", reason);
	pthread_mutex_unlock(&l->lock);
}

static void become_readonly(struct ledger *l, int error)
{
	char reason[sizeof l->reason];
	snprintf(reason, sizeof reason, "the ledger cannot open a segment (%s): %s", strerror(-error),
		 error == -ENOSPC || error == -EDQUOT ? "free disk space, it then continues by itself"
						      : "check the disk, it is tried again by itself");
	set_reason(l, reason);
	if (atomic_exchange(&l->is_writable, false))
		log_line(LOG_ERROR, "ledger", "read-only", LOG_CSTR("reason", reason));
}

void ledger_refuse(struct ledger *l, const char *reason)
{
	struct buf text = { 0 };
	l->is_refusing = true;
	atomic_store(&l->is_writable, false);
	set_reason(l, reason);
	log_line(LOG_ERROR, "ledger", "read-only", LOG_CSTR("reason", reason));
	buf_printf(&text, "%ld\n%s\n", (long)getpid(), reason);
	if (text.failed || pwrite(l->lock_fd, text.p, text.n, 0) != (ssize_t)text.n)
		log_line(LOG_WARNING, "ledger", "the lock file could not be written");
	buf_finish(&text);
}

/* What is written into a folder or a file that has no name any more is gone with the process: a stat at each commit costs a
 * microsecond, and an answer would be a lie. */
static void refuse_what_is_lost(struct ledger *l)
{
	struct stat by_path, by_fd, segment;
	if (l->config.temporary || fstat(l->dir_fd, &by_fd) != 0)
		return;
	bool is_there = stat(l->config.dir, &by_path) == 0 && by_path.st_ino == by_fd.st_ino &&
			by_path.st_dev == by_fd.st_dev;
	bool has_file = l->writer.fd < 0 || fstat(l->writer.fd, &segment) != 0 || segment.st_nlink > 0;
	if (!is_there)
		ledger_refuse(
		    l,
		    "the ledger's folder was deleted, moved or replaced while the server runs: stop the server, put the "
		    "folder back and start again, or see `fabra ledger accept`");
	else if (!has_file)
		ledger_refuse(l, "the ledger's open segment was deleted while the server runs: stop the server and see "
				 "`fabra ledger verify`");
}

static int status_of(int error)
{
	return error == -ENOSPC || error == -EDQUOT ? RT_EFULL : RT_EIO;
}

/* ---- segments ---- */
static void close_segment(struct ledger *l, bool is_sound)
{
	struct ledger_writer *w = &l->writer;
	struct ledger_segment *s = w->open;
	s->foot.after = w->tip;
	s->foot.events_from = ledger_events_from(l);
	w->last_seq = s->head.seq;
	w->last_end = s->foot.data_end;
	close(w->fd);
	w->fd = -1;
	w->open = NULL;
	/* After a failed sync the file takes no more writes from this process; the next start seals it. */
	if (is_sound && !ledger_helper_push(l, LEDGER_JOB_SEAL, s))
		log_line(LOG_WARNING, "ledger", "no memory to seal a segment now; the next start does it");
	ledger_segment_unref(s);
}

static int open_segment(struct ledger *l, int64_t now_us)
{
	struct ledger_writer *w = &l->writer;
	struct ledger_segment_head head = {
		.seq = ++w->newest_seq, /* never used twice, even when this fails */
		.segment_bytes = l->config.segment_bytes,
		.previous_seq = w->last_seq,
		.previous_end = w->last_end,
		.created_us = now_us,
		.events_from = ledger_events_from(l),
		.before = w->tip,
	};
	memcpy(head.ledger_id, l->id, sizeof head.ledger_id);
	if (getrandom(&head.epoch, sizeof head.epoch, 0) != sizeof head.epoch)
		return -EIO;
	struct ledger_segment *s = ledger_segment_create(&head);
	if (s == NULL)
		return -ENOMEM;
	enum ledger_reserve ready = LEDGER_RESERVE_READY;
	bool is_reserve = atomic_compare_exchange_strong(&l->helper.reserve, &ready, LEDGER_RESERVE_TAKEN);
	int fd = ledger_file_activate(l, &head, is_reserve);
	if (is_reserve)
		atomic_store(&l->helper.reserve, LEDGER_RESERVE_NONE);
	ledger_helper_wake(l);
	if (fd >= 0 && !ledger_set_change(l, NULL, s)) {
		close(fd);
		fd = -ENOMEM;
	}
	if (fd < 0) {
		ledger_segment_unref(s);
		return fd;
	}
	w->fd = fd;
	w->open = s;
	atomic_store(&l->newest_seq, head.seq);
	atomic_store(&l->durable_end, s->foot.data_end);
	return 0;
}

bool ledger_reopen(struct ledger *l, int64_t now_us)
{
	if (atomic_load(&l->is_writable))
		refuse_what_is_lost(l);
	if (atomic_load(&l->is_writable))
		return true;
	if (l->is_refusing)
		return false;
	int error = open_segment(l, now_us);
	if (error != 0) {
		become_readonly(l, error);
		return false;
	}
	set_reason(l, "");
	atomic_store(&l->is_writable, true);
	log_line(LOG_INFO, "ledger", "writable again");
	return true;
}

/* ---- encoding ---- */
static struct record_draft draft_of(const struct evidence_entry *e)
{
	return (struct record_draft){ .context_id = str_of(e->context_id, strnlen(e->context_id, sizeof e->context_id)),
				      .text = buf_str(&e->body),
				      .previous_at = e->previous_at };
}

static size_t payload_bytes(const struct ledger_writer *w, const struct evidence_entry *e)
{
	struct record_draft draft;
	switch (e->kind) {
	case EVIDENCE_RECORD:
		draft = draft_of(e);
		return LEDGER_RECORD_FIXED + e->extras.n + record_chain_bytes(&w->next.records, &draft);
	case EVIDENCE_RECORD_IMPORTED:
		return LEDGER_RECORD_FIXED + e->extras.n + e->body.n;
	case EVIDENCE_VALUES:
	case EVIDENCE_DELETE:
	case EVIDENCE_EVENT:
	case EVIDENCE_EVENT_APPLIED:
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		break;
	}
	return e->body.n;
}

static bool is_record(enum evidence_kind kind)
{
	return kind == EVIDENCE_RECORD || kind == EVIDENCE_RECORD_IMPORTED;
}

/* Fills in the payload; returns how much of it the chain hashes. */
static size_t write_record(struct ledger *l, struct evidence_entry *e, uint8_t *payload, size_t payload_n,
			   int64_t now_us, struct ledger_member *m)
{
	struct ledger_writer *w = &l->writer;
	size_t body_at = LEDGER_RECORD_FIXED + e->extras.n;
	struct record_draft draft = draft_of(e);
	struct ledger_payload p = { .id = draft.context_id, .extras = buf_str(&e->extras) };
	if (e->extras.n > 0)
		memcpy(payload + LEDGER_RECORD_FIXED, e->extras.p, e->extras.n);
	if (e->kind == EVIDENCE_RECORD) {
		snprintf(e->previous_context_id, sizeof e->previous_context_id, "%s", w->next.records.last_context_id);
		record_chain_add(&w->next.records, &draft, l->config.signer, now_us, payload + body_at, &e->stamp);
		memcpy(p.hash, w->next.records.last_hash, sizeof p.hash);
		p.stamp = e->stamp; /* how an imported one is signed stands in its own bytes */
	} else {
		memcpy(payload + body_at, e->body.p, e->body.n);
		CHECK(record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), p.hash));
	}
	ledger_payload_write_fixed(payload, &p);
	m->id_key = ledger_key_of_id(w->hasher, p.id);
	m->hash_key = ledger_key_of_hash(p.hash);
	if (e->kind == EVIDENCE_RECORD_IMPORTED)
		return payload_n;
	return body_at;
}

static void encode(struct ledger *l, struct evidence_entry *e, size_t entry, int64_t now_us)
{
	struct ledger_writer *w = &l->writer;
	size_t payload_n = payload_bytes(w, e), frame_n = (size_t)ledger_frame_bytes(payload_n), covered = payload_n;
	uint8_t *frame = (uint8_t *)w->batch.p + w->batch.n;
	struct ledger_member *m = &w->members[w->members_count++];
	*m = (struct ledger_member){ .entry = entry };
	m->place = ledger_place(w->open->foot.data_end + w->batch.n, frame_n);
	memset(frame + frame_n - 8, 0, 8);
	if (is_record(e->kind))
		covered = write_record(l, e, frame + LEDGER_FRAME_HEAD, payload_n, now_us, m);
	else if (payload_n > 0)
		memcpy(frame + LEDGER_FRAME_HEAD, e->body.p, payload_n);
	e->lsn = ++w->next.lsn;
	struct ledger_frame_head head = {
		.payload_bytes = (uint32_t)payload_n,
		.covered_bytes = (uint32_t)covered,
		.kind = (uint16_t)e->kind,
		.lsn = e->lsn,
		.epoch = w->open->head.epoch,
		.durable_lsn = w->tip.lsn,
		.written_us = now_us,
	};
	ledger_frame_finish(frame, &head, w->hasher, w->next.chain);
	w->batch.n += frame_n;
}

/* ---- which entries go into the batch ---- */
static int refuse(struct evidence_entry *e, int status, const char *reason)
{
	text_printf(e->reason, sizeof e->reason, "%s", reason);
	return status;
}

static size_t frame_bytes_max(size_t segment_bytes, size_t batch_bytes_max)
{
	size_t room = segment_bytes - 3 * LEDGER_BLOCK - (size_t)ledger_index_disk_bytes(2);
	return room < batch_bytes_max ? room : batch_bytes_max;
}

size_t ledger_entry_bytes_max(size_t segment_bytes)
{
	size_t frame = frame_bytes_max(segment_bytes, LEDGER_BATCH_BYTES_DEFAULT);
	return frame - (size_t)ledger_frame_bytes(0) - 8; /* frames are multiples of 8 */
}

static int check_entry(struct ledger *l, struct evidence_entry *e, size_t frame_n)
{
	uint8_t hash[32];
	if (e->body.failed || e->extras.failed)
		return refuse(e, RT_ETOOBIG, "the entry could not be encoded: it is too big");
	if (frame_n > frame_bytes_max(l->config.segment_bytes, l->config.batch_bytes_max))
		return refuse(e, RT_ETOOBIG, "the entry is larger than a ledger batch may be");
	if (is_record(e->kind) && e->context_id[0] == '\0')
		return refuse(e, RT_EINVAL, "the record has no context id");
	struct record_draft draft = draft_of(e);
	if (e->kind == EVIDENCE_RECORD && !record_draft_is_sound(&draft))
		return refuse(e, RT_EINVAL, "the record has no place for its predecessor");
	if (e->kind == EVIDENCE_RECORD_IMPORTED &&
	    !record_digest_parse(str_of(e->stamp.record_hash, RECORD_HASH_TEXT), STR("sha256:"), hash))
		return refuse(e, RT_EINVAL, "the imported record has no record hash");
	return 0;
}

/* 0: new. IN_BATCH: one with this id is in the batch being built, and must be written first. Else the entry's
 * end. */
static int check_import(struct ledger *l, struct evidence_entry *const *entries, struct evidence_entry *e)
{
	struct ledger_writer *w = &l->writer;
	struct str id = str_of(e->context_id, strnlen(e->context_id, sizeof e->context_id));
	uint64_t key = ledger_key_of_id(w->hasher, id);
	for (size_t i = 0; i < w->members_count; i++) {
		if (w->members[i].id_key == key && is_record(entries[w->members[i].entry]->kind))
			return IN_BATCH;
	}
	struct evidence_name name;
	struct evidence_record *found;
	evidence_name_parse(id, &name);
	int status = ledger_find_record(l, &name, false, &found, e->reason);
	if (status == RT_ENOTFOUND)
		return 0;
	if (status != 0)
		return status;
	e->already_there = memcmp(found->stamp.record_hash, e->stamp.record_hash, RECORD_HASH_TEXT) == 0;
	e->lsn = found->lsn;
	evidence_record_free(found);
	return e->already_there ? ALREADY_THERE
				: refuse(e, RT_EEXIST, "a record with this id and another hash is there already");
}

static bool fits(const struct ledger *l, size_t frame_n)
{
	const struct ledger_writer *w = &l->writer;
	if (w->batch.n > 0 && w->batch.n + frame_n > l->config.batch_bytes_max)
		return false;
	uint64_t index_bytes = ledger_index_disk_bytes(w->open->index.count + 2 * (w->members_count + 1));
	uint64_t frames_end = align_up(w->open->foot.data_end + w->batch.n + frame_n, LEDGER_BLOCK);
	return frames_end + index_bytes + LEDGER_BLOCK <= w->open->head.segment_bytes;
}

static bool make_room(struct ledger_writer *w, size_t frame_n)
{
	if (w->members_count == w->members_cap) {
		size_t cap = w->members_cap ? w->members_cap * 2 : 256;
		struct ledger_member *members = realloc(w->members, cap * sizeof *members);
		if (members == NULL)
			return false;
		w->members = members;
		w->members_cap = cap;
	}
	w->batch.failed = false;
	return buf_reserve(&w->batch, frame_n + LEDGER_BLOCK) && ledger_events_reserve(w, w->members_count + 1);
}

/* Takes entries from `first` on until one does not fit; returns the index of that one. */
static size_t gather(struct ledger *l, struct evidence_entry *const *entries, int *statuses, size_t first, size_t count,
		     int64_t now_us)
{
	struct ledger_writer *w = &l->writer;
	w->next = w->tip;
	w->members_count = 0;
	buf_clear(&w->batch);
	size_t i = first;
	for (; i < count; i++) {
		struct evidence_entry *e = entries[i];
		size_t frame_n = (size_t)ledger_frame_bytes(
		    e->kind == EVIDENCE_RECORD && e->body.n < 4 ? 0 : payload_bytes(w, e));
		statuses[i] = check_entry(l, e, frame_n);
		if (statuses[i] == 0 && e->kind == EVIDENCE_RECORD_IMPORTED)
			statuses[i] = check_import(l, entries, e);
		if (statuses[i] == IN_BATCH)
			break;
		if (statuses[i] > 0)
			statuses[i] = RT_OK;
		else if (statuses[i] == 0) {
			if (!fits(l, frame_n))
				break;
			if (make_room(w, frame_n)) {
				encode(l, e, i, now_us);
				statuses[i] = IN_BATCH;
			} else {
				statuses[i] = refuse(e, RT_EIO, "out of memory");
			}
		}
	}
	return i;
}

/* ---- commit ---- */
static int write_and_sync(struct ledger *l)
{
	struct ledger_writer *w = &l->writer;
	/* Whole pages, so that the kernel need not read the rest of the last one from disk before it can
	 * change it. */
	size_t bytes = w->batch.n, end = (size_t)(w->open->foot.data_end + bytes) % LEDGER_BLOCK;
	if (end != 0) {
		memset(w->batch.p + bytes, 0, LEDGER_BLOCK - end);
		bytes += LEDGER_BLOCK - end;
	}
	int error = ledger_io_write_all(l->io, w->fd, w->batch.p, bytes, w->open->foot.data_end);
	if (error == 0)
		error = l->io->fdatasync(l->io, w->fd);
	return error;
}

static void note_events(struct ledger_writer *w, const struct evidence_entry *e)
{
	uint64_t event_lsn;
	if (e->kind == EVIDENCE_EVENT)
		CHECK(ledger_events_add(w, e->lsn)); /* make_room reserved it */
	else if (e->kind == EVIDENCE_EVENT_APPLIED && entry_values_event_lsn(buf_str(&e->body), &event_lsn))
		ledger_events_remove(w, event_lsn);
}

static void publish(struct ledger *l, struct evidence_entry *const *entries, int *statuses, int64_t now_us)
{
	struct ledger_writer *w = &l->writer;
	struct ledger_segment *s = w->open;
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < w->members_count; i++) {
		const struct ledger_member *m = &w->members[i];
		if (is_record(entries[m->entry]->kind)) {
			ledger_index_add(&s->index, m->id_key, m->place);
			ledger_index_add(&s->index, m->hash_key, m->place);
		}
	}
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < w->members_count; i++) {
		const struct evidence_entry *e = entries[w->members[i].entry];
		statuses[w->members[i].entry] = RT_OK;
		s->foot.newest_us[ledger_class_of(e->kind)] = now_us;
		note_events(w, e);
	}
	s->foot.frames += w->members_count;
	s->foot.data_end += w->batch.n;
	w->tip = w->next;
	atomic_store(&l->durable_end, s->foot.data_end);
	atomic_store(&l->durable_lsn, w->tip.lsn);
	atomic_fetch_add(&l->batches, 1);
	atomic_fetch_add(&l->entries, w->members_count);
	struct ledger_durable d = { .lsn = w->tip.lsn, .seq = s->head.seq };
	uint8_t bytes[LEDGER_DURABLE];
	memcpy(d.ledger_id, l->id, sizeof d.ledger_id);
	ledger_durable_write(&d, bytes);
	ledger_io_write_all(l->io, l->durable_fd, bytes, sizeof bytes, 0); /* a hint: without it others see
									      less, never wrong */
}

static void fail_batch(struct ledger *l, struct evidence_entry *const *entries, int *statuses, int error,
		       int64_t now_us)
{
	static const uint8_t nothing[LEDGER_FRAME_HEAD];
	struct ledger_writer *w = &l->writer;
	char reason[sizeof entries[0]->reason];
	snprintf(reason, sizeof reason, "the ledger could not be written to disk (%s): nothing was recorded",
		 strerror(-error));
	log_line(LOG_ERROR, "ledger", "a batch failed; its segment is closed", LOG_CSTR("error", strerror(-error)),
		 LOG_INT("segment", (int64_t)w->open->head.seq), LOG_INT("entries", (int64_t)w->members_count));
	for (size_t i = 0; i < w->members_count; i++) {
		struct evidence_entry *e = entries[w->members[i].entry];
		statuses[w->members[i].entry] = refuse(e, status_of(error), reason);
		e->lsn = 0;
		if (e->kind == EVIDENCE_RECORD)
			e->stamp = (struct record_stamp){ 0 };
	}
	atomic_fetch_add(&l->sync_failures, 1);
	/* Should this process be killed before the next segment exists, what was refused must not be found as
	 * a frame. */
	ledger_io_write_all(l->io, w->fd, nothing, sizeof nothing, w->open->foot.data_end);
	close_segment(l, false);
	error = open_segment(l, now_us);
	if (error != 0)
		become_readonly(l, error);
}

/* Readers look into the index under the lock, and /ready takes it too: the larger one is made beside it. */
static bool reserve_index(struct ledger *l)
{
	struct ledger_writer *w = &l->writer;
	struct ledger_index *index = &w->open->index, larger, smaller;
	if (!ledger_index_grow(index, 2 * w->members_count, &larger))
		return false;
	if (larger.slots == NULL)
		return true;
	pthread_mutex_lock(&l->lock);
	smaller = *index;
	*index = larger;
	pthread_mutex_unlock(&l->lock);
	ledger_index_finish(&smaller);
	return true;
}

static void commit(struct ledger *l, struct evidence_entry *const *entries, int *statuses, int64_t now_us)
{
	int error = reserve_index(l) ? write_and_sync(l) : -ENOMEM;
	if (error == 0)
		publish(l, entries, statuses, now_us);
	else
		fail_batch(l, entries, statuses, error, now_us);
}

static void refuse_all(struct ledger *l, struct evidence_entry *const *entries, int *statuses, size_t first,
		       size_t count, int status)
{
	pthread_mutex_lock(&l->lock);
	for (size_t i = first; i < count; i++)
		statuses[i] = refuse(entries[i], status, l->reason);
	pthread_mutex_unlock(&l->lock);
}

void ledger_write(struct ledger *l, struct evidence_entry *const *entries, int *ret_statuses, size_t count,
		  int64_t now_us)
{
	struct ledger_writer *w = &l->writer;
	size_t i = 0;
	while (i < count) {
		int error = 0;
		atomic_store(&l->committing_since_ns, clock_mono_ns());
		if (atomic_load(&l->is_writable))
			refuse_what_is_lost(l);
		if (atomic_load(&l->is_writable) && w->open == NULL && (error = open_segment(l, now_us)) != 0)
			become_readonly(l, error);
		if (!atomic_load(&l->is_writable)) {
			refuse_all(l, entries, ret_statuses, i, count, error ? status_of(error) : RT_EREADONLY);
			break;
		}
		size_t end = gather(l, entries, ret_statuses, i, count, now_us);
		if (w->members_count > 0)
			commit(l, entries, ret_statuses, now_us);
		else if (end == i)
			close_segment(l, true);
		i = end;
	}
	atomic_store(&l->committing_since_ns, 0);
}

/* ---- housekeeping ---- */
static bool is_past(const struct ledger *l, const struct ledger_segment *s, int64_t now_us)
{
	const int64_t keep_ms[LEDGER_CLASSES] = {
		[LEDGER_CLASS_RECORD] = l->config.record_keep_ms,
		[LEDGER_CLASS_VALUE] = l->config.value_keep_ms,
		[LEDGER_CLASS_EVENT] = l->config.event_keep_ms,
	};
	uint64_t last_lsn = s->foot.after.lsn;
	/* What is damaged in it may be of any kind and age: then it stays, as evidence and for a repair. */
	if (!s->is_sealed || s->foot.corrupt_frames > 0 || last_lsn > atomic_load(&l->projected_lsn) ||
	    last_lsn >= ledger_events_from(l))
		return false;
	for (size_t c = 0; c < LEDGER_CLASSES; c++) {
		int64_t newest_us = s->foot.newest_us[c];
		if (newest_us != 0 && (keep_ms[c] == 0 || (now_us - newest_us) / 1000 < keep_ms[c]))
			return false;
	}
	return true;
}

static void retire(struct ledger *l, int64_t now_us)
{
	struct ledger_set *set = ledger_set_borrow(l);
	for (size_t i = 0; i < set->count; i++) {
		struct ledger_segment *s = set->segments[i];
		if (s != l->writer.open && is_past(l, s, now_us) && ledger_set_change(l, s, NULL))
			ledger_helper_push(l, LEDGER_JOB_RETIRE, s);
	}
	ledger_set_unref(set);
}

void ledger_maintain(struct ledger *l, int64_t now_us)
{
	for (struct ledger_job *job = ledger_helper_collect(l), *next; job != NULL; job = next) {
		next = job->next;
		if (job->sealed != NULL)
			ledger_set_change(l, job->segment, job->sealed);
		ledger_segment_unref(job->sealed);
		ledger_segment_unref(job->segment);
		free(job);
	}
	if (now_us - l->writer.retired_us >= RETENTION_EVERY_S * INT64_C(1000000)) {
		l->writer.retired_us = now_us;
		retire(l, now_us);
	}
}

void ledger_writer_finish(struct ledger *l)
{
	struct ledger_writer *w = &l->writer;
	if (w->open != NULL) {
		struct ledger_segment *s = w->open, *sealed = NULL;
		char name[LEDGER_SEGMENT_NAME];
		ledger_segment_name(s->head.seq, name);
		s->foot.after = w->tip;
		s->foot.events_from = ledger_events_from(l);
		close(w->fd);
		if (s->foot.frames == 0)
			l->io->unlink(l->io, l->dir_fd, name);
		else if (ledger_file_seal(l, s, &sealed) != 0)
			log_line(LOG_WARNING, "ledger", "the last segment could not be sealed; the next start does it");
		ledger_segment_unref(sealed);
		ledger_segment_unref(s);
	}
	ledger_hasher_destroy(w->hasher);
	buf_finish(&w->batch);
	free(w->members);
	free(w->events.places);
}
