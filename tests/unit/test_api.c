/* The /v1 routes as a client sees them, in one program: what is checked before anything is asked, and every pair of limits
 * that meet, at, below and above. The node is a real one; its ledger is the fake, which an I/O loop may hold. */
#define TEST_DEFINITIONS                                                                                                                      \
	"local fabra = require 'fabra'\n"                                                                                                     \
	"local User = fabra.entity { name = 'User', id = 'user_id' }\n"                                                                       \
	"fabra.feature { name = 'whole', entity = User, dtype = 'integer' }\n"                                                                \
	"fabra.feature { name = 'city', entity = User }\n"                                                                                    \
	"fabra.feature { name = 'brief', entity = User, ttl = '1s' }\n"                                                                       \
	"fabra.feature { name = 'length', entity = User, compute = function(id) return #id end }\n"                                           \
	"fabra.feature { name = 'n', entity = User, trigger = 'tick', compute = function(id, e, p) return (p or 0) + 1 end }\n"               \
	"fabra.feature { name = 'k', entity = User, trigger = 'other_event', compute = function() return 1 end }\n"                           \
	"fabra.context { name = 'con-text.x', params = { n = { type = 'integer', required = false } }, items = { { text = 'n is {n}' } } }\n" \
	"for i = 1, 201 do fabra.feature { name = 'f' .. i, entity = User, default = i } end\n"

#include "actors/ingestor.h"
#include "store/online/online_memory.h"
#include "http/api/api.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "store/text/timefmt.h"
#include "tests/sim/node_fixture.h"
#include "tests/tools/http_client.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { BODY_MAX = 1 << 20 };

static struct node_fixture_shared shared;
static struct stores stores;
static struct online *online;
static struct node node;
static struct node_loop node_loop;
static struct ledger_fake *ledger;
static struct http_server *server;
static struct loop *loop;
static uint16_t port;
static struct h1_answer answer; /* of the last request */

static void start(void)
{
	struct buf why = { 0 };
	signal(SIGPIPE, SIG_IGN);
	ledger = ledger_fake_create(&(struct ledger_fake_config){ .delay_ms_max = 0 });
	loop = loop_create(&(struct loop_config){ .name = "io", .kind = LOOP_IO });
	node = (struct node){ .definitions = shared.definitions,
			      .pricing = shared.pricing,
			      .metrics = shared.metrics,
			      .encodings = { shared.encodings[0], shared.encodings[1] },
			      .environment = STR("test"),
			      .fabra_version = STR("2.3.2"),
			      .include_content = true,
			      .evidence_timeout_ms = 500,
			      .loops_count = 1 };
	stores = (struct stores){ 0 };
	node.stores = &stores;
	node.values = values_create();
	online = online_create(&(struct online_config){ .bytes_max = 4 << 20, .stripes = 4 });
	stores.online.fast = online_fast(online);
	stores.idempotency = idempotency_create(3);
	node.defaults = calloc(node.definitions->features_count + 1, sizeof(struct value *));
	for (uint32_t i = 0; i < node.definitions->features_count; i++)
		if (node.definitions->features[i].default_json.p)
			node.defaults[i] = value_create(node.definitions->features[i].default_json);
	stores.evidence.append = ledger_fake_spawn(ledger, loop);
	stores.offline.requests = stores.offline.background = offline_fake_spawn(loop,
										 &(struct offline_fake_config){ 0 });
	stores.evidence.list = stores.evidence.legacy = stores.offline.requests;
	node_loop = (struct node_loop){ .node = &node,
					.loop = loop,
					.script = script_create(node.definitions, NULL, &why),
					.tokens = token_cache_create(1024) };
	node.loops[0] = node.by_loop_id[loop_id(loop)] = &node_loop;
	CHECK(node_loop.script && node_loop_spawn(&node_loop, &why));
	server = http_server_create(&(struct http_config){ .routes = api_routes,
							   .routes_count = api_routes_count,
							   .app = &node,
							   .document = api_document,
							   .body_bytes_max = BODY_MAX },
				    &loop, 1, &why);
	CHECK(server != NULL && loop_start(loop) == 0);
	port = http_server_port(server);
}

