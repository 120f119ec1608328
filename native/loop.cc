#include "loop.h"

#include <errno.h>
#include <stdlib.h>

#include <utility>

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

// Of the iteration before.
struct LoopHooks::Times {
  double* sum_ns;
  int32_t* count;
  int32_t* buckets;
  uint32_t last;  // bucket
  uint64_t ended_ns = 0;  // 0: there was none
  uint64_t idle_ns = 0;
  uint64_t events = 0;

  // Only this thread writes, so a load and a store do, here as everywhere.
  void Count(uint64_t now, uint64_t idle, uint64_t handled) {
    uint64_t busy = (now - ended_ns) - (idle - idle_ns);
    if (ended_ns != 0) {
      uint64_t us = busy / 1000;
      uint32_t bits = us == 0 ? 0 : 64 - static_cast<uint32_t>(__builtin_clzll(us));
      int32_t* bucket = buckets + (bits < last ? bits : last);
      double sum = *sum_ns + static_cast<double>(busy);
      __atomic_store(sum_ns, &sum, __ATOMIC_RELAXED);
      Add(bucket, 1);
      Add(count, static_cast<uint32_t>(handled - events));
    }
    ended_ns = now;
    idle_ns = idle;
    events = handled;
  }
  static void Add(int32_t* word, uint32_t by) {
    __atomic_store_n(word, static_cast<int32_t>(static_cast<uint32_t>(*word) + by), __ATOMIC_RELAXED);
  }
};

// Windows without fast messages after which they are followed again. One is not enough: a
// thread that other processes keep from its CPU has one now and then.
static constexpr int kSlowWindows = 10;

struct LoopHooks::Rounds {
  Table table;
  int32_t owner;
  int64_t busy_ns;
  int32_t events_min;
  int32_t* outstanding;  // written by this thread only
  int32_t* out;
  int32_t out_words;
  napi_ref table_words;  // pin the memory above
  napi_ref out_array;
  napi_ref on_round;
  uint64_t ended_ns = 0;  // end of the iteration before; 0: there was none
  int64_t used_ns = 0;    // CPU time of the thread by then; known while messages are followed
  uint64_t idle_ns = 0;   // time that the loop had slept by then
  uint64_t events = 0;    // events that it had handled by then
  // Of the present window.
  uint64_t window_ns = 0;
  uint64_t window_idle_ns = 0;
  uint64_t window_events = 0;
  // Whether messages are followed.
  int32_t* armed;  // written by this thread only
  napi_ref on_arm;
  uint64_t armed_until_ns = 0;
  uint64_t fast_events;  // more than that in a window are fast
  int slow_windows = kSlowWindows;  // in a row, without

  // Whether anything is to be decided: else it calls on_round after each iteration.
  bool policy() const { return events_min > 0; }
};

namespace {

// What an event must take on average to be worth moving: twice what the move costs both
// sides, see src/scheduler/move.ts. bench/moving measures some 150 µs for one.
constexpr int64_t kWorthMovingNs = 300000;

// An event that costs less than its move may still be worth it, because the connection brings
// all its later events along: where a worker has hardly slept for so long, and a neighbour has.
// It looks once in a window, so that what it moves costs next to nothing. No evidence for
// more or less.
constexpr uint64_t kWindowNs = 100000000;
constexpr uint64_t kOverloadedIdleNs = kWindowNs / 10;
constexpr int64_t kNeverNs = int64_t{1} << 60;  // `busy_ns` of who gives nothing by itself

// Following a message costs some 0.4 µs: half a percent of a CPU for 10,000 a second, and
// 2 or 3% of the throughput of a server that does nothing else. So messages that come faster are
// not followed, until the thread was stuck in something, and then for a while; or until
// `on_round` asks for it, and then for a shorter one.
constexpr uint64_t kStuckNs = 5000000;   // shorter iterations need not ask
constexpr uint64_t kArmedNs = 10000000000;
constexpr uint64_t kAskedNs = 1000000000;

}  // namespace

