/* A ledger in a folder of its own, real records for it, and a file system that fails on demand. */
#pragma once
#include "store/evidence/entries.h"
#include "store/ledger/ledger_private.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { T0 = 1700000000 }; /* seconds; tests that need time pass it in */
#define NOW_US (T0 * INT64_C(1000000))

static inline void make_reserve(struct ledger *l)
{
	do
		assert_int_equal(ledger_reserve_make_piece(l), 0);
	while (l->helper.zeros_fd >= 0);
}

/* ---- a file system with faults ---- */
enum fault_point {
	FAULT_PWRITE,
	FAULT_FDATASYNC,
	FAULT_ALLOCATE,
	FAULT_RENAME,
	FAULT_SYNC_DIR,
	FAULT_OPEN_NEW,
	FAULT_POINTS
};
static struct fault_io {
	struct ledger_io io;
	atomic_int countdown[FAULT_POINTS]; /* n: the n-th call from now fails, and so do those after it until
					       they are reset; 0 = none */
	atomic_int error;                   /* what they fail with */
	atomic_bool once;                   /* only that one call fails */
	atomic_size_t short_write;          /* a pwrite puts at most so many bytes; 0 = all */
	atomic_int calls[FAULT_POINTS];
} faults;

static inline int fault(enum fault_point point)
{
	atomic_fetch_add(&faults.calls[point], 1);
	int n = atomic_load(&faults.countdown[point]);
	if (n == 0 || (n > 1 && atomic_fetch_sub(&faults.countdown[point], 1) > 1))
		return 0;
	if (atomic_load(&faults.once))
		atomic_store(&faults.countdown[point], 0);
	return -atomic_load(&faults.error);
}

static inline ssize_t faulty_pwrite(const struct ledger_io *io, int fd, const void *p, size_t n, uint64_t at)
{
	size_t most = atomic_load(&faults.short_write);
	int error = n == LEDGER_DURABLE ? 0 : fault(FAULT_PWRITE);
	return error ? error : ledger_io_real.pwrite(io, fd, p, most && n > most ? most : n, at);
}

static inline int faulty_fdatasync(const struct ledger_io *io, int fd)
{
	int error = fault(FAULT_FDATASYNC);
	return error ? error : ledger_io_real.fdatasync(io, fd);
}

static inline int faulty_allocate(const struct ledger_io *io, int fd, uint64_t bytes)
{
	int error = fault(FAULT_ALLOCATE);
	return error ? error : ledger_io_real.allocate(io, fd, bytes);
}

static inline int faulty_rename(const struct ledger_io *io, int dir_fd, const char *from, const char *to)
{
	int error = fault(FAULT_RENAME);
	return error ? error : ledger_io_real.rename(io, dir_fd, from, to);
}

static inline int faulty_sync_dir(const struct ledger_io *io, int dir_fd)
{
	int error = fault(FAULT_SYNC_DIR);
	return error ? error : ledger_io_real.sync_dir(io, dir_fd);
}

static inline int faulty_open(const struct ledger_io *io, int dir_fd, const char *name, int flags)
{
	int error = flags & O_TRUNC ? fault(FAULT_OPEN_NEW) : 0;
	return error ? error : ledger_io_real.open(io, dir_fd, name, flags);
}

static inline void no_write_back(const struct ledger_io *io, int fd, uint64_t at, size_t n)
{
	(void)io, (void)fd, (void)at, (void)n; /* zeros at memory speed */
}

static inline void faults_reset(void)
{
	memset(&faults, 0, sizeof faults);
	faults.io = ledger_io_real;
	faults.io.open = faulty_open;
	faults.io.pwrite = faulty_pwrite;
	faults.io.fdatasync = faulty_fdatasync;
	faults.io.allocate = faulty_allocate;
	faults.io.rename = faulty_rename;
	faults.io.sync_dir = faulty_sync_dir;
	faults.io.write_back = no_write_back;
	faults.error = EIO;
}