static void stop(void)
{
	buf_finish(&answer.body);
	loop_stop(loop);
	loop_join(loop);
	http_server_destroy(server);
	script_destroy(node_loop.script);
	token_cache_destroy(node_loop.tokens);
	loop_destroy(loop);
	for (uint32_t i = 0; i < node.definitions->features_count; i++)
		value_unref(node.defaults[i]);
	free(node.defaults);
	idempotency_destroy(stores.idempotency);
	online_destroy(online);
	values_destroy(node.values);
	ledger_fake_destroy(ledger);
}

static void ask_with(const char *headers, const char *method, const char *target, struct str body, int status)
{
	buf_finish(&answer.body);
	answer = h1_once(port, method, target, headers, body);
	if (answer.status != status)
		fail_msg("%s %.120s: %d instead of %d: %.*s", method, target, answer.status, status,
			 STR_ARG(str_first(buf_str(&answer.body), 600)));
}

static void ask(const char *method, const char *target, const char *body, int status)
{
	ask_with("", method, target, str_from(body), status);
}

static void text_of(struct buf *out, size_t n, char c)
{
	for (size_t i = 0; i < n; i++)
		buf_append_char(out, c);
}

static void says(const char *part)
{
	buf_append_char(&answer.body, '\0');
	answer.body.n--;
	if (strstr(answer.body.p, part) == NULL)
		fail_msg("'%s' is not in %s", part, answer.body.p);
}

/* {"detail":[...]}: the places, one after the other. */
static void says_mistakes(const char *places)
{
	struct buf found = { 0 };
	yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
	size_t i, n;
	yyjson_val *mistake;
	yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "detail"), i, n, mistake)
		json_write_value(&found, yyjson_obj_get(mistake, "loc"));
	if (!str_eq(buf_str(&found), str_from(places)))
		fail_msg("%.*s instead of %s", STR_ARG(buf_str(&found)), places);
	yyjson_doc_free(doc);
	buf_finish(&found);
}

static void test_all_mistakes(void **state)
{
	(void)state;
	ask("POST", "/v1/features", "{}", 422);
	says_mistakes("[\"body\",\"entity_name\"][\"body\",\"entity_id\"][\"body\",\"features\"]");
	ask("POST", "/v1/features/batch?x&detail=2", "{\"name\":\"a\\u0000\",\"ids\":[1],\"features\":{},\"more\":1}",
	    422);
	says_mistakes(
	    "[\"query\",\"x\"][\"query\",\"detail\"][\"body\",\"more\"][\"body\",\"name\"][\"body\",\"ids\",0]"
	    "[\"body\",\"features\"]");
	ask("PUT", "/v1/features/User/a%00", "{\"timestamp\":1,\"values\":{}}", 422);
	says_mistakes("[\"path\",\"entity_id\"][\"body\",\"values\"][\"body\",\"timestamp\"]");
	ask("PUT", "/v1/features/User/a", "{\"timestamp\":\"x\",\"values\":{\"length\":1,\"city\":2}}", 422);
	says_mistakes("[\"body\",\"timestamp\"][\"body\",\"values\",\"length\"]");
	ask("PUT", "/v1/features/User/a", "{\"values\":{\"length\":1,\"whole\":1.5}}", 422);
	says_mistakes("[\"body\",\"values\",\"length\"][\"body\",\"values\",\"whole\"]");
	ask_with("Idempotency-Key: \r\n", "POST", "/v1/ingest/tick?event_time=x", STR("7"), 422);
	says_mistakes("[\"query\",\"entity_id\"][\"query\",\"event_time\"][\"header\",\"idempotency-key\"][\"body\"]");
	ask("GET", "/v1/contexts?limit=x&detail=maybe&z=1", NULL, 422);
	says_mistakes("[\"query\",\"z\"][\"query\",\"limit\"][\"query\",\"detail\"]");
	ask("POST", "/v1/sql", "{\"sql\":\"a\\u0000b\",\"params\":1}", 422);
	says_mistakes("[\"body\",\"sql\"][\"body\",\"params\"]");
	for (const char *const *bodies = (const char *const[]){ "", "7", "[]", NULL }; *bodies; bodies++) {
		ask("POST", "/v1/features", *bodies, 422); /* one mistake, whatever would be in it */
		says_mistakes("[\"body\"]");
	}
}

