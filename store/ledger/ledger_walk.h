/* Walks the frames of one segment file through a window of memory. Reads with pread, never mmap: a disk error
 * must come back as an error, not as a signal. */
#pragma once
#include "store/ledger/ledger_segment.h"

struct ledger_walk {
	const struct ledger_io *io;
	int fd; /* borrows */
	uint64_t epoch;
	uint64_t at;     /* where the next frame is expected */
	uint64_t end;    /* no frame reaches beyond */
	uint8_t *window; /* owned */
	size_t window_cap, window_bytes;
	uint64_t window_at;
};

enum ledger_walk_result {
	LEDGER_WALK_FRAME, /* a good frame; at is behind it */
	LEDGER_WALK_BAD,   /* no good frame of this epoch at `at`; at is unchanged */
	LEDGER_WALK_ERROR, /* cannot read (or no memory); *ret_error */
};

void ledger_walk_init(struct ledger_walk *w, const struct ledger_io *io, int fd, uint64_t epoch, uint64_t at,
		      uint64_t end);
void ledger_walk_finish(struct ledger_walk *w);
/* ret_frame: the frame's bytes, header first; borrows the window until the next call. */
enum ledger_walk_result ledger_walk_next(struct ledger_walk *w, struct ledger_frame_head *ret_head,
					 const uint8_t **ret_frame, int *ret_error);
/* Behind a bad place: moves `at` to the next good frame with lsn >= min_lsn. LEDGER_WALK_BAD: there is none,
 * at is unchanged. What it finds is read again by ledger_walk_next. */
enum ledger_walk_result ledger_walk_resync(struct ledger_walk *w, uint64_t min_lsn, struct ledger_frame_head *ret_head,
					   int *ret_error);
/* Looks at everything behind `at` and moves nothing: the highest durable LSN that a good frame there names (0
 * = none), and how far bytes of this epoch reach (0 = nothing is there). */
enum ledger_walk_result ledger_walk_look_behind(struct ledger_walk *w, uint64_t *ret_durable_lsn, uint64_t *ret_bytes,
						int *ret_error);
