/* Accepting a loss: what is missing and cannot be restored is written into `gaps`, and is missed no more. */
#include "store/ledger/ledger_scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
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

int64_t ledger_accept_losses(const char *dir, struct buf *out)
{
	int64_t accepted = 0;
	struct ledger_scan *scan = ledger_scan_open(NULL, dir, 1, out);
	if (scan == NULL)
		return -1;
	int dir_fd = ledger_scan_dir(scan), lock_fd = lock(dir_fd);
	int error = lock_fd < 0 ? lock_fd : set_aside_damaged_gaps(dir_fd, ledger_scan_id(scan));
	if (error == 0)
		error = accept_all(scan, out, &accepted);
	if (error == 0)
		error = set_aside_headless(dir_fd, out);
	if (lock_fd >= 0)
		close(lock_fd);
	ledger_scan_close(scan);
	if (error == 0)
		return accepted;
	buf_clear(out);
	buf_printf(out, "%s", error == -EWOULDBLOCK ? "a server uses this ledger; stop it first" : strerror(-error));
	return -1;
}