/* Names that nobody knows are 404 alone, and one of the list beside other mistakes; each says what was sent. */
static void test_mistakes_of_every_kind(void **state)
{
	(void)state;
	char header[] = "X-Request-Timeout-Ms: soon\r\n";
	ask_with(header, "GET", "/v1/features/citty", STR(""), 422);
	says_mistakes("[\"header\",\"x-request-timeout-ms\"][\"query\",\"entity_id\"][\"path\",\"name\"]");
	says("\"input\":\"soon\"");
	says("\"input\":\"citty\"");
	ask_with(header, "POST", "/v1/features", STR("{\"entity_name\":\"Usr\",\"entity_id\":\"a\",\"features\":[]}"),
		 422);
	says_mistakes("[\"header\",\"x-request-timeout-ms\"][\"body\",\"entity_name\"]");
	ask("POST", "/v1/features", "{\"entity_name\":\"User\",\"entity_id\":5,\"features\":[\"citty\"]}", 422);
	says_mistakes("[\"body\",\"entity_id\"][\"body\",\"features\"]");
	says("Did you mean: city?");
	says("\"input\":[\"citty\"]");
	ask("POST", "/v1/features/batch", "{\"name\":\"Usr\",\"ids\":7,\"features\":[\"city\"]}", 422);
	says_mistakes("[\"body\",\"ids\"][\"body\",\"name\"]");
	ask("PUT", "/v1/features/Usr/a", "{\"timestamp\":\"x\"}", 422);
	says_mistakes("[\"body\",\"values\"][\"body\",\"timestamp\"][\"path\",\"entity\"]");
	ask("PUT", "/v1/features/User/a", "{\"timestamp\":\"x\",\"values\":{\"citty\":2}}", 422);
	says_mistakes("[\"body\",\"timestamp\"][\"body\",\"values\"]");
	ask("PUT", "/v1/features/User/a", "{\"values\":{\"whole\":1.5}}", 422);
	says("\"input\":1.5");
	ask("PUT", "/v1/features/User/a%00", "{\"values\":{\"city\":1}}", 422);
	says("\"input\":\"a\\u0000\"");
	ask("DELETE", "/v1/cache/Usr/a%00", NULL, 422);
	says_mistakes("[\"path\",\"entity_id\"][\"path\",\"entity\"]");
	ask("POST", "/v1/ingest/tock", "{}", 422);
	says_mistakes("[\"query\",\"entity_id\"][\"path\",\"event_type\"]");
	ask("POST", "/v1/context/none", "[1]", 422);
	says_mistakes("[\"body\"][\"path\",\"name\"]");
	ask("GET", "/v1/contexts?start=x&end=y&freshness_status=z&input=q", NULL, 400);
	says("Invalid start");
	says("Invalid end");
	says("freshness_status must be");
	says("input must be NAME=VALUE");
	ask("GET", "/v1/contexts?limit=x&end=y", NULL, 422);
	says_mistakes("[\"query\",\"limit\"][\"query\",\"end\"]");
	says("\"input\":\"y\"");
	ask("POST", "/v1/sql", "{\"sql\":\"a\\u0000b\"}", 422);
	says("\"input\":\"a\\u0000b\"");
}

/* As many mistakes as a request holds: the answer lists what fits, and says that there are more. */
static void lists_what_fits(void)
{
	yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
	yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "detail");
	size_t n = yyjson_arr_size(list);
	if (n < 1000 || answer.body.n > 300 << 10)
		fail_msg("%zu mistakes in %zu bytes", n, answer.body.n);
	assert_true(str_eq(json_str(yyjson_obj_get(yyjson_arr_get(list, n - 2), "type")), STR("extra_forbidden")));
	assert_true(str_eq(json_str(yyjson_obj_get(yyjson_arr_get(list, n - 1), "type")), STR("too_many_errors")));
	yyjson_doc_free(doc);
}

