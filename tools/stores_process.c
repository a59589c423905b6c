#include "tools/stores_process.h"
#include "tools/stores_embedded.h"

struct stores_process *stores_process_open(const struct serve_options *o, struct loop *const *io, unsigned io_count,
					   struct buf *ret_why)
{
	(void)io, (void)io_count;
	return stores_embedded_open(o, ret_why);
}
