/* The key of a context, and what the cache keeps, forgets and refuses. */
#include "tests/unit/actor_fixture.h"

static const char definitions[] =
    "local fabra = require 'fabra'\n"
    "local User = fabra.entity { name = 'User', id = 'user_id' }\n"
    "local Shop = fabra.entity { name = 'Shop', id = 'shop_id' }\n"
    "fabra.feature { name = 'city', entity = User }\nfabra.feature { name = 'size', entity = Shop }\n"
    "fabra.context { name = 'free', build = function() return 'x' end }\n"
    "fabra.context { name = 'planned', params = { a = 'number' }, items = { { text = 'at {a}' } } }\n"
    "fabra.context { name = 'other', build = function() return 'x' end }\n"
    "fabra.context { name = 'per_session', params = { session_id = 'string' }, items = { { text = 'for {session_id}' } } }\n";

static char *key_of(const char *context, const char *args_json)
{
	struct json_error error;
	yyjson_doc *args = json_parse(str_from(args_json), NULL, &error);
	assert_non_null(args);
	uint32_t index = definitions_context(shared.definitions, str_from(context));
	char *key = context_cache_key(&shared.definitions->contexts[index], yyjson_doc_get_root(args));
	yyjson_doc_free(args);
	assert_non_null(key);
	return key;
}

static void assert_keys(const char *context_a, const char *a, const char *context_b, const char *b, bool same)
{
	char *first = key_of(context_a, a), *second = key_of(context_b, b);
	if ((strcmp(first, second) == 0) != same)
		fail_msg("%s | %s", first, second);
	free(first);
	free(second);
}

static void test_key(void **state)
{
	(void)state;
	assert_keys("free", "{\"a\":1,\"b\":{\"x\":1,\"y\":2}}", "free", "{\"b\":{\"y\":2,\"x\":1},\"a\":1}", true);
	assert_keys("free", "{\"a\":1}", "free", "{\"a\":1.0}", false);
	assert_keys("free", "{\"a\":1}", "other", "{\"a\":1}", false);
	assert_keys("free", "{\"a\":null}", "free", "{}", false);
	assert_keys(
	    "planned",
	    "{\"a\":1,\"call_id\":\"x\",\"session_id\":1,\"turn_id\":2,\"turn_index\":3,\"interaction_ref\":{}}",
	    "planned", "{\"a\":1}", true);
	/* A function gets the names of the call too, and may use them. */
	static const char *const of_call[] = { "{\"call_id\":\"x\"}", "{\"session_id\":1}", "{\"turn_id\":2}",
					       "{\"turn_index\":3}", "{\"interaction_ref\":{}}" };
	for (size_t i = 0; i < ARRAY_LEN(of_call); i++)
		assert_keys("free", of_call[i], "free", "{}", false);
	assert_keys("free", "{\"mode\":\"a\"}", "free", "{\"mode\":\"b\"}", false); /* says how, not which call */
	/* A declared parameter is part of the text, whatever its name. */
	assert_keys("per_session", "{\"session_id\":\"a\"}", "per_session", "{\"session_id\":\"b\"}", false);
	assert_keys("per_session", "{\"session_id\":\"a\",\"call_id\":1}", "per_session", "{\"session_id\":\"a\"}",
		    true);
}

/* Of a context that found the pushed value 1 of this feature, or no value at all. */
static struct material *material_of(const char *name, const char *id, size_t bytes)
{
	struct material *m = material_new(0, loop_wall_us(LOOP));
	struct value *v = value_create(STR("1"));
	struct feature_result found = { .state = FEATURE_FOUND, .value = v, .as_of_us = 7 },
			      absent = { .state = FEATURE_MISSING };
	for (int i = 0; name && i < 3; i++)
		assert_true(material_add_feature(m, shared.definitions, feature(name), str_from(id),
						 is_online(name, id) ? &found : &absent));
	value_unref(v);
	assert_non_null(arena_alloc(&m->arena, bytes + 1));
	return m;
}

/* moves m */
static void put(const char *key, struct material *m, int64_t ttl_ms)
{
	rt_send(LOOP, rt_named(LOOP, NAME_CONTEXT_CACHE),
		context_cache_put_new(LOOP, key, m, loop_wall_us(LOOP) + ttl_ms * 1000));
	material_unref(m);
}

