/* The ledger: embedded mode's source of truth. An append-only log of segments with one committer.
 *
 * The committer is an actor on a blocking loop of its own. Its mailbox is the queue: what has arrived in a
 * turn is written and synced once, then every append is answered. Nothing is answered before its bytes are on
 * disk. Format, recovery and fault rules: docs/ledger.md. */
#pragma once
#include "store/evidence/log_source.h"

enum { LEDGER_BATCH_BYTES_DEFAULT = 8 << 20 };
/* Of an entry's payload, with batches of the default size. segment_bytes: 64 KiB to 16 GiB, the bounds of a segment. */
size_t ledger_entry_bytes_max(size_t segment_bytes);

struct ledger_config {
	const char *dir;                                      /* borrowed during open */
	size_t segment_bytes;                                 /* 0 = 64 MiB */
	size_t batch_bytes_max;                               /* 0 = LEDGER_BATCH_BYTES_DEFAULT */
	const struct record_signer *signer;                   /* shares; may be NULL */
	int64_t record_keep_ms, value_keep_ms, event_keep_ms; /* retention; 0 = for ever */
	bool temporary;                                       /* :memory: mode: removed at close */
};

struct ledger_health {
	bool writable;        /* false also while a commit has been under way for 5 s and more */
	char reason[384];     /* why not, for /ready */
	uint64_t durable_lsn; /* everything up to here is on disk */
	uint64_t bytes, segments, batches, entries, sync_failures, corrupt_frames;
	uint64_t lost_entries; /* were durable and are in no segment that can be read; retention does not count */
	uint64_t
	    doubtful_events; /* without a mark that can be read, before entries that are lost: applied or not, nobody knows */
	uint64_t damaged_reads; /* by id or hash, since the start, that met bytes which are not what was written */
	char damage[256];       /* both in words, with the cure, for /ready; "" = none is known */
};

/* Opens or creates, locks the directory, recovers. Blocking; start-up only. NULL: *ret_why (owned by out)
 * says why. */
struct ledger *ledger_open(const struct ledger_config *config, struct buf *ret_why);
void ledger_close(struct ledger *l); /* after its loops have ended; syncs, unlocks */
/* From now on nothing is appended (RT_EREADONLY), for reason, which `fabra ledger verify` finds in the file `lock` while this
 * process lives. Before the committer is spawned. */
void ledger_refuse(struct ledger *l, const char *reason);
/* The committer, on its own blocking loop; one per ledger. */
struct actor_ref ledger_spawn_committer(struct ledger *l, struct loop *loop);
/* Readers answer EVIDENCE_FIND with one pread; on any blocking loop but the committer's. */
struct actor_ref ledger_spawn_reader(struct ledger *l, struct loop *loop);
void ledger_health_read(struct ledger *l, struct ledger_health *ret); /* any thread */
void ledger_publish(struct ledger *l);                                /* its health as metrics; one thread */
uint64_t ledger_durable_lsn(const struct ledger *l);                  /* any thread; one atomic load */
/* For those who read it in order beside the server's own writing: the projection, the start. Valid until the close. */
const struct log_source *ledger_log_source(const struct ledger *l);

/* ---- reading in order from outside: verify, stat. Works beside a running server, in any process. ---- */
struct ledger_scan;
/* From the first frame with lsn >= from_lsn. NULL: no ledger there. l: the open ledger, or NULL to read dir
 * from outside. NULL: errno says what it is, too. */
struct ledger_scan *ledger_scan_open(struct ledger *l, const char *dir, uint64_t from_lsn, struct buf *ret_why);
enum log_source_result ledger_scan_next(struct ledger_scan *s, struct log_source_entry *ret);
void ledger_scan_close(struct ledger_scan *s);

/* The ledger of a folder as a log_source, as it lies there: for who compares it with what was made from it. */
struct ledger_outside {
	struct log_source source;
	const char *dir;      /* borrows */
	uint64_t durable_lsn; /* 0: there is no ledger, or an empty one */
	uint8_t id[16];
};
/* false: what is there cannot be read, *ret_why. A folder that is not there is an empty ledger. */
bool ledger_outside_init(struct ledger_outside *o, const char *dir, struct buf *ret_why);
/* Why the server that has it open appends nothing (ledger_refuse). false: no server has it open, or it does append. */
bool ledger_refusal_read(const char *dir, struct buf *ret_reason);

/* Whole check: CRCs, frame chain, record hashes, record chain, signatures (signer may be NULL). Appends
 * findings as JSON objects, one per line, to out. Signatures whose key is not at hand are a note, and a problem where
 * signer's mode is required. Returns the number of problems; -1: cannot read (out says why). */
struct ledger_report {
	uint64_t segments, frames, records, values, events, problems, torn_tails;
	uint64_t signatures_unchecked; /* signed, and their key is not at hand */
	uint64_t first_lsn, last_lsn, bytes;
	char last_context_id[41];
};
int64_t ledger_verify(const char *dir, const struct record_signer *signer, struct ledger_report *ret, struct buf *out);
/* What was made from a ledger knows it by this identity and up to this entry. */
struct ledger_known {
	uint8_t id[16];
	uint64_t lsn;
};
/* Accepts that entries which verify calls damaged or missing are lost: from then on they are no problem, like
 * those that retention removed. So are those up to known->lsn that the ledger does not have; one that is empty, or not there,
 * takes that identity. The caller has compared: a ledger with entries of its own is not known's by mistake. known: NULL ok. Their bytes stay where they are; files that cannot be used are renamed to
 * `<name>.damaged`. Not beside a server. What was done is appended to out as JSON lines. Returns how many
 * entries; -1: out says why not. */
int64_t ledger_accept_losses(const char *dir, const struct ledger_known *known, struct buf *out);
