/* Reading in order, beside a running server, in any process.
 *
 * A scan reads files by name and shares nothing with the committer but how far the log is durable, and which
 * segment was the newest then: two atomic numbers, or the `durable` file. Nothing beyond that is ever looked
 * at, so that what it finds bad is damage, not a write in progress. */
#include "runtime/check.h"
#include "store/ledger/ledger_scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct ledger_scan {
	struct log_scan base;
	struct ledger *l; /* borrows; NULL: from outside */
	const struct ledger_io *io;
	int dir_fd;
	struct ledger_catalog catalog;
	size_t current; /* index into the catalog */
	int fd;         /* of the current segment; -1 = none */
	struct ledger_walk walk;
	uint64_t expected; /* LSN of the next frame */
	uint64_t from_lsn;
	uint8_t ledger_id[16];
	uint64_t durable_lsn, newest_seq;
	uint64_t newest_end;  /* where the durable part of newest_seq ends; UINT64_MAX: not known */
	uint64_t listed_seq;  /* newest_seq when the directory was last read */
	const uint8_t *frame; /* the last one given, in walk's window */
	struct ledger_frame_head frame_head;
	struct log_source_entry hole; /* lsn..lost_to are not where the scan came by; empty: all is told. What `gaps`
				     knows of is passed over in silence */
	char path[LEDGER_SEGMENT_NAME];
};

int ledger_read_durable(const struct ledger_io *io, int dir_fd, struct ledger_durable *ret)
{
	int fd = io->open(io, dir_fd, "durable", O_RDONLY);
	if (fd < 0)
		return fd;
	bool ok = ledger_durable_read(io, fd, ret);
	close(fd);
	return ok ? 0 : -EBADMSG;
}

/* What the files alone prove: the last footer or header, and what frames of an unsealed segment say of those
 * before. */
static void prove_bound(struct ledger_scan *s)
{
	size_t i = s->catalog.count;
	while (i > 0 && !s->catalog.files[i - 1].has_head)
		i--;
	if (i == 0)
		return;
	const struct ledger_segment_file *f = &s->catalog.files[i - 1];
	uint64_t lsn = f->has_foot ? f->foot.after.lsn : f->head.before.lsn, behind = 0, bytes;
	char name[LEDGER_SEGMENT_NAME];
	int error, fd = -1;
	ledger_segment_name(f->seq, name);
	if (!f->has_foot)
		fd = s->io->open(s->io, s->dir_fd, name, O_RDONLY);
	if (fd >= 0) {
		struct ledger_walk walk;
		ledger_walk_init(&walk, s->io, fd, f->head.epoch, LEDGER_BLOCK, f->file_bytes);
		ledger_walk_look_behind(&walk, &behind, &bytes, &error);
		ledger_walk_finish(&walk);
		close(fd);
	}
	lsn = behind > lsn ? behind : lsn;
	s->durable_lsn = lsn > s->durable_lsn ? lsn : s->durable_lsn;
}

/* The zeros behind the newest frame may be on disk and in no cache. Reading on into them would fetch megabytes, and the
 * committer's next sync would wait for the disk to deliver them. */
static void bound_walk(struct ledger_scan *s)
{
	if (s->fd >= 0 && s->catalog.files[s->current].seq == s->newest_seq && s->newest_end < UINT64_MAX)
		s->walk.end = s->newest_end;
}

/* Reads the directory again from the current segment on. */
static int reload(struct ledger_scan *s)
{
	struct ledger_catalog fresh;
	uint64_t seq = s->fd >= 0 ? s->catalog.files[s->current].seq : 0;
	int error = ledger_catalog_load(s->io, s->dir_fd, seq, &fresh);
	if (error != 0)
		return error;
	ledger_catalog_finish(&s->catalog);
	s->catalog = fresh;
	s->current = 0;
	s->listed_seq = s->newest_seq;
	if (s->fd >= 0 && (fresh.count == 0 || fresh.files[0].seq != seq || !fresh.files[0].has_head ||
			   fresh.files[0].head.epoch != s->walk.epoch)) {
		close(s->fd); /* retired under us: what it held is no longer kept */
		s->fd = -1;
	}
	if (s->fd >= 0)
		s->walk.end = ledger_catalog_end(&s->catalog, 0);
	bound_walk(s);
	return 0;
}

