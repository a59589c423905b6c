/* Recovery's parts; see ledger_recover.c for the rules. */
#pragma once
#include "store/evidence/entries.h"
#include "store/ledger/ledger_private.h"

/* Walks segment files[i]: an unsealed one, or a sealed one in which damage was found. hint_lsn: what the
 * `durable` file says. NULL: *ret_error. The result's foot tells what was found; corrupt_frames and torn_bytes
 * are set, and what is missing in it is added to l->lost. */
struct ledger_segment *ledger_recover_segment(struct ledger *l, const struct ledger_catalog *c, size_t i,
					      uint64_t hint_lsn, int *ret_error);
/* Fills writer.events from the frames at from_lsn and later. */
bool ledger_recover_events(struct ledger *l, uint64_t from_lsn, struct buf *ret_why);

/* The LSNs of events without their mark. */
bool ledger_events_add(struct ledger_writer *w, uint64_t lsn); /* false: no memory */
bool ledger_events_reserve(struct ledger_writer *w, size_t extra);
void ledger_events_remove(struct ledger_writer *w, uint64_t lsn);
/* Of place first..end: its LSN, or 0 when the event has its mark by now. */
uint64_t ledger_events_at(const struct ledger_events *e, size_t i);