static const struct material *get(const char *key)
{
	const struct msg *m = wait_for(rt_ask(&probe->base, rt_named(LOOP, NAME_CONTEXT_CACHE),
					      context_cache_get_new(LOOP, key), in_ms(1000), ACTOR_NONE));
	assert_int_equal(m->kind, CONTEXT_CACHE_GOT);
	return ((const struct context_cache_item *)m)->material;
}

static void test_put_and_get(void **state)
{
	(void)state;
	struct material *m = material_of("city", "u1", 0);
	assert_null(get("k"));
	put("k", m, 1000);
	assert_ptr_equal(get("k"), m);
	struct material *newer = material_of("city", "u1", 0);
	put("k", newer, 1000);
	assert_ptr_equal(get("k"), newer);
	assert_null(get("K"));
	run_ms(990);
	assert_non_null(get("k"));
	run_ms(20);
	assert_null(get("k"));
}

static void delete_row(uint32_t entity, const char *id)
{
	online_delete_row(fixture.online, entity, str_from(id), loop_wall_us(LOOP), 2, loop_wall_us(LOOP));
}

static void test_what_changed(void **state)
{
	(void)state;
	push("city", "u1", "1", 7);
	push("city", "u2", "1", 7);
	push("size", "u1", "1", 7);
	put("a", material_of("city", "u1", 0), 10000);
	put("b", material_of("city", "u1", 0), 10000);
	put("c", material_of("city", "u2", 0), 10000);
	put("d", material_of("size", "u1", 0), 10000);
	put("e", material_of(NULL, NULL, 0), 10000);
	put("f", material_of("city", "u3", 0), 10000); /* absent */
	run_ms(1);
	push("city", "nobody", "1", 7);
	push("size", "u3", "1", 7); /* the same id of another kind */
	assert_true(get("a") && get("b") && get("c") && get("d") && get("e") && get("f"));
	push("city", "u1", "1", 8); /* the same value, and newer */
	assert_true(get("a") == NULL && get("b") == NULL && get("c") && get("d") && get("e") && get("f"));
	push("city", "u2", "1", 6); /* older: without effect */
	assert_non_null(get("c"));
	push("city", "u2", "2", 7); /* another value of the same time */
	assert_null(get("c"));
	push("city", "u3", "1", 1); /* what was absent has come, from whatever time */
	assert_null(get("f"));
	delete_row(1, "u1");
	assert_true(get("d") == NULL && get("e"));
}

static void test_deleted_though_absent(void **state)
{
	(void)state;
	put("a", material_of("city", "u1", 0), 10000);
	run_ms(1);
	assert_non_null(get("a"));
	delete_row(0, "u1");
	assert_null(get("a"));
	run_ms(1);
	put("a", material_of("city", "u1", 0), 10000); /* gathered behind the delete */
	run_ms(1);
	assert_non_null(get("a"));
}

/* It was gathered before the push and arrives behind it. */
static void test_what_was_on_its_way(void **state)
{
	(void)state;
	push("city", "u1", "1", 7);
	struct material *before = material_of("city", "u1", 0), *stranger = material_of("city", "u2", 0);
	run_ms(5);
	push("city", "u1", "1", 8);
	put("a", before, 10000);
	put("b", stranger, 10000);
	assert_null(get("a"));
	assert_non_null(get("b"));
}

static void test_bounds(void **state)
{
	(void)state;
	char key[16];
	for (int i = 0; i < 10100; i++) {
		snprintf(key, sizeof key, "%d", i);
		put(key, material_of("city", "u1", 0), 100000);
		if (i % 1000 == 0)
			run_ms(1);
	}
	run_ms(10);
	assert_null(get("99"));
	assert_non_null(get("100"));
	assert_non_null(get("10099"));
	for (int i = 0; i < 5; i++) { /* 64 MiB hold three of these */
		snprintf(key, sizeof key, "big %d", i);
		put(key, material_of("city", "u1", 20 << 20), 100000);
	}
	assert_null(get("10099"));
	assert_null(get("big 1"));
	assert_non_null(get("big 2"));
	assert_non_null(get("big 4"));
	push("city", "u1", "1", 7);
	assert_null(get("big 4"));
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key),           ACTOR_TEST(test_put_and_get),
		ACTOR_TEST(test_what_changed),        ACTOR_TEST(test_deleted_though_absent),
		ACTOR_TEST(test_what_was_on_its_way), ACTOR_TEST(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return run_actor_tests(definitions, run);
}
