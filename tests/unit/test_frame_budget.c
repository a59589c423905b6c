/* The budget of frames by itself, against clocks and byte counts of the test's own. */
#include "http/frame_budget.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, END_HEADERS = 4, PADDED = 8, STOCK = 100 };
static const uint64_t SECOND = 1000000000u;

static enum frame_verdict take(struct frame_budget *b, uint8_t type, uint8_t flags, uint32_t length, uint64_t now_ns,
			       uint64_t written)
{
	static const uint8_t payload[65536] = { 15 }; /* of padding */
	return frame_budget_take(b,
				 &(struct frame){ .type = type, .flags = flags, .length = length, .payload = payload },
				 now_ns, written);
}

/* How many pass at one moment. */
static unsigned passes(struct frame_budget *b, uint8_t type, uint8_t flags, uint32_t length, uint64_t now_ns)
{
	unsigned n = 0;
	while (n < 10000 && take(b, type, flags, length, now_ns, 0) == FRAME_FINE)
		n++;
	return n;
}

static void test_a_stock_and_its_refill(void **state)
{
	(void)state;
	struct frame_budget b;
	frame_budget_init(&b, STOCK, 5 * SECOND);
	assert_int_equal(passes(&b, PING, 0, 8, 5 * SECOND), STOCK);
	assert_int_equal(take(&b, PING, 0, 8, 5 * SECOND, 0), FRAME_PING_FLOOD);
	frame_budget_init(&b, STOCK, 5 * SECOND);
	passes(&b, PING, 0, 8, 5 * SECOND);
	/* One too many has been taken; a second gives a tenth of the stock. */
	assert_int_equal(passes(&b, PING, 0, 8, 6 * SECOND), STOCK / 10 - 1);
	assert_int_equal(passes(&b, PING, 0, 8, 1000 * SECOND), STOCK - 1); /* never more than all */
}

static void test_each_kind_is_named(void **state)
{
	(void)state;
	static const struct {
		uint8_t type, flags;
		uint32_t length;
		const char *name;
	} all[] = {
		{ DATA, 0, 0, "data" },
		{ DATA, PADDED, 16, "data" },
		{ PRIORITY, 0, 5, "priority" },
		{ RST_STREAM, 0, 4, "resets" },
		{ SETTINGS, 0, 0, "settings" },
		{ PING, 1, 8, "ping" },
		{ GOAWAY, 0, 8, "goaway" },
		{ WINDOW_UPDATE, 0, 4, "window_update" },
		{ CONTINUATION, 0, 0, "continuation" },
		{ 0x42, 0, 3, "unknown" },
	};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct frame_budget b;
		frame_budget_init(&b, STOCK, 0);
		unsigned n = passes(&b, all[i].type, all[i].flags, all[i].length, 0);
		assert_int_equal(n, all[i].type == RST_STREAM ? STOCK / 5 : STOCK);
		assert_string_equal(frame_verdict_name(take(&b, all[i].type, all[i].flags, all[i].length, 0, 0)),
				    all[i].name);
	}
}

static void test_what_carries_something_is_free(void **state)
{
	(void)state;
	struct frame_budget b;
	frame_budget_init(&b, STOCK, 0);
	assert_int_equal(passes(&b, DATA, 0, 64, 0), 10000);
	assert_int_equal(passes(&b, DATA, PADDED, 80, 0), 10000); /* 64 and the padding */
	assert_int_equal(passes(&b, HEADERS, END_HEADERS, 20, 0), 10000);
	assert_int_equal(passes(&b, PING, 0, 8, 0), STOCK);
}

/* An empty end is free once for each request that has a body, also when its part of the stock is spent. */
static void test_ends_of_bodies(void **state)
{
	(void)state;
	struct frame_budget b;
	frame_budget_init(&b, STOCK, 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(take(&b, HEADERS, END_HEADERS, 20, 0, 0), FRAME_FINE);
		for (int k = 0; k < 4; k++)
			assert_int_equal(take(&b, WINDOW_UPDATE, 0, 4, 0, 0), FRAME_FINE);
		assert_int_equal(take(&b, DATA, END_STREAM, 0, 0, 0), FRAME_FINE);
	}
	assert_int_equal(passes(&b, DATA, END_STREAM, 0, 0), STOCK - 4); /* those of the last request are spent */
	assert_int_equal(take(&b, DATA, END_STREAM, 0, 0, 0), FRAME_DATA_FLOOD);
	frame_budget_init(&b, STOCK, 0);
	take(&b, HEADERS, END_HEADERS | END_STREAM, 20, 0, 0);
	assert_int_equal(passes(&b, DATA, END_STREAM, 0, 0), STOCK);
}

static unsigned answer(uint8_t type, uint8_t flags, uint32_t length)
{
	static const uint8_t payload[256] = { 15 };
	return frame_answer_bytes(
	    &(struct frame){ .type = type, .flags = flags, .length = length, .payload = payload });
}

/* Requests with small bodies and replies of some 77 bytes must leave something. */
static void test_answers_to_frames(void **state)
{
	(void)state;
	assert_true(answer(PING, 0, 8) >= 17 && answer(SETTINGS, 0, 0) >= 9);
	assert_true(answer(PING, 1, 8) == 0 && answer(SETTINGS, 1, 0) == 0);
	assert_true(answer(HEADERS, 0, 20) == 0 && answer(WINDOW_UPDATE, 0, 4) == 0 && answer(RST_STREAM, 0, 4) == 0);
	assert_true(answer(DATA, 0, 3) >= 13 && 3 * answer(DATA, 0, 3) < 77);
	assert_true(answer(DATA, 0, 64) == 0 && answer(DATA, PADDED, 64) == answer(DATA, 0, 48));
}

