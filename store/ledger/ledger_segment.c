#include "store/ledger/ledger_segment.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_crc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_VERSION = 1 };
static const char head_magic[8] = "FABRALG1", foot_magic[8] = "FABRAFT1", durable_magic[8] = "FABRADU1";

enum ledger_class ledger_class_of(enum evidence_kind kind)
{
	switch (kind) {
	case EVIDENCE_RECORD:
	case EVIDENCE_RECORD_IMPORTED:
		return LEDGER_CLASS_RECORD;
	case EVIDENCE_VALUES:
	case EVIDENCE_DELETE:
		return LEDGER_CLASS_VALUE;
	case EVIDENCE_EVENT:
	case EVIDENCE_EVENT_APPLIED:
		return LEDGER_CLASS_EVENT;
	case EVIDENCE_DOCUMENT:
	case EVIDENCE_DOCUMENT_DELETE:
		break;
	}
	return LEDGER_CLASS_DOCUMENT;
}

void ledger_segment_name(uint64_t seq, char ret[static LEDGER_SEGMENT_NAME])
{
	snprintf(ret, LEDGER_SEGMENT_NAME, "%016llx.seg", (unsigned long long)seq);
}

static bool name_parse(const char *name, uint64_t *ret_seq)
{
	char again[LEDGER_SEGMENT_NAME];
	*ret_seq = strtoull(name, NULL, 16);
	ledger_segment_name(*ret_seq, again);
	return *ret_seq > 0 && strcmp(name, again) == 0;
}

/* ---- blocks: magic, CRC of the rest, then the fields ---- */
void ledger_block_seal(uint8_t *block, size_t n, const char magic[static 8])
{
	memcpy(block, magic, 8);
	put_u32(block + 12, HEAD_VERSION);
	put_u32(block + 8, ledger_crc32c(0, block + 12, n - 12));
}

bool ledger_block_is_good(const uint8_t *block, size_t n, const char magic[static 8])
{
	return memcmp(block, magic, 8) == 0 && get_u32(block + 12) == HEAD_VERSION &&
	       get_u32(block + 8) == ledger_crc32c(0, block + 12, n - 12);
}

enum { TIP_BYTES = 16 + LOG_SOURCE_CHAIN + 32 + RECORD_ID_MAX };

static void tip_write(uint8_t *p, const struct ledger_tip *tip)
{
	put_u64(p, tip->lsn);
	put_u64(p + 8, tip->records.records);
	memcpy(p + 16, tip->chain, LOG_SOURCE_CHAIN);
	memcpy(p + 48, tip->records.last_hash, 32);
	memcpy(p + 80, tip->records.last_context_id, RECORD_ID_MAX);
}

static void tip_read(const uint8_t *p, struct ledger_tip *ret)
{
	*ret = (struct ledger_tip){ .lsn = get_u64(p), .records.records = get_u64(p + 8) };
	memcpy(ret->chain, p + 16, LOG_SOURCE_CHAIN);
	memcpy(ret->records.last_hash, p + 48, 32);
	memcpy(ret->records.last_context_id, p + 80, RECORD_ID_MAX);
}

void ledger_segment_head_write(const struct ledger_segment_head *head, uint8_t block[static LEDGER_BLOCK])
{
	memset(block, 0, LEDGER_BLOCK);
	memcpy(block + 16, head->ledger_id, 16);
	put_u64(block + 32, head->seq);
	put_u64(block + 40, head->epoch);
	put_u64(block + 48, head->segment_bytes);
	put_u64(block + 56, head->previous_seq);
	put_u64(block + 64, head->previous_end);
	put_u64(block + 72, (uint64_t)head->created_us);
	put_u64(block + 80, head->events_from);
	tip_write(block + 88, &head->before);
	ledger_block_seal(block, LEDGER_BLOCK, head_magic);
}

bool ledger_segment_head_read(const uint8_t block[static LEDGER_BLOCK], struct ledger_segment_head *ret)
{
	if (!ledger_block_is_good(block, LEDGER_BLOCK, head_magic))
		return false;
	memcpy(ret->ledger_id, block + 16, 16);
	ret->seq = get_u64(block + 32);
	ret->epoch = get_u64(block + 40);
	ret->segment_bytes = get_u64(block + 48);
	ret->previous_seq = get_u64(block + 56);
	ret->previous_end = get_u64(block + 64);
	ret->created_us = (int64_t)get_u64(block + 72);
	ret->events_from = get_u64(block + 80);
	tip_read(block + 88, &ret->before);
	return true;
}

