/* The inside of loading definitions; only the files that load them include this.
 *
 * Running the file only collects the tables given to fabra.entity{} and its like (definitions_declare.c).
 * When it has run, they are put in order (definitions_order.c) and read kind by kind into `struct definitions`
 * (definitions_read.c, definitions_context.c), so that the order in the file does not matter, and every
 * mistake of every declaration is reported at once. */
#pragma once
#include "actors/script/script_state.h"

enum { DECLARE_MAX = 10000, DECLARE_ERRORS_MAX = 20, DECLARE_NAME_BYTES_MAX = 256 };

struct declaration {
	enum declare_kind kind;
	int line;
	uint32_t position;    /* of its table in SLOT_DECLARED, from 1 */
	struct str name, sql; /* as written, lent by that table; p NULL = no text */
};

struct declare_error {
	int line;
	char *text; /* owned; without file and line */
};

struct declare {
	struct definitions *d; /* being filled in */
	struct script *s;
	struct declaration *list; /* in the order of the file, then as definitions_order_declarations says */
	uint32_t count, cap;
	struct declare_error errors[DECLARE_ERRORS_MAX];
	uint32_t errors_count, errors_left_out;
	uint64_t globals_hash; /* definitions_code.c: of the globals that the file has made */
	bool has_globals_hash, globals_too_large;
};

/* One declaration, or a table inside one, while it is read. */
struct declare_reader {
	struct declare *declare;
	lua_State *L;
	int table; /* stack index */
	int line;
	const char *kind; /* "feature" */
	struct str name;  /* p NULL until known */
	char prefix[64];  /* "items[2]." or empty */
};

/* definitions_declare.c */
/* Adds entity, feature, table, retriever and context to the table on top: for script_state_create. */
void definitions_declare_open(lua_State *L);
void definitions_declare_error(struct declare *declare, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void definitions_declare_write_errors(struct declare *declare, struct buf *out);
void definitions_declare_finish(struct declare *declare);

/* definitions_field.c: each reads one field of reader->table; false: absent or wrong (then an error is
 * recorded). */
void definitions_field_error(const struct declare_reader *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int definitions_field_push(const struct declare_reader *r, const char *key); /* the raw value; returns its type */
void definitions_field_check_keys(const struct declare_reader *r, const char *const *keys);
bool definitions_field_name(struct declare_reader *r, struct str *ret); /* also sets r->name */
bool definitions_field_text(const struct declare_reader *r, const char *key, struct str *ret);
bool definitions_field_identifier(const struct declare_reader *r, const char *key, struct str *ret);
bool definitions_field_duration(const struct declare_reader *r, const char *key, int64_t *ret_ms);
bool definitions_field_bool(const struct declare_reader *r, const char *key, bool *ret);
bool definitions_field_integer(const struct declare_reader *r, const char *key, int64_t min, int64_t max, int64_t *ret);
bool definitions_field_json(const struct declare_reader *r, const char *key, struct str *ret);
bool definitions_field_function(const struct declare_reader *r, const char *key, enum script_function function,
				uint32_t index);
bool definitions_field_is_name(struct str s);
struct str definitions_field_keep(const struct declare_reader *r, struct str s); /* a copy in the arena; raises */
void *definitions_field_alloc(const struct declare_reader *r, size_t bytes);     /* zeroed; raises */

/* definitions_order.c: sorts declare->list by kind, line and name, tables behind those that their SQL names. The order in which
 * the file ran is not looked at: a `pairs` loop declares in another one in each Lua state, but a function has the same index
 * in all of them. false: no memory. */
bool definitions_order_declarations(struct declare *declare);
/* definitions_code.c: def_feature's made_by; after everything else of the feature is read. */
struct str definitions_made_by(const struct declare_reader *r, const struct def_feature *f);

/* definitions_context.c */
void definitions_context_read(struct declare_reader *r, uint32_t index);

/* definitions_read.c: reads all that was declared; errors are recorded. Runs protected; false: no memory. */
bool definitions_read_all(struct declare *declare);
/* Reads `name` and claims it. */
void definitions_read_name(struct declare_reader *r, enum declare_kind kind, uint32_t index, struct str *ret);
