/* postgres.c -- what all connections share: the settings, the names of the hosts, the health. */
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "store/postgres/pg_private.h"
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- settings ---- */
static char *copy(const char *s)
{
	return s != NULL && s[0] != '\0' ? strdup(s) : NULL;
}

/* What stands unless the URL says otherwise. A peer that has gone without a word is noticed in half a minute, or when it takes nothing for
 * ten seconds. */
static const struct {
	const char *key, *value;
} defaults[] = {
	{ "target_session_attrs", "read-write" }, /* first: only where there is a choice, below */
	{ "gssencmode", "disable" },
	{ "keepalives_idle", "15" },
	{ "keepalives_interval", "5" },
	{ "keepalives_count", "3" },
	{ "tcp_user_timeout", "10000" },
	{ "connect_timeout", "5" }, /* of the blocking ones; libpq's other side has no limit of its own */
};

static bool read_url(struct postgres *p, const char *url, struct buf *ret_why)
{
	char *error = NULL;
	PQconninfoOption *options = PQconninfoParse(url, &error);
	if (options == NULL) { /* its words may quote the URL, and with it the password */
		buf_append_lit(
		    ret_why, "FABRA_POSTGRES_URL is no URL of Postgres: it is "
			     "postgresql://user:password@host:5432/database, with special characters percent-encoded");
		PQfreemem(error);
		return false;
	}
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
		if (strcmp(o->keyword, "host") == 0)
			p->hosts = copy(o->val ? o->val : getenv("PGHOST"));
		else if (strcmp(o->keyword, "hostaddr") == 0)
			p->hostaddrs = copy(o->val ? o->val : getenv("PGHOSTADDR"));
		else if (strcmp(o->keyword, "port") == 0)
			p->ports = copy(o->val ? o->val : getenv("PGPORT"));
		for (unsigned i = 0; i < ARRAY_LEN(defaults); i++)
			if (o->val != NULL && strcmp(o->keyword, defaults[i].key) == 0)
				p->given |= 1u << i;
	}
	PQconninfoFree(options);
	p->url = strdup(url);
	return p->url != NULL;
}

static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
	return n > 0 && n <= 32 && s[n] == '\0';
}

struct postgres *postgres_open(const struct postgres_config *config, struct buf *ret_why)
{
	struct postgres *p = calloc(1, sizeof *p);
	if (p == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return NULL;
	}
	if (config->replica == NULL || !is_name(config->replica)) {
		buf_append_lit(ret_why, "the name of this replica must have 1 to 32 letters, digits, '-', '_' or '.'");
		free(p);
		return NULL;
	}
	snprintf(p->replica, sizeof p->replica, "%s", config->replica);
	p->signer = config->signer;
	p->pool_size = config->pool_size ? config->pool_size : PG_POOL_DEFAULT;
	p->keep_days[0] = config->record_keep_days;
	p->keep_days[1] = config->value_keep_days;
	p->keep_days[2] = config->event_keep_days;
	p->answer_ms = config->answer_ms ? config->answer_ms : PG_ANSWER_MS;
	p->give_up_ms = config->give_up_ms ? config->give_up_ms : PG_GIVE_UP_MS;
	atomic_flag_clear(&p->lock);
	if (read_url(p, config->url, ret_why) && getrandom(&p->run, sizeof p->run, 0) == sizeof p->run)
		return p;
	postgres_close(p);
	return NULL;
}

void postgres_close(struct postgres *p)
{
	if (p == NULL)
		return;
	for (struct pg_seat *s = atomic_load(&p->seats), *next; s != NULL; s = next) {
		next = s->next;
		free(s);
	}
	free(p->url);
	free(p->hosts);
	free(p->hostaddrs);
	free(p->ports);
	free(p);
}