void CallIntoJs(napi_env env, napi_ref function, std::initializer_list<int32_t> numbers) {
  napi_handle_scope scope;
  napi_value global;
  napi_value callee;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_global(env, &global) == napi_ok &&
      napi_get_reference_value(env, function, &callee) == napi_ok) {
    // It runs the microtasks that the callback queues. It refuses while the
    // environment is being torn down, which is not an error here.
    napi_value result;
    napi_value error;
    napi_value arguments[2];
    size_t count = 0;
    for (int32_t number : numbers) {
      if (count < 2 && napi_create_int32(env, number, &arguments[count]) == napi_ok) count++;
    }
    if (napi_make_callback(env, nullptr, global, callee, count, arguments, &result) ==
            napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
}

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
  if (rounds != nullptr) {
    auto* own = new Rounds();
    own->table = rounds->table;
    own->owner = rounds->owner;
    own->busy_ns = rounds->busy_ns;
    own->events_min = rounds->events_min;
    own->fast_events = rounds->fast_events;
    own->outstanding = words.Data() + rounds->outstanding_index;
    own->armed = words.Data() + rounds->armed_index;
    __atomic_store_n(own->armed, 1, __ATOMIC_RELAXED);
    own->out = Napi::Int32Array(rounds->out).Data();
    own->out_words = static_cast<int32_t>(rounds->out.ElementLength());
    napi_create_reference(env, rounds->table_words, 1, &own->table_words);
    napi_create_reference(env, rounds->out, 1, &own->out_array);
    napi_create_reference(env, rounds->on_round, 1, &own->on_round);
    napi_create_reference(env, rounds->on_arm, 1, &own->on_arm);
    hooks->rounds_ = own;
  }
  if (times != nullptr) {
    hooks->times_ = new Times{reinterpret_cast<double*>(words.Data() + times->sum_index),
                              words.Data() + times->count_index, words.Data() + times->buckets_index,
                              times->buckets - 1};
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
  if (rounds_ != nullptr) {
    napi_delete_reference(env_, rounds_->on_round);
    napi_delete_reference(env_, rounds_->on_arm);
    napi_delete_reference(env_, rounds_->out_array);
    napi_delete_reference(env_, rounds_->table_words);
    delete rounds_;
  }
  delete times_;
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
  uint64_t now = uv_hrtime();
  // The loop is awake, so this is what it slept up to its last return from epoll.
  uint64_t idle = uv_metrics_idle_time(handles_->loop);
  peer_->ended_ns.store(0, std::memory_order_relaxed);
  peer_->ended_idle_ns.store(idle, std::memory_order_release);
  peer_->ended_ns.store(now, std::memory_order_release);
  uv_metrics_t metrics;
  uv_metrics_info(handles_->loop, &metrics);
  if (times_ != nullptr) times_->Count(now, idle, metrics.events);
  if (rounds_ == nullptr) return;
  Rounds& own = *rounds_;
  auto busy = static_cast<int64_t>((now - own.ended_ns) - (idle - own.idle_ns));
  auto events = static_cast<int64_t>(metrics.events - own.events);
  // Of a thread that was preempted the clock tells nothing: use what it used.
  int64_t used = *own.armed != 0 ? ThreadCpuNs() : 0;
  if (used != 0 && own.used_ns != 0 && used - own.used_ns < busy) busy = used - own.used_ns;
  own.used_ns = used;
  bool first = own.ended_ns == 0;
  uint64_t ended = own.ended_ns;
  own.ended_ns = now;
  own.idle_ns = idle;
  own.events = metrics.events;
  bool overloaded = false;
  bool was_stuck = now - ended >= kStuckNs && peer_->was_stuck.exchange(false, std::memory_order_relaxed);
  if (was_stuck) own.armed_until_ns = now + kArmedNs;
  bool fast = metrics.events - own.window_events > own.fast_events;
  if (fast) own.slow_windows = 0;
  bool window_over = now - own.window_ns >= kWindowNs || was_stuck;
  if (window_over) {
    overloaded = !first && own.busy_ns < kNeverNs && idle - own.window_idle_ns < kOverloadedIdleNs;
    if (!fast) own.slow_windows++;
    own.window_ns = now;
    own.window_idle_ns = idle;
    own.window_events = metrics.events;
  }
  if (own.policy() && (window_over || fast)) {
    int32_t armed = now < own.armed_until_ns || own.slow_windows >= kSlowWindows;
    if (armed != *own.armed) {
      __atomic_store_n(own.armed, armed, __ATOMIC_RELAXED);
      CallIntoJs(env_, own.on_arm);
    }
  }
  // While messages are not followed hardly anything could be given away.
  bool brief = own.policy() &&
               (busy < own.busy_ns || busy < events * kWorthMovingNs || *own.armed == 0);
  if (first || (brief && !overloaded)) {
    if (*own.outstanding != 0) __atomic_store_n(own.outstanding, 0, __ATOMIC_RELAXED);
    return;
  }
  constexpr int32_t kCounts = 7;
  OwnReady ready = PeekOwn(peer_->epoll_fd, own.owner, own.table, own.out + kCounts, own.out_words - kCounts);
  int32_t waiting = ready.ready.movable + ready.ready.queued;
  __atomic_store_n(own.outstanding, waiting + ready.ready.other, __ATOMIC_RELAXED);
  if (waiting < own.events_min) return;
  own.out[0] = ready.ready.movable;
  own.out[1] = ready.ready.queued;
  own.out[2] = ready.ready.other;
  own.out[3] = ready.connections;
  own.out[4] = ready.listeners;
  own.out[5] = brief;
  own.out[6] = 0;
  CallIntoJs(env_, own.on_round);
  if (own.out[6] != 0 && own.armed_until_ns < now + kAskedNs) own.armed_until_ns = now + kAskedNs;
}

}  // namespace gyre
