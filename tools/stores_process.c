#include "tools/stores_process.h"
#include "tools/stores_embedded.h"

struct stores_process *stores_process_open(const struct serve_options *o, const struct definitions *d,
					   struct loop *const *io, unsigned io_count, struct buf *ret_why)
{
	return stores_embedded_open(o, d, io, io_count, ret_why);
}
