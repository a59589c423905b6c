/* What the libraries of a process print goes to the log. They know only stdio's two streams, and print from whatever thread
 * they are on, an I/O loop among them; a write to a descriptor that nobody reads would stop it. The C library lets a program
 * assign `stdout` and `stderr` (glibc's manual, "Standard Streams"), so both become streams that make log lines.
 *
 * Text written to a descriptor without stdio still goes there: the C library's own messages before it aborts, and those of
 * sanitizers. */
#pragma once

/* After log_start; one thread at a time. A program that is about to abort writes the last line that was caught to standard
 * error after all, if somebody reads it. */
void log_stdio_catch(void);
/* Before log_stop. Does nothing when nothing is caught. */
void log_stdio_release(void);
