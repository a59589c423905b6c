/* Checks the arguments of a request against the declared parameters of its context. */
#pragma once
#include "actors/definitions/definitions.h"
#include "store/text/json.h"

/* Names that every context accepts: they say which call this is (fabra-core 3.9). NULL-terminated. */
extern const char *const arguments_of_any_context[];

/* false: *ret_why has one line with all errors, worded as in Fabra's 400: "missing required argument 'user_id'". args: an
 * object. */
bool arguments_check(const struct def_context *context, yyjson_val *args, struct buf *ret_why);
/* Writes the arguments, with the defaults of those that were not given, as an object. false: no default is needed, and nothing
 * was written. */
bool arguments_fill(const struct def_context *context, yyjson_val *args, struct buf *out);
