#include "watcher.h"

#include <errno.h>
#include <stdlib.h>

#include "callback.h"
#include "platform.h"
#include "thread.h"
#include "uv_api.h"

#if GYRE_LINUX
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
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
  // Whoever is being paused does not sleep, and the caller must not wait for that.
  std::unique_lock<std::mutex> guard(peer->life, std::try_to_lock);
  return guard.owns_lock() && peer->alive && Sleeps(peer->loop);
}

int64_t StuckNs(uint32_t peer_id) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return 0;
  uint64_t ended = peer->ended_ns.load(std::memory_order_acquire);
  uint64_t idle_then = peer->ended_idle_ns.load(std::memory_order_acquire);
  uint64_t idle = 0;
  {
    std::lock_guard<std::mutex> guard(peer->life);
    if (!peer->alive) return 0;
    idle = uv_metrics_idle_time(peer->loop);
  }
  auto stuck = static_cast<int64_t>((uv_hrtime() - ended) - (idle - idle_then));
  // It may have ended another one meanwhile.
  if (ended == 0 || peer->ended_ns.load(std::memory_order_acquire) != ended) return 0;
  return stuck > 0 ? stuck : 0;
}

#if GYRE_LINUX

bool IdleNs(uint32_t peer_id, int64_t* ns) {
  std::shared_ptr<Peer> peer = FindPeer(peer_id);
  if (peer == nullptr) return false;
  // A loop that was woken and has no CPU yet sleeps as far as libuv knows (proc(5) has no
  // schedstat; kernel's sched-stats.rst: time on the CPU, time waiting for it, both in ns).
  char text[64];
  int64_t waited_ns = 0;
  if (ReadOfThread(peer->tid, "schedstat", text, sizeof(text)) > 0) {
    sscanf(text, "%*d %" SCNd64, &waited_ns);
  }
  std::unique_lock<std::mutex> guard(peer->life, std::try_to_lock);
  if (!guard.owns_lock() || !peer->alive) return false;
  *ns = static_cast<int64_t>(uv_metrics_idle_time(peer->loop)) - waited_ns;
  return true;
}

namespace {
// Ticks without anything ready before it goes back to sleep on the efds.
constexpr int kIdleTicks = 4;
// Ticks for which a thread may want a CPU and not get one: Linux lets another run for
// some 4 ms.
constexpr int kWaitsMax = 8;
// Ticks in one while nobody follows messages: hardly anything could be moved then, and each
// takes the CPU from a worker that has none to spare.
constexpr int kSlowTicks = 10;
// How long somebody must have stood still to be reported although nothing is ready for them: more
// than what src/workers/governor.ts tells main of.
constexpr int kAloneMs = 150;

bool Follows(const Peer& peer) {
  return peer.armed == nullptr || __atomic_load_n(peer.armed, __ATOMIC_RELAXED) != 0;
}

// Whether a thread of this process runs or is ready to (proc(5), stat: state). If that cannot
// be known it is taken to.
bool WantsCpu(int tid) {
  char text[64];
  if (ReadOfThread(tid, "stat", text, sizeof(text)) <= 0) return true;
  // The name may contain anything, but is at most 15 bytes long.
  const char* state = strrchr(text, ')');
  return state == nullptr || state[1] == 0 || state[2] == 'R';
}

}  // namespace

Watcher* Watcher::Create(Napi::Env env, size_t slots, int64_t tick_us, Napi::Function on_stall,
                         int64_t sample_us, Napi::Function on_sample, int* error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) {
    *error = -EINVAL;
    return nullptr;
  }
  auto* watcher = new Watcher();
  watcher->env_ = env;
  watcher->tick_us_ = tick_us;
  watcher->sample_us_ = sample_us;
  watcher->peers_.resize(slots);
  watcher->seen_.resize(slots);
  watcher->still_.assign(slots, 0);
  watcher->stalled_.assign(slots, 0);
  *error = watcher->Open(loop);
  if (*error != 0) {
    watcher->CloseDescriptors();
    delete watcher;
    return nullptr;
  }
  napi_create_reference(env, on_stall, 1, &watcher->on_stall_);
  napi_create_reference(env, on_sample, 1, &watcher->on_sample_);
  napi_add_async_cleanup_hook(env, OnTeardown, watcher, &watcher->cleanup_);
  return watcher;
}

