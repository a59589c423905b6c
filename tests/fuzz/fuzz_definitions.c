/* Any text as a definitions file: it is loaded or refused with a reason, and what loads also makes a script
 * state. */
#include "actors/declare/definitions_load.h"
#include "actors/script/script.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct buf why = { 0 };
	int fd = memfd_create("store.lua", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct definitions *d = definitions_load(path, false, &why);
	if ((d == NULL) != (why.n > 0))
		abort();
	if (d) {
		struct script *s = script_create(d, NULL, &why);
		if ((s == NULL) != (why.n > 0))
			abort();
		script_destroy(s);
	}
	definitions_free(d);
	buf_finish(&why);
	close(fd);
	return 0;
}
