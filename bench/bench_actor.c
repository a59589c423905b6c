/* What a message costs: (a) ping-pong on one loop, (b) a fork-join of four asks by a fresh request actor,
 * (c) asks across two loops. Bounds, deadlines and supervision are on in all of them, as in the server.
 *
 *     build/release/bench/bench_actor [rounds [a|b|c]]    prints a line per case: the median of `rounds` (5)
 *
 * Messages are counted as in the reference figures: ping-pong 2 per round; fork-join 10 per request
 * (start, 4 asks, 4 replies, done). */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/loop.h"
#include <stdlib.h>

enum {
	BALL = MSG_KIND(CLASS_TEST, 1),
	ASK = MSG_KIND(CLASS_TEST, 2),
	ANSWER = MSG_KIND(CLASS_TEST, 3),
	START = MSG_KIND(CLASS_TEST, 4),
	DONE = MSG_KIND(CLASS_TEST, 5)
};
enum { PINGS = 4000000, JOINS = 400000, HOPS = 20000, PARTS = 4 };
static const uint64_t ASK_NS = 100000000;

struct result {
	double cpu_ns; /* of the loop's thread, per message */
	double wall_ns;
	double p50_us, p99_us, p999_us;
};

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* ---- (a) two players and one ball ---- */
struct player {
	struct actor base;
	struct actor_ref other;
	uint32_t left;
	struct result *result;
	uint64_t cpu_start, wall_start;
};

static void player_on_message(struct actor *a, struct msg *m)
{
	struct player *p = (struct player *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (p->left-- == 0) {
		p->result->cpu_ns = (double)(clock_thread_cpu_ns() - p->cpu_start) / (2.0 * PINGS);
		p->result->wall_ns = (double)(clock_mono_ns() - p->wall_start) / (2.0 * PINGS);
		loop_stop(a->loop);
		return;
	}
	struct msg *ball = rt_msg_new(a->loop, BALL);
	ball->deadline_ns = loop_mono_ns(a->loop) + ASK_NS;
	ball->cancel = a->self;
	rt_send(a->loop, p->other, ball);
}

static int player_init(struct actor *a, void *arg)
{
	struct player *p = (struct player *)a, *from = arg;
	p->other = from->other;
	p->left = PINGS;
	p->result = from->result;
	p->cpu_start = clock_thread_cpu_ns();
	p->wall_start = clock_mono_ns();
	return 0;
}

static const struct actor_class player_class = {
	.name = "player",
	.size = sizeof(struct player),
	.mailbox_len_max = 64,
	.init = player_init,
	.on_message = player_on_message,
};

/* The second player learns the first one's ref from its first ball. */
static void returner_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	struct msg *ball = rt_msg_new(a->loop, BALL);
	ball->deadline_ns = m->deadline_ns;
	ball->cancel = m->cancel;
	rt_send(a->loop, m->from, ball);
}

static const struct actor_class returner_class = {
	.name = "returner",
	.size = sizeof(struct actor),
	.mailbox_len_max = 64,
	.on_message = returner_on_message,
};

static struct result ping_pong(void)
{
	struct result result = { 0 };
	struct loop *loop = loop_create(&(struct loop_config){ .name = "bench", .kind = LOOP_IO });
	struct player arg = { .result = &result };
	arg.other = rt_supervise(loop, 1, &returner_class, NULL, 3, 1000);
	struct actor_ref first = rt_supervise(loop, 2, &player_class, &arg, 3, 1000);
	rt_send(loop, first, rt_msg_new(loop, BALL));
	loop_run(loop);
	loop_destroy(loop);
	return result;
}

/* ---- (b) fork-join ---- */
static void part_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else
		rt_reply(a, m, rt_msg_new(a->loop, ANSWER));
}

static const struct actor_class part_class = {
	.name = "part",
	.size = sizeof(struct actor),
	.mailbox_len_max = 1024,
	.on_message = part_on_message,
};

struct join_bench {
	struct actor_ref parts[PARTS], client;
	struct result *result;
	uint32_t *latency_ns; /* JOINS of them */
};

struct request {
	struct actor base;
	struct join_bench *bench; /* borrowed for the run */
	uint64_t ops[PARTS];
	int waiting;
};

static int request_init(struct actor *a, void *arg)
{
	((struct request *)a)->bench = arg;
	return 0;
}

