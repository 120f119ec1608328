#include "readiness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "callback.h"
#include "uv_api.h"

namespace gyre {

struct PollHandle::Callbacks {
  static uv_handle_t* Handle(PollHandle* poll) { return reinterpret_cast<uv_handle_t*>(poll->handle_); }

  static void OnReady(uv_poll_t* handle, int status, int events) {
    auto* poll = static_cast<PollHandle*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle)));
    if (!poll->closing_) CallIntoJs(poll->env_, poll->on_ready_, {status, events});
  }
  static void OnClosed(uv_handle_t* handle) {
    auto* poll = static_cast<PollHandle*>(uv_handle_get_data(handle));
    free(poll->handle_);
    napi_delete_reference(poll->env_, poll->on_ready_);
    napi_remove_async_cleanup_hook(poll->cleanup_);
    delete poll;
  }
  // Teardown of the environment: the handle must be gone before its loop is.
  static void OnTeardown(napi_async_cleanup_hook_handle, void* data) {
    static_cast<PollHandle*>(data)->Close();
  }
};

PollHandle* PollHandle::Create(Napi::Env env, int fd, Napi::Function on_ready, int* error) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, reinterpret_cast<uv_loop_s**>(&loop)) != napi_ok) {
    *error = -EINVAL;
    return nullptr;
  }
  auto* handle = static_cast<uv_poll_t*>(calloc(1, uv_handle_size(GYRE_UV_POLL)));
  int result = handle == nullptr ? -ENOMEM : uv_poll_init(loop, handle, fd);
  if (result != 0) {
    free(handle);  // a handle that libuv refused is not known to the loop
    *error = result;
    return nullptr;
  }
  auto* poll = new PollHandle();
  poll->env_ = env;
  poll->handle_ = handle;
  uv_handle_set_data(Callbacks::Handle(poll), poll);
  uv_unref(Callbacks::Handle(poll));
  napi_create_reference(env, on_ready, 1, &poll->on_ready_);
  napi_add_async_cleanup_hook(env, Callbacks::OnTeardown, poll, &poll->cleanup_);
  return poll;
}

int PollHandle::Start(int events) {
  return closing_ ? -EBADF : uv_poll_start(handle_, events, Callbacks::OnReady);
}

void PollHandle::Stop() {
  if (!closing_) uv_poll_stop(handle_);
}

void PollHandle::Close() {
  if (closing_) return;
  closing_ = true;
  uv_close(Callbacks::Handle(this), Callbacks::OnClosed);
}

int PollNow(int fd) {
#ifdef POLLRDHUP
  constexpr short kHalf = POLLRDHUP;  // a socket whose peer writes no more
#else
  constexpr short kHalf = 0;
#endif
  pollfd asked = {fd, static_cast<short>(POLLIN | POLLOUT | kHalf), 0};
  int result;
  do {
    result = poll(&asked, 1, 0);
  } while (result < 0 && errno == EINTR);
  if (result < 0) return -errno;
  int events = 0;
  if ((asked.revents & POLLIN) != 0) events |= 1;
  if ((asked.revents & POLLOUT) != 0) events |= 2;
  if ((asked.revents & (POLLHUP | POLLERR | POLLNVAL | kHalf)) == 0) return events;
  // At its end a stream is readable for ever, and there is nothing to be read.
  int left = 0;
  if (ioctl(fd, FIONREAD, &left) == 0 && left == 0) events &= ~1;
  return events | 4;
}

}  // namespace gyre
