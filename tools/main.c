/* main.c -- finds the command and runs it. */
#include "actors/definitions/definitions_near.h"
#include "tools/commands.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
	const char *summary;
};

static int help_main(int argc, char **argv);

static const struct command commands[] = {
	{ "serve", serve_main, "serve a definitions file over HTTP/2" },
	{ "demo", demo_main, "serve the built-in example and show it at work" },
	{ "check", check_main, "check a definitions file, its tables and its SQL, without serving" },
	{ "context", context_main, "show, list and verify contexts of a running server" },
	{ "features", features_main, "list and read features of a running server" },
	{ "sql", sql_main, "run a SELECT over a running server's offline store" },
	{ "training-data", training_main,
	  "values that features had at past events, from a running server, into a file" },
	{ "ledger", ledger_main, "verify or summarise the ledger's files, also while the server runs" },
	{ "version", version_main, "print the version" },
	{ "help", help_main, "this text, or `fabra help COMMAND`" },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out)
{
	fputs("fabra: serves ML features and LLM contexts, and leaves a verifiable record of what the model saw\n\n"
	      "usage: fabra COMMAND [arguments]\n\n",
	      out);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].summary);
	fputs("\nfirst steps:\n"
	      "  fabra demo                          a server with an example, and requests to it\n"
	      "  fabra serve store.lua               your own definitions\n"
	      "  fabra context list                  what it has assembled\n"
	      "  fabra context verify ctx_...        is that record what the model saw?\n\n"
	      "`fabra COMMAND --help` explains a command.\n",
	      out);
}

static const struct command *find(const char *name)
{
	for (int i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	fprintf(stderr, "fabra: there is no command '%s'", name);
	const char *names[COMMANDS + 1] = { NULL };
	for (int i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	const char *near = definitions_near(names, str_from(name));
	if (near != NULL)
		fprintf(stderr, "; did you mean '%s'?", near);
	fputs("\ntry: fabra help\n", stderr);
	return EXIT_USAGE;
}

static int help_main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stdout);
		return EXIT_OK;
	}
	const struct command *c = find(argv[1]);
	if (c == NULL)
		return unknown(argv[1]);
	char help[] = "--help";
	char *arguments[] = { argv[1], help, NULL };
	return c->run(2, arguments);
}

int version_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("Fabra v" FABRA_VERSION);
	return EXIT_OK;
}

/* What was printed may still be in a buffer, and a full disk shows when it is written: an answer that is not there is no
 * success. */
static int finish_output(int status)
{
	bool is_flushed = fflush(stdout) == 0;
	if (is_flushed && !ferror(stdout))
		return status;
	fprintf(stderr, "fabra: standard output could not be written: %s\n",
		is_flushed ? "a part is missing" : strerror(errno));
	return status == EXIT_OK ? EXIT_ERROR : status;
}

/* A descriptor below 3 that is closed would go to the first file that is opened, and what is printed or logged would be
 * written into it: the ledger's, for instance. Standard output gets one that cannot be written, so that an answer which
 * goes nowhere stays an error; what is said to a person may go nowhere. false: there is no /dev/null to put there. */
static bool occupy_standard_descriptors(void)
{
	static const int modes[] = { O_RDONLY, O_RDONLY, O_WRONLY };
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	if (!occupy_standard_descriptors())
		return EXIT_ERROR; /* nothing can be said, nor may any file be opened */
	/* -v and --verbose before the command are Fabra's; each command has its own. */
	int at = 1;
	while (at < argc && (strcmp(argv[at], "-v") == 0 || strcmp(argv[at], "--verbose") == 0))
		at++;
	if (at >= argc) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	const char *name = argv[at];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	else if (strcmp(name, "--version") == 0)
		name = "version";
	const struct command *c = find(name);
	return finish_output(c ? c->run(argc - at, argv + at) : unknown(name));
}
