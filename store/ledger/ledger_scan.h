/* A scan's inside, for verify: the frame behind what ledger_scan_next just gave. */
#pragma once
#include "store/ledger/ledger_private.h"
#include "store/ledger/ledger_walk.h"

struct ledger_scan_raw {
	const struct ledger_segment_file *file; /* NULL: no segment was entered yet. Borrows until the next
						   call */
	const uint8_t *frame;                   /* as file does; NULL when the last result was no frame */
	struct ledger_frame_head head;
	struct ledger_walk *walk;
};
void ledger_scan_raw(struct ledger_scan *s, struct ledger_scan_raw *ret);
struct log_scan *ledger_scan_base(struct ledger_scan *s);   /* the same scan, as a reader of a log_source knows it */
int ledger_scan_dir(const struct ledger_scan *s);           /* borrows */
uint64_t ledger_scan_durable(struct ledger_scan *s);        /* the last entry that is known durable now */
const uint8_t *ledger_scan_id(const struct ledger_scan *s); /* 16 bytes: the ledger's; borrows */
