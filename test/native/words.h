// An Int32Array over a SharedArrayBuffer, as the transcribed protocols need it: Atomics.*
// where TypeScript has Atomics, and plain accesses where it has plain ones, so that
// ThreadSanitizer reports a plain access which nothing orders.
#ifndef GYRE_WORDS_H_
#define GYRE_WORDS_H_

#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>

namespace gyre {

// A place where a signal may cut a thread in two. Without ThreadSanitizer that is every
// instruction, and this only keeps the compiler from reordering plain stores, which V8
// does not do to a typed array's. ThreadSanitizer keeps a signal back until the thread's
// next atomic operation or intercepted call, so here is one, which orders nothing. Now
// and then the processor goes to another thread here, so that cuts fall between any two
// accesses and not only where a thread sleeps.
inline void CutPoint() {
  static thread_local uint32_t count = 0;
  if (++count % 61 == 0) sched_yield();
#ifdef __SANITIZE_THREAD__
  static std::atomic<int> nothing{0};
  nothing.load(std::memory_order_relaxed);
#endif
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

class Words {
 public:
  explicit Words(size_t count) : data_(static_cast<int32_t*>(aligned_alloc(128, (count * 4 + 127) / 128 * 128))) {
    memset(data_, 0, count * 4);
  }
  ~Words() { free(data_); }
  Words(const Words&) = delete;

  int32_t Get(int at) const {
    CutPoint();
    return data_[at];
  }
  void Set(int at, int32_t value) {
    CutPoint();
    data_[at] = value;
  }
  double GetDouble(int at) const {
    CutPoint();
    double value;
    memcpy(&value, data_ + at, sizeof(value));
    return value;
  }
  void SetDouble(int at, double value) {
    CutPoint();
    memcpy(data_ + at, &value, sizeof(value));
  }

  // A plain access that another thread may race with. JavaScript promises that such a word
  // is not torn, which in C++ takes a relaxed atomic operation; it orders nothing.
  int32_t GetRacing(int at) const {
    CutPoint();
    return __atomic_load_n(data_ + at, __ATOMIC_RELAXED);
  }
  void SetRacing(int at, int32_t value) {
    CutPoint();
    __atomic_store_n(data_ + at, value, __ATOMIC_RELAXED);
  }

  int32_t Load(int at) const { return __atomic_load_n(data_ + at, __ATOMIC_SEQ_CST); }
  void Store(int at, int32_t value, int order = __ATOMIC_SEQ_CST) { __atomic_store_n(data_ + at, value, order); }
  int32_t Or(int at, int32_t bits) { return __atomic_fetch_or(data_ + at, bits, __ATOMIC_SEQ_CST); }
  int32_t Exchange(int at, int32_t value) { return __atomic_exchange_n(data_ + at, value, __ATOMIC_SEQ_CST); }
  // Whether it was `from`.
  bool CompareExchange(int at, int32_t from, int32_t to) {
    return __atomic_compare_exchange_n(data_ + at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }

  int32_t* data() { return data_; }

 private:
  int32_t* data_;
};

}  // namespace gyre

#endif  // GYRE_WORDS_H_