static void test_too_many_mistakes(void **state)
{
	(void)state;
	struct buf text = { 0 };
	buf_append_lit(&text, "{\"entity_name\":1");
	for (unsigned i = 0; i < 50000; i++)
		buf_printf(&text, ",\"x%u\":0", i);
	buf_append_lit(&text, "}");
	ask_with("", "POST", "/v1/features", buf_str(&text), 422);
	lists_what_fits();
	text.n = 0;
	buf_append_lit(&text, "/v1/contexts?");
	while (text.n < 16000)
		buf_append_lit(&text, "a&");
	buf_append_char(&text, '\0');
	ask("GET", text.p, NULL, 422);
	lists_what_fits();
	text.n = 0;
	buf_append_lit(&text, "{\"");
	text_of(&text, 300 << 10, 'x'); /* one that does not fit by itself */
	buf_append_lit(&text, "\":1}");
	ask_with("", "POST", "/v1/features", buf_str(&text), 422);
	says("more is wrong with the request than can be listed");
	buf_finish(&text);
}

/* Nothing that was refused has left a trace. */
static void test_nothing_is_done(void **state)
{
	(void)state;
	size_t before = ledger_fake_count(ledger);
	ask("PUT", "/v1/features/User/a?x=1", "{\"values\":{\"city\":1}}", 422);
	ask("GET", "/v1/features/citty?entity_id=a", NULL, 404);
	says("Feature 'citty' not found. Did you mean: city?");
	ask("GET", "/v1/features/qqqqqqqq?entity_id=a", NULL, 404);
	assert_true(str_eq(buf_str(&answer.body), STR("{\"detail\":\"Feature 'qqqqqqqq' not found\"}")));
	ask("PUT", "/v1/features/User/a", "{\"values\":{\"city\":1,\"citty\":1}}", 404);
	says("Did you mean: city?");
	ask("POST", "/v1/ingest/tock?entity_id=a", "{}", 404);
	says("Did you mean: tick?");
	ask("POST", "/v1/ingest/tick?entity_id=a&x=1", "{}", 422);
	ask("DELETE", "/v1/cache/User/a?x=1", NULL, 422);
	assert_int_equal(ledger_fake_count(ledger), before);
	ask("GET", "/v1/features/city?entity_id=a", NULL, 404);
}

/* Every route of the table: a query parameter that it does not name is refused, unless it says nothing of itself. */
static void test_unknown_query(void **state)
{
	(void)state;
	size_t strict = 0;
	for (size_t i = 0; i < api_routes_count; i++) {
		const struct route *r = &api_routes[i];
		char target[160];
		size_t n = 0;
		for (const char *p = r->path; *p; p++) { /* {name} -> x */
			if (*p == '{') {
				p = strchr(p, '}');
				target[n++] = 'x';
			} else {
				target[n++] = *p;
			}
		}
		snprintf(target + n, sizeof target - n, "?nobody_knows=1");
		if (r->openapi == NULL || (r->flags & ROUTE_PUBLIC))
			continue;
		strict++;
		ask(r->method, target, r->flags & ROUTE_BODY ? "{}" : NULL, 422);
		says("nobody_knows");
	}
	assert_true(strict > 12);
	/* Counted as the route's, also where the route was not asked. */
	ask("POST", "/v1/record", "{", 422);
	ask("GET", "/metrics", NULL, 200);
	says("fabra_request_count_total{method=\"GET\",endpoint=\"/v1/definitions\",status=\"422\"} 1\n");
	says("fabra_request_count_total{method=\"POST\",endpoint=\"/v1/record\",status=\"422\"} 2\n");
}

static yyjson_val *at(yyjson_doc *doc, const char *path, const char *rest)
{
	yyjson_val *paths = yyjson_obj_get(yyjson_doc_get_root(doc), "paths");
	return yyjson_ptr_get(yyjson_obj_get(paths, path), rest);
}

static bool has_type(yyjson_val *schema, const char *name)
{
	yyjson_val *type = yyjson_obj_get(schema, "type"), *one;
	size_t i, max;
	yyjson_arr_foreach(type, i, max, one)
		if (yyjson_equals_str(one, name))
			return true;
	return yyjson_equals_str(type, name);
}