static void request_on_message(struct actor *a, struct msg *m)
{
	struct request *r = (struct request *)a;
	if (m->kind == START) {
		for (int i = 0; i < PARTS; i++)
			r->ops[i] = rt_ask(a, r->bench->parts[i], rt_msg_new(a->loop, ASK), m->deadline_ns, a->self);
		r->waiting = PARTS;
		return;
	}
	CHECK(m->kind == ANSWER);
	if (--r->waiting > 0)
		return;
	rt_send(a->loop, r->bench->client, rt_msg_new(a->loop, DONE));
	rt_stop(a);
}

static const struct actor_class request_class = {
	.name = "request",
	.size = sizeof(struct request),
	.mailbox_len_max = 16,
	.init = request_init,
	.on_message = request_on_message,
};

struct client {
	struct actor base;
	struct join_bench *bench;
	uint32_t done;
	uint64_t start_ns, cpu_start, wall_start;
};

static void client_next(struct client *c)
{
	struct loop *loop = c->base.loop;
	c->start_ns = clock_mono_ns();
	struct actor_ref request = rt_spawn(loop, &request_class, c->bench);
	struct msg *start = rt_msg_new(loop, START);
	start->deadline_ns = loop_mono_ns(loop) + ASK_NS;
	rt_send(loop, request, start);
}

static void client_on_message(struct actor *a, struct msg *m)
{
	struct client *c = (struct client *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == START) {
		c->cpu_start = clock_thread_cpu_ns();
		c->wall_start = clock_mono_ns();
		client_next(c);
		return;
	}
	c->bench->latency_ns[c->done++] = (uint32_t)(clock_mono_ns() - c->start_ns);
	if (c->done < JOINS) {
		client_next(c);
		return;
	}
	c->bench->result->cpu_ns = (double)(clock_thread_cpu_ns() - c->cpu_start) / (10.0 * JOINS);
	c->bench->result->wall_ns = (double)(clock_mono_ns() - c->wall_start) / (10.0 * JOINS);
	loop_stop(a->loop);
}

static int client_init(struct actor *a, void *arg)
{
	struct client *c = (struct client *)a;
	c->bench = arg;
	c->bench->client = a->self;
	return 0;
}

static const struct actor_class client_class = {
	.name = "client",
	.size = sizeof(struct client),
	.mailbox_len_max = 16,
	.init = client_init,
	.on_message = client_on_message,
};

static void read_percentiles(struct result *result, uint32_t *latency_ns, uint32_t n)
{
	qsort(latency_ns, n, sizeof *latency_ns, by_value);
	result->p50_us = latency_ns[n / 2] / 1e3;
	result->p99_us = latency_ns[n / 100 * 99] / 1e3;
	result->p999_us = latency_ns[n / 1000 * 999] / 1e3;
}

static struct result fork_join(void)
{
	struct result result = { 0 };
	struct join_bench bench = { .result = &result, .latency_ns = calloc(JOINS, sizeof(uint32_t)) };
	CHECK(bench.latency_ns != NULL);
	struct loop *loop = loop_create(&(struct loop_config){ .name = "bench", .kind = LOOP_IO });
	for (uint32_t i = 0; i < PARTS; i++)
		bench.parts[i] = rt_supervise(loop, i, &part_class, NULL, 3, 1000);
	struct actor_ref client = rt_supervise(loop, PARTS, &client_class, &bench, 3, 1000);
	rt_send(loop, client, rt_msg_new(loop, START));
	loop_run(loop);
	loop_destroy(loop);
	read_percentiles(&result, bench.latency_ns, JOINS);
	free(bench.latency_ns);
	return result;
}

/* ---- (c) one ask after the other, and windows of 64, to an actor on another loop ---- */
struct far_bench {
	struct actor_ref part;
	struct result *result;
	uint32_t *latency_ns;
	uint32_t asked, done, window;
	uint64_t wall_start;
	uint64_t start_ns[64];
};
struct asker {
	struct actor base;
	struct far_bench *bench;
};

static void asker_ask(struct actor *a, struct far_bench *b)
{
	b->start_ns[b->asked++ % 64] = clock_mono_ns();
	rt_ask(a, b->part, rt_msg_new(a->loop, ASK), loop_mono_ns(a->loop) + 50 * ASK_NS, ACTOR_NONE);
}

