// What the end of an iteration says of a loop: how long it was busy, whether its events are
// short, come too fast to be followed, or are more than its thread can do.
//
// Arithmetic: no clock is read and nothing is called here, so test/native/iteration.cc can go through
// it tick by tick. Each object belongs to one loop, and is used on its thread only; whoever asks must
// ask at the end of each iteration, or an object takes several for one.
#ifndef GYRE_ITERATION_H_
#define GYRE_ITERATION_H_

#include <stdint.h>

namespace gyre {

// A loop when an iteration ends, just before it looks for events. All counts only grow.
struct LoopFigures {
  uint64_t now_ns = 0;   // uv_hrtime()
  uint64_t idle_ns = 0;  // how long it has ever slept
  uint64_t events = 0;   // how many it has ever handled
};

// The iteration that has ended.
struct Iteration {
  bool first = false;  // nothing is known of the one before, so the rest means nothing
  uint64_t lasted_ns = 0;
  uint64_t busy_ns = 0;  // of which it did not sleep
  uint64_t events = 0;
};

class IterationClock {
 public:
  Iteration End(const LoopFigures& at);

 private:
  LoopFigures before_;
};

// How long an iteration was the thread's own work. Of a thread that was preempted the clock tells
// nothing; what it has used of a CPU does.
class OwnWork {
 public:
  // `used_ns`: what the thread has ever used, or 0: unknown. At most `busy_ns`.
  int64_t End(int64_t busy_ns, int64_t used_ns);

 private:
  int64_t used_ns_ = 0;
};

// Whether so many events took so little on average that each is served sooner than moved.
bool AreShort(int64_t busy_ns, uint64_t events);

// Whether messages are followed. Not while more than `fast_events` come in 100 ms, until ten such
// windows in a row had fewer; but always for 10 s after the thread was stuck in something, and for
// 1 s after somebody asked for it. They are at first.
class Following {
 public:
  explicit Following(uint64_t fast_events);

  bool armed() const { return armed_; }
  // Returns whether armed() has changed.
  bool End(const LoopFigures& at, bool was_stuck);
  // Takes effect at the end of a window.
  void Ask(uint64_t now_ns);

 private:
  bool armed_ = true;
  uint64_t fast_events_;
  uint64_t armed_until_ns_ = 0;
  int slow_windows_;  // in a row
  uint64_t window_ns_ = 0;
  uint64_t window_events_ = 0;
};

// Whether the loop has hardly slept in the last 100 ms. Says so once in each.
class Overload {
 public:
  bool End(const LoopFigures& at);

 private:
  uint64_t window_ns_ = 0;
  uint64_t window_idle_ns_ = 0;
};

}  // namespace gyre

#endif  // GYRE_ITERATION_H_
