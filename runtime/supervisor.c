/* Named actors and their restarts: one table per loop. An actor that fails is started again at once, at most
 * `restarts_max` times in `window_ms`; a life that ends by rt_stop stays ended. */
#include "runtime/log.h"
#include "runtime/private.h"

static void set_ref(struct supervised *s, struct actor_ref ref)
{
	/* Relaxed: nothing is read through a ref, and a stale one is dropped like any ref to an ended actor. */
	atomic_store_explicit(&s->ref_bits, ref.bits, memory_order_relaxed);
}

static struct actor_ref get_ref(struct supervised *s)
{
	return (struct actor_ref){ atomic_load_explicit(&s->ref_bits, memory_order_relaxed) };
}

static void start(struct loop *loop, uint32_t name)
{
	struct supervised *s = &loop->names[name];
	struct actor_ref ref = rt_spawn(loop, s->class, s->arg);
	set_ref(s, ref);
	if (ref_is_none(ref))
		return;
	struct actor_private *p = loop_actor(loop, ref)->private;
	p->is_named = true;
	p->name = name;
}

/* May one more restart happen in this window? */
static bool may_restart(struct loop *loop, struct supervised *s)
{
	uint64_t now = loop_mono_ns(loop);
	if (s->restarts == 0 || now - s->window_start_ns > s->window_ms * (uint64_t)TICK_NS) {
		s->window_start_ns = now;
		s->restarts = 0;
	}
	return s->restarts++ < s->restarts_max;
}

static void restart(struct loop *loop, uint32_t name)
{
	struct supervised *s = &loop->names[name];
	while (may_restart(loop, s)) {
		loop->stats.restarts++;
		start(loop, name);
		if (!ref_is_none(get_ref(s)))
			return;
	}
	log_line(LOG_ERROR, "runtime", "an actor failed too often and stays down: the loop has failed",
		 LOG_CSTR("actor", s->class->name), LOG_CSTR("loop", loop->name),
		 LOG_INT("restarts_max", s->restarts_max), LOG_INT("window_ms", s->window_ms));
	atomic_store_explicit(&loop->has_failed, true, memory_order_relaxed);
}

struct actor_ref rt_supervise(struct loop *loop, uint32_t name, const struct actor_class *class, void *arg,
			      uint32_t restarts_max, uint32_t window_ms)
{
	CHECK(name < RT_NAMES_MAX && loop->names[name].class == NULL);
	loop->names[name] = (struct supervised){
		.class = class, .arg = arg, .restarts_max = restarts_max, .window_ms = window_ms
	};
	start(loop, name);
	if (ref_is_none(rt_named(loop, name)))
		restart(loop, name);
	return rt_named(loop, name);
}

struct actor_ref rt_named(struct loop *loop, uint32_t name)
{
	CHECK(name < RT_NAMES_MAX);
	return get_ref(&loop->names[name]);
}

void supervisor_child_ended(struct loop *loop, uint32_t name, bool has_failed)
{
	set_ref(&loop->names[name], ACTOR_NONE);
	if (has_failed && !loop->is_stopping)
		restart(loop, name);
}
