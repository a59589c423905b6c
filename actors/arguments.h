/* Checking what a caller passes to a context against its declared parameters. */
#pragma once
#include "actors/definitions.h"
#include "store/json.h"

/* true, or a line in *ret_why with all that is wrong, in the words of Fabra's 400: "missing required argument 'user_id'".
 * args: an object. */
bool arguments_check(const struct def_context *context, yyjson_val *args, struct buf *ret_why);
/* The arguments with the defaults of parameters that were not given, as an object. false: nothing is missing, nothing was
 * written. */
bool arguments_fill(const struct def_context *context, yyjson_val *args, struct buf *out);
