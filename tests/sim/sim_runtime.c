/* The runtime under seeds: actors on several simulated loops ask, answer, keep, forget, stop, fail,
 * restart, cancel and run into every bound, and an oracle beside them knows what each ask was told.
 *
 *     sim_runtime --seeds N [--seed S]    N seeds from S (default 1); prints the seed that fails
 *
 * Invariants, checked while it runs and at the end of each seed:
 *   - each ask ends exactly once (reply, deadline, down or cancelled), or never if its owner died or forgot it;
 *   - no ending comes without its cause: a reply was given, the deadline has passed, the token is gone;
 *   - no actor handles a message that was sent to another life in its slot;
 *   - timers fire once, not early, and not after they were stopped;
 *   - payloads are released exactly once; messages, asks and actors all return to zero;
 *   - the same seed gives the same run. */
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/sim.h"
#include "tests/sim/sim_main.h"

enum { WORK = MSG_KIND(CLASS_TEST, 1), RESULT = MSG_KIND(CLASS_TEST, 2), NOTE = MSG_KIND(CLASS_TEST, 3) };
enum { LOOPS_AT_MOST = 4, PEOPLE_MAX = 40, ASKS_MAX = 20000, NAMED_PER_LOOP = 3, OPEN_MAX = 8, KEPT_MAX = 6 };

/* ---- the oracle ---- */
enum ask_state { ASK_OPEN, ASK_ENDED, ASK_FORGOTTEN, ASK_OWNER_GONE };
struct ask_record {
	enum ask_state state;
	uint64_t op, deadline_ns;
	struct actor_ref owner, token;
	bool answered; /* the callee called rt_reply or rt_refuse */
};
struct world {
	struct sim *sim;
	unsigned loops;
	struct actor_ref people[PEOPLE_MAX]; /* where asks go; may be dead */
	unsigned people_len;
	struct ask_record asks[ASKS_MAX];
	unsigned asks_len;
	long payloads; /* live */
	unsigned handled, endings[5], deaths, timers_fired;
	uint64_t stop_ns; /* no new asks from here on */
};
static struct world world;

/* A payload that knows whom it was meant for. */
struct work {
	struct msg head;
	struct actor_ref meant_for;
	unsigned record; /* of the ask; ASKS_MAX for a plain send */
	uint64_t *heap;  /* owned: something to leak or to free twice */
};
MSG_SIZE_CHECK(work);

static void work_dispose(struct msg *m)
{
	struct work *w = (struct work *)m;
	CHECK(w->heap != NULL && *w->heap == w->meant_for.bits);
	free(w->heap);
	w->heap = NULL;
	world.payloads--;
}

static struct work *work_new(struct loop *loop, uint16_t kind, struct actor_ref to, unsigned record)
{
	struct work *w = rt_msg_new(loop, kind);
	w->meant_for = to;
	w->record = record;
	w->heap = malloc(sizeof *w->heap);
	CHECK(w->heap != NULL);
	*w->heap = to.bits;
	w->head.dispose = work_dispose;
	world.payloads++;
	return w;
}

/* ---- the actor: does what the seed says ---- */
struct person {
	struct actor base;
	struct actor_ref me;        /* a copy: must stay equal to base.self */
	struct msg *kept[KEPT_MAX]; /* taken requests, answered later */
	unsigned kept_len;
	unsigned open[OPEN_MAX]; /* indexes of own open asks */
	unsigned open_len;
	uint64_t timer, timer_due_ns; /* one timer */
	uint64_t timer_op;
	bool is_dead;
};

static bool chance(unsigned permille)
{
	return sim_chance(world.sim, permille);
}

static struct actor_ref anyone(void)
{
	return world.people[sim_pick(world.sim, world.people_len)];
}

static void person_ask(struct person *p)
{
	struct loop *loop = p->base.loop;
	if (p->open_len == OPEN_MAX || world.asks_len == ASKS_MAX || loop_mono_ns(loop) >= world.stop_ns)
		return;
	unsigned at = world.asks_len++;
	struct ask_record *r = &world.asks[at];
	struct actor_ref to = anyone();
	*r = (struct ask_record){ .owner = p->me, .token = chance(300) ? anyone() : ACTOR_NONE };
	/* Mostly far, sometimes near, sometimes past. */
	r->deadline_ns = loop_mono_ns(loop) + sim_pick(world.sim, chance(700) ? 400000000 : 3000000);
	r->deadline_ns -= chance(20) ? 1000 : 0;
	p->open[p->open_len++] = at;
	struct work *w = work_new(loop, WORK, to, at);
	w->head.flags = chance(50) ? MSG_URGENT : 0;
	r->op = rt_ask(&p->base, to, &w->head, r->deadline_ns, r->token);
	CHECK(r->op != 0 && r->state == ASK_OPEN); /* the ending is never inside rt_ask */
}

static void open_remove(struct person *p, unsigned i)
{
	p->open[i] = p->open[--p->open_len];
}

