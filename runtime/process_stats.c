#include "runtime/process_stats.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The first bytes of a small file as text; "" when it cannot be read. */
static const char *read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* Both clocks in seconds, taken together, tell when the machine started; field 22 of stat counts ticks from
 * there. */
static double start_time(void)
{
	char text[1024];
	const char *p = strrchr(read_text("/proc/self/stat", text, sizeof text), ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	struct timespec wall, boot;
	if (p == NULL || clock_gettime(CLOCK_REALTIME, &wall) || clock_gettime(CLOCK_BOOTTIME, &boot))
		return 0;
	double age = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 - strtod(p, NULL) / (double)sysconf(_SC_CLK_TCK);
	return (double)wall.tv_sec + (double)wall.tv_nsec / 1e9 - age;
}

/* Linux 6.2 and later give the number as the folder's size; before, it is counted. */
static double count_fds(void)
{
	struct stat st;
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (double)st.st_size;
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL)
		return 0;
	double n = -3; /* ".", ".." and the folder itself */
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

struct process_stats process_stats_read(void)
{
	struct process_stats s = { .fds_open = count_fds() };
	static _Atomic double started;
	char text[128];
	unsigned long pages_virtual, pages_resident;
	if (sscanf(read_text("/proc/self/statm", text, sizeof text), "%lu %lu", &pages_virtual, &pages_resident) == 2) {
		double page = (double)sysconf(_SC_PAGESIZE);
		s.virtual_bytes = (double)pages_virtual * page;
		s.resident_bytes = (double)pages_resident * page;
	}
	struct timespec cpu;
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
		s.cpu_seconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		s.fds_max = (double)limit.rlim_cur;
	if (started == 0) /* computed once: two readings of the clocks would differ by microseconds */
		started = start_time();
	s.start_time_seconds = started;
	return s;
}
