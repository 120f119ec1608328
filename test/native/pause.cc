// Trial of native/safepoint.cc and native/peer.cc: a governor pauses threads, and reads
// and writes plain memory of theirs, which they use at the same time.
//
// Claims:
// - who is paused stands still: its memory does not change, and is as some instruction of
//   its program left it;
// - what the governor writes, the thread sees whole and in order when it goes on;
// - none of these plain accesses is a data race (ThreadSanitizer);
// - a pause that was given up pauses nobody, not even when its signal comes late;
// - a peer that RemovePeer() has returned for is paused no more (AddressSanitizer: its
//   memory is freed then);
// - somebody else's SIGURG arrives at his handler, and ours never does;
// - nobody's errno changes.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "peer.h"
#include "safepoint.h"
#include "trial.h"
#include "words.h"

namespace gyre {
namespace {

constexpr int kVictims = 3;   // the last is mortal
constexpr int kCells = 8;
constexpr int kErrno = 4711;  // nobody's

// Memory of one victim. Plain, and used by two threads: the claim is that this is right.
struct alignas(128) Cells {
  int64_t done[kCells] = {};     // by the victim, one after the other
  int64_t granted[kCells] = {};  // by the governor, while the victim is paused
};

struct Place {
  std::atomic<uint32_t> peer{0};
  std::atomic<int> tid{0};
};

Place places[kVictims];
std::atomic<bool> stopping{false};
std::atomic<int64_t> strange{0};
std::atomic<int64_t> ours{0};
int64_t lives = 0;  // by the thread that starts the mortal's lives

// Installed before ours. What is ours carries a value of the addon (SI_QUEUE).
void OnStrange(int, siginfo_t* info, void*) {
  (info->si_code == SI_QUEUE ? ours : strange).fetch_add(1, std::memory_order_relaxed);
  errno = EDOM;  // as careless as some are
}

void Work(Cells* cells, Chance* chance, int64_t count, int thread, Watch* watch) {
  int64_t seen = 0;
  for (int64_t n = 1; n <= count && !stopping.load(std::memory_order_relaxed); n++) {
    errno = kErrno;
    for (int64_t& cell : cells->done) {
      CutPoint();
      cell = n;
    }
    // The governor may grant more in between, never less.
    for (const int64_t& cell : cells->granted) {
      CutPoint();
      int64_t now = cell;
      if (now < seen) Violation("granted %lld after %lld", (long long)now, (long long)seen);
      seen = now;
    }
    if (errno != kErrno) Violation("errno was kept by nobody: %d", errno);
    // Half of the pauses should find it asleep.
    timespec nap = {0, 20000};
    if (chance->OneIn(64)) nanosleep(&nap, nullptr);
    watch->Step(thread);
  }
}

// As native/loop.cc attaches and detaches a thread.
void Live(int index, uint64_t seed, int64_t count, Watch* watch) {
  PrepareThread();
  Chance chance(seed);
  auto* cells = new Cells();
  auto peer = std::make_shared<Peer>();
  peer->tid = static_cast<int>(syscall(SYS_gettid));
  peer->loop = reinterpret_cast<uv_loop_t*>(cells);
  SetPausable(peer.get());
  places[index].peer.store(AddPeer(peer), std::memory_order_relaxed);
  places[index].tid.store(peer->tid, std::memory_order_relaxed);
  Work(cells, &chance, count, index, watch);
  RemovePeer(peer);
  SetPausable(nullptr);
  delete cells;
}

struct Counts {
  int64_t paused = 0, cancelled = 0, gone = 0;
};

void Look(Cells* cells, int64_t* grant) {
  int64_t before[kCells];
  for (int i = 0; i < kCells; i++) before[i] = cells->done[i];
  for (int i = 1; i < kCells; i++) {
    int64_t step = before[i - 1] - before[i];
    if (step != 0 && step != 1) Violation("cell %d is torn", i);
  }
  if (before[0] - before[kCells - 1] > 1) Violation("two cuts in one program");
  ++*grant;
  for (int64_t& cell : cells->granted) cell = *grant;
  sched_yield();  // whoever is not paused gets on
  for (int i = 0; i < kCells; i++) {
    if (cells->done[i] != before[i]) Violation("a paused thread went on");
  }
}

void Try(Peer* peer, int timeout_us, Counts* counts, int64_t* grant) {
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) {
    counts->gone++;
    return;
  }
  int error = Pause(peer, timeout_us);
  if (error == 0) {
    Look(reinterpret_cast<Cells*>(peer->loop), grant);
    Resume(peer);
    counts->paused++;
  } else if (error == -ETIMEDOUT) {
    if (peer->pause.load(std::memory_order_relaxed) != kNone) Violation("given up, and yet requested");
    counts->cancelled++;
  } else {
    Violation("Pause() returned %d", error);
  }
}

void Govern(uint64_t seed, int64_t steps, Watch* watch, Counts* counts) {
  Chance chance(seed);
  int64_t grant = 0;
  int edge_us = 0;
  while (counts->paused + counts->cancelled < steps) {
    uint32_t id = places[chance.Below(kVictims)].peer.load(std::memory_order_relaxed);
    std::shared_ptr<Peer> peer = FindPeer(id);
    if (peer == nullptr) {
      counts->gone++;
      sched_yield();
      continue;
    }
    // Half of them are given up just when the signal arrives, or just before or after. The
    // others are long enough on any machine but for one who waits for `life`, whose signal
    // ThreadSanitizer keeps back.
    bool narrow = chance.OneIn(2);
    int64_t paused = counts->paused;
    Try(peer.get(), narrow ? edge_us : 20000, counts, &grant);
    if (narrow) edge_us = counts->paused > paused ? std::max(0, edge_us - 1) : edge_us + 1;
    if (ours.load(std::memory_order_relaxed) != 0) Violation("a signal of ours was passed on");
    watch->Step(kVictims);
  }
  stopping.store(true, std::memory_order_relaxed);
  watch->End(kVictims);
}

// Somebody else's SIGURG, to a victim or to whomever the kernel likes.
void Disturb(uint64_t seed, Watch* watch) {
  Chance chance(seed);
  while (!stopping.load(std::memory_order_relaxed)) {
    int tid = places[chance.Below(kVictims)].tid.load(std::memory_order_relaxed);
    if (chance.OneIn(8) || tid == 0) {
      kill(getpid(), SIGURG);
    } else {
      syscall(SYS_tgkill, getpid(), tid, SIGURG);
    }
    timespec nap = {0, 30000};
    nanosleep(&nap, nullptr);
    watch->Step(kVictims + 1);
  }
  watch->End(kVictims + 1);
}

int Run(int count, char** values) {
  Arguments arguments(count, values, 20000);
  struct sigaction action = {};
  action.sa_sigaction = OnStrange;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGURG, &action, nullptr);
  if (InstallSafepoint() != 0) Violation("no handler");

