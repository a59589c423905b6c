/* POST /v1/training-data: what reads would have given at moments that are past, beside the events that name them. The answer is written
 * piece by piece: a batch of the store's values, then what of it fits a piece, and the next when the client has taken that. */
#include "http/api/api.h"
#include "store/text/json.h"
#include "store/text/timefmt.h"
#include "store/offline/offline.h"
#include <stdlib.h>

enum {
	PIECE_BYTES = 256 << 10,
	CELLS_MAX = 1000000, /* events times features: what the store sorts, and may have to spill */
};

struct training {
	const struct definitions *definitions;
	uint32_t features[API_FEATURES_MAX], features_count; /* of the definitions */
	uint32_t entities[API_FEATURES_MAX], entities_count; /* of those features, each once */
	struct str at;                                       /* the member that has the time */
	yyjson_val *events;                                  /* a list of objects, or an object of lists */
	bool are_columns, is_csv, with_defaults, with_event_times;
	uint32_t moments_count;
	uint32_t moment, feature; /* to be written next; feature 0: the event itself comes first */
	yyjson_arr_iter rows;     /* of events that are a list: behind the one that was written last */
	uint64_t cursor;          /* of the store */
	struct arena *texts;      /* owned, of cells */
	const struct offline_past_cell *cells;
	uint32_t cells_count, cells_read;
	bool is_last_batch;
};

/* ---- the request ---- */
static void note_at(struct exchange *x, const struct training *t, size_t event, struct str member, const char *type,
		    const char *msg, yyjson_val *input)
{
	struct buf loc = { 0 };
	buf_append_lit(&loc, "[\"body\",\"events\",");
	if (t->are_columns) {
		json_write_string(&loc, member);
		buf_printf(&loc, ",%zu]", event);
	} else {
		buf_printf(&loc, "%zu,", event);
		json_write_string(&loc, member);
		buf_append_char(&loc, ']');
	}
	api_note(x, type, buf_str(&loc), msg, input);
	buf_finish(&loc);
}

static void note_column(struct exchange *x, struct str name, yyjson_val *input)
{
	struct buf loc = { 0 };
	buf_append_lit(&loc, "[\"body\",\"events\",");
	json_write_string(&loc, name);
	buf_append_char(&loc, ']');
	api_note(x, "list_type", buf_str(&loc), "Input should be a list as long as the others", input);
	buf_finish(&loc);
}

static bool flag_of(struct exchange *x, yyjson_val *body, const char *name, bool otherwise)
{
	yyjson_val *v = yyjson_obj_get(body, name);
	if (v != NULL && !yyjson_is_bool(v))
		api_note_member(x, str_from(name), "bool_type", "Input should be a valid boolean", v);
	return v != NULL ? yyjson_get_bool(v) : otherwise;
}

static void take_entity(struct training *t, uint32_t entity)
{
	for (uint32_t i = 0; i < t->entities_count; i++)
		if (t->entities[i] == entity)
			return;
	t->entities[t->entities_count++] = entity;
}

/* Names that nobody knows are told in *ret_why. names: NULL ok. */
static void take_features(yyjson_val *names, struct training *t, struct buf *ret_why)
{
	size_t i, n;
	yyjson_val *name;
	yyjson_arr_foreach(names, i, n, name) {
		uint32_t feature = definitions_feature(t->definitions, json_str(name));
		bool is_twice = false;
		for (uint32_t k = 0; k < t->features_count; k++)
			is_twice |= t->features[k] == feature;
		if (is_twice)
			continue;
		if (feature == DEF_NONE) {
			api_no_feature(t->definitions, DEF_NONE, json_str(name), ret_why);
			continue;
		}
		t->features[t->features_count++] = feature;
		take_entity(t, t->definitions->features[feature].entity);
	}
}

/* Whether the answer has a column of this name that is a feature's. */
static bool is_features_own(const struct training *t, struct str name)
{
	static const struct str tail = { "__event_time", sizeof "__event_time" - 1 };
	bool has_tail = t->with_event_times && name.n > tail.n && str_eq(str_skip(name, name.n - tail.n), tail);
	for (uint32_t i = 0; i < t->features_count; i++) {
		struct str own = t->definitions->features[t->features[i]].name;
		if (str_eq(own, name) || (has_tail && str_eq(own, str_of(name.p, name.n - tail.n))))
			return true;
	}
	return false;
}

