#include "peer.h"

#include <unordered_map>

namespace gyre {

namespace {

// Leaked on purpose: threads may still look up peers while the process exits.
struct Registry {
  std::mutex lock;  // never held while anything waits
  std::unordered_map<uint32_t, std::shared_ptr<Peer>> by_id;
  uint32_t last_id = 0;
};

Registry& TheRegistry() {
  static Registry* registry = new Registry();
  return *registry;
}

}  // namespace

uint32_t AddPeer(std::shared_ptr<Peer> peer) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  peer->id = ++registry.last_id;
  registry.by_id[peer->id] = peer;
  return peer->id;
}

void RemovePeer(const std::shared_ptr<Peer>& peer) {
  Registry& registry = TheRegistry();
  {
    std::lock_guard<std::mutex> guard(registry.lock);
    registry.by_id.erase(peer->id);
  }
  // Whoever found it before may be using it: wait for that to end.
  std::lock_guard<std::mutex> guard(peer->life);
  peer->alive = false;
}

std::shared_ptr<Peer> FindPeer(uint32_t id) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> guard(registry.lock);
  auto found = registry.by_id.find(id);
  return found == registry.by_id.end() ? nullptr : found->second;
}

bool WakePeer(uint32_t id) {
  std::shared_ptr<Peer> peer = FindPeer(id);
  if (peer == nullptr) return false;
  std::lock_guard<std::mutex> guard(peer->life);
  return peer->alive && uv_async_send(peer->async) == 0;
}

}  // namespace gyre
