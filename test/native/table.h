// src/scheduler/connection-table.ts, step by step, with the words of
// src/scheduler/layout.ts. What is atomic there is atomic here, and what is plain there
// is plain here. Who may call what is said there.
//
// One word is read by a governor who has not paused its owner: looking for idle
// connections, Take() asks of every entry whether it is the victim's. Nobody but the victim
// ever writes "the victim's" there, and the victim stands still, so any other answer is
// as good as another. No other word of the entry is read then.
//
// Each M_... is a mistake that the trial must find.
#ifndef GYRE_TRIAL_TABLE_H_
#define GYRE_TRIAL_TABLE_H_

#include <stdint.h>

#include "connection_table.h"
#include "words.h"

namespace gyre {

enum State : int32_t {
  kUntracked = 0,
  kFresh = 1,
  kBetween = 2,
  kInMessage = 3,
  kTaken = 4,
  kHeld = 5,
  kListening = 6,
  kInTransit = 7,
  kGiving = 8,
};

class ConnectionTable {
 public:
  static constexpr int kEntryWords = 8;
  static constexpr int kOwner = 0, kState = 1, kListener = 2, kGeneration = 3, kBoundary = 4, kSocket = 6;
  static constexpr int kNobody = -1;

  explicit ConnectionTable(int descriptors)
      : descriptors_(descriptors), words_(static_cast<size_t>(descriptors) * kEntryWords) {}

  // What native/taking.cc works on.
  Table native() {
    return {words_.data(),
            descriptors_,
            {kEntryWords, kOwner, kState, kListener, kGeneration, kBoundary, kSocket, kFresh, kBetween, kInMessage,
             kListening, kTaken, descriptors_}};
  }
  int descriptors() const { return descriptors_; }

  int32_t Open(int fd, int worker, int32_t listener, double boundary, State state) {
    int at = fd * kEntryWords;
    int32_t generation = words_.Get(at + kGeneration) + 1;
    words_.SetRacing(at + kOwner, 0);
    words_.Set(at + kGeneration, generation);
    words_.Set(at + kListener, listener);
    words_.SetDouble(at + kBoundary, boundary);
    words_.Set(at + kState, state);
    words_.SetRacing(at + kOwner, worker + 1);
    return generation;
  }
  int32_t Send(int fd, int32_t listener, double boundary) { return Open(fd, kNobody, listener, boundary, kInTransit); }
  bool IsInTransit(int fd, int32_t generation) const {
    return StateOf(fd) == kInTransit && words_.Get(fd * kEntryWords + kGeneration) == generation;
  }
  void Begin(int fd) {
    int at = fd * kEntryWords + kState;
    if (words_.Get(at) != kHeld) words_.Set(at, kInMessage);
  }
  void Between(int fd, double boundary) {
    int at = fd * kEntryWords;
    if (words_.Get(at + kState) == kHeld) return;
    words_.SetDouble(at + kBoundary, boundary);
    words_.Set(at + kState, kBetween);
  }
  bool Hold(int fd) { return Change(fd * kEntryWords + kState, kHeld); }
  bool Release(int fd, double boundary) {
    int at = fd * kEntryWords;
    words_.SetDouble(at + kBoundary, boundary);
    return Change(at + kState, kBetween);
  }
  // Whether the caller may give it away; it then calls Close() or Keep().
  bool TryGive(int fd, int32_t* state) {
    int at = fd * kEntryWords + kState;
    *state = words_.Load(at);
    if (*state != kFresh && *state != kBetween) return false;
#ifdef M_GIVE_UNMARKED
    return true;
#else
    return words_.CompareExchange(at, *state, kGiving);
#endif
  }
  double BoundaryOf(int fd) const { return words_.GetDouble(fd * kEntryWords + kBoundary); }
  void Keep(int fd, int32_t state) { words_.Set(fd * kEntryWords + kState, state); }
  // Returns the state that it had.
  int32_t Close(int fd) {
    int at = fd * kEntryWords;
#ifdef M_CLOSE_IN_TWO
    int32_t state = words_.Get(at + kState);
    sched_yield();
    words_.Set(at + kState, kUntracked);
#else
    int32_t state = words_.Exchange(at + kState, kUntracked);
#endif
    words_.SetRacing(at + kOwner, 0);
    return state;
  }
  // The owner only.
  int32_t StateOf(int fd) const { return words_.Get(fd * kEntryWords + kState); }

 private:
  bool Change(int at, int32_t to) {
#ifdef M_HOLD_PLAIN
    if (words_.Get(at) == kTaken) return false;
    words_.Set(at, to);
    return true;
#else
    for (int tries = 0; tries < 2; tries++) {
      int32_t from = words_.Load(at);
      if (from == kTaken) return false;
      if (words_.CompareExchange(at, from, to)) return true;
    }
    return false;
#endif
  }

  const int descriptors_;
  Words words_;
};

}  // namespace gyre

#endif  // GYRE_TRIAL_TABLE_H_