void pg_params(const struct postgres *p, const struct pg_addresses *addresses, const char *application, bool writes,
	       const char *keys[static PG_PARAMS], const char *values[static PG_PARAMS])
{
	size_t n = 0;
	/* Of several hosts the first that takes writes; of one it is said what is wrong with it. */
	bool chooses = writes && p->hosts != NULL && strchr(p->hosts, ',') != NULL;
	const struct {
		const char *key, *value;
	} params[] = {
		{ "dbname", p->url }, /* first: those behind it win over what stands in it */
		{ "host", addresses ? addresses->hosts.p : NULL },
		{ "hostaddr", addresses ? addresses->addresses.p : NULL },
		{ "port", addresses ? addresses->ports.p : NULL },
		{ "application_name", application },
		{ "client_encoding", "UTF8" },
	};
	_Static_assert(ARRAY_LEN(params) + ARRAY_LEN(defaults) < PG_PARAMS, "there is room for all, and for the end");
	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		if (params[i].value == NULL || params[i].value[0] == '\0')
			continue;
		keys[n] = params[i].key;
		values[n++] = params[i].value;
	}
	for (unsigned i = chooses ? 0 : 1; i < ARRAY_LEN(defaults); i++) {
		if (p->given & 1u << i)
			continue;
		keys[n] = defaults[i].key;
		values[n++] = defaults[i].value;
	}
	keys[n] = values[n] = NULL;
}

static void on_notice(void *arg, const PGresult *r)
{
	(void)arg;
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	bool is_warning = severity != NULL && (strcmp(severity, "WARNING") == 0 || strcmp(severity, "FATAL") == 0);
	if (text != NULL)
		log_line(is_warning ? LOG_WARNING : LOG_DEBUG, "postgres", "notice", LOG_CSTR("text", text));
}

static void on_notice_text(void *arg, const char *text) /* libpq's own, which would be written to stderr */
{
	(void)arg;
	log_line(LOG_WARNING, "postgres", "notice of libpq", LOG_CSTR("text", text));
}

void pg_notices_to_log(PGconn *conn)
{
	PQsetNoticeReceiver(conn, on_notice, NULL);
	PQsetNoticeProcessor(conn, on_notice_text, NULL);
}

/* ---- names of hosts ---- */
bool pg_needs_resolving(const struct postgres *p)
{
	if (p->hosts == NULL || p->hostaddrs != NULL)
		return false;
	for (const char *at = p->hosts;; at++) { /* a name that begins with / is the folder of a unix socket */
		if (*at != '/' && *at != '@' && *at != ',' && *at != '\0')
			return true;
		at = strchr(at, ',');
		if (at == NULL)
			return false;
	}
}

void pg_addresses_free(struct pg_addresses *a)
{
	if (a == NULL)
		return;
	buf_finish(&a->hosts);
	buf_finish(&a->addresses);
	buf_finish(&a->ports);
	free(a);
}

static void dispose_resolved(struct msg *m)
{
	pg_addresses_free(((struct pg_resolved *)m)->list);
}

/* The next part of a list with commas. */
static struct str next_part(const char **at)
{
	if (*at == NULL)
		return (struct str){ 0 };
	size_t n = strcspn(*at, ",");
	struct str part = str_of(*at, n);
	*at = (*at)[n] == ',' ? *at + n + 1 : NULL;
	return part;
}

static void add(struct pg_addresses *r, struct str host, const char *address, struct str port)
{
	const char *comma = r->hosts.n > 0 ? "," : "";
	buf_printf(&r->hosts, "%s%.*s", comma, STR_ARG(host));
	buf_printf(&r->addresses, "%s%s", comma, address);
	buf_printf(&r->ports, "%s%.*s", comma, STR_ARG(port));
}

