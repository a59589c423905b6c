/* The settings of `fabra serve` from the environment: each within its bounds, those that meet checked together, and names
 * that are no settings said. */
#include "actors/definitions/definitions_near.h"
#include "runtime/check.h"
#include "runtime/config.h"
#include "store/evidence/idempotency.h"
#include "store/ledger/ledger.h"
#include "store/redis/redis.h"
#include "tools/api_key.h"
#include "tools/serve_options.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

extern char **environ;

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Of an event's entry in the ledger, beside its body: names, ids, lengths. */
enum { EVENT_OVERHEAD = 2048 };

static const char *const settings[] = { /* of any command */
					"ACCESS_LOG",
					"API_KEY",
					"BODY_BYTES",
					"CONNECTIONS_MAX",
					"CONTEXT_RETENTION_DAYS",
					"CONTROL_FRAMES_MAX",
					"CUSTOM_PRICING_FILE",
					"DATA_DIR",
					"DUCKDB_MEMORY",
					"DUCKDB_PATH",
					"ENV",
					"EVENT_RETENTION_DAYS",
					"EVIDENCE_MODE",
					"EVIDENCE_TIMEOUT",
					"FEATURE_RETENTION_DAYS",
					"HANDSHAKE_TIMEOUT",
					"HISTORY_RETENTION_DAYS",
					"HOME",
					"IDEMPOTENCY_KEYS_MAX",
					"IDLE_TIMEOUT",
					"IN_FLIGHT_MAX",
					"LEDGER_SEGMENT_BYTES",
					"ONLINE_BYTES",
					"READ_TIMEOUT",
					"REDIS_URL",
					"RECORD_INCLUDE_CONTENT",
					"REPLY_RATE_MIN",
					"REQUEST_TIMEOUT",
					"SHUTDOWN_GRACE",
					"SIGNATURE_MODE",
					"SIGNING_KEY",
					"SIGNING_KEY_ID",
					"STALL_TIMEOUT",
					"URL",
					NULL
};
/* Of Fabra's Python program, which this version cannot obey. Where its server would keep or look for something elsewhere than
 * this one, the start is refused: values that nobody else sees would look like a success. */
static const struct only_in_fabra {
	const char *name;
	bool is_refused;
	const char *what;
} only_in_fabra[] = {
	{ "FABRA_POSTGRES_URL", false, "there is no store on Postgres yet; the offline store is a DuckDB file" },
	{ "FABRA_PG_POOL_SIZE", false, "there is no store on Postgres yet" },
	{ "FABRA_PG_MAX_OVERFLOW", false, "there is no store on Postgres yet" },
	{ "FABRA_EMBEDDING_PROVIDER", false, "there are no document indexes yet" },
	{ "FABRA_EMBEDDING_MODEL", false, "there are no document indexes yet" },
	{ "FABRA_EMBEDDING_CONCURRENCY", false, "there are no document indexes yet" },
	{ "FABRA_CHUNK_SIZE", false, "there are no document indexes yet" },
	{ "FABRA_WORKER_BATCH_SIZE", false, "events are worked off by the server itself" },
	{ "FABRA_WORKER_POLL_INTERVAL", false, "events are worked off by the server itself" },
	{ "FABRA_WORKER_CONSUMER_GROUP", false, "events are worked off by the server itself" },
	{ "FABRA_UI_API_KEY", false, "there is no user interface; the API's key is FABRA_API_KEY" },
};

static void read_evidence_mode(struct serve_options *o, bool in_production, struct buf *errors)
{
	const char *text = config_str("FABRA_EVIDENCE_MODE", NULL);
	char mode[32] = "";
	for (size_t i = 0; text && text[i] && i + 1 < sizeof mode; i++)
		mode[i] = text[i] == '-' ? '_' : text[i];
	if (text == NULL)
		o->evidence_required = in_production;
	else if (strcasecmp(mode, "required") == 0)
		o->evidence_required = true;
	else if (strcasecmp(mode, "best_effort") == 0 || strcasecmp(mode, "besteffort") == 0)
		o->evidence_required = false;
	else
		buf_printf(errors, "FABRA_EVIDENCE_MODE: '%s' is neither required nor best_effort\n", text);
}

