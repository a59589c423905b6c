/* What a context costs: USD per million tokens by model, the table of Fabra 2.3 (fabra-core 3.5) with the user's own file
 * laid over it. Immutable after creation; any thread. */
#pragma once
#include "runtime/buf.h"

struct pricing;

/* file: JSON {"model": {"input": usd, "output": usd}}; NULL or "" = the built-in table alone. NULL: *ret_why. */
struct pricing *pricing_create(const char *file, struct buf *ret_why);
void pricing_destroy(struct pricing *p);
/* Rounded to six decimals as Python's round does. A model that is not in the table has the price of "default". */
double pricing_cost_usd(const struct pricing *p, struct str model, uint64_t input_tokens, uint64_t output_tokens);
