/* GET /ready: true only when the stores that the mode needs answer, which it names. A feature that cannot be materialised
 * is reported here and does not make the process unready: all others can be served, and it keeps what it had. */
#include "actors/materializer.h"
#include "http/api.h"
#include "store/ledger.h"
#include "store/offline.h"

/* Entries that the projection may be behind before the process stops calling itself ready. */
enum { LAG_MAX = 500000 };

static void write_reason(struct buf *out, const char *name, const char *text)
{
	if (text[0] == '\0')
		return;
	buf_printf(out, ",\"%s\":", name);
	json_write_string(out, str_from(text));
}

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
	struct ledger_health ledger;
	struct offline_health offline;
	ledger_health_read(n->ledger, &ledger);
	offline_health_read(n->offline, &offline);
	bool ready = ledger.writable && ledger.damage[0] == '\0' && !offline.paused && offline.lag_entries <= LAG_MAX;

	struct buf out = { 0 };
	buf_printf(&out, "{\"status\":\"%s\",\"ledger\":{\"writable\":%s,\"durable_lsn\":%llu,\"lost_entries\":%llu",
		   ready ? "ready" : "not_ready", ledger.writable ? "true" : "false", (unsigned long long)ledger.durable_lsn,
		   (unsigned long long)ledger.lost_entries);
	write_reason(&out, "reason", ledger.writable ? "" : ledger.reason);
	write_reason(&out, "damage", ledger.damage);
	buf_printf(&out, "},\"projection\":{\"applied_lsn\":%llu,\"lag\":%llu,\"paused\":%s,\"missing_entries\":%llu",
		   (unsigned long long)offline.applied_lsn, (unsigned long long)offline.lag_entries,
		   offline.paused ? "true" : "false", (unsigned long long)offline.missing_entries);
	write_reason(&out, "reason", offline.paused ? offline.error : "");
	buf_append_lit(&out, "},");
	write_materialized(n, &out);
	buf_append_lit(&out, ",\"needs\":[\"ledger\",\"projection\"]}");
	exchange_reply_json(x, ready ? 200 : 503, buf_str(&out));
	buf_finish(&out);
}
