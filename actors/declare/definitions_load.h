/* From a Lua file to definitions, and to the state in which a loop runs the file's functions. */
#pragma once
#include "actors/script/script.h"

/* Runs the file and checks all that it declares. NULL: *ret_why has one or more lines
 * "file:line: key: what is wrong (did you mean 'x'?)". Blocking. */
struct definitions *definitions_load(const char *path, bool unsafe_lua, struct buf *ret_why);
/* Builds a loop's state by running the source again, on any thread (a blocking one); it is then handed to the loop, which ends it
 * with script_destroy. NULL: *ret_why. d: shares, must outlive the state. limits: copied; NULL = defaults. */
struct script *script_create(const struct definitions *d, const struct script_limits *limits, struct buf *ret_why);
