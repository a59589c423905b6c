/* serve.c -- composes one process: stores, loops, actors, HTTP; waits for a signal; takes it apart in reverse order.
 *
 * Threads: I/O loops (requests), and blocking loops: ledger (the committer alone), records (reads by id), offline (SQL of
 * requests), lane-1 to lane-4 (those of them that take long), materialise (SQL of materialised features), projection (in the background). */
#include "tools/serve.h"
#include "actors/definitions_describe.h"
#include "actors/ingestor.h"
#include "actors/materializer.h"
#include "actors/table_loader.h"
#include "actors/warm_start.h"
#include "http/api.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/log_stdio.h"
#include "store/entries.h"
#include "store/ledger.h"
#include "store/offline.h"
#include "tools/serve_options.h"
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OFFLINE_LANES = 4 };

struct server {
	struct serve_options options;
	struct node node;
	struct node_loop *node_loops[LOOPS_MAX]; /* owned */
	struct loop *io[LOOPS_MAX];
	struct loop *ledger_loop, *records_loop, *offline_loop, *materialize_loop, *projection_loop;
	struct loop *lane_loops[OFFLINE_LANES];
	struct definitions *definitions;
	struct pricing *pricing;
	struct http_server *http;
	sem_t drained;
	uint32_t values_warm;
	struct evidence_entry **pending; /* events of an earlier life that are not applied yet; owned */
	size_t pending_count;
};

static bool say(struct buf *why, const char *what)
{
	fprintf(stderr, "fabra serve: %s: %.*s%s", what, STR_ARG(buf_str(why)),
		why->n && why->p[why->n - 1] == '\n' ? "" : "\n");
	buf_finish(why);
	return false;
}

/* ---- limits ---- */

/* A full table makes room for the next client; without a descriptor there is nothing to make room with. */
static bool check_connections(struct serve_options *o, rlim_t most)
{
	if (o->connections_max <= most)
		return true;
	if (config_str("FABRA_CONNECTIONS_MAX", NULL) == NULL) {
		o->connections_max = (uint32_t)most;
		return true;
	}
	fprintf(stderr, "fabra serve: start: FABRA_CONNECTIONS_MAX=%u is more than the %llu for which file descriptors are left; lower "
		"it, or raise the limit (ulimit -n, or LimitNOFILE of the service) by %llu\n",
		o->connections_max, (unsigned long long)most, (unsigned long long)(o->connections_max - most));
	return false;
}

/* The stores, the loops and the listeners need some 24 + 8 a loop; what is left is for connections. Where the
 * system allows less, the first thing to fail would be whatever opens a file next. */
static bool check_descriptors(struct serve_options *o)
{
	enum { BASE = 64, PER_LOOP = 16, CONNECTIONS_LEAST = 64 };
	rlim_t own = BASE + PER_LOOP * o->loops, least = own + CONNECTIONS_LEAST, wanted = least + o->connections_max;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	if (limit.rlim_cur < wanted && limit.rlim_cur != RLIM_INFINITY) {
		limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= least || limit.rlim_cur == RLIM_INFINITY)
		return check_connections(o, limit.rlim_cur - own);
	fprintf(stderr, "fabra serve: start: %llu file descriptors are allowed and %llu are needed at least; raise the limit "
		"(ulimit -n 4096, or LimitNOFILE of the service)\n",
		(unsigned long long)limit.rlim_cur, (unsigned long long)least);
	return false;
}

/* ---- stores ---- */

static bool open_stores(struct server *s)
{
	struct buf why = { 0 };
	struct serve_options *o = &s->options;
	if (!paths_prepare(&o->paths, &why))
		return say(&why, "state folder");
	s->node.ledger = ledger_open(&(struct ledger_config){ .dir = o->paths.ledger, .segment_bytes = o->segment_bytes,
							       .signer = &o->signer, .record_keep_ms = o->record_keep_ms,
							       .value_keep_ms = o->value_keep_ms,
							       .event_keep_ms = o->event_keep_ms,
							       .temporary = o->paths.in_memory }, &why);
	if (s->node.ledger == NULL)
		return say(&why, "ledger");
	s->node.offline = offline_open(&(struct offline_config){ .path = o->paths.duckdb, .memory_limit_bytes = o->duckdb_bytes,
								  .history_keep_ms = o->history_keep_ms,
								  .log = ledger_log_source(s->node.ledger) }, &why);
	if (s->node.offline == NULL)
		return say(&why, "offline store");
	s->node.online = online_create(&(struct online_config){ .bytes_max = o->online_bytes });
	if (s->node.online == NULL) {
		buf_append_lit(&why, "out of memory; lower FABRA_ONLINE_BYTES");
		return say(&why, "online store");
	}
	s->node.idempotency = idempotency_create(o->idempotency_keys_max);
	return (s->node.idempotency && idempotency_load(s->node.idempotency, ledger_log_source(s->node.ledger), clock_wall_us(), &why)) ||
	       say(&why, "idempotency keys");
}

