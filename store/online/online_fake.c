/* online_fake.c -- a request: ARRIVED --a moment later--> done and answered, or lost. */
#include "store/online/online_fake.h"
#include "runtime/check.h"
#include "runtime/sim.h"
#include <stdlib.h>

#define ROW_ITSELF UINT32_MAX

/* What is known of one cell, or (ROW_ITSELF) of a row: the newest value that no delete hides, and all deletes together. */
struct known {
	uint32_t kind, feature;
	char *id; /* owned */
	size_t id_n;
	struct value *value; /* owned; NULL: none */
	struct online_meta meta;
	bool is_deleted;
	struct online_meta deleted; /* the latest time and the latest LSN of its deletes */
};

struct online_fake {
	struct online_fake_config config;
	struct known *known; /* owned */
	size_t count, cap;
};

struct waiting {
	struct waiting *next;
	uint64_t op; /* of its timer */
	struct msg *request;
};

struct fake {
	struct actor base;
	struct online_fake *s;
	struct waiting *waiting, *unheard; /* unheard: their answers are lost */
	uint64_t last_op;
};

struct online_fake *online_fake_create(const struct online_fake_config *config)
{
	struct online_fake *s = calloc(1, sizeof *s);
	CHECK(s != NULL);
	s->config = *config;
	return s;
}

void online_fake_destroy(struct online_fake *s)
{
	for (size_t i = 0; s && i < s->count; i++) {
		value_unref(s->known[i].value);
		free(s->known[i].id);
	}
	if (s)
		free(s->known);
	free(s);
}

void online_fake_set(struct online_fake *s, const struct online_fake_config *config)
{
	s->config = *config;
}

/* ---- what is known ---- */

static bool is_of_row(const struct known *k, const struct online_row_batch *r)
{
	return k->kind == r->kind && str_eq(str_of(k->id, k->id_n), r->id);
}

static struct known *find(const struct online_fake *s, const struct online_row_batch *r, uint32_t feature)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->known[i].feature == feature && is_of_row(&s->known[i], r))
			return &s->known[i];
	return NULL;
}

static struct known *find_or_add(struct online_fake *s, const struct online_row_batch *r, uint32_t feature)
{
	struct known *k = find(s, r, feature);
	if (k)
		return k;
	if (s->count == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->known = realloc(s->known, s->cap * sizeof *s->known);
		CHECK(s->known != NULL);
	}
	k = &s->known[s->count++];
	*k = (struct known){ .kind = r->kind, .feature = feature, .id = malloc(r->id.n + 1), .id_n = r->id.n };
	CHECK(k->id != NULL);
	memcpy(k->id, r->id.p, r->id.n);
	return k;
}

static int in_time(const struct online_meta *a, const struct online_meta *b)
{
	if (a->event_time_us != b->event_time_us)
		return a->event_time_us < b->event_time_us ? -1 : 1;
	return (a->event_time_ns > b->event_time_ns) - (a->event_time_ns < b->event_time_ns);
}

/* Of a tie the delete wins. A value without an LSN is hidden only by a time that is not before its own. */
static bool hides(const struct known *k, const struct online_meta *value)
{
	if (k == NULL || !k->is_deleted)
		return false;
	int side = in_time(&k->deleted, value);
	return side > 0 || (side == 0 && k->deleted.lsn >= value->lsn) || (value->lsn && value->lsn < k->deleted.lsn);
}

static bool covers(const struct known *k, const struct online_meta *deleted)
{
	return k && k->is_deleted && in_time(&k->deleted, deleted) >= 0 && k->deleted.lsn >= deleted->lsn;
}

/* The delete of a row takes those of its cells that were written before it. */
static bool takes(const struct known *row, const struct online_meta *deleted)
{
	return row && row->is_deleted && row->deleted.lsn >= deleted->lsn;
}

static void forget_value(struct known *k)
{
	value_unref(k->value);
	k->value = NULL;
}

