/* What a node's loops have, who owns an entity, and what is swept. */
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\nlocal Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"
    "fabra.feature { name = 'city', entity = User }\n"
    "fabra.retriever { name = 'docs', run = function() return {} end }\n";

static void test_spawned(void **state)
{
	(void)state;
	static const uint32_t names[] = { NAME_INGESTOR, NAME_CONTEXT_CACHE, NAME_SWEEPER,
					  NAME_RESOLVER, NAME_RESOLVER + 1,  NAME_RETRIEVER };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_true(rt_alive(rt_named(LOOP, names[i])));
	assert_true(ref_eq(node_resolver(NL, 1), rt_named(LOOP, NAME_RESOLVER + 1)));
	assert_true(ref_eq(node_retriever(NL, 0), rt_named(LOOP, NAME_RETRIEVER)));
	assert_ptr_equal(node_here(&fixture.node, LOOP), NL);
	assert_int_equal(node_tokens(&fixture.node, STR("gpt-4"))->encoding, TOKENS_CL100K);
	assert_int_equal(node_tokens(&fixture.node, STR("gpt-4o"))->encoding, TOKENS_O200K);
}

static void test_too_many(void **state)
{
	(void)state;
	struct definitions many = { .entities_count = NODE_ENTITIES_MAX + 1 };
	struct node node = { .definitions = &many };
	struct node_loop nl = { .node = &node, .loop = LOOP };
	struct buf why = { 0 };
	assert_false(node_loop_spawn(&nl, &why));
	assert_non_null(memmem(why.p, why.n, "at most", 7));
	buf_clear(&why);
	many = (struct definitions){ .retrievers_count = NODE_RETRIEVERS_MAX + 1 };
	assert_false(node_loop_spawn(&nl, &why));
	assert_true(why.n > 0);
	buf_finish(&why);
}

/* What an online store needs that is not in memory, and none of it for one that is. */
static void test_store_elsewhere(void **state)
{
	(void)state;
	struct buf why = { 0 };
	assert_true(ref_is_none(rt_named(LOOP, NAME_PUBLISHER)) && ref_is_none(rt_named(LOOP, NAME_REPAIRER)));
	life_end();
	node_fixture_start(&fixture, &shared, 1, 1, ledger, &offline_config);
	fixture.stores.online.fast = NULL;
	for (unsigned i = 0; i < LOOPS_MAX; i++)
		fixture.stores.online.per_loop[i] = online_spawn(fixture.online, fixture.store_loop);
	assert_true(node_loop_spawn(NL, &why));
	assert_false(ref_is_none(rt_named(LOOP, NAME_PUBLISHER)) || ref_is_none(rt_named(LOOP, NAME_REPAIRER)));
	assert_false(ref_is_none(rt_spawn(LOOP, &probe_class, &probe)));
	run_ms(1000); /* the sweeper has nothing to sweep */
	buf_finish(&why);
}

static void test_owners(void **state)
{
	(void)state;
	struct node_loop loops[3];
	struct node node = { .loops = { &loops[0], &loops[1], &loops[2] }, .loops_count = 3 };
	unsigned owned[3] = { 0 };
	for (int i = 0; i < 3000; i++) {
		char id[16];
		struct str s = str_of(id, (size_t)snprintf(id, sizeof id, "u%d", i));
		struct node_loop *owner = node_owner_of(&node, s);
		assert_ptr_equal(owner, node_owner_of(&node, s));
		owned[owner - loops]++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(owned[i], 800, 1200);
}

static void test_swept(void **state)
{
	(void)state;
	struct online_stats stats;
	struct value *v = value_create(STR("1"));
	for (int i = 0; i < 500; i++) {
		char id[16];
		struct str s = str_of(id, (size_t)snprintf(id, sizeof id, "u%d", i));
		online_put(fixture.online,
			   &(struct online_write){
			       .kind = 0,
			       .id = s,
			       .feature = 0,
			       .value = v,
			       .meta = { .event_time_us = 1, .lsn = 1, .expires_us = loop_wall_us(LOOP) + 1000000 } });
	}
	value_unref(v);
	run_ms(900);
	online_stats(fixture.online, &stats);
	assert_int_equal(stats.cells, 500);
	run_ms(60000);
	online_stats(fixture.online, &stats);
	assert_int_equal(stats.cells, 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = { ACTOR_TEST(test_spawned), ACTOR_TEST(test_too_many),
					    ACTOR_TEST(test_store_elsewhere), ACTOR_TEST(test_owners),
					    ACTOR_TEST(test_swept) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
