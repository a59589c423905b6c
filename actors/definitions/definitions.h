/* What the definitions file declares, as plain immutable data shared by all loops. Made once on a blocking thread by
 * running the Lua file (definitions_load.h); the functions in it are named by (kind, index) and live in each loop's own
 * script state. */
#pragma once
#include "runtime/arena.h"
#include "runtime/buf.h"
#include <stdint.h>

enum { DEF_NONE = UINT32_MAX };
enum { ENTITY_ID_BYTES_MAX = 256 };

enum declare_kind { DECLARE_ENTITY, DECLARE_FEATURE, DECLARE_TABLE, DECLARE_RETRIEVER, DECLARE_CONTEXT, DECLARE_KINDS };

struct def_entity {
	struct str name, id, description;
};

/* What `dtype` says of a feature's values. Null, "there is a value and it is none", is of every type. */
enum def_dtype { DTYPE_ANY, DTYPE_STRING, DTYPE_INTEGER, DTYPE_NUMBER, DTYPE_BOOLEAN, DTYPE_ARRAY, DTYPE_OBJECT };

struct def_feature {
	struct str name;
	uint32_t line; /* of its declaration */
	uint32_t entity;
	struct str description, version, tags_json;
	enum def_dtype dtype;
	struct str made_by; /* what its values carry: its version, else a hash of its code; empty when pushed */
	bool has_compute;
	struct str sql;     /* p NULL = none */
	struct str trigger; /* event type; p NULL = none */
	int64_t refresh_ms; /* 0 = none */
	int64_t ttl_ms;     /* 0 = none: see def_feature_is_computed_at_each_read */
	bool materialize;
	struct str default_json; /* p NULL = no default; JSON null is a default */
};

/* Made when it is asked for: by its function, or by its SQL narrowed to the ids. */
static inline bool def_feature_is_computed(const struct def_feature *f)
{
	return (f->has_compute && f->trigger.p == NULL) || (f->sql.p && !f->materialize);
}
/* Such a value is true for the moment of the read only: it is served from nowhere else, also after a restart. */
static inline bool def_feature_is_computed_at_each_read(const struct def_feature *f)
{
	return def_feature_is_computed(f) && f->ttl_ms == 0;
}

struct def_column {
	struct str name, type;
};

struct def_table {
	struct str name, file, sql; /* file: absolute */
	uint32_t line;              /* of its declaration */
	struct def_column *columns; /* declared types of a text file's columns, by name */
	uint32_t columns_count;
};

struct def_retriever {
	struct str name, index; /* index: p NULL = own code */
	bool has_run;
	uint32_t top_k;
	int64_t cache_ttl_ms, max_age_ms; /* 0 = none */
};

/* A piece of a declarative text: literal, parameter or feature. */
struct def_piece {
	enum { PIECE_TEXT, PIECE_PARAM, PIECE_FEATURE } type;
	struct str text; /* PIECE_TEXT */
	uint32_t index;  /* of the context's parameter, or the feature */
};
struct def_template {
	struct def_piece *pieces;
	uint32_t count;
};
enum def_param_type { PARAM_STRING, PARAM_INTEGER, PARAM_NUMBER, PARAM_BOOLEAN, PARAM_ANY };
struct def_param {
	struct str name;
	enum def_param_type type;
	bool required;
	struct str default_json; /* p NULL = none */
};
struct def_arg {
	struct str name;
	struct str json;          /* a constant; or */
	struct def_template text; /* count > 0: a template of strings */
};
struct def_item {
	struct def_template text; /* count > 0, or */
	uint32_t retriever;       /* DEF_NONE when it is a text */
	struct def_arg *args;
	uint32_t args_count;
	struct def_template entity_id; /* of the features in text */
	int64_t priority;
	bool required;
	enum def_on_missing { ON_MISSING_DROP, ON_MISSING_EMPTY, ON_MISSING_FAIL } on_missing;
	struct str source_id; /* p NULL = derived */
};

/* What one request of a declarative context may ask for: refused when the file is read. An ask is for features of one id. */
enum { DEF_ASKS_MAX = 32, DEF_ASK_FEATURES_MAX = 128, DEF_CALLS_MAX = 64, DEF_READS_MAX = 1024 };

struct def_context {
	struct str name, description, version, model;
	int64_t max_tokens;                                       /* 0 = none */
	bool budget_fail;                                         /* on_budget = "fail" */
	int64_t freshness_sla_ms, max_staleness_ms, cache_ttl_ms; /* 0 = none */
	bool freshness_strict;
	bool has_build; /* else items */
	struct def_param *params;
	uint32_t params_count;
	bool params_declared; /* false: any argument goes to build */
	struct def_item *items;
	uint32_t items_count;
};

struct definitions {
	struct arena arena;    /* owns all texts and arrays */
	struct str file;       /* as given, for messages */
	struct str source;     /* the file's text: each loop's state is built from this, not from the disk again */
	char code_version[72]; /* "sha256:<hex>" of source */
	struct def_entity *entities;
	struct def_feature *features;
	struct def_table *tables;
	struct def_retriever *retrievers;
	struct def_context *contexts;
	uint32_t entities_count, features_count, tables_count, retrievers_count, contexts_count;
	void *lookup; /* name -> index tables */
	bool unsafe_lua;
};

void definitions_free(struct definitions *d);
/* DEF_NONE when unknown; O(1). */
uint32_t definitions_entity(const struct definitions *d, struct str name);
uint32_t definitions_feature(const struct definitions *d, struct str name);
/* Whether events may have this type: letters, digits and underscores, and not underscores alone; letters beyond ASCII count, as in
 * Fabra. At most 256 bytes. */
bool definitions_is_event_type(struct str s);
uint32_t definitions_retriever(const struct definitions *d, struct str name);
uint32_t definitions_context(const struct definitions *d, struct str name);
/* "string"; NULL for DTYPE_ANY. */
const char *def_dtype_name(enum def_dtype type);
/* Whether a value, as compact JSON, is of the type. Any thread. */
bool def_dtype_fits(enum def_dtype type, struct str json);
/* Up to three near names for "Did you mean", joined by ", "; empty when nothing is near. Never the name
 * itself, which can be that of another kind. */
void definitions_suggest(const struct definitions *d, struct str name, struct buf *out);
/* Adds " (did you mean 'x'?)" when a name of that kind is near. */
void definitions_suggest_of_kind(const struct definitions *d, enum declare_kind kind, struct str name, struct buf *out);
/* Why this is no entity id: a literal; NULL when it is one. */
const char *entity_id_error(struct str id);

/* ---- while they are being made ---- */
bool definitions_make_lookup(struct definitions *d); /* after the counts are known; false: no memory */
/* false when the name is taken; *ret_index is then by whom. */
bool definitions_add_name(struct definitions *d, enum declare_kind kind, uint32_t index, uint32_t *ret_index);
uint32_t definitions_find(const struct definitions *d, enum declare_kind kind,
			  struct str name); /* DEF_NONE when unknown */
struct str definitions_name(const struct definitions *d, enum declare_kind kind, uint32_t index);
uint32_t definitions_count(const struct definitions *d, enum declare_kind kind);
