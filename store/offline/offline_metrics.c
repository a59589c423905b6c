/* The projection's health as metrics. */
#include "runtime/metrics.h"
#include "store/offline/offline_duckdb.h"

static metric_id gauge(const char *name, const char *help)
{
	return metrics_series(metrics_family(METRIC_GAUGE, name, help, "", NULL), NULL);
}

void offline_publish(struct offline *o)
{
	struct offline_health now;
	offline_health_read(o, &now);
	metrics_set(gauge("fabra_projection_paused", "1: the ledger is not taken over into DuckDB."), now.paused);
	metrics_set(gauge("fabra_projection_lag_entries", "Durable entries that are not in DuckDB yet."),
		    (double)now.lag_entries);
	metrics_set(gauge("fabra_projection_missing_entries", "Entries that were damaged before they came to DuckDB."),
		    (double)now.missing_entries);
}
