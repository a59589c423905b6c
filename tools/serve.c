/* serve.c -- composes one process: stores, loops, actors, HTTP; waits for a signal; takes it apart in reverse order.
 *
 * Threads: I/O loops (requests), and the blocking loops of the stores. */
#include "tools/serve.h"
#include "actors/declare/definitions_load.h"
#include "actors/feature_sql.h"
#include "actors/ingestor.h"
#include "actors/materializer.h"
#include "actors/pending_events.h"
#include "actors/table_loader.h"
#include "actors/values.h"
#include "actors/warm_start.h"
#include "http/api/api.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/log_stdio.h"
#include "tools/serve_options.h"
#include "tools/stores_process.h"
#include <dirent.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct server {
	struct serve_options options;
	struct node node;
	struct node_loop *node_loops[LOOPS_MAX]; /* owned */
	struct loop *io[LOOPS_MAX];
	struct stores_process *stores;
	struct definitions *definitions;
	struct pricing *pricing;
	struct http_server *http;
	sem_t drained;
	struct pending_events pending; /* of an earlier life */
};

static bool say(struct buf *why, const char *what)
{
	fprintf(stderr, "fabra serve: %s: %.*s%s", what, STR_ARG(buf_str(why)),
		why->n && why->p[why->n - 1] == '\n' ? "" : "\n");
	buf_finish(why);
	return false;
}

static bool say_line(struct buf *why) /* which names what it is about itself */
{
	fprintf(stderr, "fabra serve: %.*s%s", STR_ARG(buf_str(why)), why->n && why->p[why->n - 1] == '\n' ? "" : "\n");
	buf_finish(why);
	return false;
}

/* ---- limits ---- */

/* What a start opens, some 26 and 5 a loop, and FOR_LATER. */
enum { DESCRIPTORS_BASE = 96, DESCRIPTORS_PER_LOOP = 6, CONNECTIONS_LEAST = 64 };
/* Opened while it runs: segments of the ledger, a scan and a backup of it, files that DuckDB writes and tables that are read again. */
enum { FOR_LATER = 56 };

