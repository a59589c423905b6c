/* What a record costs: ten 100-token chunks, three features, canonical text of about 8.6 KB.
 *
 *     build/release/bench/bench_record [rounds]    prints the median of `rounds` (5) in ns of CPU per call */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/pyfloat.h"
#include "store/record/record.h"
#include <stdlib.h>

enum { ITEMS = 10, FEATURES = 3, CALLS_PER_ROUND = 4000, ROUNDS_MAX = 101, FLOATS = 64 };

struct bench {
	struct record record;
	struct record_feature features[FEATURES];
	struct record_item items[ITEMS];
	struct str names[FEATURES];
	struct record_call call;
	struct record_extras extras;
	struct record_stamp stamp;
	struct record_signer signer;
	struct buf content, canonical, json, out;
	struct arena arena;
	double floats[FLOATS];
	char chunk_ids[ITEMS][32];
};

#define SOURCE_HASH "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static void fill_items(struct bench *b, int64_t now_us)
{
	static const char *const words[] = { "refund", "the",    "customer", "order",   "within",      "thirty",
					     "days",   "unless", "shipping", "address", "caf\xc3\xa9", "\"quoted\"" };
	for (int i = 0; i < ITEMS; i++) {
		for (int w = 0; w < 68; w++)
			buf_printf(&b->content, "%s ", words[(w * 7 + i * 3) % (w % 34 ? 10 : 12)]);
		buf_append_char(&b->content, '\n');
		snprintf(b->chunk_ids[i], sizeof b->chunk_ids[i], "doc-%d#%d", i, i);
		b->items[i] = (struct record_item){
			.retriever = STR("search_docs"),
			.chunk_id = str_from(b->chunk_ids[i]),
			.document_id = STR("handbook-2025"),
			.content_hash = STR(SOURCE_HASH),
			.token_count = 100,
			.priority = i,
			.similarity_score = (double)(0.93f - 0.017f * (float)i),
			.as_of_us = now_us - 86400000000ll * i - 12345,
			.freshness_ms = 86400000ll * i,
		};
	}
}

static void fill(struct bench *b)
{
	int64_t now_us = 1739558551221000;
	static const struct str names[FEATURES] = { { "user_tier", 9 }, { "open_tickets", 12 }, { "spent", 5 } };
	static const struct str values[FEATURES] = { { "\"premium\"", 9 }, { "3", 1 }, { "1520.25", 7 } };
	static const struct str retrievers[] = { { "search_docs", 11 } };
	fill_items(b, now_us);
	for (int i = 0; i < FEATURES; i++) {
		b->names[i] = names[i];
		b->features[i] = (struct record_feature){ .name = names[i],
							  .entity_id = STR("u1"),
							  .value_json = values[i],
							  .as_of_us = now_us - i,
							  .freshness_ms = i };
	}
	for (int i = 0; i < FLOATS; i++)
		b->floats[i] = (double)(1.0f / (float)(i + 3));
	b->record = (struct record){
		.context_id = STR("ctx_018f3a2b-7def-7abc-8901-234567890abc"),
		.created_at_us = now_us,
		.environment = STR("production"),
		.schema_version = STR("1.0.0"),
		.context_function = STR("chat_context"),
		.content = buf_str(&b->content),
		.token_count = 1000,
		.inputs_json = STR("{\"user_id\":\"u1\",\"query\":\"how do I get a refund?\"}"),
		.features = b->features,
		.features_count = FEATURES,
		.items = b->items,
		.items_count = ITEMS,
		.assembly = { .max_tokens = 4000,
			      .tokens_used = 1000,
			      .items_provided = 12,
			      .items_included = 10,
			      .required_items_included = true,
			      .freshness_sla_ms = 300000 },
		.lineage = { .features_used = b->names,
			     .features_used_count = FEATURES,
			     .retrievers_used = retrievers,
			     .retrievers_used_count = 1,
			     .fabra_version = STR("2.3.2"),
			     .assembly_latency_ms = 1.25,
			     .estimated_cost_usd = 0.0025 },
		.integrity = { .content_hash = STR("sha256:" SOURCE_HASH), .record_hash = STR(""), .signed_at_us = -1 },
	};
	b->call = (struct record_call){ .retriever = retrievers[0],
					.query = STR("how do I get a refund?"),
					.max_age_ms = -1,
					.items_count = ITEMS };
	b->extras = (struct record_extras){
		.version = STR("v1"), .calls = &b->call, .calls_count = 1, .evidence_mode = STR("required")
	};
	b->signer = (struct record_signer){ .key_bytes = 32, .key_id = "default" };
	CHECK(record_write_canonical(&b->record, &b->canonical, NULL));
	record_stamp_make(buf_str(&b->canonical), &b->signer, now_us, &b->stamp);
	CHECK(record_write_json(&b->record, &b->stamp, &b->json));
}

