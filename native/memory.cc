#include "memory.h"

#include <errno.h>

#include "platform.h"

#if GYRE_LINUX
#include <sys/mman.h>
#endif

namespace gyre {

#if GYRE_LINUX && defined(MADV_HUGEPAGE)

int64_t AdviseHuge(void* data, size_t bytes, size_t huge_bytes) {
  auto from = reinterpret_cast<uintptr_t>(data);
  // Only whole huge pages: the memory around them is somebody else's.
  uintptr_t first = (from + huge_bytes - 1) / huge_bytes * huge_bytes;
  uintptr_t end = (from + bytes) / huge_bytes * huge_bytes;
  if (first >= end) return 0;
  if (madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE) != 0) return -errno;
  return static_cast<int64_t>(end - first);
}

#else

int64_t AdviseHuge(void*, size_t, size_t) { return -ENOSYS; }

#endif

}  // namespace gyre