static yyjson_val *member_of(const struct training *t, size_t event, yyjson_val *row, struct str name)
{
	if (!t->are_columns)
		return yyjson_obj_getn(row, name.p, name.n);
	return yyjson_arr_get(yyjson_obj_getn(t->events, name.p, name.n), event);
}

static struct str id_of(struct exchange *x, const struct training *t, size_t event, yyjson_val *row, struct str column)
{
	yyjson_val *v = member_of(t, event, row, column);
	struct str id = json_str(v);
	if (v == NULL)
		note_at(x, t, event, column, "missing", "Field required", row);
	else if (!yyjson_is_str(v) || id.n == 0)
		note_at(x, t, event, column, "string_type", "Input should be the id of an entity, a string", v);
	else if (!api_id_is_fine(id))
		note_at(x, t, event, column, "value_error",
			"Value error, must be at most 256 bytes of UTF-8 text without NUL", NULL);
	return id;
}

static void time_of(struct exchange *x, const struct training *t, size_t event, yyjson_val *row, int64_t *ret_us,
		    uint16_t *ret_ns)
{
	yyjson_val *v = member_of(t, event, row, t->at);
	if (v == NULL)
		note_at(x, t, event, t->at, "missing", "Field required", row);
	else if (!yyjson_is_str(v) || !time_parse_ns(json_str(v), ret_us, ret_ns))
		note_at(x, t, event, t->at, "datetime_parsing", "Input should be a valid datetime in ISO 8601", v);
	else if (*ret_us > loop_wall_us(exchange_loop(x)) + API_FUTURE_US_MAX)
		note_at(x, t, event, t->at, "value_error", "Value error, more than 5 minutes in the future", v);
}

static void check_name(struct exchange *x, const struct training *t, struct str name, yyjson_val *input)
{
	if (is_features_own(t, name))
		api_note_member(x, name, "value_error",
				"Value error, the events have a member of the name that a feature's column has", input);
}

/* Columns of one length; or rows that are objects. false: there are no rows whose members could be looked at. */
static bool check_form(struct exchange *x, struct training *t)
{
	size_t i, n, k, m;
	yyjson_val *key, *value, *name;
	bool is_first = true, is_even = true;
	if (t->are_columns) {
		yyjson_obj_foreach(t->events, i, n, key, value) {
			size_t count = yyjson_arr_size(value);
			check_name(x, t, json_str(key), value);
			if (!yyjson_is_arr(value) || (!is_first && count != t->moments_count)) {
				note_column(x, json_str(key), value);
				is_even = false;
			}
			if (is_first)
				t->moments_count = (uint32_t)count;
			is_first = false;
		}
		return is_even;
	}
	t->moments_count = (uint32_t)yyjson_arr_size(t->events);
	yyjson_arr_foreach(t->events, i, n, value) {
		char loc[48];
		snprintf(loc, sizeof loc, "[\"body\",\"events\",%zu]", i);
		if (exchange_list_is_full(x))
			return false;
		if (!yyjson_is_obj(value))
			api_note(x, "dict_type", str_from(loc), "Input should be a valid dictionary", value);
		yyjson_obj_foreach(value, k, m, name, key)
			check_name(x, t, json_str(name), key);
	}
	return true;
}

static struct offline_training *question_new(struct exchange *x, const struct training *t)
{
	struct str entities[API_FEATURES_MAX];
	struct offline_wanted features[API_FEATURES_MAX];
	for (uint32_t i = 0; i < t->entities_count; i++)
		entities[i] = t->definitions->entities[t->entities[i]].name;
	for (uint32_t i = 0; i < t->features_count; i++) {
		const struct def_feature *f = &t->definitions->features[t->features[i]];
		features[i].name = f->name;
		for (uint32_t e = 0; e < t->entities_count; e++)
			if (t->entities[e] == f->entity)
				features[i].entity = e;
	}
	return offline_training_new(exchange_loop(x), entities, t->entities_count, features, t->features_count,
				    t->moments_count);
}

