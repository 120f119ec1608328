#include "batching.h"

#include "platform.h"

#if GYRE_LINUX
#include <dirent.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace gyre {

#if GYRE_LINUX

namespace {

// How uv.h, part of libuv's stable ABI, says that a loop begins.
struct LoopHead {
  void* data;
  unsigned active_handles;
  void* handle_queue[2];
  void* active_requests;
  char* internal_fields;  // from malloc(3); what is in there is libuv's own affair
};

// How struct uv__iou ends in libuv 1.45 to 1.52; before that are pointers into `sq`.
struct Ring {
  char* sq;
  char* cqe;
  char* sqe;
  size_t sq_bytes;
  size_t cq_bytes;
  size_t sq_mapped;  // the greater of both: one mapping has them
  size_t sqe_bytes;
  int fd;
};

// Instead of the descriptor, where libuv calls epoll_ctl(2).
constexpr int kNone = -1;

// Of the ring for changes of the epoll set. The one for files has 64.
constexpr size_t kEntries = 256;
constexpr size_t kEntryBytes = 64;  // struct io_uring_sqe

// Nobody has seen internal fields of more bytes than 500.
constexpr size_t kSearchedMax = 4096;

bool IsRing(int fd) {
  char link[32];
  char target[32];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof(target) - 1);
  if (length < 0) return false;
  target[length] = 0;
  return strcmp(target, "anon_inode:[io_uring]") == 0;
}

bool OnPage(const char* at) {
  return at != nullptr && reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)) == 0;
}

// Whether this is the ring, or was: every field has to fit, and the descriptor. Nothing else looks like that.
bool Fits(const Ring& ring) {
  return ring.sqe_bytes == kEntries * kEntryBytes && ring.sq_bytes > 0 && ring.cq_bytes > 0 &&
         ring.sq_mapped == (ring.sq_bytes > ring.cq_bytes ? ring.sq_bytes : ring.cq_bytes) && OnPage(ring.sq) &&
         OnPage(ring.sqe) && ring.cqe > ring.sq && ring.cqe < ring.sq + ring.sq_mapped &&
         (ring.fd == kNone || IsRing(ring.fd));
}

}  // namespace

bool StopBatching(uv_loop_t* loop) {
  char* fields = reinterpret_cast<LoopHead*>(loop)->internal_fields;
  size_t bytes = fields == nullptr ? 0 : malloc_usable_size(fields);
  if (bytes > kSearchedMax) bytes = kSearchedMax;
  for (size_t at = 0; at + sizeof(Ring) <= bytes; at += sizeof(void*)) {
    Ring ring;
    memcpy(&ring, fields + at, sizeof(ring));
    if (!Fits(ring)) continue;
    if (ring.fd == kNone) return true;
    // Nothing is on its way in it: libuv waits for what it submits before it calls anybody, and until now
    // nobody had a reason to signal this thread.
    memcpy(fields + at + offsetof(Ring, fd), &kNone, sizeof(kNone));
    munmap(ring.sq, ring.sq_mapped);
    munmap(ring.sqe, ring.sqe_bytes);
    close(ring.fd);
    return true;
  }
  return false;
}

bool AnyBatches() {
  DIR* open = opendir("/proc/self/fd");
  if (open == nullptr) return true;  // nobody can tell
  bool found = false;
  while (dirent* entry = readdir(open)) {
    char* end;
    long fd = strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && IsRing(static_cast<int>(fd))) found = true;
  }
  closedir(open);
  return found;
}

#else

bool StopBatching(uv_loop_t*) { return false; }
bool AnyBatches() { return false; }

#endif

}  // namespace gyre
