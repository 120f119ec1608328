#include "iteration.h"

namespace gyre {

namespace {

// What an event must take on average to be worth moving: twice what the move costs both
// sides, see src/scheduler/move.ts. bench/moving measures some 150 µs for one.
constexpr int64_t kWorthMovingNs = 300000;

// No evidence for more or less. Overload is looked for once in a window, so that what is moved
// for it costs next to nothing.
constexpr uint64_t kWindowNs = 100000000;
constexpr uint64_t kOverloadedIdleNs = kWindowNs / 10;

// Windows without fast messages after which they are followed again. One is not enough: a
// thread that other processes keep from its CPU has one now and then.
constexpr int kSlowWindows = 10;

// Following a message costs some 0.4 µs: half a percent of a CPU for 10,000 a second, and
// 2 or 3% of the throughput of a server that does nothing else. So messages that come faster are
// not followed, until the thread was stuck in something, and then for a while; or until
// somebody asks for it, and then for a shorter one.
constexpr uint64_t kArmedNs = 10000000000;
constexpr uint64_t kAskedNs = 1000000000;

}  // namespace

Iteration IterationClock::End(const LoopFigures& at) {
  Iteration ended;
  ended.first = before_.now_ns == 0;
  ended.lasted_ns = at.now_ns - before_.now_ns;
  ended.busy_ns = ended.lasted_ns - (at.idle_ns - before_.idle_ns);
  ended.events = at.events - before_.events;
  before_ = at;
  return ended;
}

int64_t OwnWork::End(int64_t busy_ns, int64_t used_ns) {
  int64_t own_ns = used_ns - used_ns_;
  bool known = used_ns != 0 && used_ns_ != 0;
  used_ns_ = used_ns;
  return known && own_ns < busy_ns ? own_ns : busy_ns;
}

bool AreShort(int64_t busy_ns, uint64_t events) {
  return busy_ns < static_cast<int64_t>(events) * kWorthMovingNs;
}

Following::Following(uint64_t fast_events) : fast_events_(fast_events), slow_windows_(kSlowWindows) {}

bool Following::End(const LoopFigures& at, bool was_stuck) {
  if (was_stuck) armed_until_ns_ = at.now_ns + kArmedNs;
  // The loop may be older than this.
  if (window_ns_ == 0) {
    window_ns_ = at.now_ns;
    window_events_ = at.events;
    return false;
  }
  bool fast = at.events - window_events_ > fast_events_;
  if (fast) slow_windows_ = 0;
  bool window_over = at.now_ns - window_ns_ >= kWindowNs || was_stuck;
  if (window_over) {
    if (!fast && slow_windows_ < kSlowWindows) slow_windows_++;
    window_ns_ = at.now_ns;
    window_events_ = at.events;
  }
  if (!window_over && !fast) return false;
  bool before = armed_;
  armed_ = at.now_ns < armed_until_ns_ || slow_windows_ >= kSlowWindows;
  return armed_ != before;
}

void Following::Ask(uint64_t now_ns) {
  if (armed_until_ns_ < now_ns + kAskedNs) armed_until_ns_ = now_ns + kAskedNs;
}

bool Overload::End(const LoopFigures& at) {
  if (at.now_ns - window_ns_ < kWindowNs) return false;
  bool first = window_ns_ == 0;
  bool overloaded = !first && at.idle_ns - window_idle_ns_ < kOverloadedIdleNs;
  window_ns_ = at.now_ns;
  window_idle_ns_ = at.idle_ns;
  return overloaded;
}

}  // namespace gyre
