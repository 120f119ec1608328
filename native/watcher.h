// The governor's eyes: a thread that notices when a worker stands still while it
// has something to do. For each governor there is one.
#ifndef GYRE_WATCHER_H_
#define GYRE_WATCHER_H_

#include <napi.h>
#include <pthread.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "peer.h"

struct pollfd;

namespace gyre {

// Blocks over all efds while nothing is ready, which costs nothing at all; ticks
// while anything is. In tick mode it sleeps on the clock and not on the efds, so that
// events do not wake it.
//
// A worker stands still when from one tick to the next it finished no iteration of its loop,
// began no message, and does not sleep in epoll. It is stuck when besides it has used the CPU
// for half a tick since, or waits for something else than a CPU; or has not got one for
// kWaitsMax ticks. Otherwise somebody else has its CPU, and it goes on in a moment: to
// move what waits for it would cost more than it brings. Of a worker that does not follow
// messages only iterations are known, which may be long because of many short ones, and so it
// gets kWaitsMax ticks as well. While no worker follows them, a tick is kSlowTicks.
//
// When something is ready for one that is stuck, the watcher calls `on_stall` on the
// governor's own loop and waits until Continue(). What is ready is its efd, or a connection
// that it has opened in this very iteration, of which its efd does not know yet. Of one that is
// stuck for long it is told even if nothing is ready, once: it may never come back.
//
// While it ticks it also calls `on_sample`, there too, every `sample_us` (0: never), and does not
// wait: so whoever looks at the workers now and then does it only while one has something to do.
//
// It is a thread beside the governor's, so that the governor's event loop stays
// free to be told things and to be terminated.
//
// It has a number of slots for peers, which come and go. Everything public is called on the governor's
// thread; a report that is not followed by Continue() is the last one.
//
// Ownership: Stop() or the environment's teardown, whichever comes first, ends the thread and closes the
// descriptors, and it deletes itself when its handle has closed. Nothing may be called after
// Stop().
class Watcher {
 public:
  // Null, and *error -errno, if there is no descriptor, thread or memory left.
  static Watcher* Create(Napi::Env env, size_t slots, int64_t tick_us, Napi::Function on_stall,
                         int64_t sample_us, Napi::Function on_sample, int* error);
  // Watches the peer `peer_id` in `slot` from the next tick on; 0: nobody.
  void Set(size_t slot, uint32_t peer_id);
  void Continue();
  void Stop();

  // Of the peer in `slot`, at the last report: whether it stood still, and whether it was stuck
  // and something waited for it.
  bool Still(size_t slot) const { return still_[slot] != 0; }
  bool Stalled(size_t slot) const { return stalled_[slot] != 0; }
  int never_fd() const { return never_[0]; }

 private:
  Watcher() = default;
  // Everything that can fail; 0 or -errno, and then the descriptors may be open.
  int Open(uv_loop_t* loop);
  void CloseDescriptors();
  static void* Run(void* self);
  void Watch();
  // Returns whether there is something to report. `any_alone`: somebody does not sleep for whom
  // nothing is ready, and who may come to stand still.
  bool Tick(pollfd* efds, bool* any_ready, bool* any_alone);
  void TakeChanges(pollfd* efds);
  static void OnAsync(uv_async_t* async);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle, void* data);

  napi_env env_ = nullptr;
  std::mutex lock_;                             // guards changes_; held for moments
  std::vector<std::pair<size_t, std::shared_ptr<Peer>>> changes_;
  std::vector<std::shared_ptr<Peer>> peers_;    // watcher thread
  struct Seen {
    uint32_t progress = 0;    // loop iterations and messages at the last tick
    int32_t loops = 0;
    int32_t opened = 0;       // connections when the loop counter last changed
    int64_t cpu_ns = 0;       // CPU time of the thread when it last made progress or slept
    int still_ticks = 0;      // since then
    int64_t since_ns = 0;     // when that was
    bool told = false;        // it was reported since then, although nothing was ready
  };
  std::vector<Seen> seen_;                      // watcher thread
  // Watcher thread; read by the governor between a report and Continue().
  std::vector<unsigned char> still_;
  std::vector<unsigned char> stalled_;
  int64_t tick_us_ = 1000;
  int64_t sample_us_ = 0;
  bool follows_ = true;  // watcher thread: whether any peer follows messages
  int control_ = -1;   // eventfd: Continue and Stop
  int never_[2] = {-1, -1};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> reporting_{false};
  std::atomic<bool> sampling_{false};
  pthread_t thread_ = {};
  uv_async_t* async_ = nullptr;
  napi_ref on_stall_ = nullptr;
  napi_ref on_sample_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

// Whether the peer's loop is inside epoll_wait at this moment.
bool InPoll(uint32_t peer_id);

// For how long the peer has not returned to its loop, in ns; 0 while it sleeps there, or if it
// is gone. Waits for the end of a pause.
int64_t StuckNs(uint32_t peer_id);

// How long the peer's loop has slept in epoll_wait since it began without having anything to
// do, in ns. Only differences mean something. False if it is gone, or being paused.
bool IdleNs(uint32_t peer_id, int64_t* ns);

}  // namespace gyre

#endif  // GYRE_WATCHER_H_
