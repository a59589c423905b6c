#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "store/offline/offline_memory.h"
#include "store/offline/offline_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t REOPEN_AFTER_NS = 1000000000;

/* The file is attached under a name of its own: the name that DuckDB would give it comes from the file, and
 * "fabra", from fabra.duckdb, would make every mention of schema fabra ambiguous. */
#define CATALOG "offline"

static const char *const schema_sql[] = {
	"CREATE SCHEMA IF NOT EXISTS fabra",
	"CREATE TABLE IF NOT EXISTS fabra.records(context_id VARCHAR NOT NULL, lsn UBIGINT NOT NULL, "
	"created_at TIMESTAMP NOT NULL, environment VARCHAR, schema_version VARCHAR, context_function VARCHAR, "
	"token_count BIGINT, record_hash VARCHAR, freshness_status VARCHAR, version VARCHAR, imported BOOLEAN "
	"NOT NULL, "
	"mode VARCHAR, call_id VARCHAR, session_id VARCHAR, turn_id VARCHAR, turn_index BIGINT, jurisdiction "
	"VARCHAR, "
	"consent_state VARCHAR, inputs JSON)",
	"ALTER TABLE fabra.records ADD COLUMN IF NOT EXISTS inputs JSON", /* absent in files of version 0.1 */
	"CREATE TABLE IF NOT EXISTS fabra.feature_history(entity VARCHAR NOT NULL, entity_id VARCHAR NOT NULL, "
	"feature VARCHAR NOT NULL, value VARCHAR NOT NULL, event_time TIMESTAMP NOT NULL, written_at TIMESTAMP "
	"NOT NULL, "
	"lsn UBIGINT NOT NULL, ttl_ms BIGINT NOT NULL, source UTINYINT NOT NULL, version VARCHAR, event_time_ns "
	"USMALLINT)",
	"CREATE TABLE IF NOT EXISTS fabra.deletes(entity VARCHAR NOT NULL, entity_id VARCHAR NOT NULL, "
	"event_time TIMESTAMP NOT NULL, written_at TIMESTAMP NOT NULL, lsn UBIGINT NOT NULL, feature VARCHAR)",
	"CREATE TABLE IF NOT EXISTS fabra.events(lsn UBIGINT NOT NULL, event_id VARCHAR NOT NULL, event_type "
	"VARCHAR NOT NULL, "
	"entity_id VARCHAR NOT NULL, event_time TIMESTAMP NOT NULL, written_at TIMESTAMP NOT NULL)",
	"CREATE TABLE IF NOT EXISTS fabra.events_applied(event_lsn UBIGINT NOT NULL, lsn UBIGINT NOT NULL, "
	"written_at TIMESTAMP NOT NULL)",
	"CREATE TABLE IF NOT EXISTS fabra.tables(name VARCHAR NOT NULL, file VARCHAR, file_bytes BIGINT, "
	"file_mtime_ns BIGINT, "
	"sql VARCHAR, row_count UBIGINT NOT NULL, loads BIGINT NOT NULL, recipe VARCHAR)",
	"ALTER TABLE fabra.tables ADD COLUMN IF NOT EXISTS recipe VARCHAR",     /* absent in files of version 0.1 */
	"ALTER TABLE fabra.tables ADD COLUMN IF NOT EXISTS file_inode UBIGINT", /* older files lack it */
	/* Files of earlier versions lack these; they come last, where an appender expects them. */
	"ALTER TABLE fabra.feature_history ADD COLUMN IF NOT EXISTS version VARCHAR",
	"ALTER TABLE fabra.feature_history ADD COLUMN IF NOT EXISTS event_time_ns USMALLINT",
	"ALTER TABLE fabra.deletes ADD COLUMN IF NOT EXISTS feature VARCHAR",
	"CREATE TABLE IF NOT EXISTS fabra.projection_state(applied_lsn UBIGINT NOT NULL)",
	"ALTER TABLE fabra.projection_state ADD COLUMN IF NOT EXISTS ledger_id VARCHAR", /* older files lack it */
	"ALTER TABLE fabra.projection_state ADD COLUMN IF NOT EXISTS applied_chain VARCHAR",
	"ALTER TABLE fabra.projection_state ADD COLUMN IF NOT EXISTS missing_entries UBIGINT DEFAULT 0",
	"INSERT INTO fabra.projection_state(applied_lsn) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM fabra.projection_state)",
};

