/* cli_ledger.c -- `fabra ledger`: the evidence on disk, read while the server runs or without one. */
#include "runtime/encode.h"
#include "store/ledger/ledger.h"
#include "store/offline/offline_duckdb.h"
#include "tools/commands.h"
#include "tools/paths.h"
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: fabra ledger verify [DIR]\n"
    "       fabra ledger stat [DIR]\n"
    "       fabra ledger accept [DIR]\n"
    "\n"
    "DIR is the ledger's folder; default: the one of FABRA_DUCKDB_PATH or FABRA_HOME (~/.fabra/fabra.duckdb.ledger).\n"
    "verify and stat read the files only, so that they work beside a running server.\n"
    "\n"
    "  verify   checks every frame, the chain of frames, every record's hash, the chain of records and, with\n"
    "           FABRA_SIGNING_KEY, the signatures. Findings are printed as JSON, one per line; exit code 1 when there is a\n"
    "           problem; so is a DuckDB file beside it (DIR without .ledger) that is of another ledger, or knows entries that\n"
    "           this one does not have. A signature whose key is not at hand is one if FABRA_SIGNATURE_MODE is required, and else a note\n"
    "  stat     prints what the ledger holds, as JSON\n"
    "  accept   after damage that no backup can repair: accepts that the entries which are damaged or missing are lost, so that\n"
    "           the server calls itself ready again. Prints which, as JSON; stop the server first. When the ledger's folder is\n"
    "           lost, or ends before what the DuckDB file beside it knows, the ledger goes on behind that: values, lists and\n"
    "           history stay, the texts of the lost records are gone. Nothing that is there is ever dropped\n";

static void print_report(const struct ledger_report *r, int64_t problems)
{
	printf("{\"segments\":%llu,\"frames\":%llu,\"records\":%llu,\"values\":%llu,\"events\":%llu,\"first_lsn\":%llu,"
	       "\"last_lsn\":%llu,\"bytes\":%llu,\"torn_tails\":%llu,\"signatures_unchecked\":%llu,\"problems\":%lld,"
	       "\"last_context_id\":\"%s\"}\n",
	       (unsigned long long)r->segments, (unsigned long long)r->frames, (unsigned long long)r->records,
	       (unsigned long long)r->values, (unsigned long long)r->events, (unsigned long long)r->first_lsn,
	       (unsigned long long)r->last_lsn, (unsigned long long)r->bytes, (unsigned long long)r->torn_tails,
	       (unsigned long long)r->signatures_unchecked, (long long)problems, r->last_context_id);
}

/* Without a key the signatures are left alone, but not with one that cannot be read, nor where they must be there: "no
 * problem" would be said of what nobody looked at. */
static bool load_signer(struct record_signer *ret)
{
	struct buf errors = { 0 };
	bool ok = record_signer_load(ret, &errors);
	if (!ok)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&errors)));
	buf_finish(&errors);
	return ok;
}

/* ---- the DuckDB file beside it ---- */

/* false: dir has not the name of a ledger beside a file. */
static bool file_beside(const char *dir, char ret[static 4096])
{
	static const char end[] = ".ledger";
	size_t n = strlen(dir), end_bytes = sizeof end - 1;
	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n <= end_bytes || n >= 4096 || memcmp(dir + n - end_bytes, end, end_bytes) != 0)
		return false;
	snprintf(ret, 4096, "%.*s", (int)(n - end_bytes), dir);
	return true;
}

struct pair {
	enum offline_peek peek;
	enum offline_kinship kinship; /* OFFLINE_PEEK_DONE */
	struct offline_origin origin; /* likewise */
	struct buf why;               /* what is wrong, or why that cannot be known; owned. n 0: nothing */
};

static void pair_read(struct pair *p, const char *dir)
{
	char path[4096];
	struct ledger_outside ledger;
	*p = (struct pair){ .peek = OFFLINE_PEEK_NOTHING };
	if (!file_beside(dir, path))
		return;
	p->peek = offline_peek(path, &p->origin, &p->why);
	if (p->peek == OFFLINE_PEEK_IN_USE) {
		/* By the server, which compared them when it started. */
		buf_clear(&p->why);
		ledger_refusal_read(dir, &p->why);
	} else if (p->peek == OFFLINE_PEEK_DONE && ledger_outside_init(&ledger, dir, &p->why)) {
		p->kinship = offline_kinship_of(&p->origin, &ledger.source);
		offline_kinship_write(p->kinship, &p->origin, &ledger.source, &p->why);
	}
}

/* Returns how many problems there are: 0 or 1. */
static int64_t report_pair(const struct pair *p)
{
	if (p->why.n == 0)
		return 0;
	struct buf line = { 0 };
	buf_printf(&line, "{\"problem\":\"duckdb\",\"detail\":");
	json_write_string(&line, buf_str(&p->why));
	printf("%.*s}\n", STR_ARG(buf_str(&line)));
	buf_finish(&line);
	return 1;
}

