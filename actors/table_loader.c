/* table_loader.c -- loads the tables of the definitions again when their files change.
 *
 *     UNCHANGED --a file has changed--> SETTLING --no file has changed since the last look--> all tables are loaded
 *         ^                                 |                                                       |
 *         |                                 +--a file has changed again: one more look              |
 *         +----------------------------------------------------------------loaded, or failed--------+
 *
 * A file that is still being written keeps changing; it is read when it has been the same for one look. What cannot be
 * loaded leaves the table as it was, marks it and what is made of it as failing, and is tried again when the file changes. Bounds: one load at a time. */
#include "actors/table_loader.h"
#include "actors/definitions/definitions_sql.h"
#include "actors/materializer.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include <stdlib.h>
#include <sys/stat.h>

enum { LOOK_MS = 1000 };
enum state { UNCHANGED, SETTLING };

struct stamp { /* of a file; all zero: there is none */
	int64_t bytes, mtime_ns;
	uint64_t inode;
};

struct table_loader {
	struct actor base;
	const struct node *node;
	enum state state;
	int64_t changed_us;   /* SETTLING: when the change was seen */
	struct stamp *stamps; /* by table; owned */
};

/* ---- loading ---- */

static int64_t stale_since_us(const struct node *n, uint32_t table)
{
	return atomic_load_explicit(&n->metrics.tables_stale_since_us[table], memory_order_relaxed);
}

/* Of the tables before this one that the SQL names. */
static int64_t named_stale_since_us(const struct node *n, uint32_t end, struct str sql)
{
	const struct def_table *list = n->definitions->tables;
	int64_t oldest = 0;
	for (uint32_t i = 0; i < end; i++) {
		int64_t since = stale_since_us(n, i);
		if (since != 0 && (oldest == 0 || since < oldest) && definitions_sql_names(sql, list[i].name))
			oldest = since;
	}
	return oldest;
}

int64_t table_loader_stale_since_us(const struct node *n, struct str sql)
{
	return named_stale_since_us(n, n->definitions->tables_count, sql);
}

static bool load(const struct node *n, const struct def_table *t, const char *const *ids, bool *ret_any_new,
		 struct buf *ret_why)
{
	bool is_new = false;
	struct offline_column *columns = calloc(t->columns_count + 1, sizeof *columns);
	uint64_t rows = 0, started_ns = clock_mono_ns();
	if (columns == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return false;
	}
	for (uint32_t i = 0; i < t->columns_count; i++)
		columns[i] = (struct offline_column){ t->columns[i].name.p, t->columns[i].type.p };
	struct buf why = { 0 };
	const struct offline_store *o = &n->stores->offline;
	bool ok = o->load_table(o->store,
				&(struct offline_table){ .name = t->name.p,
							 .file = t->file.p,
							 .sql = t->sql.p,
							 .columns = columns,
							 .columns_count = t->columns_count,
							 .id_columns = ids,
							 .id_columns_count = n->definitions->entities_count },
				&rows, &is_new, &why);
	free(columns);
	if (!ok)
		buf_printf(ret_why, "%s%.*s:%u: %.*s", ret_why->n ? "\n" : "", STR_ARG(n->definitions->file), t->line,
			   STR_ARG(buf_str(&why)));
	buf_finish(&why);
	*ret_any_new |= ok && is_new;
	if (ok)
		log_line(LOG_INFO, "tables", is_new ? "table loaded" : "table kept: its source has not changed",
			 LOG_STR("table", t->name), LOG_INT("rows", (int64_t)rows),
			 LOG_INT("duration_ms", (int64_t)((clock_mono_ns() - started_ns) / 1000000)));
	return ok;
}

