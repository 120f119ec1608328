#ifndef GYRE_THREAD_H_
#define GYRE_THREAD_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vector>

namespace gyre {

// All functions return 0 or a value >= 0 on success and -errno on failure, act
// on the calling thread unless given a tid, and may be called on any thread.

int ThreadId();
int CurrentCpu();

// The CPUs that thread `tid` (0: the caller) may run on, in ascending order.
int GetAffinity(int tid, std::vector<int>* cpus);
int SetAffinity(int tid, const std::vector<int>& cpus);

// CPU time that thread `tid` of this process (0: the caller) has used, in ns; 0 where that
// cannot be known.
int64_t ThreadCpuNs(int tid = 0);

// Reads /proc/self/task/TID/NAME. Returns how many bytes, at most `size` - 1, and ends them
// with NUL.
ssize_t ReadOfThread(int tid, const char* name, char* text, size_t size);

// Names the calling thread for top, ps and debuggers; cut at 15 bytes.
int SetThreadName(const char* name);

// From now on a child process forked from a thread that called
// MarkPinned(true) gets `cpus` back instead of inheriting that thread's pin.
int WidenInChildren(const std::vector<int>& cpus);
void MarkPinned(bool pinned);

// The one of `cpus`, which is not empty, that fewest claims of this process are on, and among
// equals the first. The claim counts until it is released. Nothing is bound to anything.
int ClaimCpu(const std::vector<int>& cpus);
void ReleaseCpu(int cpu);

}  // namespace gyre

#endif  // GYRE_THREAD_H_
