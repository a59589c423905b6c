/* Accepting a loss: what is missing and cannot be restored is written into `gaps`, and is missed no more. */
#include "store/ledger/ledger_scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int lock(int dir_fd)
{
	int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	int error = -errno;
	close(fd);
	return error;
}

static int set_aside(int dir_fd, const char *name)
{
	char aside[64];
	snprintf(aside, sizeof aside, "%s.damaged", name);
	return renameat(dir_fd, name, dir_fd, aside) == 0 || errno == ENOENT ? 0 : -errno;
}

/* A list that cannot be read accounts for nothing; all that it said is accepted anew. */
static int set_aside_damaged_gaps(int dir_fd, const uint8_t ledger_id[static 16])
{
	struct ledger_ranges gaps;
	int error = ledger_gaps_read(&ledger_io_real, dir_fd, ledger_id, &gaps);
	ledger_ranges_finish(&gaps);
	return error == -EBADMSG || error == -EISDIR ? set_aside(dir_fd, "gaps") : error;
}

/* Segments without a readable header hold nothing that could be reached. */
static int set_aside_headless(int dir_fd, struct buf *out)
{
	struct ledger_catalog c;
	int error = ledger_catalog_load(&ledger_io_real, dir_fd, 0, &c);
	if (error != 0)
		return error;
	for (size_t i = 0; i < c.count && error == 0; i++) {
		char name[LEDGER_SEGMENT_NAME];
		if (c.files[i].has_head)
			continue;
		ledger_segment_name(c.files[i].seq, name);
		error = set_aside(dir_fd, name);
		buf_printf(out, "{\"set_aside\":\"%s.damaged\"}\n", name);
	}
	ledger_catalog_finish(&c);
	return error;
}

static int accept_all(struct ledger_scan *scan, struct buf *out, int64_t *ret_accepted)
{
	struct log_source_entry f;
	enum log_source_result result;
	int error = 0;
	while (error == 0 && (result = ledger_scan_next(scan, &f)) != LOG_SOURCE_END) {
		if (result == LOG_SOURCE_ERROR)
			error = -EIO;
		if (result != LOG_SOURCE_CORRUPT)
			continue;
		error = ledger_gaps_add(&ledger_io_real, ledger_scan_dir(scan), ledger_scan_id(scan), f.lsn, f.lost_to);
		buf_printf(out, "{\"accepted\":{\"from_lsn\":%llu,\"to_lsn\":%llu}}\n", (unsigned long long)f.lsn,
			   (unsigned long long)f.lost_to);
		*ret_accepted += (int64_t)(f.lost_to - f.lsn + 1);
	}
	return error;
}

/* ---- what was made from the ledger knows more than it ---- */
static int write_durable(int dir_fd, const struct ledger_durable *d)
{
	const struct ledger_io *io = &ledger_io_real;
	uint8_t bytes[LEDGER_DURABLE];
	ledger_durable_write(d, bytes);
	int fd = io->open(io, dir_fd, "durable", O_RDWR | O_CREAT);
	int error = fd < 0 ? fd : ledger_io_write_all(io, fd, bytes, sizeof bytes, 0);
	if (error == 0)
		error = io->fdatasync(io, fd);
	if (fd >= 0)
		close(fd);
	return error != 0 ? error : io->sync_dir(io, dir_fd);
}

/* Up to known->lsn all that the ledger does not have is lost, and those numbers are not given out again. */
static int accept_end(int dir_fd, const struct ledger_known *known, uint64_t durable_lsn, struct buf *out,
		      int64_t *ret_accepted)
{
	struct ledger_durable d = { .lsn = 0 };
	ledger_read_durable(&ledger_io_real, dir_fd, &d); /* keeps the newest segment's number */
	memcpy(d.ledger_id, known->id, sizeof d.ledger_id);
	d.lsn = known->lsn;
	int error = ledger_gaps_add(&ledger_io_real, dir_fd, known->id, durable_lsn + 1, known->lsn);
	if (error == 0)
		error = write_durable(dir_fd, &d);
	buf_printf(out, "{\"accepted\":{\"from_lsn\":%llu,\"to_lsn\":%llu}}\n", (unsigned long long)durable_lsn + 1,
		   (unsigned long long)known->lsn);
	*ret_accepted += (int64_t)(known->lsn - durable_lsn);
	return error;
}

static bool is_known(const struct ledger_outside *o, const struct ledger_known *known)
{
	return memcmp(o->id, known->id, sizeof o->id) == 0;
}

/* A folder without an entry becomes known's ledger. What it has of its own says nothing; a start made it. */
static int begin_anew(int dir_fd, const struct ledger_known *known, struct buf *out, int64_t *ret_accepted)
{
	const struct ledger_io *io = &ledger_io_real;
	int lock_fd = lock(dir_fd);
	int error = lock_fd < 0 ? lock_fd : 0;
	if (error == 0) {
		io->unlink(io, dir_fd, "durable");
		io->unlink(io, dir_fd, "gaps");
		error = accept_end(dir_fd, known, 0, out, ret_accepted);
	}
	if (lock_fd >= 0)
		close(lock_fd);
	return error;
}

static int make_dir(const char *dir)
{
	char parent[4200];
	if (mkdir(dir, 0700) != 0)
		return errno == EEXIST ? 0 : -errno;
	snprintf(parent, sizeof parent, "%s/..", dir);
	int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return error;
}

static int accept_lost_ledger(const char *dir, const struct ledger_known *known, struct buf *out, int64_t *ret_accepted)
{
	int error = make_dir(dir);
	int dir_fd = error == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (error == 0)
		error = dir_fd < 0 ? -errno : begin_anew(dir_fd, known, out, ret_accepted);
	if (dir_fd >= 0)
		close(dir_fd);
	return error;
}

static int accept_missing(struct ledger_scan *scan, const struct ledger_known *known, struct buf *out,
			  int64_t *ret_accepted)
{
	int dir_fd = ledger_scan_dir(scan), lock_fd = lock(dir_fd);
	int error = lock_fd < 0 ? lock_fd : set_aside_damaged_gaps(dir_fd, ledger_scan_id(scan));
	if (error == 0)
		error = accept_all(scan, out, ret_accepted);
	uint64_t durable_lsn = ledger_scan_durable(scan);
	if (error == 0 && known != NULL && known->lsn > durable_lsn)
		error = accept_end(dir_fd, known, durable_lsn, out, ret_accepted);
	if (error == 0)
		error = set_aside_headless(dir_fd, out);
	if (lock_fd >= 0)
		close(lock_fd);
	return error;
}

int64_t ledger_accept_losses(const char *dir, const struct ledger_known *known, struct buf *out)
{
	int64_t accepted = 0;
	int error;
	struct ledger_outside there;
	if (!ledger_outside_init(&there, dir, out))
		return -1;
	if (known != NULL && there.durable_lsn == 0 && !is_known(&there, known)) {
		error = accept_lost_ledger(dir, known, out, &accepted);
	} else {
		struct ledger_scan *scan = ledger_scan_open(NULL, dir, 1, out);
		if (scan == NULL)
			return -1;
		error = accept_missing(scan, known, out, &accepted);
		ledger_scan_close(scan);
	}
	if (error == 0)
		return accepted;
	buf_clear(out);
	buf_printf(out, "%s", error == -EWOULDBLOCK ? "a server uses this ledger; stop it first" : strerror(-error));
	return -1;
}