/* Each address of each host is an attempt of libpq's, with the name that TLS checks. */
static unsigned resolve_one(struct pg_addresses *r, struct str host, struct str port)
{
	char name[256], text[NI_MAXHOST];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *found = NULL;
	if (host.n == 0 || host.p[0] == '/' || host.p[0] == '@') {
		add(r, host, "", port);
		return 1;
	}
	snprintf(name, sizeof name, "%.*s", STR_ARG(host));
	if (host.n >= sizeof name || getaddrinfo(name, NULL, &hints, &found) != 0)
		return 0;
	unsigned count = 0;
	for (const struct addrinfo *a = found; a != NULL && count < 8; a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		add(r, host, text, port);
		count++;
	}
	freeaddrinfo(found);
	return count;
}

struct resolver {
	struct actor base;
	const struct postgres *pg; /* borrows */
};

static unsigned resolve_all(const struct postgres *p, struct pg_addresses *ret)
{
	const char *hosts = p->hosts, *ports = p->ports;
	bool has_one_port = ports == NULL || strchr(ports, ',') == NULL;
	unsigned count = 0;
	while (hosts != NULL) {
		struct str host = next_part(&hosts);
		count += resolve_one(ret, host, has_one_port ? str_from(p->ports) : next_part(&ports));
	}
	if (p->ports == NULL)
		buf_clear(&ret->ports); /* none was given: libpq's own */
	buf_append_char(&ret->hosts, '\0');
	buf_append_char(&ret->addresses, '\0');
	buf_append_char(&ret->ports, '\0');
	return ret->hosts.failed || ret->addresses.failed || ret->ports.failed ? 0 : count;
}

static void resolve(struct resolver *r, struct msg *m)
{
	struct pg_resolved *reply = rt_msg_new(r->base.loop, PG_RESOLVED);
	reply->head.dispose = dispose_resolved;
	reply->list = calloc(1, sizeof *reply->list);
	reply->head.status = reply->list != NULL && resolve_all(r->pg, reply->list) > 0 ? RT_OK : RT_ENOTFOUND;
	rt_reply(&r->base, m, &reply->head);
}

static void resolver_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == PG_RESOLVE)
		resolve((struct resolver *)a, m);
	else if (m->kind == RT_STOP)
		rt_stop(a);
}

static int resolver_init(struct actor *a, void *arg)
{
	((struct resolver *)a)->pg = arg;
	return 0;
}

static const struct actor_class resolver_class = {
	.name = "pg_resolver",
	.size = sizeof(struct resolver),
	.mailbox_len_max = 256,
	.init = resolver_init,
	.on_message = resolver_on_message,
};

bool postgres_spawn_resolver(struct postgres *p, struct loop *blocking)
{
	if (!pg_needs_resolving(p))
		return true;
	p->resolver = rt_spawn(blocking, &resolver_class, p);
	return !ref_is_none(p->resolver);
}

bool postgres_spawn(struct postgres *p, struct loop *const *ios, unsigned count, struct loop *blocking,
		    struct evidence_store *ret, struct buf *ret_why)
{
	bool ok = count > 0 && postgres_spawn_resolver(p, blocking);
	*ret = (struct evidence_store){ .append = ACTOR_NONE };
	for (unsigned i = 0; ok && i < count; i++) {
		struct actor_ref lane = postgres_spawn_lane(p, ios[i]);
		ret->appenders[loop_id(ios[i]) - 1] = lane;
		ok = !ref_is_none(lane);
	}
	if (ok) {
		ret->append = ret->appenders[loop_id(ios[0]) - 1];
		ret->find = ret->list = ret->legacy = postgres_spawn_reader(p, ios[0]);
		ok = !ref_is_none(ret->find);
	}
	if (!ok)
		buf_append_lit(ret_why, "cannot start the actors of Postgres");
	return ok;
}

/* ---- health ---- */
enum { REFUSED_MS = 5000 };

struct pg_seat *pg_seat_new(struct postgres *p, bool is_lane, unsigned connections)
{
	struct pg_seat *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->is_lane = is_lane;
	s->connections = connections;
	s->next = atomic_load(&p->seats);
	while (!atomic_compare_exchange_weak(&p->seats, &s->next, s))
		;
	return s;
}

