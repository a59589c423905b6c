#include "actors/node_metrics.h"
#include <stdlib.h>

static metric_id series2(uint32_t family, const char *a, const char *b)
{
	return metrics_series(family, (const char *const[]){ a, b });
}

static void features_register(struct node_metrics *m, const struct definitions *d)
{
	uint32_t requests = metrics_family(METRIC_COUNTER, "fabra_feature_requests_total", "Feature reads by outcome",
					   "feature,status", NULL);
	uint32_t seconds = metrics_family(METRIC_HISTOGRAM, "fabra_feature_latency_seconds",
					  "Time to compute a feature", "feature,step", NULL);
	uint32_t failures = metrics_family(METRIC_COUNTER, "fabra_feature_materialize_failures_total",
					   "Failed materialisations", "feature", NULL);
	for (uint32_t i = 0; i < d->features_count; i++) {
		const char *name = d->features[i].name.p;
		m->features[i] = (struct feature_metrics){
			.hit = series2(requests, name, "hit"),
			.miss = series2(requests, name, "miss"),
			.compute_success = series2(requests, name, "compute_success"),
			.compute_failure = series2(requests, name, "compute_failure"),
			.defaulted = series2(requests, name, "default"),
			.error = series2(requests, name, "error"),
			.compute_seconds = series2(seconds, name, "compute"),
			.materialize_failures = metrics_series(failures, &name),
		};
	}
	m->feature_unknown = series2(requests, "", "unknown");
}

static void contexts_register(struct node_metrics *m, const struct definitions *d)
{
	static const double age_buckets[] = { .1, .5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 0 };
	uint32_t assembly = metrics_family(METRIC_COUNTER, "fabra_context_assembly_total", "Context assemblies",
					   "name,status", NULL);
	uint32_t seconds = metrics_family(METRIC_HISTOGRAM, "fabra_context_latency_seconds",
					  "Time to assemble a context, until its record is durable", "name", NULL);
	uint32_t tokens = metrics_family(METRIC_COUNTER, "fabra_context_tokens_total", "Tokens in contexts", "name",
					 NULL);
	uint32_t hits = metrics_family(METRIC_COUNTER, "fabra_context_cache_hit_total", "Contexts from the cache",
				       "name", NULL);
	uint32_t status = metrics_family(METRIC_COUNTER, "fabra_context_freshness_status_total",
					 "Contexts by freshness", "name,status", NULL);
	uint32_t stalest = metrics_family(METRIC_HISTOGRAM, "fabra_context_stalest_feature_seconds",
					  "Age of the stalest feature of a context", "name", age_buckets);
	m->violations_family = metrics_family(METRIC_COUNTER, "fabra_context_freshness_violations_total",
					      "Features and retrievers older than a context allows", "name,feature",
					      NULL);
	for (uint32_t i = 0; i < d->contexts_count; i++) {
		const char *name = d->contexts[i].name.p;
		m->contexts[i] = (struct context_metrics){
			.success = series2(assembly, name, "success"),
			.failure = series2(assembly, name, "failure"),
			.seconds = metrics_series(seconds, &name),
			.tokens = metrics_series(tokens, &name),
			.cache_hit = metrics_series(hits, &name),
			.guaranteed = series2(status, name, "guaranteed"),
			.degraded = series2(status, name, "degraded"),
			.stalest_seconds = metrics_series(stalest, &name),
		};
	}
}

static size_t violations_of_context(const struct definitions *d)
{
	return (size_t)d->features_count + d->retrievers_count;
}

metric_id node_metrics_violation(const struct node_metrics *m, const struct definitions *d, uint32_t context,
				 struct str name)
{
	uint32_t feature = definitions_feature(d, name), retriever = definitions_retriever(d, name);
	if (feature == DEF_NONE && retriever == DEF_NONE)
		return 0;
	size_t at = feature != DEF_NONE ? feature : (size_t)d->features_count + retriever;
	const char *text = feature != DEF_NONE ? d->features[feature].name.p : d->retrievers[retriever].name.p;
	_Atomic(metric_id) *id = &m->violations[context * violations_of_context(d) + at];
	if (atomic_load_explicit(id, memory_order_relaxed) == 0) /* two threads at once register the same series */
		atomic_store_explicit(id, series2(m->violations_family, d->contexts[context].name.p, text),
				      memory_order_relaxed);
	return atomic_load_explicit(id, memory_order_relaxed);
}

