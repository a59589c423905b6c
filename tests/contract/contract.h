/* What the contract suites share: a test that asks the actors of a backend and waits for what comes back, on real loops or in a
 * simulation, whichever the backend runs on. */
#pragma once
#include "runtime/check.h"
#include "runtime/loop.h"
#include "runtime/sim.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { CONTRACT_ASK = MSG_KIND(CLASS_TEST, 60), CONTRACT_ASKS_MAX = 2048, CONTRACT_PATIENCE_MS = 30000 };

struct contract_ask {
	struct actor_ref to;
	uint64_t patience_ms, op;
	struct msg *ending; /* owned by the asker until contract_end */
	unsigned endings;
};

struct contract {
	struct sim *sim;   /* the backend's; NULL: it has loops of its own */
	struct loop *loop; /* the asker's: of the simulation, or made here */
	struct actor_ref asker;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct contract_ask *asks[CONTRACT_ASKS_MAX]; /* owned; under lock once sent */
	size_t count;
};

struct contract_asker {
	struct actor base;
	struct contract *c;        /* borrows */
	struct contract_ask *next; /* borrows */
};
struct contract_order {
	struct msg head;
	struct contract_ask *ask; /* borrows */
};

static inline void contract_on_message(struct actor *a, struct msg *m)
{
	struct contract *c = ((struct contract_asker *)a)->c;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	uint64_t op = m->op;
	pthread_mutex_lock(&c->lock);
	if (m->kind == CONTRACT_ASK) {
		((struct contract_asker *)a)->next = ((struct contract_order *)m)->ask;
	} else if (op == 0) { /* what is to be asked, behind its order */
		struct contract_ask *ask = ((struct contract_asker *)a)->next;
		rt_msg_take(m);
		ask->op = rt_ask(a, ask->to, m, loop_mono_ns(a->loop) + ask->patience_ms * 1000000, ACTOR_NONE);
	}
	for (size_t i = 0; op != 0 && i < c->count; i++) {
		struct contract_ask *ask = c->asks[i];
		if (ask->op != op)
			continue;
		if (ask->endings++ == 0) {
			rt_msg_take(m);
			ask->ending = m;
		}
	}
	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&c->lock);
}

static inline int contract_init(struct actor *a, void *arg)
{
	((struct contract_asker *)a)->c = arg;
	return 0;
}

static inline void contract_finish(struct actor *a)
{
	struct contract *c = ((struct contract_asker *)a)->c;
	for (size_t i = 0; i < c->count; i++)
		if (c->asks[i]->ending != NULL)
			rt_msg_free(a->loop, c->asks[i]->ending);
}

static const struct actor_class contract_asker_class = {
	.name = "contract_asker",
	.size = sizeof(struct contract_asker),
	.mailbox_len_max = 2 * CONTRACT_ASKS_MAX,
	.init = contract_init,
	.on_message = contract_on_message,
	.finish = contract_finish,
};

/* sim: with loop 0 free for the asker; NULL: a real loop is made. */
static inline void contract_begin(struct contract *c, struct sim *sim)
{
	*c = (struct contract){ .sim = sim };
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->ended, &attr);
	pthread_condattr_destroy(&attr);
	c->loop = sim != NULL ? sim_loop(sim, 0)
			      : loop_create(&(struct loop_config){ .name = "asker", .kind = LOOP_BLOCKING });
	assert_non_null(c->loop);
	c->asker = rt_spawn(c->loop, &contract_asker_class, c);
	assert_false(ref_is_none(c->asker));
	if (sim == NULL)
		assert_int_equal(loop_start(c->loop), 0);
}

/* Ends the asker's own loop; in a simulation sim_stop does. Before the loops of the backend are destroyed. */
static inline void contract_stop(struct contract *c)
{
	if (c->sim != NULL)
		return;
	loop_stop(c->loop);
	loop_join(c->loop);
}

/* After all loops have ended. */
static inline void contract_end(struct contract *c)
{
	if (c->sim == NULL)
		loop_destroy(c->loop);
	for (size_t i = 0; i < c->count; i++)
		free(c->asks[i]);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->ended);
}

/* For the makers of messages, which are called on the test's thread. */
static inline struct loop *contract_maker(const struct contract *c)
{
	return c->sim != NULL ? c->loop : NULL;
}

/* Asks in the order of the calls. What it returns is valid until contract_end. */
static inline struct contract_ask *contract_ask_for(struct contract *c, struct actor_ref to, struct msg *m,
						    uint64_t patience_ms)
{
	struct contract_ask *ask = calloc(1, sizeof *ask);
	assert_non_null(ask);
	*ask = (struct contract_ask){ .to = to, .patience_ms = patience_ms };
	pthread_mutex_lock(&c->lock);
	CHECK(c->count < CONTRACT_ASKS_MAX);
	c->asks[c->count++] = ask;
	pthread_mutex_unlock(&c->lock);
	struct contract_order *order = c->sim != NULL ? rt_msg_new(c->loop, CONTRACT_ASK) : loop_msg_new(CONTRACT_ASK);
	order->ask = ask;
	assert_true(c->sim != NULL ? rt_send(c->loop, c->asker, &order->head) && rt_send(c->loop, c->asker, m)
				   : loop_post(c->asker, &order->head) && loop_post(c->asker, m));
	return ask;
}

static inline struct contract_ask *contract_ask(struct contract *c, struct actor_ref to, struct msg *m)
{
	return contract_ask_for(c, to, m, CONTRACT_PATIENCE_MS);
}

/* Its ending, whatever that is. Nothing of it changes any more but the count of endings. */
static inline struct msg *contract_wait(struct contract *c, struct contract_ask *ask)
{
	for (int ms = 0; c->sim != NULL && ms < 2 * CONTRACT_PATIENCE_MS && ask->endings == 0; ms++)
		sim_run(c->sim, 1);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 2 * CONTRACT_PATIENCE_MS / 1000;
	pthread_mutex_lock(&c->lock);
	int error = 0;
	while (ask->endings == 0 && c->sim == NULL && error == 0)
		error = pthread_cond_timedwait(&c->ended, &c->lock, &until);
	struct msg *m = ask->ending;
	pthread_mutex_unlock(&c->lock);
	if (m == NULL)
		fail_msg("an ask has no ending");
	return m;
}

/* Once all loops have ended: whoever was asked gave one answer, or the runtime gave one for him. */
static inline void contract_assert_one_ending_each(struct contract *c)
{
	for (size_t i = 0; i < c->count; i++)
		assert_int_equal(c->asks[i]->endings, 1);
}
