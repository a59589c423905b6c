/* The contract of the online store, kept by the memory table, by message and without, and by the store of simulations. */
#include "tests/contract/online.h"
#include "store/online/online_fake.h"
#include "store/online/online_memory.h"

static struct rig { /* of one way in */
	struct online *table;
	struct online_fake *fake;
	struct loop *loop; /* the actor's: real; NULL: of the simulation */
	struct sim *sim;
} by_message_rig, by_fast_rig, fake_rig;
static uint64_t seed;

/* ---- the memory table, by message: on real loops ---- */

static void by_message_open(struct contract_online *b)
{
	struct rig *r = &by_message_rig;
	r->table = online_create(&(struct online_config){ .bytes_max = 64 << 20, .stripes = 4 });
	r->loop = loop_create(&(struct loop_config){ .name = "online", .kind = LOOP_BLOCKING });
	assert_non_null(r->table);
	assert_non_null(r->loop);
	b->store = (struct online_store){ .per_loop = { online_spawn(r->table, r->loop) } };
	contract_begin(&b->c, NULL);
	assert_int_equal(loop_start(r->loop), 0);
}

static void by_message_close(struct contract_online *b)
{
	struct rig *r = &by_message_rig;
	contract_stop(&b->c);
	loop_stop(r->loop);
	loop_join(r->loop);
	contract_end(&b->c);
	loop_destroy(r->loop);
	online_destroy(r->table);
}

/* ---- in simulations ---- */

static void begin_simulated(struct contract_online *b, struct rig *r)
{
	r->sim = sim_create(&(struct sim_config){ .seed = ++seed, .loops = 2 });
	contract_begin(&b->c, r->sim);
}

static void end_simulated(struct contract_online *b, struct rig *r)
{
	struct buf why = { 0 };
	sim_stop(r->sim);
	if (!sim_is_balanced(r->sim, &why))
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	contract_end(&b->c);
	sim_destroy(r->sim);
}

static void by_fast_open(struct contract_online *b)
{
	by_fast_rig.table = online_create(&(struct online_config){ .bytes_max = 64 << 20, .stripes = 4 });
	assert_non_null(by_fast_rig.table);
	b->store = (struct online_store){ .fast = online_fast(by_fast_rig.table) };
	begin_simulated(b, &by_fast_rig);
}

static void by_fast_close(struct contract_online *b)
{
	end_simulated(b, &by_fast_rig);
	online_destroy(by_fast_rig.table);
}

static void fake_open(struct contract_online *b)
{
	begin_simulated(b, &fake_rig);
	fake_rig.fake = online_fake_create(&(struct online_fake_config){ .delay_ms_max = 5 });
	b->store = (struct online_store){ .per_loop = { online_fake_spawn(fake_rig.fake, sim_loop(fake_rig.sim, 1)) } };
}

static void fake_close(struct contract_online *b)
{
	end_simulated(b, &fake_rig);
	online_fake_destroy(fake_rig.fake);
}

static void fake_fail(struct contract_online *b, enum contract_online_fault fault)
{
	unsigned some = fault == CONTRACT_SOME_OF_EACH ? 250 : 0;
	(void)b;
	online_fake_set(fake_rig.fake, &(struct online_fake_config){
					   .delay_ms_max = 5,
					   .refuse_permille = fault == CONTRACT_REFUSES ? 1000 : some,
					   .lose_row_permille = fault == CONTRACT_FAILS_ROWS ? 1000 : some,
					   .lose_answer_permille = fault == CONTRACT_IS_SILENT ? 1000 : some });
}

static struct contract_online by_message = { .name = "the memory table by message",
					     .open = by_message_open,
					     .close = by_message_close };
static struct contract_online by_fast = {
	.name = "the memory table without messages", .is_fast = true, .open = by_fast_open, .close = by_fast_close
};
static struct contract_online online_fake = {
	.name = "online_fake", .open = fake_open, .close = fake_close, .set_fault = fake_fail
};

static void compare(struct contract_online *x, struct contract_online *y)
{
	for (uint64_t i = 1; i <= 25; i++) {
		x->open(x);
		y->open(y);
		online_compare(x, y, i);
		x->close(x);
		y->close(y);
	}
}

static void message_and_fast_answer_the_same(void **state)
{
	(void)state;
	compare(&by_message, &by_fast);
}

static void memory_and_fake_answer_the_same(void **state)
{
	(void)state;
	compare(&by_fast, &online_fake);
}

/* A backend may have failed half-way. */
static void a_failed_message_has_no_answers(void **state)
{
	(void)state;
	struct sim *sim = sim_create(&(struct sim_config){ .seed = 1, .loops = 1 });
	struct loop *loop = sim_loop(sim, 0);
	struct value *v = value_create(STR("1"));
	const uint32_t features[2] = { 4, 5 };
	const struct online_change change = { .feature = 4, .value = v };
	struct online_batch *get = online_batch_new(loop, ONLINE_GET), *put = online_batch_new(loop, ONLINE_PUT);
	assert_true(online_batch_get(get, 1, STR("u"), features, 2) && online_batch_put(put, 1, STR("u"), &change, 1));
	get->what->rows[0].result = ONLINE_APPLIED;
	get->what->rows[0].gets[1].cell.value = value_ref(v);
	put->what->rows[0].changes[0].result = ONLINE_APPLIED;
	struct online_batch *got = online_done_new(loop, get, RT_EIO), *done = online_done_new(loop, put, RT_EIO);
	assert_int_equal(got->head.status, RT_EIO);
	assert_int_equal(got->what->rows[0].result, ONLINE_FAILED);
	assert_null(got->what->rows[0].gets[1].cell.value);
	assert_int_equal(got->what->rows[0].gets[1].feature, 5);
	assert_int_equal(done->what->rows[0].changes[0].result, ONLINE_FAILED);
	struct online_batch *all[] = { get, put, got, done };
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		rt_msg_free(loop, &all[i]->head);
	assert_int_equal(atomic_load(&v->refs), 1);
	value_unref(v);
	sim_stop(sim);
	struct buf why = { 0 };
	assert_true(sim_is_balanced(sim, &why));
	sim_destroy(sim);
}

int main(void)
{
	hash_key_set(1, 2);
	const struct CMUnitTest tests[] = { CONTRACT_ONLINE_TESTS(&by_message),
					    CONTRACT_ONLINE_TESTS(&by_fast),
					    CONTRACT_ONLINE_TESTS(&online_fake),
					    cmocka_unit_test(a_failed_message_has_no_answers),
					    cmocka_unit_test(message_and_fast_answer_the_same),
					    cmocka_unit_test(memory_and_fake_answer_the_same) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
