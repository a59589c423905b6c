/* Evidence: the entries that a backend keeps in order and for ever, and the records among them, which are found again by id
 * or hash. Whoever keeps them answers these messages: the ledger in embedded mode.
 *
 * Order is part of the contract: what one loop appends is durable in that order, and an answer means that it is durable. */
#pragma once
#include "runtime/loop.h"
#include "store/record/record.h"

/* What an entry holds. Numbers are on disk: never reuse one. */
enum evidence_kind {
	EVIDENCE_RECORD = 1,          /* a record made here: canonical bytes, extras, stamp */
	EVIDENCE_RECORD_IMPORTED = 2, /* a receipt made elsewhere: its own bytes, outside the chain */
	EVIDENCE_VALUES = 3,          /* feature values written (computed, pushed, materialised):
				       store/evidence/entries.h */
	EVIDENCE_DELETE = 4,          /* online values of an entity removed: tombstones */
	EVIDENCE_EVENT = 5,           /* an event accepted by ingest */
	EVIDENCE_EVENT_APPLIED = 6,   /* the values an event gave, and that it is done: one frame, so exactly
				       once */
	EVIDENCE_DOCUMENT = 7,
	EVIDENCE_DOCUMENT_DELETE = 8,
};

/* What an entry's maker has to do where the log's order is made. Both are called on the committer's thread, and entries do
 * not overtake each other in them; neither may block or take long. */
struct evidence_entry;
struct evidence_hook {
	/* Before the entry is written, in the order of the log. It may change the body. false: it is refused with
	 * RT_ECONFLICT. */
	bool (*admit)(struct evidence_hook *h, struct evidence_entry *e);
	/* Of an admitted one: durable (RT_OK), or refused. In the order of the log, and before any append of the same batch is
	 * answered. */
	void (*ended)(struct evidence_hook *h, const struct evidence_entry *e, int status, int64_t now_us);
	void (*destroy)(struct evidence_hook *h); /* any thread */
};

/* One entry on its way to disk. Heap; moves with the append and comes back with the reply. */
struct evidence_entry {
	enum evidence_kind kind;
	struct buf body;    /* EVIDENCE_RECORD: canonical text (predecessor null); EVIDENCE_RECORD_IMPORTED: the
			       record as it came; else the payload of store/evidence/entries.h */
	struct buf extras;  /* EVIDENCE_RECORD only */
	size_t previous_at; /* EVIDENCE_RECORD: offset of the null that the predecessor replaces */
	char context_id[RECORD_ID_MAX]; /* EVIDENCE_RECORD*: "ctx_" and uuid; not NUL-terminated when 40 long */
	struct evidence_hook *hook;     /* owned; NULL = none */
	/* filled by the committer */
	uint64_t lsn;              /* position in log order, 1..; where positions are UUIDs the upper half */
	uint64_t lsn_low;          /* and then the lower half; else 0 */
	struct record_stamp stamp; /* EVIDENCE_RECORD. EVIDENCE_RECORD_IMPORTED: the asker sets
						  record_hash */
	char previous_context_id[RECORD_ID_MAX + 1]; /* "" = first of the chain */
	bool already_there; /* EVIDENCE_RECORD_IMPORTED with the same id and hash: nothing was written */
	char reason[160];   /* of a failure, for people; no paths, no errno numbers alone */
};
struct evidence_entry *evidence_entry_new(enum evidence_kind kind);
void evidence_entry_free(struct evidence_entry *e);

/* The makers of messages take the loop of whoever asks; NULL: on any thread, for loop_post. */
enum { CLASS_EVIDENCE = 32 };
enum evidence_msg {
	EVIDENCE_APPEND = MSG_KIND(CLASS_EVIDENCE, 1),   /* ask: struct evidence_append */
	EVIDENCE_APPENDED = MSG_KIND(CLASS_EVIDENCE, 2), /* reply: struct evidence_append with head.status: 0,
							RT_EIO, RT_EREADONLY, RT_EFULL (disk), RT_EEXIST
							(import: same id, other hash), RT_ETOOBIG, RT_EINVAL,
							RT_ECONFLICT (by its hook)
							(entry->reason says why) */
	EVIDENCE_FIND = MSG_KIND(CLASS_EVIDENCE, 3),     /* ask: struct evidence_find */
	EVIDENCE_FOUND = MSG_KIND(CLASS_EVIDENCE, 4),    /* reply: struct evidence_found; status RT_ENOTFOUND, or
							RT_EIO: it may be in a part that cannot be read */
	EVIDENCE_LIST = MSG_KIND(CLASS_EVIDENCE, 5),     /* ask: struct evidence_list */
	EVIDENCE_LEGACY = MSG_KIND(CLASS_EVIDENCE, 6),   /* ask: struct evidence_legacy; RT_ENOTFOUND */
	EVIDENCE_ANSWER = MSG_KIND(CLASS_EVIDENCE, 7),   /* reply to both: struct evidence_answer with status 0,
							  RT_EDEADLINE, RT_ETOOBIG, RT_EIO, RT_EFULL (too many wait) */
};
struct evidence_append {
	struct msg head;              /* dispose frees entry */
	struct evidence_entry *entry; /* moves both ways */
};
struct evidence_append *evidence_append_new(struct loop *loop, struct evidence_entry *entry); /* moves entry */