int Watcher::Open(uv_loop_t* loop) {
  control_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (control_ < 0) return -errno;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, never_) != 0) return -errno;
  async_ = static_cast<uv_async_t*>(calloc(1, uv_handle_size(GYRE_UV_ASYNC)));
  if (async_ == nullptr) return -ENOMEM;
  int error = uv_async_init(loop, async_, OnAsync);
  if (error != 0) {
    free(async_);
    return error;
  }
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(async_), this);
  // Not std::thread, which aborts the process where it would throw: EAGAIN, too many threads.
  error = pthread_create(&thread_, nullptr, Run, this);
  if (error != 0) {
    uv_close(reinterpret_cast<uv_handle_t*>(async_), [](uv_handle_t* handle) { free(handle); });
    return -error;
  }
  return 0;
}

void Watcher::CloseDescriptors() {
  for (int fd : {control_, never_[0], never_[1]}) {
    if (fd >= 0) close(fd);
  }
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
    seen_[slot] = Seen();
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
  pthread_join(thread_, nullptr);
  CloseDescriptors();
  uv_close(reinterpret_cast<uv_handle_t*>(async_), OnClosed);
}

void Watcher::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  static_cast<Watcher*>(data)->Stop();
}

void Watcher::OnClosed(uv_handle_t* handle) {
  auto* watcher = static_cast<Watcher*>(uv_handle_get_data(handle));
  free(watcher->async_);
  napi_delete_reference(watcher->env_, watcher->on_stall_);
  napi_delete_reference(watcher->env_, watcher->on_sample_);
  napi_remove_async_cleanup_hook(watcher->cleanup_);
  delete watcher;
}

void Watcher::OnAsync(uv_async_t* async) {
  auto* watcher =
      static_cast<Watcher*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(async)));
  if (watcher->stopping_) return;
  if (watcher->sampling_.exchange(false)) CallIntoJs(watcher->env_, watcher->on_sample_);
  if (watcher->stopping_ || !watcher->reporting_.load(std::memory_order_acquire)) return;
  CallIntoJs(watcher->env_, watcher->on_stall_);
}

void* Watcher::Run(void* self) {
#ifdef __GLIBC__
  pthread_setname_np(pthread_self(), "gyre-watch");
#endif
  static_cast<Watcher*>(self)->Watch();
  return nullptr;
}

void Watcher::Watch() {
  pollfd control = {control_, POLLIN, 0};
  std::vector<pollfd> all(peers_.size(), {-1, POLLIN, 0});
  all.push_back(control);
  int quiet = kIdleTicks;
  uint64_t sampled_ns = 0;
  bool any_alone = false;
  while (!stopping_.load()) {
    if (quiet >= kIdleTicks) {
      // More descriptors than the process may have: EINVAL, and it would never sleep.
      if (poll(all.data(), all.size(), any_alone ? kAloneMs : -1) < 0 && errno != EINTR) {
        poll(&control, 1, kAloneMs);
      }
      eventfd_t value;
      eventfd_read(control_, &value);
    } else {
      int64_t us = follows_ ? tick_us_ : tick_us_ * kSlowTicks;
      timespec tick = {us / 1000000, (us % 1000000) * 1000};
      nanosleep(&tick, nullptr);
    }
    TakeChanges(all.data());
    bool any_ready = false;
    any_alone = false;
    bool any_stalled = Tick(all.data(), &any_ready, &any_alone);
    quiet = any_ready ? 0 : quiet + 1;
    uint64_t now_ns = uv_hrtime();
    if (sample_us_ > 0 && now_ns - sampled_ns >= static_cast<uint64_t>(sample_us_) * 1000) {
      sampled_ns = now_ns;
      sampling_.store(true);
      uv_async_send(async_);
    }
    if (any_stalled && !stopping_.load()) {
      reporting_.store(true, std::memory_order_release);
      uv_async_send(async_);
      while (reporting_.load(std::memory_order_acquire) && !stopping_.load()) {
        poll(&control, 1, -1);
        eventfd_t value;
        eventfd_read(control_, &value);
      }
      // That may have been the signal of a change, so it must not sleep on the efds now.
      quiet = 0;
    }
  }
}

