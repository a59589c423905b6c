/* Metrics: counters, gauges and histograms in one slab per thread, written without locks and merged when scraped.
 *
 * Families are registered before the loops start or while definitions load; a series (family + label values) is a small
 * number that the hot path adds to. Label values come from definitions and route templates, never from requests, so the
 * number of series is bounded; registering beyond METRICS_CELLS_MAX gives the family's overflow series and is counted. */
#pragma once
#include "runtime/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRICS_CELLS_MAX = 32768, METRIC_LABELS_MAX = 4 };

typedef uint32_t metric_id; /* a series; 0 is valid and goes nowhere */

/* Names are those of Prometheus, without the `_total` that counters get when rendered unless the name has it already.
 * labels: comma-separated label names, "" for none. buckets: upper bounds in seconds (or the family's unit), ascending,
 * ended by 0; NULL for the default: .00005 .0001 .00025 .0005 .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5 5 10.
 * All text is borrowed and must live as long as the process. Registering a family twice returns the first. Any thread. */
uint32_t metrics_family(enum metric_type type, const char *name, const char *help, const char *labels,
			const double *buckets);
/* values: one per label, in order; copied. The same values give the same series. Any thread; takes a lock. */
metric_id metrics_series(uint32_t family, const char *const *values);

void metrics_add(metric_id counter, uint64_t n);     /* own slab; no lock */
void metrics_set(metric_id gauge, double value);     /* process-wide last value; any thread */
void metrics_observe(metric_id histogram, double v); /* own slab; no lock */

/* Prometheus text 0.0.4 of all slabs, with process_* (cpu seconds, resident bytes, open fds, start time). Any thread. */
void metrics_render(struct buf *out);
/* The present sum of a counter over all slabs (tests, readiness). Any thread. */
uint64_t metrics_counter_value(metric_id counter);
