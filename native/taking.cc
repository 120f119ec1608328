#include "taking.h"

#include <errno.h>
#include <string.h>

#include "platform.h"
#include "safepoint.h"

#if GYRE_LINUX
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

constexpr int kEventsMax = 256;

// Descriptors that moving leaves to accept(2), files and whatever else the process opens:
// a connection has two from when it is taken until its owner has dropped the wrapper, and
// where the last ones are in use libuv drops connections that it could have served. No
// evidence for more or less.
constexpr int kDescriptorsLeft = 32;

// Offsets into struct tcp_info, whose glibc declaration may be older than the kernel.
// The kernel only ever appends fields, so these hold on every 64-bit Linux.
constexpr size_t kUnackedOffset = 24;         // of a listener: length of its accept queue
constexpr size_t kBytesReceivedOffset = 128;  // Linux 4.1
constexpr size_t kTcpInfoBytes = 136;

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

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

// One entry of the connection table.
class Entry {
 public:
  Entry(const Table& table, int fd)
      : words_(fd >= 0 && fd < table.descriptors ? table.words + int64_t{fd} * table.layout.entry_words
                                                 : nullptr),
        layout_(table.layout) {}
  bool OwnedBy(int32_t owner) const { return words_ != nullptr && Get(layout_.owner) == owner; }
  bool Movable() const {
    int32_t state = Get(layout_.state);
    return state == layout_.fresh || state == layout_.between;
  }
  bool Listening() const { return Get(layout_.state) == layout_.listening; }
  int32_t listener() const { return Get(layout_.listener); }
  int32_t generation() const { return Get(layout_.generation); }
  double boundary() const {
    double value;
    memcpy(&value, words_ + layout_.boundary, sizeof(value));
    return value;
  }
  void MarkTaken() { __atomic_store_n(words_ + layout_.state, layout_.taken, __ATOMIC_RELEASE); }

 private:
  int32_t Get(int32_t word) const { return __atomic_load_n(words_ + word, __ATOMIC_ACQUIRE); }
  int32_t* words_;
  const TableLayout& layout_;
};

// Input and nothing else: a connection that failed or hung up is left to its owner.
bool OnlyInput(uint32_t events) { return (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == EPOLLIN; }

// Moves what `fd` refers to under a new number below `fd_end`, and leaves `never_fd`'s
// socket under the old one: an event that the victim fetched before the pause reads EAGAIN.
// The old number stays registered in the victim's epoll set, because libuv
// believes it is and would abort if EPOLL_CTL_MOD failed. Returns the new number or
// -errno, and then everything is as it was.
int Replace(int epoll_fd, int fd, int fd_end, int never_fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return -errno;
  // It is the lowest free number, and so says how many are in use.
  if (copy >= fd_end) {
    close(copy);
    return -EMFILE;
  }
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr) != 0) {
    int error = errno;
    close(copy);
    return -error;
  }
  if (dup3(never_fd, fd, O_CLOEXEC) < 0) {
    int error = errno;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    close(copy);
    return -error;
  }
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    int error = errno;
    // Back again. The original was registered a moment ago under this number, so
    // there is room for it; dup3 onto an open number needs no new descriptor.
    dup3(copy, fd, O_CLOEXEC);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    close(copy);
    return -error;
  }
  return copy;
}

// Takes the connection `fd` if it may move. False when there is no descriptor left,
// so that there is no point in going on. Within a pause: system calls only.
bool TakeOne(int epoll_fd, int fd, int32_t owner, const Table& table, int never_fd, Taken* out,
             TakeResult* result) {
  Entry entry(table, fd);
  if (!entry.OwnedBy(owner) || !entry.Movable()) return true;
  if (!AtBoundary(fd, entry.boundary())) {
    result->mismatches++;
    return true;
  }
  int copy = Replace(epoll_fd, fd, table.descriptors - kDescriptorsLeft, never_fd);
  // Accepted or adopted a moment ago: its loop has not begun to watch it.
  if (copy == -ENOENT) return true;
  if (copy < 0) {
    result->failures++;
    return copy != -EMFILE && copy != -ENFILE;
  }
  entry.MarkTaken();
  out[result->taken++] = {kTakenConnection,   copy, fd, entry.listener(), entry.generation(),
                          entry.boundary()};
  return true;
}

}  // namespace