static void person_ending(struct person *p, struct msg *m)
{
	uint64_t now = loop_mono_ns(p->base.loop);
	for (unsigned i = 0; i < p->open_len; i++) {
		struct ask_record *r = &world.asks[p->open[i]];
		if (r->op != m->op)
			continue;
		CHECK(r->state == ASK_OPEN && ref_eq(r->owner, p->me));
		r->state = ASK_ENDED;
		open_remove(p, i);
		switch (m->kind) {
		case RESULT:
			CHECK(r->answered && ((struct work *)m)->record == (unsigned)(r - world.asks));
			world.endings[0]++;
			return;
		case RT_DEADLINE:
			CHECK(now >= r->deadline_ns);
			world.endings[1]++;
			return;
		case RT_DOWN:
			CHECK(m->status < 0);
			world.endings[2]++;
			return;
		case RT_CANCELLED:
			CHECK(!ref_is_none(r->token) && !rt_alive(r->token));
			world.endings[3]++;
			return;
		default:
			UNREACHABLE();
		}
	}
	fprintf(stderr, "an ending of an ask that is not open: kind %x op %llx\n", m->kind, (unsigned long long)m->op);
	abort();
}

static void answer(struct person *p, struct msg *request)
{
	unsigned at = ((struct work *)request)->record;
	if (at < ASKS_MAX)
		world.asks[at].answered = true;
	if (chance(150))
		rt_refuse(&p->base, request, RT_EIO);
	else
		rt_reply(&p->base, request, &work_new(p->base.loop, RESULT, request->from, at)->head);
}

static void person_work(struct person *p, struct msg *m)
{
	struct work *w = (struct work *)m;
	CHECK(ref_eq(w->meant_for, p->me)); /* never another life's */
	CHECK(w->heap != NULL && *w->heap == p->me.bits);
	CHECK(m->deadline_ns == 0 || loop_mono_ns(p->base.loop) < m->deadline_ns);
	world.handled++;
	if (p->kept_len < KEPT_MAX && chance(350)) {
		rt_msg_take(m);
		if (chance(100))
			answer(p, m); /* taken and answered at once */
		else
			p->kept[p->kept_len++] = m;
	} else if (!chance(60)) {
		answer(p, m);
	}
}

static void person_timer(struct person *p)
{
	uint64_t delay_ms = sim_pick(world.sim, 50);
	p->timer_op++;
	p->timer_due_ns = loop_mono_ns(p->base.loop) + delay_ms * 1000000;
	p->timer = rt_timer_start(&p->base, delay_ms, p->timer_op);
}

/* What any message may set off besides its own handling. */
static void person_wander(struct person *p)
{
	struct loop *loop = p->base.loop;
	for (unsigned n = (unsigned)sim_pick(world.sim, 3); n > 0; n--)
		person_ask(p);
	if (p->kept_len > 0 && chance(500)) {
		unsigned i = (unsigned)sim_pick(world.sim, p->kept_len);
		struct msg *request = p->kept[i];
		p->kept[i] = p->kept[--p->kept_len];
		if (chance(100))
			rt_msg_free(loop, request);
		else
			answer(p, request);
	}
	if (p->open_len > 0 && chance(60)) {
		unsigned i = (unsigned)sim_pick(world.sim, p->open_len);
		world.asks[p->open[i]].state = ASK_FORGOTTEN;
		rt_ask_cancel(&p->base, world.asks[p->open[i]].op);
		open_remove(p, i);
	}
	if (p->timer != 0 && chance(100)) {
		rt_timer_stop(&p->base, p->timer);
		p->timer = 0;
	}
	if (p->timer == 0 && loop_mono_ns(loop) < world.stop_ns)
		person_timer(p);
	if (chance(100)) {
		struct actor_ref to = anyone();
		rt_send(loop, to, &work_new(loop, NOTE, to, ASKS_MAX)->head);
	}
	if (chance(15))
		rt_stop(&p->base);
	else if (sim_fault(loop, "person.fail", 15))
		rt_fail(&p->base, "the seed said so");
}

static void person_on_message(struct actor *a, struct msg *m)
{
	struct person *p = (struct person *)a;
	CHECK(!p->is_dead && ref_eq(p->me, a->self));
	switch (m->kind) {
	case RT_STOP:
		rt_stop(a);
		return;
	case RT_TIMER:
		CHECK(p->timer != 0 && m->op == p->timer_op && loop_mono_ns(a->loop) >= p->timer_due_ns);
		p->timer = 0;
		world.timers_fired++;
		break;
	case WORK:
	case NOTE:
		person_work(p, m);
		break;
	case RT_CHILD_DOWN:
		return;
	default:
		person_ending(p, m);
	}
	person_wander(p);
}

static int person_init(struct actor *a, void *arg)
{
	struct person *p = (struct person *)a;
	(void)arg;
	p->me = a->self;
	if (sim_fault(a->loop, "person.init", 30))
		return RT_EIO;
	person_timer(p);
	return 0;
}

