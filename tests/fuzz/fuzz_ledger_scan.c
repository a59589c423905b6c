/* Segment files of any content: scan, verify and recovery must end, read nothing beyond their buffers, give
 * LSNs in order.
 *
 * The first byte says what the rest is: 0 a whole file; 1 the frames behind a good header; 2 a list of
 * payloads (kind, two bytes of length, bytes), put into good frames, so that what decodes payloads is reached
 * too. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "store/text/bytes.h"
#include "store/ledger/ledger_private.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEGMENT = 64 << 10, EPOCH = 0x1234567 };
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t file[SEGMENT];

static int no_sync(const struct ledger_io *io, int fd)
{
	(void)io;
	(void)fd;
	return 0;
}

static void put_header(void)
{
	struct ledger_segment_head head = { .seq = 1, .epoch = EPOCH, .segment_bytes = SEGMENT };
	ledger_segment_head_write(&head, file);
}

static uint64_t put_frames(const uint8_t *data, size_t size)
{
	uint8_t chain[LOG_SOURCE_CHAIN] = { 0 };
	uint64_t at = LEDGER_BLOCK, lsn = 0;
	EVP_MD_CTX *hasher = ledger_hasher_create();
	while (size >= 3) {
		size_t n = get_u16(data + 1);
		if (n > size - 3)
			n = size - 3;
		struct ledger_frame_head head = { .payload_bytes = (uint32_t)n,
						  .covered_bytes = (uint32_t)n,
						  .epoch = EPOCH };
		head.kind = (uint16_t)(EVIDENCE_RECORD + data[0] % EVIDENCE_DOCUMENT_DELETE);
		head.lsn = ++lsn;
		head.durable_lsn = lsn - 1;
		if (at + ledger_frame_bytes(n) > SEGMENT)
			break;
		memcpy(file + at + LEDGER_FRAME_HEAD, data + 3, n);
		ledger_frame_finish(file + at, &head, hasher, chain);
		at += ledger_frame_bytes(n);
		data += 3 + n;
		size -= 3 + n;
	}
	ledger_hasher_destroy(hasher);
	return lsn;
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
	close(fd);
}

static void scan_all(struct ledger *l, const char *dir)
{
	struct buf why = { 0 };
	struct log_source_entry f;
	enum log_source_result result;
	uint64_t last = 0, steps = 0;
	struct ledger_scan *scan = ledger_scan_open(l, dir, 1, &why);
	while (scan != NULL && (result = ledger_scan_next(scan, &f)) != LOG_SOURCE_END) {
		CHECK(result != LOG_SOURCE_ERROR && ++steps < SEGMENT);
		if (result != LOG_SOURCE_ENTRY)
			continue;
		CHECK(f.lsn > last);
		last = f.lsn;
	}
	ledger_scan_close(scan);
	buf_finish(&why);
}

static void recover(const char *dir)
{
	struct buf why = { 0 };
	struct ledger_io io = ledger_io_real;
	struct ledger_config config = { .dir = dir, .segment_bytes = SEGMENT, .temporary = true };
	io.fdatasync = io.sync_dir = no_sync;
	struct ledger *l = ledger_open_on(&config, &io, &why);
	if (l != NULL) {
		struct evidence_entry *e = evidence_entry_new(EVIDENCE_DOCUMENT);
		int status;
		ledger_write(l, &e, &status, 1, 0);
		CHECK(status == RT_OK);
		evidence_entry_free(e);
		scan_all(l, NULL);
	}
	ledger_close(l);
	buf_finish(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[] = "/tmp/fabra-fuzz-ledger-XXXXXX", command[64];
	uint8_t hint[LEDGER_DURABLE];
	struct ledger_durable durable = { .lsn = 8, .seq = 1 };
	struct ledger_report report;
	struct buf out = { 0 };
	static int null = -1;
	if (size < 2 || size > SEGMENT - LEDGER_BLOCK)
		return 0;
	if (null < 0)
		log_start(null = open("/dev/null", O_WRONLY), LOG_ERROR);
	memset(file, 0, sizeof file);
	uint8_t mode = data[0] % 3;
	data++;
	size--;
	if (mode > 0)
		put_header();
	if (mode == 2)
		durable.lsn = put_frames(data, size);
	else
		memcpy(file + (mode == 1 ? LEDGER_BLOCK : 0), data, size);
	CHECK(mkdtemp(dir) != NULL);
	write_file(dir, "0000000000000001.seg", file, mode == 0 ? size : sizeof file);
	ledger_durable_write(&durable, hint);
	write_file(dir, "durable", hint, sizeof hint);
	scan_all(NULL, dir);
	CHECK(ledger_verify(dir, NULL, &report, &out) >= 0);
	recover(dir);                 /* and removes what it leaves */
	if (access(dir, F_OK) == 0) { /* it refused the folder as another ledger's */
		snprintf(command, sizeof command, "rm -r %s", dir);
		CHECK(system(command) == 0);
	}
	buf_finish(&out);
	return 0;
}