void ledger_segment_foot_write(const struct ledger_segment_foot *foot, uint8_t block[static LEDGER_BLOCK])
{
	memset(block, 0, LEDGER_BLOCK);
	put_u64(block + 16, foot->seq);
	put_u64(block + 24, foot->epoch);
	put_u64(block + 32, foot->data_end);
	put_u64(block + 40, foot->index_at);
	put_u64(block + 48, foot->index_entries);
	put_u64(block + 56, foot->frames);
	put_u64(block + 64, foot->corrupt_frames);
	put_u64(block + 72, foot->torn_bytes);
	put_u64(block + 80, foot->events_from);
	for (size_t i = 0; i < LEDGER_CLASSES; i++)
		put_u64(block + 88 + 8 * i, (uint64_t)foot->newest_us[i]);
	tip_write(block + 120, &foot->after);
	ledger_block_seal(block, LEDGER_BLOCK, foot_magic);
}

bool ledger_segment_foot_read(const uint8_t block[static LEDGER_BLOCK], struct ledger_segment_foot *ret)
{
	if (!ledger_block_is_good(block, LEDGER_BLOCK, foot_magic))
		return false;
	ret->seq = get_u64(block + 16);
	ret->epoch = get_u64(block + 24);
	ret->data_end = get_u64(block + 32);
	ret->index_at = get_u64(block + 40);
	ret->index_entries = get_u64(block + 48);
	ret->frames = get_u64(block + 56);
	ret->corrupt_frames = get_u64(block + 64);
	ret->torn_bytes = get_u64(block + 72);
	ret->events_from = get_u64(block + 80);
	for (size_t i = 0; i < LEDGER_CLASSES; i++)
		ret->newest_us[i] = (int64_t)get_u64(block + 88 + 8 * i);
	tip_read(block + 120, &ret->after);
	return true;
}

/* ---- the directory ---- */
static int look(const struct ledger_io *io, int fd, struct ledger_segment_file *f)
{
	uint8_t block[LEDGER_BLOCK];
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -errno;
	f->file_bytes = (uint64_t)st.st_size;
	ssize_t got = ledger_io_read_all(io, fd, block, sizeof block, 0);
	if (got == -EIO || got == -EISDIR)
		return 0; /* a disk's bad block, or no file at all: damage of this segment, the others can be read */
	if (got < 0)
		return (int)got;
	f->has_head = got == LEDGER_BLOCK && ledger_segment_head_read(block, &f->head) && f->head.seq == f->seq &&
		      f->head.segment_bytes >= f->file_bytes && f->head.segment_bytes >= LEDGER_SEGMENT_MIN;
	if (!f->has_head || f->file_bytes < 2 * LEDGER_BLOCK)
		return 0;
	got = ledger_io_read_all(io, fd, block, sizeof block, f->file_bytes - LEDGER_BLOCK);
	if (got == -EIO)
		return 0;
	if (got < 0)
		return (int)got;
	f->has_foot = got == LEDGER_BLOCK && ledger_segment_foot_read(block, &f->foot) && f->foot.seq == f->seq &&
		      f->foot.epoch == f->head.epoch && f->foot.data_end >= LEDGER_BLOCK &&
		      f->foot.data_end <= f->foot.index_at && f->foot.index_at <= f->file_bytes - LEDGER_BLOCK;
	return 0;
}

int ledger_segment_look(const struct ledger_io *io, int dir_fd, uint64_t seq, struct ledger_segment_file *ret)
{
	char name[LEDGER_SEGMENT_NAME];
	*ret = (struct ledger_segment_file){ .seq = seq };
	ledger_segment_name(seq, name);
	int fd = io->open(io, dir_fd, name, O_RDONLY);
	if (fd < 0)
		return fd;
	int error = look(io, fd, ret);
	close(fd);
	return error;
}

