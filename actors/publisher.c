/* publisher.c -- what is durable, on its way to an online store elsewhere.
 *
 *     PUBLISH --turn end: the rows of all go into few messages--> UNDER_WAY --all answered--> the asker has its entry back
 *        a row that failed, or of which nobody knows: its cells are KEPT
 *     KEPT --a pause, which grows while the store fails--> put again, one message at a time --taken--> gone
 *        more than the bounds allow: all are forgotten, and a repair from the history is due
 *
 * The store compares, so it does not matter in which order writes come, or how often. Of a cell only its newest value is kept,
 * and beside it its newest delete: which of them counts, the store says. While nothing gets through, what comes is kept at
 * once, and what is put again shows when the store is back.
 * Bounds: the mailbox, PUBLISHER_JOBS_MAX, PUBLISHER_KEPT_MAX, and the bytes of both. */
#include "actors/publisher.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include <stdlib.h>

enum { BUCKETS = 1024, PAUSE_MS = 20, PAUSE_MS_MAX = 2000, LOG_PAUSE_MS = 10000 };
enum { TIMER_AGAIN = 1 };

struct job {                 /* an entry that is being published */
	struct job *next;    /* of this turn */
	struct msg *request; /* taken */
	uint32_t rows;       /* still to be answered */
};

struct part { /* a row of a message */
	struct job *job;
	size_t at; /* of values_row_at */
};

struct kept { /* a cell that the store does not have */
	struct kept *next, *next_by_key;
	uint64_t hash;
	uint32_t entity;
	bool is_delete;              /* of the cell, or, with feature DEF_NONE, of its row */
	struct online_change change; /* owns its value; of a delete, event time and LSN */
	size_t id_n;
	char id[];
};

struct sent { /* a message to the store */
	struct sent *next;
	uint64_t op;
	struct kept *kept; /* owned: what it puts again; NULL: what follows */
	uint32_t count;
	struct part parts[];
};

struct outgoing { /* a message that is being filled */
	uint16_t kind;
	struct online_batch *batch; /* NULL: none is begun */
	struct sent *sent;
};

struct publisher {
	struct actor base;
	struct node_loop *nl;
	struct job *arrived, **arrived_end; /* in this turn */
	uint32_t jobs_count;
	size_t jobs_bytes;
	struct sent *sent;
	struct kept *kept, **kept_end, *by_key[BUCKETS];
	uint32_t kept_count; /* without what is being put again */
	size_t kept_bytes;
	uint32_t pause_ms;
	bool is_waiting, is_putting_again; /* a pause; a message of what was kept is under way */
	bool is_away;                      /* the last message that ended got through to nobody */
	bool is_behind;                    /* the log says so */
	uint64_t log_again_ns;
};

static struct evidence_entry *entry_of(const struct job *j)
{
	return ((struct evidence_append *)j->request)->entry;
}

static struct str id_of(const struct kept *k)
{
	return str_of(k->id, k->id_n);
}

/* ---- KEPT ---- */

static size_t kept_bytes(const struct kept *k)
{
	return sizeof *k + k->id_n + (k->change.value ? k->change.value->len : 0);
}

static void note_pending(struct publisher *s, uint64_t count)
{
	metrics_set(s->nl->node->metrics.online_pending, (double)count);
}

static void kept_free(struct publisher *s, struct kept *k, bool is_published)
{
	note_pending(s, values_catch_up(s->nl->node, k->entity, id_of(k), is_published));
	value_unref(k->change.value);
	free(k);
}

static struct kept **bucket_of(struct publisher *s, uint64_t hash)
{
	return &s->by_key[hash % BUCKETS];
}

static bool is_of(const struct kept *k, const struct kept *other)
{
	return k->hash == other->hash && k->entity == other->entity && k->is_delete == other->is_delete &&
	       k->change.feature == other->change.feature && str_eq(id_of(k), id_of(other));
}

static void forget_all(struct publisher *s)
{
	log_line(
	    LOG_WARNING, "publisher",
	    "too much waits for the online store: it is put there from the history when the store takes writes again",
	    LOG_INT("cells", (int64_t)s->kept_count));
	values_repair(s->nl->node);
	for (struct kept *k = s->kept, *next; k; k = next) {
		next = k->next;
		kept_free(s, k, false);
	}
	memset(s->by_key, 0, sizeof s->by_key);
	s->kept = NULL;
	s->kept_end = &s->kept;
	s->kept_count = 0;
	s->kept_bytes = 0;
}