/* 1 ms to a day: longer waits are typing errors, and would not fit where they are kept; none at all is no wait. */
static uint32_t duration(const char *name, int64_t fallback_ms, struct buf *errors)
{
	enum { DAY_MS = 24 * 3600 * 1000 };
	int64_t ms = config_duration_ms(name, fallback_ms, errors);
	if (ms >= 1 && ms <= DAY_MS)
		return (uint32_t)ms;
	buf_printf(errors, "%s is %s; give a duration such as 5s\n", name,
		   ms < 1 ? "shorter than 1ms" : "longer than a day");
	return (uint32_t)fallback_ms;
}

static void write_size(uint64_t n, struct buf *out)
{
	if (n >= GIB && n % GIB == 0)
		buf_printf(out, "%lluGiB", (unsigned long long)(n / GIB));
	else if (n >= MIB && n % MIB == 0)
		buf_printf(out, "%lluMiB", (unsigned long long)(n / MIB));
	else
		buf_printf(out, "%llu", (unsigned long long)n);
}

static uint64_t size_between(const char *name, uint64_t fallback, uint64_t min, uint64_t max, struct buf *errors)
{
	uint64_t n = config_bytes(name, fallback, errors);
	if (n >= min && n <= max)
		return n;
	buf_printf(errors, "%s is not from ", name);
	write_size(min, errors);
	buf_append_lit(errors, " to ");
	write_size(max, errors);
	buf_append_lit(errors, "; set one of these, or unset it for ");
	write_size(fallback, errors);
	buf_append_char(errors, '\n');
	return fallback;
}

/* A body becomes an entry of the ledger, so that no body may be larger than an entry. */
static void read_sizes(struct serve_options *o, struct buf *errors)
{
	o->online_bytes = size_between("FABRA_ONLINE_BYTES", 256 * MIB, MIB, 1024 * GIB, errors);
	o->duckdb_bytes = size_between("FABRA_DUCKDB_MEMORY", 512 * MIB, 16 * MIB, 1024 * GIB, errors);
	o->segment_bytes = size_between("FABRA_LEDGER_SEGMENT_BYTES", 64 * MIB, 64 * KIB, 16 * GIB, errors);
	uint64_t largest = (ledger_entry_bytes_max(o->segment_bytes) - EVENT_OVERHEAD) / (4 * KIB) * (4 * KIB);
	uint64_t fallback = largest < MIB ? largest : MIB;
	o->body_bytes = config_bytes("FABRA_BODY_BYTES", fallback, errors);
	if (o->body_bytes >= 1 && o->body_bytes <= largest)
		return;
	buf_printf(errors, "FABRA_BODY_BYTES is %s; give at most %llu: with FABRA_LEDGER_SEGMENT_BYTES=",
		   o->body_bytes ? "more than an entry of the ledger holds" : "0", (unsigned long long)largest);
	write_size(o->segment_bytes, errors);
	buf_append_lit(errors, " no entry is larger\n");
	o->body_bytes = fallback;
}

/* A best-effort answer that waits for its record longer than its request lives is never sent. */
static void read_waits(struct serve_options *o, struct buf *errors)
{
	o->request_timeout_ms = duration("FABRA_REQUEST_TIMEOUT", 5000, errors);
	o->shutdown_grace_ms = duration("FABRA_SHUTDOWN_GRACE", 10000, errors);
	uint32_t half_ms = o->request_timeout_ms > 1 ? o->request_timeout_ms / 2 : 1;
	o->evidence_timeout_ms = duration("FABRA_EVIDENCE_TIMEOUT", half_ms < 2000 ? half_ms : 2000, errors);
	if (config_str("FABRA_EVIDENCE_TIMEOUT", NULL) && o->evidence_timeout_ms >= o->request_timeout_ms)
		buf_printf(
		    errors,
		    "FABRA_EVIDENCE_TIMEOUT (%u ms) must be shorter than FABRA_REQUEST_TIMEOUT (%u ms): an answer would "
		    "wait for its record until its request is over\n",
		    o->evidence_timeout_ms, o->request_timeout_ms);
}

