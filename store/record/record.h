/* The Context Record (CRS-001), and the view of it that Fabra calls the context log.
 *
 * `struct record` is the one model in memory: the recorder fills it, the canonical writer makes the bytes
 * that are hashed and stored, the parser makes it again from those bytes. Texts are borrowed; whoever fills
 * the struct keeps them alive (an arena, usually). Schema, order and hash: docs/records.md. Pure functions
 * but for record_signer_load, which reads the environment; any thread. */
#pragma once
#include "store/text/json.h"
#include "store/text/timefmt.h"

enum { RECORD_ID_MAX = 40 }; /* of a context id as text */
/* Without the "ctx_" that may stand in front: an id is given with and without it, and in either case of its letters. */
struct str record_id_bare(struct str id);
bool record_ids_match(struct str a, struct str b);

enum record_source { RECORD_CACHE, RECORD_COMPUTE, RECORD_FALLBACK };
enum record_freshness { RECORD_GUARANTEED, RECORD_DEGRADED, RECORD_UNKNOWN };

struct record_feature {
	struct str name, entity_id;
	struct str value_json; /* compact JSON text */
	enum record_source source;
	int64_t as_of_us, freshness_ms;
	int16_t as_of_zone_min; /* see created_at_zone_min */
};

struct record_item { /* one retrieved chunk */
	struct str retriever, chunk_id, document_id, content_hash;
	struct str content;    /* p NULL = null */
	struct str source_url; /* p NULL = null */
	int64_t token_count, priority;
	double similarity_score;
	int64_t as_of_us, freshness_ms;
	int16_t as_of_zone_min;
	bool is_stale;
};

struct record_dropped {
	struct str source_id;
	int64_t priority, token_count;
	bool priority_cutoff; /* else budget_exceeded */
};

struct record {
	struct str context_id; /* ctx_<uuid> */
	int64_t created_at_us;
	/* Zero (UTC) in every record made here. One made elsewhere keeps its maker's zone, or TIME_NAIVE, in
	 * its times: the hash covers it. */
	int16_t created_at_zone_min;
	struct str environment, schema_version, context_function;
	struct str inputs_json; /* an object; compact JSON text */
	struct str content;
	int64_t token_count;
	const struct record_feature *features;
	size_t features_count;
	const struct record_item *items;
	size_t items_count;
	struct {
		int64_t max_tokens; /* -1 = null */
		int64_t tokens_used, items_provided, items_included;
		const struct record_dropped *dropped;
		size_t dropped_count;
		bool required_items_included;
		int64_t freshness_sla_ms; /* -1 = null */
		enum record_freshness freshness_status;
		const struct str *freshness_violations;
		size_t freshness_violations_count;
	} assembly;
	struct {
		const struct str *features_used, *retrievers_used, *indexes_used;
		size_t features_used_count, retrievers_used_count, indexes_used_count;
		struct str code_version; /* p NULL = null */
		struct str fabra_version;
		double assembly_latency_ms, estimated_cost_usd;
	} lineage;
	struct {
		struct str content_hash;              /* sha256:<hex> */
		struct str record_hash;               /* "" until stamped */
		struct str previous_context_id;       /* p NULL = null */
		struct str signing_key_id, signature; /* p NULL = null */
		int64_t signed_at_us;                 /* -1 = null */
	} integrity;
};

/* What the reply's meta and lineage hold beyond the record: stored beside it, outside the hash. */
struct record_call {                             /* one retriever call */
	struct str retriever, query, index_name; /* p NULL = null */
	double latency_ms;
	int64_t max_age_ms;             /* older chunks are stale and violate freshness; -1 = no bound */
	size_t first_item, items_count; /* its chunks in record.items */
};
struct record_missing { /* a feature without a value, or a default that was used */
	struct str feature, entity_id;
	struct str reason; /* "absent", "expired", "failed", "timeout", "refused"; of a default p NULL */
};
struct record_missing_retriever {
	struct str retriever, reason;
};
struct record_extras {
	struct str version;           /* of the context, "v1" */
	const struct str *source_ids; /* of all items, dropped ones too */
	size_t source_ids_count;
	const struct str *stale_sources;
	size_t stale_sources_count;
	const struct record_call *calls;
	size_t calls_count;
	struct str interaction_ref_json; /* p NULL = none */
	struct str evidence_mode;        /* "required" | "best_effort" */
	const struct record_missing *missing_features;
	size_t missing_features_count;
	const struct record_missing *default_features;
	size_t default_features_count;
	const struct record_missing_retriever *missing_retrievers;
	size_t missing_retrievers_count;
	bool is_cached_response; /* in the live reply's meta, and /explain */
	bool budget_exceeded;
};

