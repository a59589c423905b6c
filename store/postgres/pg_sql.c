#include "store/postgres/pg_sql.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* Beyond the deadline that the server has been told, for its answer to come. */
enum { GRACE_MS = 250, STATEMENT_MS_MAX = 3600000 };

void pg_sql_init(struct pg_sql *s, struct postgres *pg, const char *application)
{
	*s = (struct pg_sql){ .pg = pg };
	snprintf(s->application, sizeof s->application, "%s", application);
}

void pg_sql_finish(struct pg_sql *s)
{
	if (s->conn != NULL)
		PQfinish(s->conn);
	s->conn = NULL;
}

static uint64_t left_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = clock_mono_ns();
	uint64_t ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / 1000000 + 1 : 0;
	return ms < STATEMENT_MS_MAX ? ms : STATEMENT_MS_MAX;
}

/* Waits for the socket. false: the time is over. */
static bool await(PGconn *conn, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = PQsocket(conn), .events = events };
	uint64_t ms = left_ms(deadline_ns);
	return ms > 0 && poll(&p, 1, (int)ms) != 0;
}

static bool too_late(struct pg_sql *s)
{
	pg_trouble_set(&s->trouble, PG_TRANSIENT, "the statement was stopped at its deadline");
	pg_sql_finish(s); /* whatever it still does there, nobody waits for it */
	return false;
}

static bool broken(struct pg_sql *s)
{
	pg_trouble_of_connection(s->conn, &s->trouble);
	pg_sql_finish(s);
	return false;
}

static bool connect_by(struct pg_sql *s, uint64_t deadline_ns)
{
	const char *keys[PG_PARAMS], *values[PG_PARAMS];
	pg_params(s->pg, NULL, s->application, false, keys, values);
	s->conn = PQconnectStartParams(keys, values, 1);
	if (s->conn == NULL || PQstatus(s->conn) == CONNECTION_BAD)
		return broken(s);
	pg_notices_to_log(s->conn);
	for (PostgresPollingStatusType next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK;
	     next = PQconnectPoll(s->conn)) {
		if (next == PGRES_POLLING_FAILED)
			return broken(s);
		if (!await(s->conn, next == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ns))
			return too_late(s);
	}
	return PQsetnonblocking(s->conn, 1) == 0 || broken(s);
}

/* What has been sent; its last result. NULL: trouble. */
static PGresult *collect(struct pg_sql *s, uint64_t deadline_ns)
{
	PGresult *last = NULL, *r;
	for (;;) {
		int left = PQflush(s->conn);
		if (left < 0 || (left == 0 && PQisBusy(s->conn) && PQstatus(s->conn) == CONNECTION_BAD)) {
			broken(s);
			break;
		}
		if (left == 0 && !PQisBusy(s->conn)) {
			r = PQgetResult(s->conn);
			if (r == NULL)
				return last;
			PQclear(last);
			last = r;
			continue;
		}
		if (!await(s->conn, left == 1 ? POLLIN | POLLOUT : POLLIN, deadline_ns)) {
			too_late(s);
			break;
		}
		if (PQconsumeInput(s->conn) != 1) {
			broken(s);
			break;
		}
	}
	PQclear(last);
	return NULL;
}

/* What users wrote is wrong: syntax, names, types, rights that they have not, numbers out of range. */
static bool is_of_the_user(const char *state)
{
	static const char *const classes[] = { "42", "22", "23", "0A", "21", "25", "2F",
					       "38", "39", "3F", "44", "54", "P0", "26" };
	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		if (strncmp(state, classes[i], 2) == 0)
			return true;
	return false;
}

static PGresult *judge(struct pg_sql *s, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return r;
	pg_trouble_of_result(r, &s->trouble);
	if (is_of_the_user(s->trouble.sqlstate)) {
		s->trouble.kind = PG_CONTENT;
		text_printf(s->trouble.text, sizeof s->trouble.text, "%s", s->trouble.words);
		for (char *p = s->trouble.text; *p != '\0'; p++)
			*p = *p == '\n' ? ' ' : *p; /* one line */
	} else if (strcmp(s->trouble.sqlstate, "57014") == 0) {
		pg_trouble_set(&s->trouble, PG_TRANSIENT, "the statement was stopped at its deadline");
	}
	PQclear(r);
	if (s->conn != NULL && PQstatus(s->conn) == CONNECTION_BAD)
		pg_sql_finish(s);
	return NULL;
}

static PGresult *run(struct pg_sql *s, const char *sql, int count, const char *const *values, uint64_t deadline_ns)
{
	if (PQsendQueryParams(s->conn, sql, count, NULL, values, NULL, NULL, 0) != 1) {
		broken(s);
		return NULL;
	}
	PGresult *r = collect(s, deadline_ns + GRACE_MS * UINT64_C(1000000));
	return r != NULL ? judge(s, r) : NULL;
}

static const char session_sql[] =
    "SELECT set_config('statement_timeout', $1, false), set_config('default_transaction_read_only', $2, false), "
    "set_config('TimeZone', 'UTC', false), set_config('jit', 'off', false)";

PGresult *pg_sql_run(struct pg_sql *s, const char *sql, int count, const char *const *values, uint64_t deadline_ns)
{
	char ms[24];
	const char *settings[] = { ms, s->may_write ? "off" : "on" };
	for (int attempt = 0; attempt < 2; attempt++) {
		bool is_new = s->conn == NULL;
		s->trouble = (struct pg_trouble){ .kind = PG_FINE };
		if (left_ms(deadline_ns) == 0) {
			pg_trouble_set(&s->trouble, PG_TRANSIENT, "the statement was stopped at its deadline");
			return NULL;
		}
		if (is_new && !connect_by(s, deadline_ns))
			return NULL;
		snprintf(ms, sizeof ms, "%llu", (unsigned long long)left_ms(deadline_ns));
		PGresult *r = run(s, session_sql, 2, settings, deadline_ns);
		if (r != NULL) {
			PQclear(r);
			return run(s, sql, count, values, deadline_ns);
		}
		/* An idle connection that was lost since the last statement: nothing has been asked on it yet. */
		if (is_new || s->conn != NULL)
			return NULL;
	}
	return NULL;
}

int pg_sql_status(const struct pg_sql *s)
{
	switch (s->trouble.kind) {
	case PG_CONTENT:
		return RT_EINVAL;
	case PG_TRANSIENT:
		return RT_EDEADLINE;
	case PG_BUSY:
		return RT_EFULL;
	case PG_FINE:
	case PG_UNREACHABLE:
	case PG_STARTING:
	case PG_DENIED:
	case PG_VERSION:
	case PG_ENCODING:
	case PG_SCHEMA:
	case PG_RIGHT:
	case PG_READONLY:
	case PG_FULL:
	case PG_EXISTS:
	case PG_OTHER:
		break;
	}
	return RT_EIO;
}
