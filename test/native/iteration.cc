// Trial of native/iteration.cc: a loop's figures at the ends of its iterations, written down or by
// chance, and what must be concluded from them. No thread and no clock, so it is always the same.
//
// Claims:
// - messages are followed unless more than so many events come in 100 ms, and again after ten calm
//   windows in a row, not after one that others' processes made calm;
// - they are followed for 10 s after the thread was stuck, however fast they come, and for 1 s after
//   somebody asked, and not a window longer;
// - a loop that has hardly slept for 100 ms is overloaded, said once; one that was stuck for a moment
//   is not;
// - of an iteration of a thread that was preempted only its own work counts;
// - counts may be anywhere: only differences matter.
#include <algorithm>

#include "iteration.h"
#include "trial.h"

namespace gyre {
namespace {

constexpr uint64_t kMs = 1000000;
constexpr uint64_t kFast = 1000;  // events in a window

void Expect(bool claim, const char* what) {
  if (!claim) Violation("%s", what);
}

// A loop that goes on at a pace.
struct Loop {
  LoopFigures at;
  Following following{kFast};

  explicit Loop(Chance* chance)
      : at{1 + static_cast<uint64_t>(chance->Below(1 << 30)) * kMs, static_cast<uint64_t>(chance->Below(1 << 30)),
           static_cast<uint64_t>(chance->Below(1 << 30))} {
    following.End(at, false);
  }
  // For so many windows of 100 ms with so many events each. Returns how often armed() has changed.
  int Go(int windows, uint64_t events, bool was_stuck = false) {
    int changes = 0;
    for (int i = 0; i < windows; i++) changes += Iterate(100, events / 100, was_stuck && i == 0);
    return changes;
  }
  // Iterations of 1 ms with so many events each.
  int Iterate(int iterations, uint64_t events, bool was_stuck = false) {
    int changes = 0;
    for (int i = 0; i < iterations; i++) {
      at.now_ns += kMs;
      at.events += events;
      changes += following.End(at, was_stuck && i == 0);
    }
    return changes;
  }
};

void Follows(Chance* chance) {
  {
    Loop loop(chance);
    Expect(loop.following.armed() && loop.Go(50, kFast) == 0, "as many as that are not fast");
    Expect(loop.Iterate(1, kFast) == 0, "not even at once");
    int changes = loop.Iterate(1, 1);
    Expect(!loop.following.armed() && changes == 1, "but one more is, and at once");
    loop.Iterate(98, 0);
    Expect(loop.Go(100, kFast + 100) == 0, "and stay so");
    loop.Go(9, 0);
    Expect(!loop.following.armed(), "nine calm windows are not enough");
    loop.Go(2, kFast + 100);
    Expect(loop.Go(9, 0) == 0, "nor are nine others");
    changes = loop.Go(2, 0);
    Expect(loop.following.armed() && changes == 1, "ten in a row are");
  }
  {
    Loop loop(chance);
    loop.Go(2, 10 * kFast);
    int changes = loop.Go(1, 10 * kFast, true);
    Expect(loop.following.armed() && changes == 1, "who was stuck follows, at once");
    Expect(loop.Go(98, 10 * kFast) == 0, "for 10 s");
    changes = loop.Go(2, 10 * kFast);
    Expect(!loop.following.armed() && changes == 1, "and no longer");
  }
  {
    Loop loop(chance);
    loop.Go(2, 10 * kFast);
    loop.following.Ask(loop.at.now_ns);
    loop.Go(1, 10 * kFast);
    Expect(loop.following.armed(), "who asks is followed within a window");
    loop.Go(8, 10 * kFast);
    Expect(loop.following.armed(), "for 1 s");
    loop.Go(2, 10 * kFast);
    Expect(!loop.following.armed(), "and no longer");
    loop.Go(1, 10 * kFast, true);
    loop.following.Ask(loop.at.now_ns);
    loop.Go(50, 10 * kFast);
    Expect(loop.following.armed(), "and to ask shortens nothing");
  }
  {
    Loop loop(chance);
    Following always(UINT32_MAX);
    for (int i = 0; i < 1000; i++) {
      loop.at.now_ns += kMs;
      loop.at.events += 100000;
      Expect(!always.End(loop.at, false), "of a limit that nothing reaches");
    }
  }
}

void Overloads(Chance* chance) {
  Loop loop(chance);
  Overload overload;
  // Windows in `ms` of which it says so, when it sleeps for `idle_us` in each of them.
  auto said = [&](int ms, uint64_t idle_us) {
    int times = 0;
    for (int i = 0; i < ms; i++) {
      loop.at.now_ns += kMs;
      loop.at.idle_ns += idle_us * 1000;
      times += overload.End(loop.at);
    }
    return times;
  };
  Expect(said(1, 0) == 0, "nothing is known at first");
  Expect(said(1000, 99) == 10, "less than a tenth is hardly, once in a window");
  Expect(said(1000, 100) == 0, "a tenth is not");
  Expect(said(50, 1000) == 0 && said(50, 0) == 0 && said(50, 0) == 0, "half a window is too short to tell");
  Expect(said(50, 0) == 1, "and a whole one is not");
}

void Works() {
  IterationClock clock;
  Expect(clock.End({5 * kMs, kMs, 3}).first, "nothing is known of the first");
  Iteration ended = clock.End({15 * kMs, 3 * kMs, 7});
  Expect(!ended.first && ended.lasted_ns == 10 * kMs && ended.busy_ns == 8 * kMs && ended.events == 4,
         "then what was slept is no work");

  OwnWork own;
  Expect(own.End(20, 1000) == 20, "what was used is not known at first");
  Expect(own.End(20, 1005) == 5, "who had no CPU did not work");
  Expect(own.End(20, 1035) == 20, "nor longer than the iteration");
  Expect(own.End(20, 0) == 20 && own.End(20, 1040) == 20, "what is not known is not used");
  Expect(own.End(20, 1041) == 1, "until it is known again");

  Expect(AreShort(5 * kMs, 17) && !AreShort(5 * kMs, 16) && !AreShort(0, 0), "300 µs are worth a move");
}

int Run(int count, char** values) {
  Arguments arguments(count, values, 1);
  Chance chance(arguments.seed);
  for (int64_t step = 0; step < arguments.steps; step++) {
    Follows(&chance);
    Overloads(&chance);
    Works();
  }
  return 0;
}

}  // namespace
}  // namespace gyre

int main(int count, char** values) { return gyre::Run(count, values); }
