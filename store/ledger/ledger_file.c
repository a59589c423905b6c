/* Whole-file steps of a segment's life: prepared, activated, sealed, retired. Each leaves the directory in a
 * state that recovery understands, at every point where the machine may stop. */
#include "store/ledger/ledger_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char segment_new[] = "segment.new";

/* ---- activation ---- */
static int prepare_new(struct ledger *l, int fd)
{
	/* fallocate instead of zeros: syncs over such blocks are slower, but nobody waits here for a segment to be written. */
	return l->io->allocate(l->io, fd, l->config.segment_bytes);
}

static int write_head(struct ledger *l, int fd, const struct ledger_segment_head *head)
{
	uint8_t block[LEDGER_BLOCK];
	ledger_segment_head_write(head, block);
	int error = ledger_io_write_all(l->io, fd, block, sizeof block, 0);
	return error != 0 ? error : l->io->fdatasync(l->io, fd);
}

int ledger_file_activate(struct ledger *l, const struct ledger_segment_head *head, bool is_reserve)
{
	const struct ledger_io *io = l->io;
	const char *from = is_reserve ? LEDGER_RESERVE_NAME : segment_new;
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(head->seq, name);
	int fd = io->open(io, l->dir_fd, from, is_reserve ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	int error = is_reserve ? 0 : prepare_new(l, fd);
	if (error == 0)
		error = write_head(l, fd, head);
	bool is_renamed = false;
	if (error == 0) {
		error = io->rename(io, l->dir_fd, from, name);
		is_renamed = error == 0;
	}
	if (error == 0)
		error = io->sync_dir(io, l->dir_fd);
	if (error == 0)
		return fd;
	close(fd);
	io->unlink(io, l->dir_fd, is_renamed ? name : from);
	return error;
}

/* ---- sealing ---- */
/* A nearly full segment keeps its size, so that it can be used again; of any other the unused room is given
 * back. */
static uint64_t seal_bytes(const struct ledger_segment *s, uint64_t index_bytes)
{
	uint64_t data_end = (s->foot.data_end + LEDGER_BLOCK - 1) / LEDGER_BLOCK * LEDGER_BLOCK;
	uint64_t needed = data_end + index_bytes + LEDGER_BLOCK, full = s->head.segment_bytes;
	if (needed > full)
		return 0;
	return needed >= full / 8 * 7 ? full : needed;
}

static int seal(struct ledger *l, int fd, const struct ledger_segment *s, struct ledger_segment *sealed)
{
	const struct ledger_io *io = l->io;
	struct buf tail = { .max = (size_t)ledger_index_disk_bytes(s->index.count) + LEDGER_BLOCK };
	uint64_t index_bytes = ledger_index_disk_bytes(s->index.count), bytes = seal_bytes(s, index_bytes);
	if (bytes == 0)
		return -EFBIG;
	sealed->is_sealed = true;
	sealed->foot = s->foot;
	sealed->foot.index_entries = s->index.count;
	sealed->foot.index_at = bytes - LEDGER_BLOCK - index_bytes;
	int error = -ENOMEM;
	if (ledger_index_write(&s->index, &tail) && buf_reserve(&tail, LEDGER_BLOCK)) {
		ledger_segment_foot_write(&sealed->foot, (uint8_t *)tail.p + tail.n);
		tail.n += LEDGER_BLOCK;
		error = ledger_io_write_all(io, fd, tail.p, tail.n, sealed->foot.index_at);
	}
	buf_finish(&tail);
	if (error == 0)
		error = io->fdatasync(io, fd);
	if (error == 0)
		error = io->truncate(io, fd, bytes);
	if (error == 0)
		error = ledger_fences_load(io, fd, &sealed->foot, &sealed->fences);
	return error;
}

int ledger_file_seal(struct ledger *l, const struct ledger_segment *s, struct ledger_segment **ret_sealed)
{
	char name[LEDGER_SEGMENT_NAME];
	struct ledger_segment *sealed = ledger_segment_create(&s->head);
	if (sealed == NULL)
		return -ENOMEM;
	ledger_segment_name(s->head.seq, name);
	int fd = l->io->open(l->io, l->dir_fd, name, O_RDWR), error = fd < 0 ? fd : seal(l, fd, s, sealed);
	if (fd >= 0)
		close(fd);
	if (error == 0)
		*ret_sealed = sealed;
	else
		ledger_segment_unref(sealed);
	return error;
}

struct ledger_segment *ledger_file_load_sealed(struct ledger *l, const struct ledger_segment_file *f, int *ret_error)
{
	char name[LEDGER_SEGMENT_NAME];
	struct ledger_segment *s = ledger_segment_create(&f->head);
	*ret_error = -ENOMEM;
	if (s == NULL)
		return NULL;
	s->is_sealed = true;
	s->foot = f->foot;
	ledger_segment_name(f->seq, name);
	int fd = l->io->open(l->io, l->dir_fd, name, O_RDONLY);
	*ret_error = fd < 0 ? fd : ledger_fences_load(l->io, fd, &s->foot, &s->fences);
	if (fd >= 0)
		close(fd);
	if (*ret_error == 0)
		return s;
	ledger_segment_unref(s);
	return NULL;
}

/* ---- retirement ---- */
int ledger_file_retire(struct ledger *l, const struct ledger_segment *s)
{
	const struct ledger_io *io = l->io;
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(s->head.seq, name);
	/* First, that nobody misses it. */
	int error = ledger_gaps_add(io, l->dir_fd, l->id, s->head.before.lsn + 1, s->foot.after.lsn);
	if (error != 0)
		return error;
	/* A sealed segment that kept its size ends in the last block of a full one. */
	uint64_t file_bytes = s->foot.index_at + ledger_index_disk_bytes(s->foot.index_entries) + LEDGER_BLOCK;
	bool is_wanted = file_bytes == l->config.segment_bytes &&
			 atomic_load(&l->helper.reserve) == LEDGER_RESERVE_NONE;
	error = is_wanted ? io->rename(io, l->dir_fd, name, LEDGER_RESERVE_NAME) : io->unlink(io, l->dir_fd, name);
	if (error == 0)
		error = io->sync_dir(io, l->dir_fd);
	if (error == 0 && is_wanted)
		atomic_store(&l->helper.reserve, LEDGER_RESERVE_READY);
	return error;
}
