/* The table's statistics as metrics. The table counts under its own locks; here what has been added since the
 * last time goes to the process's counters. */
#include "runtime/metrics.h"
#include "store/online/online_table.h"

static metric_id plain(enum metric_type type, const char *name, const char *help)
{
	return metrics_series(metrics_family(type, name, help, "", NULL), NULL);
}

static metric_id by_outcome(const char *name, const char *help, const char *outcome)
{
	return metrics_series(metrics_family(METRIC_COUNTER, name, help, "outcome", NULL),
			      (const char *const[]){ outcome });
}

static void publish_gauges(const struct online_stats *s)
{
	metrics_set(plain(METRIC_GAUGE, "fabra_online_rows", "Entities in the online table."), (double)s->rows);
	metrics_set(plain(METRIC_GAUGE, "fabra_online_values", "Feature values in the online table."),
		    (double)s->cells);
	metrics_set(plain(METRIC_GAUGE, "fabra_online_tombstones", "Deletes that the online table remembers."),
		    (double)s->tombstones);
	metrics_set(plain(METRIC_GAUGE, "fabra_online_bytes", "Memory of the online table."), (double)s->bytes);
	metrics_set(plain(METRIC_GAUGE, "fabra_online_bytes_max", "Bound on the memory of the online table."),
		    (double)s->bytes_max);
}

static void publish_counters(const struct online_stats *now, const struct online_stats *before)
{
	const char *reads = "fabra_online_reads", *reads_help = "Reads of the online table.";
	const char *writes = "fabra_online_writes", *writes_help = "Writes and deletes of the online table.";
	metrics_add(by_outcome(reads, reads_help, "hit"), now->hits - before->hits);
	metrics_add(by_outcome(reads, reads_help, "miss"), now->misses - before->misses);
	metrics_add(by_outcome(writes, writes_help, "applied"), now->puts - before->puts);
	metrics_add(by_outcome(writes, writes_help, "deleted"), now->deletes - before->deletes);
	metrics_add(by_outcome(writes, writes_help, "stale"), now->stale - before->stale);
	metrics_add(by_outcome(writes, writes_help, "full"), now->full - before->full);
	metrics_add(plain(METRIC_COUNTER, "fabra_online_evicted", "Values lost to the bound."),
		    now->evicted_cells - before->evicted_cells);
	metrics_add(plain(METRIC_COUNTER, "fabra_online_expired", "Values and tombstones freed after their time."),
		    now->expired_cells - before->expired_cells);
	metrics_add(plain(METRIC_COUNTER, "fabra_online_tombstones_forgotten", "Tombstones lost before their time."),
		    now->tombstones_forgotten - before->tombstones_forgotten);
}

void online_publish(struct online *t)
{
	struct online_stats now;
	online_stats(t, &now);
	publish_gauges(&now);
	publish_counters(&now, &t->published);
	t->published = now;
}