static int refresh_bound(struct ledger_scan *s)
{
	struct ledger_durable d;
	if (s->l != NULL) {
		s->durable_lsn = atomic_load(&s->l->durable_lsn);
		s->newest_end = atomic_load(&s->l->durable_end);
		s->newest_seq = atomic_load(&s->l->newest_seq);
		bound_walk(s);
		return 0;
	}
	if (ledger_read_durable(s->io, s->dir_fd, &d) == 0) {
		s->durable_lsn = d.lsn > s->durable_lsn ? d.lsn : s->durable_lsn;
		s->newest_seq = d.seq;
		return 0;
	}
	int error = reload(s);
	if (error == 0)
		prove_bound(s);
	return error;
}

/* The live tail is the last to read a segment as a whole: drops its pages, for the next reserve (docs/adr/0006). */
static void leave(struct ledger_scan *s)
{
	if (s->fd >= 0 && s->l != NULL)
		s->io->drop_cached(s->io, s->fd);
	if (s->fd >= 0)
		close(s->fd);
	ledger_walk_finish(&s->walk);
}

/* The entries from `expected` to lost_to are missing: goes on behind them. */
static void pass_over(struct ledger_scan *s, uint64_t lost_to, const char *path, uint64_t offset)
{
	if (lost_to < s->expected)
		return;
	s->hole = (struct log_source_entry){ .lsn = s->expected, .lost_to = lost_to, .path = path, .offset = offset };
	s->expected = lost_to + 1;
}

static int enter(struct ledger_scan *s, size_t i)
{
	const struct ledger_segment_file *f = &s->catalog.files[i];
	leave(s);
	ledger_segment_name(f->seq, s->path);
	s->fd = s->io->open(s->io, s->dir_fd, s->path, O_RDONLY);
	if (s->fd < 0)
		return s->fd;
	s->current = i;
	ledger_walk_init(&s->walk, s->io, s->fd, f->head.epoch, LEDGER_BLOCK, ledger_catalog_end(&s->catalog, i));
	bound_walk(s);
	pass_over(s, f->head.before.lsn, "(no segment)", 0);
	return 0;
}

/* The segment that holds `expected`: the last one that starts at or before it, else the first one behind
 * it. */
static bool choose(const struct ledger_scan *s, size_t *ret_index)
{
	bool found = false;
	for (size_t i = 0; i < s->catalog.count; i++) {
		const struct ledger_segment_file *f = &s->catalog.files[i];
		if (!f->has_head)
			continue;
		if (found && f->head.before.lsn + 1 > s->expected)
			break;
		*ret_index = i;
		found = true;
	}
	return found;
}

static bool is_settled(const struct ledger_scan *s)
{
	if (s->fd < 0 || s->listed_seq < s->newest_seq)
		return false;
	return s->current + 1 == s->catalog.count || (s->catalog.files[s->current + 1].has_head &&
						      s->catalog.files[s->current + 1].head.before.lsn >= s->expected);
}

/* Brings the scan to the segment of `expected`. -ENOENT: there is none. */
static int settle(struct ledger_scan *s)
{
	size_t i = 0;
	while (!is_settled(s)) {
		int error = s->fd < 0 || s->listed_seq < s->newest_seq ? reload(s) : 0;
		if (error != 0)
			return error;
		if (!choose(s, &i))
			return -ENOENT;
		if (s->fd >= 0 && i == s->current)
			return 0;
		error = enter(s, i);
		if (error != -ENOENT)
			return error;
	}
	return 0;
}

static void fill_frame(struct ledger_scan *s, const struct ledger_frame_head *head, const uint8_t *bytes,
		       struct log_source_entry *ret)
{
	struct ledger_payload p;
	struct str payload = str_of((const char *)bytes + LEDGER_FRAME_HEAD, head->payload_bytes);
	*ret = (struct log_source_entry){ .kind = head->kind, .lsn = head->lsn, .written_us = head->written_us };
	ret->path = s->path;
	ret->chain = bytes + 48;
	ret->offset = s->walk.at - ledger_frame_bytes(head->payload_bytes);
	ret->body = payload;
	if ((head->kind == EVIDENCE_RECORD || head->kind == EVIDENCE_RECORD_IMPORTED) &&
	    ledger_payload_read(payload, &p)) {
		ret->body = p.canonical;
		ret->extras = p.extras;
		ret->stamp = p.stamp;
		ret->context_id = p.id;
	}
}