/* Of an online store that is not in this process's memory. */
static void online_register(struct node_metrics *m)
{
	static const char *const outcomes[] = { [ONLINE_APPLIED] = "applied",
						[ONLINE_STALE] = "stale",
						[ONLINE_FULL] = "full",
						[ONLINE_FAILED] = "failed" };
	static const char *const endings[] = { "done", "failed" };
	uint32_t published = metrics_family(METRIC_COUNTER, "fabra_online_published_total",
					    "Values and deletes sent to the online store, by what it made of them",
					    "outcome", NULL);
	uint32_t repairs = metrics_family(METRIC_COUNTER, "fabra_online_repairs_total",
					  "Repairs of the online store from the history", "outcome", NULL);
	for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
		m->published[i] = metrics_series(published, &outcomes[i]);
	m->repairs_done = metrics_series(repairs, &endings[0]);
	m->repairs_failed = metrics_series(repairs, &endings[1]);
	m->online_pending = metrics_series(metrics_family(METRIC_GAUGE, "fabra_online_pending",
							  "Values and deletes that are kept to be put again", "", NULL),
					   NULL);
	m->writes_pending = metrics_series(metrics_family(METRIC_COUNTER, "fabra_online_pending_writes_total",
							  "PUTs and DELETEs answered before the online store had them",
							  "", NULL),
					   NULL);
	m->repair_values =
	    metrics_series(metrics_family(METRIC_GAUGE, "fabra_online_repair_values",
					  "Values that the repair under way, or the last one, has put so far", "",
					  NULL),
			   NULL);
	m->repair_due = metrics_series(metrics_family(METRIC_GAUGE, "fabra_online_repair_due",
						      "1 while the online store may lack what the history has", "",
						      NULL),
				       NULL);
}

bool node_metrics_init(struct node_metrics *m, const struct definitions *d, bool evidence_required)
{
	*m = (struct node_metrics){ 0 };
	m->features = calloc(d->features_count + 1, sizeof *m->features);
	m->contexts = calloc(d->contexts_count + 1, sizeof *m->contexts);
	m->violations = calloc(d->contexts_count * violations_of_context(d) + 1, sizeof *m->violations);
	m->materialized = calloc(d->features_count + 1, sizeof *m->materialized);
	m->tables_stale_since_us = calloc(d->tables_count + 1, sizeof *m->tables_stale_since_us);
	if (m->tables_stale_since_us == NULL || m->features == NULL || m->contexts == NULL || m->violations == NULL ||
	    m->materialized == NULL) {
		node_metrics_finish(m);
		return false;
	}
	features_register(m, d);
	contexts_register(m, d);
	const char *mode = evidence_required ? "required" : "best_effort";
	m->evidence_success = metrics_series(metrics_family(METRIC_COUNTER, "fabra_evidence_persist_success_total",
							    "Records made durable", "mode", NULL),
					     &mode);
	m->evidence_failure = metrics_series(metrics_family(METRIC_COUNTER, "fabra_evidence_persist_failures_total",
							    "Records that could not be made durable", "mode", NULL),
					     &mode);
	m->events_processed = metrics_series(metrics_family(METRIC_COUNTER, "fabra_events_processed_total",
							    "Events applied", "", NULL),
					     NULL);
	m->events_failed =
	    metrics_series(metrics_family(METRIC_COUNTER, "fabra_events_failed_total",
					  "Feature functions that failed on an event, and values that are not kept", "",
					  NULL),
			   NULL);
	m->event_conflicts = metrics_series(metrics_family(METRIC_COUNTER, "fabra_event_conflicts_total",
							   "Events whose values met a write behind their reading", "",
							   NULL),
					    NULL);
	m->event_retries = metrics_series(metrics_family(METRIC_COUNTER, "fabra_event_retries_total",
							 "Events that could not be applied and are tried again", "",
							 NULL),
					  NULL);
	m->events_given_up = metrics_series(metrics_family(METRIC_COUNTER, "fabra_events_given_up_total",
							   "Accepted events that are not applied before the next start",
							   "", NULL),
					    NULL);
	m->table_loads = metrics_series(metrics_family(METRIC_COUNTER, "fabra_table_loads_total",
						       "Loads of tables whose files had changed", "", NULL),
					NULL);
	m->table_failures = metrics_series(metrics_family(METRIC_COUNTER, "fabra_table_load_failures_total",
							  "Changed files that could not be loaded", "", NULL),
					   NULL);
	online_register(m);
	return true;
}

void node_metrics_finish(struct node_metrics *m)
{
	free(m->features);
	free(m->contexts);
	free(m->violations);
	free(m->materialized);
	free(m->tables_stale_since_us);
	*m = (struct node_metrics){ 0 };
}