bool AtBoundary(int fd, double boundary) {
  // Unread first. What arrives between the two calls makes the difference too
  // large, and since consumed >= boundary always, equal means that both are exact.
  TcpInfo info;
  int unread = 0;
  if (ioctl(fd, SIOCINQ, &unread) != 0) return false;
  if (!ReadTcpInfo(fd, &info, kBytesReceivedOffset + sizeof(uint64_t))) return false;
  double received = static_cast<double>(info.At<uint64_t>(kBytesReceivedOffset));
  return received - unread == boundary;
}

int Peek(uint32_t peer_id, int32_t owner, const Table& table, Ready* ready) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;
  epoll_event events[kEventsMax];
  int count = epoll_wait(peer->epoll_fd, events, kEventsMax, 0);
  for (int i = 0; i < count; i++) {
    int fd = events[i].data.fd;
    Entry entry(table, fd);
    if (!entry.OwnedBy(owner)) {
      ready->other++;
    } else if (entry.Listening()) {
      ready->queued += QueueLength(fd);
    } else if (entry.Movable() && OnlyInput(events[i].events)) {
      ready->movable++;
    } else {
      ready->other++;
    }
  }
  return 0;
}

int OwnMovable(int epoll_fd, int32_t owner, const Table& table, int32_t* fds, int max) {
  epoll_event events[kEventsMax];
  int count = epoll_wait(epoll_fd, events, kEventsMax, 0);
  int found = 0;
  for (int i = 0; i < count && found < max; i++) {
    int fd = events[i].data.fd;
    Entry entry(table, fd);
    if (!entry.OwnedBy(owner) || !entry.Movable() || !OnlyInput(events[i].events)) continue;
    if (AtBoundary(fd, entry.boundary())) fds[found++] = fd;
  }
  return found;
}

int Take(uint32_t peer_id, int32_t owner, const Table& table, int never_fd, int max,
         int timeout_us, int idle_from, Taken* out, TakeResult* result) {
  if (max > kTakeMax) max = kTakeMax;
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;

  int64_t began = NowNs();
  int error = Pause(peer.get(), timeout_us);
  if (error != 0) return error;
  // System calls only, until Resume(): see safepoint.h.
  epoll_event events[kEventsMax];
  int count = epoll_wait(peer->epoll_fd, events, kEventsMax, 0);
  bool room = true;
  for (int i = 0; i < count && result->taken < max && room; i++) {
    if (!OnlyInput(events[i].events)) continue;
    room = TakeOne(peer->epoll_fd, events[i].data.fd, owner, table, never_fd, out, result);
  }
  for (int i = 0; i < count && result->taken < max; i++) {
    int fd = events[i].data.fd;
    Entry entry(table, fd);
    if (!entry.OwnedBy(owner) || !entry.Listening()) continue;
    while (result->taken < max) {
      int accepted = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (accepted < 0) {
        if (errno != EAGAIN) result->failures++;
        break;
      }
      out[result->taken++] = {kTakenAccepted, accepted, -1, entry.listener(), 0, 0.0};
    }
  }
  int idle_to = idle_from < 0 ? 0 : idle_from + kIdleScanMax;
  if (idle_to > table.descriptors) idle_to = table.descriptors;
  for (int fd = idle_from; fd >= 0 && fd < idle_to && result->taken < max && room; fd++) {
    room = TakeOne(peer->epoll_fd, fd, owner, table, never_fd, out, result);
  }
  Resume(peer.get());
  result->pause_ns = NowNs() - began;
  return 0;
}

#else

bool AtBoundary(int, double) { return false; }
int Peek(uint32_t, int32_t, const Table&, Ready*) { return -ENOSYS; }
int OwnMovable(int, int32_t, const Table&, int32_t*, int) { return 0; }
int Take(uint32_t, int32_t, const Table&, int, int, int, int, Taken*, TakeResult*) { return -ENOSYS; }

#endif

}  // namespace gyre
