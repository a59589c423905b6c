/* The stores of one process, whichever backends they are: what the composition root opens, starts and ends. */
#pragma once
#include "actors/definitions/definitions.h"
#include "runtime/loop.h"
#include "store/stores.h"
#include "tools/serve_options.h"

struct stores_process {
	const struct stores *stores; /* borrows from this */
	/* The loop of the long statements that no request waits for, and of the actors that ask them. */
	struct loop *background;
	int (*start)(struct stores_process *p); /* 0, or the error of a thread that could not be made */
	/* Those who ask must have ended. */
	void (*stop)(struct stores_process *p);
	void (*close)(struct stores_process *p);
};

/* Opens what the options say and makes loops and actors, which do not run yet: what is read at the start is read before the
 * first append. d: what is kept is named after it. io: the I/O loops, which do not run yet either; actors of connections are spawned on them. NULL: *ret_why. */
struct stores_process *stores_process_open(const struct serve_options *o, const struct definitions *d,
					   struct loop *const *io, unsigned io_count, struct buf *ret_why);
