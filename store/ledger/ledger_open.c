/* Opening and closing. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/encode.h"
#include "runtime/log.h"
#include "store/ledger/ledger_recover.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENT_BYTES_DEFAULT = 64 << 20 };

/* ---- the directory ---- */
static int sync_parent(const char *dir)
{
	char parent[4096];
	snprintf(parent, sizeof parent, "%s/..", dir);
	int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = fsync(fd) != 0 ? -errno : 0;
	close(fd);
	return error;
}

static bool make_dir(struct ledger *l, const struct ledger_config *config, struct buf *ret_why)
{
	char name[] = "/tmp/fabra-ledger-XXXXXX";
	struct stat st;
	int error = 0;
	if (config->dir == NULL && config->temporary)
		l->config.dir = strdup(mkdtemp(name) ? name : "");
	else
		l->config.dir = strdup(config->dir ? config->dir : "");
	if (l->config.dir == NULL || l->config.dir[0] == '\0') {
		buf_append_lit(ret_why, "the ledger has no directory");
		return false;
	}
	if (mkdir(l->config.dir, 0700) == 0)
		error = sync_parent(l->config.dir);
	else if (errno != EEXIST)
		error = -errno;
	if (error == 0)
		l->dir_fd = open(l->config.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (error == 0 && l->dir_fd < 0)
		error = -errno;
	/* Records hold what users asked: nobody else may read them, whatever an older umask allowed. */
	if (error == 0 && (fstat(l->dir_fd, &st) != 0 || ((st.st_mode & 077) != 0 && fchmod(l->dir_fd, 0700) != 0)))
		error = -errno;
	if (error != 0)
		buf_printf(
		    ret_why,
		    "cannot use the ledger directory %s: %s; make it writable or choose another FABRA_DUCKDB_PATH",
		    l->config.dir, strerror(-error));
	return error == 0;
}

static bool take_lock(struct ledger *l, struct buf *ret_why)
{
	char pid[32] = "";
	l->lock_fd = openat(l->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->lock_fd >= 0 && flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0) {
		int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
		if (ftruncate(l->lock_fd, 0) != 0 || pwrite(l->lock_fd, pid, (size_t)n, 0) != n)
			log_line(LOG_WARNING, "ledger", "the lock file could not be written");
		return true;
	}
	int error = errno;
	if (l->lock_fd >= 0 && pread(l->lock_fd, pid, sizeof pid - 1, 0) < 0)
		pid[0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	if (error == EWOULDBLOCK)
		buf_printf(
		    ret_why,
		    "the ledger %s is in use by process %s: stop that server, or choose another FABRA_DUCKDB_PATH",
		    l->config.dir, pid[0] ? pid : "(unknown)");
	else
		buf_printf(ret_why, "cannot lock the ledger %s: %s", l->config.dir, strerror(error));
	return false;
}

/* ---- what is there ---- */
static bool choose_id(struct ledger *l, const struct ledger_catalog *c, const struct ledger_durable *hint,
		      bool has_hint, struct buf *ret_why)
{
	bool has_id = has_hint;
	if (has_hint)
		memcpy(l->id, hint->ledger_id, sizeof l->id);
	for (size_t i = 0; i < c->count; i++) {
		const struct ledger_segment_file *f = &c->files[i];
		if (!f->has_head)
			continue;
		if (has_id && memcmp(l->id, f->head.ledger_id, sizeof l->id) != 0) {
			buf_printf(
			    ret_why,
			    "segment %016llx in %s belongs to another ledger than %s: put the right one back, or move "
			    "the wrong one away",
			    (unsigned long long)f->seq, l->config.dir,
			    has_hint ? "the file `durable` there" : "the segments before it");
			return false;
		}
		memcpy(l->id, f->head.ledger_id, sizeof l->id);
		has_id = true;
	}
	return has_id || getrandom(l->id, sizeof l->id, 0) == sizeof l->id;
}

/* An unsealed segment that never held anything (a start that wrote nothing, then a kill) leaves no trace. */
static bool is_empty_rest(const struct ledger_catalog *c, size_t i, const struct ledger_segment *s)
{
	return i + 1 == c->count && s->foot.frames == 0 && s->foot.corrupt_frames == 0;
}

static void drop_empty(struct ledger *l, uint64_t seq)
{
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(seq, name);
	l->io->unlink(l->io, l->dir_fd, name);
	l->io->sync_dir(l->io, l->dir_fd);
}

static struct ledger_segment *load(struct ledger *l, const struct ledger_catalog *c, size_t i, uint64_t hint_lsn,
				   int *ret_error)
{
	struct ledger_segment *s = NULL, *sealed = NULL;
	const struct ledger_segment_file *f = &c->files[i];
	/* Where damage was found it is found again: what is lost there has to be known at each start. Where its loss was
	 * accepted, no index may lead to it. */
	if (f->has_foot && f->foot.corrupt_frames == 0 &&
	    !ledger_ranges_touch(&l->gaps, f->head.before.lsn + 1, f->foot.after.lsn)) {
		s = ledger_file_load_sealed(l, &c->files[i], ret_error);
		if (s != NULL || *ret_error != -EBADMSG)
			return s;
	}
	s = ledger_recover_segment(l, c, i, hint_lsn, ret_error);
	if (s == NULL || is_empty_rest(c, i, s))
		return s;
	s->foot.events_from = 0; /* unknown here; the header of a later segment says more */
	int error = ledger_file_seal(l, s, &sealed);
	if (error == 0) {
		ledger_segment_unref(s);
		return sealed;
	}
	log_line(LOG_WARNING, "ledger", "a recovered segment stays without a seal; its index is kept in memory",
		 LOG_INT("segment", (int64_t)s->head.seq), LOG_CSTR("error", strerror(-error)));
	return s;
}

/* The segment follows in the log. What stands between it and the one before is nowhere. */
static bool adopt(struct ledger *l, struct ledger_segment *s, uint64_t *events_from)
{
	struct ledger_writer *w = &l->writer;
	if (!ledger_ranges_add(&l->lost, w->tip.lsn + 1, s->head.before.lsn) || !ledger_set_change(l, NULL, s))
		return false;
	w->tip = s->foot.after;
	w->last_seq = s->head.seq;
	w->last_end = s->foot.data_end;
	*events_from = s->foot.events_from ? s->foot.events_from : s->head.events_from;
	atomic_fetch_add(&l->corrupt_frames, s->foot.corrupt_frames);
	return true;
}

static bool load_all(struct ledger *l, const struct ledger_catalog *c, uint64_t hint_lsn, uint64_t *events_from,
		     struct buf *ret_why)
{
	for (size_t i = 0; i < c->count; i++) {
		int error;
		l->writer.newest_seq = c->files[i].seq;
		if (!c->files[i].has_head) {
			atomic_fetch_add(&l->corrupt_frames, 1);
			log_line(LOG_ERROR, "ledger", "a segment's header is damaged; its entries cannot be reached",
				 LOG_INT("segment", (int64_t)c->files[i].seq));
			continue;
		}
		struct ledger_segment *s = load(l, c, i, hint_lsn, &error);
		if (s == NULL) {
			buf_printf(ret_why, "cannot read segment %016llx of the ledger %s: %s",
				   (unsigned long long)c->files[i].seq, l->config.dir, strerror(-error));
			return false;
		}
		bool ok = true;
		if (is_empty_rest(c, i, s) && !s->is_sealed)
			drop_empty(l, s->head.seq);
		else
			ok = adopt(l, s, events_from);
		ledger_segment_unref(s);
		if (!ok) {
			buf_append_lit(ret_why, "out of memory");
			return false;
		}
	}
	return true;
}

/* Of the holes that the start has met, those that nobody accounts for stay, and are said. false: no memory. */
static bool settle_losses(struct ledger *l)
{
	struct ledger_ranges unexpected = { 0 };
	struct ledger_range part;
	bool ok = true;
	for (size_t i = 0; i < l->lost.count && ok; i++) {
		struct ledger_range hole = l->lost.items[i];
		while (ok && ledger_ranges_outside(&l->gaps, hole.first, hole.last, &part)) {
			ok = ledger_ranges_add(&unexpected, part.first, part.last);
			hole.first = part.last + 1;
			log_line(LOG_ERROR, "ledger",
				 "entries that were durable are missing: restore their segments from a backup, "
				 "or accept the loss with `fabra ledger accept`",
				 LOG_INT("from_lsn", (int64_t)part.first), LOG_INT("to_lsn", (int64_t)part.last));
		}
	}
	ledger_ranges_finish(&l->gaps);
	ledger_ranges_finish(&l->lost);
	l->lost = unexpected;
	return ok;
}

static bool open_durable(struct ledger *l, struct buf *ret_why)
{
	struct ledger_durable d = { .lsn = l->writer.tip.lsn, .seq = l->writer.last_seq };
	uint8_t bytes[LEDGER_DURABLE];
	memcpy(d.ledger_id, l->id, sizeof d.ledger_id);
	ledger_durable_write(&d, bytes);
	l->durable_fd = l->io->open(l->io, l->dir_fd, "durable", O_RDWR | O_CREAT);
	int error = l->durable_fd < 0 ? l->durable_fd
				      : ledger_io_write_all(l->io, l->durable_fd, bytes, sizeof bytes, 0);
	if (error != 0)
		buf_printf(ret_why, "cannot write to the ledger %s: %s", l->config.dir, strerror(-error));
	return error == 0;
}

/* A ledger of an earlier version has no `gaps`: it is made once. A first segment without a readable header says nothing of what
 * came before it. */
static void begin_gaps(struct ledger *l, const struct ledger_catalog *c)
{
	uint64_t last = c->count > 0 && c->files[0].has_head ? c->files[0].head.before.lsn : 0;
	int made = ledger_gaps_begin(l->io, l->dir_fd, l->id, last);
	if (made < 0 && made != -EISDIR) /* the next start tries again */
		log_line(LOG_WARNING, "ledger", "`gaps`, the list of what retention removed, cannot be made",
			 LOG_CSTR("error", strerror(-made)));
	else if (made == 1 && last > 0)
		log_line(LOG_WARNING, "ledger",
			 "an earlier version kept no list of what retention removed: what is older than the oldest "
			 "segment is taken for that",
			 LOG_INT("to_lsn", (int64_t)last));
}

static void read_gaps(struct ledger *l)
{
	int error = ledger_gaps_read(l->io, l->dir_fd, l->id, &l->gaps);
	if (error != 0)
		log_line(LOG_ERROR, "ledger",
			 "`gaps`, the list of what retention removed, cannot be read: what it says counts as missing",
			 LOG_CSTR("error", error == -EBADMSG ? "it is damaged" : strerror(-error)));
}

/* The log goes on with the number after the highest one, and must be able to do so for ever. */
static bool numbers_are_sane(const struct ledger *l, const struct ledger_catalog *c, struct buf *ret_why)
{
	if (c->count == 0 || c->files[c->count - 1].seq <= LEDGER_SEQ_MAX)
		return true;
	char name[LEDGER_SEGMENT_NAME];
	ledger_segment_name(c->files[c->count - 1].seq, name);
	buf_printf(ret_why, "%s in the ledger %s has a number that no ledger reaches: move that file away", name,
		   l->config.dir);
	return false;
}

static bool recover(struct ledger *l, struct buf *ret_why)
{
	struct ledger_catalog c;
	struct ledger_durable hint = { .lsn = 0 };
	uint64_t events_from = 1;
	bool has_hint = ledger_read_durable(l->io, l->dir_fd, &hint) == 0;
	int error = ledger_catalog_load(l->io, l->dir_fd, 0, &c);
	if (error != 0) {
		buf_printf(ret_why, "cannot read the segments of the ledger %s: %s%s", l->config.dir, strerror(-error),
			   error == -EACCES ? "; they must belong to the user who runs the server" : "");
		return false;
	}
	bool ok = numbers_are_sane(l, &c, ret_why) && choose_id(l, &c, &hint, has_hint, ret_why);
	if (ok) {
		begin_gaps(l, &c);
		read_gaps(l);
		ok = load_all(l, &c, hint.lsn, &events_from, ret_why);
	}
	ledger_catalog_finish(&c);
	if (!ok)
		return false;
	struct ledger_writer *w = &l->writer;
	if (w->newest_seq < hint.seq)
		w->newest_seq = hint.seq; /* retired since; its number is not used again */
	if (!ledger_ranges_add(&l->lost, w->tip.lsn + 1, hint.lsn) || !settle_losses(l)) {
		buf_append_lit(ret_why, "out of memory");
		return false;
	}
	if (w->tip.lsn < hint.lsn)
		w->tip.lsn = hint.lsn; /* its numbers are not used again */
	atomic_store(&l->durable_lsn, w->tip.lsn);
	atomic_store(&l->newest_seq, w->last_seq);
	atomic_store(&l->durable_end, UINT64_MAX);
	return open_durable(l, ret_why) && ledger_recover_events(l, events_from, ret_why);
}

/* ---- life ---- */
static struct ledger *create(const struct ledger_config *config, const struct ledger_io *io)
{
	struct ledger *l = calloc(1, sizeof *l);
	if (l == NULL)
		return NULL;
	l->config = *config;
	l->config.dir = NULL;
	l->io = io;
	ledger_source_init(l);
	if (l->config.segment_bytes == 0)
		l->config.segment_bytes = SEGMENT_BYTES_DEFAULT;
	l->config.segment_bytes = (l->config.segment_bytes + LEDGER_BLOCK - 1) / LEDGER_BLOCK * LEDGER_BLOCK;
	if (l->config.segment_bytes < LEDGER_SEGMENT_MIN)
		l->config.segment_bytes = LEDGER_SEGMENT_MIN;
	if (l->config.segment_bytes > LEDGER_SEGMENT_MAX)
		l->config.segment_bytes = LEDGER_SEGMENT_MAX;
	if (l->config.batch_bytes_max == 0)
		l->config.batch_bytes_max = LEDGER_BATCH_BYTES_DEFAULT;
	l->dir_fd = l->lock_fd = l->durable_fd = l->writer.fd = l->helper.zeros_fd = -1;
	l->writer.hasher = ledger_hasher_create();
	l->writer.batch.max = l->config.batch_bytes_max + 2 * LEDGER_BLOCK;
	pthread_mutex_init(&l->lock, NULL);
	sem_init(&l->helper.wake, 0, 0);
	atomic_init(&l->is_writable, true);
	return l;
}

static void remove_dir(const struct ledger *l)
{
	int fd = dup(l->dir_fd);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL)
		return;
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		if (e->d_name[0] != '.')
			unlinkat(l->dir_fd, e->d_name, 0);
	}
	closedir(dir);
	rmdir(l->config.dir);
}

