#include "store/ledger/ledger_gaps.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_segment.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static const char gaps_magic[8] = "FABRAGP1", gaps_name[] = "gaps", gaps_new[] = "gaps.new";
enum { HEAD_BYTES = 40, RANGE_BYTES = 16, FILE_BYTES_MAX = 16 << 20 };

/* ---- ranges ---- */
void ledger_ranges_finish(struct ledger_ranges *r)
{
	free(r->items);
	*r = (struct ledger_ranges){ 0 };
}

bool ledger_ranges_add(struct ledger_ranges *r, uint64_t first, uint64_t last)
{
	if (first > last)
		return true;
	size_t at = 0, end;
	while (at < r->count && r->items[at].last + 1 < first)
		at++;
	for (end = at; end < r->count && r->items[end].first <= last + 1; end++) {
		first = r->items[end].first < first ? r->items[end].first : first;
		last = r->items[end].last > last ? r->items[end].last : last;
	}
	if (end == at && r->count == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct ledger_range *items = realloc(r->items, cap * sizeof *items);
		if (items == NULL)
			return false;
		r->items = items;
		r->cap = cap;
	}
	if (r->count > end)
		memmove(r->items + at + 1, r->items + end, (r->count - end) * sizeof *r->items);
	r->items[at] = (struct ledger_range){ first, last };
	r->count = r->count - (end - at) + 1;
	return true;
}

bool ledger_ranges_outside(const struct ledger_ranges *r, uint64_t first, uint64_t last, struct ledger_range *ret)
{
	size_t i = 0;
	for (; i < r->count && r->items[i].first <= first; i++) {
		if (r->items[i].last >= first)
			first = r->items[i].last + 1;
	}
	if (first > last)
		return false;
	*ret = (struct ledger_range){ first, last };
	if (i < r->count && r->items[i].first <= last)
		ret->last = r->items[i].first - 1;
	return true;
}

bool ledger_ranges_touch(const struct ledger_ranges *r, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < r->count; i++) {
		if (r->items[i].first <= last && r->items[i].last >= first)
			return true;
	}
	return false;
}

uint64_t ledger_ranges_total(const struct ledger_ranges *r)
{
	uint64_t total = 0;
	for (size_t i = 0; i < r->count; i++)
		total += r->items[i].last - r->items[i].first + 1;
	return total;
}

/* ---- the file: a block's head, ledger id, count, then first and last of each ---- */
static int decode(const uint8_t *p, size_t n, const uint8_t ledger_id[static 16], struct ledger_ranges *ret)
{
	if (n < HEAD_BYTES || !ledger_block_is_good(p, n, gaps_magic) || memcmp(p + 16, ledger_id, 16) != 0 ||
	    get_u64(p + 32) != (n - HEAD_BYTES) / RANGE_BYTES)
		return -EBADMSG;
	for (const uint8_t *at = p + HEAD_BYTES; at < p + n; at += RANGE_BYTES) {
		if (!ledger_ranges_add(ret, get_u64(at), get_u64(at + 8)))
			return -ENOMEM;
	}
	return 0;
}

int ledger_gaps_read(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16],
		     struct ledger_ranges *ret)
{
	*ret = (struct ledger_ranges){ 0 };
	int fd = io->open(io, dir_fd, gaps_name, O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	off_t n = lseek(fd, 0, SEEK_END);
	int error = n < 0 ? -errno : n > FILE_BYTES_MAX ? -EBADMSG : 0;
	uint8_t *bytes = error == 0 ? malloc((size_t)n + 1) : NULL;
	if (bytes != NULL) {
		ssize_t got = ledger_io_read_all(io, fd, bytes, (size_t)n, 0);
		error = got < 0 ? (int)got : decode(bytes, (size_t)got, ledger_id, ret);
	} else if (error == 0) {
		error = -ENOMEM;
	}
	close(fd);
	free(bytes);
	if (error != 0)
		ledger_ranges_finish(ret);
	return error;
}

static int replace(const struct ledger_io *io, int dir_fd, const uint8_t *bytes, size_t n)
{
	int fd = io->open(io, dir_fd, gaps_new, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	int error = ledger_io_write_all(io, fd, bytes, n, 0);
	if (error == 0)
		error = io->fdatasync(io, fd);
	close(fd);
	if (error == 0)
		error = io->rename(io, dir_fd, gaps_new, gaps_name);
	if (error != 0) {
		io->unlink(io, dir_fd, gaps_new);
		return error;
	}
	return io->sync_dir(io, dir_fd);
}

int ledger_gaps_begin(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16], uint64_t last)
{
	int fd = io->open(io, dir_fd, gaps_name, O_RDONLY);
	if (fd >= 0)
		close(fd);
	if (fd != -ENOENT)
		return fd < 0 ? fd : 0;
	int error = ledger_gaps_add(io, dir_fd, ledger_id, 1, last);
	return error == 0 ? 1 : error;
}

int ledger_gaps_add(const struct ledger_io *io, int dir_fd, const uint8_t ledger_id[static 16], uint64_t first,
		    uint64_t last)
{
	struct ledger_ranges ranges;
	int error = ledger_gaps_read(io, dir_fd, ledger_id, &ranges);
	if (error != 0)
		return error; /* a list that cannot be read is not written over: what it says would be lost */
	size_t n = HEAD_BYTES + (ranges.count + 1) * RANGE_BYTES;
	uint8_t *bytes = calloc(1, n);
	if (bytes == NULL || !ledger_ranges_add(&ranges, first, last))
		error = -ENOMEM;
	if (error == 0) {
		n = HEAD_BYTES + ranges.count * RANGE_BYTES;
		memcpy(bytes + 16, ledger_id, 16);
		put_u64(bytes + 32, ranges.count);
		for (size_t i = 0; i < ranges.count; i++) {
			put_u64(bytes + HEAD_BYTES + i * RANGE_BYTES, ranges.items[i].first);
			put_u64(bytes + HEAD_BYTES + i * RANGE_BYTES + 8, ranges.items[i].last);
		}
		ledger_block_seal(bytes, n, gaps_magic);
		error = replace(io, dir_fd, bytes, n);
	}
	free(bytes);
	ledger_ranges_finish(&ranges);
	return error;
}
