#pragma once
#include <stdint.h>

/* Bytes that the other side's kernel has acknowledged since the connection began. What ours has taken may be megabytes
 * ahead of a slow client. */
uint64_t conn_bytes_acknowledged(int fd);
