#include "tools/paths.h"
#include "runtime/config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool fits(int n, size_t size, struct buf *ret_why)
{
	if (n >= 0 && (size_t)n < size)
		return true;
	buf_append_lit(ret_why, "the path of the state folder is too long; set FABRA_HOME to a shorter one");
	return false;
}

static bool ledger_beside(struct paths *p, struct buf *ret_why)
{
	return fits(snprintf(p->ledger, sizeof p->ledger, "%s.ledger", p->duckdb), sizeof p->ledger, ret_why);
}

/* DuckDB takes ~ for the home folder and other beginnings for kinds of stores; the ledger and mkdir take a path as it is
 * written, and the state would be in two places. What names no file here is refused, and what is relative says so. */
static bool is_plain(const char *name, const char *path, struct buf *ret_why)
{
	if (path[0] == '~')
		buf_printf(
		    ret_why,
		    "%s begins with ~, which only a shell expands; write the whole path (or ./~ for a folder of that "
		    "name)",
		    name);
	else if (strncmp(path, ":memory:", 8) == 0)
		buf_printf(ret_why,
			   "%s begins with :memory: and goes on; write :memory: alone, or ./ before a file's name",
			   name);
	else if (path[0] != '/' && strstr(path, "://"))
		buf_printf(ret_why, "%s is a URL; write the path of a file of this machine", name);
	else
		return true;
	return false;
}

static const char *relative(const char *path)
{
	return path[0] == '/' || strncmp(path, "./", 2) == 0 || strncmp(path, "../", 3) == 0 ? "" : "./";
}

bool paths_find(struct paths *ret, struct buf *ret_why)
{
	*ret = (struct paths){ 0 };
	const char *duckdb = config_str("FABRA_DUCKDB_PATH", NULL);
	if (duckdb && strcmp(duckdb, ":memory:") == 0) {
		ret->in_memory = true;
		strcpy(ret->duckdb, duckdb);
		return true;
	}
	if (duckdb)
		return is_plain("FABRA_DUCKDB_PATH", duckdb, ret_why) &&
		       fits(snprintf(ret->duckdb, sizeof ret->duckdb, "%s%s", relative(duckdb), duckdb),
			    sizeof ret->duckdb, ret_why) &&
		       ledger_beside(ret, ret_why);
	const char *home = config_str("FABRA_HOME", NULL), *user = config_str("HOME", NULL);
	if (home == NULL && user == NULL) {
		buf_append_lit(ret_why, "neither FABRA_HOME nor HOME is set; set FABRA_HOME to a folder for the state");
		return false;
	}
	const char *base = home ? home : user;
	if (!is_plain(home ? "FABRA_HOME" : "HOME", base, ret_why))
		return false;
	int n = snprintf(ret->duckdb, sizeof ret->duckdb, "%s%s%s/fabra.duckdb", relative(base), base,
			 home ? "" : "/.fabra");
	return fits(n, sizeof ret->duckdb, ret_why) && ledger_beside(ret, ret_why);
}

static bool make_folder(const char *path, struct buf *ret_why)
{
	char part[4096];
	snprintf(part, sizeof part, "%s", path);
	for (char *slash = part + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		if (mkdir(part, 0700) != 0 && errno != EEXIST)
			break;
		*slash = '/';
	}
	if (mkdir(part, 0700) == 0 || errno == EEXIST)
		return true;
	buf_printf(ret_why, "cannot make the folder %s: %s; set FABRA_HOME to one that can be written", path,
		   strerror(errno));
	return false;
}

bool paths_prepare(struct paths *p, struct buf *ret_why)
{
	if (p->in_memory) {
		const char *tmp = config_str("TMPDIR", "/tmp");
		snprintf(p->ledger, sizeof p->ledger, "%s/fabra-ledger-XXXXXX", tmp);
		if (mkdtemp(p->ledger))
			return true;
		buf_printf(ret_why, "cannot make a temporary folder in %s: %s; set TMPDIR", tmp, strerror(errno));
		return false;
	}
	char parent[4096];
	snprintf(parent, sizeof parent, "%s", p->duckdb);
	char *slash = strrchr(parent, '/');
	if (slash == NULL || slash == parent)
		return true;
	*slash = '\0';
	return make_folder(parent, ret_why);
}
