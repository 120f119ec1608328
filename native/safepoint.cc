#include "safepoint.h"

#include <errno.h>

#include "clock.h"
#include "platform.h"

#if GYRE_LINUX
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// A handler uses these on whatever thread gets the signal. The first use on a thread may
// allocate, which a handler must not: see PrepareThread().
thread_local Peer* this_peer = nullptr;
// Whether this thread is inside a handler to which ours has passed a signal on. If that
// one was installed after ours, it passes back to ours what it does not want.
thread_local bool passing_on = false;

// Who had SIGURG before us, now. Never freed: a handler may be reading it.
std::atomic<const struct sigaction*> previous{nullptr};

// Marks the signals of Pause() as ours: its address is what they carry.
const char kOurs = 0;

long Futex(std::atomic<int32_t>* word, int operation, int32_t value, const timespec* timeout) {
  return syscall(SYS_futex, reinterpret_cast<int32_t*>(word), operation | FUTEX_PRIVATE_FLAG, value,
                 timeout, nullptr, 0);
}

// On the thread that is to pause. Async-signal-safe: atomics and futex(2) only.
//
// It waits on a futex and does not spin: on a full machine the governor needs
// the CPU that a spinning thread would occupy.
//
// A pause is taken on anybody's SIGURG, because the kernel keeps only one that is
// pending, and it may not be ours. Somebody else's is always passed on, and ours never,
// not even when it comes after Pause() has given up.
void OnSignal(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  Peer* peer = this_peer;
  int32_t expected = kRequested;
  if (peer != nullptr && peer->pause.compare_exchange_strong(expected, kPaused)) {
    Futex(&peer->pause, FUTEX_WAKE, 1, nullptr);  // pairs with the wait in Pause()
    while (peer->pause.load(std::memory_order_acquire) == kPaused) {
      Futex(&peer->pause, FUTEX_WAIT, kPaused, nullptr);  // pairs with the wake in Resume()
    }
  }
  bool ours = info->si_code == SI_QUEUE && info->si_value.sival_ptr == &kOurs;
  const struct sigaction* next = previous.load(std::memory_order_acquire);
  if (!ours && next != nullptr && !passing_on) {
    passing_on = true;
    if (next->sa_flags & SA_SIGINFO) {
      if (next->sa_sigaction != nullptr) next->sa_sigaction(signal, info, context);
    } else if (next->sa_handler != SIG_DFL && next->sa_handler != SIG_IGN) {
      next->sa_handler(signal);
    }
    passing_on = false;
  }
  errno = saved;
}

// As tgkill(2), with something by which the handler knows whose signal it is.
int SignalThread(int tid) {
  siginfo_t info = {};
  info.si_signo = SIGURG;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = const_cast<char*>(&kOurs);
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGURG, &info) == 0 ? 0 : -errno;
}

}  // namespace

// Under a lock, because several governors may live in one process.
int InstallSafepoint() {
  static std::mutex lock;
  std::lock_guard<std::mutex> guard(lock);
  struct sigaction now;
  if (sigaction(SIGURG, nullptr, &now) != 0) return -errno;
  if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == OnSignal) return 0;
  struct sigaction action = {};
  action.sa_sigaction = OnSignal;
  // SA_RESTART: calls that the signal interrupts go on as if nothing had been,
  // except those that never restart (epoll_wait, which libuv repeats, nanosleep).
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  const struct sigaction* before = previous.load(std::memory_order_relaxed);
  bool same = before != nullptr && before->sa_flags == now.sa_flags &&
              before->sa_sigaction == now.sa_sigaction;
  if (!same) previous.store(new struct sigaction(now), std::memory_order_release);
  return sigaction(SIGURG, &action, nullptr) == 0 ? 0 : -errno;
}

void PrepareThread() { passing_on = false; }

void SetPausable(Peer* peer) { this_peer = peer; }
Peer* ThisPeer() { return this_peer; }

int Pause(Peer* peer, int timeout_us) {
  // An application that listens for SIGURG, or ceases to, replaces the handler.
  int error = InstallSafepoint();
  if (error != 0) return error;
  int32_t expected = kNone;
  if (!peer->pause.compare_exchange_strong(expected, kRequested)) return -EBUSY;
  error = SignalThread(peer->tid);
  if (error != 0) {
    // The signal of an earlier request that was cancelled may come only now, and
    // then the thread has paused for this one. A plain store would leave it asleep.
    expected = kRequested;
    return peer->pause.compare_exchange_strong(expected, kNone) ? error : 0;
  }
  int64_t deadline_ns = MonotonicNs() + int64_t{timeout_us} * 1000;
  while (peer->pause.load(std::memory_order_acquire) == kRequested) {
    int64_t left_ns = deadline_ns - MonotonicNs();
    if (left_ns <= 0) {
      expected = kRequested;
      if (peer->pause.compare_exchange_strong(expected, kNone)) return -ETIMEDOUT;
      break;  // it reached the handler at the last moment
    }
    timespec wait = {left_ns / 1000000000, left_ns % 1000000000};
    Futex(&peer->pause, FUTEX_WAIT, kRequested, &wait);  // pairs with the wake in OnSignal()
  }
  return 0;
}

void Resume(Peer* peer) {
  peer->pause.store(kNone, std::memory_order_release);
  Futex(&peer->pause, FUTEX_WAKE, 1, nullptr);  // pairs with the wait in OnSignal()
}

bool Responds(uint32_t peer_id, int timeout_us) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return false;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive || Pause(peer.get(), timeout_us) != 0) return false;
  Resume(peer.get());
  return true;
}

#else

int InstallSafepoint() { return -ENOSYS; }
void PrepareThread() {}
void SetPausable(Peer*) {}
Peer* ThisPeer() { return nullptr; }
int Pause(Peer*, int) { return -ENOSYS; }
void Resume(Peer*) {}
bool Responds(uint32_t, int) { return true; }

#endif

}  // namespace gyre
