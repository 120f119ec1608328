#include "datagram.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

namespace gyre {

static_assert(sizeof(sockaddr_in6) <= kPeerBytes && sizeof(sockaddr_in) <= kPeerBytes,
              "an internet address fits");

int64_t ReceiveDatagram(int fd, void* data, size_t size, void* peer, int32_t* received) {
  sockaddr_storage from;
  memset(&from, 0, sizeof(from));
  ssize_t length;
  do {
    socklen_t from_length = sizeof(from);
    length = recvfrom(fd, data, size, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &from_length);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return -errno;
  // One writer, the thread of this worker; others read it at any time.
  auto count = static_cast<uint32_t>(__atomic_load_n(received, __ATOMIC_RELAXED));
  __atomic_store_n(received, static_cast<int32_t>(count + 1u), __ATOMIC_SEQ_CST);
  memcpy(peer, &from, kPeerBytes);
  return length;
}

int64_t SendDatagram(int fd, const void* data, size_t size, const void* peer) {
  sockaddr_storage to;
  memset(&to, 0, sizeof(to));
  memcpy(&to, peer, kPeerBytes);
  socklen_t length = to.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  ssize_t sent;
  do {
    sent = sendto(fd, data, size, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), length);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

int PeerNameOf(const void* peer, Address* address) {
  sockaddr_storage from;
  memset(&from, 0, sizeof(from));
  memcpy(&from, peer, kPeerBytes);
  // Bytes of JavaScript's, which could say anything.
  if (from.ss_family != AF_INET && from.ss_family != AF_INET6) return -EAFNOSUPPORT;
  ReadAddress(from, kPeerBytes, address);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&from);
  char zone[IF_NAMESIZE];
  if (address->family == 6 && in6->sin6_scope_id != 0 && if_indextoname(in6->sin6_scope_id, zone) != nullptr) {
    address->text += '%';
    address->text += zone;
  }
  return 0;
}

}  // namespace gyre
