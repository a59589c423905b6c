/* SQL of a feature narrowed to ids; the reader's. */
#pragma once
#include "store/offline/offline_private.h"

/* c is entered by the caller. Fills the batch, or fails it. */
void offline_feature_read(struct offline_conn *c, const struct offline_narrowed *ask, uint64_t deadline_ns,
			  struct offline_batch *ret);