static int run(const char *sub, const char *dir)
{
	bool is_stat = strcmp(sub, "stat") == 0;
	struct record_signer signer = { 0 };
	struct buf findings = { 0 };
	if (!is_stat && !load_signer(&signer))
		return EXIT_USAGE;
	struct ledger_report report = { 0 };
	int64_t problems = ledger_verify(dir, &signer, &report, &findings);
	struct pair pair = { 0 };
	if (!is_stat)
		pair_read(&pair, dir);
	if (problems < 0) {
		fprintf(stderr, "fabra ledger %s: %.*s%s%.*s\n", sub, STR_ARG(buf_str(&findings)),
			pair.why.n ? "; " : "", STR_ARG(buf_str(&pair.why)));
		buf_finish(&findings);
		buf_finish(&pair.why);
		return EXIT_ERROR;
	}
	if (!is_stat && findings.n)
		fwrite(findings.p, 1, findings.n, stdout);
	buf_finish(&findings);
	problems += report_pair(&pair);
	buf_finish(&pair.why);
	print_report(&report, problems);
	if (is_stat)
		return EXIT_OK;
	fflush(stdout);
	if (problems)
		fprintf(stderr, "%lld problem(s) found in %s\n", (long long)problems, dir);
	else if (report.signatures_unchecked)
		fprintf(stderr, "no problem found in %s, but %llu signature(s) could not be checked\n", dir,
			(unsigned long long)report.signatures_unchecked);
	else
		fprintf(stderr, "no problem found in %s\n", dir);
	return problems ? EXIT_ERROR : EXIT_OK;
}

/* What the DuckDB file knows, and whether its end may be taken for the ledger's. */
static bool may_accept(const struct pair *p, struct ledger_known *ret, struct buf *ret_why)
{
	bool is_decided = p->kinship != OFFLINE_KIN_OTHER && p->kinship != OFFLINE_KIN_FORKED;
	if (p->peek == OFFLINE_PEEK_IN_USE)
		buf_append_lit(ret_why, "a server uses this ledger; stop it first");
	else if (p->peek == OFFLINE_PEEK_FAILED || !is_decided)
		buf_append_str(ret_why, buf_str(&p->why));
	if (p->peek == OFFLINE_PEEK_DONE && p->kinship == OFFLINE_KIN_OTHER)
		buf_append_lit(ret_why, ", or, to go on with what DuckDB knows, move the ledger's folder away");
	*ret = (struct ledger_known){ .lsn = p->origin.applied_lsn };
	for (size_t i = 0; p->peek == OFFLINE_PEEK_DONE && i < sizeof ret->id; i++)
		ret->id[i] = (uint8_t)(encode_hex_value(p->origin.ledger_id[2 * i]) << 4 |
				       encode_hex_value(p->origin.ledger_id[2 * i + 1]));
	return ret_why->n == 0;
}

static int run_accept(const char *dir)
{
	struct buf done = { 0 };
	struct pair pair;
	struct ledger_known known;
	pair_read(&pair, dir);
	bool may = may_accept(&pair, &known, &done);
	int64_t accepted = may ? ledger_accept_losses(dir, pair.peek == OFFLINE_PEEK_DONE ? &known : NULL, &done) : -1;
	buf_finish(&pair.why);
	if (accepted < 0)
		fprintf(stderr, "fabra ledger accept: %s: %.*s\n", dir, STR_ARG(buf_str(&done)));
	else if (done.n)
		fwrite(done.p, 1, done.n, stdout);
	buf_finish(&done);
	if (accepted < 0)
		return EXIT_ERROR;
	fflush(stdout);
	fprintf(stderr, "%lld entries are accepted as lost in %s\n", (long long)accepted, dir);
	return EXIT_OK;
}

static int run_on(const char *sub, const char *dir)
{
	return strcmp(sub, "accept") == 0 ? run_accept(dir) : run(sub, dir);
}

static bool is_command(const char *sub)
{
	return strcmp(sub, "verify") == 0 || strcmp(sub, "stat") == 0 || strcmp(sub, "accept") == 0;
}

/* The command has no options but --help, which may stand anywhere. Else a DIR that looks like one is a typing error: accept would
 * speak of a folder "--dry-run". */
static bool has_options(int argc, char **argv, int *ret_status)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help, stdout);
			*ret_status = EXIT_OK;
			return true;
		}
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-') {
			fprintf(stderr,
				"fabra ledger: there is no option '%s' (a folder of that name: ./%s); "
				"try: fabra ledger --help\n",
				argv[i], argv[i]);
			*ret_status = EXIT_USAGE;
			return true;
		}
	return false;
}

int ledger_main(int argc, char **argv)
{
	int status;
	if (has_options(argc, argv, &status))
		return status;
	if (argc < 2 || argc > 3 || !is_command(argv[1])) {
		fputs("usage: fabra ledger verify|stat|accept [DIR]; try: fabra ledger --help\n", stderr);
		return EXIT_USAGE;
	}
	if (argc == 3)
		return run_on(argv[1], argv[2]);
	struct paths paths;
	struct buf why = { 0 };
	if (!paths_find(&paths, &why) || paths.in_memory) {
		if (paths.in_memory)
			buf_append_lit(&why, "FABRA_DUCKDB_PATH is :memory:, which keeps no ledger");
		fprintf(stderr, "fabra ledger: %.*s\n", STR_ARG(buf_str(&why)));
		buf_finish(&why);
		return EXIT_ERROR;
	}
	return run_on(argv[1], paths.ledger);
}
