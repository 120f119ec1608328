// What native/peer.cc needs of libuv, which only node has: a wake-up that is a latch. A
// wake that comes while the recipient is awake makes its next Park() return at once.
//
// It orders nothing: a waker's add is relaxed. libuv's orders more, and a protocol that
// needed that must fail here.
#ifndef GYRE_TRIAL_UV_H_
#define GYRE_TRIAL_UV_H_

#include <stdint.h>

#include <atomic>

struct uv_async_s {
  std::atomic<int32_t> wakes{0};
};

namespace gyre {

// The recipient reads it before it looks whether there is anything to do.
int32_t WakesOf(uv_async_s* async);
// Sleeps until there was another wake than those `wakes`.
void Park(uv_async_s* async, int32_t wakes);

}  // namespace gyre

#endif  // GYRE_TRIAL_UV_H_
