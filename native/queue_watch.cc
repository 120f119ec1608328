#include "queue_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "callback.h"
#include "descriptor.h"

namespace gyre {

QueueWatch* QueueWatch::Create(Napi::Env env, int fd, Napi::Int32Array accepted, Napi::Function on_ready,
                               int* error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) {
    *error = -EINVAL;
    return nullptr;
  }
  auto* poll = static_cast<uv_poll_t*>(calloc(1, uv_handle_size(GYRE_UV_POLL)));
  int result = poll == nullptr ? -ENOMEM : uv_poll_init(loop, poll, fd);
  if (result != 0) {
    free(poll);
    *error = result;
    return nullptr;
  }
  auto* watch = new QueueWatch();
  watch->env_ = env;
  watch->poll_ = poll;
  watch->fd_ = fd;
  watch->accepted_ = accepted.Data();
  *watch->accepted_ = -1;
  uv_handle_set_data(watch->handle(), watch);
  napi_create_reference(env, on_ready, 1, &watch->on_ready_);
  napi_create_reference(env, accepted, 1, &watch->accepted_array_);
  napi_add_async_cleanup_hook(env, OnTeardown, watch, &watch->cleanup_);
  return watch;
}

int QueueWatch::Start() { return uv_poll_start(poll_, GYRE_UV_READABLE, OnPoll); }
void QueueWatch::Stop() { uv_poll_stop(poll_); }
void QueueWatch::Ref() { uv_ref(handle()); }
void QueueWatch::Unref() { uv_unref(handle()); }

int QueueWatch::Accept() {
  int fd = AcceptOne(fd_);
  *accepted_ = fd < 0 ? -1 : fd;
  return fd;
}

void QueueWatch::Close() {
  if (closing_) return;
  closing_ = true;
  uv_close(handle(), OnClosed);
  // libuv has let go of it. Now, not in OnClosed(): the address is free when server.close() returns.
  close(fd_);
}

void QueueWatch::OnPoll(uv_poll_t* poll, int, int) {
  auto* watch = static_cast<QueueWatch*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(poll)));
  // What is wrong with the socket, if something is, accept(2) says.
  if (!watch->closing_) CallIntoJs(watch->env_, watch->on_ready_);
}

void QueueWatch::OnClosed(uv_handle_t* handle) {
  auto* watch = static_cast<QueueWatch*>(uv_handle_get_data(handle));
  free(watch->poll_);
  napi_delete_reference(watch->env_, watch->on_ready_);
  napi_delete_reference(watch->env_, watch->accepted_array_);
  napi_remove_async_cleanup_hook(watch->cleanup_);
  delete watch;
}

void QueueWatch::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  auto* watch = static_cast<QueueWatch*>(data);
  // Its owner was to be JavaScript that has been terminated.
  if (!watch->closing_ && *watch->accepted_ >= 0) close(*watch->accepted_);
  watch->Close();
}

}  // namespace gyre
