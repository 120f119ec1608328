// What the addon keeps in one event loop: a check handle that counts iterations into shared
// memory, an async handle that other threads may trigger, and a prepare handle that looks back
// on each iteration and at what waits.
#ifndef GYRE_LOOP_H_
#define GYRE_LOOP_H_

#include <napi.h>

#include <stdint.h>

#include <memory>

#include "iteration.h"
#include "peer.h"
#include "rounds.h"

namespace gyre {

// Where a loop counts how long its iterations kept it busy: words of shared memory that its
// thread alone writes.
struct TimesSettings {
  uint32_t sum_index;      // of two words, 8-byte aligned: total in ns, as a double
  uint32_t count_index;    // of the word that counts the events that the loop handled
  uint32_t buckets_index;  // of the first bucket: [i] counts what was shorter than 2^i µs
  uint32_t buckets;        // the last one counts everything that is longer
};

// Makes its thread a peer: one that others may wake, look into and pause. Created and used on the
// loop's own thread. Of several on one thread only the latest can be paused. The handles are
// unreferenced: they never keep a loop alive and never make it spin.
//
// Ownership: the object deletes itself when its handles have closed, which
// Detach() or the environment's teardown begins, whichever comes first. Nothing may be called after
// Detach().
class LoopHooks {
 public:
  // `words` is an Int32Array over shared memory; the check handle adds 1 to
  // words[loops_index] and stores the loop's clock (ms, truncated to 32 bits) in
  // words[heartbeat_index]. `on_wake` is called, on this thread, after WakePeer(id);
  // several wakes may arrive as one. `rounds` and `times` may be null.
  // Returns null and sets *error to -errno if libuv refuses.
  static LoopHooks* Attach(Napi::Env env, Napi::Int32Array words, uint32_t loops_index,
                           uint32_t heartbeat_index, Napi::Function on_wake,
                           const RoundSettings* rounds, const TimesSettings* times, int* error);
  void Detach();
  uint32_t peer_id() const { return peer_->id; }

 private:
  LoopHooks();
  ~LoopHooks();
  struct Handles;
  struct Times;

  napi_env env_ = nullptr;
  Handles* handles_ = nullptr;
  napi_ref keep_alive_ = nullptr;  // pins the shared memory below
  napi_ref on_wake_ = nullptr;
  int32_t* loops_ = nullptr;      // written by the check handle only
  int32_t* heartbeat_ = nullptr;  // written by the check handle only
  IterationClock clock_;
  std::unique_ptr<Rounds> rounds_;
  std::unique_ptr<Times> times_;
  std::shared_ptr<Peer> peer_;
  int open_handles_ = 0;
  bool closing_ = false;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;

  void Close();
  void OnClosed();
  void OnWake();
  void OnIterationEnd();
};

}  // namespace gyre

#endif  // GYRE_LOOP_H_
