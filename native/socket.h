#ifndef GYRE_SOCKET_H_
#define GYRE_SOCKET_H_

#include <stdint.h>

#include <string>

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

// Every function returns a descriptor or 0 on success and -errno on failure.
// Descriptors are close-on-exec and never 0, 1 or 2. Any thread may call.

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

// Takes a connection, non-blocking, from the accept queue of a listening socket.
int AcceptOne(int listening_fd);

// From now on nobody begins a connection to the listening TCP socket `fd`: a SYN
// is dropped, as if lost, and the client repeats it a second later. What has begun goes on.
// Cannot be undone, and holds for every descriptor of the socket. Linux only.
int DropHandshakes(int fd);

// The listening socket `fd` listens no more, through whatever descriptor: who waits in its queue is reset,
// and who connects is refused.
int StopListening(int fd);

int Duplicate(int fd);
// The lowest number that is free. `any` is open.
int NextDescriptor(int any);
int Close(int fd);

struct SocketName {
  int family = 0;  // 4, 6, or 1 for a Unix socket
  int port = 0;
  std::string text;  // address, or path
};
// Of stream sockets only: nothing else can listen.
int NameOf(int fd, SocketName* name);
// The same of datagram sockets.
int UdpNameOf(int fd, SocketName* name);

// The kernel's 64-bit name of the socket itself, the same through every
// descriptor that refers to it and never used again (SO_COOKIE, Linux 4.12).
int CookieOf(int fd, uint64_t* cookie);

struct QueueState {
  int32_t length = 0;   // connections that wait to be accepted
  int32_t limit = 0;    // so many may wait; one more than that is accepted by Linux
  int32_t dropped = 0;  // ever, because there was no room or no memory: Linux 4.12; modulo 2^32
};
// Of a listening TCP socket: TCP_INFO's tcpi_unacked and tcpi_sacked, and SO_MEMINFO.
int QueueOf(int fd, QueueState* queue);

// Closes `fd` only if it refers to the socket that `cookie` names. The caller
// must know that no other thread can close or reuse this number meanwhile.
// Returns 1 if it closed, 0 if the number now means something else.
int CloseIfSame(int fd, uint64_t cookie);

}  // namespace gyre

#endif  // GYRE_SOCKET_H_