/* ---- the database ---- */
static duckdb_config make_config(const struct offline *o)
{
	char memory[32];
	snprintf(memory, sizeof memory, "%zuMB", o->memory_limit_bytes / 1000000);
	const char *options[][2] = {
		{ "threads", "1" }, /* the loop that asks does the work: nothing else may move the serving p99 */
		{ "memory_limit", memory },
		{ "autoinstall_known_extensions", "false" },
		{ "autoload_known_extensions", "false" },
		{ "allow_community_extensions", "false" },
		{ "allow_persistent_secrets", "false" },
		{ "checkpoint_threshold", "1TB" }, /* the projection checkpoints when it is quiet, never a commit */
	};
	duckdb_config config;
	CHECK(duckdb_create_config(&config) == DuckDBSuccess);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		CHECK(duckdb_set_config(config, options[i][0], options[i][1]) == DuckDBSuccess);
	return config;
}

static bool run(struct offline *o, duckdb_connection connection, const char *sql, struct offline_error *error)
{
	duckdb_result result;
	bool ok = duckdb_query(connection, sql, &result) == DuckDBSuccess;
	if (!ok)
		offline_error_set(o, error, duckdb_result_error_type(&result), duckdb_result_error(&result));
	duckdb_destroy_result(&result);
	return ok;
}

void offline_append_quoted(struct buf *out, struct str text, char quote)
{
	buf_append_char(out, quote);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == quote)
			buf_append_char(out, quote);
		buf_append_char(out, text.p[i]);
	}
	buf_append_char(out, quote);
}

static bool attach(struct offline *o, duckdb_connection connection, struct offline_error *error)
{
	struct buf sql = { 0 };
	buf_append_lit(&sql, "ATTACH ");
	offline_append_quoted(&sql, str_from(o->path), '\'');
	buf_append_lit(&sql, " AS " CATALOG);
	buf_append_char(&sql, '\0');
	bool ok = run(o, connection, sql.p, error);
	buf_finish(&sql);
	/* A temporary file beside a database in memory would land in whatever folder the server was started
	 * from. */
	if (o->in_memory)
		ok = ok && run(o, connection, "SET GLOBAL temp_directory = ''", error);
	ok = ok && run(o, connection, "SET GLOBAL TimeZone = 'UTC'", error);
	/* A kept plan would go on believing in the smallest and largest values, lengths and counts of the data that it was
	 * made for, and read memory by them (ADR 14). */
	ok = ok && run(o, connection, "SET GLOBAL disabled_optimizers = 'statistics_propagation'", error);
	ok = ok && run(o, connection, "USE " CATALOG, error);
	for (size_t i = 0; ok && i < ARRAY_LEN(schema_sql); i++)
		ok = run(o, connection, schema_sql[i], error);
	return ok && run(o, connection, "SET GLOBAL lock_configuration = true", error);
}

static bool db_open(struct offline *o, struct offline_error *error)
{
	duckdb_config config = make_config(o);
	char *text = NULL;
	bool ok = duckdb_open_ext(":memory:", &o->db, config, &text) == DuckDBSuccess;
	duckdb_destroy_config(&config);
	if (!ok) {
		offline_error_set(o, error, DUCKDB_ERROR_IO, text);
		duckdb_free(text);
		o->db = NULL;
		return false;
	}
	duckdb_connection connection = NULL;
	ok = duckdb_connect(o->db, &connection) == DuckDBSuccess;
	if (ok)
		ok = attach(o, connection, error);
	else
		offline_error_text(error, RT_EIO, "DuckDB accepts no connection");
	if (connection != NULL)
		duckdb_disconnect(&connection);
	if (!ok)
		duckdb_close(&o->db);
	return ok;
}

static bool connect_one(struct offline *o, struct offline_conn *c)
{
	struct offline_error ignored;
	return offline_conn_connect(c, o->db) && run(o, c->handle, "USE " CATALOG, &ignored);
}

