#include "taking.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "descriptor.h"
#include "platform.h"
#include "safepoint.h"

#if GYRE_LINUX
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

constexpr int kEventsMax = 256;
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
  bool Fresh() const { return Get(layout_.state) == layout_.fresh; }
  bool Listening() const { return Get(layout_.state) == layout_.listening; }
  int32_t listener() const { return Get(layout_.listener); }
  int32_t generation() const { return Get(layout_.generation); }
  double boundary() const {
    double value;
    memcpy(&value, words_ + layout_.boundary, sizeof(value));
    return value;
  }
  void MarkTaken() { Set(layout_.state, layout_.taken); }
  void MarkInMessage() { Set(layout_.state, layout_.in_message); }

 private:
  void Set(int32_t word, int32_t value) { __atomic_store_n(words_ + word, value, __ATOMIC_RELEASE); }
  int32_t Get(int32_t word) const { return __atomic_load_n(words_ + word, __ATOMIC_ACQUIRE); }
  int32_t* words_;
  const TableLayout& layout_;
};

// Input and nothing else: a connection that failed or hung up is left to its owner.
bool OnlyInput(uint32_t events) { return (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == EPOLLIN; }

// Moves what `fd` refers to under a new number below `fd_end`, and leaves `never_fd`'s socket
// under the old one: an event that the victim fetched before the pause reads EAGAIN.
// An old number that is registered in the victim's epoll set stays so, because libuv
// believes it is and would abort if EPOLL_CTL_MOD failed. One that is not, because the
// loop has not begun to watch it, is left to libuv, which will register it. Returns the
// new number or -errno, and then everything is as it was.
int Replace(int epoll_fd, int fd, int fd_end, int never_fd) {
  int copy = Duplicate(fd);
  if (copy < 0) return copy;
  // It is the lowest free number, and so says how many are in use.
  if (copy >= fd_end) {
    close(copy);
    return -EMFILE;
  }
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  bool registered = epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr) == 0;
  if (!registered && errno != ENOENT) {
    int error = errno;
    close(copy);
    return -error;
  }
  if (dup3(never_fd, fd, O_CLOEXEC) < 0) {
    int error = errno;
    if (registered) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    close(copy);
    return -error;
  }
  if (registered && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    int error = errno;
    // Back again. dup3 onto an open number needs no new descriptor.
    dup3(copy, fd, O_CLOEXEC);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) {
      close(copy);
      return -error;
    }
    // The victim can watch it no more, so it must live where it can be watched: it is taken after
    // all. libuv is wrong about the old number then, but finds out only if it has to wait until it
    // can write there, and nothing is left to write on what may move.
    dup3(never_fd, fd, O_CLOEXEC);
  }
  return copy;
}

// What one pause takes. Within it: system calls and atomics only.
class Taking {
 public:
  Taking(Peer* peer, int32_t worker, const Shared& shared, int never_fd, int max, const Quota& quota,
         Taken* out, TakeResult* result)
      : peer_(peer), worker_(worker), shared_(shared), never_fd_(never_fd), max_(max), quota_(quota),
        accept_max_(quota.accept_max), out_(out), result_(result) {}

  bool Full() const { return stop_ || result_->taken >= max_; }

  // Takes the connection `fd` if it may move.
  void Connection(int fd) {
    Entry entry(shared_.table, fd);
    if (Full() || !entry.OwnedBy(worker_ + 1) || !entry.Movable()) return;
    if (!AtBoundary(fd, entry.boundary(), entry.Fresh())) {
      // Something was read of which its owner has not heard yet, or never will because the
      // application reads by itself. Until it says otherwise there is no point in asking again.
      entry.MarkInMessage();
      result_->mismatches++;
      return;
    }
    int copy = Replace(peer_->epoll_fd, fd, shared_.table.layout.fd_end, never_fd_);
    if (copy < 0) {
      result_->failures++;
      stop_ = copy == -EMFILE || copy == -ENFILE;
      return;
    }
    entry.MarkTaken();
    __atomic_fetch_add(quota_.taken, 1, __ATOMIC_SEQ_CST);
    out_[result_->taken++] = {{shared_.mail.layout.connection, copy, entry.listener(), entry.generation(),
                               entry.boundary()},
                              fd};
  }

  void AcceptQueue(int fd) {
    Entry entry(shared_.table, fd);
    if (!entry.OwnedBy(worker_ + 1) || !entry.Listening()) return;
    for (; !Full() && accept_max_ > 0 && TakePlace(); accept_max_--) {
      int accepted = AcceptOne(fd);
      if (accepted < 0) {
        if (accepted != -EAGAIN) result_->failures++;
        __atomic_fetch_sub(quota_.places, 1, __ATOMIC_SEQ_CST);
        return;
      }
      out_[result_->taken++] = {{shared_.mail.layout.accepted, accepted, entry.listener(), 0, 0.0},
                                kFromQueue};
      // The lowest number that was free: those that are left are not for moving.
      stop_ |= accepted >= shared_.table.layout.fd_end;
    }
  }