/* Objects of which nothing is said, not even that anything may be in them: generated types would be empty records. Arrays of which
 * it is not said what they are of. */
static int vague_schemas(yyjson_val *v)
{
	int n = 0;
	size_t i, max;
	yyjson_val *key, *inner;
	yyjson_arr_foreach(v, i, max, inner)
		n += vague_schemas(inner);
	yyjson_obj_foreach(v, i, max, key, inner)
		n += vague_schemas(inner);
	if ((has_type(v, "object") && !yyjson_obj_get(v, "properties") && !yyjson_obj_get(v, "additionalProperties")) ||
	    (has_type(v, "array") && !yyjson_obj_get(v, "items"))) {
		char *text = yyjson_val_write(v, 0, NULL);
		print_error("vague: %s\n", text);
		free(text);
		n++;
	}
	return n;
}

/* Names in paths are those that a client sends; what cannot be asked for is not there. */
static void test_document(void **state)
{
	(void)state;
	ask("GET", "/openapi.json", NULL, 200);
	yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
	static const char *const absent[] = { "/v1/ingest/{event_type}",
					      "/v1/context/{name}",
					      "/v1/records",
					      "/v1/context/{id}/replay",
					      "/v1/context/{id}/visualize",
					      "/v1/context/diff/{base}/{comparison}",
					      "/v1/record/diff/{base}/{comparison}",
					      "/v1/features/{entity}/{entity_id}" };
	for (size_t i = 0; i < ARRAY_LEN(absent); i++)
		assert_null(at(doc, absent[i], ""));
	assert_non_null(at(doc, "/v1/ingest/tick", "/post/responses/202"));
	assert_null(at(doc, "/v1/ingest/tick", "/post/responses/404"));
	yyjson_val *arguments = at(doc, "/v1/context/con-text.x", "/post/requestBody/content/application~1json/schema");
	assert_non_null(arguments);
	assert_null(yyjson_obj_get(arguments, "required"));
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(arguments, "/properties/n/type")), "integer");
	yyjson_val *pushed = at(doc, "/v1/features/User/{entity_id}",
				"/put/requestBody/content/application~1json/schema/properties/values/properties");
	assert_non_null(yyjson_obj_get(pushed, "city"));
	assert_non_null(yyjson_obj_get(pushed, "n")); /* triggered ones may be set */
	assert_null(yyjson_obj_get(pushed, "length"));
	assert_string_equal(yyjson_get_str(yyjson_ptr_get(pushed, "/whole/type/0")), "integer");
	assert_true(yyjson_is_obj(yyjson_ptr_get(arguments, "/properties/call_id"))); /* every context takes it */
	assert_non_null(
	    at(doc, "/v1/context/con-text.x",
	       "/post/responses/200/content/application~1json/schema/properties/meta/properties/token_usage"));
	assert_int_equal(vague_schemas(yyjson_doc_get_root(doc)), 0);
	/* A command of /docs finds what those above it have made. */
	size_t at_path, max, makes = SIZE_MAX, first = SIZE_MAX;
	yyjson_val *path, *item;
	yyjson_obj_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "paths"), at_path, max, path, item) {
		if (yyjson_equals_str(path, "/v1/record"))
			makes = at_path;
		if (strstr(yyjson_get_str(path), "{id}") || strstr(yyjson_get_str(path), "{ref}"))
			first = at_path < first ? at_path : first;
	}
	assert_true(makes < first && first != SIZE_MAX);
	/* Each route of the table is there as it is, but for those above. */
	for (size_t i = 0; i < api_routes_count; i++) {
		bool is_absent = api_routes[i].flags & ROUTE_UNLISTED;
		for (size_t k = 0; k < ARRAY_LEN(absent); k++)
			is_absent = is_absent || strcmp(api_routes[i].path, absent[k]) == 0;
		if ((at(doc, api_routes[i].path, "") != NULL) == is_absent)
			fail_msg("%s %s", api_routes[i].method, api_routes[i].path);
	}
	yyjson_doc_free(doc);
}

