#include "cpuid.h"

#include <errno.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace gyre {

#if defined(__x86_64__) || defined(__i386__)

int Cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
  __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
  return 0;
}

#else

int Cpuid(uint32_t, uint32_t, uint32_t[4]) { return -ENOSYS; }

#endif

}  // namespace gyre
