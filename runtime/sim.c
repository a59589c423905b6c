#include "runtime/sim.h"
#include "runtime/private.h"

enum { SIM_LOOPS_MAX = 16, START_MONO_NS = 1000000000 };
static const int64_t START_WALL_US = 1767225600000000; /* 2026-01-01T00:00:00Z */

struct sim_port {
	struct sim *sim;   /* weak: the simulation outlives its loops */
	struct loop *loop; /* owned */
	unsigned index;
	uint64_t arrival_ns[SIM_LOOPS_MAX]; /* of each sender's last batch: they keep their order */
	bool has_ended;
};

/* A batch on its way. */
struct parcel {
	struct dlist link;
	uint64_t at_ns;
	struct sim_port *to;
	struct outbox batch;
};

struct sim {
	uint64_t random_state, now_ns, trace, messages;
	uint32_t delay_max_us;
	bool faults_off;
	unsigned loops;
	struct sim_port ports[SIM_LOOPS_MAX];
	struct dlist parcels; /* by arrival */
};

/* ---- chance ---- */
/* xorshift64* (Vigna 2016). */
uint64_t sim_random(struct sim *sim)
{
	uint64_t x = sim->random_state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	sim->random_state = x;
	return x * 0x2545f4914f6cdd1dull;
}

uint64_t sim_pick(struct sim *sim, uint64_t n)
{
	DCHECK(n > 0);
	return (uint64_t)((unsigned __int128)sim_random(sim) * n >> 64);
}

bool sim_chance(struct sim *sim, unsigned permille)
{
	return sim_pick(sim, 1000) < permille;
}

static void trace(struct sim *sim, uint64_t value)
{
	uint64_t x = (sim->trace ^ value) * 0xff51afd7ed558ccdull;
	sim->trace = x ^ x >> 32;
}

struct sim *sim_of(const struct loop *loop)
{
	return loop->sim != NULL ? loop->sim->sim : NULL;
}

bool sim_fault(struct loop *loop, const char *point, unsigned permille)
{
	struct sim *sim = sim_of(loop);
	if (sim == NULL || sim->faults_off || !sim_chance(sim, permille))
		return false;
	for (const char *c = point; *c != '\0'; c++)
		trace(sim, (unsigned char)*c);
	return true;
}

/* ---- what the runtime asks ---- */
struct dlist *sim_choose(struct loop *loop, struct dlist *queue)
{
	uint64_t len = 0;
	for (struct dlist *at = queue->next; at != queue; at = at->next)
		len++;
	struct dlist *chosen = queue->next;
	for (uint64_t n = sim_pick(loop->sim->sim, len); n > 0; n--)
		chosen = chosen->next;
	return chosen;
}

/* Often one message, so that actors interleave; sometimes a full batch. */
uint32_t sim_batch_max(struct loop *loop)
{
	struct sim *sim = loop->sim->sim;
	return sim_chance(sim, 500) ? 1 : 1 + (uint32_t)sim_pick(sim, ACTOR_BATCH_MAX);
}

bool sim_prefers_urgent(struct loop *loop)
{
	return sim_chance(loop->sim->sim, 800);
}

uint64_t sim_clock_ns(const struct loop *loop)
{
	return loop->sim->sim->now_ns;
}

void sim_trace_message(struct loop *loop, const struct msg *m)
{
	struct sim *sim = loop->sim->sim;
	sim->messages++;
	trace(sim, sim->now_ns);
	trace(sim, (uint64_t)loop->sim->index << 56 | (m->to.bits & 0xffffffffffffff));
	trace(sim, (uint64_t)m->kind << 32 | (uint32_t)m->status);
	trace(sim, m->op);
}

void sim_ship(struct loop *from, struct loop *to, struct outbox *batch)
{
	struct sim *sim = from->sim->sim;
	struct parcel *parcel = malloc(sizeof *parcel);
	CHECK(parcel != NULL && to->sim != NULL);
	uint64_t at = sim->now_ns + sim_pick(sim, sim->delay_max_us + 1u) * 1000;
	uint64_t *last = &to->sim->arrival_ns[from->sim->index];
	if (at < *last)
		at = *last;
	*last = at;
	*parcel = (struct parcel){ .at_ns = at, .to = to->sim, .batch = *batch };
	struct dlist *before = sim->parcels.prev;
	while (before != &sim->parcels && CONTAINER_OF(before, struct parcel, link)->at_ns > at)
		before = before->prev;
	dlist_append(before->next, &parcel->link); /* right after `before` */
}

/* ---- the scheduler ---- */
static struct parcel *first_parcel(struct sim *sim)
{
	return dlist_is_empty(&sim->parcels) ? NULL : CONTAINER_OF(sim->parcels.next, struct parcel, link);
}

static void deliver_parcels(struct sim *sim)
{
	struct parcel *parcel;
	while ((parcel = first_parcel(sim)) != NULL && parcel->at_ns <= sim->now_ns) {
		dlist_remove(&parcel->link);
		inbox_push(parcel->to->loop, parcel->batch.newest, parcel->batch.oldest, parcel->batch.len);
		free(parcel);
	}
}

