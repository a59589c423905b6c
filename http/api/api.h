/* The /v1 family: handlers, and the few checks that they share. exchange_app is the struct node. */
#pragma once
#include "actors/node.h"
#include "http/exchange.h"

extern const struct route api_routes[];
extern const size_t api_routes_count;

enum {
	API_NAME_BYTES_MAX = 256,
	API_KEY_BYTES_MAX = 255,
	API_BATCH_IDS_MAX = 1000,
	API_FEATURES_MAX = 200,
	API_LIST_MAX = 1000
};

/* http_config.document: names and arguments of the definitions. */
void api_document(void *app, struct yyjson_mut_doc *doc);

static inline struct node *api_node(struct exchange *x)
{
	return exchange_app(x);
}

/* How far in the future an event time may lie: clocks differ by seconds, not by more than this. */
static const int64_t API_FUTURE_US_MAX = 5 * 60 * 1000000ll;

/* Checks note what is wrong, in FastAPI's words, and return false or NULL; they reply nothing. A route makes all of them and
 * then asks exchange_is_valid. A body of NULL was noted before: its members are not missed. */
yyjson_val *api_body_model(struct exchange *x,
			   const char *const *members); /* an object; members: all it may have, then NULL */
yyjson_val *api_body_object(struct exchange *x);        /* any object */
/* loc: JSON. input: NULL is null. */
void api_note(struct exchange *x, const char *type, struct str loc_json, const char *msg, yyjson_val *input);
void api_note_member(struct exchange *x, struct str name, const char *type, const char *msg, yyjson_val *input);
bool api_text(struct exchange *x, yyjson_val *body, const char *name, struct str *ret);
bool api_string(struct exchange *x, yyjson_val *body, const char *name, struct str *ret); /* a text that may be an id */
yyjson_val *api_list(struct exchange *x, yyjson_val *body, const char *name, size_t max); /* of texts */
/* Is it allowed as an entity id in a request? Empty is: nothing has that id, so it is simply not found. */
bool api_id_is_fine(struct str id);
bool api_id(struct exchange *x, struct str id, const char *loc_json); /* loc as in FastAPI: ["body","entity_id"] */
bool api_query_required(struct exchange *x, const char *name, struct str *ret);
bool api_query_flag(struct exchange *x, const char *name, bool *ret); /* absent: false */
/* Absent: *ret stays as it is. */
bool api_query_int(struct exchange *x, const char *name, int32_t min, int32_t max, int32_t *ret);
bool api_query_event_time(struct exchange *x, const char *name, int64_t *ret_us); /* absent: now */
/* ISO 8601, also where a query has turned the plus of its zone into a space. */
bool api_time(struct str text, int64_t *ret_us);

/* What is wrong, in words; the input is of the body. */
void api_note_text(struct exchange *x, struct str loc_json, struct str msg, yyjson_val *input);
/* These reply 404 when nothing else is wrong, and else note the name with what is. */
uint32_t api_entity(struct exchange *x, struct str name, const char *loc_json); /* DEF_NONE when unknown */
uint32_t api_context(struct exchange *x, struct str name);
void api_unknown_feature(struct exchange *x, struct str name);
bool api_event_type(struct exchange *x, struct str type); /* 400 when it is no name of an event type */
/* Adds a sentence: the entity (DEF_NONE: none of them) has no such feature, and which name is near. Nothing once out is longer than exchange_error sends:
 * a request may name 200, and each search for a near name looks at all features. */
void api_no_feature(const struct definitions *d, uint32_t entity, struct str name, struct buf *out);

/* api_features.c */
void api_feature_gather(struct exchange *x, bool is_last);
void api_feature_get(struct exchange *x);
void api_feature_get_message(struct exchange *x, struct msg *m);
void api_features_post(struct exchange *x);
void api_features_post_message(struct exchange *x, struct msg *m);
void api_batch_post(struct exchange *x);
void api_batch_message(struct exchange *x, struct msg *m);
void api_batch_end(struct exchange *x);
/* api_writes.c */
void api_values_put(struct exchange *x);
void api_values_put_message(struct exchange *x, struct msg *m);
void api_writes_end(struct exchange *x);
void api_cache_delete(struct exchange *x);
void api_cache_delete_message(struct exchange *x, struct msg *m);
void api_ingest_post(struct exchange *x);
void api_ingest_message(struct exchange *x, struct msg *m);
/* api_contexts.c */
void api_context_post(struct exchange *x);
void api_context_post_message(struct exchange *x, struct msg *m);
void api_contexts_list(struct exchange *x);
void api_contexts_list_message(struct exchange *x, struct msg *m);
/* api_records.c */
void api_record_get(struct exchange *x);
void api_record_get_message(struct exchange *x, struct msg *m);
void api_record_post(struct exchange *x);
void api_record_post_message(struct exchange *x, struct msg *m);
void api_context_get(struct exchange *x);
void api_context_get_message(struct exchange *x, struct msg *m);
void api_lineage_get(struct exchange *x);
void api_lineage_get_message(struct exchange *x, struct msg *m);
void api_explain_get(struct exchange *x);
void api_explain_get_message(struct exchange *x, struct msg *m);
/* api_tools.c */
void api_definitions_get(struct exchange *x);
void api_sql_post(struct exchange *x);
void api_sql_message(struct exchange *x, struct msg *m);
/* api_training.c */
void api_training_post(struct exchange *x);
void api_training_message(struct exchange *x, struct msg *m);
void api_training_end(struct exchange *x);
/* api_ready.c */
void api_ready_get(struct exchange *x);