  Watch watch(kVictims + 2);
  Counts counts;
  std::vector<std::thread> threads;
  for (int i = 0; i < kVictims; i++) {
    threads.emplace_back([i, &watch, seed = arguments.seed + i] {
      PrepareThread();
      Chance chance(seed);
      if (i < kVictims - 1) {
        Live(i, seed, INT64_MAX, &watch);
      } else {
        for (; !stopping.load(std::memory_order_relaxed); lives++) {
          std::thread(Live, i, seed + lives, 1 + chance.Below(400), &watch).join();
        }
      }
      watch.End(i);
    });
  }
  threads.emplace_back(Govern, arguments.seed + 100, arguments.steps, &watch, &counts);
  threads.emplace_back(Disturb, arguments.seed + 101, &watch);
  watch.AwaitEnd(arguments.bound_ms);
  for (auto& thread : threads) thread.join();

  printf("%lld paused, %lld given up, %lld gone, %lld lives, %lld strange signals\n", (long long)counts.paused,
         (long long)counts.cancelled, (long long)counts.gone, (long long)lives, (long long)strange.load());
  if (counts.paused == 0 || counts.cancelled == 0 || lives < 2 || strange.load() == 0) {
    Violation("too few steps to show anything");
  }
  return 0;
}

}  // namespace
}  // namespace gyre

int main(int count, char** values) { return gyre::Run(count, values); }
