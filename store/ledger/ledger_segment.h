/* Segment files: what stands before and behind the frames, and the directory that holds them.
 *
 *     block 0         header: which use of which segment this is, and what came before it
 *     4096..data_end  frames
 *     then            zeros, or rests of an earlier use
 *     sealed only     sorted index, its fences, and the footer in the last block of the file
 *
 * Files of a ledger: `<seq, 16 hex digits>.seg`; `reserve` (the next segment, filled with zeros or recycled);
 * `durable` (how far the log is on disk: a hint for other processes); `gaps` (what is rightly missing:
 * ledger_gaps.h); `lock`. Names that end in `.new` are
 * unfinished. */
#pragma once
#include "store/ledger/ledger_frame.h"
#include "store/ledger/ledger_io.h"
#include "store/record/record_chain.h"

enum { LEDGER_BLOCK = 4096, LEDGER_SEGMENT_NAME = 24 };
enum { LEDGER_SEGMENT_MIN = 64 << 10 };

/* The end of the log so far: what the next frame follows. */
struct ledger_tip {
	uint64_t lsn; /* of the last frame; 0 = none yet */
	uint8_t chain[LOG_SOURCE_CHAIN];
	struct record_chain records;
};

struct ledger_segment_head {
	uint8_t ledger_id[16];
	uint64_t seq, epoch, segment_bytes;
	uint64_t previous_seq, previous_end; /* the segment before and where its frames end; 0 = this is the
						first */
	int64_t created_us;
	uint64_t events_from; /* every event with a smaller LSN has its mark */
	struct ledger_tip before;
};

/* Retention looks at the newest entry of each class. */
enum ledger_class {
	LEDGER_CLASS_RECORD,
	LEDGER_CLASS_VALUE,
	LEDGER_CLASS_EVENT,
	LEDGER_CLASS_DOCUMENT,
	LEDGER_CLASSES
};
enum ledger_class ledger_class_of(enum evidence_kind kind);

struct ledger_segment_foot {
	uint64_t seq, epoch;
	uint64_t data_end;
	uint64_t index_at, index_entries;
	uint64_t frames, corrupt_frames, torn_bytes;
	uint64_t events_from;
	int64_t newest_us[LEDGER_CLASSES]; /* 0 = nothing of the class */
	struct ledger_tip after;
};

/* A block of a file: magic, CRC of what follows it, version, then the caller's fields from byte 16 on. */
void ledger_block_seal(uint8_t *block, size_t n, const char magic[static 8]);
bool ledger_block_is_good(const uint8_t *block, size_t n, const char magic[static 8]);

/* The highest number of a segment: 4 million a second for 30,000 years. A file with a higher one is a stray. */
#define LEDGER_SEQ_MAX (UINT64_C(1) << 62)
void ledger_segment_name(uint64_t seq, char ret[static LEDGER_SEGMENT_NAME]);
void ledger_segment_head_write(const struct ledger_segment_head *head, uint8_t block[static LEDGER_BLOCK]);
bool ledger_segment_head_read(const uint8_t block[static LEDGER_BLOCK], struct ledger_segment_head *ret);
void ledger_segment_foot_write(const struct ledger_segment_foot *foot, uint8_t block[static LEDGER_BLOCK]);
bool ledger_segment_foot_read(const uint8_t block[static LEDGER_BLOCK], struct ledger_segment_foot *ret);

/* One segment as a directory listing finds it. */
struct ledger_segment_file {
	uint64_t seq; /* from the name */
	uint64_t file_bytes;
	bool has_head, has_foot;
	struct ledger_segment_head head;
	struct ledger_segment_foot foot;
};
/* 0, -ENOENT (gone) or another negative errno. A damaged or unreadable header is no error: has_head is
 * false. */
int ledger_segment_look(const struct ledger_io *io, int dir_fd, uint64_t seq, struct ledger_segment_file *ret);

struct ledger_catalog {
	struct ledger_segment_file *files; /* owned, by seq */
	size_t count;
};
/* Segments with seq >= from_seq. 0 or a negative errno. */
int ledger_catalog_load(const struct ledger_io *io, int dir_fd, uint64_t from_seq, struct ledger_catalog *ret);
void ledger_catalog_finish(struct ledger_catalog *c);
/* Where the frames of files[i] end at the latest: its own footer, the successor's header, or the file's
 * end. */
uint64_t ledger_catalog_end(const struct ledger_catalog *c, size_t i);
/* The log's end behind files[i], as its own footer or the next readable header says. NULL: nobody does. */
const struct ledger_tip *ledger_catalog_tip(const struct ledger_catalog *c, size_t i);

/* The `durable` file. */
struct ledger_durable {
	uint8_t ledger_id[16];
	uint64_t lsn;
	uint64_t seq; /* newest segment then */
};
enum { LEDGER_DURABLE = 64 };
void ledger_durable_write(const struct ledger_durable *d, uint8_t ret[static LEDGER_DURABLE]);
bool ledger_durable_read(const struct ledger_io *io, int fd, struct ledger_durable *ret);
