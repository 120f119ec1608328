// What a peer's thread gets of the CPUs, and on which ones it may run: for soft pins.
#ifndef GYRE_PIN_H_
#define GYRE_PIN_H_

#include <stdint.h>

#include <vector>

namespace gyre {

// All functions return 0 on success and -errno on failure; -ESRCH: the peer is gone. Any thread.

struct Usage {
  int64_t run_ns = 0;    // time on a CPU
  int64_t delay_ns = 0;  // time ready to run and on none; a wait counts when it is over
  int64_t runs = 0;      // how often it got a CPU
  int cpu = -1;          // where it runs now, or did last
  bool runnable = false; // it runs, or is ready to
};

// Since the peer's thread began. The parts are from slightly different moments.
int UsageOf(uint32_t peer_id, Usage* usage);

// Binds the peer's thread to `cpus`. While its thread has loosened itself that takes effect when
// it tightens itself again.
int SetCpus(uint32_t peer_id, const std::vector<int>& cpus);

// From now on the peer's thread is `levels` nicer (setpriority(2)), and gets the less of its CPU the more others
// want of it. There is no way back without privileges: this is for a thread that is to end.
int StepBack(uint32_t peer_id, int levels);

// Lets the calling thread run on `cpus`, until it calls Tighten(): then it is bound again to what
// it was, or to what SetCpus() has said meanwhile. A thread inherits the mask of the one that
// creates it, so this is for the moment in which a bound thread creates another.
int Loosen(const std::vector<int>& cpus);
int Tighten();

}  // namespace gyre

#endif  // GYRE_PIN_H_
