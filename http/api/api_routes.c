/* The /v1 family at one glance. Shapes: docs/http.md; what is not here yet: docs/status.md. */
#include "http/api/api.h"

/* Known to Fabra's clients, and to come: an honest 501 instead of a 404 that looks like a missing id. */
static void not_yet(struct exchange *x)
{
	exchange_error(x, 501, "%.*s is not available in this version", STR_ARG(exchange_path(x)));
}

/* ---- parts of the documents ---- */
#define RESPONSE(status, schema)                                                                                       \
	"'" #status "':{'description':'Success','content':{'application/json':{'schema':" schema "}}}"
#define JSON_BODY(schema)            "'requestBody':{'required':true,'content':{'application/json':{'schema':" schema "}}}"
#define OBJECT(required, properties) "{'type':'object','required':[" required "],'properties':{" properties "}}"
#define QUERY(name, description, schema)                                                                               \
	"{'name':'" name "','in':'query','description':'" description "','schema':" schema "}"
/* A body of which no other member is taken. */
#define CLOSED(required, properties)                                                                                   \
	"{'type':'object','additionalProperties':false,'required':[" required "],'properties':{" properties "}}"
/* Any members may be there, beside those that are named. */
#define OPEN(properties) "{'type':'object','additionalProperties':true,'properties':{" properties "}}"
#define ANY_OBJECT       "{'type':'object','additionalProperties':true}"
#define META                                                                                                           \
	OPEN("'name':" TEXT ",'timestamp':" TEXT ",'freshness_status':" TEXT ",'token_usage':{'type':'integer'},"      \
	     "'dropped_items':{'type':'integer'},'budget_exceeded':{'type':'boolean'},'interaction_ref':" ANY_OBJECT)
#define TEXT  "{'type':'string'}"
#define TEXTS "{'type':'array','items':{'type':'string'}}"
#define NAME  "{'type':'string','maxLength':256}"
/* Durable, but not in the online store yet. */
#define PENDING                                                                                                        \
	"{'const':'pending','description':'the history has it; reads find it when the online store has taken it'}"
#define ENTITY_ID                                                                                                      \
	"{'name':'entity_id','in':'query','required':true,'description':'of the entity','schema':" NAME                \
	",'example':'1'}"
#define DETAIL QUERY("detail", "true: value, status, age and source of each", "{'type':'boolean'}")
#define CONTEXT_ID                                                                                                         \
	"'parameters':[{'name':'id','in':'path','required':true,'description':'as POST /v1/context answered it','schema':" \
	"{'type':'string'},'example':'ctx_00000000-0000-0000-0000-000000000001'}]"
#define VIEW(properties_required, properties)                                                                          \
	"{" CONTEXT_ID ",'responses':{" RESPONSE(200, OBJECT(properties_required, properties)) ",'404':null}}"

/* A record that anybody may store: its hashes are right. */
#define EXAMPLE_RECORD                                                                                                        \
	"{'context_id':'ctx_00000000-0000-0000-0000-000000000001','created_at':'2025-01-01T00:00:00Z','environment':"         \
	"'development','schema_version':'1.0.0','inputs':{'user_id':'u1','query':'test'},'context_function':'chat_context',"  \
	"'content':'User tier: premium\\nDocs: ...','token_count':42,'features':[],'retrieved_items':[],'assembly':{"         \
	"'max_tokens':4000,'tokens_used':42,'items_provided':2,'items_included':2,'dropped_items':[],"                        \
	"'required_items_included':true,'freshness_sla_ms':300000,'freshness_status':'guaranteed','freshness_violations':"    \
	"[]},'lineage':{'features_used':['user_tier'],'retrievers_used':['demo_docs'],'indexes_used':[],'code_version':null," \
	"'fabra_version':'2.1.2','assembly_latency_ms':12.3,'estimated_cost_usd':0.0001},'integrity':{'record_hash':"         \
	"'sha256:0458095710603457345836af128004d3b430d885ea137ac8fc8a5779e0d2c6ad','content_hash':"                           \
	"'sha256:ca55c427a31e4378f53941b6d77ae8b1a133ea37cbfb48a85bdaa66436f6bba8','previous_context_id':null,"               \
	"'signed_at':null,'signing_key_id':null,'signature':null}}"