/* Alone behind the gate. */
static bool reopen(struct offline *o)
{
	struct offline_error error = { 0 };
	for (struct dlist *at = o->conns.next; at != &o->conns; at = at->next)
		offline_conn_drop(CONTAINER_OF(at, struct offline_conn, link));
	if (o->db != NULL)
		duckdb_close(&o->db);
	bool ok = db_open(o, &error);
	for (struct dlist *at = o->conns.next; ok && at != &o->conns; at = at->next)
		ok = connect_one(o, CONTAINER_OF(at, struct offline_conn, link));
	if (ok) {
		atomic_fetch_add(&o->reopened, 1);
		log_line(LOG_WARNING, "offline", "the database was opened again after a fatal error");
	} else {
		log_line(LOG_ERROR, "offline",
			 "the database cannot be opened again; make room on the disk, or restore the file",
			 LOG_CSTR("reason", error.text));
	}
	return ok;
}

/* ---- the gate ---- */
void offline_mark_broken(struct offline *o)
{
	atomic_store(&o->is_broken, true);
}

static void try_reopen(struct offline *o)
{
	uint64_t now_ns = clock_mono_ns();
	if (now_ns < atomic_load(&o->reopen_at_ns))
		return;
	pthread_rwlock_wrlock(&o->gate);
	if (atomic_load(&o->is_broken) && now_ns >= atomic_load(&o->reopen_at_ns)) {
		atomic_store(&o->is_broken, false); /* opening itself may find it broken again */
		bool ok = reopen(o);
		atomic_store(&o->reopen_at_ns, clock_mono_ns() + REOPEN_AFTER_NS);
		if (!ok)
			atomic_store(&o->is_broken, true);
	}
	pthread_rwlock_unlock(&o->gate);
}

bool offline_gate_enter(struct offline *o)
{
	if (atomic_load_explicit(&o->is_broken, memory_order_relaxed))
		try_reopen(o);
	pthread_rwlock_rdlock(&o->gate);
	/* Broken just now by another thread: DuckDB says so itself. Broken for good: there is no connection
	 * to use. */
	if (o->db != NULL && !atomic_load_explicit(&o->is_broken, memory_order_relaxed))
		return true;
	pthread_rwlock_unlock(&o->gate);
	return false;
}

void offline_gate_leave(struct offline *o)
{
	pthread_rwlock_unlock(&o->gate);
}

bool offline_gate_try_alone(struct offline *o)
{
	if (pthread_rwlock_trywrlock(&o->gate) != 0)
		return false;
	if (o->db != NULL && !atomic_load(&o->is_broken) && atomic_load(&o->open_results) == 0)
		return true;
	pthread_rwlock_unlock(&o->gate);
	return false;
}

bool offline_add_conn(struct offline *o, struct offline_conn *c)
{
	if (!offline_gate_enter(o))
		return false;
	bool ok = connect_one(o, c);
	if (ok) {
		pthread_mutex_lock(&o->conns_lock);
		dlist_append(&o->conns, &c->link);
		pthread_mutex_unlock(&o->conns_lock);
	} else {
		offline_conn_drop(c);
	}
	offline_gate_leave(o);
	return ok;
}

void offline_remove_conn(struct offline *o, struct offline_conn *c)
{
	/* The list changes under the gate only, so that reopen walks it in peace. */
	pthread_rwlock_rdlock(&o->gate);
	pthread_mutex_lock(&o->conns_lock);
	dlist_remove(&c->link);
	pthread_mutex_unlock(&o->conns_lock);
	offline_conn_drop(c);
	pthread_rwlock_unlock(&o->gate);
}

struct offline_conn *offline_admin_enter(struct offline *o, struct offline_error *error)
{
	pthread_mutex_lock(&o->admin_lock);
	if (offline_conn_enter(o->admin, error))
		return o->admin;
	pthread_mutex_unlock(&o->admin_lock);
	return NULL;
}

void offline_admin_leave(struct offline *o)
{
	offline_conn_end(o->admin);
	offline_conn_leave(o->admin);
	pthread_mutex_unlock(&o->admin_lock);
}

/* ---- memory of a question ---- */
enum { CLIENT_BYTES_MAX = 64 << 20 };

void offline_question_begin(const struct offline *o, bool is_client)
{
	size_t max = o->memory_limit_bytes / 2;
	offline_memory_begin(is_client && max > CLIENT_BYTES_MAX ? CLIENT_BYTES_MAX : max);
}

void offline_question_end(bool ok, struct offline_error *error)
{
	size_t max = offline_memory_max();
	if (offline_memory_end() && !ok && error->status != RT_EDEADLINE)
		offline_error_text(error, RT_ETOOBIG,
				   "the texts and lists that the statement makes are larger than %zu MiB together",
				   max >> 20);
}

