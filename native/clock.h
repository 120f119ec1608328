// The clock of whoever has no libuv at hand. Any thread, also one that has paused another.
#ifndef GYRE_CLOCK_H_
#define GYRE_CLOCK_H_

#include <stdint.h>
#include <time.h>

namespace gyre {

inline int64_t NsOf(const timespec& time) { return time.tv_sec * int64_t{1000000000} + time.tv_nsec; }

inline int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return NsOf(now);
}

}  // namespace gyre

#endif  // GYRE_CLOCK_H_