static int in_time(const struct online_meta *a, const struct online_meta *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us < b->event_time_us ? -1 : 1;
	return (a->event_time_ns > b->event_time_ns) - (a->event_time_ns < b->event_time_ns);
}

/* What both say together, in to. Of deletes the later time and the later LSN count, of values the newer one. */
static void merge(struct kept *to, struct kept *from)
{
	struct online_meta *have = &to->change.meta;
	const struct online_meta *more = &from->change.meta;
	int side = in_time(have, more);
	if (to->is_delete) {
		uint64_t lsn = have->lsn > more->lsn ? have->lsn : more->lsn;
		*have = side < 0 ? *more : *have;
		have->lsn = lsn;
	} else if (side < 0 || (side == 0 && have->lsn <= more->lsn)) {
		struct online_change newer = from->change;
		from->change = to->change;
		to->change = newer;
	}
}

static void wait_a_while(struct publisher *s)
{
	if (s->is_waiting || s->is_putting_again || s->kept == NULL)
		return;
	uint64_t half = s->pause_ms / 2;
	s->is_waiting = rt_timer_start(&s->base, half + loop_random(s->base.loop) % (half + 1), TIMER_AGAIN) != 0;
	if (!s->is_waiting)
		forget_all(s); /* nobody would come back to it */
}

/* Moves k. */
static void keep(struct publisher *s, struct kept *k)
{
	struct kept *same = *bucket_of(s, k->hash);
	while (same && !is_of(same, k))
		same = same->next_by_key;
	if (same) {
		s->kept_bytes -= kept_bytes(same);
		merge(same, k);
		s->kept_bytes += kept_bytes(same);
		kept_free(s, k, false);
	} else {
		k->next = NULL;
		k->next_by_key = *bucket_of(s, k->hash);
		*bucket_of(s, k->hash) = k;
		*s->kept_end = k;
		s->kept_end = &k->next;
		s->kept_count++;
		s->kept_bytes += kept_bytes(k);
	}
	if (s->kept_count > PUBLISHER_KEPT_MAX || s->kept_bytes > PUBLISHER_KEPT_BYTES_MAX)
		forget_all(s);
}

static void keep_cell(struct publisher *s, const struct values_row *r, const struct online_change *c)
{
	const struct node *n = s->nl->node;
	struct kept *k = malloc(sizeof *k + r->id.n);
	if (k == NULL) {
		values_repair(n);
		return;
	}
	uint32_t feature = c ? c->feature : DEF_NONE;
	bool is_delete = c == NULL || c->value == NULL;
	*k = (struct kept){ .entity = r->entity,
			    .is_delete = is_delete,
			    .hash = hash_mix(online_key(r->entity, r->id).hash + 2ull * feature + is_delete),
			    .id_n = r->id.n };
	k->change = c ? *c : (struct online_change){ .feature = DEF_NONE, .meta = r->when };
	if (k->change.value)
		value_ref(k->change.value);
	if (r->id.n)
		memcpy(k->id, r->id.p, r->id.n);
	note_pending(s, values_fall_behind(n, r->entity, r->id));
	keep(s, k);
}

/* ---- UNDER_WAY ---- */

static void job_end(struct publisher *s, struct job *j)
{
	struct evidence_entry *e = entry_of(j);
	values_published(e);
	s->jobs_count--;
	s->jobs_bytes -= e->body.n;
	((struct evidence_append *)j->request)->entry = NULL;
	rt_reply(&s->base, j->request, &evidence_appended_new(s->base.loop, e, RT_OK)->head);
	free(j);
}

static void note_outcome(struct publisher *s, enum online_result result)
{
	metrics_add(s->nl->node->metrics.published[result], 1);
}

/* row NULL: it failed. */
static void part_end(struct publisher *s, const struct part *part, const struct online_row_batch *row)
{
	struct evidence_entry *e = entry_of(part->job);
	struct values_row r;
	values_row_at(e, part->at, loop_wall_us(s->base.loop), &r);
	for (uint32_t i = 0; i < r.count; i++) {
		enum online_result result = row ? row->changes[i].result : ONLINE_FAILED;
		note_outcome(s, result);
		values_note_result(e, r.cells[i], result);
		if (result == ONLINE_FAILED)
			keep_cell(s, &r, &r.changes[i]);
	}
	if (r.is_delete) {
		enum online_result result = row ? row->result : ONLINE_FAILED;
		note_outcome(s, result);
		values_note_result(e, part->at, result);
		if (result == ONLINE_FAILED)
			keep_cell(s, &r, NULL);
	}
	if (--part->job->rows == 0)
		job_end(s, part->job);
}

