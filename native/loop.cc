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
  static void OnClose(uv_handle_t* handle) {
    static_cast<LoopHooks*>(uv_handle_get_data(handle))->OnClosed();
  }
  // Teardown of the environment: the handles must be gone before its loop is.
  static void OnTeardown(napi_async_cleanup_hook_handle, void* data) {
    static_cast<LoopHooks*>(data)->Close();
  }
};

void CallIntoJs(napi_env env, napi_ref function) {
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
    if (napi_make_callback(env, nullptr, global, callee, 0, nullptr, &result) ==
            napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
}

LoopHooks* LoopHooks::Attach(Napi::Env env, Napi::Int32Array words, uint32_t loops_index,
                             uint32_t heartbeat_index, Napi::Function on_wake, int* error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) {
    *error = -EINVAL;
    return nullptr;
  }
  auto* check = static_cast<uv_check_t*>(calloc(1, uv_handle_size(GYRE_UV_CHECK)));
  auto* async = static_cast<uv_async_t*>(calloc(1, uv_handle_size(GYRE_UV_ASYNC)));
  if (check == nullptr || async == nullptr) {
    free(check);
    free(async);
    *error = -ENOMEM;
    return nullptr;
  }
  // The only call below that can fail: it needs a descriptor the first time.
  int result = uv_async_init(loop, async, Handles::OnAsync);
  if (result != 0) {
    free(check);
    free(async);
    *error = result;
    return nullptr;
  }
  auto* hooks = new LoopHooks();
  hooks->env_ = env;
  hooks->handles_ = new Handles{check, async, loop};
  napi_create_reference(env, words, 1, &hooks->keep_alive_);
  napi_create_reference(env, on_wake, 1, &hooks->on_wake_);
  hooks->loops_ = words.Data() + loops_index;
  hooks->heartbeat_ = words.Data() + heartbeat_index;
  hooks->open_handles_ = 2;

  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(async), hooks);
  uv_unref(reinterpret_cast<uv_handle_t*>(async));
  uv_check_init(loop, check);
  uv_handle_set_data(reinterpret_cast<uv_handle_t*>(check), hooks);
  uv_check_start(check, Handles::OnCheck);
  uv_unref(reinterpret_cast<uv_handle_t*>(check));
  napi_add_async_cleanup_hook(env, Handles::OnTeardown, hooks, &hooks->cleanup_);
  hooks->peer_ = std::make_shared<Peer>();
  hooks->peer_->tid = ThreadId();
  hooks->peer_->loop = loop;
  hooks->peer_->epoll_fd = uv_backend_fd(loop);
  hooks->peer_->async = async;
  hooks->peer_->loops = hooks->loops_;
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
}

void LoopHooks::OnClosed() {
  if (--open_handles_ > 0) return;
  free(handles_->check);
  free(handles_->async);
  delete handles_;
  napi_delete_reference(env_, on_wake_);
  napi_delete_reference(env_, keep_alive_);
  napi_remove_async_cleanup_hook(cleanup_);
  delete this;
}

void LoopHooks::OnWake() {
  if (closing_) return;
  CallIntoJs(env_, on_wake_);
}

}  // namespace gyre
