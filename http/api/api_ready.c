/* GET /ready: true only when the stores that the mode needs answer, which it names, and each materialised feature has had its
 * first run or has values of the last life: else who waits for this route would read and find nothing. A feature that cannot
 * be materialised is reported here and does not make the process unready: all others can be served, and it keeps what it had. */
#include "actors/materializer.h"
#include "http/api/api.h"
#include <inttypes.h>

static bool is_failing(const struct node *n, uint32_t feature)
{
	return materializer_state(n, feature) == MATERIALIZED_FAILING;
}

/* The names of those for which `is_one` holds; returns how many. */
static uint32_t write_features(const struct node *n, bool (*is_one)(const struct node *n, uint32_t feature),
			       struct buf *out)
{
	uint32_t count = 0;
	buf_append_char(out, '[');
	for (uint32_t i = 0; i < n->definitions->features_count; i++) {
		if (!is_one(n, i))
			continue;
		if (count++)
			buf_append_char(out, ',');
		json_write_string(out, n->definitions->features[i].name);
	}
	buf_append_char(out, ']');
	return count;
}

/* true: nothing is awaited. */
static bool write_materialized(const struct node *n, struct buf *out)
{
	uint32_t done, total;
	materializer_progress(n, &done, &total);
	buf_printf(out, "\"materialized\":{\"done\":%u,\"total\":%u,\"awaited\":", done, total);
	uint32_t awaited = write_features(n, materializer_is_awaited, out);
	buf_append_lit(out, ",\"failing\":");
	write_features(n, is_failing, out);
	buf_append_char(out, '}');
	return awaited == 0;
}

static void write_tables(const struct node *n, struct buf *out)
{
	bool is_first = true;
	buf_append_lit(out, "\"tables\":{\"failing\":[");
	for (uint32_t i = 0; i < n->definitions->tables_count; i++) {
		if (!atomic_load_explicit(&n->metrics.tables_stale_since_us[i], memory_order_relaxed))
			continue;
		if (!is_first)
			buf_append_char(out, ',');
		is_first = false;
		json_write_string(out, n->definitions->tables[i].name);
	}
	buf_append_lit(out, "]}");
}

void api_ready_get(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct stores_health health = { 0 };
	struct buf out = { 0 }, materialized = { 0 };
	n->stores->health(n->stores, &health);
	bool is_ready = write_materialized(n, &materialized) && health.is_ready;
	buf_printf(&out, "{\"status\":\"%s\",", is_ready ? "ready" : "not_ready");
	buf_append_str(&out, buf_str(&health.stores));
	buf_append_char(&out, ',');
	buf_append_str(&out, buf_str(&materialized));
	buf_append_char(&out, ',');
	write_tables(n, &out);
	buf_printf(&out, ",\"events\":{\"given_up\":%" PRIu64 "}", metrics_counter_value(n->metrics.events_given_up));
	buf_append_lit(&out, ",\"needs\":");
	buf_append_str(&out, buf_str(&health.needs));
	buf_append_char(&out, '}');
	exchange_reply_json(x, is_ready ? 200 : 503, buf_str(&out));
	buf_finish(&materialized);
	buf_finish(&health.stores);
	buf_finish(&health.needs);
	buf_finish(&out);
}
