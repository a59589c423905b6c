/* Ranges of LSNs, and the file `gaps`: what the log no longer holds and is not to be missed, because retention
 * removed it or somebody accepted its loss. Every other LSN up to the durable one must be in a segment: so a
 * segment that was deleted, also the oldest one, is not taken for one that retention removed.
 *
 * The file is replaced as a whole, durably, before a segment goes. Ranges that touch become one, so that it
 * stays as short as the list of segments. */
#pragma once
#include "store/ledger/ledger_io.h"

struct ledger_range {
	uint64_t first, last; /* both belong to it */
};
/* Sorted; no two touch. */
struct ledger_ranges {
	struct ledger_range *items; /* owned */
	size_t count, cap;
};
void ledger_ranges_finish(struct ledger_ranges *r);
bool ledger_ranges_add(struct ledger_ranges *r, uint64_t first, uint64_t last); /* false: no memory */
/* The first part of first..last that is in no range. false: there is none. */
bool ledger_ranges_outside(const struct ledger_ranges *r, uint64_t first, uint64_t last, struct ledger_range *ret);
bool ledger_ranges_touch(const struct ledger_ranges *r, uint64_t first,
			 uint64_t last);                     /* any of first..last is in one */
uint64_t ledger_ranges_total(const struct ledger_ranges *r); /* LSNs in all of them */

/* 0 (also without such a file: no ranges), -EBADMSG (damaged, or another ledger's) or another negative errno.
 * *ret is to be finished. */
int ledger_gaps_read(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16],
		     struct ledger_ranges *ret);
/* Makes the file where there is none, with 1..last in it (last 0: with nothing). Each ledger has it from its first start on; one of an
 * earlier version has none, and what its oldest segment does not hold was removed by retention. 1: made; 0: there is one; or a
 * negative errno. */
int ledger_gaps_begin(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16], uint64_t last);
/* Adds first..last to the file, durably. One caller at a time. 0 or a negative errno, and then nothing was
 * changed. */
int ledger_gaps_add(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16], uint64_t first,
		    uint64_t last);
