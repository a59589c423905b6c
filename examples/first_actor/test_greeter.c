/* The greeter in a simulation: a fake stands where the names actor would be, and the clock jumps. */
#include "examples/first_actor/greeter.h"
#include "examples/first_actor/names.h"
#include "runtime/check.h"
#include "runtime/sim.h"
#include <stdio.h>
#include <string.h>

/* ---- a fake: finds "ada", does not know "bob", keeps silent about "eve" ---- */
struct fake_names {
	struct actor base;
	struct msg *silent; /* owned; a request that is never answered */
};

static void fake_on_message(struct actor *a, struct msg *m)
{
	struct fake_names *f = (struct fake_names *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	const char *name = ((struct names_find *)m)->name;
	if (strcmp(name, "eve") == 0 && f->silent == NULL) {
		rt_msg_take(m);
		f->silent = m;
		return;
	}
	struct names_found *found = rt_msg_new(a->loop, NAMES_FOUND);
	if (strcmp(name, "ada") == 0)
		snprintf(found->full_name, sizeof found->full_name, "Ada Lovelace");
	else
		found->head.status = RT_ENOTFOUND;
	rt_reply(a, m, &found->head);
}

static void fake_finish(struct actor *a)
{
	struct fake_names *f = (struct fake_names *)a;
	if (f->silent != NULL)
		rt_msg_free(a->loop, f->silent);
}

static const struct actor_class fake_class = {
	.name = "fake_names",
	.size = sizeof(struct fake_names),
	.mailbox_len_max = 8,
	.on_message = fake_on_message,
	.finish = fake_finish,
};

/* ---- a guest: asks once and remembers the answer ---- */
struct guest {
	struct actor base;
	bool has_answer;
	int status;
	char text[64];
};

static void guest_on_message(struct actor *a, struct msg *m)
{
	struct guest *g = (struct guest *)a;
	if (m->kind == RT_STOP) {
		rt_stop(a);
		return;
	}
	CHECK(!g->has_answer);
	g->has_answer = true;
	g->status = m->status;
	if (m->kind == GREETER_GREETED)
		snprintf(g->text, sizeof g->text, "%s", ((struct greeter_greeted *)m)->text);
}

static int guest_init(struct actor *a, void *arg)
{
	*(struct guest **)arg = (struct guest *)a; /* the test looks into it between turns */
	return 0;
}

static const struct actor_class guest_class = {
	.name = "guest",
	.size = sizeof(struct guest),
	.mailbox_len_max = 8,
	.init = guest_init,
	.on_message = guest_on_message,
};

/* ---- the test ---- */
static struct guest *greet(struct sim *sim, struct actor_ref greeter, const char *name)
{
	struct loop *loop = sim_loop(sim, 0);
	struct guest *guest = NULL;
	rt_spawn(loop, &guest_class, &guest);
	struct greeter_greet *greet = rt_msg_new(loop, GREETER_GREET);
	snprintf(greet->name, sizeof greet->name, "%s", name);
	rt_ask(&guest->base, greeter, &greet->head, loop_mono_ns(loop) + 1000000000, ACTOR_NONE);
	return guest;
}

static void run_seed(uint64_t seed)
{
	struct sim *sim = sim_create(&(struct sim_config){ .seed = seed, .loops = 2 });
	/* The names live on the other loop here: an actor cannot tell the difference. */
	struct greeter_config config = { .timeout_ms = 100 };
	config.names = rt_spawn(sim_loop(sim, 1), &fake_class, NULL);
	struct actor_ref greeter = rt_spawn(sim_loop(sim, 0), &greeter_class, &config);

	struct guest *ada = greet(sim, greeter, "ada");
	sim_run(sim, 50);
	CHECK(ada->has_answer && ada->status == RT_OK && strcmp(ada->text, "Hello, Ada Lovelace!") == 0);

	struct guest *bob = greet(sim, greeter, "bob"), *second = greet(sim, greeter, "ada");
	sim_run(sim, 50);
	/* Whichever the seed ran first was served; the other came while the greeter was busy. */
	CHECK(bob->has_answer && second->has_answer);
	CHECK((bob->status == RT_ENOTFOUND && second->status == RT_EFULL) ||
	      (bob->status == RT_EFULL && second->status == RT_OK));

	uint64_t start_ns = sim_now_ns(sim);
	struct guest *eve = greet(sim, greeter, "eve");
	while (!eve->has_answer)
		sim_run(sim, 1);
	uint64_t took_ns = sim_now_ns(sim) - start_ns;
	CHECK(eve->status == RT_EDEADLINE && took_ns >= 100000000 && took_ns < 110000000);

	sim_stop(sim);
	struct buf why = { 0 };
	CHECK(sim_is_balanced(sim, &why)); /* no message, ask or actor is left */
	sim_destroy(sim);
}

int main(void)
{
	for (uint64_t seed = 1; seed <= 100; seed++)
		run_seed(seed);
	printf("100 seeds: greeted\n");
	return 0;
}