static void add_delete(struct known *k, const struct online_meta *deleted)
{
	if (!k->is_deleted || in_time(deleted, &k->deleted) > 0) {
		k->deleted.event_time_us = deleted->event_time_us;
		k->deleted.event_time_ns = deleted->event_time_ns;
	}
	if (!k->is_deleted || deleted->lsn > k->deleted.lsn)
		k->deleted.lsn = deleted->lsn;
	k->is_deleted = true;
}

/* ---- the asks ---- */

static enum online_result put(struct online_fake *s, const struct online_row_batch *r, const struct online_change *c)
{
	const struct known *row = find(s, r, ROW_ITSELF);
	if (r->id.n > ONLINE_ID_MAX)
		return ONLINE_FULL;
	if (hides(row, &c->meta))
		return ONLINE_STALE;
	struct known *k = find_or_add(s, r, c->feature);
	if (hides(k, &c->meta))
		return ONLINE_STALE;
	int side = in_time(&k->meta, &c->meta);
	if (k->value && (side > 0 || (side == 0 && k->meta.lsn > c->meta.lsn)))
		return ONLINE_STALE;
	forget_value(k);
	k->value = value_ref(c->value);
	k->meta = c->meta;
	k->meta.flags &= 0xff;
	k->is_deleted = false; /* what the delete did not hide is newer in both respects */
	return ONLINE_APPLIED;
}

static enum online_result delete_cell(struct online_fake *s, const struct online_row_batch *r,
				      const struct online_change *c)
{
	if (r->id.n > ONLINE_ID_MAX)
		return ONLINE_FULL;
	if (takes(find(s, r, ROW_ITSELF), &c->meta))
		return ONLINE_STALE;
	struct known *k = find_or_add(s, r, c->feature);
	struct known only = { .is_deleted = true, .deleted = c->meta };
	if (covers(k, &c->meta) || (k->value && !hides(&only, &k->meta)))
		return ONLINE_STALE;
	forget_value(k);
	add_delete(k, &c->meta);
	return ONLINE_APPLIED;
}

static enum online_result delete_row(struct online_fake *s, const struct online_row_batch *r)
{
	if (r->id.n > ONLINE_ID_MAX)
		return ONLINE_FULL;
	struct known *row = find_or_add(s, r, ROW_ITSELF);
	if (covers(row, &r->when))
		return ONLINE_STALE;
	add_delete(row, &r->when);
	for (struct known *k = s->known; k < s->known + s->count; k++) {
		if (k == row || !is_of_row(k, r))
			continue;
		if (k->value && hides(row, &k->meta))
			forget_value(k);
		k->is_deleted = k->is_deleted && !takes(row, &k->deleted);
	}
	return ONLINE_APPLIED;
}

static void get(const struct online_fake *s, const struct online_row_batch *r, struct online_get *g, int64_t now_us)
{
	const struct known *k = find(s, r, g->feature), *row = find(s, r, ROW_ITSELF);
	struct online_trace *t = &g->trace;
	*t = (struct online_trace){ .event_time_us = INT64_MIN, .cell_time_us = INT64_MIN };
	if (k && k->value) {
		bool is_over = k->meta.expires_us && k->meta.expires_us <= now_us;
		*t = (struct online_trace){ .event_time_us = k->meta.event_time_us,
					    .cell_time_us = k->meta.event_time_us,
					    .cell_time_ns = k->meta.event_time_ns,
					    .lsn = k->meta.lsn,
					    .is_known = true,
					    .is_live = !is_over,
					    .is_expired = is_over };
		if (!is_over)
			g->cell = (struct online_cell){ .value = value_ref(k->value), .meta = k->meta };
	} else if (k && k->is_deleted) {
		*t = (struct online_trace){ .event_time_us = k->deleted.event_time_us,
					    .cell_time_us = k->deleted.event_time_us,
					    .cell_time_ns = k->deleted.event_time_ns,
					    .lsn = k->deleted.lsn,
					    .is_known = true };
	}
	if (row && row->is_deleted) {
		t->is_known = true;
		if (row->deleted.event_time_us > t->event_time_us)
			t->event_time_us = row->deleted.event_time_us;
		if (row->deleted.lsn > t->lsn)
			t->lsn = row->deleted.lsn;
	}
}