bool Watcher::Tick(pollfd* efds, bool* any_ready, bool* any_alone) {
  bool any_stalled = false;
  auto now_ns = static_cast<int64_t>(uv_hrtime());
  follows_ = false;
  for (size_t i = 0; i < peers_.size(); i++) {
    still_[i] = 0;
    stalled_[i] = 0;
    Peer* peer = peers_[i].get();
    if (peer == nullptr) continue;
    std::lock_guard<std::mutex> guard(peer->life);
    // A descriptor number that the peer's end set free must not be polled again.
    if (!peer->alive) {
      efds[i].fd = -1;
      continue;
    }
    Seen& seen = seen_[i];
    bool ready = poll(&efds[i], 1, 0) > 0;
    int32_t loops = __atomic_load_n(peer->loops, __ATOMIC_ACQUIRE);
    auto progress = static_cast<uint32_t>(loops);
    if (peer->messages != nullptr) {
      progress += static_cast<uint32_t>(__atomic_load_n(peer->messages, __ATOMIC_ACQUIRE));
    }
    if (peer->newcomers != nullptr) {
      int32_t opened = __atomic_load_n(peer->newcomers, __ATOMIC_ACQUIRE);
      if (loops != seen.loops) seen.opened = opened;
      ready |= opened != seen.opened;
    }
    seen.loops = loops;
    *any_ready |= ready;
    follows_ |= Follows(*peer);
    int64_t cpu_ns = ThreadCpuNs(peer->tid);
    bool moves_on = progress != seen.progress;
    // While something is ready there is another tick in any case.
    if (moves_on && !ready) *any_alone |= !Sleeps(peer->loop);
    if (moves_on || Sleeps(peer->loop)) {
      seen.progress = progress;
      seen.cpu_ns = cpu_ns;
      seen.still_ticks = 0;
      seen.since_ns = now_ns;
      seen.told = false;
      continue;
    }
    still_[i] = 1;
    seen.still_ticks++;
    if (seen.since_ns == 0) seen.since_ns = now_ns;
    int64_t burnt_ns = cpu_ns - seen.cpu_ns;
    int64_t enough_ns = Follows(*peer) ? tick_us_ * 500 : tick_us_ * 1000 * kWaitsMax;
    bool sleeps = burnt_ns < enough_ns && !WantsCpu(peer->tid);
    if (burnt_ns >= tick_us_ * 1000 * kWaitsMax || (sleeps && seen.still_ticks >= kWaitsMax)) {
      peer->was_stuck.store(true, std::memory_order_relaxed);
    }
    bool stuck = burnt_ns >= enough_ns || sleeps || seen.still_ticks >= kWaitsMax;
    if (!ready && !seen.told) {
      seen.told = stuck && now_ns - seen.since_ns >= kAloneMs * int64_t{1000000};
      *any_alone |= !seen.told;
      if (!seen.told) continue;
    } else if (!ready || !stuck) {
      continue;
    }
    stalled_[i] = 1;
    any_stalled = true;
  }
  return any_stalled;
}

#else

bool IdleNs(uint32_t, int64_t*) { return false; }

Watcher* Watcher::Create(Napi::Env, size_t, int64_t, Napi::Function, int64_t, Napi::Function,
                         int* error) {
  *error = -ENOSYS;
  return nullptr;
}
void Watcher::Set(size_t, uint32_t) {}
void Watcher::Continue() {}
void Watcher::Stop() {}

#endif

}  // namespace gyre
