// What one thread's event loop is to the other threads of the process: something
// to wake, to peek into, and to pause. Found by a number that outlives it.
//
// Any thread may find a peer, and keeps the memory of it as long as it wants. But the loop, its
// descriptors and the thread are there only while `alive`, so whoever uses one of them
// holds `life` meanwhile.
#ifndef GYRE_PEER_H_
#define GYRE_PEER_H_

#include <stdint.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "uv_api.h"

namespace gyre {

// Values of Peer::pause. Only the transitions below happen; each is one
// compare-and-swap or, where only one side can act, one store.
//
//   NONE      -> REQUESTED  governor, before it signals the thread
//   REQUESTED -> PAUSED     the thread, in its signal handler
//   REQUESTED -> NONE       governor, which gave up waiting
//   PAUSED    -> NONE       governor, when it is done
//
// A handler that finds NONE came too late and returns.
enum PauseState : int32_t { kNone = 0, kRequested = 1, kPaused = 2 };

// Descriptors in a row of newcomers: what fits beside the count.
constexpr int kNewcomers = 31;

struct Peer {
  // Written once, before the peer can be found.
  uint32_t id = 0;
  int tid = 0;
  int epoll_fd = -1;
  uv_loop_t* loop = nullptr;
  uv_async_t* async = nullptr;
  const int32_t* loops = nullptr;  // the loop counter in the scoreboard
  // Row in the scoreboard: how many connections it ever opened, and the descriptors of the
  // last kNewcomers. Null: it opens none that could move.
  const int32_t* newcomers = nullptr;
  // How many messages have begun, in the scoreboard. Null: nobody counts them.
  const int32_t* messages = nullptr;
  // Whether it follows messages now, in the scoreboard. Null: it never does.
  const int32_t* armed = nullptr;

  // When its last iteration ended, just before it looked for events, and how long it had slept
  // by then: uv_hrtime(), ns. While the thread writes the second one the first is 0.
  std::atomic<uint64_t> ended_ns{0};
  std::atomic<uint64_t> ended_idle_ns{0};

  // Held while another thread uses `loop` or `async`, binds the thread or pauses it, and by
  // the thread itself for the moments in which it ceases to exist as a peer, or loosens or
  // tightens itself. The governor locks it before it signals, so a paused thread never holds it.
  std::mutex life;
  bool alive = true;  // guarded by life

  // Both guarded by life: see pin.h. Whether the thread has loosened itself, and if so what it
  // is to be bound to when it tightens itself.
  bool loose = false;
  std::vector<int> cpus;

  // Set by the governor's watcher: the thread was stuck in something for 8 ticks. Cleared
  // by the thread, which then follows messages for a while.
  std::atomic<bool> was_stuck{false};

  // A futex. On a line of its own: the thread's handler waits on it.
  alignas(128) std::atomic<int32_t> pause{kNone};
};

// Ids are never used again in one process, so a stale id finds nobody. Both on the peer's own thread.
uint32_t AddPeer(std::shared_ptr<Peer> peer);
// Waits until nobody uses it any more, the end of a pause among others.
void RemovePeer(const std::shared_ptr<Peer>& peer);
std::shared_ptr<Peer> FindPeer(uint32_t id);

// Wakes the peer's loop; false if it is gone. Any thread.
bool WakePeer(uint32_t id);

}  // namespace gyre

#endif  // GYRE_PEER_H_