/* Mistakes in the SQL of tables and features are such of the definitions: all of them show here, not one at each start or at
 * the first refresh. */
static bool load_tables(struct server *s)
{
	struct buf why = { 0 };
	bool ok = table_loader_load_all(&s->node, &why);
	if (!ok)
		buf_append_char(&why, '\n');
	ok = definitions_check_sql(s->definitions, s->node.offline, &why) && ok;
	if (!ok)
		fprintf(stderr, "%.*s%s", STR_ARG(buf_str(&why)), why.n && why.p[why.n - 1] == '\n' ? "" : "\n");
	buf_finish(&why);
	return ok;
}

/* ---- warm start: the projection's newest values, then what the ledger has beyond it ---- */

static bool warm_value(void *arg, const struct offline_value *v)
{
	struct server *s = arg;
	s->values_warm += warm_start_value(&s->node, v, clock_wall_us());
	return true;
}

static bool warm_start(struct server *s)
{
	struct buf why = { 0 };
	uint64_t started_ns = clock_mono_ns();
	if (!offline_warm(s->node.offline, s, warm_value, &why))
		return say(&why, "warm start");
	struct ledger_scan *scan =
	    ledger_scan_open(s->node.ledger, NULL, offline_applied_lsn(s->node.offline) + 1, &why);
	if (scan == NULL)
		return say(&why, "warm start");
	struct log_source_entry frame;
	enum log_source_result r;
	while ((r = ledger_scan_next(scan, &frame)) == LOG_SOURCE_ENTRY || r == LOG_SOURCE_CORRUPT)
		if (r == LOG_SOURCE_ENTRY)
			s->values_warm += warm_start_frame(&s->node, &frame, clock_wall_us());
	ledger_scan_close(scan);
	log_line(LOG_INFO, "serve", "warm start", LOG_INT("values", s->values_warm),
		 LOG_INT("duration_ms", (int64_t)((clock_mono_ns() - started_ns) / 1000000)));
	return r == LOG_SOURCE_END || say(&why, "warm start: the ledger cannot be read");
}

/* ---- events that a crash left behind ---- */

static void keep_pending(void *arg, const struct log_source_entry *f)
{
	struct server *s = arg;
	struct evidence_entry *e = evidence_entry_new(EVIDENCE_EVENT);
	struct evidence_entry **grown = realloc(s->pending, (s->pending_count + 1) * sizeof *grown);
	if (grown)
		s->pending = grown;
	if (e == NULL || grown == NULL) {
		evidence_entry_free(e); /* it stays pending, for the next start */
		return;
	}
	e->lsn = f->lsn;
	buf_append_str(&e->body, f->body);
	s->pending[s->pending_count++] = e;
}

static bool find_pending(struct server *s)
{
	struct buf why = { 0 };
	return ledger_log_source(s->node.ledger)->pending_events(s->node.ledger, s, keep_pending, &why) || say(&why, "pending events");
}

/* In log order to the loops that own their entities, which do not run yet: no new event can come before them. */
static bool redo_pending(struct server *s)
{
	struct entry_event event;
	for (size_t i = 0; i < s->pending_count; i++) {
		struct evidence_entry *e = s->pending[i];
		s->pending[i] = NULL;
		if (!entry_event_read(buf_str(&e->body), &event)) {
			evidence_entry_free(e);
			continue;
		}
		struct node_loop *owner = node_owner_of(&s->node, event.entity_id);
		if (!loop_post(rt_named(owner->loop, NAME_INGESTOR), &ingest_event_post(INGEST_REDO, e)->head))
			log_line(LOG_ERROR, "serve", "a pending event waits for the next start: too many at once");
	}
	if (s->pending_count)
		log_line(LOG_INFO, "serve", "pending events", LOG_INT("events", (int64_t)s->pending_count));
	return true;
}