static inline void faults_end(void)
{
	for (size_t i = 0; i < FAULT_POINTS; i++)
		atomic_store(&faults.countdown[i], 0);
}

/* ---- folders ---- */
static inline char *fresh_dir(void)
{
	char *dir = strdup("/tmp/fabra-test-ledger-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return dir;
}

static inline void remove_files(const char *dir)
{
	char path[600];
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	closedir(d);
}

static inline void drop_dir(char *dir)
{
	remove_files(dir);
	rmdir(dir);
	free(dir);
}

static inline void copy_dir(const char *from, const char *to)
{
	static char bytes[1 << 16];
	char path[600];
	DIR *d = opendir(from);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", from, e->d_name);
		int in = open(path, O_RDONLY);
		snprintf(path, sizeof path, "%s/%s", to, e->d_name);
		int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
			assert_int_equal(write(out, bytes, (size_t)n), n);
		close(in);
		close(out);
	}
	closedir(d);
}

static inline void path_of(const char *dir, uint64_t seq, char ret[static 600])
{
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(seq, name);
	snprintf(ret, 600, "%s/%s", dir, name);
}

static inline void poke(const char *path, uint64_t at, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, p, n, (off_t)at), n);
	close(fd);
}

static inline void flip(const char *path, uint64_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

/* ---- ledgers and entries ---- */
enum { SMALL_SEGMENT = 256 << 10 };

static inline struct ledger *open_sized(const char *dir, size_t segment_bytes)
{
	struct buf why = { 0 };
	struct ledger_config config = { .dir = dir, .segment_bytes = segment_bytes };
	struct ledger *l = ledger_open_on(&config, &faults.io, &why);
	if (l == NULL)
		print_error("%.*s\n", STR_ARG(buf_str(&why)));
	assert_non_null(l);
	buf_finish(&why);
	return l;
}

static inline struct ledger *open_small(const char *dir)
{
	return open_sized(dir, SMALL_SEGMENT);
}

static inline void id_of(unsigned n, char ret[static 41])
{
	snprintf(ret, 41, "ctx_018f3a2b-7def-7abc-8901-%012x", n);
}

/* Record number n, with content of so many bytes. */
static inline struct evidence_entry *make_record(unsigned n, size_t content_bytes)
{
	char id[41], *content = malloc(content_bytes + 1), content_hash[RECORD_HASH_TEXT];
	memset(content, 'a' + (int)(n % 26), content_bytes);
	id_of(n, id);
	record_hash_text(str_of(content, content_bytes), content_hash);
	struct record r = {
		.context_id = str_of(id, 40),
		.created_at_us = NOW_US,
		.environment = STR("test"),
		.schema_version = STR("1.0.0"),
		.context_function = STR("chat"),
		.inputs_json = STR("{}"),
		.content = str_of(content, content_bytes),
		.assembly = { .max_tokens = -1, .freshness_sla_ms = -1, .freshness_status = RECORD_UNKNOWN },
		.lineage = { .fabra_version = STR("0.1.0") },
		.integrity = { .content_hash = str_of(content_hash, sizeof content_hash), .signed_at_us = -1 },
	};
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_RECORD);
	memcpy(e->context_id, id, 40);
	assert_true(record_write_canonical(&r, &e->body, &e->previous_at));
	buf_printf(&e->extras, "{\"n\":%u}", n);
	free(content);
	return e;
}

static inline struct evidence_entry *make_event(unsigned n)
{
	char id[24];
	snprintf(id, sizeof id, "event-%u", n);
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	entry_event_write(&e->body, &(struct entry_event){ .event_id = str_from(id),
							   .event_type = STR("order"),
							   .entity_id = STR("u1"),
							   .payload_json = STR("{}"),
							   .event_time_us = NOW_US });
	return e;
}

static inline struct evidence_entry *make_applied(uint64_t event_lsn)
{
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT_APPLIED);
	entry_values_write(&e->body, &(struct entry_values){ STR("user"), ENTRY_TRIGGERED, event_lsn, NULL, 0 });
	return e;
}

