// Which CPUs threads of this process have spoken for, so that two that must choose do not choose the
// same. Nothing is bound to anything. Any thread; whoever claims releases, once.
#ifndef GYRE_CLAIM_H_
#define GYRE_CLAIM_H_

#include <vector>

namespace gyre {

// The one of `cpus`, which is not empty, that fewest claims are on, and among equals the first.
int ClaimCpu(const std::vector<int>& cpus);
void ReleaseCpu(int cpu);

}  // namespace gyre

#endif  // GYRE_CLAIM_H_