/* ---- the node ---- */

static bool fill_defaults(struct server *s)
{
	const struct definitions *d = s->definitions;
	s->node.defaults = calloc(d->features_count + 1, sizeof *s->node.defaults);
	if (s->node.defaults == NULL)
		return false;
	for (uint32_t i = 0; i < d->features_count; i++)
		if (d->features[i].default_json.p)
			s->node.defaults[i] = value_create(d->features[i].default_json);
	return true;
}

static bool fill_node(struct server *s)
{
	struct buf why = { 0 };
	struct node *n = &s->node;
	const struct serve_options *o = &s->options;
	n->definitions = s->definitions;
	n->environment = o->environment;
	n->fabra_version = STR(FABRA_VERSION);
	n->evidence_required = o->evidence_required;
	n->include_content = o->include_content;
	n->evidence_timeout_ms = o->evidence_timeout_ms;
	if (!fill_defaults(s) || !node_metrics_init(&n->metrics, s->definitions, o->evidence_required)) {
		buf_append_lit(&why, "out of memory");
		return say(&why, "start");
	}
	s->pricing = pricing_create(getenv("FABRA_CUSTOM_PRICING_FILE"), &why);
	if (s->pricing == NULL)
		return say(&why, "pricing");
	n->pricing = s->pricing;
	return (tokens_open(&n->encodings[TOKENS_O200K], TOKENS_O200K, NULL, &why) == 0 &&
		tokens_open(&n->encodings[TOKENS_CL100K], TOKENS_CL100K, NULL, &why) == 0) || say(&why, "tokenizer");
}

/* ---- loops and actors ---- */

static struct loop *blocking_loop(const char *name, bool is_background)
{
	return loop_create(&(struct loop_config){ .name = name, .kind = LOOP_BLOCKING, .is_background = is_background,
						  .actors_max = 1024 });
}

static bool create_loops(struct server *s)
{
	static const char *const io_names[] = { "io-1", "io-2", "io-3", "io-4", "io-5", "io-6", "io-7", "io-8" };
	bool ok = true;
	for (unsigned i = 0; i < s->options.loops; i++) {
		s->io[i] = loop_create(&(struct loop_config){ .name = i < 8 ? io_names[i] : "io-n", .kind = LOOP_IO });
		ok = ok && s->io[i];
	}
	s->ledger_loop = blocking_loop("ledger", false);
	s->records_loop = blocking_loop("records", false);
	s->offline_loop = blocking_loop("offline", false);
	s->materialize_loop = blocking_loop("materialize", false);
	s->projection_loop = blocking_loop("projection", true);
	static const char *const lane_names[OFFLINE_LANES] = { "lane-1", "lane-2", "lane-3", "lane-4" };
	for (unsigned i = 0; i < OFFLINE_LANES; i++) {
		s->lane_loops[i] = blocking_loop(lane_names[i], false);
		ok = ok && s->lane_loops[i];
	}
	ok = ok && s->ledger_loop && s->records_loop && s->offline_loop && s->materialize_loop && s->projection_loop;
	struct buf why = { 0 };
	if (!ok) {
		buf_append_lit(&why, "cannot create the loops: out of memory");
		return say(&why, "start");
	}
	return true;
}

static bool create_node_loop(struct server *s, unsigned index)
{
	struct buf why = { 0 };
	struct node_loop *nl = calloc(1, sizeof *nl);
	if (nl == NULL)
		return false;
	s->node_loops[index] = nl;
	nl->node = &s->node;
	nl->loop = s->io[index];
	nl->index = index;
	nl->script = script_create(s->definitions, NULL, &why);
	nl->tokens = token_cache_create(0);
	s->node.loops[index] = nl;
	s->node.loops_count = index + 1;
	s->node.by_loop_id[loop_id(nl->loop)] = nl;
	if (nl->script == NULL || nl->tokens == NULL || !node_loop_spawn(nl, &why))
		return say(&why, "start");
	return true;
}

