#include "pin.h"

#include <errno.h>

#include <mutex>

#include "peer.h"
#include "platform.h"
#include "safepoint.h"
#include "thread.h"

#if GYRE_LINUX
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// Of a thread that is no peer, or no longer.
thread_local std::vector<int> own_cpus;

}  // namespace

int UsageOf(uint32_t peer_id, Usage* usage) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  char text[1024];
  // Kernel's sched-stats.rst: time on the CPU, time waiting for it, both in ns, and how often it
  // got one.
  if (ReadOfThread(peer->tid, "schedstat", text, sizeof(text)) <= 0) return -ENOENT;
  if (sscanf(text, "%*d %" SCNd64 " %" SCNd64, &usage->delay_ns, &usage->runs) != 2) return -EINVAL;
  // The first of them is up to a tick old.
  usage->run_ns = ThreadCpuNs(peer->tid);
  if (ReadOfThread(peer->tid, "stat", text, sizeof(text)) <= 0) return -ENOENT;
  // proc(5): the state is the first field after the name, which may contain anything, and the
  // CPU is the 37th from there on.
  const char* at = strrchr(text, ')');
  if (at == nullptr || at[1] == 0) return -EINVAL;
  at += 2;
  usage->runnable = *at == 'R';
  for (int field = 3; field < 39 && at != nullptr; field++) at = strchr(at + 1, ' ');
  if (at == nullptr || sscanf(at, "%d", &usage->cpu) != 1) return -EINVAL;
  // If it has ended meanwhile its number may have been another's.
  std::lock_guard<std::mutex> guard(peer->life);
  return peer->alive ? 0 : -ESRCH;
}

int SetCpus(uint32_t peer_id, const std::vector<int>& cpus) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;
  if (!peer->loose) return SetAffinity(peer->tid, cpus);
  peer->cpus = cpus;
  return 0;
}

int StepBack(uint32_t peer_id, int levels) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return -ESRCH;
  std::lock_guard<std::mutex> guard(peer->life);
  if (!peer->alive) return -ESRCH;
  auto tid = static_cast<id_t>(peer->tid);
  errno = 0;  // -1 is a priority, too
  int nice = getpriority(PRIO_PROCESS, tid);
  if (errno != 0) return -errno;
  // Linux has a priority for each thread, whatever POSIX says; beyond 19 it is 19.
  return setpriority(PRIO_PROCESS, tid, nice + levels) == 0 ? 0 : -errno;
}

int Loosen(const std::vector<int>& cpus) {
  Peer* peer = ThisPeer();
  if (peer == nullptr) {
    int error = GetAffinity(0, &own_cpus);
    return error != 0 ? error : SetAffinity(0, cpus);
  }
  std::lock_guard<std::mutex> guard(peer->life);
  int error = GetAffinity(0, &peer->cpus);
  if (error == 0) error = SetAffinity(0, cpus);
  peer->loose = error == 0;
  return error;
}

int Tighten() {
  Peer* peer = ThisPeer();
  if (peer == nullptr) return SetAffinity(0, own_cpus);
  std::lock_guard<std::mutex> guard(peer->life);
  peer->loose = false;
  return SetAffinity(0, peer->cpus);
}

#else

int UsageOf(uint32_t, Usage*) { return -ENOSYS; }
int SetCpus(uint32_t, const std::vector<int>&) { return -ENOSYS; }
int StepBack(uint32_t, int) { return -ENOSYS; }
int Loosen(const std::vector<int>&) { return -ENOSYS; }
int Tighten() { return -ENOSYS; }

#endif

}  // namespace gyre
