/* Preallocated files of zeros, for segments to come. A sync over written blocks is the fastest, so zeros are written ahead: into the
 * reserve, which the committer takes, and into more files behind it, which only the helper knows and makes the next reserve of.
 *
 * While entries come in, zeros compete with them for the disk. A ledger that fills segments quickly gets the files behind the reserve
 * while nothing comes in, and the next burst is written over them (docs/adr/0008). */
#include "runtime/cpu.h"
#include "store/ledger/ledger_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char reserve_new[] = "reserve.new";
enum { PREALLOCATED_NAME = 24 };

static void preallocated_name(unsigned number, char ret[static PREALLOCATED_NAME])
{
	snprintf(ret, PREALLOCATED_NAME, "reserve.%u", number);
}

/* ---- apart from others ---- */
/* Without a journal, fdatasync also writes the block of the inode table that holds the file's inode, when that block is dirty; writing
 * zeros makes it dirty for all inodes in it. So the inodes of preallocated files are kept apart from the open segment's
 * (docs/adr/0007). */
enum { INODES_APART = 32 }; /* more than one block has */

static bool is_near(uint64_t inode, int error, const struct stat *other)
{
	uint64_t distance = inode > other->st_ino ? inode - other->st_ino : other->st_ino - inode;
	return error == 0 && distance < INODES_APART;
}

/* Whether the file's inode is a neighbour of one that the committer changes. */
static bool is_near_the_open_segment(struct ledger *l, int fd)
{
	char name[LEDGER_SEGMENT_NAME];
	struct stat own, other;
	if (fstat(fd, &own) != 0)
		return false;
	ledger_segment_name(atomic_load(&l->newest_seq), name);
	return is_near(own.st_ino, fstatat(l->dir_fd, name, &other, AT_SYMLINK_NOFOLLOW), &other) ||
	       is_near(own.st_ino, fstat(l->durable_fd, &other), &other);
}

/* An inode is given to nobody else while it is open: creates the file until it got one that is not near. */
static int create_apart(struct ledger *l, const char *name)
{
	const struct ledger_io *io = l->io;
	int passed[2 * INODES_APART], count = 0, fd;
	while ((fd = io->open(io, l->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC)) >= 0 && count < 2 * INODES_APART &&
	       is_near_the_open_segment(l, fd) && io->unlink(io, l->dir_fd, name) == 0)
		passed[count++] = fd;
	for (int i = 0; i < count; i++)
		close(passed[i]);
	return fd;
}

/* ---- making ---- */
static int begin(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	int fd = create_apart(l, reserve_new);
	if (fd < 0)
		return fd;
	h->zeros_fd = fd;
	h->zeros_at = 0;
	return l->io->allocate(l->io, fd, l->config.segment_bytes);
}

/* Through the page cache, although nobody reads them: the pages are then there when the committer writes over them, and
 * it is this thread that waits for memory (docs/adr/0006). */
static int write_zeros(struct ledger *l)
{
	enum {
		PIECE = 128 << 10
	}; /* what the disk writes at once delays the committer's sync: 1 MiB doubles
				       its p99 */
	static char zeros[PIECE];
	struct ledger_helper *h = &l->helper;
	uint64_t left = l->config.segment_bytes - h->zeros_at;
	size_t n = left < PIECE ? (size_t)left : PIECE;
	cpu_give_way();
	int error = ledger_io_write_all(l->io, h->zeros_fd, zeros, n, h->zeros_at);
	if (error == 0)
		l->io->write_back(l->io, h->zeros_fd, h->zeros_at, n);
	h->zeros_at += n;
	return error;
}

static int rename_durably(struct ledger *l, const char *from, const char *to)
{
	int error = l->io->rename(l->io, l->dir_fd, from, to);
	return error != 0 ? error : l->io->sync_dir(l->io, l->dir_fd);
}

static int finish(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	int error = l->io->fdatasync(l->io, h->zeros_fd);
	bool is_needed = atomic_load(&h->reserve) == LEDGER_RESERVE_NONE;
	char name[PREALLOCATED_NAME];
	preallocated_name(h->preallocated + 1, name);
	if (error == 0)
		error = rename_durably(l, reserve_new, is_needed ? LEDGER_RESERVE_NAME : name);
	if (error != 0)
		return error;
	close(h->zeros_fd);
	h->zeros_fd = -1;
	if (is_needed)
		atomic_store(&h->reserve, LEDGER_RESERVE_READY);
	else
		h->preallocated++;
	return 0;
}

void ledger_reserve_drop_unfinished(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	if (h->zeros_fd < 0)
		return;
	close(h->zeros_fd);
	h->zeros_fd = -1;
	l->io->unlink(l->io, l->dir_fd, reserve_new);
}

int ledger_reserve_make_piece(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	int error = h->zeros_fd < 0 ? begin(l) : 0;
	if (error == 0)
		error = write_zeros(l);
	if (error == 0 && h->zeros_at == l->config.segment_bytes)
		error = finish(l);
	if (error != 0)
		ledger_reserve_drop_unfinished(l);
	return error;
}

/* ---- files behind the reserve ---- */
bool ledger_reserve_use_preallocated(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	char name[PREALLOCATED_NAME];
	if (h->preallocated == 0)
		return false;
	preallocated_name(h->preallocated--, name);
	if (rename_durably(l, name, LEDGER_RESERVE_NAME) != 0)
		return false;
	atomic_store(&h->reserve, LEDGER_RESERVE_READY);
	return true;
}

/* They only save time: not on a disk that others need. */
bool ledger_reserve_has_room_to_preallocate(const struct ledger *l)
{
	struct statvfs fs;
	return fstatvfs(l->dir_fd, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize / l->config.segment_bytes >= 4 * LEDGER_PREALLOCATED_MAX;
}

/* ---- at the start ---- */
/* Of another size it is no use. */
static bool adopt(struct ledger *l, const char *name)
{
	struct stat st;
	if (fstatat(l->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	if ((uint64_t)st.st_size == l->config.segment_bytes)
		return true;
	l->io->unlink(l->io, l->dir_fd, name);
	return false;
}

void ledger_reserve_adopt(struct ledger *l)
{
	struct ledger_helper *h = &l->helper;
	l->io->unlink(l->io, l->dir_fd, reserve_new);
	if (adopt(l, LEDGER_RESERVE_NAME))
		atomic_store(&h->reserve, LEDGER_RESERVE_READY);
	for (unsigned number = 1; number <= LEDGER_PREALLOCATED_MAX; number++) {
		char name[PREALLOCATED_NAME], place[PREALLOCATED_NAME];
		preallocated_name(number, name);
		preallocated_name(h->preallocated + 1, place);
		if (adopt(l, name) &&
		    (number == h->preallocated + 1 || l->io->rename(l->io, l->dir_fd, name, place) == 0))
			h->preallocated++;
	}
}