/* ---- the cases ---- */

static void do_canonical(struct bench *b)
{
	CHECK(record_write_canonical(&b->record, &b->out, NULL));
}

static void do_hash(struct bench *b)
{
	char hash[RECORD_HASH_TEXT];
	record_hash_text(buf_str(&b->canonical), hash);
}

static void do_stamp(struct bench *b)
{
	struct record_stamp stamp;
	record_stamp_make(buf_str(&b->canonical), &b->signer, 1, &stamp);
}

static void do_json(struct bench *b)
{
	CHECK(record_write_json(&b->record, &b->stamp, &b->out));
}

static void do_meta(struct bench *b)
{
	record_write_meta(&b->record, &b->extras, &b->stamp, 1, (struct str){ 0 }, &b->out);
}

static void do_lineage(struct bench *b)
{
	record_write_lineage(&b->record, &b->extras, &b->out);
}

static void do_content_string(struct bench *b)
{
	json_write_string(&b->out, buf_str(&b->content));
}

static void do_content_canonical(struct bench *b)
{
	json_canonical_string(&b->out, buf_str(&b->content));
}

static void do_parse(struct bench *b)
{
	const char *why;
	CHECK(record_parse(buf_str(&b->canonical), true, &b->arena, &why) != NULL);
	arena_finish(&b->arena);
}

static void do_verify(struct bench *b)
{
	struct record_verdict verdict;
	const char *why;
	CHECK(record_verify(buf_str(&b->json), true, &b->signer, &verdict, &why) && verdict.record_hash_ok);
}

static void do_request(struct bench *b)
{
	struct json_error error;
	yyjson_doc *doc = json_parse(b->record.inputs_json, NULL, &error);
	CHECK(doc != NULL);
	yyjson_doc_free(doc);
}

static void do_floats(struct bench *b)
{
	for (int i = 0; i < FLOATS; i++)
		json_write_float(&b->out, b->floats[i]);
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} cases[] = {
	{ "canonical text", do_canonical },
	{ "sha256 of it", do_hash },
	{ "stamp: sha256 and HMAC", do_stamp },
	{ "record as JSON", do_json },
	{ "meta", do_meta },
	{ "lineage", do_lineage },
	{ "content as JSON string", do_content_string },
	{ "content, canonical", do_content_canonical },
	{ "parse canonical text", do_parse },
	{ "verify JSON", do_verify },
	{ "parse a request's 51 bytes", do_request },
	{ "64 float32 scores as text", do_floats },
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static struct bench b;
	static double ns[ARRAY_LEN(cases)][ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [rounds, 1 to %d]\n", argv[0], ROUNDS_MAX);
		return 2;
	}
	fill(&b);
	for (int round = 0; round < rounds; round++) {
		for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
			uint64_t start = clock_thread_cpu_ns();
			for (int i = 0; i < CALLS_PER_ROUND; i++) {
				buf_clear(&b.out);
				cases[c].run(&b);
			}
			ns[c][round] = (double)(clock_thread_cpu_ns() - start) / CALLS_PER_ROUND;
		}
	}
	printf("content %zu bytes, canonical %zu, JSON %zu\n", b.content.n, b.canonical.n, b.json.n);
	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		qsort(ns[c], (size_t)rounds, sizeof ns[c][0], by_value);
		printf("%-28s %8.0f ns\n", cases[c].name, ns[c][rounds / 2]);
	}
	buf_finish(&b.content);
	buf_finish(&b.canonical);
	buf_finish(&b.json);
	buf_finish(&b.out);
	return 0;
}