/* What a client may take its time for. */
static void read_patience(struct serve_options *o, struct buf *errors)
{
	o->handshake_timeout_ms = duration("FABRA_HANDSHAKE_TIMEOUT", 10000, errors);
	o->read_timeout_ms = duration("FABRA_READ_TIMEOUT", 30000, errors);
	o->stall_timeout_ms = duration("FABRA_STALL_TIMEOUT", 15000, errors);
	o->idle_timeout_ms = duration("FABRA_IDLE_TIMEOUT", 60000, errors);
	o->reply_rate_min = (uint32_t)size_between("FABRA_REPLY_RATE_MIN", KIB, 1, GIB, errors);
	o->control_frames_max = (uint32_t)config_int("FABRA_CONTROL_FRAMES_MAX", 1000, 10, 1000000, errors);
}

static void read_numbers(struct serve_options *o, struct buf *errors)
{
	const int64_t day_ms = 24 * 3600 * 1000ll;
	o->connections_max = (uint32_t)config_int("FABRA_CONNECTIONS_MAX", 10000, 1, 1000000, errors);
	/* Each has an actor, and others work for it: a loop has 65,536. */
	o->in_flight_max = (uint32_t)config_int("FABRA_IN_FLIGHT_MAX", 4096, 1, 16384, errors);
	o->idempotency_keys_max = (uint32_t)config_int("FABRA_IDEMPOTENCY_KEYS_MAX", IDEMPOTENCY_KEYS_DEFAULT, 1,
						       100000000, errors);
	o->record_keep_ms = config_int("FABRA_CONTEXT_RETENTION_DAYS", 0, 0, 36500, errors) * day_ms;
	o->value_keep_ms = config_int("FABRA_FEATURE_RETENTION_DAYS", 0, 0, 36500, errors) * day_ms;
	o->history_keep_ms = config_int("FABRA_HISTORY_RETENTION_DAYS", 90, 0, 36500, errors) * day_ms;
	o->event_keep_ms = config_int("FABRA_EVENT_RETENTION_DAYS", 0, 0, 36500, errors) * day_ms;
}

static bool check_only_in_fabra(struct str name, bool is_empty, struct buf *errors)
{
	for (size_t i = 0; i < ARRAY_LEN(only_in_fabra); i++) {
		const struct only_in_fabra *o = &only_in_fabra[i];
		if (!str_eq(name, str_from(o->name)))
			continue;
		if (is_empty)
			return true;
		if (o->is_refused)
			buf_printf(errors, "%s is set, but %s\n", o->name, o->what);
		else
			fprintf(stderr, "fabra serve: %s has no effect: %s\n", o->name, o->what);
		return true;
	}
	return false;
}

/* A name that is nearly a setting's is a typing error: the server would run without what was meant, an API key for
 * instance. Any other may be somebody else's (Kubernetes sets FABRA_SERVICE_HOST for a service named fabra): a warning. */
static void check_name(struct str name, bool is_empty, struct buf *errors)
{
	enum { TYPED_WRONG = 2, LONG_NAME = 7 };
	struct str rest = str_skip(name, sizeof "FABRA_" - 1);
	if (check_only_in_fabra(name, is_empty, errors) || !str_starts(name, STR("FABRA_")) ||
	    definitions_near_known(settings, rest))
		return;
	const char *near = definitions_near(settings, rest);
	unsigned distance = near ? definitions_distance(str_from(near), rest) : NEAR_FAR;
	if (distance <= (rest.n >= LONG_NAME ? TYPED_WRONG : TYPED_WRONG - 1))
		buf_printf(errors, "%.*s is no setting; did you mean FABRA_%s?\n", STR_ARG(name), near);
	else
		fprintf(stderr,
			"fabra serve: %.*s is no setting and has no effect (docs/configuration.md lists them)\n",
			STR_ARG(name));
}

