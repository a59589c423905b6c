/* The ledger's health as metrics. It counts by itself; here what has been added since the last time goes to the
 * process's counters. */
#include "runtime/metrics.h"
#include "store/ledger/ledger_private.h"

static metric_id plain(enum metric_type type, const char *name, const char *help)
{
	return metrics_series(metrics_family(type, name, help, "", NULL), NULL);
}

void ledger_publish(struct ledger *l)
{
	struct ledger_health now;
	ledger_health_read(l, &now);
	metrics_set(plain(METRIC_GAUGE, "fabra_ledger_writable", "1: the ledger accepts entries."), now.writable);
	metrics_set(plain(METRIC_GAUGE, "fabra_ledger_bytes", "Bytes in the ledger's segments."), (double)now.bytes);
	metrics_set(plain(METRIC_GAUGE, "fabra_ledger_lost_entries", "Entries that were durable and are missing."),
		    (double)now.lost_entries);
	metrics_set(plain(METRIC_GAUGE, "fabra_ledger_doubtful_events",
			  "Events of which nobody knows whether they were applied."),
		    (double)now.doubtful_events);
	metrics_add(plain(METRIC_COUNTER, "fabra_ledger_damaged_reads", "Reads that met damage."),
		    now.damaged_reads - l->published_damaged_reads);
	metrics_add(plain(METRIC_COUNTER, "fabra_ledger_sync_failures", "Batches that could not be made durable."),
		    now.sync_failures - l->published_sync_failures);
	l->published_damaged_reads = now.damaged_reads;
	l->published_sync_failures = now.sync_failures;
}
