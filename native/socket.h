// Sockets that main opens for its workers, and what the kernel tells of them. Mirrors what libuv does
// in uv_tcp_bind, uv_pipe_bind2 and uv_listen, so that an application sees the errors it would
// see from node alone; the differences are SO_REUSEPORT and the probe.
//
// Every function returns a descriptor or 0 on success and -errno on failure, when nothing is left
// open or bound. Descriptors are as in descriptor.h. Any thread may call.
#ifndef GYRE_SOCKET_H_
#define GYRE_SOCKET_H_

#include <stdint.h>

#include <string>

#include "address.h"

namespace gyre {

// Bits of OpenTcp's `flags`. The first two have the values of libuv's
// UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT, which is what net.Server passes on.
enum TcpFlag {
  kIpv6Only = 1,
  kReusePort = 2,
  // Bind once without SO_REUSEPORT first, so that a port which somebody else
  // shares with SO_REUSEPORT is still EADDRINUSE.
  kProbe = 4,
};

// A listening, non-blocking socket. `family` is 4 or 6; `address` is numeric and
// may carry an IPv6 zone ("fe80::1%eth0").
int OpenTcp(const char* address, int port, int family, int flags, int backlog);

// A bound, non-blocking datagram socket. Of `flags` and addresses the same is true.
// `receive_buffer` is SO_RCVBUF in bytes, of which the kernel makes what it likes; 0: its default.
int OpenUdp(const char* address, int port, int family, int flags, int receive_buffer);

// `path` that begins with NUL is in Linux's abstract namespace.
int OpenUnix(const std::string& path, int backlog);

// listen(2) on a socket that is bound, or listens already: then `backlog` changes.
int Listen(int fd, int backlog);

// From now on nobody begins a connection to the listening TCP socket `fd`: a SYN
// is dropped, as if lost, and the client repeats it a second later. What has begun goes on.
// Cannot be undone, and holds for every descriptor of the socket. Linux only.
int DropHandshakes(int fd);

// The listening socket `fd` listens no more, through whatever descriptor: who waits in its queue is reset,
// and who connects is refused.
int StopListening(int fd);

// What `fd` is bound to. Of stream sockets only: nothing else can listen.
int NameOf(int fd, Address* address);
// The same of datagram sockets.
int UdpNameOf(int fd, Address* address);

struct QueueState {
  uint32_t length = 0;   // connections that wait to be accepted
  uint32_t limit = 0;    // so many may wait; one more than that is accepted by Linux
  uint32_t dropped = 0;  // as DroppedAt() says
};
// Of a listening TCP socket: TCP_INFO's tcpi_unacked and tcpi_sacked.
int QueueOf(int fd, QueueState* queue);

// Connections or datagrams that the kernel has dropped at this socket since it was opened, modulo
// 2^32: there was no room, or a checksum was wrong (SO_MEMINFO, Linux 4.12).
int64_t DroppedAt(int fd);

}  // namespace gyre

#endif  // GYRE_SOCKET_H_
