/* What the ledger asks of the file system, as a table, so that tests can make any of it fail. Results are 0
 * (or a count) or a negative errno. Called from the committer, the helper thread, readers and scans: must be
 * safe from any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ledger_io {
	int (*open)(const struct ledger_io *io, int dir_fd, const char *name, int flags); /* mode 0600 */
	ssize_t (*pread)(const struct ledger_io *io, int fd, void *p, size_t n, uint64_t at);
	ssize_t (*pwrite)(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at);
	int (*fdatasync)(const struct ledger_io *io, int fd);
	int (*sync_dir)(const struct ledger_io *io, int dir_fd);
	int (*allocate)(const struct ledger_io *io, int fd, uint64_t bytes); /* room for the whole file, read
										as zeros */
	int (*truncate)(const struct ledger_io *io, int fd, uint64_t bytes);
	int (*rename)(const struct ledger_io *io, int dir_fd, const char *from, const char *to);
	int (*unlink)(const struct ledger_io *io, int dir_fd, const char *name);
	/* Hints to the page cache. They promise nothing, and cannot fail. */
	void (*write_back)(const struct ledger_io *io, int fd, uint64_t at, size_t n); /* sends dirty pages to the
											  disk and waits */
	void (*drop_cached)(const struct ledger_io *io, int fd);                       /* the file's clean pages */
};
extern const struct ledger_io ledger_io_real;

int ledger_io_write_all(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at);
/* Reads up to n bytes, fewer only at the end of the file. */
ssize_t ledger_io_read_all(const struct ledger_io *io, int fd, void *p, size_t n, uint64_t at);