static void outgoing_send(struct publisher *s, struct outgoing *o)
{
	struct loop *loop = s->base.loop;
	if (o->batch == NULL)
		return;
	struct sent *fitting = realloc(o->sent, sizeof *o->sent + o->sent->count * sizeof(struct part));
	struct sent *sent = fitting ? fitting : o->sent;
	sent->op = rt_ask(&s->base, s->nl->node->stores->online.per_loop[loop_id(loop) - 1], &o->batch->head,
			  loop_mono_ns(loop) + PUBLISHER_ANSWER_MS * 1000000ull, ACTOR_NONE);
	sent->next = s->sent;
	s->sent = sent;
	o->batch = NULL;
	o->sent = NULL;
}

/* false: no memory. */
static bool outgoing_begin(struct publisher *s, struct outgoing *o)
{
	o->sent = malloc(sizeof *o->sent + ONLINE_BATCH_ROWS_MAX * sizeof(struct part));
	o->batch = o->sent ? online_batch_new(s->base.loop, (enum online_msg)o->kind) : NULL;
	if (o->batch) {
		o->sent->kept = NULL;
		o->sent->count = 0;
		return true;
	}
	free(o->sent);
	o->sent = NULL;
	return false;
}

static bool outgoing_add(struct outgoing *o, const struct values_row *r)
{
	return r->is_delete ? online_batch_delete(o->batch, r->entity, r->id, &r->when)
			    : online_batch_put(o->batch, r->entity, r->id, r->changes, r->count);
}

static void add_row(struct publisher *s, struct outgoing *o, struct job *j, size_t at, const struct values_row *r)
{
	bool is_added = o->batch && outgoing_add(o, r);
	if (!is_added) {
		outgoing_send(s, o);
		is_added = outgoing_begin(s, o) && outgoing_add(o, r);
	}
	const struct part part = { j, at };
	j->rows++;
	if (is_added)
		o->sent->parts[o->sent->count++] = part;
	else /* out of memory */
		part_end(s, &part, NULL);
	if (!is_added && o->batch) {
		rt_msg_free(s->base.loop, &o->batch->head);
		free(o->sent);
		*o = (struct outgoing){ .kind = o->kind };
	}
}

static void send_arrived(struct publisher *s)
{
	struct outgoing put = { .kind = ONLINE_PUT }, removal = { .kind = ONLINE_DELETE };
	struct values_row r;
	for (struct job *j = s->arrived, *next; j; j = next) {
		next = j->next;
		j->rows = 1; /* this one, so that it does not end before all its rows are there */
		for (size_t at = 0; values_row_at(entry_of(j), at, loop_wall_us(s->base.loop), &r); at = r.next)
			if (r.is_delete || r.count)
				add_row(s, r.is_delete ? &removal : &put, j, at, &r);
		if (--j->rows == 0)
			job_end(s, j);
	}
	s->arrived = NULL;
	s->arrived_end = &s->arrived;
	outgoing_send(s, &put);
	outgoing_send(s, &removal);
}

/* ---- PUBLISH ---- */

static void keep_all(struct publisher *s, struct job *j)
{
	struct values_row r;
	j->rows = 1;
	for (size_t at = 0; values_row_at(entry_of(j), at, loop_wall_us(s->base.loop), &r); at = r.next) {
		if (!r.is_delete && r.count == 0)
			continue;
		j->rows++;
		part_end(s, &(struct part){ j, at }, NULL);
	}
	job_end(s, j);
}

static void on_publish(struct publisher *s, struct msg *m)
{
	struct job *j = malloc(sizeof *j);
	if (j == NULL) { /* the entry goes with the message, which makes a repair due */
		rt_refuse(&s->base, m, RT_EFULL);
		return;
	}
	rt_msg_take(m);
	*j = (struct job){ .request = m };
	bool is_full = s->jobs_count == PUBLISHER_JOBS_MAX ||
		       (s->jobs_count && s->jobs_bytes + entry_of(j)->body.n > PUBLISHER_JOBS_BYTES_MAX);
	s->jobs_count++;
	s->jobs_bytes += entry_of(j)->body.n;
	if (is_full || (s->is_away && (s->kept || s->is_putting_again))) {
		keep_all(s, j);
		return;
	}
	*s->arrived_end = j;
	s->arrived_end = &j->next;
}

