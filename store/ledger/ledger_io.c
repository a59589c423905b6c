#include "store/ledger/ledger_io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int real_open(const struct ledger_io *io, int dir_fd, const char *name, int flags)
{
	(void)io;
	flags |= O_CLOEXEC | O_NOFOLLOW;
	/* A reader's time of access changes the inode, and with some file systems the committer's next sync writes that. Only
	 * the owner of a file may do without. */
	int fd = openat(dir_fd, name, flags | O_NOATIME, 0600);
	if (fd < 0 && errno == EPERM)
		fd = openat(dir_fd, name, flags, 0600);
	return fd < 0 ? -errno : fd;
}

static ssize_t real_pread(const struct ledger_io *io, int fd, void *p, size_t n, uint64_t at)
{
	(void)io;
	ssize_t got = pread(fd, p, n, (off_t)at);
	return got < 0 ? -errno : got;
}

static ssize_t real_pwrite(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at)
{
	(void)io;
	ssize_t put = pwrite(fd, p, n, (off_t)at);
	return put < 0 ? -errno : put;
}

static int real_fdatasync(const struct ledger_io *io, int fd)
{
	(void)io;
	return fdatasync(fd) != 0 ? -errno : 0;
}

static int real_sync_dir(const struct ledger_io *io, int dir_fd)
{
	(void)io;
	return fsync(dir_fd) != 0 ? -errno : 0;
}

static int real_allocate(const struct ledger_io *io, int fd, uint64_t bytes)
{
	(void)io;
	if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	return ftruncate(fd, (off_t)bytes) != 0 ? -errno : 0; /* a file system that cannot promise room */
}

static int real_truncate(const struct ledger_io *io, int fd, uint64_t bytes)
{
	(void)io;
	return ftruncate(fd, (off_t)bytes) != 0 ? -errno : 0;
}

static int real_rename(const struct ledger_io *io, int dir_fd, const char *from, const char *to)
{
	(void)io;
	return renameat(dir_fd, from, dir_fd, to) != 0 ? -errno : 0;
}

static int real_unlink(const struct ledger_io *io, int dir_fd, const char *name)
{
	(void)io;
	return unlinkat(dir_fd, name, 0) != 0 ? -errno : 0;
}

static void real_write_back(const struct ledger_io *io, int fd, uint64_t at, size_t n)
{
	(void)io;
	sync_file_range(fd, (off_t)at, (off_t)n,
			SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

static void real_drop_cached(const struct ledger_io *io, int fd)
{
	(void)io;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

const struct ledger_io ledger_io_real = {
	.open = real_open,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.fdatasync = real_fdatasync,
	.sync_dir = real_sync_dir,
	.allocate = real_allocate,
	.truncate = real_truncate,
	.rename = real_rename,
	.unlink = real_unlink,
	.write_back = real_write_back,
	.drop_cached = real_drop_cached,
};

int ledger_io_write_all(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t put = io->pwrite(io, fd, p, n, at);
		if (put == -EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? (int)put : -EIO;
		p = (const char *)p + put;
		n -= (size_t)put;
		at += (uint64_t)put;
	}
	return 0;
}

ssize_t ledger_io_read_all(const struct ledger_io *io, int fd, void *p, size_t n, uint64_t at)
{
	size_t done = 0;
	while (done < n) {
		ssize_t got = io->pread(io, fd, (char *)p + done, n - done, at + done);
		if (got == -EINTR)
			continue;
		if (got < 0)
			return got;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}