  void Mailbox() {
    MailEntry entries[kTakeMax];
    int count = RecallMail(shared_.mail, worker_, entries, max_ - result_->taken);
    for (int i = 0; i < count; i++) out_[result_->taken++] = {entries[i], kFromMail};
  }

 private:
  // As Scoreboard.takePlace().
  bool TakePlace() {
    int32_t taken = __atomic_load_n(quota_.places, __ATOMIC_SEQ_CST);
    while (taken < quota_.places_max) {
      if (__atomic_compare_exchange_n(quota_.places, &taken, taken + 1, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST)) {
        return true;
      }
    }
    return false;
  }

  Peer* peer_;
  int32_t worker_;
  const Shared& shared_;
  int never_fd_;
  int max_;
  const Quota& quota_;
  int accept_max_;
  Taken* out_;
  TakeResult* result_;
  bool stop_ = false;  // there is no descriptor left, so there is no point in going on
};

// Calls `visit` for each of the last connections that the peer has opened and that has
// input: its loop may not watch it yet.
template <typename Visit>
void ForEachNewcomer(const Peer& peer, Visit visit) {
  if (peer.newcomers == nullptr) return;
  pollfd fds[kNewcomers];
  for (int i = 0; i < kNewcomers; i++) {
    int fd = __atomic_load_n(peer.newcomers + 1 + i, __ATOMIC_ACQUIRE);
    fds[i] = {fd > 0 ? fd : -1, POLLIN, 0};
  }
  if (poll(fds, kNewcomers, 0) <= 0) return;
  for (const pollfd& each : fds) {
    if (each.revents == POLLIN) visit(each.fd);
  }
}

}  // namespace

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
  ForEachNewcomer(*peer, [&](int fd) {
    Entry entry(shared.table, fd);
    if (!entry.OwnedBy(worker + 1) || !entry.Movable()) return;
    for (int i = 0; i < own.connections; i++) {
      if (watched[i] == fd) return;
    }
    ready->movable++;
  });
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

int Take(uint32_t peer_id, int32_t worker, const Shared& shared, int never_fd, int max,
         const Quota& quota, int timeout_us, int idle_from, Taken* out, TakeResult* result) {
  if (max > kTakeMax) max = kTakeMax;
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;

  int error = Pause(peer.get(), timeout_us);
  if (error != 0) return error;
  int64_t began = MonotonicNs();
  // System calls and atomics only, until Resume(): see safepoint.h.
  Taking taking(peer.get(), worker, shared, never_fd, max, quota, out, result);
  epoll_event events[kEventsMax];
  int count = epoll_wait(peer->epoll_fd, events, kEventsMax, 0);
  for (int i = 0; i < count; i++) {
    if (OnlyInput(events[i].events)) taking.Connection(events[i].data.fd);
  }
  ForEachNewcomer(*peer, [&](int fd) { taking.Connection(fd); });
  taking.Mailbox();
  for (int i = 0; i < count; i++) taking.AcceptQueue(events[i].data.fd);
  int idle_to = idle_from < 0 ? 0 : idle_from + kIdleScanMax;
  if (idle_to > shared.table.descriptors) idle_to = shared.table.descriptors;
  for (int fd = idle_from; fd >= 0 && fd < idle_to && !taking.Full(); fd++) taking.Connection(fd);
  Resume(peer.get());
  result->pause_ns = MonotonicNs() - began;
  return 0;
}

int Withdraw(uint32_t peer_id, int fd, uint64_t cookie, int timeout_us) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;
  int never_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (never_fd < 0) return -errno;
  int error = Pause(peer.get(), timeout_us);
  if (error == 0) {
    // The peer is not within a close(2), so `fd` stays what it is meanwhile.
    uint64_t now = 0;
    bool same = CookieOf(fd, &now) == 0 && now == cookie;
    if (!same) error = -ENOENT;
    if (same) {
      // libuv changes nothing of a listening socket in an epoll set, so it does not miss this.
      bool registered = epoll_ctl(peer->epoll_fd, EPOLL_CTL_DEL, fd, nullptr) == 0;
      if (dup3(never_fd, fd, O_CLOEXEC) < 0) {
        error = -errno;
        epoll_event event = {};
        event.events = EPOLLIN;
        event.data.fd = fd;
        if (registered) epoll_ctl(peer->epoll_fd, EPOLL_CTL_ADD, fd, &event);
      }
    }
    Resume(peer.get());
  }
  close(never_fd);
  return error;
}

#else

bool AtBoundary(int, double, bool) { return false; }
int Peek(uint32_t, int32_t, const Shared&, Ready*) { return -ENOSYS; }
OwnReady PeekOwn(int, int32_t, const Table&, int32_t*, int) { return {}; }
int Take(uint32_t, int32_t, const Shared&, int, int, const Quota&, int, int, Taken*, TakeResult*) {
  return -ENOSYS;
}
int Withdraw(uint32_t, int, uint64_t, int) { return -ENOSYS; }

#endif

}  // namespace gyre
