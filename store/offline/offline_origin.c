#include "store/offline/offline_origin.h"
#include "runtime/encode.h"
#include "store/offline/offline_private.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

/* ---- comparing ---- */

/* Whether the log has just the entry that was applied last: one that was put back from a backup goes on under
 * the same identity with other entries. True where it cannot be known: retired, damaged or accepted as lost. */
static bool has_last_applied(const struct offline_origin *at, const struct log_source *log)
{
	struct buf ignored = { 0 };
	struct log_source_entry entry;
	char chain[sizeof at->chain];
	bool is_same = true;
	if (at->applied_lsn == 0 || at->chain[0] == '\0')
		return true;
	struct log_scan *scan = log->open(log->log, at->applied_lsn, &ignored);
	buf_finish(&ignored);
	if (scan == NULL)
		return true;
	if (scan->next(scan, &entry) == LOG_SOURCE_ENTRY && entry.lsn == at->applied_lsn) {
		encode_hex(entry.chain, LOG_SOURCE_CHAIN, chain);
		is_same = memcmp(chain, at->chain, sizeof chain - 1) == 0;
	}
	log_scan_close(scan);
	return is_same;
}

enum offline_kinship offline_kinship_of(const struct offline_origin *at, const struct log_source *log)
{
	char id[LOG_SOURCE_ID_TEXT];
	uint64_t durable = log->durable_lsn(log->log);
	log->id_text(log->log, id);
	if (at->ledger_id[0] != '\0' && memcmp(at->ledger_id, id, sizeof id) != 0)
		return durable == 0 ? OFFLINE_KIN_LOST : OFFLINE_KIN_OTHER;
	if (at->applied_lsn > durable)
		return OFFLINE_KIN_ENDS_BEFORE;
	return has_last_applied(at, log) ? OFFLINE_KIN : OFFLINE_KIN_FORKED;
}

#define PUT_BACK  "stop the server, then put the folder of its ledger (<FABRA_DUCKDB_PATH>.ledger) back, or "
#define MOVE_AWAY "move the DuckDB file away: it is built again from the ledger that is there"
#define ACCEPT(it)                                                                                                     \
	"if " it " lost run `fabra ledger accept`: the rows in DuckDB stay, the texts of their records are gone"

void offline_kinship_write(enum offline_kinship kinship, const struct offline_origin *at, const struct log_source *log,
			   struct buf *out)
{
	switch (kinship) {
	case OFFLINE_KIN:
		break;
	case OFFLINE_KIN_LOST:
		buf_append_lit(out,
			       "the DuckDB file belongs to another ledger than the one beside it, which is new and "
			       "empty; " PUT_BACK ACCEPT("it is"));
		break;
	case OFFLINE_KIN_OTHER:
		buf_append_lit(out,
			       "the DuckDB file belongs to another ledger than the one beside it; " PUT_BACK MOVE_AWAY);
		break;
	case OFFLINE_KIN_ENDS_BEFORE:
		buf_printf(out,
			   "the DuckDB file knows entries up to %" PRIu64 ", but its ledger ends at %" PRIu64
			   "; " PUT_BACK ACCEPT("they are"),
			   at->applied_lsn, log->durable_lsn(log->log));
		break;
	case OFFLINE_KIN_FORKED:
		buf_printf(out,
			   "the DuckDB file knows another entry %" PRIu64
			   " than its ledger has, which was put back from an older copy; " PUT_BACK MOVE_AWAY,
			   at->applied_lsn);
		break;
	}
}

/* ---- a file that no server has open ---- */

static void take_text(duckdb_result *result, idx_t column, char *ret, size_t n)
{
	char *text = duckdb_value_varchar(result, column, 0);
	snprintf(ret, n, "%s", text != NULL ? text : "");
	duckdb_free(text);
}

/* Files of earlier versions have no columns for the identity: nothing can be compared then. */
static enum offline_peek read_row(duckdb_connection connection, struct offline_origin *ret)
{
	duckdb_result result;
	bool ok = duckdb_query(connection,
			       "SELECT applied_lsn, missing_entries, coalesce(ledger_id, ''), "
			       "coalesce(applied_chain, '') FROM offline.fabra.projection_state",
			       &result) == DuckDBSuccess &&
		  duckdb_row_count(&result) == 1;
	if (ok) {
		ret->applied_lsn = duckdb_value_uint64(&result, 0, 0);
		ret->missing_entries = duckdb_value_uint64(&result, 1, 0);
		take_text(&result, 2, ret->ledger_id, sizeof ret->ledger_id);
		take_text(&result, 3, ret->chain, sizeof ret->chain);
	}
	duckdb_destroy_result(&result);
	return ok && ret->applied_lsn > 0 && ret->ledger_id[0] != '\0' ? OFFLINE_PEEK_DONE : OFFLINE_PEEK_NOTHING;
}

static void say_first_line(const char *text, struct buf *out)
{
	const char *said = text != NULL ? text : "DuckDB does not say why";
	buf_append(out, said, strcspn(said, "\n"));
}

/* Under a name of its own: "fabra", which DuckDB would take from the file's, is the schema's, too. */
static enum offline_peek attach_and_read(duckdb_connection connection, const char *path, struct offline_origin *ret,
					 struct buf *ret_why)
{
	duckdb_result result;
	struct buf sql = { 0 };
	enum offline_peek peek = OFFLINE_PEEK_FAILED;
	buf_append_lit(&sql, "ATTACH ");
	offline_append_quoted(&sql, str_from(path), '\'');
	buf_append_lit(&sql, " AS offline (READ_ONLY)");
	buf_append_char(&sql, '\0');
	if (sql.failed) {
		buf_append_lit(ret_why, "out of memory");
	} else if (duckdb_query(connection, sql.p, &result) == DuckDBSuccess) {
		duckdb_destroy_result(&result);
		peek = read_row(connection, ret);
	} else {
		const char *text = duckdb_result_error(&result);
		if (text != NULL && strstr(text, "Conflicting lock") != NULL)
			peek = OFFLINE_PEEK_IN_USE;
		say_first_line(text, ret_why);
		duckdb_destroy_result(&result);
	}
	buf_finish(&sql);
	return peek;
}

enum offline_peek offline_peek(const char *path, struct offline_origin *ret, struct buf *ret_why)
{
	struct stat st;
	duckdb_database db = NULL;
	duckdb_connection connection = NULL;
	enum offline_peek peek = OFFLINE_PEEK_FAILED;
	*ret = (struct offline_origin){ 0 };
	if (stat(path, &st) != 0 && errno == ENOENT)
		return OFFLINE_PEEK_NOTHING;
	if (duckdb_open(":memory:", &db) == DuckDBSuccess && duckdb_connect(db, &connection) == DuckDBSuccess) {
		peek = attach_and_read(connection, path, ret, ret_why);
		duckdb_disconnect(&connection);
	} else {
		buf_append_lit(ret_why, "DuckDB cannot be started");
	}
	duckdb_close(&db);
	return peek;
}