const struct route api_routes[] = {
	{ "GET", "/v1/features/{name}", ROUTE_STORES, api_feature_get, api_feature_get_message, NULL,
	  "One feature of one entity: online, else computed, else the default",
	  "{'parameters':[" ENTITY_ID
	  "],'responses':{" RESPONSE(200,
				     OBJECT("'value','freshness_ms','served_from'",
					    "'value':{},'freshness_ms':{'type':'integer','minimum':0},"
					    "'served_from':{'enum':['online','computed','default']}")) ",'404':null}}",
	  api_feature_gather },
	{ "POST", "/v1/features", ROUTE_BODY | ROUTE_STORES, api_features_post, api_features_post_message, NULL,
	  "Several features of one entity",
	  "{'parameters':[" DETAIL
	  "]," JSON_BODY(CLOSED("'entity_name','entity_id','features'",
				"'entity_name':" NAME ",'entity_id':" NAME
				",'features':" TEXTS)) ",'responses':{" RESPONSE(200, ANY_OBJECT) ",'404':null}}",
	  NULL },
	{ "POST", "/v1/features/batch", ROUTE_BODY | ROUTE_STORES, api_batch_post, api_batch_message, api_batch_end,
	  "Several features of many entities",
	  "{'parameters':[" DETAIL "]," JSON_BODY(CLOSED(
	      "'name','ids','features'",
	      "'name':" NAME ",'ids':" TEXTS
	      ",'features':" TEXTS)) ",'responses':{" RESPONSE(200,
							       "{'type':'object','additionalProperties':" ANY_OBJECT
							       "}") ",'404':null}}",
	  NULL },
	{ "PUT", "/v1/features/{entity}/{entity_id}", ROUTE_BODY | ROUTE_COMPLETES | ROUTE_STORES, api_values_put,
	  api_values_put_message, api_writes_end,
	  "Push values; durable before the answer, an older timestamp never replaces a newer value",
	  "{" JSON_BODY(CLOSED(
	      "'values'",
	      "'values':{'type':'object','minProperties':1},'timestamp':{'type':['string','null'],"
	      "'description':'ISO 8601; now if absent'}")) ",'responses':{" RESPONSE(200,
										     OBJECT(
											 "'entity','entity_id','timestamp','written','stale'",
											 "'entity':" TEXT
											 ",'entity_id':" TEXT
											 ",'timestamp':" TEXT
											 ",'written':" TEXTS
											 ",'stale':" TEXTS
											 ",'online':" PENDING)) ",'404':null}}",
	  NULL },
	{ "POST", "/v1/ingest/{event_type}", ROUTE_BODY | ROUTE_STORES, api_ingest_post, api_ingest_message, NULL,
	  "Accept an event; durable before the answer, applied exactly once to the features it triggers",
	  "{'parameters':[" ENTITY_ID "," QUERY(
	      "event_time", "when it happened, ISO 8601; now if absent",
	      TEXT) ",{'name':'Idempotency-Key','in':'header','description':'the same key and request within 24 hours: the first reply "
		    "again, nothing counted twice','schema':{'type':'string','minLength':1,'maxLength':255}}]," JSON_BODY(
			ANY_OBJECT) ",'responses':{" RESPONSE(202,
							      OBJECT("'msg_id','event_id'",
								     "'msg_id':" TEXT
								     ",'event_id':" TEXT)) ",'404':null,'409':null}}",
	  NULL },
	{ "POST", "/v1/context/{name}", ROUTE_BODY | ROUTE_STORES, api_context_post, api_context_post_message, NULL,
	  "Assemble a context; its record is durable before the answer",
	  "{" JSON_BODY(
	      ANY_OBJECT) ",'responses':{" RESPONSE(200, OBJECT("'id','content','meta','lineage'",
								"'id':" TEXT ",'content':" TEXT ",'meta':" META ","
								"'lineage':" ANY_OBJECT ",'interaction_ref':" ANY_OBJECT
								",'record_hash':" TEXT
								",'content_hash':" TEXT)) ",'404':null}}",
	  NULL },
	/* clang-format off */
	{ "GET", "/v1/contexts", 0, api_contexts_list, api_contexts_list_message, NULL, "List contexts, newest first",
	  "{'parameters':["
	  QUERY("start", "not before this time, ISO 8601", TEXT) ","
	  QUERY("end", "not after it", TEXT) ","
	  QUERY("limit", "100 if absent", "{'type':'integer','minimum':0,'maximum':1000}") ","
	  QUERY("name", "of the context", TEXT) ","
	  QUERY("freshness_status", "of the context", "{'type':'string','enum':['guaranteed','degraded']}") ","
	  QUERY("id_prefix", "the beginning of a context id", TEXT) ","
	  QUERY("input", "NAME=VALUE: called with this argument", TEXT) ","
	  QUERY("detail", "true: the arguments too, as inputs", "{'type':'boolean'}")
	  "],'responses':{" RESPONSE(200, "{'type':'array','items':" OPEN("'context_id':" TEXT) "}") "}}",
	  NULL },
	/* clang-format on */
	/* Before the routes by id: their examples name the record that this one stores. */
	{ "POST", "/v1/record", ROUTE_BODY | ROUTE_STORES, api_record_post, api_record_post_message, NULL,
	  "Store a receipt made elsewhere; same hash again is fine, same id with another hash is refused",
	  "{" JSON_BODY(ANY_OBJECT ",'example':" EXAMPLE_RECORD) ",'responses':{" RESPONSE(
	      200,
	      OBJECT("'context_id','record_hash','status'", "'context_id':" TEXT ",'record_hash':" TEXT
							    ",'status':{'enum':['stored','exists']}")) ",'409':null}}",
	  NULL },
	{ "GET", "/v1/context/{id}", 0, api_context_get, api_context_get_message, NULL,
	  "A stored context with its lineage",
	  VIEW("'context_id','content','lineage','meta','version'",
	       "'context_id':" TEXT ",'content':" TEXT ",'lineage':" ANY_OBJECT ",'meta':" META ",'version':" TEXT),
	  NULL },
	{ "GET", "/v1/context/{id}/lineage", 0, api_lineage_get, api_lineage_get_message, NULL,
	  "The lineage of a context", VIEW("'context_id','lineage'", "'context_id':" TEXT ",'lineage':" ANY_OBJECT),
	  NULL },
	{ "GET", "/v1/context/{id}/explain", 0, api_explain_get, api_explain_get_message, NULL,
	  "The trace of a context", VIEW("'context_id'", "'context_id':" TEXT), NULL },
	{ "GET", "/context/{id}/explain", 0, api_explain_get, api_explain_get_message, NULL,
	  "The same, where Fabra's command line asks for it", VIEW("'context_id'", "'context_id':" TEXT), NULL },
	{ "GET", "/v1/record/{ref}", 0, api_record_get, api_record_get_message, NULL,
	  "A record (CRS-001) by ctx_ id, bare UUID or sha256: hash",
	  "{'parameters':[{'name':'ref','in':'path','required':true,'schema':{'type':'string'},'example':"
	  "'ctx_00000000-0000-0000-0000-000000000001'}],'responses':{" RESPONSE(
	      200, OBJECT("'context_id','integrity'",
			  "'context_id':" TEXT ",'content':" TEXT ",'integrity':" ANY_OBJECT)) ",'404':null}}",
	  NULL },
	{ "DELETE", "/v1/cache/{entity}/{entity_id}", ROUTE_COMPLETES | ROUTE_STORES, api_cache_delete,
	  api_cache_delete_message, NULL,
	  "Remove the online values of an entity and the cached contexts that used them; history stays",
	  "{'responses':{" RESPONSE(200, OBJECT("'status','key'", "'status':{'const':'invalidated'},'key':" TEXT
								  ",'online':" PENDING)) ",'404':null}}",
	  NULL },
	{ "GET", "/v1/definitions", 0, api_definitions_get, NULL, NULL,
	  "What this server serves: entities, features, tables, retrievers, contexts",
	  "{'responses':{" RESPONSE(200, OBJECT("'entities','features','tables','retrievers','contexts'",
						"'entities':{'type':'array','items':" ANY_OBJECT
						"},'features':{'type':'array','items':" ANY_OBJECT
						"},'tables':{'type':'array','items':" ANY_OBJECT
						"},'retrievers':{'type':'array','items':" ANY_OBJECT "},"
						"'contexts':{'type':'array','items':" ANY_OBJECT "}")) ",'500':null}}",
	  NULL },
	{ "POST", "/v1/sql", ROUTE_BODY, api_sql_post, api_sql_message, NULL,
	  "One SELECT over the tables of the offline store; files cannot be read",
	  "{" JSON_BODY(CLOSED(
	      "'sql'",
	      "'sql':" TEXT ",'params':{'type':'array','items':{},'description':"
	      "'for each ? or $1 of the statement'}") ",'example':{'sql':'SELECT count(*) AS n FROM fabra.records'}") ",'responses':{" RESPONSE(200,
																		"{'type':'array','items':" ANY_OBJECT
																		"}") "}}",
	  NULL },
	/* clang-format off */
	{ "POST", "/v1/training-data", ROUTE_BODY | ROUTE_LONG, api_training_post, api_training_message, api_training_end,
	  "For each event the values that its features had at its time, as they were known then; streamed",
	  "{" JSON_BODY(CLOSED("'features','events'",
		"'features':" TEXTS ","
		"'events':{'description':'a list of objects, or an object of lists of one length: the id column of each entity, the time (ISO 8601), "
			  "and what else is to be in the answer','anyOf':[{'type':'array','minItems':1,'items':" ANY_OBJECT "}," ANY_OBJECT "]},"
		"'at':{'type':'string','description':'the member that has the time; event_time if absent'},"
		"'defaults':{'type':'boolean','description':'whether a missing value is the default of its feature; true if absent'},"
		"'event_times':{'type':'boolean','description':'whether each feature has a column NAME__event_time, too'}"))
	  ",'responses':{'200':{'description':'One object for each event; CSV for those that accept text/csv','content':{"
	  "'application/x-ndjson':{'schema':{'type':'string'}},'text/csv':{'schema':{'type':'string'}}}},'404':null}}",
	  NULL },
	/* clang-format on */
	{ "POST", "/v1/context/{id}/replay", ROUTE_UNLISTED, not_yet, NULL, NULL, NULL, NULL, NULL },
	{ "GET", "/v1/context/diff/{base}/{comparison}", ROUTE_UNLISTED, not_yet, NULL, NULL, NULL, NULL, NULL },
	{ "GET", "/v1/record/diff/{base}/{comparison}", ROUTE_UNLISTED, not_yet, NULL, NULL, NULL, NULL, NULL },
	{ "GET", "/v1/context/{id}/visualize", ROUTE_UNLISTED, not_yet, NULL, NULL, NULL, NULL, NULL },
	{ "GET", "/v1/records", ROUTE_UNLISTED, not_yet, NULL, NULL, NULL, NULL, NULL },
	{ "GET", "/ready", ROUTE_PUBLIC | ROUTE_SYSTEM, api_ready_get, NULL, NULL,
	  "Whether this process can serve: ledger, projection, materialised features",
	  "{'responses':{" RESPONSE(200,
				    ANY_OBJECT) ",'503':{'description':'It cannot serve now; the same members say why',"
						"'content':{'application/json':{'schema':" ANY_OBJECT "}}}}}",
	  NULL },
};
const size_t api_routes_count = sizeof api_routes / sizeof api_routes[0];