static unsigned long long descriptors_allowed(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/* Raises the limit to what the settings can use. Where the system allows less than the stores and a few connections need, the
 * first thing to fail would be whatever opens a file next. */
static bool check_descriptors(struct serve_options *o)
{
	rlim_t least = DESCRIPTORS_BASE + DESCRIPTORS_PER_LOOP * o->loops + CONNECTIONS_LEAST,
	       wanted = least + o->connections_max + o->connections_max / 4 + 256;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	if (limit.rlim_cur < wanted && limit.rlim_cur != RLIM_INFINITY) {
		limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= least || limit.rlim_cur == RLIM_INFINITY)
		return true;
	fprintf(stderr,
		"fabra serve: start: %llu file descriptors are allowed and %llu are needed at least; raise the limit "
		"(ulimit -n 4096, or LimitNOFILE of the service)\n",
		(unsigned long long)limit.rlim_cur, (unsigned long long)least);
	return false;
}

static unsigned long long descriptors_open(void)
{
	unsigned long long n = 0;
	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
		n += e->d_name[0] != '.';
	if (dir == NULL)
		return DESCRIPTORS_BASE - FOR_LATER;
	closedir(dir);
	return n - 1; /* the folder's own */
}

/* What the stores and loops have, now that all of them are open, and what they will open, is theirs; connections share the rest. A
 * fifth of it is for those that are cut and not closed yet: the next client has their place in the table already. */
static bool share_descriptors(struct serve_options *o)
{
	unsigned long long allowed = descriptors_allowed(), own = descriptors_open() + FOR_LATER;
	unsigned long long left = allowed > own ? allowed - own : 0, most = left - left / 5;
	o->descriptors_max = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
	if (most >= o->connections_max)
		return true;
	if (config_str("FABRA_CONNECTIONS_MAX", NULL) == NULL && most >= CONNECTIONS_LEAST / 2) {
		o->connections_max = (uint32_t)most;
		return true;
	}
	fprintf(
	    stderr,
	    "fabra serve: start: FABRA_CONNECTIONS_MAX=%u is more than the %llu for which file descriptors are left; lower "
	    "it, or raise the limit (ulimit -n, or LimitNOFILE of the service) by %llu\n",
	    o->connections_max, most, (o->connections_max - most) * 5 / 4 + 1);
	return false;
}

/* ---- stores ---- */

static bool open_stores(struct server *s)
{
	struct buf why = { 0 };
	struct serve_options *o = &s->options;
	if (!paths_prepare(&o->paths, &why))
		return say(&why, "state folder");
	s->stores = stores_process_open(o, s->definitions, s->io, o->loops, &why);
	if (s->stores == NULL)
		return say_line(&why);
	s->node.stores = s->stores->stores;
	return true;
}

/* Mistakes in the SQL of tables and features are such of the definitions: all of them show here, not one at each start or at
 * the first refresh. */
static bool load_tables(struct server *s)
{
	struct buf why = { 0 };
	bool ok = table_loader_load_all(&s->node, &why);
	if (!ok)
		buf_append_char(&why, '\n');
	ok = feature_sql_check(s->definitions, &s->node.stores->offline, &why) && ok;
	if (!ok)
		fprintf(stderr, "%.*s%s", STR_ARG(buf_str(&why)), why.n && why.p[why.n - 1] == '\n' ? "" : "\n");
	buf_finish(&why);
	return ok;
}

/* What an earlier life left, before anything is written. */
static bool take_over(struct server *s)
{
	struct buf why = { 0 };
	struct warm_counts counts;
	if (!warm_start(&s->node, &counts, &why))
		return say(&why, "warm start");
	return pending_events_read(&s->pending, s->node.stores->log, &why) || say(&why, "pending events");
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
	n->values = values_create();
	if (!n->values || !fill_defaults(s) || !node_metrics_init(&n->metrics, s->definitions, o->evidence_required)) {
		buf_append_lit(&why, "out of memory");
		return say(&why, "start");
	}
	s->pricing = pricing_create(getenv("FABRA_CUSTOM_PRICING_FILE"), &why);
	if (s->pricing == NULL)
		return say(&why, "pricing");
	n->pricing = s->pricing;
	return (tokens_open(&n->encodings[TOKENS_O200K], TOKENS_O200K, NULL, &why) == 0 &&
		tokens_open(&n->encodings[TOKENS_CL100K], TOKENS_CL100K, NULL, &why) == 0) ||
	       say(&why, "tokenizer");
}

/* ---- loops and actors ---- */

static bool create_loops(struct server *s)
{
	static const char *const io_names[] = { "io-1", "io-2", "io-3", "io-4", "io-5", "io-6", "io-7", "io-8" };
	bool ok = true;
	for (unsigned i = 0; i < s->options.loops; i++) {
		s->io[i] = loop_create(&(struct loop_config){ .name = i < 8 ? io_names[i] : "io-n", .kind = LOOP_IO });
		ok = ok && s->io[i];
	}
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
	struct loop *background = s->stores->background;
	for (unsigned i = 0; i < s->options.loops; i++)
		if (!create_node_loop(s, i))
			return false;
	struct actor_ref materializer = rt_supervise(background, NAME_MATERIALIZER, &materializer_class, n, 10, 60000);
	struct actor_ref table_loader = rt_supervise(background, NAME_TABLE_LOADER, &table_loader_class, n, 10, 60000);
	struct buf why = { 0 };
	if (ref_is_none(table_loader) || ref_is_none(materializer)) {
		buf_append_lit(&why, "cannot start the actors of the definitions: out of memory");
		return say(&why, "start");
	}
	return true;
}

static bool start_http(struct server *s)
{
	struct buf why = { 0 };
	const struct serve_options *o = &s->options;
	s->http = http_server_create(&(struct http_config){ .host = o->host,
							    .port = o->port,
							    .tls_cert_file = o->tls_cert,
							    .tls_key_file = o->tls_key,
							    .api_key = o->api_key,
							    .body_bytes_max = o->body_bytes,
							    .connections_max = o->connections_max,
							    .descriptors_max = o->descriptors_max,
							    .in_flight_max = o->in_flight_max,
							    .handshake_timeout_ms = o->handshake_timeout_ms,
							    .read_timeout_ms = o->read_timeout_ms,
							    .stall_timeout_ms = o->stall_timeout_ms,
							    .idle_timeout_ms = o->idle_timeout_ms,
							    .reply_rate_min = o->reply_rate_min,
							    .control_frames_max = o->control_frames_max,
							    .request_timeout_ms = o->request_timeout_ms,
							    .shutdown_grace_ms = o->shutdown_grace_ms,
							    .routes = api_routes,
							    .routes_count = api_routes_count,
							    .app = &s->node,
							    .unfit = s->node.stores->unfit,
							    .document = api_document,
							    .access_log = o->access_log },
				     s->io, o->loops, &why);
	return s->http || say(&why, "listen");
}

/* What an earlier life left goes first. */
static bool start_loops(struct server *s)
{
	if (s->node.stores->unfit == NULL)
		pending_events_redo(&s->pending, &s->node);
	int status = s->stores->start(s->stores);
	for (unsigned i = 0; i < s->options.loops && status == 0; i++)
		status = loop_start(s->io[i]);
	struct buf why = { 0 };
	if (status != 0) {
		buf_printf(&why, "cannot start a thread: %s; raise the limit of threads or lower --loops",
			   strerror(-status));
		return say(&why, "start");
	}
	return true;
}

/* ---- the end ---- */

static void on_drained(void *arg)
{
	sem_post(&((struct server *)arg)->drained);
}

static void drain(struct server *s)
{
	http_server_drain(s->http, on_drained, s);
	while (sem_wait(&s->drained) != 0)
		continue;
}

/* Those who ask the stores first, then the stores. */
static void end_loops(struct server *s)
{
	for (unsigned i = 0; i < s->options.loops; i++) {
		if (s->io[i] == NULL)
			continue;
		loop_stop(s->io[i]);
		loop_join(s->io[i]);
	}
	if (s->stores)
		s->stores->stop(s->stores);
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
	pending_events_finish(&s->pending);
	if (s->stores)
		s->stores->close(s->stores);
	values_destroy(s->node.values);
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
	if (s->definitions->features_count + s->definitions->contexts_count == 0)
		fprintf(
		    stderr,
		    "fabra serve: %s declares no feature and no context: its tables can be asked by SQL, and that is all\n",
		    s->options.file);
	return check_descriptors(&s->options) && fill_node(s) && create_loops(s) && open_stores(s) && load_tables(s) &&
	       take_over(s) && spawn_actors(s) && share_descriptors(&s->options) && start_http(s) && start_loops(s);
}

/* Waits for SIGINT, SIGTERM or SIGHUP. A second Ctrl-C, while the requests are drained, ends the process at once: what is durable
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
	/* The terminal is gone, unless nohup said that it does not matter: an ignored signal would wake who waits for it. */
	struct sigaction on_hangup;
	if (sigaction(SIGHUP, NULL, &on_hangup) == 0 && on_hangup.sa_handler != SIG_IGN)
		sigaddset(&signals, SIGHUP);
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
