/* GET /ready: true only when the stores that the mode needs answer. */
#include "actors/materializer.h"
#include "http/api.h"
#include "store/offline.h"

/* Entries that the projection may be behind before the process stops calling itself ready. */
enum { LAG_MAX = 500000 };

void api_ready_get(struct exchange *x)
{
	const struct node *n = api_node(x);
	struct ledger_health ledger;
	ledger_health_read(n->ledger, &ledger);
	uint64_t applied = offline_applied_lsn(n->offline);
	uint64_t lag = ledger.durable_lsn > applied ? ledger.durable_lsn - applied : 0;
	uint32_t done, total;
	materializer_progress(&done, &total);
	bool ready = ledger.writable && lag <= LAG_MAX && done == total;

	struct buf out = { 0 };
	buf_printf(&out, "{\"status\":\"%s\",\"ledger\":{\"writable\":%s,\"durable_lsn\":%llu", ready ? "ready" : "not_ready",
		   ledger.writable ? "true" : "false", (unsigned long long)ledger.durable_lsn);
	if (!ledger.writable) {
		buf_append_lit(&out, ",\"reason\":");
		json_write_string(&out, str_from(ledger.reason));
	}
	buf_printf(&out, "},\"projection\":{\"applied_lsn\":%llu,\"lag\":%llu},\"materialized\":{\"done\":%u,\"total\":%u}}",
		   (unsigned long long)applied, (unsigned long long)lag, done, total);
	exchange_reply_json(x, ready ? 200 : 503, buf_str(&out));
	buf_finish(&out);
}