/* ---- put again ---- */

/* The first that is kept, without it being so any more. */
static struct kept *kept_take(struct publisher *s)
{
	struct kept *k = s->kept, **at = bucket_of(s, k->hash);
	while (*at != k)
		at = &(*at)->next_by_key;
	*at = k->next_by_key;
	s->kept = k->next;
	if (s->kept == NULL)
		s->kept_end = &s->kept;
	s->kept_count--;
	s->kept_bytes -= kept_bytes(k);
	k->next = NULL;
	return k;
}

static bool is_row_delete(const struct kept *k)
{
	return k->is_delete && k->change.feature == DEF_NONE;
}

/* Those at the head that are of one row go together, as they were written. Returns how many; 0: they do not fit. */
static uint32_t add_kept_row(const struct publisher *s, struct online_batch *batch)
{
	struct online_change changes[ONLINE_TOGETHER_MAX];
	const struct kept *first = s->kept;
	uint32_t count = 0;
	if (is_row_delete(first))
		return online_batch_delete(batch, first->entity, id_of(first), &first->change.meta);
	for (const struct kept *k = first;
	     k && count < ONLINE_TOGETHER_MAX && !is_row_delete(k) && k->entity == first->entity &&
	     str_eq(id_of(k), id_of(first)) && !values_has_change(changes, count, k->change.feature);
	     k = k->next)
		changes[count++] = k->change;
	if (online_batch_put(batch, first->entity, id_of(first), changes, count))
		return count;
	return online_batch_put(batch, first->entity, id_of(first), changes, 1);
}

static void put_again(struct publisher *s)
{
	struct outgoing o = { .kind = s->kept && is_row_delete(s->kept) ? ONLINE_DELETE : ONLINE_PUT };
	if (s->kept == NULL || s->is_putting_again)
		return;
	if (!outgoing_begin(s, &o)) {
		wait_a_while(s);
		return;
	}
	struct kept **end = &o.sent->kept;
	while (s->kept && is_row_delete(s->kept) == (o.kind == ONLINE_DELETE)) {
		uint32_t count = add_kept_row(s, o.batch);
		if (count == 0)
			break;
		for (; count; count--) {
			*end = kept_take(s);
			end = &(*end)->next;
		}
	}
	if (o.sent->kept == NULL) { /* out of memory */
		rt_msg_free(s->base.loop, &o.batch->head);
		free(o.sent);
		wait_a_while(s);
		return;
	}
	s->is_putting_again = true;
	outgoing_send(s, &o);
}

/* done NULL: all failed. */
static void again_ended(struct publisher *s, struct kept *k, const struct online_batch *done)
{
	bool is_all_done = true;
	s->is_putting_again = false;
	for (uint32_t row = 0, cell = 0; k; cell++) {
		const struct online_row_batch *r = done ? &done->what->rows[row] : NULL;
		if (r && cell == (r->changes ? r->count : 1)) {
			row++;
			cell = 0;
			r = &done->what->rows[row];
		}
		struct kept *next = k->next;
		enum online_result result = r == NULL    ? ONLINE_FAILED
					    : r->changes ? r->changes[cell].result
							 : r->result;
		note_outcome(s, result);
		is_all_done = is_all_done && result != ONLINE_FAILED;
		if (result == ONLINE_FAILED)
			keep(s, k);
		else
			kept_free(s, k, true);
		k = next;
	}
	s->pause_ms = is_all_done ? PAUSE_MS : s->pause_ms * 2 < PAUSE_MS_MAX ? s->pause_ms * 2 : PAUSE_MS_MAX;
	if (is_all_done)
		put_again(s);
}

/* ---- the store answers, or does not ---- */

static struct sent *take_sent(struct publisher *s, uint64_t op)
{
	struct sent **at = &s->sent;
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct sent *sent = *at;
	if (sent)
		*at = sent->next;
	return sent;
}

/* Not for each of many that fail and get through in turn. */
static void log_state(struct publisher *s)
{
	bool is_behind = s->kept || s->is_putting_again;
	uint64_t now_ns = loop_mono_ns(s->base.loop);
	if (is_behind == s->is_behind || (is_behind && now_ns < s->log_again_ns))
		return;
	s->is_behind = is_behind;
	s->log_again_ns = now_ns + LOG_PAUSE_MS * 1000000ull;
	if (is_behind)
		log_line(LOG_WARNING, "publisher",
			 "the online store does not take values: they are in the history, and are put again",
			 LOG_INT("cells", (int64_t)s->kept_count));
	else
		log_line(LOG_INFO, "publisher", "the online store has taken what was kept for it");
}