/* How a record is named: by its id or by its record_hash. */
struct evidence_name {
	bool by_hash;
	uint8_t id_n; /* 0 and not by_hash: names nothing, found by nobody */
	union {
		char id[RECORD_ID_MAX];
		uint8_t hash[32];
	};
};
/* ref: "ctx_<uuid>", a bare UUID, or "sha256:<hex>". false: none of these; *ret then names nothing. */
bool evidence_name_parse(struct str ref, struct evidence_name *ret);
/* Whether it names the record of this id and hash. */
bool evidence_name_matches(const struct evidence_name *name, struct str id, const uint8_t hash[static 32]);
struct evidence_find {
	struct msg head;
	struct evidence_name name;
	bool want_view; /* extras too */
};
struct evidence_find *evidence_find_new(struct loop *loop, struct str ref, bool want_view);
struct evidence_record { /* heap; one read of one record */
	struct buf canonical, extras;
	struct record_stamp stamp;
	bool imported; /* then canonical is the record as it came, and stamp only has the hash */
	uint64_t lsn;
};
struct evidence_found {
	struct msg head; /* dispose frees both */
	struct evidence_record *record;
	char *reason; /* RT_EIO: why, for people; may be NULL */
};
void evidence_record_free(struct evidence_record *r);

/* ---- lists ---- */
/* Contexts, newest first: all of which an append was answered before the question came, and those of Fabra's Python program. */
struct evidence_list {
	struct msg head;
	int64_t start_us, end_us; /* inclusive; INT64_MIN / INT64_MAX = open */
	int32_t limit;
	bool with_inputs;          /* a column more: the arguments, an object */
	char *name;                /* moves; NULL = any */
	char *freshness_status;    /* moves; NULL = any */
	char *id_prefix;           /* moves; NULL = any; the beginning of a context id */
	char *input, *input_value; /* move; NULL = any; an argument and its value as text */
};
/* Open bounds, limit 100. The texts are heap, moved in. */
struct evidence_list *evidence_list_new(struct loop *loop);

/* ---- what others wrote ---- */
/* A record or context that only Fabra's Python program knew. */
enum evidence_legacy_view {
	LEGACY_RECORD,  /* in declared order */
	LEGACY_CONTEXT, /* as GET /v1/context/{id} answers it */
	LEGACY_LINEAGE, /* .../lineage */
	LEGACY_TRACE,   /* .../explain */
};
struct evidence_legacy {
	struct msg head; /* dispose frees ref */
	char *ref;       /* moves; "ctx_<uuid>", a bare UUID, "sha256:<hex>", or an id as Python wrote it */
	enum evidence_legacy_view view;
};
struct evidence_legacy *evidence_legacy_new(struct loop *loop, struct str ref,
					    enum evidence_legacy_view view); /* copies */
struct evidence_answer {
	struct msg head;
	/* EVIDENCE_LIST: a JSON array; EVIDENCE_LEGACY: an object; on failure one line of text for people, without paths. */
	struct buf json;
	uint64_t missing_entries; /* EVIDENCE_LIST: of the log, that are damaged and so not in the list */
	uint32_t rows;
};

/* Who answers which ask. */
struct evidence_store {
	struct actor_ref append, find, list, legacy;
	struct actor_ref appenders[LOOPS_MAX]; /* by loop_id - 1: whom that loop asks to append; none: append */
};
/* Whom an actor of this loop asks to append. */
static inline struct actor_ref evidence_appender(const struct evidence_store *s, const struct loop *loop)
{
	struct actor_ref own = s->appenders[loop_id(loop) - 1];
	return ref_is_none(own) ? s->append : own;
}

/* ---- replies; for who answers ---- */
struct evidence_answer *evidence_answer_new(struct loop *loop);
void evidence_answer_fail(struct evidence_answer *m, int status, struct str text); /* copies */
struct evidence_append *evidence_appended_new(struct loop *loop, struct evidence_entry *entry,
					      int status); /* moves entry */
struct evidence_found *evidence_found_new(struct loop *loop, struct evidence_record *record,
					  int status); /* moves record */
