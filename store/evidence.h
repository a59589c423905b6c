/* Evidence: the entries that a backend keeps in order and for ever, and the records among them, which are found again by id
 * or hash. Whoever keeps them answers these messages: the ledger in embedded mode.
 *
 * Order is part of the contract: what one loop appends is durable in that order, and an answer means that it is durable. */
#pragma once
#include "runtime/loop.h"
#include "store/record.h"

/* What an entry holds. Numbers are on disk: never reuse one. */
enum ledger_kind {
	LEDGER_RECORD = 1,          /* a record made here: canonical bytes, extras, stamp */
	LEDGER_RECORD_IMPORTED = 2, /* a receipt made elsewhere: its own bytes, outside the chain */
	LEDGER_VALUES = 3,          /* feature values written (computed, pushed, materialised):
				       store/entries.h */
	LEDGER_DELETE = 4,          /* online values of an entity removed: tombstones */
	LEDGER_EVENT = 5,           /* an event accepted by ingest */
	LEDGER_EVENT_APPLIED = 6,   /* the values an event gave, and that it is done: one frame, so exactly
				       once */
	LEDGER_DOCUMENT = 7,
	LEDGER_DOCUMENT_DELETE = 8,
};

/* One entry on its way to disk. Heap; moves with the append and comes back with the reply. */
struct ledger_entry {
	enum ledger_kind kind;
	struct buf body;    /* LEDGER_RECORD: canonical text (predecessor null); LEDGER_RECORD_IMPORTED: the
			       record as it came; else the payload of store/entries.h */
	struct buf extras;  /* LEDGER_RECORD only */
	size_t previous_at; /* LEDGER_RECORD: offset of the null that the predecessor replaces */
	char context_id[40];/* LEDGER_RECORD*: "ctx_" and uuid; not NUL-terminated when 40 long */
	/* filled by the committer */
	uint64_t lsn;       /* position in log order, 1.. */
	struct record_stamp stamp;             /* LEDGER_RECORD. LEDGER_RECORD_IMPORTED: the asker sets
						  record_hash */
	char previous_context_id[40 + 1];      /* "" = first of the chain */
	bool already_there; /* LEDGER_RECORD_IMPORTED with the same id and hash: nothing was written */
	char reason[160];   /* of a failure, for people; no paths, no errno numbers alone */
};
struct ledger_entry *ledger_entry_new(enum ledger_kind kind);
void ledger_entry_free(struct ledger_entry *e);

enum ledger_msg {
	LEDGER_APPEND = MSG_KIND(CLASS_LEDGER, 1),   /* ask: struct ledger_append */
	LEDGER_APPENDED = MSG_KIND(CLASS_LEDGER, 2), /* reply: struct ledger_append with head.status: 0,
							RT_EIO, RT_EREADONLY, RT_EFULL (disk), RT_EEXIST
							(import: same id, other hash), RT_ETOOBIG, RT_EINVAL
							(entry->reason says why) */
	LEDGER_FIND = MSG_KIND(CLASS_LEDGER, 3),     /* ask to a ledger_reader actor: struct ledger_find */
	LEDGER_FOUND = MSG_KIND(CLASS_LEDGER, 4),    /* reply: struct ledger_found; status RT_ENOTFOUND, or
							RT_EIO: it may be in a part that cannot be read */
};
struct ledger_append {
	struct msg head; /* dispose frees entry */
	struct ledger_entry *entry; /* moves both ways */
};
struct ledger_append *ledger_append_new(struct loop *loop, struct ledger_entry *entry); /* moves entry */

/* How a record is named: by its id or by its record_hash. */
struct ledger_name {
	bool by_hash;
	uint8_t id_n;      /* 0 and not by_hash: names nothing, found by nobody */
	union {
		char id[40];
		uint8_t hash[32];
	};
};
/* ref: "ctx_<uuid>", a bare UUID, or "sha256:<hex>". false: none of these; *ret then names nothing. */
bool ledger_name_parse(struct str ref, struct ledger_name *ret);
struct ledger_find {
	struct msg head;
	struct ledger_name name;
	bool want_view; /* extras too */
};
struct ledger_find *ledger_find_new(struct loop *loop, struct str ref, bool want_view);
struct ledger_record { /* heap; one read of one record */
	struct buf canonical, extras;
	struct record_stamp stamp;
	bool imported; /* then canonical is the record as it came, and stamp only has the hash */
	uint64_t lsn;
};
struct ledger_found {
	struct msg head; /* dispose frees both */
	struct ledger_record *record;
	char *reason; /* RT_EIO: why, for people; may be NULL */
};
void ledger_record_free(struct ledger_record *r);

/* Replies; for who answers. */
struct ledger_append *ledger_appended_new(struct loop *loop, struct ledger_entry *entry, int status); /* moves entry */
struct ledger_found *ledger_found_new(struct loop *loop, struct ledger_record *record, int status);   /* moves record */
