/* A request for feature values, which also carries the answer back: features of one entity kind, for any number of ids.
 * Lives in its own arena; moves with the message and back. */
#pragma once
#include "actors/definitions/definitions.h"
#include "runtime/loop.h"
#include "store/record/record.h"
#include "store/text/value.h"

struct reads;

enum feature_state {
	FEATURE_PENDING,
	FEATURE_FOUND,
	/* No value and no default: */
	FEATURE_MISSING, /* never written */
	FEATURE_EXPIRED, /* past its ttl */
	FEATURE_FAILED,  /* computing failed: reason says why */
	FEATURE_TIMEOUT, /* the same, because it takes too long */
	FEATURE_REFUSED, /* the same, because a bound was reached: try again */
};
/* The word for why there is no value: "absent", "expired", "failed", "timeout", "refused". */
const char *feature_missing_reason(enum feature_state state);
/* It is not known whether there is a value: the next one to ask may get one. */
static inline bool feature_has_failed(enum feature_state state)
{
	return state == FEATURE_FAILED || state == FEATURE_TIMEOUT || state == FEATURE_REFUSED;
}
/* What an ask that ended in m, which is no answer, means for what was asked for: TIMEOUT, REFUSED or FAILED. */
enum feature_state feature_failure_of(const struct msg *m);
/* The same in words: a literal. */
struct str feature_failure_text(const struct msg *m);

struct feature_result {
	enum feature_state state;
	enum record_source source;
	struct value *value; /* shares; NULL unless FOUND */
	int64_t as_of_us;
	struct str reason;          /* in the request's arena */
	enum feature_state failure; /* FOUND and a default: FAILED, TIMEOUT or REFUSED, if that is why; else PENDING */
	struct reads *
	    reads; /* shares; what was read while it was computed for this request, also if that failed. Those of a value are its basis */
};

struct feature_request {
	struct arena arena;
	uint32_t entity;
	uint32_t ids_count, features_count;
	struct str *ids;
	uint32_t *features;
	struct feature_result *results; /* [id * features_count + feature] */
	uint64_t answer_by_ns; /* at this time it is answered with what there is, and the rest is TIMEOUT; 0 = never */
};

enum { CLASS_RESOLVER = 65 };
enum resolver_msg {
	RESOLVER_GET = MSG_KIND(CLASS_RESOLVER, 1), /* ask: struct resolver_get */
	RESOLVER_GOT = MSG_KIND(CLASS_RESOLVER, 2), /* reply: struct resolver_get */
	RESOLVER_REFRESH = MSG_KIND(CLASS_RESOLVER,
				    3), /* tell: struct resolver_get; computes the values again in the background */
};
struct resolver_get {
	struct msg head; /* dispose frees request */
	struct feature_request *request;
};

/* ids and features are copied. NULL: too large for the arena's bound. */
struct feature_request *feature_request_new(uint32_t entity, const struct str *ids, uint32_t ids_count,
					    const uint32_t *features, uint32_t features_count);
void feature_request_free(struct feature_request *r);
struct resolver_get *resolver_get_new(struct loop *loop, uint16_t kind,
				      struct feature_request *request); /* moves request */

static inline struct feature_result *feature_request_result(const struct feature_request *r, uint32_t id,
							    uint32_t feature)
{
	return &r->results[(size_t)id * r->features_count + feature];
}