static bool is_retired(struct ledger_scan *s)
{
	struct ledger_segment_file f;
	return ledger_segment_look(s->io, s->dir_fd, s->catalog.files[s->current].seq, &f) != 0 || !f.has_head ||
	       f.head.epoch != s->walk.epoch;
}

/* The last LSN before something is known to be again: the footer's, or the next readable header's. */
static uint64_t hole_end(const struct ledger_scan *s)
{
	const struct ledger_segment_file *f = &s->catalog.files[s->current];
	uint64_t last = s->durable_lsn;
	for (size_t i = s->catalog.count; i-- > s->current + 1;) {
		if (s->catalog.files[i].has_head && s->catalog.files[i].head.before.lsn >= s->expected)
			last = s->catalog.files[i].head.before.lsn;
	}
	if (f->has_foot && f->foot.after.lsn >= s->expected)
		last = f->foot.after.lsn;
	return last < s->durable_lsn ? last : s->durable_lsn;
}

/* No good frame at walk.at although one is durable there: damage, unless the file is no longer this segment.
 * Goes to the next good frame that is durable, here or in a later segment, or to the end of what is durable. */
static int cross_damage(struct ledger_scan *s)
{
	const struct ledger_segment_file *f = &s->catalog.files[s->current];
	struct ledger_frame_head head;
	uint64_t at = s->walk.at;
	int error;
	if (is_retired(s)) {
		close(s->fd);
		s->fd = -1;
		return 0;
	}
	enum ledger_walk_result result = ledger_walk_resync(&s->walk, s->expected, &head, &error);
	if (result == LEDGER_WALK_ERROR)
		return error;
	if (result == LEDGER_WALK_FRAME && head.lsn <= s->durable_lsn) {
		pass_over(s, head.lsn - 1, s->path, at);
		return 0;
	}
	s->walk.at = at; /* new frames may still come here, behind the damage */
	bool is_behind_the_end = f->has_foot && at >= f->foot.data_end;
	pass_over(s, hole_end(s), is_behind_the_end ? "(no segment)" : s->path, is_behind_the_end ? 0 : at);
	return 0;
}

/* Of the hole, the next part that nobody accounts for. The list is read when a hole is seen, and not before: a
 * running server retires segments meanwhile, and writes the list first. */
static enum log_source_result tell_hole(struct ledger_scan *s, struct log_source_entry *ret)
{
	struct ledger_ranges gaps;
	struct ledger_range part;
	int error = ledger_gaps_read(s->io, s->dir_fd, s->ledger_id, &gaps);
	if (error != 0 && error != -EBADMSG) /* a damaged file accounts for nothing */
		return LOG_SOURCE_ERROR;
	bool is_lost = ledger_ranges_outside(&gaps, s->hole.lsn, s->hole.lost_to, &part);
	ledger_ranges_finish(&gaps);
	*ret = s->hole;
	ret->lsn = part.first;
	ret->lost_to = part.last;
	s->hole.lsn = is_lost ? part.last + 1 : s->hole.lost_to + 1;
	return is_lost ? LOG_SOURCE_CORRUPT : LOG_SOURCE_END;
}

/* One step towards the next frame. LOG_SOURCE_END here means: look again. */
static enum log_source_result step(struct ledger_scan *s, struct log_source_entry *ret)
{
	struct ledger_frame_head head;
	const uint8_t *bytes;
	int error;
	switch (ledger_walk_next(&s->walk, &head, &bytes, &error)) {
	case LEDGER_WALK_ERROR:
		return LOG_SOURCE_ERROR;
	case LEDGER_WALK_BAD:
		return cross_damage(s) == 0 ? LOG_SOURCE_END : LOG_SOURCE_ERROR;
	case LEDGER_WALK_FRAME:
		break;
	}
	if (head.lsn < s->expected && s->expected == s->from_lsn)
		return LOG_SOURCE_END; /* on the way to the first one that is wanted */
	if (head.lsn != s->expected) {
		s->walk.at -= ledger_frame_bytes(head.payload_bytes);
		return cross_damage(s) == 0 ? LOG_SOURCE_END : LOG_SOURCE_ERROR;
	}
	s->expected++;
	s->frame = bytes;
	s->frame_head = head;
	fill_frame(s, &head, bytes, ret);
	return LOG_SOURCE_ENTRY;
}

static bool has_hole(const struct ledger_scan *s)
{
	return s->hole.lost_to > 0 && s->hole.lsn <= s->hole.lost_to;
}

