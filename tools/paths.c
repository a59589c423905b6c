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
		return fits(snprintf(ret->duckdb, sizeof ret->duckdb, "%s", duckdb), sizeof ret->duckdb, ret_why) &&
		       ledger_beside(ret, ret_why);
	const char *home = config_str("FABRA_HOME", NULL), *user = config_str("HOME", NULL);
	if (home == NULL && user == NULL) {
		buf_append_lit(ret_why, "neither FABRA_HOME nor HOME is set; set FABRA_HOME to a folder for the state");
		return false;
	}
	int n = home ? snprintf(ret->duckdb, sizeof ret->duckdb, "%s/fabra.duckdb", home)
		     : snprintf(ret->duckdb, sizeof ret->duckdb, "%s/.fabra/fabra.duckdb", user);
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
