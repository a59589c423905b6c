/* GET /ready: true only when the stores that the mode needs answer, which it names. A feature that cannot be materialised
 * is reported here and does not make the process unready: all others can be served, and it keeps what it had. */
#include "actors/materializer.h"
#include "http/api/api.h"

static void write_materialized(const struct node *n, struct buf *out)
{
	uint32_t done, total;
	bool is_first = true;
	materializer_progress(n, &done, &total);
	buf_printf(out, "\"materialized\":{\"done\":%u,\"total\":%u,\"failing\":[", done, total);
	for (uint32_t i = 0; i < n->definitions->features_count; i++) {
		if (materializer_state(n, i) != MATERIALIZED_FAILING)
			continue;
		if (!is_first)
			buf_append_char(out, ',');
		is_first = false;
		json_write_string(out, n->definitions->features[i].name);
	}
	buf_append_lit(out, "]}");
}

void api_ready_get(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct stores_health health = { 0 };
	struct buf out = { 0 };
	n->stores->health(n->stores, &health);
	buf_printf(&out, "{\"status\":\"%s\",", health.is_ready ? "ready" : "not_ready");
	buf_append_str(&out, buf_str(&health.stores));
	buf_append_char(&out, ',');
	write_materialized(n, &out);
	buf_append_lit(&out, ",\"needs\":");
	buf_append_str(&out, buf_str(&health.needs));
	buf_append_char(&out, '}');
	exchange_reply_json(x, health.is_ready ? 200 : 503, buf_str(&out));
	buf_finish(&health.stores);
	buf_finish(&health.needs);
	buf_finish(&out);
}
