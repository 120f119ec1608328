// What the kernel is told of memory: madvise(2).
#ifndef GYRE_MEMORY_H_
#define GYRE_MEMORY_H_

#include <stddef.h>
#include <stdint.h>

namespace gyre {

// Asks the kernel to back the whole huge pages within [data, data + bytes) by huge pages when
// they are first touched (madvise(2), MADV_HUGEPAGE), each of `huge_bytes`. Returns how many
// bytes that were, which may be 0, or -errno. Any thread.
int64_t AdviseHuge(void* data, size_t bytes, size_t huge_bytes);

}  // namespace gyre

#endif  // GYRE_MEMORY_H_
