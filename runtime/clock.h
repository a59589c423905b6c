/* The only source of time. Actors use loop_mono_ns / loop_wall_us; these are for code that is on no loop. */
#pragma once
#include <stdint.h>

uint64_t clock_mono_ns(void);
int64_t clock_wall_us(void); /* microseconds since 1970-01-01 UTC */
uint64_t clock_thread_cpu_ns(void);