static void test_requests_and_replies_earn(void **state)
{
	(void)state;
	struct frame_budget b;
	frame_budget_init(&b, STOCK, 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(take(&b, HEADERS, END_HEADERS, 20, 0, 0), FRAME_FINE);
		for (int k = 0; k < 4; k++)
			assert_int_equal(take(&b, WINDOW_UPDATE, 0, 4, 0, 0), FRAME_FINE);
	}
	frame_budget_init(&b, STOCK, 0);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(take(&b, WINDOW_UPDATE, 0, 4, 0, i * 512), FRAME_FINE);
	frame_budget_init(&b, STOCK, 0);
	unsigned half = 0;
	for (; half < 1000 && take(&b, RST_STREAM, 0, 4, 0, 0) == FRAME_FINE; half++)
		for (int k = 0; k < 2; k++)
			take(&b, HEADERS, END_HEADERS, 20, 0, 0);
	assert_int_equal(half, 1000); /* every second request is reset */
	frame_budget_init(&b, STOCK, 0);
	unsigned all = 0;
	for (; all < 1000 && take(&b, RST_STREAM, 0, 4, 0, 0) == FRAME_FINE; all++)
		take(&b, HEADERS, END_HEADERS, 20, 0, 0);
	assert_true(all < 2 * STOCK / 5 + 2);
}

static void test_header_blocks(void **state)
{
	(void)state;
	struct frame_budget b;
	frame_budget_init(&b, STOCK, 0);
	assert_int_equal(take(&b, HEADERS, 0, 16384, 0, 0), FRAME_FINE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(&b, CONTINUATION, 0, 16384, 0, 0), FRAME_FINE);
	assert_int_equal(take(&b, CONTINUATION, 0, 1, 0, 0), FRAME_HEADERS_TOO_LARGE);
	frame_budget_init(&b, STOCK, 0);
	for (int i = 0; i < 100; i++) { /* each block by itself */
		assert_int_equal(take(&b, HEADERS, 0, 16384, 0, 0), FRAME_FINE);
		assert_int_equal(take(&b, CONTINUATION, END_HEADERS, 16384, 0, 0), FRAME_FINE);
	}
}

/* Fields of every representation, n of them. */
static size_t block_of(uint8_t *out, unsigned n)
{
	static const char *const fields[] = { "\x82",       "\x40\1a\1b",   "\x44\3abc", "\x00\2ab\0",
					      "\x10\1a\1b", "\x3f\xe1\x1f", "\xff\x01",  "\x0f\x01\1x" };
	static const size_t sizes[] = { 1, 5, 5, 5, 5, 3, 2, 4 };
	size_t at = 0;
	for (unsigned i = 0; i < n; i++) {
		memcpy(out + at, fields[i % 8], sizes[i % 8]);
		at += sizes[i % 8];
	}
	return at;
}

static void test_fields_are_counted(void **state)
{
	(void)state;
	static uint8_t block[HEADER_BLOCK_BYTES_MAX + 1];
	assert_int_equal(frame_block_check(block, block_of(block, HEADER_FIELDS_MAX)), FRAME_FINE);
	assert_int_equal(frame_block_check(block, block_of(block, HEADER_FIELDS_MAX + 1)), FRAME_HEADERS_TOO_LARGE);
	memset(block, 0x82, sizeof block);
	assert_int_equal(frame_block_check(block, HEADER_FIELDS_MAX), FRAME_FINE);
	assert_int_equal(frame_block_check(block, HEADER_FIELDS_MAX + 1), FRAME_HEADERS_TOO_LARGE);
	/* One large field, then rubbish: not more fields than there are. */
	memset(block, 0, sizeof block);
	memcpy(block, "\x40\1a\x7f\xd1\x4e", 6); /* 127 + 0x51 + 0x4e * 128 */
	assert_int_equal(frame_block_check(block, 6 + 127 + 0x51 + 0x4e * 128), FRAME_FINE);
	assert_int_equal(frame_block_check(block, sizeof block), FRAME_HEADERS_TOO_LARGE);
}

/* Whatever the bytes are, nothing behind the block is read (AddressSanitizer), and it ends. */
static void test_rubbish(void **state)
{
	(void)state;
	uint64_t seed = 88172645463325252u;
	for (int round = 0; round < 2000; round++) {
		size_t n = HEADER_FIELDS_MAX + 1 + (size_t)round % 700;
		uint8_t *block = malloc(n);
		assert_non_null(block);
		for (size_t i = 0; i < n; i++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			block[i] = (uint8_t)(seed >> 24);
		}
		enum frame_verdict v = frame_block_check(block, n);
		assert_true(v == FRAME_FINE || v == FRAME_HEADERS_TOO_LARGE);
		free(block);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stock_and_its_refill),
		cmocka_unit_test(test_each_kind_is_named),
		cmocka_unit_test(test_what_carries_something_is_free),
		cmocka_unit_test(test_ends_of_bodies),
		cmocka_unit_test(test_answers_to_frames),
		cmocka_unit_test(test_requests_and_replies_earn),
		cmocka_unit_test(test_header_blocks),
		cmocka_unit_test(test_fields_are_counted),
		cmocka_unit_test(test_rubbish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