void ledger_close(struct ledger *l)
{
	if (l == NULL)
		return;
	ledger_helper_stop(l);
	ledger_writer_finish(l);
	for (struct ledger_job *job = ledger_helper_collect(l), *next; job != NULL; job = next) {
		next = job->next;
		ledger_segment_unref(job->sealed);
		ledger_segment_unref(job->segment);
		free(job);
	}
	ledger_set_unref(l->set);
	ledger_ranges_finish(&l->lost);
	ledger_ranges_finish(&l->gaps);
	if (l->config.temporary && l->dir_fd >= 0 && l->lock_fd >= 0)
		remove_dir(l);
	if (l->durable_fd >= 0)
		close(l->durable_fd);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	if (l->dir_fd >= 0)
		close(l->dir_fd);
	pthread_mutex_destroy(&l->lock);
	sem_destroy(&l->helper.wake);
	free((char *)l->config.dir);
	free(l);
}

struct ledger *ledger_open_on(const struct ledger_config *config, const struct ledger_io *io, struct buf *ret_why)
{
	struct ledger *l = create(config, io);
	if (l == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	bool ok = make_dir(l, config, ret_why) && take_lock(l, ret_why);
	if (!ok)
		l->config.temporary = false; /* another's */
	if (ok) {
		l->io->unlink(l->io, l->dir_fd, "segment.new"); /* left of a step that was interrupted */
		l->io->unlink(l->io, l->dir_fd, "gaps.new");
		ledger_reserve_adopt(l);
		ok = ledger_set_change(l, NULL, NULL) && recover(l, ret_why);
	}
	int error = ok ? ledger_helper_start(l) : 0;
	if (error != 0)
		buf_printf(ret_why, "cannot start the ledger's helper thread: %s", strerror(-error));
	if (ok && error == 0)
		return l;
	ledger_close(l);
	return NULL;
}

struct ledger *ledger_open(const struct ledger_config *config, struct buf *ret_why)
{
	return ledger_open_on(config, &ledger_io_real, ret_why);
}

/* ---- what others ask ---- */
static void describe_damage(const struct ledger *l, struct ledger_health *ret)
{
	if (l->lost.count > 0)
		snprintf(
		    ret->damage, sizeof ret->damage,
		    "%llu entries that were durable are missing, the first is %llu: restore the ledger's folder from a backup, or "
		    "accept the loss with `fabra ledger accept`; `fabra ledger verify` lists them",
		    (unsigned long long)ret->lost_entries, (unsigned long long)l->lost.items[0].first);
	else if (ret->doubtful_events > 0)
		snprintf(
		    ret->damage, sizeof ret->damage,
		    "%llu events wait: entries behind them are damaged, so that nobody knows whether they were applied. `fabra ledger "
		    "verify` says where: restore that from a backup, or accept the loss with `fabra ledger accept`",
		    (unsigned long long)ret->doubtful_events);
	else if (ret->damaged_reads > 0)
		snprintf(
		    ret->damage, sizeof ret->damage,
		    "%llu reads met damage since the start: run `fabra ledger verify`, and restore the segments that it names",
		    (unsigned long long)ret->damaged_reads);
}

/* A disk that hangs gives no error: only the time shows it. */
static void describe_stall(struct ledger *l, struct ledger_health *ret)
{
	uint64_t since_ns = atomic_load(&l->committing_since_ns), now_ns = clock_mono_ns();
	if (!ret->writable || since_ns == 0 || now_ns < since_ns + LEDGER_STALL_NS)
		return;
	ret->writable = false;
	snprintf(
	    ret->reason, sizeof ret->reason,
	    "a commit has been under way for %llu s: the disk does not answer, check it; writes go on when it does",
	    (unsigned long long)((now_ns - since_ns) / 1000000000u));
}

void ledger_health_read(struct ledger *l, struct ledger_health *ret)
{
	*ret = (struct ledger_health){
		.writable = atomic_load(&l->is_writable),
		.durable_lsn = atomic_load(&l->durable_lsn),
		.batches = atomic_load(&l->batches),
		.entries = atomic_load(&l->entries),
		.sync_failures = atomic_load(&l->sync_failures),
		.corrupt_frames = atomic_load(&l->corrupt_frames),
		.damaged_reads = atomic_load(&l->damaged_reads),
		.lost_entries = ledger_ranges_total(&l->lost),
		.doubtful_events = l->doubtful_events,
	};
	describe_damage(l, ret);
	struct ledger_set *set = ledger_set_borrow(l);
	ret->segments = set->count;
	for (size_t i = 0; i < set->count; i++) {
		const struct ledger_segment *s = set->segments[i];
		ret->bytes += s->is_sealed
				  ? s->foot.index_at + ledger_index_disk_bytes(s->foot.index_entries) + LEDGER_BLOCK
				  : s->head.segment_bytes;
	}
	ledger_set_unref(set);
	pthread_mutex_lock(&l->lock);
	memcpy(ret->reason, l->reason, sizeof ret->reason);
	pthread_mutex_unlock(&l->lock);
	describe_stall(l, ret);
}

uint64_t ledger_durable_lsn(const struct ledger *l)
{
	return atomic_load(&l->durable_lsn);
}
