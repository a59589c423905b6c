/* The parts of the file format by themselves: CRC, frames, index, headers. */
#include "store/ledger/ledger_crc.h"
#include "tests/unit/ledger_fixture.h"

static void crc_has_the_published_values(void **state)
{
	(void)state;
	uint8_t bytes[32] = { 0 };
	assert_int_equal(ledger_crc32c(0, "123456789", 9), 0xe3069283); /* the check value of CRC-32C */
	assert_int_equal(ledger_crc32c(0, bytes, 32), 0x8a9136aa);      /* RFC 3720, B.4 */
	memset(bytes, 0xff, sizeof bytes);
	assert_int_equal(ledger_crc32c(0, bytes, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(ledger_crc32c(0, bytes, 32), 0x46dd794e);
}

static void both_crcs_agree(void **state)
{
	(void)state;
	uint8_t bytes[300];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 37 + i / 7);
	for (size_t from = 0; from < 9; from++) {
		for (size_t n = 0; n + from <= sizeof bytes; n++) {
			uint32_t whole = ledger_crc32c(0, bytes + from, n);
			assert_int_equal(whole, ledger_crc32c_portable(0, bytes + from, n));
			assert_int_equal(whole, ledger_crc32c(ledger_crc32c(0, bytes + from, n / 2),
							      bytes + from + n / 2, n - n / 2));
		}
	}
}

/* Lengths around those from which on several stretches are summed at once. */
static void both_crcs_agree_on_long_texts(void **state)
{
	(void)state;
	static uint8_t bytes[10000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * i * 31 + i / 3);
	for (size_t n = 3000; n < sizeof bytes; n += n % 3072 < 9 || n % 3072 > 3063 ? 1 : 97)
		assert_int_equal(ledger_crc32c(7, bytes + n % 5, n - n % 5),
				 ledger_crc32c_portable(7, bytes + n % 5, n - n % 5));
}

static void every_flipped_bit_of_a_frame_is_seen(void **state)
{
	(void)state;
	uint8_t frame[LEDGER_FRAME_HEAD + 24] = { 0 }, chain[LOG_SOURCE_CHAIN] = { 1 };
	struct ledger_frame_head head = { .payload_bytes = 21,
					  .covered_bytes = 21,
					  .kind = EVIDENCE_EVENT,
					  .lsn = 7,
					  .epoch = 99 },
				 got;
	EVP_MD_CTX *hasher = ledger_hasher_create();
	memcpy(frame + LEDGER_FRAME_HEAD, "twenty-one bytes here", 21);
	ledger_frame_finish(frame, &head, hasher, chain);
	assert_true(ledger_frame_head_read(frame, 99, &got) && ledger_frame_crc_is_good(frame, &got));
	assert_memory_equal(got.chain, chain, sizeof chain);
	assert_false(ledger_frame_head_read(frame, 98, &got));
	for (size_t bit = 0; bit < sizeof frame * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		bool is_good = ledger_frame_head_read(frame, 99, &got) &&
			       ledger_frame_bytes(got.payload_bytes) <= sizeof frame &&
			       ledger_frame_crc_is_good(frame, &got);
		assert_false(is_good);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ledger_hasher_destroy(hasher);
}

static void the_chain_depends_on_what_came_before(void **state)
{
	(void)state;
	uint8_t frame[LEDGER_FRAME_HEAD + 8] = { 0 }, a[LOG_SOURCE_CHAIN] = { 0 }, b[LOG_SOURCE_CHAIN] = { 1 },
					  again[LOG_SOURCE_CHAIN];
	struct ledger_frame_head head = {
		.payload_bytes = 8, .covered_bytes = 8, .kind = EVIDENCE_EVENT, .lsn = 1, .epoch = 1
	};
	EVP_MD_CTX *hasher = ledger_hasher_create();
	static const uint8_t zero[LOG_SOURCE_CHAIN];
	ledger_frame_finish(frame, &head, hasher, a);
	ledger_frame_chain(frame, hasher, zero, again);
	assert_memory_equal(a, again, sizeof a);
	ledger_frame_finish(frame, &head, hasher, b);
	assert_memory_not_equal(a, b, sizeof a);
	ledger_hasher_destroy(hasher);
}

static void record_payloads_come_back(void **state)
{
	(void)state;
	uint8_t bytes[LEDGER_RECORD_FIXED + 9];
	struct ledger_payload p = { .id = STR("ctx_1"), .extras = STR("{}"), .hash = { 0xab, 1 } }, got;
	memset(p.stamp.signature, '0', sizeof p.stamp.signature);
	memcpy(p.stamp.signature, "hmac-sha256:0f", 14);
	strcpy(p.stamp.signing_key_id, "key-1");
	p.stamp.has_signature = true;
	p.stamp.signed_at_us = -3;
	ledger_payload_write_fixed(bytes, &p);
	memcpy(bytes + LEDGER_RECORD_FIXED, "{}{\"a\":1}", 9);
	struct str payload = str_of((char *)bytes, sizeof bytes);
	assert_true(ledger_payload_read(payload, &got));
	assert_true(str_eq(got.id, p.id));
	assert_true(str_eq(got.extras, STR("{}")));
	assert_true(str_eq(got.canonical, STR("{\"a\":1}")));
	assert_memory_equal(got.stamp.signature, p.stamp.signature, sizeof p.stamp.signature);
	assert_memory_equal(got.stamp.record_hash, "sha256:ab01000000", 17);
	assert_string_equal(got.stamp.signing_key_id, "key-1");
	assert_int_equal(got.stamp.signed_at_us, -3);
	for (size_t n = 0; n < LEDGER_RECORD_FIXED + 2; n++)
		assert_false(ledger_payload_read(str_of(payload.p, n), &got));
}

static void indexes_find_every_key(void **state)
{
	(void)state;
	enum { KEYS = 5000 };
	char name[] = "/tmp/fabra-test-index-XXXXXX";
	struct ledger_index x = { 0 };
	struct ledger_fences fences;
	struct buf bytes = { 0 };
	uint64_t places[LEDGER_HITS_MAX];
	faults_reset();
	assert_true(ledger_index_reserve(&x, KEYS + 8));
	for (uint64_t i = 1; i <= KEYS; i++)
		ledger_index_add(&x, i * 0x9e3779b97f4a7c15ull, i * 8);
	for (uint64_t i = 1; i <= 8; i++) /* the same key many times, across a block's border too */
		ledger_index_add(&x, 0x8000000000000000ull, 1 << 20 | i);
	assert_true(ledger_index_write(&x, &bytes));
	assert_int_equal(bytes.n, ledger_index_disk_bytes(KEYS + 8));
	int fd = mkstemp(name);
	assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
	struct ledger_segment_foot foot = { .index_at = 0, .index_entries = KEYS + 8 };
	assert_int_equal(ledger_fences_load(&faults.io, fd, &foot, &fences), 0);
	for (uint64_t i = 1; i <= KEYS; i++) {
		uint64_t key = i * 0x9e3779b97f4a7c15ull;
		assert_int_equal(ledger_index_find(&x, key, places), 1);
		assert_int_equal(places[0], i * 8);
		assert_int_equal(ledger_fences_find(&fences, &faults.io, fd, &foot, key, places), 1);
		assert_int_equal(places[0], i * 8);
		assert_int_equal(ledger_fences_find(&fences, &faults.io, fd, &foot, key + 1, places), 0);
	}
	assert_int_equal(ledger_fences_find(&fences, &faults.io, fd, &foot, 0x8000000000000000ull, places), 8);
	flip(name, 5);
	assert_int_equal(ledger_fences_find(&fences, &faults.io, fd, &foot, fences.blocks[0].key, places), -EBADMSG);
	ledger_fences_finish(&fences);
	flip(name, (KEYS + 8) * LEDGER_INDEX_ENTRY + 3);
	assert_int_equal(ledger_fences_load(&faults.io, fd, &foot, &fences), -EBADMSG);
	ledger_index_finish(&x);
	buf_finish(&bytes);
	close(fd);
	unlink(name);
}

static void headers_and_footers_come_back(void **state)
{
	(void)state;
	uint8_t block[LEDGER_BLOCK];
	struct ledger_segment_head head = { .seq = 3,
					    .epoch = 5,
					    .segment_bytes = 1 << 20,
					    .previous_seq = 2,
					    .previous_end = 4096,
					    .created_us = -1,
					    .events_from = 9,
					    .before = { .lsn = 17, .records = { .records = 4 } } },
				   head_got;
	strcpy(head.before.records.last_context_id, "ctx_018f3a2b-7def-7abc-8901-234567890abc");
	ledger_segment_head_write(&head, block);
	memset(&head_got, 0, sizeof head_got);
	assert_true(ledger_segment_head_read(block, &head_got));
	assert_string_equal(head_got.before.records.last_context_id, head.before.records.last_context_id);
	assert_int_equal(head_got.before.lsn, 17);
	assert_int_equal(head_got.previous_end, 4096);
	struct ledger_segment_foot foot = { .seq = 3, .data_end = 8192, .newest_us = { 1, 2, 3, 4 }, .torn_bytes = 6 },
				   foot_got;
	for (size_t i = 8; i < sizeof block; i += 97) {
		block[i] ^= 1;
		assert_false(ledger_segment_head_read(block, &head_got));
		block[i] ^= 1;
	}
	ledger_segment_foot_write(&foot, block);
	assert_false(ledger_segment_head_read(block, &head_got));
	assert_true(ledger_segment_foot_read(block, &foot_got));
	assert_int_equal(foot_got.newest_us[LEDGER_CLASS_DOCUMENT], 4);
	assert_int_equal(foot_got.torn_bytes, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_has_the_published_values),
		cmocka_unit_test(both_crcs_agree),
		cmocka_unit_test(both_crcs_agree_on_long_texts),
		cmocka_unit_test(every_flipped_bit_of_a_frame_is_seen),
		cmocka_unit_test(the_chain_depends_on_what_came_before),
		cmocka_unit_test(record_payloads_come_back),
		cmocka_unit_test(indexes_find_every_key),
		cmocka_unit_test(headers_and_footers_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