static void check_names(struct buf *errors)
{
	for (char **at = environ; at && *at; at++) {
		struct str name = str_of(*at, strcspn(*at, "="));
		check_name(name, name.p[name.n] == '\0' || name.p[name.n + 1] == '\0', errors);
	}
}

/* One that is nearly "production": typed wrong, its short forms, or with something behind it (prod-eu, PROD_2). */
static bool means_production(struct str name)
{
	enum { TYPED_WRONG = 2 };
	static const char *const forms[] = { "prod", "prd", "production" };
	size_t n = 0;
	while (n < name.n && isalpha((unsigned char)name.p[n]))
		n++;
	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		if (n == strlen(forms[i]) && strncasecmp(name.p, forms[i], n) == 0)
			return true;
	return definitions_distance(STR("production"), name) <= TYPED_WRONG;
}

/* Any name is good for an environment, but one that is nearly "production" was meant to be it. */
static bool read_environment(struct serve_options *o, struct buf *errors)
{
	const char *text = config_str("FABRA_ENV", "development");
	o->environment = str_from(text);
	unsigned distance = definitions_distance(STR("production"), o->environment);
	if (distance == 0)
		buf_append_lit(errors,
			       "FABRA_ENV=production runs on Redis and Postgres, which this version does not have yet; "
			       "unset it for the embedded stores (FABRA_EVIDENCE_MODE=required works there)\n");
	else if (means_production(o->environment))
		buf_printf(errors, "FABRA_ENV is '%s'; did you mean production? Any other name is one of development\n",
			   text);
	return distance == 0;
}

/* As Fabra: its own name, or the one that many platforms set. Empty is how compose files leave a variable out. */
static void read_redis_url(struct serve_options *o, struct buf *errors)
{
	static const char *const names[] = { "FABRA_REDIS_URL", "REDIS_URL" };
	struct buf why = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(names) && o->redis_url == NULL; i++) {
		const char *text = config_str(names[i], "");
		if (text[0] == '\0')
			continue;
		o->redis_url = text;
		if (!redis_check_url(text, &why))
			buf_printf(errors, "%s: %.*s\n", names[i], STR_ARG(buf_str(&why)));
	}
	buf_finish(&why);
}

/* A key that no request can match locks all out, and one that was meant and is none lets all in. Empty is how compose files
 * and the like leave a variable out; that is said, not refused. */
static void read_api_key(struct serve_options *o, struct buf *errors)
{
	bool is_option = o->api_key != NULL;
	if (!is_option)
		o->api_key = getenv("FABRA_API_KEY");
	if (!is_option && o->api_key && o->api_key[0] == '\0') {
		fputs("fabra serve: FABRA_API_KEY is empty: no key is asked for\n", stderr);
		o->api_key = NULL;
	}
	const char *fault = o->api_key ? api_key_fault(o->api_key) : NULL;
	if (fault)
		buf_printf(errors, "%s %s; use the output of: openssl rand -hex 32\n",
			   is_option ? "--api-key" : "FABRA_API_KEY", fault);
}

void serve_settings_read(struct serve_options *o, struct buf *errors)
{
	bool in_production = read_environment(o, errors);
	read_evidence_mode(o, in_production, errors);
	read_redis_url(o, errors);
	o->include_content = config_bool("FABRA_RECORD_INCLUDE_CONTENT", true, errors);
	o->access_log = config_bool("FABRA_ACCESS_LOG", true, errors);
	read_sizes(o, errors);
	read_waits(o, errors);
	read_patience(o, errors);
	read_numbers(o, errors);
	record_signer_load(&o->signer, errors);
	if (!paths_find(&o->paths, errors))
		buf_append_char(errors, '\n');
	read_api_key(o, errors);
	if (o->paths.in_memory && o->evidence_required)
		buf_append_lit(errors, "FABRA_EVIDENCE_MODE=required needs a place to keep evidence; "
				       "set FABRA_DUCKDB_PATH to a file instead of :memory:\n");
	if ((o->tls_cert == NULL) != (o->tls_key == NULL))
		buf_append_lit(errors, "--tls-cert and --tls-key belong together\n");
	check_names(errors);
}
