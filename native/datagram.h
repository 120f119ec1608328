// What is read from a datagram socket and written to it.
#ifndef GYRE_DATAGRAM_H_
#define GYRE_DATAGRAM_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <string>

namespace gyre {

// Bytes of a peer's address as JavaScript keeps it: an internet sockaddr, of either family.
constexpr size_t kPeerBytes = 28;

// Every function returns -errno on failure and never blocks. Any thread may call; several may
// receive from one socket, and each datagram goes to one of them.

// Takes one datagram: its length, cut at `size`. `peer` has kPeerBytes. Adds 1 to *received in
// this call, so that no datagram which was taken goes uncounted, whatever ends the thread.
int64_t ReceiveDatagram(int fd, void* data, size_t size, void* peer, int32_t* received);

int64_t SendDatagram(int fd, const void* data, size_t size, const void* peer);

struct PeerName {
  int family = 0;  // 4 or 6
  int port = 0;
  std::string text;  // with its zone, where it has one
};
int PeerNameOf(const void* peer, PeerName* name);

// Datagrams that the kernel has dropped at this socket since it was opened, modulo 2^32: there
// was no room in its receive buffer, or a checksum was wrong (SO_MEMINFO, Linux 4.12).
int64_t DroppedAt(int fd);

}  // namespace gyre

#endif  // GYRE_DATAGRAM_H_