static void on_answer(struct publisher *s, struct sent *sent, const struct msg *m)
{
	const struct online_batch *done = m->kind == ONLINE_DONE && m->status == RT_OK ? (const struct online_batch *)m
										       : NULL;
	s->is_away = done == NULL;
	if (sent->kept)
		again_ended(s, sent->kept, done);
	for (uint32_t i = 0; sent->kept == NULL && i < sent->count; i++)
		part_end(s, &sent->parts[i], done ? &done->what->rows[i] : NULL);
	free(sent);
}

/* ---- the actor ---- */

static void publisher_on_message(struct actor *a, struct msg *m)
{
	struct publisher *s = (struct publisher *)a;
	switch (m->kind) {
	case PUBLISHER_PUBLISH:
		on_publish(s, m);
		return;
	case RT_TIMER:
		s->is_waiting = false;
		put_again(s);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		break;
	}
	struct sent *sent = m->op ? take_sent(s, m->op) : NULL;
	if (sent)
		on_answer(s, sent, m);
}

static void publisher_on_turn_end(struct actor *a)
{
	struct publisher *s = (struct publisher *)a;
	send_arrived(s);
	wait_a_while(s);
	log_state(s);
}

static int publisher_init(struct actor *a, void *arg)
{
	struct publisher *s = (struct publisher *)a;
	s->nl = arg;
	s->arrived_end = &s->arrived;
	s->kept_end = &s->kept;
	s->pause_ms = PAUSE_MS;
	return 0;
}

static void job_abandon(struct publisher *s, struct job *j)
{
	rt_msg_free(s->base.loop, j->request); /* its entry says that it was not published */
	free(j);
}

/* Whoever waits gets RT_DOWN from the runtime. A job of several messages ends with the last of its rows. */
static void publisher_finish(struct actor *a)
{
	struct publisher *s = (struct publisher *)a;
	if (s->kept || s->is_putting_again)
		values_repair(s->nl->node);
	for (struct job *j = s->arrived, *next; j; j = next) {
		next = j->next;
		job_abandon(s, j);
	}
	for (struct sent *sent = s->sent, *next; sent; sent = next) {
		next = sent->next;
		for (struct kept *k = sent->kept, *after; k; k = after) {
			after = k->next;
			kept_free(s, k, false);
		}
		for (uint32_t i = 0; sent->kept == NULL && i < sent->count; i++)
			if (--sent->parts[i].job->rows == 0)
				job_abandon(s, sent->parts[i].job);
		free(sent);
	}
	for (struct kept *k = s->kept, *next; k; k = next) {
		next = k->next;
		kept_free(s, k, false);
	}
}

const struct actor_class publisher_class = {
	.name = "publisher",
	.size = sizeof(struct publisher),
	.mailbox_len_max = PUBLISHER_JOBS_MAX,
	.init = publisher_init,
	.on_message = publisher_on_message,
	.on_turn_end = publisher_on_turn_end,
	.finish = publisher_finish,
};

/* ---- for who appends ---- */

MSG_SIZE_CHECK(evidence_append);

bool publisher_takes(struct actor *a, const struct node *n, struct msg *m, uint64_t deadline_ns, uint64_t *ret_op)
{
	if (!values_are_elsewhere(n) || m->kind != EVIDENCE_APPENDED || m->status != RT_OK)
		return false;
	struct evidence_append *appended = (struct evidence_append *)m;
	if (!values_are_unpublished(appended->entry))
		return false;
	const struct node_loop *here = node_here(n, a->loop); /* NULL: a loop without a publisher */
	struct evidence_append *ask = evidence_append_new(a->loop, appended->entry);
	appended->entry = NULL;
	ask->head.kind = PUBLISHER_PUBLISH;
	if (deadline_ns == 0)
		deadline_ns = loop_mono_ns(a->loop) + PUBLISHER_TIMEOUT_MS * 1000000ull;
	*ret_op = rt_ask(a, rt_named((here ? here : n->loops[0])->loop, NAME_PUBLISHER), &ask->head, deadline_ns,
			 ACTOR_NONE);
	return true;
}