/* Looks at every event. NULL: something is wrong, and noted, or was so before. */
static struct offline_training *question_read(struct exchange *x, const struct training *t, bool is_sound)
{
	struct offline_training *m = is_sound ? question_new(x, t) : NULL;
	yyjson_arr_iter rows = t->are_columns ? (yyjson_arr_iter){ 0 } : yyjson_arr_iter_with(t->events);
	for (uint32_t i = 0; i < t->moments_count && !exchange_list_is_full(x); i++) {
		yyjson_val *row = t->are_columns ? NULL : yyjson_arr_iter_next(&rows);
		struct str ids[API_FEATURES_MAX];
		int64_t us = 0;
		uint16_t ns = 0;
		if (!t->are_columns && !yyjson_is_obj(row))
			continue; /* noted */
		for (uint32_t e = 0; e < t->entities_count; e++)
			ids[e] = id_of(x, t, i, row, t->definitions->entities[t->entities[e]].id);
		if (t->at.p != NULL)
			time_of(x, t, i, row, &us, &ns);
		if (m != NULL && exchange_is_valid(x))
			offline_training_add(m, ids, us, ns);
	}
	if (m == NULL || exchange_is_valid(x))
		return m;
	rt_msg_free(exchange_loop(x), &m->head);
	return NULL;
}

/* NULL: something is wrong, and noted, or was so before. */
static struct offline_training *read_events(struct exchange *x, struct training *t, bool are_features_known)
{
	if (!t->are_columns && !yyjson_is_arr(t->events))
		return NULL;
	bool has_rows = check_form(x, t);
	if (has_rows && t->moments_count == 0)
		api_note_member(x, STR("events"), "too_short", "There should be at least 1 event", t->events);
	if ((uint64_t)t->moments_count * t->features_count > CELLS_MAX) {
		api_note_member(x, STR("events"), "too_long",
				"There should be at most 1,000,000 values: events times features", NULL);
		return NULL;
	}
	if (!t->are_columns)
		yyjson_arr_iter_init(t->events, &t->rows);
	return has_rows ? question_read(x, t, are_features_known && exchange_is_valid(x)) : NULL;
}

static bool wants_csv(struct exchange *x)
{
	struct str accept = exchange_header(x, "accept");
	static const char csv[] = "text/csv", ndjson[] = "application/x-ndjson";
	const char *a = accept.n ? memmem(accept.p, accept.n, csv, sizeof csv - 1) : NULL;
	const char *b = accept.n ? memmem(accept.p, accept.n, ndjson, sizeof ndjson - 1) : NULL;
	return a != NULL && (b == NULL || a < b); /* the first that is named */
}

void api_training_post(struct exchange *x)
{
	static const char *const members[] = { "features", "events", "at", "defaults", "event_times", NULL };
	yyjson_val *body = api_body_model(x, members);
	yyjson_val *names = api_list(x, body, "features", API_FEATURES_MAX), *events = yyjson_obj_get(body, "events");
	struct training *t = arena_zalloc(exchange_arena(x), sizeof *t);
	if (t == NULL) {
		exchange_fail(x, RT_EFULL, "out of memory");
		return;
	}
	*exchange_data(x) = t;
	t->definitions = api_node(x)->definitions;
	t->at = STR("event_time");
	if (yyjson_obj_get(body, "at") != NULL)
		api_text(x, body, "at", &t->at);
	t->with_defaults = flag_of(x, body, "defaults", true);
	t->with_event_times = flag_of(x, body, "event_times", false);
	t->events = events;
	t->are_columns = yyjson_is_obj(events);
	t->is_csv = wants_csv(x);
	if (names != NULL && yyjson_arr_size(names) == 0)
		api_note_member(x, STR("features"), "too_short",
				"List should have at least 1 item after validation, not 0", names);
	if (events == NULL && body != NULL)
		api_note_member(x, STR("events"), "missing", "Field required", body);
	else if (events != NULL && !t->are_columns && !yyjson_is_arr(events))
		api_note_member(x, STR("events"), "list_type",
				"Input should be a list of objects, or an object of lists", events);
	struct buf unknown = { 0 };
	take_features(names, t, &unknown);
	struct offline_training *m = read_events(x, t, unknown.n == 0);
	if (unknown.n > 0 && exchange_is_valid(x)) /* alone; beside other mistakes it is one of their list */
		exchange_error(x, 404, "%.*s", STR_ARG(buf_str(&unknown)));
	else if (unknown.n > 0)
		api_note_text(x, STR("[\"body\",\"features\"]"), buf_str(&unknown), names);
	buf_finish(&unknown);
	if (m != NULL) {
		struct actor *a = exchange_actor(x);
		rt_ask(a, api_node(x)->stores->offline.background, &m->head, exchange_deadline_ns(x), a->self);
	}
}

