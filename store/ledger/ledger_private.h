/* Inside the ledger: what its files share. Nothing outside store/ledger/ledger*.c and its tests includes this.
 *
 * Threads. The committer owns `struct ledger_writer` and is the only one who appends. One helper thread seals
 * full segments, prepares the reserve and disposes of retired files; it takes no lock that the committer or a
 * reader ever waits for (it runs at a low priority and may be kept waiting), jobs and results go through two
 * lock-free stacks. Readers take `lock` for the moment that it takes to get the set of segments and to probe
 * the open one's index. Scans share nothing but two atomic numbers: they read the files as another process
 * would. */
#pragma once
#include "store/ledger/ledger_gaps.h"
#include "store/ledger/ledger_index.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* A segment in memory. head and, once closed, foot never change. */
struct ledger_segment {
	atomic_uint refs;
	bool is_sealed; /* its index is in the file */
	struct ledger_segment_head head;
	struct ledger_segment_foot foot; /* of the open one: kept up by the committer */
	struct ledger_index index;       /* not sealed. Of the open one: under ledger.lock */
	struct ledger_fences fences;     /* sealed */
};
struct ledger_segment *ledger_segment_create(const struct ledger_segment_head *head); /* NULL: no memory */
void ledger_segment_unref(struct ledger_segment *s);

/* The live segments, oldest first. Immutable; swapped whole. */
struct ledger_set {
	atomic_uint refs;
	size_t count;
	struct ledger_segment *segments[]; /* shares */
};
struct ledger_set *ledger_set_borrow(struct ledger *l); /* end with ledger_set_unref. Any thread */
void ledger_set_unref(struct ledger_set *set);
/* Swaps in a set without `leaving` (NULL ok) and with `coming` (NULL ok; shares) in its place or at the end.
 * Committer and open only. false: no memory, nothing changed. */
bool ledger_set_change(struct ledger *l, struct ledger_segment *leaving, struct ledger_segment *coming);

/* ---- helper ---- */
struct ledger_job {
	struct ledger_job *next;
	enum { LEDGER_JOB_SEAL, LEDGER_JOB_RETIRE } kind;
	struct ledger_segment *segment; /* shares */
	struct ledger_segment *sealed;  /* result of a seal; NULL: it failed, the old one stays in use */
};
enum ledger_reserve { LEDGER_RESERVE_NONE, LEDGER_RESERVE_READY, LEDGER_RESERVE_TAKEN };
struct ledger_helper {
	pthread_t thread;
	bool has_thread;
	atomic_bool is_stopping;
	sem_t wake;
	_Atomic(struct ledger_job *) todo, done;
	/* The file `reserve`: the helper goes from NONE to READY, the committer from READY over TAKEN to
	 * NONE. While it is TAKEN the helper keeps its hands off the name. */
	_Atomic(enum ledger_reserve) reserve;
	atomic_int reserve_error; /* of the last try to make one */
	/* The helper thread's own. */
	unsigned preallocated; /* the files reserve.1, reserve.2 ... */
	int zeros_fd;          /* reserve.new, as far as it is made; -1: none is being made */
	uint64_t zeros_at;
};
int ledger_helper_start(struct ledger *l);
void ledger_helper_stop(struct ledger *l); /* joins; the jobs that wait are done */
/* Shares segment. false: no memory, nothing was handed over. */
bool ledger_helper_push(struct ledger *l, int kind, struct ledger_segment *segment);
void ledger_helper_wake(struct ledger *l);
struct ledger_job *ledger_helper_collect(struct ledger *l); /* a list; the caller frees each and drops what it
							       shares */

/* ---- files ---- */
/* Writes index, fences and footer behind the frames, syncs, and gives room that is not needed back. */
int ledger_file_seal(struct ledger *l, const struct ledger_segment *s, struct ledger_segment **ret_sealed);
/* Makes the next segment from the reserve (is_reserve) or a new file; durable under its name when this
 * returns. Returns the descriptor or a negative errno, and then leaves nothing behind. */
int ledger_file_activate(struct ledger *l, const struct ledger_segment_head *head, bool is_reserve);
/* Removes a sealed segment, or makes it the reserve; `gaps` says so first. */
int ledger_file_retire(struct ledger *l, const struct ledger_segment *s);
struct ledger_segment *ledger_file_load_sealed(struct ledger *l, const struct ledger_segment_file *f, int *ret_error);

/* ---- the reserve; the helper only ---- */
enum { LEDGER_PREALLOCATED_MAX = 4 };
#define LEDGER_RESERVE_NAME "reserve"
/* At the start: what an earlier one left. */
void ledger_reserve_adopt(struct ledger *l);
/* Makes a file of zeros, by one piece more; a whole one becomes the reserve if there is none, else one
 * of the files behind it. 0 or a negative errno, and then nothing is left of it. */
