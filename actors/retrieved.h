/* The answer of a retriever: chunks with their provenance, shared by all on the loop who asked the same. */
#pragma once
#include "actors/tokens/tokens.h"
#include "runtime/loop.h"
#include "store/record/record.h"
#include "store/text/value.h"

struct reads;

struct chunk {
	struct str content, chunk_id, document_id, content_hash, source_url; /* source_url.p NULL = none */
	struct str metadata_json;                                            /* an object, or p NULL */
	double score;
	int64_t indexed_at_us;
	/* What counting found, kept for others that ask the same: */
	struct tokens_span span;
	uint8_t counted_as; /* enum tokens_encoding + 1; 0 = not counted yet */
};

struct retrieved {
	atomic_uint
	    refs; /* other loops may hold it, as part of what a value was made from; only this loop counts its chunks */
	struct arena arena;
	uint32_t retriever;
	struct str query;       /* args.query, or "" */
	struct str args_json;   /* names sorted: the cache key */
	struct str chunks_json; /* the array as Lua sees it: content, chunk_id, document_id, score, metadata, ... */
	struct chunk *chunks;
	uint32_t chunks_count;
	struct reads *reads; /* shares; what the run read; NULL = nothing */
	double latency_ms;   /* of the run that made it */
	int64_t made_at_us;
};

/* rows_json: an array of strings or of objects {content, chunk_id?, document_id?, id?, score?, metadata?, ...}, as the
 * definitions file returned it. Ids, hash and time follow Fabra's lineage rules (fabra-core 5), with whole sha256 hashes.
 * refs = 1. NULL: *ret_why (static) says why. */
struct retrieved *retrieved_new(uint32_t retriever, struct str args_json, struct str rows_json, uint32_t top_k,
				int64_t now_us, double latency_ms, const char **ret_why);
/* reads: moves; NULL = the run read nothing. */
void retrieved_set_reads(struct retrieved *r, struct reads *reads);
struct retrieved *retrieved_ref(struct retrieved *r);
void retrieved_unref(struct retrieved *r);
/* Including its reads, which it keeps alive. */
size_t retrieved_bytes(const struct retrieved *r);

enum { CLASS_RETRIEVER = 66 };
enum retriever_msg {
	RETRIEVER_GET = MSG_KIND(CLASS_RETRIEVER, 1), /* ask: struct retriever_get */
	RETRIEVER_GOT = MSG_KIND(CLASS_RETRIEVER,
				 2), /* reply: struct retriever_got; status: RT_EDEADLINE, RT_EFULL, RT_EIO */
};
struct retriever_get {
	struct msg head; /* dispose frees args */
	char *args_json; /* moves; NUL-terminated object */
};
struct retriever_got {
	struct msg head;             /* dispose lets go */
	struct retrieved *retrieved; /* shares; NULL on failure */
	char *error;                 /* owned; NULL on success */
};
struct retriever_get *retriever_get_new(struct loop *loop, struct str args_json); /* copies */
/* Refs, copies. retrieved NULL: status and error say why. */
struct retriever_got *retriever_got_new(struct loop *loop, struct retrieved *retrieved, int status, const char *error);
