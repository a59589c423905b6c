/* The material of a context: the features and chunks that were read, the items made of them, and after counting the text as
 * sent. The context cache keeps material; what belongs to one request only (ids, times, freshness) the recorder adds. */
#pragma once
#include "actors/feature_request.h"
#include "actors/node.h"
#include "actors/reads.h"
#include "actors/retrieved.h"

struct computation_job;

enum { MATERIAL_ITEMS_MAX = 4096, MATERIAL_CALLS_MAX = READS_CALLS_MAX };

struct material_item {
	struct str content;
	struct chunk *chunk; /* the content and id are this chunk's, of one of the calls; NULL: they are a copy */
	int64_t priority;
	bool required, dropped;
	struct str source_id;    /* p NULL = none */
	int64_t last_updated_us; /* INT64_MIN = none */
	/* while counting: */
	struct tokens_span span;
	uint32_t before, behind; /* the kept neighbours; UINT32_MAX = none */
};

/* An item that is left out because a feature or retriever that it needs is missing. */
struct material_absent {
	struct str source_id; /* p NULL = none */
	uint32_t position;    /* in the context's list of items */
	int64_t priority;
	bool required;
};

struct material_call {
	struct retrieved *retrieved; /* borrows from reads */
	int64_t *chunk_tokens;       /* by chunk */
	bool is_counted; /* false for chunks that were read for a stored value: their tokens are not counted */
};

struct material {
	uint32_t refs; /* this loop only */
	struct arena arena;
	uint32_t context;
	int64_t made_at_us;
	struct material_item *items;
	uint32_t items_count, items_cap;
	struct material_absent *absent;
	uint32_t absent_count, absent_cap;
	struct reads *reads;         /* owned: the only reference; also has what was asked for and missing */
	struct material_call *calls; /* one for each call of reads */
	uint32_t calls_count, calls_cap;
	/* after counting: */
	struct str content;
	char content_hash[RECORD_HASH_TEXT];
	int64_t tokens;
	uint32_t *droppable; /* optional items in the order in which they are dropped; NULL while everything fits */
	uint32_t droppable_count;
	uint32_t dropped_count; /* of droppable, from its start */
	bool budget_exceeded;
};

struct material *material_new(uint32_t context, int64_t now_us); /* NULL: no memory; refs = 1 */
struct material *material_ref(struct material *m);
void material_unref(struct material *m);

/* Copies the texts, except those of a chunk, which the call keeps alive. false: a bound is reached. */
bool material_add_item(struct material *m, const struct material_item *item);
bool material_add_absent(struct material *m, const struct material_absent *item);
/* Add what was read, and what the result itself was made from. */
bool material_add_feature(struct material *m, const struct definitions *d, uint32_t feature, struct str entity_id,
			  const struct feature_result *result);
bool material_add_missing(struct material *m, uint32_t feature, struct str entity_id, enum feature_state state);
bool material_add_call(struct material *m, struct retrieved *retrieved); /* refs it */
bool material_add_failure(struct material *m, uint32_t retriever, enum feature_state state, struct str reason);
bool material_add_reads_of(struct material *m, const struct computation_job *job, const struct definitions *d);

/* Counts the items and chunks, then drops items until the text as sent fits (fabra-core 3.3, with the exact total of the
 * joined text), joins and hashes it. What is dropped is never more than needed: with one item fewer gone, the text would
 * not fit. Works in slices: begin once, step until it does not answer MATERIAL_MORE. */
enum material_progress { MATERIAL_MORE, MATERIAL_DONE, MATERIAL_NO_MEMORY };
struct material_work {
	struct material *material; /* borrows */
	const struct tokens *tokens;
	struct token_cache *cache;
	int64_t max_tokens; /* 0 = no budget */
	enum { WORK_ITEMS, WORK_CHUNKS, WORK_TOTAL, WORK_DROP, WORK_RECOUNT } state;
	uint32_t item, call, chunk;
	bool job_open;
	struct tokens_job job;
	int64_t total;  /* of the kept items joined */
	uint32_t bytes; /* counted in this slice */
	/* WORK_RECOUNT: the text itself is counted, because a seam is too long to be counted apart */
	struct buf joined;   /* room for it */
	int64_t unfit_drops; /* so many drops are known to be too few; -1 = none */
	int64_t fit_total;   /* with one drop more than now; -1 = not known */
};
void material_work_begin(struct material_work *w, struct material *m, const struct tokens *tokens,
			 struct token_cache *cache, int64_t max_tokens);
enum material_progress material_work_step(struct material_work *w);
void material_work_finish(struct material_work *w); /* at any point */
