// What is read from a datagram socket and written to it.
//
// Every function returns -errno on failure and never blocks. Any thread may call; several may
// receive from one socket, and each datagram goes to one of them.
#ifndef GYRE_DATAGRAM_H_
#define GYRE_DATAGRAM_H_

#include <stddef.h>
#include <stdint.h>

#include "address.h"

namespace gyre {

// Bytes of a peer's address as JavaScript keeps it: an internet sockaddr, of either family.
constexpr size_t kPeerBytes = 28;

// Takes one datagram: its length, cut at `size`. `peer` has kPeerBytes. Adds 1 to *received in
// this call, so that no datagram which was taken goes uncounted, whatever ends the thread.
int64_t ReceiveDatagram(int fd, void* data, size_t size, void* peer, int32_t* received);

int64_t SendDatagram(int fd, const void* data, size_t size, const void* peer);

// Who that is, with the zone of its address, where it has one.
int PeerNameOf(const void* peer, Address* address);

}  // namespace gyre

#endif  // GYRE_DATAGRAM_H_