static void put_bytes(size_t value_bytes, int status)
{
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"values\":{\"city\":\"");
	text_of(&body, value_bytes - 2, 'x');
	buf_append_lit(&body, "\"}}");
	ask_with("", "PUT", "/v1/features/User/big", buf_str(&body), status);
	buf_finish(&body);
}

/* A body may be larger than the online table keeps: an eighth of it. */
static void test_value_and_table(void **state)
{
	(void)state;
	size_t low = 1, high = BODY_MAX - 100; /* kept, refused */
	struct value *v;
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		char *text = malloc(middle);
		memset(text, 'x', middle);
		v = value_create(str_of(text, middle));
		free(text);
		if (online_fits(online, v))
			low = middle;
		else
			high = middle;
		value_unref(v);
	}
	assert_true(low > (3 << 20) / 8 && low < (4 << 20) / 8);
	put_bytes(low - 1, 200);
	put_bytes(low, 200);
	ask("GET", "/v1/features/city?entity_id=big", NULL, 200); /* written means seen */
	put_bytes(low + 1, 413);
	says("FABRA_ONLINE_BYTES");
}

static void body_bytes(size_t bytes, int status)
{
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"x\":\"");
	text_of(&body, bytes - 8, 'x');
	buf_append_lit(&body, "\"}");
	ask_with("", "POST", "/v1/ingest/tick?entity_id=body", buf_str(&body), status);
	buf_finish(&body);
}

static void test_body(void **state)
{
	(void)state;
	body_bytes(BODY_MAX - 1, 202);
	body_bytes(BODY_MAX, 202);
	body_bytes(BODY_MAX + 1, 413);
}

/* A list in an event: with the object, its name and the list itself three values more than elements. */
static void body_values(unsigned elements, int status)
{
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"x\":[1");
	for (unsigned i = 1; i < elements; i++)
		buf_append_lit(&body, ",1");
	buf_append_lit(&body, "]}");
	ask_with("", "POST", "/v1/ingest/tick?entity_id=values", buf_str(&body), status);
	buf_finish(&body);
}

static void test_values_of_a_body(void **state)
{
	(void)state;
	body_values((1 << 17) - 3, 202);
	body_values((1 << 17) - 2, 413);
	says("the body has more than 131072 values");
	body_values(500000, 413);
}

/* "f" and how many names or ids there are. */
static void names(struct buf *out, const char *prefix, unsigned count)
{
	buf_append_char(out, '[');
	for (unsigned i = 1; i <= count; i++)
		buf_printf(out, "%s\"%s%u\"", i > 1 ? "," : "", prefix, i);
	buf_append_char(out, ']');
}

static void batch(unsigned ids, unsigned features, int status)
{
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"name\":\"User\",\"ids\":");
	names(&body, "u", ids);
	buf_append_lit(&body, ",\"features\":");
	names(&body, "f", features);
	buf_append_char(&body, '}');
	ask_with("", "POST", "/v1/features/batch?detail=true", buf_str(&body), status);
	buf_finish(&body);
}