static void lock(const struct postgres *p)
{
	while (atomic_flag_test_and_set_explicit(&((struct postgres *)p)->lock, memory_order_acquire))
		;
}

static void unlock(const struct postgres *p)
{
	atomic_flag_clear_explicit(&((struct postgres *)p)->lock, memory_order_release);
}

void pg_reason_set(struct postgres *p, const char *reason)
{
	lock(p);
	text_printf(p->reason, sizeof p->reason, "%s", reason);
	unlock(p);
}

/* Connected, but what was written lately was refused for a reason that lasts: a full disk, a right that is missing. It is not known
 * to be over before something is written again, so the verdict is not kept for long. */
static bool is_refusing(const struct postgres *p)
{
	uint64_t now_ns = clock_mono_ns();
	for (const struct pg_seat *s = atomic_load(&p->seats); s != NULL; s = s->next) {
		uint64_t refused_ns = atomic_load(&s->refused_ns);
		if (refused_ns != 0 && now_ns - refused_ns < REFUSED_MS * UINT64_C(1000000))
			return true;
	}
	return false;
}

void postgres_health_read(const struct postgres *p, struct postgres_health *ret)
{
	*ret = (struct postgres_health){ .lanes = 0 };
	for (const struct pg_seat *s = atomic_load(&p->seats); s != NULL; s = s->next) {
		unsigned ready = atomic_load(&s->ready);
		ret->lanes += s->is_lane ? s->connections : 0;
		ret->lanes_ready += s->is_lane ? ready : 0;
		ret->readers += s->is_lane ? 0 : s->connections;
		ret->readers_ready += s->is_lane ? 0 : ready;
		ret->batches += atomic_load(&s->batches);
		ret->entries += atomic_load(&s->entries);
		ret->failures += atomic_load(&s->failures);
		ret->unknown_outcomes += atomic_load(&s->unknown_outcomes);
		ret->reconnects += atomic_load(&s->reconnects);
		ret->chains += atomic_load(&s->chains);
	}
	ret->is_ready = ret->lanes_ready == ret->lanes && (ret->readers == 0 || ret->readers_ready > 0) &&
			!is_refusing(p);
	if (ret->is_ready)
		return;
	lock(p);
	memcpy(ret->reason, p->reason, sizeof ret->reason);
	unlock(p);
}

static metric_id plain(enum metric_type type, const char *name, const char *help)
{
	return metrics_series(metrics_family(type, name, help, "", NULL), NULL);
}

/* The counters are its own; a metric gets what has been added since the last time. */
static void publish_count(uint64_t now, uint64_t *published, const char *name, const char *help)
{
	metrics_add(plain(METRIC_COUNTER, name, help), now - *published);
	*published = now;
}

void postgres_publish(struct postgres *p)
{
	struct postgres_health now;
	postgres_health_read(p, &now);
	metrics_set(plain(METRIC_GAUGE, "fabra_postgres_ready", "1: lanes and readers are connected."), now.is_ready);
	metrics_set(plain(METRIC_GAUGE, "fabra_postgres_lanes_ready", "Connections that write, and are connected."),
		    now.lanes_ready);
	metrics_set(plain(METRIC_GAUGE, "fabra_postgres_readers_ready", "Connections that read, and are connected."),
		    now.readers_ready);
	publish_count(now.batches, &p->published[0], "fabra_postgres_batches",
		      "Transactions of the lanes that were kept.");
	publish_count(now.entries, &p->published[1], "fabra_postgres_entries", "Entries that were kept.");
	publish_count(now.failures, &p->published[2], "fabra_postgres_failures",
		      "Entries that were refused or given up.");
	publish_count(now.unknown_outcomes, &p->published[3], "fabra_postgres_unknown_outcomes",
		      "Batches of which nobody knows whether they were kept.");
	publish_count(now.reconnects, &p->published[4], "fabra_postgres_reconnects",
		      "Connections that were made again.");
}
