/* The commands of the program. Each gets its own name as argv[0] and returns the exit code; what is meant for a pipe goes
 * to stdout, everything said to a person to stderr. */
#pragma once
#include "runtime/str.h"
#include "tools/serve.h"

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2 };

int check_main(int argc, char **argv);
int context_main(int argc, char **argv);
int features_main(int argc, char **argv);
int sql_main(int argc, char **argv);
int training_main(int argc, char **argv);
int ledger_main(int argc, char **argv);
int demo_main(int argc, char **argv);
int version_main(int argc, char **argv);

/* What definitions_describe wrote, a line for each declaration, to stdout. */
void definitions_print(struct str json);
