#ifndef GYRE_THREAD_H_
#define GYRE_THREAD_H_

#include <stdint.h>

#include <vector>

namespace gyre {

// All functions return 0 or a value >= 0 on success and -errno on failure, act
// on the calling thread unless given a tid, and may be called on any thread.

int ThreadId();
int CurrentCpu();

// The CPUs that thread `tid` (0: the caller) may run on, in ascending order.
int GetAffinity(int tid, std::vector<int>* cpus);
int SetAffinity(int tid, const std::vector<int>& cpus);

// Names the calling thread for top, ps and debuggers; cut at 15 bytes.
// CPU time that the calling thread has used, in ns; 0 where that cannot be known.
int64_t ThreadCpuNs();

int SetThreadName(const char* name);

// From now on a child process forked from a thread that called
// MarkPinned(true) gets `cpus` back instead of inheriting that thread's pin.
int WidenInChildren(const std::vector<int>& cpus);
void MarkPinned(bool pinned);

}  // namespace gyre

#endif  // GYRE_THREAD_H_