static void do_row(struct fake *f, uint16_t kind, struct online_row_batch *r)
{
	struct online_fake *s = f->s;
	if (sim_fault(f->base.loop, "online.lose_row", s->config.lose_row_permille))
		return; /* its results stay ONLINE_FAILED */
	r->result = kind == ONLINE_DELETE ? delete_row(s, r) : ONLINE_APPLIED;
	for (uint32_t i = 0; i < r->count; i++) {
		if (kind == ONLINE_GET)
			get(s, r, &r->gets[i], loop_wall_us(f->base.loop));
		else
			r->changes[i].result = r->changes[i].value ? put(s, r, &r->changes[i])
								   : delete_cell(s, r, &r->changes[i]);
	}
}

/* Moves w. */
static void answer(struct fake *f, struct waiting *w)
{
	struct online_batch *m = (struct online_batch *)w->request;
	const struct online_fake_config *config = &f->s->config;
	int status = sim_fault(f->base.loop, "online.refuse", config->refuse_permille) ? RT_EIO : RT_OK;
	for (uint32_t i = 0; status == RT_OK && i < m->what->count; i++)
		do_row(f, m->head.kind, &m->what->rows[i]);
	if (status == RT_OK && sim_fault(f->base.loop, "online.lose_answer", config->lose_answer_permille)) {
		w->next = f->unheard;
		f->unheard = w;
		return;
	}
	rt_reply(&f->base, &m->head, &online_done_new(f->base.loop, m, status)->head);
	free(w);
}

static void on_request(struct fake *f, struct msg *m)
{
	struct waiting *w = malloc(sizeof *w);
	CHECK(w != NULL);
	rt_msg_take(m);
	*w = (struct waiting){ .op = ++f->last_op, .request = m };
	uint64_t delay_ms = loop_random(f->base.loop) % (f->s->config.delay_ms_max + 1ull);
	if (delay_ms == 0 || rt_timer_start(&f->base, delay_ms, w->op) == 0) {
		answer(f, w);
		return;
	}
	w->next = f->waiting;
	f->waiting = w;
}

static void on_timer(struct fake *f, uint64_t op)
{
	struct waiting **at = &f->waiting;
	while (*at && (*at)->op != op)
		at = &(*at)->next;
	struct waiting *w = *at;
	CHECK(w != NULL);
	*at = w->next;
	answer(f, w);
}

static void fake_on_message(struct actor *a, struct msg *m)
{
	struct fake *f = (struct fake *)a;
	switch (m->kind) {
	case ONLINE_GET:
	case ONLINE_PUT:
	case ONLINE_DELETE:
		on_request(f, m);
		return;
	case RT_TIMER:
		on_timer(f, m->op);
		return;
	case RT_STOP:
		rt_stop(a);
		return;
	default:
		return;
	}
}

static int fake_init(struct actor *a, void *arg)
{
	((struct fake *)a)->s = arg;
	return 0;
}

static void free_waiting(struct actor *a, struct waiting *w)
{
	for (struct waiting *next; w; w = next) {
		next = w->next;
		rt_msg_free(a->loop, w->request);
		free(w);
	}
}

static void fake_finish(struct actor *a)
{
	free_waiting(a, ((struct fake *)a)->waiting);
	free_waiting(a, ((struct fake *)a)->unheard);
}

static const struct actor_class fake_class = {
	.name = "online_fake",
	.size = sizeof(struct fake),
	.mailbox_len_max = 8192,
	.init = fake_init,
	.on_message = fake_on_message,
	.finish = fake_finish,
};

struct actor_ref online_fake_spawn(struct online_fake *s, struct loop *loop)
{
	return rt_spawn(loop, &fake_class, s);
}
