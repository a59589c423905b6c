/* What the main functions of the simulations share: `--seeds N --seed S`, a failure that names its seed and how to run it
 * again, and no log, because things fail by the thousand here. Included by the file with main only. */
#pragma once
#include "runtime/check.h"
#include "runtime/log.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sim_seeds {
	uint64_t first, end; /* the end is not one of them */
};
static struct {
	const char *program;
	uint64_t present; /* the seed that runs */
	int nowhere;
} sim_main;

static void sim_main_print_seed(int number)
{
	(void)number;
	unsigned long long seed = sim_main.present;
	fprintf(stderr, "FAILED: seed %llu; again: %s --seeds 1 --seed %llu\n", seed, sim_main.program, seed);
	_exit(1);
}

static inline struct sim_seeds sim_main_begin(int argc, char **argv)
{
	uint64_t count = 100, first = 1;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seeds") == 0)
			count = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			first = strtoull(argv[i + 1], NULL, 10);
	}
	sim_main.program = argv[0];
	sim_main.nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(sim_main.nowhere >= 0 && log_start(sim_main.nowhere, LOG_ERROR) == 0);
	signal(SIGABRT, sim_main_print_seed);
	signal(SIGSEGV, sim_main_print_seed);
	return (struct sim_seeds){ first, first + count };
}

/* Runs each seed; every sixteenth twice, because the same seed must give the same run. */
#define SIM_MAIN_RUN(seeds, run)                                                                                       \
	for (sim_main.present = (seeds).first; sim_main.present < (seeds).end; sim_main.present++) {                   \
		uint64_t trace_ = (run);                                                                               \
		if (sim_main.present % 16 == 0)                                                                        \
			CHECK((run) == trace_);                                                                        \
	}

static inline void sim_main_end(void)
{
	log_stop();
	close(sim_main.nowhere);
}
