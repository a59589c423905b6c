/* The commands of the program. Each gets its own name as argv[0] and returns the exit code; what is meant for a pipe goes
 * to stdout, everything said to a person to stderr. */
#pragma once
#include "tools/serve.h"

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2 };

int context_main(int argc, char **argv);
int ledger_main(int argc, char **argv);
int demo_main(int argc, char **argv);
int version_main(int argc, char **argv);
