#include "thread.h"

#include <errno.h>
#include <string.h>

#include <atomic>

#include "clock.h"
#include "platform.h"

#if GYRE_LINUX
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// The kernel refuses a mask shorter than its own (EINVAL), and cpu_set_t stops
// at 1,024 CPUs, so masks are sized for the largest machine Linux supports.
constexpr int kCpusMax = 8192;
constexpr size_t kMaskBytes = CPU_ALLOC_SIZE(kCpusMax);

struct Mask {
  alignas(cpu_set_t) unsigned char bytes[kMaskBytes];
  cpu_set_t* set() { return reinterpret_cast<cpu_set_t*>(bytes); }
};

void FillMask(Mask* mask, const std::vector<int>& cpus) {
  CPU_ZERO_S(kMaskBytes, mask->set());
  for (int cpu : cpus) {
    if (cpu >= 0 && cpu < kCpusMax) CPU_SET_S(cpu, kMaskBytes, mask->set());
  }
}

// Written before the flag below is set and never again while it is set, so the
// fork handler, which may only call async-signal-safe functions, reads it plainly.
Mask child_mask;
std::atomic<bool> child_mask_ready{false};
std::atomic<bool> fork_hooked{false};
thread_local bool this_thread_is_pinned = false;

void InForkedChild() {
  if (this_thread_is_pinned && child_mask_ready.load(std::memory_order_acquire)) {
    sched_setaffinity(0, kMaskBytes, child_mask.set());
  }
}

}  // namespace

int ThreadId() { return static_cast<int>(syscall(SYS_gettid)); }

int GetAffinity(int tid, std::vector<int>* cpus) {
  Mask mask;
  CPU_ZERO_S(kMaskBytes, mask.set());
  if (sched_getaffinity(tid, kMaskBytes, mask.set()) != 0) return -errno;
  cpus->clear();
  for (int cpu = 0; cpu < kCpusMax; cpu++) {
    if (CPU_ISSET_S(cpu, kMaskBytes, mask.set())) cpus->push_back(cpu);
  }
  return 0;
}

int SetAffinity(int tid, const std::vector<int>& cpus) {
  Mask mask;
  FillMask(&mask, cpus);
  return sched_setaffinity(tid, kMaskBytes, mask.set()) == 0 ? 0 : -errno;
}

int64_t ThreadCpuNs(int tid) {
  // pthread_getcpuclockid(3) makes the number of another thread's clock in this way.
  clockid_t clock = tid == 0 ? CLOCK_THREAD_CPUTIME_ID : (~static_cast<clockid_t>(tid) << 3) | 6;
  timespec used;
  if (clock_gettime(clock, &used) != 0) return 0;
  return NsOf(used);
}

ssize_t ReadOfThread(int tid, const char* name, char* text, size_t size) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, size - 1);
  close(fd);
  text[length > 0 ? length : 0] = 0;
  return length;
}

int SetThreadName(const char* name) {
  char cut[16];
  strncpy(cut, name, sizeof(cut) - 1);
  cut[sizeof(cut) - 1] = '\0';
  return -pthread_setname_np(pthread_self(), cut);
}

int WidenInChildren(const std::vector<int>& cpus) {
  // The first caller wins: a process has one inherited mask, and rewriting it
  // could race with a fork on another thread.
  if (fork_hooked.exchange(true)) return 0;
  FillMask(&child_mask, cpus);
  int error = pthread_atfork(nullptr, nullptr, InForkedChild);
  if (error != 0) return -error;
  child_mask_ready.store(true, std::memory_order_release);
  return 0;
}

void MarkPinned(bool pinned) { this_thread_is_pinned = pinned; }

#else

int ThreadId() { return -ENOSYS; }
int GetAffinity(int, std::vector<int>*) { return -ENOSYS; }
int SetAffinity(int, const std::vector<int>&) { return -ENOSYS; }
int64_t ThreadCpuNs(int) { return 0; }
ssize_t ReadOfThread(int, const char*, char*, size_t) { return -1; }
int SetThreadName(const char*) { return -ENOSYS; }
int WidenInChildren(const std::vector<int>&) { return -ENOSYS; }
void MarkPinned(bool) {}

#endif

}  // namespace gyre
