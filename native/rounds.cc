#include "rounds.h"

#include "callback.h"
#include "thread.h"

namespace gyre {

namespace {

constexpr int64_t kNeverNs = int64_t{1} << 60;  // `busy_ns` of who gives nothing by itself

}  // namespace

Rounds::Rounds(Napi::Env env, Napi::Int32Array words, const RoundSettings& settings)
    : env_(env),
      table_(settings.table),
      owner_(settings.owner),
      busy_ns_(settings.busy_ns),
      events_min_(settings.events_min),
      outstanding_(words.Data() + settings.outstanding_index),
      armed_(words.Data() + settings.armed_index),
      out_(Napi::Int32Array(settings.out).Data()),
      out_words_(static_cast<int32_t>(settings.out.ElementLength())),
      following_(settings.fast_events) {
  __atomic_store_n(armed_, following_.armed(), __ATOMIC_RELAXED);
  napi_create_reference(env, settings.table_words, 1, &table_words_);
  napi_create_reference(env, settings.out, 1, &out_array_);
  napi_create_reference(env, settings.on_round, 1, &on_round_);
  napi_create_reference(env, settings.on_arm, 1, &on_arm_);
}

Rounds::~Rounds() {
  napi_delete_reference(env_, on_arm_);
  napi_delete_reference(env_, on_round_);
  napi_delete_reference(env_, out_array_);
  napi_delete_reference(env_, table_words_);
}

void Rounds::Follow(const LoopFigures& at, bool was_stuck) {
  if (!policy() || !following_.End(at, was_stuck)) return;
  __atomic_store_n(armed_, following_.armed(), __ATOMIC_RELAXED);
  CallIntoJs(env_, on_arm_);
}

bool Rounds::IsReason(const LoopFigures& at, const Iteration& ended, bool* is_short) {
  if (!policy()) return true;
  auto busy_ns = static_cast<int64_t>(ended.busy_ns);
  int64_t own_ns = own_work_.End(busy_ns, following_.armed() ? ThreadCpuNs() : 0);
  // While messages are not followed hardly anything could be given away.
  *is_short = own_ns < busy_ns_ || AreShort(own_ns, ended.events) || !following_.armed();
  bool overloaded = overload_.End(at) && busy_ns_ < kNeverNs;
  return overloaded || !*is_short;
}

void Rounds::Look(const LoopFigures& at, const Iteration& ended, int epoll_fd) {
  bool is_short = false;
  bool is_reason = IsReason(at, ended, &is_short);
  if (ended.first || !is_reason) {
    if (*outstanding_ != 0) __atomic_store_n(outstanding_, 0, __ATOMIC_RELAXED);
    return;
  }
  constexpr int32_t kCounts = 7;
  OwnReady ready = PeekOwn(epoll_fd, owner_, table_, out_ + kCounts, out_words_ - kCounts);
  int32_t waiting = ready.ready.movable + ready.ready.queued;
  __atomic_store_n(outstanding_, waiting + ready.ready.other, __ATOMIC_RELAXED);
  if (waiting < events_min_) return;
  out_[0] = ready.ready.movable;
  out_[1] = ready.ready.queued;
  out_[2] = ready.ready.other;
  out_[3] = ready.connections;
  out_[4] = ready.listeners;
  out_[5] = is_short;
  out_[6] = 0;
  CallIntoJs(env_, on_round_);
  if (out_[6] != 0) following_.Ask(at.now_ns);
}

}  // namespace gyre
