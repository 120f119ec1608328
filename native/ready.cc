#include "ready.h"

#include <errno.h>

#include "platform.h"

#if GYRE_LINUX
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// Ready listening sockets that one look tells of; the next tells of others.
constexpr int kListenersMax = 16;

// Offsets into struct tcp_info, whose glibc declaration may be older than the kernel.
// The kernel only ever appends fields, so these hold on every 64-bit Linux.
constexpr size_t kUnackedOffset = 24;         // of a listener: length of its accept queue
constexpr size_t kBytesReceivedOffset = 128;  // Linux 4.1
constexpr size_t kNotSentOffset = 144;        // Linux 4.6
constexpr size_t kBytesSentOffset = 200;      // Linux 4.19
constexpr size_t kTcpInfoBytes = 208;

struct TcpInfo {
  unsigned char bytes[kTcpInfoBytes];
  template <typename T>
  T At(size_t offset) const {
    T value;
    memcpy(&value, bytes + offset, sizeof(value));
    return value;
  }
};

bool ReadTcpInfo(int fd, TcpInfo* info, size_t needed) {
  socklen_t length = sizeof(info->bytes);
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info->bytes, &length) == 0 && length >= needed;
}

int QueueLength(int listening_fd) {
  TcpInfo info;
  if (!ReadTcpInfo(listening_fd, &info, kUnackedOffset + sizeof(uint32_t))) return 0;
  return static_cast<int>(info.At<uint32_t>(kUnackedOffset));
}

}  // namespace

bool OnlyInput(uint32_t events) { return (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == EPOLLIN; }

int ReadyNewcomers(const Peer& peer, int32_t* fds) {
  if (peer.newcomers == nullptr) return 0;
  pollfd asked[kNewcomers];
  for (int i = 0; i < kNewcomers; i++) {
    int fd = __atomic_load_n(peer.newcomers + 1 + i, __ATOMIC_ACQUIRE);
    asked[i] = {fd > 0 ? fd : -1, POLLIN, 0};
  }
  if (poll(asked, kNewcomers, 0) <= 0) return 0;
  int count = 0;
  for (const pollfd& each : asked) {
    if (each.revents == POLLIN) fds[count++] = each.fd;
  }
  return count;
}

bool AtBoundary(int fd, double boundary, bool fresh) {
  size_t last = fresh ? kBytesSentOffset : kBytesReceivedOffset;
  // Unread first. What arrives between the two calls makes the difference too
  // large, and since consumed >= boundary always, equal means that both are exact.
  // A second try tells such an arrival from bytes that were consumed.
  for (int tries = 0; tries < 2; tries++) {
    TcpInfo info;
    int unread = 0;
    if (ioctl(fd, SIOCINQ, &unread) != 0) return false;
    if (!ReadTcpInfo(fd, &info, last + sizeof(uint64_t))) return false;
    double received = static_cast<double>(info.At<uint64_t>(kBytesReceivedOffset));
    if (received - unread != boundary) continue;
    return !fresh ||
           (info.At<uint64_t>(kBytesSentOffset) == 0 && info.At<uint32_t>(kNotSentOffset) == 0);
  }
  return false;
}

int Peek(uint32_t peer_id, int32_t worker, const Shared& shared, Ready* ready) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;
  int32_t watched[kEventsMax];
  OwnReady own = PeekOwn(peer->epoll_fd, worker + 1, shared.table, watched, kEventsMax);
  *ready = own.ready;
  ready->mail = CountMail(shared.mail, worker);
  int32_t newcomers[kNewcomers];
  int opened = ReadyNewcomers(*peer, newcomers);
  for (int i = 0; i < opened; i++) {
    Entry entry(shared.table, newcomers[i]);
    if (!entry.OwnedBy(worker + 1) || !entry.Movable()) continue;
    const int32_t* end = watched + own.connections;
    if (std::find<const int32_t*>(watched, end, newcomers[i]) == end) ready->movable++;
  }
  return 0;
}

OwnReady PeekOwn(int epoll_fd, int32_t owner, const Table& table, int32_t* fds, int max) {
  epoll_event events[kEventsMax];
  int32_t listening[kListenersMax];
  OwnReady own;
  int count = epoll_wait(epoll_fd, events, kEventsMax, 0);
  for (int i = 0; i < count; i++) {
    int fd = events[i].data.fd;
    Entry entry(table, fd);
    if (!entry.OwnedBy(owner)) {
      own.ready.other++;
    } else if (entry.Listening()) {
      own.ready.queued += QueueLength(fd);
      if (own.listeners < kListenersMax) listening[own.listeners++] = fd;
    } else if (entry.Movable() && OnlyInput(events[i].events)) {
      own.ready.movable++;
      if (own.connections < max) fds[own.connections++] = fd;
    } else {
      own.ready.other++;
    }
  }
  if (own.listeners > max - own.connections) own.listeners = max - own.connections;
  for (int i = 0; i < own.listeners; i++) fds[own.connections + i] = listening[i];
  return own;
}

#else

bool OnlyInput(uint32_t) { return false; }
int ReadyNewcomers(const Peer&, int32_t*) { return 0; }
bool AtBoundary(int, double, bool) { return false; }
int Peek(uint32_t, int32_t, const Shared&, Ready*) { return -ENOSYS; }
OwnReady PeekOwn(int, int32_t, const Table&, int32_t*, int) { return {}; }

#endif

}  // namespace gyre
