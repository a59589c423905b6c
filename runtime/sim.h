/* Deterministic simulation: the same loops, actors and messages, run by one thread under a seed and a
 * virtual clock.
 *
 * The seed chooses which loop runs next, which of its ready actors, how many messages that actor gets, how
 * long a batch travels to another loop, and which faults happen. Idle time is skipped: the clock jumps to
 * the next timer or arrival. The same seed gives the same run, which sim_trace proves. Code under
 * simulation takes time and chance from its loop only (loop_mono_ns, loop_wall_us, loop_random) and never
 * orders anything by pointer.
 *
 *     struct sim *sim = sim_create(&(struct sim_config){ .seed = seed, .loops = 3 });
 *     ... rt_spawn(sim_loop(sim, 0), ...) ...
 *     sim_run(sim, 60 * 1000);
 *     sim_stop(sim);
 *     CHECK(sim_is_balanced(sim, &why));
 *     sim_destroy(sim);
 *
 * One thread per simulation. */
#pragma once
#include "runtime/buf.h"
#include "runtime/loop.h"

struct sim;

struct sim_config {
	uint64_t seed;
	unsigned loops;                           /* 1..16 */
	uint32_t actors_max, asks_max, inbox_max; /* of each loop; 0 = as in struct loop_config */
	uint32_t delay_max_us;                    /* of a batch between loops; 0 = 2000 */
	bool faults_off;                          /* sim_fault is then always false */
};

enum sim_end {
	SIM_QUIET, /* nothing is left to do and no timer is set */
	SIM_LIMIT, /* the time limit came first */
};

/* The clock starts at one second (monotonic) and 2026-01-01T00:00:00Z (wall). Never NULL. */
struct sim *sim_create(const struct sim_config *config);
void sim_destroy(struct sim *sim); /* after sim_stop; NULL is fine */
struct loop *sim_loop(struct sim *sim, unsigned index);
/* Runs until nothing is left to do or `limit_ms` of virtual time have passed. Callable again. */
enum sim_end sim_run(struct sim *sim, uint64_t limit_ms);
/* loop_stop on every loop, then runs until all have ended. */
void sim_stop(struct sim *sim);
/* Are all pools even: no message, ask or actor left on any loop? If not, *why (borrowed) gets one line per
 * loop. */
bool sim_is_balanced(struct sim *sim, struct buf *why);

uint64_t sim_now_ns(const struct sim *sim);
uint64_t sim_trace(const struct sim *sim);    /* a hash over every delivered message: when, where, what */
uint64_t sim_messages(const struct sim *sim); /* delivered so far */

/* Chance for the scenario itself, from the seed. */
uint64_t sim_random(struct sim *sim);
uint64_t sim_pick(struct sim *sim, uint64_t n); /* 0..n-1; n > 0 */
bool sim_chance(struct sim *sim, unsigned permille);

/* For fakes: should the fault named `point` happen now? Always false on a loop that is not simulated, so
 * that a fake can be used in other tests too. Part of the trace. */
bool sim_fault(struct loop *loop, const char *point, unsigned permille);
struct sim *sim_of(const struct loop *loop); /* NULL: not simulated */