/* Ids times features are cut into asks; each pair at its own bound and at both. */
static void test_batches(void **state)
{
	(void)state;
	static const struct {
		unsigned ids, features;
		int status;
	} cases[] = { { 0, 0, 200 },    { 1, 0, 200 },      { 1, 1, 200 },     { 999, 1, 200 },
		      { 1000, 1, 200 }, { 1001, 1, 422 },   { 1, 199, 200 },   { 1, 200, 200 },
		      { 1, 201, 422 },  { 1000, 200, 200 }, { 1001, 201, 422 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		batch(cases[i].ids, cases[i].features, cases[i].status);
		if (cases[i].status != 200)
			continue;
		yyjson_doc *doc = yyjson_read(answer.body.p, answer.body.n, 0);
		yyjson_val *all = yyjson_doc_get_root(doc), *id, *values;
		assert_int_equal(yyjson_obj_size(all), cases[i].ids);
		size_t at, n;
		yyjson_obj_foreach(all, at, n, id, values) {
			assert_int_equal(yyjson_obj_size(values), cases[i].features);
			if (cases[i].features)
				assert_string_equal(yyjson_get_str(
							yyjson_obj_get(yyjson_obj_get(values, "f1"), "status")),
						    "default");
		}
		yyjson_doc_free(doc);
	}
}

static void test_id_bytes(void **state)
{
	(void)state;
	for (size_t n = 255; n <= 257; n++) {
		struct buf target = { 0 };
		buf_append_lit(&target, "/v1/features/length?entity_id=");
		text_of(&target, n, 'i');
		buf_append_char(&target, '\0');
		ask("GET", target.p, NULL, n <= 256 ? 200 : 422);
		buf_finish(&target);
	}
}

static void test_limit(void **state)
{
	(void)state;
	static const struct {
		const char *limit;
		int status;
	} cases[] = { { "0", 200 },
		      { "999", 200 },
		      { "1000", 200 },
		      { "1001", 422 },
		      { "-1", 422 },
		      { "+5", 200 },
		      { "", 422 },
		      { "5x", 422 },
		      { "5%00", 422 },
		      { "999999999999999", 422 },
		      { "9999999999999999", 422 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char target[64];
		snprintf(target, sizeof target, "/v1/contexts?limit=%s", cases[i].limit);
		ask("GET", target, NULL, cases[i].status);
	}
}

/* What the list of contexts is narrowed to: whole, or refused. */
static void test_filters(void **state)
{
	(void)state;
	static const struct {
		const char *query;
		int status;
	} cases[] = { { "name=a&id_prefix=ctx_&freshness_status=degraded&input=a=b", 200 },
		      { "name=&input=", 200 },
		      { "name=a%00b", 400 },
		      { "name=%00", 400 },
		      { "id_prefix=ctx_%00", 400 },
		      { "freshness_status=guaranteed%00", 400 },
		      { "freshness_status=stale", 400 },
		      { "input=a=b%00", 400 },
		      { "input=a%00=b", 400 },
		      { "input=a", 400 },
		      { "input==b", 400 },
		      { "input=a%22=b", 400 },
		      { "input=a%5C=b", 400 },
		      { "input=a==%22%5C", 200 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char target[160];
		snprintf(target, sizeof target, "/v1/contexts?%s", cases[i].query);
		ask("GET", target, NULL, cases[i].status);
	}
}

static void test_times(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t us; /* 0: none */
	} cases[] = { { "2026-01-31 12:00", 1769860800000000 },
		      { "2026-01-31T12:00:00Z", 1769860800000000 },
		      { "2026-01-31", 1769817600000000 },
		      { "2026-01-31 12:00:00", 1769860800000000 },
		      { "2026-01-31T14:00+02:00", 1769860800000000 },
		      { "2026-01-31T14:00 02:00", 1769860800000000 },
		      { "2026-01-31 14:00:00.5 02:00", 1769860800500000 },
		      { "2026-01-31T12", 0 },
		      { " 12:00", 0 },
		      { "", 0 },
		      { "2026-01-31  2:00", 0 } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t us = 0;
		assert_true(api_time(str_from(cases[i].text), &us) == (cases[i].us != 0));
		assert_true(cases[i].us == 0 || us == cases[i].us);
	}
}

/* What is written in the future is no younger than now, and a write without a time comes after it all the same; so does one
 * after a delete. */
static void test_clocks(void **state)
{
	(void)state;
	struct buf body = { 0 };
	buf_append_lit(&body, "{\"values\":{\"city\":1},\"timestamp\":\"");
	time_write_z(&body, clock_wall_us() + API_FUTURE_US_MAX - 10000000);
	buf_append_lit(&body, "\"}");
	ask_with("", "PUT", "/v1/features/User/ahead", buf_str(&body), 200);
	ask("GET", "/v1/features/city?entity_id=ahead", NULL, 200);
	says("\"freshness_ms\":0,");
	ask("POST", "/v1/features?detail=true",
	    "{\"entity_name\":\"User\",\"entity_id\":\"ahead\",\"features\":[\"city\"]}", 200);
	says("\"freshness_ms\":0,");
	ask("PUT", "/v1/features/User/ahead", "{\"values\":{\"city\":2,\"brief\":3}}", 200);
	says("\"written\":[\"city\",\"brief\"],\"stale\":[]");
	online_delete_row(online, 0, STR("ahead"), clock_wall_us() + API_FUTURE_US_MAX, ledger_fake_count(ledger),
			  clock_wall_us());
	ask("PUT", "/v1/features/User/ahead", "{\"values\":{\"city\":4}}", 200);
	says("\"stale\":[]");
	ask("GET", "/v1/features/city?entity_id=ahead", NULL, 200);
	says("{\"value\":4,");
	/* With a time of its own an older one loses, and one whose ttl has passed was never there. */
	ask("PUT", "/v1/features/User/ahead", "{\"values\":{\"city\":5},\"timestamp\":\"2026-01-01\"}", 200);
	says("\"written\":[],\"stale\":[\"city\"]");
	ask("PUT", "/v1/features/User/late", "{\"values\":{\"brief\":5,\"city\":6},\"timestamp\":\"2026-01-01\"}", 200);
	says("\"written\":[\"city\"],\"stale\":[\"brief\"]");
	buf_clear(&body);
	buf_append_lit(&body, "{\"values\":{\"city\":1},\"timestamp\":\"");
	time_write_z(&body, clock_wall_us() + API_FUTURE_US_MAX + 60000000);
	buf_append_lit(&body, "\"}");
	ask_with("", "PUT", "/v1/features/User/ahead", buf_str(&body), 422);
	says("more than 5 minutes in the future");
	buf_finish(&body);
}

/* Which of two the client means is not guessed. */
static void test_repeated(void **state)
{
	(void)state;
	ask("GET", "/v1/features/city?entity_id=a&entity_id=b", NULL, 400);
	says("the query parameter 'entity_id' is given more than once");
	ask("GET", "/v1/contexts?limit=1&limit=1", NULL, 400);
	says("'limit'");
	ask("POST", "/v1/ingest/tick?entity_id=a&entity_id=b", "{}", 400);
	ask_with("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "POST", "/v1/ingest/tick?entity_id=k", STR("{}"), 400);
	says("the header 'idempotency-key' is given more than once");
}

static void keyed(const char *key, const char *target, const char *body, int status)
{
	char headers[400];
	snprintf(headers, sizeof headers, "Idempotency-Key: %s\r\n", key);
	ask_with(headers, "POST", target, str_from(body), status);
}

static void test_keys(void **state)
{
	(void)state;
	keyed("k", "/v1/ingest/tick?entity_id=k", "{}", 202);
	char first[200];
	snprintf(first, sizeof first, "%.*s", STR_ARG(buf_str(&answer.body)));
	keyed("k", "/v1/ingest/tick?entity_id=k", "{}", 202);
	says(first);
	keyed("k", "/v1/ingest/tick?entity_id=k", "{ }", 422);
	keyed("k", "/v1/ingest/tick?entity_id=l", "{}", 422);
	says("used for another request");
	char key[257] = "";
	memset(key, 'a', 255);
	keyed(key, "/v1/ingest/tick?entity_id=k", "{}", 202);
	memset(key, 'a', 256);
	keyed(key, "/v1/ingest/tick?entity_id=k", "{}", 422);
	keyed("third", "/v1/ingest/tick?entity_id=k", "{}", 202);
	keyed("fourth", "/v1/ingest/tick?entity_id=k", "{}", 503); /* three are kept */
	keyed("k", "/v1/ingest/tick?entity_id=k", "{}", 202);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_mistakes),
		cmocka_unit_test(test_mistakes_of_every_kind),
		cmocka_unit_test(test_too_many_mistakes),
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_nothing_is_done),
		cmocka_unit_test(test_unknown_query),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_value_and_table),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_values_of_a_body),
		cmocka_unit_test(test_id_bytes),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_keys),
	};
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(nowhere >= 0 && log_start(nowhere, LOG_ERROR) == 0);
	node_fixture_share(&shared, TEST_DEFINITIONS);
	start();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	stop();
	node_fixture_unshare(&shared);
	log_stop();
	close(nowhere);
	return failed;
}
