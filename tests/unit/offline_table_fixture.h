/* Tables made from files: a folder, an offline store in it, and questions. Included by the tests of tables. */
#pragma once
#include "store/offline/offline_json.h"
#include "store/offline/offline_private.h"
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], db_path[128];
static struct offline *store;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void open_store(void)
{
	struct buf why = { 0 };
	store = offline_open(&(struct offline_config){ .path = db_path }, &why);
	if (store == NULL)
		fail_msg("%.*s", STR_ARG(buf_str(&why)));
	buf_finish(&why);
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/fabra-table-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	/* The name that once made every mention of schema fabra ambiguous. */
	snprintf(db_path, sizeof db_path, "%s/fabra.duckdb", folder);
	open_store();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	offline_close(store);
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *base)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", folder, base);
	return path;
}

static void write_file(const char *base, const char *text)
{
	FILE *f = fopen(path_of(base), "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* The rows as JSON, or the error; lives until the next call. */
static const char *query(const char *sql)
{
	static char text[4096];
	struct buf out = { 0 };
	uint32_t rows;
	struct offline_error error = { 0 };
	struct offline_conn *c = offline_admin_enter(store, &error);
	assert_non_null(c);
	if (!offline_conn_select(c, str_from(sql), NULL, UINT64_MAX, &error) ||
	    !offline_rows_write(c, 100, &out, &rows, &error)) {
		buf_clear(&out);
		buf_append_str(&out, str_from(error.text));
	}
	offline_admin_leave(store);
	snprintf(text, sizeof text, "%.*s", STR_ARG(buf_str(&out)));
	buf_finish(&out);
	return text;
}