static bool spawn_actors(struct server *s)
{
	struct node *n = &s->node;
	n->committer = ledger_spawn_committer(n->ledger, s->ledger_loop);
	n->ledger_reader = ledger_spawn_reader(n->ledger, s->records_loop);
	n->offline_reader = offline_spawn_reader(n->offline, s->offline_loop, s->lane_loops, OFFLINE_LANES);
	n->materialize_reader = offline_spawn_reader(n->offline, s->materialize_loop, NULL, 0);
	struct actor_ref projection = offline_spawn_projection(n->offline, s->projection_loop);
	for (unsigned i = 0; i < s->options.loops; i++)
		if (!create_node_loop(s, i))
			return false;
	struct actor_ref materializer =
	    rt_supervise(s->materialize_loop, NAME_MATERIALIZER, &materializer_class, n, 10, 60000);
	struct actor_ref table_loader =
	    rt_supervise(s->materialize_loop, NAME_TABLE_LOADER, &table_loader_class, n, 10, 60000);
	struct buf why = { 0 };
	if (ref_is_none(table_loader) || ref_is_none(n->committer) || ref_is_none(n->ledger_reader) || ref_is_none(n->offline_reader) ||
	    ref_is_none(n->materialize_reader) || ref_is_none(projection) || ref_is_none(materializer)) {
		buf_append_lit(&why, "cannot start the store actors");
		return say(&why, "start");
	}
	return true;
}

static bool start_http(struct server *s)
{
	struct buf why = { 0 };
	const struct serve_options *o = &s->options;
	s->http = http_server_create(&(struct http_config){ .host = o->host, .port = o->port, .tls_cert_file = o->tls_cert,
							     .tls_key_file = o->tls_key, .api_key = o->api_key,
							     .body_bytes_max = o->body_bytes,
							     .connections_max = o->connections_max,
							     .in_flight_max = o->in_flight_max,
							     .handshake_timeout_ms = o->handshake_timeout_ms,
							     .read_timeout_ms = o->read_timeout_ms,
							     .stall_timeout_ms = o->stall_timeout_ms,
							     .idle_timeout_ms = o->idle_timeout_ms,
							     .reply_rate_min = o->reply_rate_min,
							     .control_frames_max = o->control_frames_max,
							     .request_timeout_ms = o->request_timeout_ms,
							     .shutdown_grace_ms = o->shutdown_grace_ms,
							     .routes = api_routes, .routes_count = api_routes_count,
							     .app = &s->node, .access_log = o->access_log },
				     s->io, o->loops, &why);
	return s->http || say(&why, "listen");
}

static bool start_loops(struct server *s)
{
	struct loop *blocking[] = { s->ledger_loop, s->records_loop, s->offline_loop, s->materialize_loop,
				    s->projection_loop };
	int status = 0;
	for (size_t i = 0; i < sizeof blocking / sizeof blocking[0] && status == 0; i++)
		status = loop_start(blocking[i]);
	for (unsigned i = 0; i < OFFLINE_LANES && status == 0; i++)
		status = loop_start(s->lane_loops[i]);
	for (unsigned i = 0; i < s->options.loops && status == 0; i++)
		status = loop_start(s->io[i]);
	struct buf why = { 0 };
	if (status != 0) {
		buf_printf(&why, "cannot start a thread: %s; raise the limit of threads or lower --loops", strerror(-status));
		return say(&why, "start");
	}
	return true;
}

/* ---- the end ---- */

static void on_drained(void *arg)
{
	sem_post(&((struct server *)arg)->drained);
}

static void end_loop(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop_stop(loop);
	loop_join(loop);
}

static void drain(struct server *s)
{
	http_server_drain(s->http, on_drained, s);
	while (sem_wait(&s->drained) != 0)
		continue;
}

/* Those who ask the stores first, then the stores; the ledger is the last to write. */
static void end_loops(struct server *s)
{
	for (unsigned i = 0; i < s->options.loops; i++)
		end_loop(s->io[i]);
	end_loop(s->materialize_loop);
	end_loop(s->offline_loop);
	for (unsigned i = 0; i < OFFLINE_LANES; i++)
		end_loop(s->lane_loops[i]);
	end_loop(s->records_loop);
	end_loop(s->ledger_loop);
	end_loop(s->projection_loop);
}

