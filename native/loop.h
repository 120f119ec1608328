#ifndef GYRE_LOOP_H_
#define GYRE_LOOP_H_

#include <napi.h>

#include <stdint.h>

#include <initializer_list>
#include <memory>

#include "peer.h"
#include "taking.h"

namespace gyre {

// Calls `function` from a libuv callback on the loop of `env`, with at most two numbers. What
// it throws is an uncaught exception of that thread. Plain Node-API, here and for references:
// during teardown its calls fail, and the C++ wrapper would turn that into a fatal error.
void CallIntoJs(napi_env env, napi_ref function, std::initializer_list<int32_t> numbers = {});

// When a worker looks at its own events, and what it is told of them: DESIGN's round.
// Arguments of LoopHooks::Attach, converted.
struct RoundSettings {
  Table table;
  int32_t owner;
  // It looks after an iteration that kept the loop busy for so long, unless that was many
  // short events.
  int64_t busy_ns;
  // It calls `on_round` if at least so many events wait that could be given away; 0: after
  // every iteration, whatever waits.
  int32_t events_min;
  // It ceases to follow messages when so many events come in 100 ms.
  uint32_t fast_events;
  uint32_t outstanding_index;  // of the word that gets how many wait
  uint32_t newcomers_index;    // of the row that says which connections are new
  uint32_t messages_index;     // of the word that counts messages
  uint32_t armed_index;        // of the word that says whether messages are followed
  Napi::Int32Array table_words;
  // Int32Array: movable, queued, other, connections, listeners, whether the events are short and
  // the loop is overloaded with them, whether `on_round` asks for messages to be followed, and
  // then the descriptors of PeekOwn().
  Napi::Int32Array out;
  Napi::Function on_round;
  // Called when `armed` has changed. It is 1 at first, and 0 while events come too fast for
  // following each to be cheap and no iteration was long for a while. Not for events_min 0.
  Napi::Function on_arm;
};

// Where a loop counts how long its iterations kept it busy: words of shared memory that its
// thread alone writes.
struct TimesSettings {
  uint32_t sum_index;      // of two words, 8-byte aligned: total in ns, as a double
  uint32_t count_index;    // of the word that counts the events that the loop handled
  uint32_t buckets_index;  // of the first bucket: [i] counts what was shorter than 2^i µs
  uint32_t buckets;        // the last one counts everything that is longer
};

// What the addon keeps in one event loop: a check handle that counts
// iterations into shared memory, an async handle that other threads may
// trigger, and a prepare handle that looks at what waits after a long iteration.
// Created and destroyed on the loop's own thread. The handles are
// unreferenced: they never keep a loop alive and never make it spin.
//
// Ownership: the object deletes itself when its handles have closed, which
// Detach() or the environment's teardown begins, whichever comes first.
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
  LoopHooks() = default;
  ~LoopHooks() = default;
  struct Handles;
  struct Rounds;
  struct Times;

  napi_env env_ = nullptr;
  Handles* handles_ = nullptr;
  napi_ref keep_alive_ = nullptr;  // pins the shared memory below
  napi_ref on_wake_ = nullptr;
  int32_t* loops_ = nullptr;      // written by the check handle only
  int32_t* heartbeat_ = nullptr;  // written by the check handle only
  Rounds* rounds_ = nullptr;
  Times* times_ = nullptr;
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