enum log_source_result ledger_scan_next(struct ledger_scan *s, struct log_source_entry *ret)
{
	enum log_source_result result = LOG_SOURCE_END;
	s->frame = NULL;
	while (result == LOG_SOURCE_END) {
		if (has_hole(s)) {
			result = tell_hole(s, ret);
			continue;
		}
		if (s->expected > s->durable_lsn && refresh_bound(s) != 0)
			return LOG_SOURCE_ERROR;
		if (s->expected > s->durable_lsn)
			return LOG_SOURCE_END;
		int error = settle(s);
		if (error == -ENOENT) {
			pass_over(s, s->durable_lsn, "(no segment)", 0);
			continue;
		}
		if (error != 0)
			return LOG_SOURCE_ERROR;
		if (has_hole(s))
			continue;
		if (s->expected <= s->durable_lsn) /* else the segment starts behind the bound */
			result = step(s, ret);
	}
	return result;
}

/* From outside: as the start finds it. */
static void find_id(struct ledger_scan *s)
{
	struct ledger_durable d;
	size_t i = 0;
	if (s->l != NULL) {
		memcpy(s->ledger_id, s->l->id, sizeof s->ledger_id);
		return;
	}
	while (i < s->catalog.count && !s->catalog.files[i].has_head)
		i++;
	if (i < s->catalog.count)
		memcpy(s->ledger_id, s->catalog.files[i].head.ledger_id, sizeof s->ledger_id);
	else if (ledger_read_durable(s->io, s->dir_fd, &d) == 0)
		memcpy(s->ledger_id, d.ledger_id, sizeof s->ledger_id);
}

static enum log_source_result scan_next(struct log_scan *s, struct log_source_entry *ret)
{
	return ledger_scan_next((struct ledger_scan *)s, ret);
}

static void scan_close(struct log_scan *s)
{
	ledger_scan_close((struct ledger_scan *)s);
}

struct log_scan *ledger_scan_base(struct ledger_scan *s)
{
	return &s->base;
}

struct ledger_scan *ledger_scan_open(struct ledger *l, const char *dir, uint64_t from_lsn, struct buf *ret_why)
{
	struct ledger_scan *s = calloc(1, sizeof *s);
	if (s == NULL) {
		buf_append_lit(ret_why, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	s->base = (struct log_scan){ scan_next, scan_close };
	s->l = l;
	s->io = l != NULL ? l->io : &ledger_io_real;
	s->fd = -1;
	s->newest_end = UINT64_MAX;
	s->expected = s->from_lsn = from_lsn > 0 ? from_lsn : 1;
	s->dir_fd = l != NULL ? dup(l->dir_fd) : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = s->dir_fd < 0 ? -errno : 0;
	if (error == 0)
		error = ledger_catalog_load(s->io, s->dir_fd, 0, &s->catalog);
	if (error == 0 && l == NULL && s->catalog.count == 0 && faccessat(s->dir_fd, "durable", F_OK, 0) != 0)
		error = -ENOENT;
	if (error == 0) {
		find_id(s);
		if (l == NULL)
			prove_bound(s); /* after a power failure the hint may know less than the files */
		return s;
	}
	buf_printf(ret_why, "there is no ledger to read at %s: %s", l != NULL ? l->config.dir : dir, strerror(-error));
	ledger_scan_close(s);
	errno = -error;
	return NULL;
}

void ledger_scan_raw(struct ledger_scan *s, struct ledger_scan_raw *ret)
{
	*ret = (struct ledger_scan_raw){ .frame = s->frame, .head = s->frame_head, .walk = &s->walk };
	if (s->fd >= 0)
		ret->file = &s->catalog.files[s->current];
}

int ledger_scan_dir(const struct ledger_scan *s)
{
	return s->dir_fd;
}

const uint8_t *ledger_scan_id(const struct ledger_scan *s)
{
	return s->ledger_id;
}

uint64_t ledger_scan_durable(struct ledger_scan *s)
{
	refresh_bound(s); /* what the open has proved stays if it fails */
	return s->durable_lsn;
}

void ledger_scan_close(struct ledger_scan *s)
{
	if (s == NULL)
		return;
	ledger_walk_finish(&s->walk);
	ledger_catalog_finish(&s->catalog);
	if (s->fd >= 0)
		close(s->fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s);
}
