#include "loop.h"

#include <errno.h>
#include <stdlib.h>

#include "batching.h"
#include "callback.h"
#include "safepoint.h"
#include "thread.h"
#include "uv_api.h"

namespace gyre {

struct LoopHooks::Handles {
  uv_check_t* check;
  uv_async_t* async;
  uv_prepare_t* prepare;
  uv_loop_t* loop;

  static void OnCheck(uv_check_t* check) {
    auto* hooks = static_cast<LoopHooks*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(check)));
    // One writer, so a load and a store do; release, so that a reader who sees
    // the new count also sees what the iteration before it did.
    int32_t loops = __atomic_load_n(hooks->loops_, __ATOMIC_RELAXED);
    auto now = static_cast<int32_t>(static_cast<uint32_t>(uv_now(hooks->handles_->loop)));
    __atomic_store_n(hooks->heartbeat_, now, __ATOMIC_RELAXED);
    __atomic_store_n(hooks->loops_, static_cast<int32_t>(static_cast<uint32_t>(loops) + 1u),
                     __ATOMIC_RELEASE);
  }
  static void OnAsync(uv_async_t* async) {
    static_cast<LoopHooks*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(async)))->OnWake();
  }
  // Just before the loop looks for events, or goes to sleep.
  static void OnPrepare(uv_prepare_t* prepare) {
    static_cast<LoopHooks*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(prepare)))->OnIterationEnd();
  }
  static void OnClose(uv_handle_t* handle) {
    static_cast<LoopHooks*>(uv_handle_get_data(handle))->OnClosed();
  }
  // Teardown of the environment: the handles must be gone before its loop is.
  static void OnTeardown(napi_async_cleanup_hook_handle, void* data) {
    static_cast<LoopHooks*>(data)->Close();
  }
};

// Only its thread writes, so a load and a store do, here as everywhere.
struct LoopHooks::Times {
  double* sum_ns;
  int32_t* count;
  int32_t* buckets;
  uint32_t last;  // bucket

  void Count(const Iteration& ended) {
    if (ended.first) return;
    uint64_t us = ended.busy_ns / 1000;
    uint32_t bits = us == 0 ? 0 : 64 - static_cast<uint32_t>(__builtin_clzll(us));
    double sum = *sum_ns + static_cast<double>(ended.busy_ns);
    __atomic_store(sum_ns, &sum, __ATOMIC_RELAXED);
    Add(buckets + (bits < last ? bits : last), 1);
    Add(count, static_cast<uint32_t>(ended.events));
  }
  static void Add(int32_t* word, uint32_t by) {
    __atomic_store_n(word, static_cast<int32_t>(static_cast<uint32_t>(*word) + by), __ATOMIC_RELAXED);
  }
};

namespace {

constexpr uint64_t kStuckNs = 5000000;  // of shorter iterations nobody says that they were stuck

}  // namespace

LoopHooks::LoopHooks() = default;
LoopHooks::~LoopHooks() = default;

