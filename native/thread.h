// Threads as the kernel knows them: names, CPUs, times. sched_setaffinity(2), gettid(2), proc(5),
// pthread_atfork(3).
//
// All functions return 0 or a value >= 0 on success and -errno on failure, act on the calling thread
// unless given a tid, and may be called on any thread. A tid may be another thread's by now if
// its thread can end meanwhile: lock the peer's life.
#ifndef GYRE_THREAD_H_
#define GYRE_THREAD_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vector>

namespace gyre {

int ThreadId();

// The CPUs that thread `tid` (0: the caller) may run on, in ascending order.
int GetAffinity(int tid, std::vector<int>* cpus);
int SetAffinity(int tid, const std::vector<int>& cpus);

// CPU time that thread `tid` of this process (0: the caller) has used, in ns; 0 where that
// cannot be known.
int64_t ThreadCpuNs(int tid = 0);

// Reads /proc/self/task/TID/NAME. Returns how many bytes, at most `size` - 1, and ends them
// with NUL; 0 or -1 if that cannot be read.
ssize_t ReadOfThread(int tid, const char* name, char* text, size_t size);

// Names the calling thread for top, ps and debuggers; cut at 15 bytes.
int SetThreadName(const char* name);

// From now on a child process forked from a thread that called
// MarkPinned(true) gets `cpus` back instead of inheriting that thread's pin. The first call
// of a process counts.
int WidenInChildren(const std::vector<int>& cpus);
void MarkPinned(bool pinned);

}  // namespace gyre

#endif  // GYRE_THREAD_H_
