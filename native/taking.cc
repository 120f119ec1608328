#include "taking.h"

#include <errno.h>

#include "clock.h"
#include "descriptor.h"
#include "platform.h"
#include "safepoint.h"

#if GYRE_LINUX
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

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
    // A thread that is being torn down has closed its descriptors before it ceases to be a peer: this number may be
    // another's by now, who may be writing this entry. It takes the owner's name away before it writes `socket`.
    int32_t socket = entry.socket();
    if ((socket != 0 && socket != SocketOf(fd)) || !entry.OwnedBy(worker_ + 1)) return;
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

}  // namespace

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
  int32_t newcomers[kNewcomers];
  int opened = ReadyNewcomers(*peer, newcomers);
  for (int i = 0; i < opened; i++) taking.Connection(newcomers[i]);
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

int Take(uint32_t, int32_t, const Shared&, int, int, const Quota&, int, int, Taken*, TakeResult*) {
  return -ENOSYS;
}
int Withdraw(uint32_t, int, uint64_t, int) { return -ENOSYS; }

#endif

}  // namespace gyre