/* ---- life ---- */
struct offline_metrics offline_metrics;

static void register_metrics(void)
{
	offline_metrics.refused =
	    metrics_series(metrics_family(METRIC_COUNTER, "fabra_offline_refused_total",
					  "Questions to the offline store refused because too many wait.", "", NULL),
			   NULL);
	offline_metrics.waiting = metrics_series(metrics_family(METRIC_GAUGE, "fabra_offline_slow_waiting",
								"Slow statements that wait for a lane.", "", NULL),
						 NULL);
}

static bool has_table(struct offline_conn *c, const char *name, bool *ret_has, struct offline_error *error)
{
	struct buf sql = { 0 };
	buf_printf(&sql,
		   "SELECT 1 FROM duckdb_tables() WHERE database_name = '" CATALOG "' AND schema_name = 'main' "
		   "AND table_name = '%s'",
		   name);
	bool ok = offline_conn_select(c, buf_str(&sql), NULL, UINT64_MAX, error);
	if (ok) {
		duckdb_data_chunk chunk = offline_conn_fetch(c, error);
		*ret_has = chunk != NULL && duckdb_data_chunk_get_size(chunk) > 0;
		if (chunk != NULL)
			duckdb_destroy_data_chunk(&chunk);
		ok = error->status == 0;
	}
	offline_conn_end(c);
	buf_finish(&sql);
	return ok;
}

/* A file of Fabra's Python program has its own tables in schema main; they are read where they are. */
static bool adopt(struct offline *o, struct offline_error *error)
{
	bool has_log = false, has_records = false;
	struct offline_conn *c = offline_admin_enter(o, error);
	if (c == NULL)
		return false;
	bool ok = has_table(c, "context_log", &has_log, error) && has_table(c, "context_records", &has_records, error);
	offline_admin_leave(o);
	atomic_store(&o->has_context_log, has_log);
	atomic_store(&o->has_context_records, has_records);
	return ok;
}

static void slow_query(void *arg)
{
	offline_projection_hurry(arg);
}

static void init_locks(struct offline *o)
{
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&o->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&o->conns_lock, NULL);
	pthread_mutex_init(&o->admin_lock, NULL);
	pthread_mutex_init(&o->projection.lock, NULL);
	pthread_mutex_init(&o->projection.error_lock, NULL);
	pthread_mutex_init(&o->projection.hurry_lock, NULL);
	dlist_init(&o->conns);
}

/* Files of earlier versions were readable by all; new ones take the process's umask. */
static void restrict_files(const struct offline *o)
{
	static const char *const ends[] = { "", ".wal" };
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		char path[4200];
		struct stat st;
		snprintf(path, sizeof path, "%s%s", o->path, ends[i]);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0 && chmod(path, 0600) != 0)
			log_line(LOG_WARNING, "offline",
				 "the file can be read by others, and that could not be changed",
				 LOG_CSTR("error", strerror(errno)));
	}
}

/* The version of DuckDB that wrote the file, as its header says. false: it has no such header. */
static bool read_writer(const struct offline *o, char ret[static 33])
{
	enum { MAGIC_AT = 8, LIBRARY_AT = 52, LIBRARY_BYTES = 32 };
	char head[LIBRARY_AT + LIBRARY_BYTES] = "";
	int fd = open(o->path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, head, sizeof head, 0) == sizeof head && memcmp(head + MAGIC_AT, "DUCK", 4) == 0;
	if (fd >= 0)
		close(fd);
	snprintf(ret, 33, "%.32s", head + LIBRARY_AT);
	for (char *c = ret; *c != '\0'; c++)
		ok = ok && *c > ' ' && *c < 127;
	return ok && ret[0] == 'v';
}