static bool is_ready(const struct sim *sim, const struct sim_port *port)
{
	struct loop *loop = port->loop;
	if (port->has_ended)
		return atomic_load(&loop->inbox) != NULL;
	return loop_has_work(loop) || atomic_load(&loop->inbox) != NULL || loop_due_ns(loop) <= sim->now_ns ||
	       atomic_load(&loop->stop_asked) != loop->is_stopping;
}

static struct sim_port *pick_ready(struct sim *sim)
{
	struct sim_port *ready[SIM_LOOPS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < sim->loops; i++)
		if (is_ready(sim, &sim->ports[i]))
			ready[n++] = &sim->ports[i];
	return n > 0 ? ready[sim_pick(sim, n)] : NULL;
}

static void run_turn(struct sim *sim, struct sim_port *port)
{
	struct loop *outer = loop_current();
	loop_set_current(port->loop);
	if (port->has_ended) {
		loop_end(port->loop); /* answers what arrived too late */
	} else {
		loop_turn(port->loop);
		if (loop_is_over(port->loop)) {
			loop_end(port->loop);
			port->has_ended = true;
		}
	}
	loop_set_current(outer);
	sim->now_ns += 1 + sim_pick(sim, 20 * 1000);
}

/* UINT64_MAX: nothing will ever happen. */
static uint64_t next_event_ns(struct sim *sim)
{
	struct parcel *parcel = first_parcel(sim);
	uint64_t next = parcel != NULL ? parcel->at_ns : UINT64_MAX;
	for (unsigned i = 0; i < sim->loops; i++) {
		if (sim->ports[i].has_ended)
			continue;
		uint64_t due = loop_due_ns(sim->ports[i].loop);
		next = due < next ? due : next;
	}
	return next;
}

enum sim_end sim_run(struct sim *sim, uint64_t limit_ms)
{
	uint64_t end_ns = sim->now_ns + limit_ms * TICK_NS;
	while (sim->now_ns < end_ns) {
		deliver_parcels(sim);
		struct sim_port *port = pick_ready(sim);
		if (port != NULL) {
			run_turn(sim, port);
			continue;
		}
		uint64_t next = next_event_ns(sim);
		if (next == UINT64_MAX)
			return SIM_QUIET;
		sim->now_ns = next > end_ns ? end_ns : next > sim->now_ns ? next : sim->now_ns;
	}
	return SIM_LIMIT;
}

void sim_stop(struct sim *sim)
{
	for (unsigned i = 0; i < sim->loops; i++)
		loop_stop(sim->ports[i].loop);
	CHECK(sim_run(sim, 3600 * 1000) == SIM_QUIET);
}

/* ---- birth and death ---- */
struct sim *sim_create(const struct sim_config *config)
{
	CHECK(config->loops >= 1 && config->loops <= SIM_LOOPS_MAX);
	struct sim *sim = calloc(1, sizeof *sim);
	CHECK(sim != NULL);
	/* A seed of small numbers must not give similar runs; xorshift needs a state that is not 0. */
	sim->random_state = (config->seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	for (int i = 0; i < 8; i++)
		sim_random(sim);
	sim->now_ns = START_MONO_NS;
	sim->delay_max_us = config->delay_max_us ? config->delay_max_us : 2000;
	sim->faults_off = config->faults_off;
	sim->loops = config->loops;
	dlist_init(&sim->parcels);
	for (unsigned i = 0; i < sim->loops; i++) {
		struct sim_port *port = &sim->ports[i];
		struct loop *loop = loop_create(&(struct loop_config){ .name = "sim",
								       .kind = LOOP_SIM,
								       .actors_max = config->actors_max,
								       .asks_max = config->asks_max,
								       .inbox_max = config->inbox_max });
		CHECK(loop != NULL);
		*port = (struct sim_port){ .sim = sim, .loop = loop, .index = i };
		loop->sim = port;
		loop->mono_ns = loop->origin_ns = START_MONO_NS;
		loop->wall_offset_us = START_WALL_US - START_MONO_NS / 1000;
		loop->random_state = sim_random(sim);
	}
	return sim;
}

void sim_destroy(struct sim *sim)
{
	if (sim == NULL)
		return;
	for (unsigned i = 0; i < sim->loops; i++)
		loop_destroy(sim->ports[i].loop);
	CHECK(dlist_is_empty(&sim->parcels));
	free(sim);
}

bool sim_is_balanced(struct sim *sim, struct buf *why)
{
	bool ok = true;
	for (unsigned i = 0; i < sim->loops; i++) {
		const struct loop_stats *s = &sim->ports[i].loop->stats;
		if (s->messages_live == 0 && s->asks_open == 0 && s->actors == 0)
			continue;
		ok = false;
		buf_printf(why, "loop %u: %d messages, %u asks, %u actors left\n", i, (int)s->messages_live,
			   s->asks_open, s->actors);
	}
	return ok;
}

struct loop *sim_loop(struct sim *sim, unsigned index)
{
	CHECK(index < sim->loops);
	return sim->ports[index].loop;
}

uint64_t sim_now_ns(const struct sim *sim)
{
	return sim->now_ns;
}

uint64_t sim_trace(const struct sim *sim)
{
	return sim->trace;
}

uint64_t sim_messages(const struct sim *sim)
{
	return sim->messages;
}