/* Of a whole server, or of as much as a failed start has made; its loops have ended or never ran. */
static void destroy(struct server *s)
{
	http_server_destroy(s->http);
	for (unsigned i = 0; i < s->options.loops; i++) {
		if (s->node_loops[i]) {
			script_destroy(s->node_loops[i]->script);
			token_cache_destroy(s->node_loops[i]->tokens);
		}
		free(s->node_loops[i]);
		loop_destroy(s->io[i]);
	}
	loop_destroy(s->materialize_loop);
	loop_destroy(s->offline_loop);
	for (unsigned i = 0; i < OFFLINE_LANES; i++)
		loop_destroy(s->lane_loops[i]);
	loop_destroy(s->records_loop);
	loop_destroy(s->ledger_loop);
	loop_destroy(s->projection_loop);
	for (size_t i = 0; i < s->pending_count; i++)
		evidence_entry_free(s->pending[i]);
	free(s->pending);
	offline_close(s->node.offline);
	ledger_close(s->node.ledger);
	online_destroy(s->node.online);
	idempotency_destroy(s->node.idempotency);
	for (uint32_t i = 0; s->node.defaults && i < s->definitions->features_count; i++)
		value_unref(s->node.defaults[i]);
	free(s->node.defaults);
	node_metrics_finish(&s->node.metrics);
	pricing_destroy(s->pricing);
	tokens_close(&s->node.encodings[TOKENS_O200K]);
	tokens_close(&s->node.encodings[TOKENS_CL100K]);
	definitions_free(s->definitions);
	log_stop();
	sem_destroy(&s->drained);
	free(s);
}

static bool start(struct server *s)
{
	struct buf why = { 0 };
	s->definitions = definitions_load(s->options.file, s->options.unsafe_lua, &why);
	if (s->definitions == NULL) {
		fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&why)));
		buf_finish(&why);
		return false;
	}
	return check_descriptors(&s->options) && fill_node(s) && open_stores(s) && load_tables(s) && warm_start(s) && find_pending(s) &&
	       create_loops(s) && spawn_actors(s) && start_http(s) && redo_pending(s) && start_loops(s);
}

/* Waits for SIGINT or SIGTERM. A second Ctrl-C, while the requests are drained, ends the process at once: what is durable
 * stays so. */
static void wait_for_signal(const sigset_t *signals)
{
	int number = 0;
	sigset_t interrupt;
	while (sigwait(signals, &number) != 0)
		continue;
	log_line(LOG_INFO, "serve", "stopping", LOG_INT("signal", number));
	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	signal(SIGINT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
}

int serve_run(int argc, char **argv, int (*on_listening)(void *arg, uint16_t port), void *arg)
{
	struct server *s = calloc(1, sizeof *s);
	int status = s ? serve_options_read(argc, argv, &s->options) : 2;
	if (status) {
		free(s);
		return status == 1 ? 0 : status;
	}
	/* Signals belong to this thread: every other one is started with them blocked. */
	umask(077); /* state holds what users asked: nobody else may read any file of it */
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	sem_init(&s->drained, 0, 0);
	log_start(STDERR_FILENO, s->options.verbose ? LOG_DEBUG : LOG_INFO);

	uint64_t started_ns = clock_mono_ns();
	if (!start(s)) {
		end_loops(s);
		destroy(s);
		return 1;
	}
	uint16_t port = http_server_port(s->http);
	log_line(LOG_INFO, "serve", "listening", LOG_CSTR("host", s->options.host), LOG_INT("port", port),
		 LOG_CSTR("definitions", s->options.file), LOG_INT("loops", s->options.loops),
		 LOG_CSTR("evidence_mode", s->options.evidence_required ? "required" : "best_effort"),
		 LOG_INT("duration_ms", (int64_t)((clock_mono_ns() - started_ns) / 1000000)));
	status = on_listening ? on_listening(arg, port) : -1;
	if (status < 0) {
		log_stdio_catch(); /* only the log thread may write from now on */
		wait_for_signal(&signals);
		status = 0;
	}
	drain(s);
	end_loops(s);
	log_stdio_release();
	destroy(s);
	return status;
}

int serve_main(int argc, char **argv)
{
	return serve_run(argc, argv, NULL, NULL);
}
