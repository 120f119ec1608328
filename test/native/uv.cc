#include "uv.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uv_api.h"

// Not std::atomic::wait(), which is of C++20; syscall() is nothing that
// ThreadSanitizer sees, so no order comes from here.
extern "C" int uv_async_send(uv_async_t* async) {
  async->wakes.fetch_add(1, std::memory_order_relaxed);
  syscall(SYS_futex, &async->wakes, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  return 0;
}

namespace gyre {

int32_t WakesOf(uv_async_s* async) { return async->wakes.load(std::memory_order_acquire); }

void Park(uv_async_s* async, int32_t wakes) {
  while (async->wakes.load(std::memory_order_acquire) == wakes) {
    syscall(SYS_futex, &async->wakes, FUTEX_WAIT_PRIVATE, wakes, nullptr, nullptr, 0);
  }
}

}  // namespace gyre
