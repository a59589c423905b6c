/* `fabra serve`: the only place where the parts meet. */
#pragma once
#include <stdint.h>

int serve_main(int argc, char **argv); /* argv[0] is "serve"; returns the exit code */

/* The same, for a program that wants to talk to the server it started (demo): on_listening runs once, on the main
 * thread, when requests are answered; a non-zero return stops the server with that exit code, -1 goes on serving. */
int serve_run(int argc, char **argv, int (*on_listening)(void *arg, uint16_t port), void *arg);
