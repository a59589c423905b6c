/* The /v1 family at one glance. Shapes: docs/http.md; what is not here yet: docs/status.md. */
#include "http/api.h"

/* Known to Fabra's clients, and to come: an honest 501 instead of a 404 that looks like a missing id. */
static void not_yet(struct exchange *x)
{
	exchange_error(x, 501, "%.*s is not available in this version", STR_ARG(exchange_path(x)));
}

const struct route api_routes[] = {
	{ "GET", "/v1/features/{name}", 0, api_feature_get, api_feature_get_message, NULL,
	  "One feature of one entity: online, else computed, else the default",
	  "{\"parameters\":[{\"name\":\"entity_id\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"string\"}}]}",
	  api_feature_gather },
	{ "POST", "/v1/features", ROUTE_BODY, api_features_post, api_features_post_message, NULL,
	  "Several features of one entity",
	  "{\"parameters\":[{\"name\":\"detail\",\"in\":\"query\",\"description\":\"true: value, status, age and source of each\",\"schema\":{\"type\":\"boolean\"}}],"
	  "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":"
	  "[\"entity_name\",\"entity_id\",\"features\"],\"properties\":{\"entity_name\":{\"type\":\"string\"},\"entity_id\":"
	  "{\"type\":\"string\"},\"features\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}}}}}", NULL },
	{ "POST", "/v1/features/batch", ROUTE_BODY, api_batch_post, api_batch_message, api_batch_end,
	  "Several features of many entities",
	  "{\"parameters\":[{\"name\":\"detail\",\"in\":\"query\",\"description\":\"true: value, status, age and source of each\",\"schema\":{\"type\":\"boolean\"}}],"
	  "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":"
	  "[\"name\",\"ids\",\"features\"],\"properties\":{\"name\":{\"type\":\"string\"},\"ids\":{\"type\":\"array\",\"items\":"
	  "{\"type\":\"string\"}},\"features\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}}}}}", NULL },
	{ "PUT", "/v1/features/{entity}/{entity_id}", ROUTE_BODY | ROUTE_COMPLETES, api_values_put, api_values_put_message, api_writes_end,
	  "Push values; durable before the answer, an older timestamp never replaces a newer value",
	  "{\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":"
	  "[\"values\"],\"properties\":{\"values\":{\"type\":\"object\"},\"timestamp\":{\"type\":\"string\",\"format\":"
	  "\"date-time\"}}}}}}}", NULL },
	{ "POST", "/v1/ingest/{event_type}", ROUTE_BODY, api_ingest_post, api_ingest_message, NULL,
	  "Accept an event; durable before the answer, applied exactly once to the features it triggers",
	  "{\"parameters\":[{\"name\":\"entity_id\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"string\"}},"
	  "{\"name\":\"event_time\",\"in\":\"query\",\"description\":\"when it happened, ISO 8601; now if absent\",\"schema\":{\"type\":"
	  "\"string\",\"format\":\"date-time\"}},{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"description\":\"the same key and request "
	  "within 24 hours: the first reply again, nothing counted twice\",\"schema\":{\"type\":\"string\",\"maxLength\":255}}],"
	  "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}}}", NULL },
	{ "POST", "/v1/context/{name}", ROUTE_BODY, api_context_post, api_context_post_message, NULL,
	  "Assemble a context; its record is durable before the answer",
	  "{\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}}}", NULL },
	{ "GET", "/v1/contexts", 0, api_contexts_list, api_contexts_list_message, NULL, "List contexts, newest first",
	  "{\"parameters\":[{\"name\":\"start\",\"in\":\"query\",\"schema\":{\"type\":\"string\"}},{\"name\":\"end\",\"in\":"
	  "\"query\",\"schema\":{\"type\":\"string\"}},{\"name\":\"limit\",\"in\":\"query\",\"schema\":{\"type\":\"integer\"}},"
	  "{\"name\":\"name\",\"in\":\"query\",\"schema\":{\"type\":\"string\"}},{\"name\":\"freshness_status\",\"in\":\"query\","
	  "\"schema\":{\"type\":\"string\",\"enum\":[\"guaranteed\",\"degraded\"]}},{\"name\":\"id_prefix\",\"in\":\"query\","
	  "\"description\":\"the beginning of a context id\",\"schema\":{\"type\":\"string\"}},{\"name\":\"input\",\"in\":\"query\","
	  "\"description\":\"NAME=VALUE: called with this argument\",\"schema\":{\"type\":\"string\"}},{\"name\":\"detail\",\"in\":"
	  "\"query\",\"description\":\"true: the arguments too, as inputs\",\"schema\":{\"type\":\"boolean\"}}]}", NULL },
	{ "GET", "/v1/context/{id}", 0, api_context_get, api_context_get_message, NULL, "A stored context with its lineage",
	  "{}", NULL },
	{ "GET", "/v1/context/{id}/lineage", 0, api_lineage_get, api_lineage_get_message, NULL, "The lineage of a context", "{}", NULL },
	{ "GET", "/v1/context/{id}/explain", 0, api_explain_get, api_explain_get_message, NULL, "The trace of a context", "{}", NULL },
	{ "GET", "/context/{id}/explain", 0, api_explain_get, api_explain_get_message, NULL,
	  "The same, where Fabra's command line asks for it", "{}", NULL },
	{ "GET", "/v1/record/{ref}", 0, api_record_get, api_record_get_message, NULL,
	  "A record (CRS-001) by ctx_ id, bare UUID or sha256: hash", "{}", NULL },
	{ "POST", "/v1/record", ROUTE_BODY, api_record_post, api_record_post_message, NULL,
	  "Store a receipt made elsewhere; same hash again is fine, same id with another hash is refused",
	  "{\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}}}", NULL },
	{ "DELETE", "/v1/cache/{entity}/{entity_id}", ROUTE_COMPLETES, api_cache_delete, api_cache_delete_message, NULL,
	  "Remove the online values of an entity and the cached contexts that used them; history stays", "{}", NULL },
	{ "GET", "/v1/definitions", 0, api_definitions_get, NULL, NULL,
	  "What this server serves: entities, features, tables, retrievers, contexts", "{}", NULL },
	{ "POST", "/v1/sql", ROUTE_BODY, api_sql_post, api_sql_message, NULL,
	  "One SELECT over the tables of the offline store; files cannot be read",
	  "{\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\",\"required\":"
	  "[\"sql\"],\"properties\":{\"sql\":{\"type\":\"string\"},\"params\":{\"type\":\"array\"}}}}}}}", NULL },
	{ "POST", "/v1/context/{id}/replay", 0, not_yet, NULL, NULL, "Replay (not available yet)", NULL, NULL },
	{ "GET", "/v1/context/diff/{base}/{comparison}", 0, not_yet, NULL, NULL, "Diff of contexts (not available yet)", NULL, NULL },
	{ "GET", "/v1/record/diff/{base}/{comparison}", 0, not_yet, NULL, NULL, "Diff of records (not available yet)", NULL, NULL },
	{ "GET", "/v1/context/{id}/visualize", 0, not_yet, NULL, NULL, "Page of a context (not available yet)", NULL, NULL },
	{ "GET", "/v1/records", 0, not_yet, NULL, NULL, "Search records (not available yet)", NULL, NULL },
	{ "GET", "/ready", ROUTE_PUBLIC | ROUTE_SYSTEM, api_ready_get, NULL, NULL,
	  "Whether this process can serve: ledger, projection, materialised features", NULL, NULL },
};
const size_t api_routes_count = sizeof api_routes / sizeof api_routes[0];