static int compare_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The sequence numbers in the directory, sorted; the caller frees. */
static int list_seqs(int dir_fd, uint64_t from_seq, uint64_t **ret_seqs, size_t *ret_count)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		int error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	uint64_t *seqs = NULL, seq;
	size_t count = 0, cap = 0;
	int error = 0;
	while (error == 0) {
		errno = 0;
		struct dirent *e = readdir(dir);
		if (e == NULL) {
			error = -errno; /* half a listing must not pass for a shorter log */
			break;
		}
		if (!name_parse(e->d_name, &seq) || seq < from_seq)
			continue;
		if (count == cap) {
			cap = cap ? cap * 2 : 64;
			uint64_t *more = realloc(seqs, cap * sizeof *seqs);
			if (more == NULL) {
				error = -ENOMEM;
				break;
			}
			seqs = more;
		}
		seqs[count++] = seq;
	}
	closedir(dir);
	if (error != 0) {
		free(seqs);
		return error;
	}
	if (count > 0)
		qsort(seqs, count, sizeof *seqs, compare_seq);
	*ret_seqs = seqs;
	*ret_count = count;
	return 0;
}

int ledger_catalog_load(const struct ledger_io *io, int dir_fd, uint64_t from_seq, struct ledger_catalog *ret)
{
	uint64_t *seqs = NULL;
	size_t count = 0;
	int error = list_seqs(dir_fd, from_seq, &seqs, &count);
	if (error != 0)
		return error;
	struct ledger_catalog c = { .files = calloc(count ? count : 1, sizeof *c.files) };
	if (c.files == NULL)
		error = -ENOMEM;
	for (size_t i = 0; i < count && error == 0; i++) {
		error = ledger_segment_look(io, dir_fd, seqs[i], &c.files[c.count]);
		if (error == -ENOENT)
			error = 0; /* retired between the listing and the look */
		else
			c.count++;
	}
	free(seqs);
	if (error != 0) {
		free(c.files);
		return error;
	}
	*ret = c;
	return 0;
}

void ledger_catalog_finish(struct ledger_catalog *c)
{
	free(c->files);
	*c = (struct ledger_catalog){ 0 };
}

uint64_t ledger_catalog_end(const struct ledger_catalog *c, size_t i)
{
	const struct ledger_segment_file *f = &c->files[i];
	if (f->has_foot)
		return f->foot.data_end;
	for (size_t k = i + 1; k < c->count; k++) {
		const struct ledger_segment_head *next = &c->files[k].head;
		if (c->files[k].has_head && next->previous_seq == f->seq && next->previous_end <= f->file_bytes)
			return next->previous_end;
	}
	return f->file_bytes;
}

const struct ledger_tip *ledger_catalog_tip(const struct ledger_catalog *c, size_t i)
{
	if (c->files[i].has_foot)
		return &c->files[i].foot.after;
	for (size_t k = i + 1; k < c->count; k++) {
		if (c->files[k].has_head)
			return &c->files[k].head.before;
	}
	return NULL;
}

/* ---- the durable file ---- */
void ledger_durable_write(const struct ledger_durable *d, uint8_t ret[static LEDGER_DURABLE])
{
	memset(ret, 0, LEDGER_DURABLE);
	memcpy(ret + 16, d->ledger_id, 16);
	put_u64(ret + 32, d->lsn);
	put_u64(ret + 40, d->seq);
	ledger_block_seal(ret, LEDGER_DURABLE, durable_magic);
}

bool ledger_durable_read(const struct ledger_io *io, int fd, struct ledger_durable *ret)
{
	uint8_t bytes[LEDGER_DURABLE];
	/* Another process may be writing it: a torn read fails its CRC, and the next one will not be torn. */
	for (int tries = 0; tries < 16; tries++) {
		if (ledger_io_read_all(io, fd, bytes, sizeof bytes, 0) != sizeof bytes)
			return false;
		if (ledger_block_is_good(bytes, sizeof bytes, durable_magic)) {
			memcpy(ret->ledger_id, bytes + 16, 16);
			ret->lsn = get_u64(bytes + 32);
			ret->seq = get_u64(bytes + 40);
			return true;
		}
	}
	return false;
}
