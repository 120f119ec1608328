// A worker's look at its own events: DESIGN's round, as far as it is native. src/workers/rounds.ts
// decides who gets what.
#ifndef GYRE_ROUNDS_H_
#define GYRE_ROUNDS_H_

#include <napi.h>
#include <stdint.h>

#include "iteration.h"
#include "ready.h"

namespace gyre {

// When a worker looks, and what it is told. Indices are into the words that its loop was
// attached with (LoopHooks::Attach).
struct RoundSettings {
  Table table;
  int32_t owner;
  // It looks after an iteration that kept the loop busy for so long, unless that was many
  // short events.
  int64_t busy_ns;
  // It calls `on_round` if at least so many events wait that could be given away; 0: after
  // every iteration, whatever waits.
  int32_t events_min;
  // It ceases to follow messages when more events than that come in 100 ms.
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

// One for each loop that has such settings; everything on the loop's own thread. Both functions are
// called once, in this order, when an iteration ends; either may call JavaScript, and that may
// detach the loop, which this outlives.
class Rounds {
 public:
  Rounds(Napi::Env env, Napi::Int32Array words, const RoundSettings& settings);
  ~Rounds();
  Rounds(const Rounds&) = delete;

  // Decides whether messages are followed. `was_stuck`: the governor saw it stand still meanwhile.
  void Follow(const LoopFigures& at, bool was_stuck);
  // Looks, if there is a reason to, into the loop's epoll set, and tells of what it has found.
  void Look(const LoopFigures& at, const Iteration& ended, int epoll_fd);

  // Whether anything is to be decided: else it tells after each iteration.
  bool policy() const { return events_min_ > 0; }

 private:
  // Whether that iteration, or what came before it, is a reason to look.
  bool IsReason(const LoopFigures& at, const Iteration& ended, bool* is_short);

  napi_env env_;
  Table table_;
  int32_t owner_;
  int64_t busy_ns_;
  int32_t events_min_;
  int32_t* outstanding_;  // written by this thread only
  int32_t* armed_;        // written by this thread only
  int32_t* out_;
  int32_t out_words_;
  napi_ref table_words_ = nullptr;  // pin the memory above
  napi_ref out_array_ = nullptr;
  napi_ref on_round_ = nullptr;
  napi_ref on_arm_ = nullptr;
  Following following_;
  Overload overload_;
  OwnWork own_work_;
};

}  // namespace gyre

#endif  // GYRE_ROUNDS_H_