static void person_finish(struct actor *a)
{
	struct person *p = (struct person *)a;
	CHECK(!p->is_dead);
	p->is_dead = true;
	world.deaths++;
	for (unsigned i = 0; i < p->open_len; i++)
		world.asks[p->open[i]].state = ASK_OWNER_GONE;
	while (p->kept_len > 0)
		rt_msg_free(a->loop, p->kept[--p->kept_len]);
}

static const struct actor_class person_class = {
	.name = "person",
	.size = sizeof(struct person),
	.mailbox_len_max = 5,
	.init = person_init,
	.on_message = person_on_message,
	.finish = person_finish,
};

/* ---- the keeper: replaces who died, so that slots are used again and again ---- */
struct keeper {
	struct actor base;
};

static void keeper_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind != RT_TIMER)
		return;
	unsigned mine = loop_id(a->loop);
	for (unsigned i = 0; i < world.people_len; i++)
		if (ref_loop(world.people[i]) == mine && !rt_alive(world.people[i])) {
			struct actor_ref ref = rt_spawn(a->loop, &person_class, NULL);
			world.people[i] = ref_is_none(ref) ? world.people[i] : ref;
		}
	if (loop_mono_ns(a->loop) < world.stop_ns)
		rt_timer_start(a, 1 + sim_pick(world.sim, 10), 0);
}

static int keeper_init(struct actor *a, void *arg)
{
	(void)arg;
	rt_timer_start(a, 1, 0);
	return 0;
}

static const struct actor_class keeper_class = {
	.name = "keeper",
	.size = sizeof(struct keeper),
	.mailbox_len_max = 4,
	.init = keeper_init,
	.on_message = keeper_on_message,
};

/* ---- one seed ---- */
static void add_person(struct actor_ref ref, unsigned loop)
{
	/* A failed start leaves a ref that never lives, which is a fine address too. */
	if (ref_is_none(ref))
		ref.bits = (uint64_t)loop << 56 | 1;
	world.people[world.people_len++] = ref;
}

static void build(uint64_t seed)
{
	world = (struct world){ 0 };
	/* The first draws set the size of the world, so that small bounds and full tables are common. */
	world.loops = 1 + (unsigned)(seed % LOOPS_AT_MOST);
	world.sim = sim_create(&(struct sim_config){ .seed = seed,
						     .loops = world.loops,
						     .asks_max = seed % 3 == 0 ? 12 : 0,
						     .inbox_max = seed % 5 == 0 ? 6 : 0,
						     .actors_max = seed % 7 == 0 ? 14 : 0 });
	world.stop_ns = sim_now_ns(world.sim) + 300000000;
	for (unsigned i = 0; i < world.loops; i++) {
		struct loop *loop = sim_loop(world.sim, i);
		rt_supervise(loop, 0, &keeper_class, NULL, 0, 1);
		for (unsigned name = 1; name <= NAMED_PER_LOOP; name++)
			add_person(rt_supervise(loop, name, &person_class, NULL, 5, 100), loop_id(loop));
		for (unsigned n = 2 + (unsigned)sim_pick(world.sim, 6); n > 0; n--)
			add_person(rt_spawn(loop, &person_class, NULL), loop_id(loop));
	}
}

static void check_end(void)
{
	struct buf why = { 0 };
	if (!sim_is_balanced(world.sim, &why)) {
		fprintf(stderr, "not balanced:\n%.*s", STR_ARG(buf_str(&why)));
		abort();
	}
	buf_finish(&why);
	CHECK(world.payloads == 0);
	for (unsigned i = 0; i < world.asks_len; i++)
		CHECK(world.asks[i].state != ASK_OPEN);
}

struct totals {
	uint64_t messages;
	unsigned handled, endings[5], deaths, timers;
};

static uint64_t run_seed(uint64_t seed, struct totals *totals)
{
	build(seed);
	/* Deadlines reach at most 400 ms beyond the last ask: by then every ask of a living owner has
	 * ended. */
	sim_run(world.sim, 800);
	for (unsigned i = 0; i < world.asks_len; i++)
		CHECK(world.asks[i].state != ASK_OPEN);
	uint64_t trace = sim_trace(world.sim);
	totals->messages += sim_messages(world.sim);
	sim_stop(world.sim);
	check_end();
	totals->handled += world.handled;
	totals->deaths += world.deaths;
	totals->timers += world.timers_fired;
	for (int i = 0; i < 4; i++)
		totals->endings[i] += world.endings[i];
	sim_destroy(world.sim);
	return trace;
}

int main(int argc, char **argv)
{
	struct sim_seeds seeds = sim_main_begin(argc, argv);
	struct totals totals = { 0 };
	SIM_MAIN_RUN(seeds, run_seed(sim_main.present, &totals))
	printf("%llu seeds: %llu messages, %u requests handled; "
	       "endings: %u replies, %u deadlines, %u down, %u cancelled; "
	       "%u deaths, %u timers\n",
	       (unsigned long long)(seeds.end - seeds.first), (unsigned long long)totals.messages, totals.handled,
	       totals.endings[0], totals.endings[1], totals.endings[2], totals.endings[3], totals.deaths,
	       totals.timers);
	sim_main_end();
	return 0;
}
