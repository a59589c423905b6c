/* Apart, because the kernel's header has the newer struct tcp_info and cannot be read beside libc's. */
#include "http/conn_tcp.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t conn_bytes_acknowledged(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t n = sizeof info;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
		return 0;
	return info.tcpi_bytes_acked;
}
