#include "actors/pricing.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void rounds_as_fabra_does(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct pricing *p = pricing_create(NULL, &why);
	assert_non_null(p);
	assert_true(pricing_cost_usd(p, STR("gpt-4"), 1523, 0) == 0.007615);
	assert_true(pricing_cost_usd(p, STR("gpt-4o"), 1523, 0) == 0.003808);
	assert_true(pricing_cost_usd(p, STR("gpt-5"), 7, 0) == 9e-06);
	assert_true(pricing_cost_usd(p, STR("gpt-5"), 0, 1000000) == 10.0);
	pricing_destroy(p);
}

/* Against printf, which rounds the exact binary value half to even, as Python does. Half of these are halves, or as near to one as a
 * double gets. */
static void rounds_halves_exactly(void **state)
{
	(void)state;
	struct buf why = { 0 };
	struct pricing *p = pricing_create(NULL, &why);
	assert_non_null(p);
	for (uint64_t tokens = 1; tokens < 3000000; tokens = tokens < 5000 ? tokens + 1 : tokens * 5 / 4 + tokens % 7) {
		char text[64];
		snprintf(text, sizeof text, "%.6f", (double)tokens / 1e6 * 2.5 + (double)(tokens / 3) / 1e6 * 10);
		assert_true(pricing_cost_usd(p, STR("gpt-4o"), tokens, tokens / 3) == strtod(text, NULL));
		snprintf(text, sizeof text, "%.6f", (double)tokens / 1e6 * .15);
		assert_true(pricing_cost_usd(p, STR("command-r"), tokens, 0) == strtod(text, NULL));
		snprintf(text, sizeof text, "%.6f", (double)(tokens << 24) / 1e6 * .02);
		assert_true(pricing_cost_usd(p, STR("text-embedding-3-small"), tokens << 24, 0) == strtod(text, NULL));
	}
	pricing_destroy(p);
}

static void lays_the_users_file_over(void **state)
{
	(void)state;
	char name[] = "/tmp/fabra-pricing-XXXXXX";
	int fd = mkstemp(name);
	static const char json[] = "{\"gpt-4o\":{\"input\":1,\"output\":2},\"mine\":{\"input\":0.5}}";
	assert_int_equal(write(fd, json, sizeof json - 1), sizeof json - 1);
	struct buf why = { 0 };
	struct pricing *p = pricing_create(name, &why);
	assert_non_null(p);
	assert_true(pricing_cost_usd(p, STR("gpt-4o"), 1000000, 1000000) == 3.0);
	assert_true(pricing_cost_usd(p, STR("mine"), 2000000, 5) == 1.0);
	assert_true(pricing_cost_usd(p, STR("gpt-4.1"), 1000000, 0) == 2.0);
	pricing_destroy(p);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "{\"x\":{\"input\":\"a\"}}", 19, 0), 19);
	assert_null(pricing_create(name, &why));
	assert_non_null(memmem(why.p, why.n, "'x'", 3));
	buf_finish(&why);
	assert_null(pricing_create("/nowhere/prices.json", &why));
	assert_non_null(memmem(why.p, why.n, "FABRA_CUSTOM_PRICING_FILE", 25));
	buf_finish(&why);
	close(fd);
	unlink(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_as_fabra_does),
		cmocka_unit_test(rounds_halves_exactly),
		cmocka_unit_test(lays_the_users_file_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