/* ---- the answer ---- */
static void write_csv_text(struct buf *out, struct str text)
{
	bool is_plain = text.n > 0;
	for (size_t i = 0; i < text.n; i++)
		is_plain &= strchr(",\"\r\n", text.p[i]) == NULL;
	if (is_plain) {
		buf_append_str(out, text);
		return;
	}
	buf_append_char(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			buf_append_char(out, '"');
		buf_append_char(out, text.p[i]);
	}
	buf_append_char(out, '"');
}

/* Null is an empty cell, the empty text is "", and what is no scalar is JSON. */
static void write_csv_value(struct buf *out, yyjson_val *v)
{
	struct buf text = { 0 };
	if (yyjson_is_str(v)) {
		write_csv_text(out, json_str(v));
	} else if (v != NULL && !yyjson_is_null(v)) {
		json_write_value(&text, v);
		write_csv_text(out, buf_str(&text));
		out->failed |= text.failed;
		buf_finish(&text);
	}
}

static void write_csv_json(struct buf *out, struct str json)
{
	struct json_error ignored;
	yyjson_doc *doc = json_parse(json, JSON_OWN, &ignored);
	write_csv_value(out, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

static void write_header(const struct training *t, struct buf *out)
{
	size_t i, n;
	yyjson_val *name, *value, *first = t->are_columns ? t->events : yyjson_arr_get_first(t->events);
	yyjson_obj_foreach(first, i, n, name, value) {
		buf_append_str(out, i ? STR(",") : STR(""));
		write_csv_text(out, json_str(name));
	}
	for (uint32_t k = 0; k < t->features_count; k++) {
		struct str feature = t->definitions->features[t->features[k]].name;
		buf_append_char(out, ',');
		write_csv_text(out, feature);
		if (t->with_event_times)
			buf_printf(out, ",%.*s__event_time", STR_ARG(feature));
	}
	buf_append_lit(out, "\r\n");
}

/* The event as it was sent. */
static void write_event(struct training *t, struct buf *out)
{
	yyjson_val *row = t->are_columns ? NULL : yyjson_arr_iter_next(&t->rows), *name, *value;
	yyjson_val *shown = t->are_columns ? t->events : t->is_csv ? yyjson_arr_get_first(t->events) : row;
	size_t i, n;
	if (!t->is_csv)
		buf_append_char(out, '{');
	yyjson_obj_foreach(shown, i, n, name, value) {
		yyjson_val *v = member_of(t, t->moment, row, json_str(name));
		buf_append_str(out, i ? STR(",") : STR(""));
		if (t->is_csv) {
			write_csv_value(out, v);
			continue;
		}
		json_write_string(out, json_str(name));
		buf_append_char(out, ':');
		json_write_value(out, v);
	}
}

static void write_feature(const struct training *t, const struct offline_past_cell *cell, struct buf *out)
{
	const struct def_feature *f = &t->definitions->features[t->features[t->feature]];
	struct str json = cell != NULL ? cell->value_json : t->with_defaults ? f->default_json : (struct str){ 0 };
	buf_append_char(out, ',');
	if (t->is_csv) {
		if (json.p != NULL)
			write_csv_json(out, json);
		if (t->with_event_times) {
			buf_append_char(out, ',');
			if (cell != NULL)
				time_write_z_ns(out, cell->event_time_us, cell->event_time_ns);
		}
		return;
	}
	json_write_string(out, f->name);
	buf_append_char(out, ':');
	buf_append_str(out, json.p != NULL ? json : STR("null"));
	if (!t->with_event_times)
		return;
	buf_printf(out, ",\"%.*s__event_time\":", STR_ARG(f->name)); /* names are letters, digits, _, . and - */
	buf_append_str(out, cell != NULL ? STR("\"") : STR("null"));
	if (cell != NULL) {
		time_write_z_ns(out, cell->event_time_us, cell->event_time_ns);
		buf_append_char(out, '"');
	}
}

static void write_next(struct training *t, struct buf *out)
{
	const struct offline_past_cell *cell = t->cells_read < t->cells_count ? &t->cells[t->cells_read] : NULL;
	bool is_there = cell != NULL && cell->moment == t->moment && cell->feature == t->feature;
	if (t->feature == 0)
		write_event(t, out);
	write_feature(t, is_there ? cell : NULL, out);
	t->cells_read += is_there;
	if (++t->feature < t->features_count)
		return;
	buf_append_str(out, t->is_csv ? STR("\r\n") : STR("}\n"));
	t->feature = 0;
	t->moment++;
}

static void ask_next(struct exchange *x, const struct training *t)
{
	struct actor *a = exchange_actor(x);
	rt_ask(a, api_node(x)->stores->offline.background, &offline_training_next(a->loop, t->cursor)->head,
	       exchange_deadline_ns(x), a->self);
}

/* What of the batch fits a piece; or, when nothing is left of it, the next batch. */
static void send_piece(struct exchange *x, struct training *t)
{
	struct buf piece = { 0 };
	if (!exchange_stream_has_begun(x)) {
		exchange_stream_begin(x, t->is_csv ? "text/csv; charset=utf-8" : "application/x-ndjson");
		if (t->is_csv)
			write_header(t, &piece);
	}
	while (piece.n < PIECE_BYTES && !piece.failed && t->moment < t->moments_count &&
	       (t->cells_read < t->cells_count || t->is_last_batch))
		write_next(t, &piece);
	if (piece.failed)
		exchange_fail(x, RT_EFULL, "out of memory");
	else if (piece.n > 0)
		exchange_stream_send(x, &piece, t->moment == t->moments_count);
	else
		ask_next(x, t);
	buf_finish(&piece);
}

static void forget_batch(struct training *t)
{
	if (t->texts != NULL)
		arena_finish(t->texts);
	free(t->texts);
	t->texts = NULL;
}

static void on_cells(struct exchange *x, struct training *t, struct offline_past_cells *m)
{
	if (m->head.status == RT_EINVAL || m->head.status == RT_EIO) {
		exchange_error(x, 500, "the offline store: %.*s", STR_ARG(m->error));
	} else if (m->head.status == RT_EFULL) {
		exchange_error(x, 503, "the offline store: %.*s", STR_ARG(m->error));
	} else if (m->head.status == RT_ETOOBIG) {
		exchange_error(
		    x, 413,
		    "the offline store has not enough memory for so much at once; ask for fewer events or features");
	} else if (m->head.status != RT_OK) {
		exchange_fail(x, m->head.status, "the offline store");
	} else {
		forget_batch(t);
		t->texts = m->texts;
		t->cells = m->cells;
		t->cells_count = m->count;
		t->cells_read = 0;
		t->cursor = m->cursor;
		t->is_last_batch = m->last;
		m->texts = NULL;
		send_piece(x, t);
	}
}

void api_training_message(struct exchange *x, struct msg *m)
{
	struct training *t = *exchange_data(x);
	if (m->kind == OFFLINE_PAST_CELLS)
		on_cells(x, t, (struct offline_past_cells *)m);
	else if (m->kind == EXCHANGE_TAKEN)
		send_piece(x, t);
	else
		exchange_fail(x, m->kind == RT_DEADLINE ? RT_EDEADLINE : m->status, "the offline store");
}

void api_training_end(struct exchange *x)
{
	struct training *t = *exchange_data(x);
	if (t != NULL)
		forget_batch(t);
}