int ledger_reserve_make_piece(struct ledger *l);
void ledger_reserve_drop_unfinished(struct ledger *l);
bool ledger_reserve_use_preallocated(
    struct ledger *l); /* as the reserve, which is NONE; false: there was no usable one */
bool ledger_reserve_has_room_to_preallocate(const struct ledger *l);

/* ---- writer ---- */
struct ledger_member { /* a frame of the batch being built */
	size_t entry;
	uint64_t place, id_key, hash_key; /* keys: records only */
};
struct ledger_events {    /* without their mark; ledger_events.c */
	uint64_t *places; /* owned; first..end are in use */
	size_t first, end, cap;
	size_t waiting;
};
struct ledger_writer {
	int fd;                      /* of the open segment; -1 = none yet, or none possible */
	struct ledger_segment *open; /* shares */
	struct ledger_tip tip;       /* durable */
	struct ledger_tip next;      /* with the batch being built */
	uint64_t last_seq, last_end; /* of the segment before the next one */
	uint64_t newest_seq;         /* highest number ever used */
	EVP_MD_CTX *hasher;
	struct buf batch;
	struct ledger_member *members; /* owned */
	size_t members_count, members_cap;
	struct ledger_events events;
	int64_t retired_us; /* when retention was last looked at */
};
/* Writes entries in order, syncs, and says for each how it went: 0 or RT_E*. Blocks. now_us: wall clock. */
void ledger_write(struct ledger *l, struct evidence_entry *const *entries, int *ret_statuses, size_t count,
		  int64_t now_us);
/* Tries to become writable again. Cheap when it is already. */
bool ledger_reopen(struct ledger *l, int64_t now_us);
/* Takes over what the helper finished; applies retention, once a minute at most. */
void ledger_maintain(struct ledger *l, int64_t now_us);
void ledger_writer_finish(struct ledger *l); /* seals the open segment, or drops an empty one */
uint64_t ledger_events_from(const struct ledger *l);

/* ---- what its log_source gives; ledger_source.c ---- */
void ledger_id_text(const struct ledger *l, char ret[static LOG_SOURCE_ID_TEXT]);
/* Reads from the oldest unmarked event on, a place that segment headers and footers keep. Before the committer runs. */
bool ledger_pending_events(struct ledger *l, void *arg, void (*each)(void *arg, const struct log_source_entry *entry),
			   struct buf *ret_why);
/* Where the segment begins that was the newest at us. */
uint64_t ledger_lsn_at(struct ledger *l, int64_t us);
void ledger_set_projected_lsn(struct ledger *l, uint64_t lsn);
void ledger_source_init(struct ledger *l);

/* ---- reading ---- */
/* 0, RT_ENOTFOUND or RT_EIO (reason says what). Any thread. */
int ledger_find_record(struct ledger *l, const struct evidence_name *name, bool want_view, struct evidence_record **ret,
		       char reason[static 160]);
int ledger_read_durable(const struct ledger_io *io, int dir_fd, struct ledger_durable *ret);

/* A commit that takes longer shows a disk that hangs. Whoever waits for it has had its answer (504) by then. */
#define LEDGER_STALL_NS (5 * UINT64_C(1000000000))

struct ledger {
	struct ledger_config config; /* dir: owned */
	const struct ledger_io *io;
	struct log_source source;
	int dir_fd, lock_fd, durable_fd;
	uint8_t id[16];
	struct ledger_writer writer;
	struct ledger_helper helper;

	pthread_mutex_t lock;
	struct ledger_set *set; /* under lock */
	char reason[384];       /* under lock; why it is not writable */

	bool is_refusing; /* for good: ledger_refuse */
	atomic_bool is_writable;
	_Atomic uint64_t committing_since_ns; /* monotonic; 0 = no commit is under way */
	_Atomic uint64_t durable_lsn;         /* written after newest_seq, so that who reads both in that order knows
					 every segment */
	_Atomic uint64_t newest_seq;
	_Atomic uint64_t durable_end; /* where the durable part of segment newest_seq ends; written after newest_seq and
					 before durable_lsn; UINT64_MAX: the files say it */
	_Atomic uint64_t projected_lsn;
	_Atomic uint64_t batches, entries, sync_failures, corrupt_frames, damaged_reads;
	uint64_t published_damaged_reads, published_sync_failures; /* the publisher's */
	/* Entries that were durable and are in no segment that can be read. Found by the start; never changes. */
	struct ledger_ranges lost;
	/* An event before this LSN without a mark may have had one that is lost. Of them there are so many. The start's; never change. */
	uint64_t doubt_to, doubtful_events;
	struct ledger_ranges gaps; /* as the start found them; the start's own */
};
/* ledger_open with another file system beneath. */
struct ledger *ledger_open_on(const struct ledger_config *config, const struct ledger_io *io, struct buf *ret_why);
