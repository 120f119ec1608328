// What the trials share: arguments, seeded chance, violations, and a watch over
// threads that no longer go on.
//
// Any thread may call anything here but Watch::AwaitEnd().
#ifndef GYRE_TRIAL_H_
#define GYRE_TRIAL_H_

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <vector>

namespace gyre {

// What a trial exits with when a claim does not hold; ThreadSanitizer's own is 66.
constexpr int kViolated = 1;

// Ends the process at once, so that whoever is paused or asleep stays as it is.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void Violation(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char text[256];
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  dprintf(STDERR_FILENO, "violation: %s\n", text);
  _exit(kViolated);
}

// TRIAL SEED STEPS BOUND_MS. Seed 0, or none: one by chance.
struct Arguments {
  uint64_t seed = 0;
  int64_t steps;
  // How long nobody may go on before it is a violation.
  int64_t bound_ms = 20000;

  Arguments(int count, char** values, int64_t default_steps) : steps(default_steps) {
    if (count > 1) seed = strtoull(values[1], nullptr, 10);
    if (count > 2) steps = strtoll(values[2], nullptr, 10);
    if (count > 3) bound_ms = strtoll(values[3], nullptr, 10);
    if (seed == 0) seed = std::random_device()();
    setvbuf(stdout, nullptr, _IOLBF, 0);  // a violation flushes nothing
    printf("seed %llu, steps %lld\n", static_cast<unsigned long long>(seed), static_cast<long long>(steps));
  }
};

// One for each thread. Threads interleave by chance all the same: a seed repeats what
// they choose, not when.
class Chance {
 public:
  explicit Chance(uint64_t seed) : engine_(seed) {}
  // From 0 to `bound` - 1.
  int Below(int bound) { return static_cast<int>(engine_() % static_cast<uint64_t>(bound)); }
  bool OneIn(int times) { return Below(times) == 0; }

 private:
  std::mt19937_64 engine_;
};

// Ends the process if a thread of the trial takes no step for the bound. Threads are
// numbered from 0.
class Watch {
 public:
  explicit Watch(int threads) : running_(threads), threads_(static_cast<size_t>(threads)) {}
  // Relaxed: it must not order what a trial is about.
  void Step(int thread) { threads_[static_cast<size_t>(thread)].steps.fetch_add(1, std::memory_order_relaxed); }
  void End(int thread) {
    std::lock_guard<std::mutex> guard(lock_);
    threads_[static_cast<size_t>(thread)].before = kEnded;
    running_--;
    ended_.notify_one();
  }
  void AwaitEnd(int64_t bound_ms) {
    auto bound = std::chrono::milliseconds(bound_ms);
    std::unique_lock<std::mutex> guard(lock_);
    for (auto next = std::chrono::steady_clock::now() + bound; running_ > 0;) {
      if (ended_.wait_until(guard, next) != std::cv_status::timeout) continue;
      next += bound;
      for (size_t i = 0; i < threads_.size(); i++) {
        if (threads_[i].before == kEnded) continue;
        int64_t now = threads_[i].steps.load(std::memory_order_relaxed);
        if (now == threads_[i].before) Violation("thread %zu stood still for %lld ms", i, (long long)bound_ms);
        threads_[i].before = now;
      }
    }
  }

 private:
  static constexpr int64_t kEnded = -2;
  struct alignas(128) Thread {
    std::atomic<int64_t> steps{0};
    int64_t before = -1;  // under the lock: steps at the last look
  };
  std::mutex lock_;
  std::condition_variable ended_;
  int running_;
  std::vector<Thread> threads_;
};

}  // namespace gyre

#endif  // GYRE_TRIAL_H_
