#include "safepoint.h"

#include <errno.h>

#include "platform.h"

#if GYRE_LINUX
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// Set on the thread itself when its loop is attached, so the variable exists by
// the time a handler reads it: first use in a handler could allocate.
thread_local Peer* this_peer = nullptr;

struct sigaction previous;

long Futex(std::atomic<int32_t>* word, int operation, int32_t value, const timespec* timeout) {
  return syscall(SYS_futex, reinterpret_cast<int32_t*>(word), operation | FUTEX_PRIVATE_FLAG, value,
                 timeout, nullptr, 0);
}

// On the thread that is to pause. Async-signal-safe: atomics and futex(2) only.
//
// It waits on a futex and does not spin: on a full machine the governor needs
// the CPU that a spinning thread would occupy.
void OnSignal(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  Peer* peer = this_peer;
  int32_t expected = kRequested;
  if (peer != nullptr && peer->pause.compare_exchange_strong(expected, kPaused)) {
    Futex(&peer->pause, FUTEX_WAKE, 1, nullptr);  // pairs with the wait in Pause()
    while (peer->pause.load(std::memory_order_acquire) == kPaused) {
      Futex(&peer->pause, FUTEX_WAIT, kPaused, nullptr);  // pairs with the wake in Resume()
    }
  } else if (previous.sa_flags & SA_SIGINFO) {
    if (previous.sa_sigaction != nullptr) previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  }
  errno = saved;
}

int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000} + now.tv_nsec / 1000;
}

}  // namespace

int InstallSafepoint() {
  static std::once_flag once;
  static int result = 0;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnSignal;
    // SA_RESTART: calls that the signal interrupts go on as if nothing had been,
    // except those that never restart (epoll_wait, which libuv repeats, nanosleep).
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGURG, &action, &previous) != 0) result = -errno;
  });
  return result;
}

void SetPausable(Peer* peer) { this_peer = peer; }

int Pause(Peer* peer, int timeout_us) {
  int32_t expected = kNone;
  if (!peer->pause.compare_exchange_strong(expected, kRequested)) return -EBUSY;
  if (syscall(SYS_tgkill, getpid(), peer->tid, SIGURG) != 0) {
    int error = errno;
    // The signal of an earlier request that was cancelled may come only now, and
    // then the thread has paused for this one. A plain store would leave it asleep.
    expected = kRequested;
    return peer->pause.compare_exchange_strong(expected, kNone) ? -error : 0;
  }
  int64_t deadline = NowUs() + timeout_us;
  while (peer->pause.load(std::memory_order_acquire) == kRequested) {
    int64_t left = deadline - NowUs();
    if (left <= 0) {
      expected = kRequested;
      if (peer->pause.compare_exchange_strong(expected, kNone)) return -ETIMEDOUT;
      break;  // it reached the handler at the last moment
    }
    timespec wait = {left / 1000000, (left % 1000000) * 1000};
    Futex(&peer->pause, FUTEX_WAIT, kRequested, &wait);  // pairs with the wake in OnSignal()
  }
  return 0;
}

void Resume(Peer* peer) {
  peer->pause.store(kNone, std::memory_order_release);
  Futex(&peer->pause, FUTEX_WAKE, 1, nullptr);  // pairs with the wait in OnSignal()
}

#else

int InstallSafepoint() { return -ENOSYS; }
void SetPausable(Peer*) {}
int Pause(Peer*, int) { return -ENOSYS; }
void Resume(Peer*) {}

#endif

}  // namespace gyre