/* ---- bytes ---- */
enum { RECORD_HASH_TEXT = 71 }; /* "sha256:" and 64 hex digits */
void record_hash_text(struct str bytes, char ret[static RECORD_HASH_TEXT]);
/* "sha256:<64 hex>" or "hmac-sha256:<64 hex>", told apart by the length of the prefix. false: not that. */
bool record_digest_parse(struct str text, struct str prefix, uint8_t ret[static 32]);
void record_digest_text(const uint8_t digest[static 32], struct str prefix, char *ret); /* prefix.n + 64 bytes */

/* Appends the canonical text: record_hash "", signature and signed_at null. ret_previous_at (may be NULL):
 * where the value of previous_context_id begins, counted from the start of the text; it is null in a record
 * not yet committed, and there the ledger's committer puts the predecessor. false: no memory, a text that
 * is not UTF-8, a float that is not finite, or inputs or values that are no JSON; then out holds rubbish
 * behind what it held before. */
bool record_write_canonical(const struct record *r, struct buf *out, size_t *ret_previous_at);

/* What the committer adds, in log order. */
struct record_stamp {
	char record_hash[RECORD_HASH_TEXT];
	char signature[12 + 64]; /* "hmac-sha256:" and hex; unset when has_signature is false */
	bool has_signature;
	int64_t signed_at_us;
	char signing_key_id[64]; /* NUL-terminated */
};
/* Key from FABRA_SIGNING_KEY (base64:, hex: or raw), id from FABRA_SIGNING_KEY_ID, mode from
 * FABRA_SIGNATURE_MODE. */
struct record_signer {
	unsigned char key[256];
	size_t key_bytes; /* 0 = records stay unsigned */
	char key_id[64];
	enum { SIGNATURE_OFF, SIGNATURE_OPTIONAL, SIGNATURE_REQUIRED } mode; /* off: key_bytes is 0 */
};
/* Reads the environment. false: a line in *errors names the variable and the cure (bad base64, required but
 * no key). Never puts the key's text into the line. */
bool record_signer_load(struct record_signer *ret, struct buf *errors);
/* signer may be NULL. canonical: final bytes, predecessor included. */
void record_stamp_make(struct str canonical, const struct record_signer *signer, int64_t now_us,
		       struct record_stamp *ret);
void record_signature(const unsigned char *key, size_t key_bytes, struct str record_hash, char ret[static 76]);

/* ---- reading ---- */
/* From canonical bytes, or any JSON form of a record: typed fields are coerced as pydantic's lax mode does
 * ("42" for 42, 1 for 1.0, a time with a space or as unix seconds), missing ones get their defaults. Arrays
 * and texts go to the arena. strict: unknown fields are an error. NULL: *ret_why (static string) says why. */
struct record *record_parse(struct str json, bool strict, struct arena *arena, const char **ret_why);
/* The full record in declared order, as GET /v1/record answers; stamp NULL keeps the integrity of r. */
bool record_write_json(const struct record *r, const struct record_stamp *stamp, struct buf *out);

struct record_verdict {
	bool content_hash_ok, record_hash_ok;
	bool has_signature, signature_checked, signature_ok; /* checked: its key was at hand */
	char signing_key_id[64];                             /* of the record, shortened if longer; "" = none */
	char content_hash[RECORD_HASH_TEXT], record_hash[RECORD_HASH_TEXT]; /* as computed */
};
/* Is it the signature of signer's key? UNKEYED: nobody can say, for there is no key (signer NULL, or without one), or the
 * signature is of a key with another id, which key_id names: a key that was replaced, and no sign of tampering. */
enum record_signed { RECORD_SIGNED_UNKEYED, RECORD_SIGNED_WRONG, RECORD_SIGNED_RIGHT };
enum record_signed record_signature_check(const struct record_signer *signer, struct str record_hash,
					  struct str signature, struct str key_id);
/* Content emptied by privacy mode counts as ok only against the hash of "". signer NULL: signature not
 * checked. */
bool record_verify(struct str record_json, bool strict, const struct record_signer *signer, struct record_verdict *ret,
		   const char **ret_why);

/* ---- the context view ---- */
/* Compact JSON, for the ledger. With the members of row_of that the offline store has columns for, so that the projection need
 * not read the record (ADR 8); NULL: without them, and it reads the record. */
void record_extras_write(const struct record *row_of, const struct record_extras *e, struct buf *out);
bool record_extras_parse(struct str json, struct arena *arena, struct record_extras *ret);
/* The reply's meta, in Fabra's key order. evidence_error p NULL = none. persisted < 0: leave the
 * evidence_persisted, context_log_persisted and evidence_error keys out (stored view); stamp NULL: no
 * hashes. */
void record_write_meta(const struct record *r, const struct record_extras *e, const struct record_stamp *stamp,
		       int persisted, struct str evidence_error, struct buf *out);
/* ContextLineage, in Fabra's key order; times end in Z. */
void record_write_lineage(const struct record *r, const struct record_extras *e, struct buf *out);
