#include "store/ledger/ledger_walk.h"
#include "runtime/check.h"
#include "store/text/bytes.h"
#include <errno.h>
#include <stdlib.h>

enum { WINDOW_BYTES = 256 << 10 };

void ledger_walk_init(struct ledger_walk *w, const struct ledger_io *io, int fd, uint64_t epoch, uint64_t at,
		      uint64_t end)
{
	*w = (struct ledger_walk){ .io = io, .fd = fd, .epoch = epoch, .at = at, .end = end };
}

void ledger_walk_finish(struct ledger_walk *w)
{
	free(w->window);
	*w = (struct ledger_walk){ .fd = -1 };
}

/* The window then starts at `at` and holds `need` bytes; false: *ret_error, or 0 when the file is shorter. */
static bool fill(struct ledger_walk *w, uint64_t at, size_t need, int *ret_error)
{
	*ret_error = 0;
	if (need > w->window_cap) {
		size_t cap = need > WINDOW_BYTES ? need : WINDOW_BYTES;
		uint8_t *window = realloc(w->window, cap);
		if (window == NULL) {
			*ret_error = -ENOMEM;
			return false;
		}
		w->window = window;
		w->window_cap = cap;
	}
	size_t n = w->window_cap;
	if (n > w->end - at)
		n = (size_t)(w->end - at);
	ssize_t got = ledger_io_read_all(w->io, w->fd, w->window, n, at);
	w->window_at = at;
	w->window_bytes = got < 0 ? 0 : (size_t)got;
	if (got < 0)
		*ret_error = (int)got;
	return got >= 0 && w->window_bytes >= need;
}

static bool holds(const struct ledger_walk *w, uint64_t at, uint64_t n)
{
	return at >= w->window_at && at + n <= w->window_at + w->window_bytes;
}

/* Judges the bytes at `at`, from the window where it holds them. NULL: not a good frame, or *ret_error. */
static const uint8_t *frame_at(struct ledger_walk *w, uint64_t at, struct ledger_frame_head *ret_head, int *ret_error)
{
	*ret_error = 0;
	if (at + LEDGER_FRAME_HEAD > w->end)
		return NULL;
	if (!holds(w, at, LEDGER_FRAME_HEAD) && !fill(w, at, LEDGER_FRAME_HEAD, ret_error))
		return NULL;
	const uint8_t *frame = w->window + (at - w->window_at);
	if (!ledger_frame_head_read(frame, w->epoch, ret_head))
		return NULL;
	uint64_t bytes = ledger_frame_bytes(ret_head->payload_bytes);
	if (bytes > w->end - at)
		return NULL;
	if (!holds(w, at, bytes) && !fill(w, at, (size_t)bytes, ret_error))
		return NULL;
	frame = w->window + (at - w->window_at);
	return ledger_frame_crc_is_good(frame, ret_head) ? frame : NULL;
}

enum ledger_walk_result ledger_walk_next(struct ledger_walk *w, struct ledger_frame_head *ret_head,
					 const uint8_t **ret_frame, int *ret_error)
{
	const uint8_t *frame = frame_at(w, w->at, ret_head, ret_error);
	if (frame == NULL && *ret_error == 0 && w->window_bytes > 0) {
		w->window_bytes = 0; /* the window may be older than the frame: look at the file itself */
		frame = frame_at(w, w->at, ret_head, ret_error);
	}
	if (frame == NULL)
		return *ret_error ? LEDGER_WALK_ERROR : LEDGER_WALK_BAD;
	*ret_frame = frame;
	w->at += ledger_frame_bytes(ret_head->payload_bytes);
	return LEDGER_WALK_FRAME;
}

static bool names_epoch(struct ledger_walk *w, uint64_t at, int *ret_error)
{
	*ret_error = 0;
	if (!holds(w, at, LEDGER_FRAME_HEAD) && !fill(w, at, LEDGER_FRAME_HEAD, ret_error))
		return false;
	return get_u64(w->window + (at - w->window_at) + 24) == w->epoch;
}

enum ledger_walk_result ledger_walk_resync(struct ledger_walk *w, uint64_t min_lsn, struct ledger_frame_head *ret_head,
					   int *ret_error)
{
	w->window_bytes = 0;
	for (uint64_t at = w->at; at + LEDGER_FRAME_HEAD <= w->end; at += 8) {
		bool is_good = names_epoch(w, at, ret_error) && frame_at(w, at, ret_head, ret_error) != NULL;
		if (*ret_error != 0)
			return LEDGER_WALK_ERROR;
		if (!is_good)
			continue;
		if (ret_head->lsn >= min_lsn) {
			w->at = at;
			return LEDGER_WALK_FRAME;
		}
		at += ledger_frame_bytes(ret_head->payload_bytes) - 8;
	}
	return LEDGER_WALK_BAD;
}

enum ledger_walk_result ledger_walk_look_behind(struct ledger_walk *w, uint64_t *ret_durable_lsn, uint64_t *ret_bytes,
						int *ret_error)
{
	struct ledger_frame_head head;
	*ret_durable_lsn = *ret_bytes = 0;
	w->window_bytes = 0;
	for (uint64_t at = w->at; at + LEDGER_FRAME_HEAD <= w->end; at += 8) {
		uint64_t n = 0;
		if (names_epoch(w, at, ret_error)) {
			n = LEDGER_FRAME_HEAD;
			if (frame_at(w, at, &head, ret_error) != NULL) {
				n = ledger_frame_bytes(head.payload_bytes);
				if (head.durable_lsn > *ret_durable_lsn)
					*ret_durable_lsn = head.durable_lsn;
			}
		}
		if (*ret_error != 0)
			return LEDGER_WALK_ERROR;
		if (n > 0) {
			*ret_bytes = at + n - w->at;
			at += n - 8;
		}
	}
	return LEDGER_WALK_FRAME;
}