static inline struct evidence_entry *make_value(const char *text)
{
	struct entry_value v = {
		.entity_id = STR("u1"), .feature = STR("tier"), .value_json = str_from(text), .event_time_us = NOW_US
	};
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_VALUES);
	entry_values_write(&e->body, &(struct entry_values){ STR("user"), ENTRY_PUSHED, 0, &v, 1 });
	return e;
}

/* Writes one entry as a batch of its own and frees it. */
static inline int write_one(struct ledger *l, struct evidence_entry *e)
{
	int status;
	ledger_write(l, &e, &status, 1, NOW_US);
	evidence_entry_free(e);
	return status;
}

static inline int write_record(struct ledger *l, unsigned n, size_t content_bytes)
{
	return write_one(l, make_record(n, content_bytes));
}

/* Records first..first+count-1 in one batch; all must succeed. */
static inline void write_batch(struct ledger *l, unsigned first, unsigned count, size_t content_bytes)
{
	struct evidence_entry *entries[64];
	int statuses[64];
	assert_true(count <= 64);
	for (unsigned i = 0; i < count; i++)
		entries[i] = make_record(first + i, content_bytes);
	ledger_write(l, entries, statuses, count, NOW_US);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(statuses[i], RT_OK);
		evidence_entry_free(entries[i]);
	}
}

static inline int find_status(struct ledger *l, unsigned n, struct evidence_record **ret)
{
	struct evidence_name name;
	char id[41], reason[160];
	id_of(n, id);
	assert_true(evidence_name_parse(str_of(id, 40), &name));
	return ledger_find_record(l, &name, true, ret, reason);
}

/* Found by id, its bytes hash to its hash, and found by that hash too. */
static inline bool is_there(struct ledger *l, unsigned n)
{
	struct evidence_record *r, *same;
	struct evidence_name name;
	char reason[160], hash[RECORD_HASH_TEXT], view[32];
	int status = find_status(l, n, &r);
	if (status == RT_ENOTFOUND)
		return false;
	assert_int_equal(status, RT_OK);
	record_hash_text(buf_str(&r->canonical), hash);
	assert_memory_equal(hash, r->stamp.record_hash, sizeof hash);
	snprintf(view, sizeof view, "{\"n\":%u}", n);
	assert_true(str_eq(buf_str(&r->extras), str_from(view)));
	assert_true(evidence_name_parse(str_of(hash, sizeof hash), &name));
	assert_int_equal(ledger_find_record(l, &name, false, &same, reason), RT_OK);
	assert_int_equal(same->lsn, r->lsn);
	evidence_record_free(r);
	evidence_record_free(same);
	return true;
}

struct scanned {
	uint64_t frames, records, corrupt, first_lsn, last_lsn;
	uint64_t corrupt_at, corrupt_lsn;
};

static inline struct scanned scan_from(struct ledger *l, const char *dir, uint64_t from_lsn)
{
	struct scanned s = { 0 };
	struct buf why = { 0 };
	struct log_source_entry f;
	enum log_source_result result;
	struct ledger_scan *scan = ledger_scan_open(l, dir, from_lsn, &why);
	assert_non_null(scan);
	while ((result = ledger_scan_next(scan, &f)) != LOG_SOURCE_END) {
		assert_int_not_equal(result, LOG_SOURCE_ERROR);
		if (result == LOG_SOURCE_CORRUPT) {
			s.corrupt++;
			s.corrupt_at = f.offset;
			s.corrupt_lsn = f.lsn;
			continue;
		}
		assert_true(f.lsn > s.last_lsn);
		s.first_lsn = s.first_lsn ? s.first_lsn : f.lsn;
		s.last_lsn = f.lsn;
		s.frames++;
		s.records += f.kind == EVIDENCE_RECORD;
	}
	ledger_scan_close(scan);
	buf_finish(&why);
	return s;
}
