/* cli_ledger.c -- `fabra ledger`: the evidence on disk, read while the server runs or without one. */
#include "store/ledger/ledger.h"
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
    "           problem. A signature whose key is not at hand is one if FABRA_SIGNATURE_MODE is required, and else a note\n"
    "  stat     prints what the ledger holds, as JSON\n"
    "  accept   after damage that no backup can repair: accepts that the entries which are damaged or missing are lost, so that\n"
    "           the server calls itself ready again. Prints which, as JSON; stop the server first\n";

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

static int run(const char *sub, const char *dir)
{
	bool is_stat = strcmp(sub, "stat") == 0;
	struct record_signer signer = { 0 };
	struct buf findings = { 0 };
	if (!is_stat && !load_signer(&signer))
		return EXIT_USAGE;
	struct ledger_report report = { 0 };
	int64_t problems = ledger_verify(dir, &signer, &report, &findings);
	if (problems < 0) {
		fprintf(stderr, "fabra ledger %s: %.*s\n", sub, STR_ARG(buf_str(&findings)));
		buf_finish(&findings);
		return EXIT_ERROR;
	}
	if (!is_stat && findings.n)
		fwrite(findings.p, 1, findings.n, stdout);
	buf_finish(&findings);
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

static int run_accept(const char *dir)
{
	struct buf done = { 0 };
	int64_t accepted = ledger_accept_losses(dir, &done);
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