/* A newer DuckDB keeps its files in a form of its own unless it is told otherwise; it can write the older one. */
static bool explain_newer(const struct offline *o, const struct offline_error *error, struct buf *ret_why)
{
	char writer[33];
	const char *own = duckdb_library_version();
	if (strstr(error->text, "version number") == NULL || !read_writer(o, writer) || strcmp(writer, own) == 0)
		return false;
	buf_printf(
	    ret_why,
	    "%s was written by DuckDB %s, and this server reads files of DuckDB %s. Nothing was changed. To convert it, with "
	    "a Python that has that DuckDB (fabra-ai brings it, or: pip install duckdb==%s), while no program uses the file:\n\n"
	    "python3 - '%s' <<'END'\n"
	    "import duckdb, os, sys\n"
	    "path = sys.argv[1]\n"
	    "c = duckdb.connect()\n"
	    "c.execute(f\"ATTACH '{path}' AS old\")\n"
	    "c.execute(\"CHECKPOINT old\")\n"
	    "c.execute(f\"ATTACH '{path}.converted' AS new (STORAGE_VERSION 'v1.4.0')\")\n"
	    "c.execute(\"COPY FROM DATABASE old TO new\")\n"
	    "c.close()\n"
	    "os.rename(path, path + '.original')\n"
	    "os.rename(path + '.converted', path)\n"
	    "END\n\n"
	    "Then start the server again; fabra-ai reads the converted file too. The original is kept as %s.original",
	    o->path, writer, own, writer + 1, o->path, o->path);
	return true;
}

static bool open_parts(struct offline *o, struct buf *ret_why)
{
	struct offline_error error = { 0 };
	o->watch = offline_watch_create(slow_query, o);
	if (o->watch == NULL) {
		buf_append_lit(ret_why, "cannot start a thread for the offline store's deadlines");
		return false;
	}
	if (db_open(o, &error) && (o->admin = offline_conn_open(o, &error)) != NULL && adopt(o, &error))
		return offline_projection_init(o, ret_why);
	if (explain_newer(o, &error, ret_why))
		return false;
	buf_printf(ret_why,
		   "cannot open %s: %s. The ledger beside it is untouched; if the file is damaged, move it "
		   "away: it is "
		   "built again from the ledger, and fabra.table files are loaded again",
		   o->path, error.text);
	return false;
}

struct offline *offline_open(const struct offline_config *config, struct buf *ret_why)
{
	struct offline *o = calloc(1, sizeof *o);
	CHECK(o != NULL);
	o->path = strdup(config->path);
	CHECK(o->path != NULL);
	o->in_memory = strcmp(config->path, ":memory:") == 0;
	o->memory_limit_bytes = config->memory_limit_bytes ? config->memory_limit_bytes : 512u << 20;
	o->history_keep_ms = config->history_keep_ms;
	o->log = config->log;
	init_locks(o);
	register_metrics();
	if (!o->in_memory)
		restrict_files(o);
	if (open_parts(o, ret_why))
		return o;
	offline_close(o);
	return NULL;
}

void offline_close(struct offline *o)
{
	if (o == NULL)
		return;
	offline_projection_finish(o);
	offline_conn_close(o->admin);
	CHECK(dlist_is_empty(&o->conns)); /* the loops of all readers have ended */
	if (o->db != NULL)
		duckdb_close(&o->db);
	offline_watch_destroy(o->watch);
	pthread_rwlock_destroy(&o->gate);
	pthread_mutex_destroy(&o->conns_lock);
	pthread_mutex_destroy(&o->admin_lock);
	pthread_mutex_destroy(&o->projection.lock);
	pthread_mutex_destroy(&o->projection.error_lock);
	pthread_mutex_destroy(&o->projection.hurry_lock);
	free(o->path);
	free(o);
}

uint64_t offline_applied_lsn(const struct offline *o)
{
	return atomic_load_explicit(&o->projection.applied_lsn, memory_order_acquire);
}

/* ---- what is called at the start ---- */
static bool store_load_table(void *store, const struct offline_table *table, uint64_t *ret_rows, bool *ret_is_new,
			     struct buf *ret_why)
{
	return offline_load_table(store, table, ret_rows, ret_is_new, ret_why);
}

static bool store_check_feature(void *store, struct str sql, struct str key_column, struct str value_column,
				struct buf *ret_why)
{
	return offline_check_rows(store, sql, key_column, value_column, ret_why);
}

static bool store_newest_values(void *store, void *arg, bool (*each)(void *arg, const struct offline_value *v),
				uint64_t *ret_applied_lsn, struct buf *ret_why)
{
	*ret_applied_lsn = offline_applied_lsn(store); /* before: the projection may go on */
	return offline_warm(store, arg, each, ret_why);
}

void offline_store_fill(struct offline *o, struct offline_store *ret)
{
	ret->store = o;
	ret->load_table = store_load_table;
	ret->check_feature = store_check_feature;
	ret->newest_values = store_newest_values;
}
