/* What is put around the SQL that users write. It is always the inside of a SELECT, which no other statement can be, and Postgres runs
 * one statement at a time: so nothing that is written here changes anything. */
#pragma once
#include "store/offline/offline.h"

/* Positional parameters are `?` to the user and $1, $2 .. to Postgres; what is in a literal, a quoted name or a comment stays as it
 * is, and `??` is the operator. Returns how many there are. */
int pg_statement_rewrite(struct str sql, struct buf *out);
void pg_statement_name(struct buf *out, struct str name); /* quoted */

enum { PG_STATEMENT_BYTES = 16 << 20 }; /* of an answer: Postgres itself sends little more */

/* Of all these the text is NUL-terminated. Rows as JSON objects, at most rows_max + 1; a second column says that there are too many bytes
 * up to here, and what is behind that row is not sent. */
int pg_statement_query(struct str sql, uint32_t rows_max, struct buf *out);
/* No rows: the types of both columns. */
void pg_statement_columns(struct str sql, struct str key_column, struct str value_column, struct buf *out);
/* key_type: of the column, an OID. $1: an array, see pg_statement_ids. (key, value) as text and JSON; of a key at most two rows; a third
 * column as above. A value that is too large is an empty text. */
void pg_statement_feature(const struct offline_narrowed *what, unsigned key_type, struct buf *out);
/* The ids as an array of that type; those that no value of it can be named are left out. */
void pg_statement_ids(const struct offline_narrowed *what, unsigned key_type, struct buf *out);
/* Keeps all rows in a temporary table, fabra_rows(k, v), of the transaction. */
void pg_statement_rows(struct str sql, struct str key_column, struct str value_column, struct buf *out);
