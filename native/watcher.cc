#include "watcher.h"

#include <errno.h>
#include <stdlib.h>

#include "loop.h"
#include "platform.h"
#include "uv_api.h"

#if GYRE_LINUX
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#endif

namespace gyre {

namespace {

// Whether `loop`, of a living peer, sleeps in epoll_wait. libuv adds the time since a loop
// went to sleep to what it reports, so idle time that passes between two calls means that it
// sleeps now.
bool Sleeps(uv_loop_t* loop) {
  uint64_t before = uv_metrics_idle_time(loop);
  return uv_metrics_idle_time(loop) != before;
}

}  // namespace

bool InPoll(uint32_t peer_id) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return false;
  std::lock_guard<std::mutex> guard(peer->life);
  return peer->alive && Sleeps(peer->loop);
}

#if GYRE_LINUX

namespace {
// Ticks without anything ready before it goes back to sleep on the efds.
constexpr int kIdleTicks = 4;
}  // namespace

Watcher* Watcher::Create(Napi::Env env, size_t slots, int64_t tick_us, Napi::Function on_stall,
                         int* error) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop));
  auto* watcher = new Watcher();
  watcher->env_ = env;
  watcher->tick_us_ = tick_us;
  watcher->peers_.resize(slots);
  watcher->loops_.assign(slots, 0);
  watcher->opened_.assign(slots, 0);
  watcher->ready_.assign(slots, 0);
  watcher->still_.assign(slots, 0);
  watcher->stalled_.assign(slots, 0);
  watcher->control_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int pair = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, watcher->never_);
  watcher->async_ = static_cast<uv_async_t*>(calloc(1, uv_handle_size(GYRE_UV_ASYNC)));
  int result = watcher->control_ < 0 || pair != 0 ? -errno
                                                  : uv_async_init(loop, watcher->async_, OnAsync);
  if (result != 0) {
    *error = result;
    if (watcher->control_ >= 0) close(watcher->control_);
    if (pair == 0) {
      close(watcher->never_[0]);
      close(watcher->never_[1]);
    }
    free(watcher->async_);
    delete watcher;
    return nullptr;
  }
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(watcher->async_), watcher);
  napi_create_reference(env, on_stall, 1, &watcher->on_stall_);
  napi_add_async_cleanup_hook(env, OnTeardown, watcher, &watcher->cleanup_);
  watcher->thread_ = std::thread([watcher] { watcher->Run(); });
  return watcher;
}

void Watcher::Set(size_t slot, uint32_t peer_id) {
  {
    std::lock_guard<std::mutex> guard(lock_);
    changes_.emplace_back(slot, FindPeer(peer_id));
  }
  eventfd_write(control_, 1);
}

void Watcher::TakeChanges(pollfd* efds) {
  std::lock_guard<std::mutex> guard(lock_);
  for (auto& [slot, peer] : changes_) {
    efds[slot].fd = peer == nullptr ? -1 : peer->epoll_fd;
    loops_[slot] = 0;
    ready_[slot] = 0;
    peers_[slot] = std::move(peer);
  }
  changes_.clear();
}

void Watcher::Continue() {
  reporting_.store(false, std::memory_order_release);
  eventfd_write(control_, 1);
}

void Watcher::Stop() {
  if (stopping_.exchange(true)) return;
  eventfd_write(control_, 1);
  thread_.join();
  close(control_);
  close(never_[0]);
  close(never_[1]);
  uv_close(reinterpret_cast<uv_handle_t*>(async_), OnClosed);
}

void Watcher::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  static_cast<Watcher*>(data)->Stop();
}

void Watcher::OnClosed(uv_handle_t* handle) {
  auto* watcher = static_cast<Watcher*>(uv_handle_get_data(handle));
  free(watcher->async_);
  napi_delete_reference(watcher->env_, watcher->on_stall_);
  napi_remove_async_cleanup_hook(watcher->cleanup_);
  delete watcher;
}

void Watcher::OnAsync(uv_async_t* async) {
  auto* watcher =
      static_cast<Watcher*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(async)));
  if (watcher->stopping_ || !watcher->reporting_.load(std::memory_order_acquire)) return;
  CallIntoJs(watcher->env_, watcher->on_stall_);
}

void Watcher::Run() {
#ifdef __GLIBC__
  pthread_setname_np(pthread_self(), "gyre-watch");
#endif
  pollfd control = {control_, POLLIN, 0};
  std::vector<pollfd> all(peers_.size(), {-1, POLLIN, 0});
  all.push_back(control);
  int quiet = kIdleTicks;
  timespec tick = {tick_us_ / 1000000, (tick_us_ % 1000000) * 1000};
  while (!stopping_.load()) {
    if (quiet >= kIdleTicks) {
      poll(all.data(), all.size(), -1);
      eventfd_t value;
      eventfd_read(control_, &value);
    } else {
      nanosleep(&tick, nullptr);
    }
    TakeChanges(all.data());
    bool any_ready = false;
    bool any_stalled = Tick(all.data(), &any_ready);
    quiet = any_ready ? 0 : quiet + 1;
    if (any_stalled && !stopping_.load()) {
      reporting_.store(true, std::memory_order_release);
      uv_async_send(async_);
      while (reporting_.load(std::memory_order_acquire) && !stopping_.load()) {
        poll(&control, 1, -1);
        eventfd_t value;
        eventfd_read(control_, &value);
      }
    }
  }
}

bool Watcher::Tick(pollfd* efds, bool* any_ready) {
  bool any_stalled = false;
  for (size_t i = 0; i < peers_.size(); i++) {
    still_[i] = 0;
    stalled_[i] = 0;
    Peer* peer = peers_[i].get();
    if (peer == nullptr) continue;
    std::lock_guard<std::mutex> guard(peer->life);
    // A descriptor number that the peer's end set free must not be polled again.
    if (!peer->alive) efds[i].fd = -1;
    bool ready = peer->alive && poll(&efds[i], 1, 0) > 0;
    int32_t loops = peer->alive ? __atomic_load_n(peer->loops, __ATOMIC_ACQUIRE) : 0;
    if (peer->alive && peer->newcomers != nullptr) {
      int32_t opened = __atomic_load_n(peer->newcomers, __ATOMIC_ACQUIRE);
      if (loops != loops_[i]) opened_[i] = opened;
      ready |= opened != opened_[i];
    }
    still_[i] = peer->alive && loops == loops_[i] && !Sleeps(peer->loop);
    if (still_[i] && ready && ready_[i]) {
      stalled_[i] = 1;
      any_stalled = true;
    }
    ready_[i] = ready;
    loops_[i] = loops;
    *any_ready |= ready;
  }
  return any_stalled;
}

#else

Watcher* Watcher::Create(Napi::Env, size_t, int64_t, Napi::Function, int* error) {
  *error = -ENOSYS;
  return nullptr;
}
void Watcher::Set(size_t, uint32_t) {}
void Watcher::Continue() {}
void Watcher::Stop() {}

#endif

}  // namespace gyre
