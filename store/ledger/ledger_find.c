/* From an id or a hash to the record, and the actor that answers so. */
#include "runtime/check.h"
#include "store/ledger/ledger_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct str name_id(const struct evidence_name *name)
{
	return str_of(name->id, name->id_n);
}

static uint64_t name_key(const struct evidence_name *name)
{
	if (name->by_hash)
		return ledger_key_of_hash(name->hash);
	EVP_MD_CTX *hasher = ledger_hasher_create();
	uint64_t key = ledger_key_of_id(hasher, name_id(name));
	ledger_hasher_destroy(hasher);
	return key;
}

static struct evidence_record *make_record(const struct ledger_payload *p, const struct ledger_frame_head *head,
					   bool want_view)
{
	struct evidence_record *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	buf_append_str(&r->canonical, p->canonical);
	if (want_view)
		buf_append_str(&r->extras, p->extras);
	r->stamp = p->stamp;
	r->imported = head->kind == EVIDENCE_RECORD_IMPORTED;
	r->lsn = head->lsn;
	if (r->canonical.failed || r->extras.failed) {
		evidence_record_free(r);
		return NULL;
	}
	return r;
}

/* Has retention removed the segment since it was looked up? Then what stands in the file is not ours to judge.
 * The set says so, not the file: a damaged one looks like anything. */
static bool is_retired(struct ledger *l, const struct ledger_segment *s)
{
	struct ledger_set *set = ledger_set_borrow(l);
	bool is_live = false;
	for (size_t i = 0; i < set->count && !is_live; i++)
		is_live = set->segments[i]->head.seq == s->head.seq;
	ledger_set_unref(set);
	return !is_live;
}

static int damage(struct ledger *l, const struct ledger_segment *s)
{
	if (is_retired(l, s))
		return RT_ENOTFOUND;
	atomic_fetch_add(&l->damaged_reads, 1);
	return RT_EIO;
}

/* One pread. 0, RT_ENOTFOUND (another record, or the segment is gone) or RT_EIO. */
static int read_record(struct ledger *l, int fd, const struct ledger_segment *s, uint64_t place,
		       const struct evidence_name *name, bool want_view, struct evidence_record **ret)
{
	uint64_t n = ledger_place_bytes(place), at = ledger_place_at(place);
	if (n < LEDGER_FRAME_HEAD || n > s->head.segment_bytes)
		return damage(l, s);
	uint8_t *frame = malloc((size_t)n);
	if (frame == NULL)
		return RT_EIO;
	struct ledger_frame_head head;
	struct ledger_payload p;
	ssize_t got = ledger_io_read_all(l->io, fd, frame, (size_t)n, at);
	int status = RT_OK;
	if (got < 0)
		status = damage(l, s);
	else if ((size_t)got != n || !ledger_frame_head_read(frame, s->head.epoch, &head) ||
		 ledger_frame_bytes(head.payload_bytes) != n || !ledger_frame_crc_is_good(frame, &head) ||
		 !ledger_payload_read(str_of((const char *)frame + LEDGER_FRAME_HEAD, head.payload_bytes), &p))
		status = damage(l, s);
	else if (!evidence_name_matches(name, p.id, p.hash))
		status = RT_ENOTFOUND;
	else if ((*ret = make_record(&p, &head, want_view)) == NULL)
		status = RT_EIO;
	free(frame);
	return status;
}

static int find_places(struct ledger *l, const struct ledger_segment *s, int *fd, uint64_t key,
		       uint64_t ret_places[static LEDGER_HITS_MAX])
{
	char name[LEDGER_SEGMENT_NAME];
	int hits = 1;
	ledger_segment_name(s->head.seq, name);
	if (!s->is_sealed) {
		pthread_mutex_lock(&l->lock);
		hits = (int)ledger_index_find(&s->index, key, ret_places);
		pthread_mutex_unlock(&l->lock);
	}
	if (hits == 0)
		return 0;
	*fd = l->io->open(l->io, l->dir_fd, name, O_RDONLY);
	if (*fd < 0)
		return *fd;
	return s->is_sealed ? ledger_fences_find(&s->fences, l->io, *fd, &s->foot, key, ret_places) : hits;
}

static int find_in(struct ledger *l, const struct ledger_segment *s, const struct evidence_name *name, uint64_t key,
		   bool want_view, struct evidence_record **ret)
{
	uint64_t places[LEDGER_HITS_MAX];
	int fd = -1, status = RT_ENOTFOUND, hits = find_places(l, s, &fd, key, places);
	if (hits == -EBADMSG || hits == -ENOENT || hits == -EIO || hits == -EISDIR)
		status = damage(l, s);
	else if (hits < 0)
		status = RT_EIO; /* no descriptor, no permission */
	for (int i = 0; i < hits && status == RT_ENOTFOUND; i++)
		status = read_record(l, fd, s, places[i], name, want_view, ret);
	if (fd >= 0)
		close(fd);
	return status;
}

int ledger_find_record(struct ledger *l, const struct evidence_name *name, bool want_view, struct evidence_record **ret,
		       char reason[static 160])
{
	*ret = NULL;
	if (!name->by_hash && name->id_n == 0)
		return RT_ENOTFOUND;
	uint64_t key = name_key(name);
	struct ledger_set *set = ledger_set_borrow(l);
	int status = RT_ENOTFOUND;
	for (size_t i = set->count; i-- > 0 && status != RT_OK;) {
		int found = find_in(l, set->segments[i], name, key, want_view, ret);
		if (found == RT_ENOTFOUND)
			continue; /* a damaged segment does not hide what others hold, nor does it make "not
				     found" true */
		status = found;
		if (found == RT_EIO)
			snprintf(reason, 160,
				 "a part of the ledger cannot be read (segment %llu): run `fabra ledger verify`",
				 (unsigned long long)set->segments[i]->head.seq);
	}
	ledger_set_unref(set);
	if (status == RT_ENOTFOUND && l->lost.count > 0) {
		status = RT_EIO;
		snprintf(reason, 160,
			 "entries of the ledger are missing (the first is %llu), and this record may be one of them: "
			 "run `fabra ledger verify`",
			 (unsigned long long)l->lost.items[0].first);
	}
	return status;
}
