#include "claim.h"

#include <map>
#include <mutex>

namespace gyre {

namespace {

// Of the whole process, whose threads come and go rarely. Leaked on purpose: an environment may
// release its claim while the process is being torn down.
std::mutex& claims_mutex = *new std::mutex;
std::map<int, int>& claims = *new std::map<int, int>;

}  // namespace

int ClaimCpu(const std::vector<int>& cpus) {
  std::lock_guard<std::mutex> lock(claims_mutex);
  auto count = [](int cpu) {
    auto found = claims.find(cpu);
    return found == claims.end() ? 0 : found->second;
  };
  int best = cpus.front();
  for (int cpu : cpus) {
    if (count(cpu) < count(best)) best = cpu;
  }
  claims[best]++;
  return best;
}

void ReleaseCpu(int cpu) {
  std::lock_guard<std::mutex> lock(claims_mutex);
  if (--claims[cpu] == 0) claims.erase(cpu);
}

}  // namespace gyre