static void asker_on_message(struct actor *a, struct msg *m)
{
	struct far_bench *b = ((struct asker *)a)->bench;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	if (m->kind == START) {
		b->wall_start = clock_mono_ns();
		while (b->asked < b->window)
			asker_ask(a, b);
		return;
	}
	CHECK(m->kind == ANSWER);
	b->latency_ns[b->done] = (uint32_t)(clock_mono_ns() - b->start_ns[b->done % 64]);
	b->done++;
	if (b->asked < HOPS)
		asker_ask(a, b);
	if (b->done == HOPS) {
		b->result->wall_ns = (double)(clock_mono_ns() - b->wall_start) / (2.0 * HOPS);
		loop_stop(a->loop);
	}
}

static int asker_init(struct actor *a, void *arg)
{
	((struct asker *)a)->bench = arg;
	return 0;
}

static const struct actor_class asker_class = {
	.name = "asker",
	.size = sizeof(struct asker),
	.mailbox_len_max = 16,
	.init = asker_init,
	.on_message = asker_on_message,
};

static struct result cross(enum loop_kind kind, uint32_t window)
{
	struct result result = { 0 };
	struct far_bench bench = { .result = &result, .window = window };
	bench.latency_ns = calloc(HOPS, sizeof(uint32_t));
	CHECK(bench.latency_ns != NULL);
	struct loop *near = loop_create(&(struct loop_config){ .name = "near", .kind = LOOP_IO });
	struct loop *far = loop_create(&(struct loop_config){ .name = "far", .kind = kind });
	bench.part = rt_spawn(far, &part_class, NULL);
	struct actor_ref asker = rt_spawn(near, &asker_class, &bench);
	rt_send(near, asker, rt_msg_new(near, START));
	CHECK(loop_start(far) == 0);
	loop_run(near);
	loop_stop(far);
	loop_join(far);
	loop_destroy(near);
	loop_destroy(far);
	read_percentiles(&result, bench.latency_ns, HOPS);
	free(bench.latency_ns);
	return result;
}

/* ---- report ---- */
static int by_wall(const void *a, const void *b)
{
	double x = ((const struct result *)a)->wall_ns, y = ((const struct result *)b)->wall_ns;
	return (x > y) - (x < y);
}

static void print_case(const char *name, struct result *results, int rounds)
{
	qsort(results, (size_t)rounds, sizeof *results, by_wall);
	const struct result *r = &results[rounds / 2];
	printf("%-34s %8.1f ns/message wall", name, r->wall_ns);
	if (r->cpu_ns > 0)
		printf(" %6.1f cpu", r->cpu_ns);
	if (r->p50_us > 0)
		printf("   p50 %.2f p99 %.2f p99.9 %.2f us", r->p50_us, r->p99_us, r->p999_us);
	putchar('\n');
}

struct bench_case {
	const char *name;
	struct result (*run)(enum loop_kind far_kind, uint32_t window);
	enum loop_kind far_kind;
	uint32_t window;
};

static struct result run_ping_pong(enum loop_kind far_kind, uint32_t window)
{
	(void)far_kind;
	(void)window;
	return ping_pong();
}

static struct result run_fork_join(enum loop_kind far_kind, uint32_t window)
{
	(void)far_kind;
	(void)window;
	return fork_join();
}

static const struct bench_case cases[] = {
	{ "(a) ping-pong, one loop", run_ping_pong, LOOP_IO, 0 },
	{ "(b) fork-join of 4, one loop", run_fork_join, LOOP_IO, 0 },
	{ "(c) ask to an I/O loop, 1 open", cross, LOOP_IO, 1 },
	{ "(c) ask to a blocking loop, 1 open", cross, LOOP_BLOCKING, 1 },
	{ "(c) ask to an I/O loop, 64 open", cross, LOOP_IO, 64 },
	{ "(c) ask to a blocking loop, 64 open", cross, LOOP_BLOCKING, 64 },
};

int main(int argc, char **argv)
{
	enum { ROUNDS_MAX = 99 };
	static struct result results[ARRAY_LEN(cases)][ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	char only = argc > 2 ? argv[2][0] : 0;
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "bench_actor: rounds must be 1..%d, not \"%s\"\n", ROUNDS_MAX, argv[1]);
		return 2;
	}
	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < ARRAY_LEN(cases); i++)
			if (only == 0 || cases[i].name[1] == only)
				results[i][round] = cases[i].run(cases[i].far_kind, cases[i].window);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (only == 0 || cases[i].name[1] == only)
			print_case(cases[i].name, results[i], rounds);
	return 0;
}
