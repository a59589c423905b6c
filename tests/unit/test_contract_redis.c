/* The contract of the online store, kept on a real redis-server; all its answers are those of the store of simulations. */
#include "store/online/online_fake.h"
#include "tests/unit/redis_fixture.h"

static struct redis_server server;
static struct redis_rig rig;
static struct {
	struct sim *sim;
	struct online_fake *fake;
} fake_rig;

static void redis_open(struct contract_online *b)
{
	char url[128];
	redis_cli(&server, "FLUSHALL");
	snprintf(url, sizeof url, "unix://%s?db=1", server.socket);
	redis_rig_open(&rig, b, &(struct redis_config){ .url = url, .hold_ms = REDIS_TEST_PATIENCE_MS });
}

static void redis_close(struct contract_online *b)
{
	redis_rig_close(&rig, b);
}

static void fake_open(struct contract_online *b)
{
	static uint64_t seed;
	fake_rig.sim = sim_create(&(struct sim_config){ .seed = ++seed, .loops = 2 });
	contract_begin(&b->c, fake_rig.sim);
	fake_rig.fake = online_fake_create(&(struct online_fake_config){ 0 });
	b->store = (struct online_store){ .per_loop = { online_fake_spawn(fake_rig.fake, sim_loop(fake_rig.sim, 1)) } };
}

static void fake_close(struct contract_online *b)
{
	sim_stop(fake_rig.sim);
	contract_end(&b->c);
	sim_destroy(fake_rig.sim);
	online_fake_destroy(fake_rig.fake);
}

static struct contract_online on_redis = { .name = "Redis", .open = redis_open, .close = redis_close };
static struct contract_online online_fake = { .name = "online_fake", .open = fake_open, .close = fake_close };

static void redis_and_fake_answer_the_same(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 10; i++) {
		on_redis.open(&on_redis);
		online_fake.open(&online_fake);
		online_compare(&on_redis, &online_fake, i);
		on_redis.close(&on_redis);
		online_fake.close(&online_fake);
	}
}

int main(void)
{
	if (!redis_server_exists()) {
		fprintf(stderr, "SKIPPED: redis-server is not installed; run tools/setup\n");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	redis_server_create(&server, NULL);
	const struct CMUnitTest tests[] = { CONTRACT_ONLINE_TESTS(&on_redis),
					    cmocka_unit_test(redis_and_fake_answer_the_same) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	redis_server_destroy(&server);
	return failed;
}