/* *ret_any_change: a table has new rows, or has begun or ceased to have old ones. */
static bool load_all(const struct node *n, int64_t now_us, bool *ret_any_change, struct buf *ret_why)
{
	const struct definitions *d = n->definitions;
	const char **ids = calloc(d->entities_count + 1, sizeof *ids);
	if (ids == NULL) {
		buf_append_lit(ret_why, "out of memory");
		return false;
	}
	for (uint32_t i = 0; i < d->entities_count; i++)
		ids[i] = d->entities[i].id.p;
	bool all_ok = true;
	for (uint32_t i = 0; i < d->tables_count; i++) {
		bool ok = load(n, &d->tables[i], ids, ret_any_change, ret_why);
		/* Those that its SQL names come before it. */
		int64_t before_us = stale_since_us(n, i), since_us = named_stale_since_us(n, i, d->tables[i].sql);
		if (!ok && (since_us == 0 || since_us > now_us))
			since_us = now_us;
		if (before_us != 0 && since_us > before_us)
			since_us = before_us;
		atomic_store_explicit(&n->metrics.tables_stale_since_us[i], since_us, memory_order_relaxed);
		*ret_any_change |= (since_us != 0) != (before_us != 0);
		all_ok &= ok;
	}
	free(ids);
	return all_ok;
}

bool table_loader_load_all(const struct node *n, struct buf *ret_why)
{
	bool any_change = false;
	return load_all(n, clock_wall_us(), &any_change, ret_why);
}

/* ---- looking at the files ---- */

static struct stamp stamp_of(const struct def_table *t)
{
	struct stat st;
	if (t->file.p == NULL || stat(t->file.p, &st) != 0)
		return (struct stamp){ 0 };
	return (struct stamp){ st.st_size, st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec, st.st_ino };
}

static bool look(struct table_loader *s)
{
	const struct definitions *d = s->node->definitions;
	bool has_changed = false;
	for (uint32_t i = 0; i < d->tables_count; i++) {
		struct stamp now = stamp_of(&d->tables[i]), *last = &s->stamps[i];
		has_changed |= now.bytes != last->bytes || now.mtime_ns != last->mtime_ns || now.inode != last->inode;
		*last = now;
	}
	return has_changed;
}

static void load_changed(struct table_loader *s)
{
	struct buf why = { 0 };
	bool any_change = false;
	bool ok = load_all(s->node, s->changed_us, &any_change, &why);
	if (any_change) {
		metrics_add(s->node->metrics.table_loads, ok);
		materializer_run_all(&s->base);
	}
	if (!ok) {
		metrics_add(s->node->metrics.table_failures, 1);
		log_line(LOG_ERROR, "tables", "a table keeps its old rows: its new file cannot be loaded",
			 LOG_STR("reason", buf_str(&why)));
	}
	buf_finish(&why);
}

/* ---- the actor ---- */

static void on_look(struct table_loader *s)
{
	bool has_changed = look(s);
	switch (s->state) {
	case UNCHANGED:
		if (has_changed) {
			s->state = SETTLING;
			s->changed_us = loop_wall_us(s->base.loop);
		}
		break;
	case SETTLING:
		if (has_changed)
			break;
		s->state = UNCHANGED;
		load_changed(s);
		break;
	}
	rt_timer_start(&s->base, LOOK_MS, 0);
}

static void table_loader_on_message(struct actor *a, struct msg *m)
{
	if (m->kind == RT_STOP)
		rt_stop(a);
	else if (m->kind == RT_TIMER)
		on_look((struct table_loader *)a);
}

/* The tables were loaded at start, before the first look, which finds every file changed: one that changed in between is not
 * missed. */
static int table_loader_init(struct actor *a, void *arg)
{
	struct table_loader *s = (struct table_loader *)a;
	s->node = arg;
	s->stamps = calloc(s->node->definitions->tables_count + 1, sizeof *s->stamps);
	if (s->stamps == NULL)
		return RT_EFULL;
	rt_timer_start(a, 1, 0);
	return 0;
}

static void table_loader_finish(struct actor *a)
{
	free(((struct table_loader *)a)->stamps);
}

const struct actor_class table_loader_class = {
	.name = "table_loader",
	.size = sizeof(struct table_loader),
	.mailbox_len_max = 16,
	.init = table_loader_init,
	.on_message = table_loader_on_message,
	.finish = table_loader_finish,
};
