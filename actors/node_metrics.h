/* The metric series of features and contexts, registered once per definitions file: label values are names from the
 * file and fixed words, so that their number is bounded. Names are Fabra's (fabra-core 1.3). */
#pragma once
#include "actors/definitions/definitions.h"
#include "runtime/metrics.h"
#include "store/online/online.h"
#include <stdatomic.h>

struct feature_metrics {
	metric_id hit, miss, compute_success, compute_failure, defaulted, error;
	metric_id compute_seconds;
	metric_id materialize_failures;
};

struct context_metrics {
	metric_id success, failure, seconds, tokens, cache_hit;
	metric_id guaranteed, degraded;
	metric_id stalest_seconds;
};

/* NOT_YET: no run has ended, and there is no value. KEPT: none has ended in this life, and values of the last one are served. */
enum materialized_state { MATERIALIZED_NOT_YET, MATERIALIZED_KEPT, MATERIALIZED_DONE, MATERIALIZED_FAILING };

struct node_metrics {
	struct feature_metrics *features; /* by feature; owned */
	struct context_metrics *contexts; /* by context; owned */
	_Atomic(metric_id) *violations;   /* [context][feature or retriever]; owned; 0: not registered yet */
	uint32_t violations_family;
	_Atomic(enum materialized_state) *materialized; /* by feature; owned; the outcome of its last run */
	/* By table; owned. Wall time since when it, or one that its SQL names, has old rows since its new file cannot be loaded;
	 * 0: its rows are its file's. */
	_Atomic(int64_t) *tables_stale_since_us;
	metric_id evidence_success, evidence_failure; /* of the mode in force */
	metric_id feature_unknown;
	metric_id events_processed, events_failed, event_conflicts, event_retries, events_given_up;
	metric_id table_loads, table_failures;  /* reloads of changed files */
	metric_id published[ONLINE_FAILED + 1]; /* by enum online_result; this and what follows: a store elsewhere */
	metric_id online_pending, writes_pending;
	metric_id repairs_done, repairs_failed, repair_values, repair_due;
};

/* false: out of memory. */
bool node_metrics_init(struct node_metrics *m, const struct definitions *d, bool evidence_required);
void node_metrics_finish(struct node_metrics *m);
/* The series that counts freshness violations of this feature or retriever in this context. It is registered at its first
 * violation, since few are ever violated. Any thread. */
metric_id node_metrics_violation(const struct node_metrics *m, const struct definitions *d, uint32_t context,
				 struct str name);
