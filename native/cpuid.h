// The CPUID instruction; src/scheduler/cpuid.ts knows what the answers mean.
#ifndef GYRE_CPUID_H_
#define GYRE_CPUID_H_

#include <stdint.h>

namespace gyre {

// Executes CPUID for a leaf and subleaf on whatever CPU the calling thread is on, and writes
// eax, ebx, ecx and edx. 0, or -ENOSYS where the processor is no x86. Any thread.
int Cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);

}  // namespace gyre

#endif  // GYRE_CPUID_H_