LoopHooks* LoopHooks::Attach(Napi::Env env, Napi::Int32Array words, uint32_t loops_index,
                             uint32_t heartbeat_index, Napi::Function on_wake,
                             const RoundSettings* rounds, const TimesSettings* times, int* error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) {
    *error = -EINVAL;
    return nullptr;
  }
  auto* check = static_cast<uv_check_t*>(calloc(1, uv_handle_size(GYRE_UV_CHECK)));
  auto* async = static_cast<uv_async_t*>(calloc(1, uv_handle_size(GYRE_UV_ASYNC)));
  auto* prepare = static_cast<uv_prepare_t*>(calloc(1, uv_handle_size(GYRE_UV_PREPARE)));
  // The only call below that can fail: it needs a descriptor the first time.
  int result = check == nullptr || async == nullptr || prepare == nullptr
                   ? -ENOMEM
                   : uv_async_init(loop, async, Handles::OnAsync);
  if (result != 0) {
    free(check);
    free(async);
    free(prepare);
    *error = result;
    return nullptr;
  }
  // Before others can find this thread. Where it is in vain nobody pauses it: src/workers/self-check.ts.
  StopBatching(loop);
  auto* hooks = new LoopHooks();
  hooks->env_ = env;
  hooks->handles_ = new Handles{check, async, prepare, loop};
  napi_create_reference(env, words, 1, &hooks->keep_alive_);
  napi_create_reference(env, on_wake, 1, &hooks->on_wake_);
  hooks->loops_ = words.Data() + loops_index;
  hooks->heartbeat_ = words.Data() + heartbeat_index;
  hooks->open_handles_ = 3;

  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(async), hooks);
  uv_unref(reinterpret_cast<uv_handle_t*>(async));
  uv_check_init(loop, check);
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(check), hooks);
  uv_check_start(check, Handles::OnCheck);
  uv_unref(reinterpret_cast<uv_handle_t*>(check));
  uv_prepare_init(loop, prepare);
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(prepare), hooks);
  if (rounds != nullptr) hooks->rounds_ = std::make_unique<Rounds>(env, words, *rounds);
  if (times != nullptr) {
    hooks->times_.reset(new Times{reinterpret_cast<double*>(words.Data() + times->sum_index),
                                  words.Data() + times->count_index, words.Data() + times->buckets_index,
                                  times->buckets - 1});
  }
  uv_prepare_start(prepare, Handles::OnPrepare);
  uv_unref(reinterpret_cast<uv_handle_t*>(prepare));
  napi_add_async_cleanup_hook(env, Handles::OnTeardown, hooks, &hooks->cleanup_);
  hooks->peer_ = std::make_shared<Peer>();
  hooks->peer_->tid = ThreadId();
  hooks->peer_->loop = loop;
  hooks->peer_->epoll_fd = uv_backend_fd(loop);
  hooks->peer_->async = async;
  hooks->peer_->loops = hooks->loops_;
  hooks->peer_->ended_ns = uv_hrtime();
  if (rounds != nullptr) {
    hooks->peer_->newcomers = words.Data() + rounds->newcomers_index;
    hooks->peer_->messages = words.Data() + rounds->messages_index;
    hooks->peer_->armed = words.Data() + rounds->armed_index;
  }
  SetPausable(hooks->peer_.get());
  AddPeer(hooks->peer_);
  return hooks;
}

void LoopHooks::Detach() { Close(); }

void LoopHooks::Close() {
  if (closing_) return;
  closing_ = true;
  RemovePeer(peer_);
  SetPausable(nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(handles_->check), Handles::OnClose);
  uv_close(reinterpret_cast<uv_handle_t*>(handles_->async), Handles::OnClose);
  uv_close(reinterpret_cast<uv_handle_t*>(handles_->prepare), Handles::OnClose);
}

void LoopHooks::OnClosed() {
  if (--open_handles_ > 0) return;
  free(handles_->check);
  free(handles_->async);
  free(handles_->prepare);
  delete handles_;
  rounds_.reset();
  napi_delete_reference(env_, on_wake_);
  napi_delete_reference(env_, keep_alive_);
  napi_remove_async_cleanup_hook(cleanup_);
  delete this;
}

void LoopHooks::OnWake() {
  if (closing_) return;
  CallIntoJs(env_, on_wake_);
}

void LoopHooks::OnIterationEnd() {
  if (closing_) return;
  LoopFigures at;
  at.now_ns = uv_hrtime();
  // The loop is awake, so this is what it slept up to its last return from epoll.
  at.idle_ns = uv_metrics_idle_time(handles_->loop);
  uv_metrics_t metrics;
  uv_metrics_info(handles_->loop, &metrics);
  at.events = metrics.events;
  peer_->ended_ns.store(0, std::memory_order_relaxed);
  peer_->ended_idle_ns.store(at.idle_ns, std::memory_order_release);
  peer_->ended_ns.store(at.now_ns, std::memory_order_release);  // pairs with the loads in StuckNs()
  Iteration ended = clock_.End(at);
  if (times_ != nullptr) times_->Count(ended);
  if (rounds_ == nullptr) return;
  rounds_->Follow(at, ended.lasted_ns >= kStuckNs && peer_->was_stuck.exchange(false, std::memory_order_relaxed));
  if (!closing_) rounds_->Look(at, ended, peer_->epoll_fd);
}

}  // namespace gyre
