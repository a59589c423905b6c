/* What the kernel knows about this process, read from /proc (proc(5)) and the clocks. Any thread. */
#pragma once

struct process_stats {             /* what could not be read is 0 */
	double cpu_seconds;        /* user and system */
	double start_time_seconds; /* since 1970, UTC; to 1/100 s, as the kernel keeps it */
	double resident_bytes, virtual_bytes;
	double fds_open, fds_max;
};
struct process_stats process_stats_read(void);
