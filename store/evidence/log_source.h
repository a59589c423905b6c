/* A log as those see it who only read it, in order: the projection, the warm start, the idempotency keys, the events of an
 * earlier life. The ledger is one; the readers know this interface and not the ledger. */
#pragma once
#include "store/evidence/evidence.h"

enum {
	LOG_SOURCE_CHAIN = 32,   /* bytes */
	LOG_SOURCE_ID_TEXT = 32, /* bytes; not NUL-terminated */
};

/* An entry as it was read. */
struct log_source_entry {
	enum evidence_kind kind;
	uint64_t lsn;
	int64_t written_us;        /* when it became durable */
	struct str body, extras;   /* borrow the scan's buffer until the next call */
	struct str context_id;     /* EVIDENCE_RECORD*; borrows as body does */
	const uint8_t *chain;      /* LOG_SOURCE_CHAIN bytes: the hash of the log up to here; borrows as body does */
	struct record_stamp stamp; /* EVIDENCE_RECORD: as stored; EVIDENCE_RECORD_IMPORTED: only record_hash */
	const char *path;          /* where it stands, for reports: a file, */
	uint64_t offset;           /* and a place in it */
	uint64_t lost_to;          /* LOG_SOURCE_CORRUPT: lsn..lost_to are missing */
};

enum log_source_result {
	LOG_SOURCE_ENTRY,   /* *ret is the next entry */
	LOG_SOURCE_END,     /* nothing more that is known durable; call again later */
	LOG_SOURCE_CORRUPT, /* entries that were durable are missing, and neither retention nor a person removed
			       them: ret->lsn, lost_to, path and offset say which and where. The scan goes on
			       behind them */
	LOG_SOURCE_ERROR,   /* I/O */
};

/* One reader's place in the log; the log's own struct begins with it. One thread at a time. */
struct log_scan {
	enum log_source_result (*next)(struct log_scan *s, struct log_source_entry *ret);
	void (*close)(struct log_scan *s);
};

/* Made by whoever keeps the log, valid as long as that is. All functions may block, but for the two positions. */
struct log_source {
	void *log; /* borrows; the first argument of all others */
	/* From the first entry with lsn >= from_lsn. NULL: *ret_why. Any thread. */
	struct log_scan *(*open)(void *log, uint64_t from_lsn, struct buf *ret_why);
	/* Everything up to here is durable. Any thread; cheap. */
	uint64_t (*durable_lsn)(const void *log);
	/* A reader tells how far it has come, so that the log can drop what nobody needs. Any thread; cheap. */
	void (*applied)(void *log, uint64_t lsn);
	/* A position from which on everything is that was written at us or later, and little before it. Any thread. */
	uint64_t (*lsn_at)(void *log, int64_t us);
	/* Events that were accepted and have no EVIDENCE_EVENT_APPLIED mark, in log order: what the last run left undone.
	 * Not those whose mark may be among what is lost: applying them could be the second time.
	 * Calls each (entry: borrows) for every one. Before the first append of this run. false: *ret_why. */
	bool (*pending_events)(void *log, void *arg, void (*each)(void *arg, const struct log_source_entry *entry),
			       struct buf *ret_why);
	/* Which log this is: random, made with it, the same for ever. Any thread. */
	void (*id_text)(const void *log, char ret[static LOG_SOURCE_ID_TEXT]);
};

static inline void log_scan_close(struct log_scan *s) /* NULL is fine */
{
	if (s != NULL)
		s->close(s);
}
