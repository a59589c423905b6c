/* The /v1 family: handlers, and the few checks that they share. exchange_app is the struct node. */
#pragma once
#include "actors/node.h"
#include "http/exchange.h"

extern const struct route api_routes[];
extern const size_t api_routes_count;

enum { API_NAME_BYTES_MAX = 256, API_BATCH_IDS_MAX = 1000, API_FEATURES_MAX = 200, API_LIST_MAX = 1000 };

static inline struct node *api_node(struct exchange *x)
{
	return exchange_app(x);
}

/* Each answers 422 in FastAPI's form and returns false or NULL when the body is not as it must be. */
yyjson_val *api_body_model(struct exchange *x);  /* an object with named members */
yyjson_val *api_body_object(struct exchange *x); /* any object */
bool api_string(struct exchange *x, yyjson_val *body, const char *name, struct str *ret);
yyjson_val *api_list(struct exchange *x, yyjson_val *body, const char *name, size_t max);
/* Whether a request may name an entity so: entity_id_error has no objection, or it is empty, which nobody has. */
bool api_id_is_fine(struct str id);
/* Answers 422 for an id that is not fine; loc as in FastAPI, for instance ["body","entity_id"]. */
bool api_id(struct exchange *x, struct str id, const char *loc_json);
bool api_query_required(struct exchange *x, const char *name, struct str *ret);
/* Resolves an entity name; 404 and DEF_NONE when unknown. */
uint32_t api_entity(struct exchange *x, struct str name);

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
/* api_ready.c */
void api_ready_get(struct exchange *x);
